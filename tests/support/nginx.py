"""A real nginx on free ports, with the example's Lua files and includes, in front of an origin and an ICAP server."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import LOOPBACK, accepts_connections, free_port
from tests.support.process import Child, Running, find_program, wait_until
from tests.support.tree import children

EXAMPLE = Path(__file__).parents[2] / "nginx-example"
INSTALLED = "/etc/nginx/icap"
"""Where the example's files say they are."""
INCLUDES = ("http.conf", "server.conf", "scan_uploads.conf", "scan_downloads.conf", "inner.conf")
PACKAGES = "nginx libnginx-mod-http-lua"

CONFIGURATION = """\
{user}
include /etc/nginx/modules-enabled/*.conf;
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
    include {INSTALLED}/http.conf;
    access_log {directory}/access.log icap;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 1g;
    server {{
        listen {LOOPBACK}:{port} backlog=1024;
        listen {LOOPBACK}:{http2_port} http2;
        include {INSTALLED}/server.conf;
        set $icap_reqmod "{reqmod}";
        set $icap_respmod "{respmod}";
        set $icap_inner unix:{directory}/inner.sock;
        set $icap_fail {fail};
        set $icap_timeouts "{timeouts}";
        {server}
        location /up/ {{
            include {INSTALLED}/scan_uploads.conf;
            proxy_pass http://{LOOPBACK}:{origin_port};
        }}
        location /down/ {{ include {INSTALLED}/scan_downloads.conf; }}
        location /ranges/ {{
            set $icap_ranges pass;
            include {INSTALLED}/scan_downloads.conf;
        }}
        location /files/ {{ include {INSTALLED}/scan_downloads.conf; }}
        location /both/ {{
            include {INSTALLED}/scan_uploads.conf;
            include {INSTALLED}/scan_downloads.conf;
        }}
        location /plain/ {{ proxy_pass http://unix:{directory}/inner.sock; }}
    }}
    server {{
        listen unix:{directory}/inner.sock backlog=1024;
        include {INSTALLED}/inner.conf;
        location / {{
            proxy_pass http://{LOOPBACK}:{origin_port};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
        location = /down/who {{ return 200 "$remote_addr $http_x_forwarded_proto"; }}
        location /files/ {{ alias {directory}/files/; }}
        location /ranges/ {{ alias {directory}/files/; }}
        location /plain/ {{ alias {directory}/files/; }}
    }}
}}
"""

LINE = re.compile(
    r'\S+ \S+ \S+ "(?P<method>\S+) (?P<uri>\S+)" (?P<code>\d+) \d+ '
    r'icap=(?P<verdict>.*) threat="(?P<threat>.*)" info="(?P<info>.*)" seconds="(?P<seconds>.*)"'
)


@dataclass(frozen=True)
class Line:
    """One line of the access log, in the example's format."""

    method: str
    uri: str
    code: str
    verdict: str
    threat: str
    info: str
    seconds: str

    @property
    def status(self) -> int:
        return int(self.code)


class Nginx(Running):
    """A running nginx with one worker; a context manager that ends it.

    Its locations: /up/ scans uploads to the origin, /down/ downloads from it, /both/ both; /files/ scans what lies in
    `files`, /ranges/ the same by fragments, and /plain/ is that folder unscanned.
    """

    def __init__(
        self,
        directory: Path,
        *,
        reqmod: str,
        respmod: str,
        origin_port: int,
        fail: str = "closed",
        timeouts: str = "connect=5 send=30 read=60 total=120",
        server: str = "",
    ) -> None:
        program = find_program("nginx", PACKAGES)
        self.directory = directory
        self.files = directory / "files"
        self.files.mkdir(parents=True)
        self.port, self.http2_port = free_port(), free_port()
        icap = directory / "icap"
        shutil.copytree(EXAMPLE / "lua", icap / "lua")
        for name in INCLUDES:
            text = (EXAMPLE / name).read_text()
            (icap / name).write_text(text.replace(INSTALLED, str(icap)))
        text = CONFIGURATION.format(
            # As root, the worker would be www-data, who may not enter the directories pytest makes.
            user="user root;" if os.geteuid() == 0 else "",
            directory=directory,
            LOOPBACK=LOOPBACK,
            INSTALLED=icap,
            port=self.port,
            http2_port=self.http2_port,
            reqmod=reqmod,
            respmod=respmod,
            origin_port=origin_port,
            fail=fail,
            timeouts=timeouts,
            server=server,
        )
        configuration = directory / "nginx.conf"
        configuration.write_text(text)
        argv = [program, "-c", str(configuration), "-e", str(directory / "error.log")]
        self._child = Child(argv, directory / "nginx.out")
        try:
            self._child.wait_until(lambda: accepts_connections(self.port), "nginx listens")
        except RuntimeError as error:
            error.add_note(self.logs())
            self.stop()
            raise

    def url(self, path: str) -> str:
        return f"http://{LOOPBACK}:{self.port}{path}"

    @property
    def worker(self) -> int:
        """The process id of the worker."""
        [pid] = children(self._child.pid)
        return pid

    def peak_memory_bytes(self) -> int:
        """The most that the worker has held at once, its libraries' shared pages included."""
        status = Path(f"/proc/{self.worker}/status").read_text()
        match = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        assert match is not None
        return int(match[1]) * 1024

    def lines(self, uri: str, count: int = 1) -> list[Line]:
        """The access lines of one path, once there are so many."""

        def found() -> list[Line]:
            matches = map(LINE.fullmatch, (self.directory / "access.log").read_text().splitlines())
            every = [Line(**match.groupdict()) for match in matches if match is not None]
            return [line for line in every if line.uri == uri]

        wait_until(lambda: len(found()) >= count, f"{count} access lines of {uri}")
        return found()

    def errors(self) -> str:
        return (self.directory / "error.log").read_text(errors="replace")

    def logs(self) -> str:
        """The last of every log: what a failing test shows."""
        paths = [self.directory / name for name in ("nginx.out", "error.log", "access.log")]
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-4000:]}" for path in paths if path.exists()
        )

    def stop(self) -> None:
        self._child.stop()
