"""The application of try.sh: keeps each body that it is sent in its working directory, and counts them for GET.
Prints its port at start."""

from __future__ import annotations

import http.server
from pathlib import Path


class Exchange(http.server.BaseHTTPRequestHandler):
    """POST keeps, GET counts."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        number = len(list(Path().iterdir()))
        Path(f"upload-{number}").write_bytes(body)
        self._answer(201, "kept\n")

    def do_GET(self) -> None:
        self._answer(200, f"{len(list(Path().iterdir()))} kept\n")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exchange) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
