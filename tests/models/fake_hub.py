"""A hub on this machine: the three answers that huggingface_hub asks for, from a folder of files."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serving(repo: str, folder: Path, *, status: int = 200):
    """``http://127.0.0.1:PORT`` that has one repository at one commit; ``status`` 401 plays a gated one.

    Yields the address and the list of requests it has had.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def answer(self, code, body=b"", headers=()):
            self.send_response(code)
            for key, value in headers:
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self):
            asked.append(f"{self.command} {self.path}")
            if status != 200:
                gated = [("X-Error-Code", "GatedRepo"), ("X-Error-Message", "gated")]
                self.answer(status, b"{}", gated if status in (401, 403) else [])
                return
            path = self.path.split("?")[0]
            if path.startswith(f"/api/models/{repo}"):
                files = [{"rfilename": p.name} for p in sorted(folder.iterdir())]
                body = json.dumps({"id": repo, "sha": COMMIT, "siblings": files}).encode()
                self.answer(200, body, [("Content-Type", "application/json")])
                return
            file = folder / path.rsplit("/", 1)[-1]
            if not path.startswith(f"/{repo}/resolve/{COMMIT}/") or not file.is_file():
                self.answer(404, b"", [("X-Error-Code", "RepoNotFound")])
                return
            body = file.read_bytes()
            etag = hashlib.sha256(body).hexdigest()
            self.answer(200, body, [("X-Repo-Commit", COMMIT), ("ETag", f'"{etag}"')])

        do_HEAD = do_GET  # noqa: N815 (the name that http.server looks for)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def cache_layout(cache: Path, repo: str, folder: Path, *, branch: str = "main") -> Path:
    """The files of ``folder`` in a cache as huggingface_hub lays it out; returns the snapshot."""
    root = cache / f"models--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    (root / "refs").mkdir()
    (root / "refs" / branch).write_text(COMMIT)
    return snapshot
