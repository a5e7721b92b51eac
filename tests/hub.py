"""As much of the model hub as a download needs, on this machine: what a repository holds, and its files."""

import contextlib
import hashlib
import http.server
import json
import threading
from pathlib import Path

COMMIT = "a" * 40


class Hub(http.server.BaseHTTPRequestHandler):
    folder: Path  # its models, folder/organisation/name
    served: list[str]  # organisation/name/file of each download

    def do_HEAD(self): self.answer(body=False)

    def do_GET(self): self.answer(body=True)

    def answer(self, body: bool):
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            return self.send(self.about(*parts[2:]), {"Content-Type": "application/json"}, body)
        organisation, name, resolve, commit, *path = parts
        file = self.folder / organisation / name / "/".join(path)
        content = file.read_bytes() if file.is_file() else None
        if body and content is not None: self.served.append(file.relative_to(self.folder).as_posix())
        digest = hashlib.sha256(content or b"").hexdigest()
        self.send(content, {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT}, body)

    def about(self, organisation: str, name: str, *what: str) -> bytes | None: # JSON; None: there is none
        top = self.folder / organisation / name
        found = [path for path in sorted(top.rglob("*")) if path.is_file()]
        files = [{"type": "file", "path": path.relative_to(top).as_posix(), "size": path.stat().st_size,
                  "oid": "0" * 40} for path in found]
        if not files: return None
        if "tree" in what: return json.dumps(files).encode()
        siblings = [{"rfilename": file["path"]} for file in files]
        return json.dumps({"id": f"{organisation}/{name}", "sha": COMMIT, "siblings": siblings}).encode()

    def send(self, content: bytes | None, headers: dict, body: bool):
        self.send_response(404 if content is None else 200)
        headers["Content-Length"] = str(len(content or b""))
        for name, value in headers.items(): self.send_header(name, value)
        self.end_headers()
        if body and content: self.wfile.write(content)

    def log_message(self, *_): pass


@contextlib.contextmanager
def serve(folder: Path):
    "A hub with the models in `folder`: gives the environment of its clients, and the list of downloads."
    handler = type("Here", (Hub,), {"folder": Path(folder), "served": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0",
                **{f"HF_HUB_DISABLE_{what}": "1" for what in ("XET", "TELEMETRY", "PROGRESS_BARS")}}
    try: yield settings, handler.served
    finally:
        server.shutdown()
        server.server_close()
