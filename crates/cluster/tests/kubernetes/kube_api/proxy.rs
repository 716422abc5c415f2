//! A proxy that knows `CONNECT`, and one place where all of it leads.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The proxy. Accepts nothing more once it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    /// The heads of the requests so far.
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// A proxy that connects to `target`, whatever it is asked for.
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), heads: Arc::default() };
        let heads = Arc::downgrade(&proxy.heads);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Some(heads) = heads.upgrade() else { return };
                std::thread::spawn(move || tunnel(client, target, &heads));
            }
        });
        proxy
    }

    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.heads = Arc::default();
        // Wakes the listener.
        let _refused = TcpStream::connect(self.address);
    }
}

fn tunnel(client: TcpStream, target: SocketAddr, heads: &Mutex<Vec<String>>) {
    let (mut head, mut reader) = (String::new(), BufReader::new(client.try_clone().unwrap()));
    while !head.ends_with("\r\n\r\n") {
        if !reader.read_line(&mut head).is_ok_and(|read| read > 0) {
            return;
        }
    }
    let is_connect = head.starts_with("CONNECT ");
    heads.lock().unwrap().push(head);
    // The client says nothing more before it has the answer, so that nothing of it is left in the
    // buffer.
    let mut client = client;
    if !is_connect {
        let _gone = client.write_all(b"HTTP/1.1 405 X\r\ncontent-length: 0\r\n\r\n");
        return;
    }
    let server = TcpStream::connect(target).unwrap();
    if client.write_all(b"HTTP/1.1 200 X\r\n\r\n").is_err() {
        return;
    }
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let back = std::thread::spawn(move || {
        let _broken = std::io::copy(&mut from, &mut to);
        let _gone = to.shutdown(Shutdown::Both);
    });
    let _broken = std::io::copy(&mut client, &mut &server);
    let _gone = server.shutdown(Shutdown::Both);
    back.join().unwrap();
}
