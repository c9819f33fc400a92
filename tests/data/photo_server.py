"""A photo host on this machine that misbehaves as it is told: it drops, stalls, truncates, refuses."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class PhotoHost:
    """Files by path, and for each path what to do with its next requests (then all is well).

    Words: ``drop`` (half, then the connection is cut), ``stall`` (half, then silence), ``short`` (half,
    without a length), ``html``, ``restart`` (the range is ignored), ``moved``, a status such as ``404``.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.mischief: defaultdict[str, list[str]] = defaultdict(list)
        self.always: dict[str, str] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.sent_bytes = 0
        self.etags = True
        self.closing = threading.Event()
        self.url = ""

    def word(self, path: str) -> str:
        if path in self.always:
            return self.always[path]
        return self.mischief[path].pop(0) if self.mischief[path] else "ok"


@contextmanager
def photo_host() -> Iterator[PhotoHost]:
    host = PhotoHost()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, wanted = self.path, self.headers.get("Range")
            host.requests.append((path, wanted))
            word = host.word(path)
            if word.isdigit():
                self.send_response(int(word))
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if word == "moved":
                self.send_response(302)
                self.send_header("Location", "/images/photo_unavailable_z.png")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = b"<html>be right back</html>" if word == "html" else host.files.get(path)
            if body is None:
                self.send_error(404)
                return
            etag = f'"{len(body)}-{hash(body) & 0xFFFF}"'
            start = 0
            guarded = self.headers.get("If-Range") in (None, etag)
            if wanted and guarded and word != "restart":
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            if host.etags:
                self.send_header("ETag", etag)
            rest = body[start:]
            if word == "short":
                self.send_header("Connection", "close")
                self.close_connection = True
            else:
                self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            part = rest[: len(rest) // 2] if word in ("drop", "stall", "short") else rest
            self.wfile.write(part)
            self.wfile.flush()
            host.sent_bytes += len(part)
            if word == "stall":
                host.closing.wait(5)
            if word in ("drop", "stall"):
                self.close_connection = True
                self.connection.close()

        def handle(self) -> None:
            with suppress(ConnectionError, ValueError):  # the client has gone, or we cut the connection
                super().handle()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    host.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield host
    finally:
        host.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
