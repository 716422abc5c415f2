//! A network between a client and the server, which a test can cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};

use super::Api;

#[derive(Default)]
struct Shared {
    cut: Mutex<bool>,
    changed: Condvar,
    stopped: AtomicBool,
}

impl Shared {
    /// Waits while the network is cut. False once the gate is gone.
    fn pass(&self) -> bool {
        let cut = |cut: &mut bool| *cut && !self.stopped.load(SeqCst);
        drop(self.changed.wait_while(self.cut.lock().unwrap(), cut).unwrap());
        !self.stopped.load(SeqCst)
    }
}

/// Forwards connections. While it is cut nothing passes, in either direction, and no end is told:
/// as where packets are dropped on the way.
pub struct Gate {
    shared: Arc<Shared>,
    address: SocketAddr,
    scratch: tempfile::TempDir,
}

impl Gate {
    pub fn before(api: &Api) -> Self {
        let (shared, to) = (Arc::<Shared>::default(), api.address());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                if of_thread.stopped.load(SeqCst) {
                    return;
                }
                let shared = Arc::clone(&of_thread);
                std::thread::spawn(move || {
                    if !shared.pass() {
                        return;
                    }
                    let Ok(to) = TcpStream::connect(to) else { return };
                    let (Ok(back_from), Ok(back_to)) = (to.try_clone(), from.try_clone()) else { return };
                    let back = Arc::clone(&shared);
                    std::thread::spawn(move || forward(back_from, back_to, &back));
                    forward(from, to, &shared);
                });
            }
        });
        Self { shared, address, scratch: tempfile::tempdir().unwrap() }
    }

    /// A kubeconfig that leads through the gate.
    pub fn kubeconfig(&self) -> PathBuf {
        let path = self.scratch.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
             clusters: [{{name: it, cluster: {{server: 'http://{}'}}}}]\n\
             users: [{{name: it, user: {{}}}}]\n\
             contexts: [{{name: it, context: {{cluster: it, user: it}}}}]\n",
            self.address
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn set_cut(&self, cut: bool) {
        *self.shared.cut.lock().unwrap() = cut;
        self.shared.changed.notify_all();
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut piece = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        if !shared.pass() || to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.stopped.store(true, SeqCst);
        self.shared.changed.notify_all();
        let _refused = TcpStream::connect(self.address);
    }
}
