"""The web server of try.sh: serves its working directory and keeps what is PUT there. Prints its port at start."""

from __future__ import annotations

import http.server
from pathlib import Path


class Exchange(http.server.SimpleHTTPRequestHandler):
    """GET as http.server has it, and PUT."""

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Path(Path(self.path).name).write_bytes(body)
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()


with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exchange) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
