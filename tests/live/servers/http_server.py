"""An HTTP server of Python's standard library. Logs a line for each response: method, status, protocol, path.

usage: http_server.py LOG PORT
"""

import http.server
import socket
import sys
import threading

LOG = open(sys.argv[1], "a", buffering=1)
LOCK = threading.Lock()
BIG = b"HTTP/1.1 500 a body that looks like a head\r\n\r\n" * 1400


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code="-", size="-"):
        with LOCK:
            LOG.write(f"{self.command} {int(code)} {self.request_version} {self.path}\n")

    def log_message(self, *arguments):
        pass

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        if length:
            self.rfile.read(length)
        elif self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        kind = self.path.split("/")[1]
        if kind == "hints":
            self.send_response_only(103)
            self.send_header("Link", "</style.css>; rel=preload")
            self.end_headers()
        status = int(self.path.split("/")[2]) if kind == "status" else 200
        body = BIG if kind == "big" else b"landed\n"
        if status in (204, 304):
            body = b""
        self.send_response(status)
        for number in range(30 if kind == "fields" else 0):
            self.send_header(f"X-Field-{number}", "x" * 200)
        if kind == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (b"GET / HTTP/1.1\r\n", b"y" * 3000)) + b"0\r\n\r\n"
        elif kind == "close":
            self.send_header("Connection", "close")
        elif status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_PROPFIND = answer


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 128


Server(("::", int(sys.argv[2])), Handler).serve_forever()
