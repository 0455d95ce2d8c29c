"""A real Rspamd with its ICAP scanner alone: no Redis, no rules of its own, so that it says what icapd said."""

from __future__ import annotations

import json
import shutil
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.ports import LOOPBACK, accepts_connections, free_port
from tests.support.process import Child, Running, find_program

SYMBOL, FAILED = "ICAPD_VIRUS", "ICAPD_FAIL"

CONFIGURATION = """\
lua = "/usr/share/rspamd/rules/rspamd.lua";
options {{
  filters = "";
  dns {{ nameserver = ["{loopback}:{dns_port}"]; timeout = 0.1s; retransmits = 1; }}
  url_tld = "{directory}/tld";
  temp_dir = "{directory}";
  pidfile = "{directory}/rspamd.pid";
  control_socket = "{directory}/control mode=0600";
}}
logging {{ type = "console"; level = "info"; color = false; }}
worker "normal" {{ bind_socket = "{loopback}:{port}"; count = 1; task_timeout = 20s; }}
modules {{ path = "/usr/share/rspamd/plugins/external_services.lua"; }}
external_services {{
  icap {{
    type = "icap";
    servers = "{loopback}:{icap_port}";
    scheme = "{service}";
    symbol = "{symbol}";
    symbol_fail = "{failed}";
    scan_mime_parts = true;
    scan_all_mime_parts = true;
    scan_text_mime = true;
    timeout = 5.0;
    retransmits = 1;
  }}
}}
"""


class Rspamd(Running):
    """A running Rspamd that asks one ICAP service; a context manager that ends it and removes its directory."""

    def __init__(self, icap_port: int, service: str) -> None:
        program = find_program("rspamd", "rspamd")
        self.port = free_port()
        # Its user must get there, which pytest's directories do not allow.
        self.directory = Path(tempfile.mkdtemp(prefix="icapd-rspamd-"))
        self.directory.chmod(0o777)
        (self.directory / "tld").write_text("com\nexample\n")  # the shipped list takes seconds to compile
        configuration = self.directory / "rspamd.conf"
        configuration.write_text(
            CONFIGURATION.format(
                loopback=LOOPBACK,
                port=self.port,
                dns_port=free_port(),
                directory=self.directory,
                icap_port=icap_port,
                service=service,
                symbol=SYMBOL,
                failed=FAILED,
            )
        )
        argv = [program, "--no-fork", "--insecure", "--config", str(configuration)]
        self.child = Child(argv, self.directory / "rspamd.out")
        try:
            self.child.wait_until(lambda: accepts_connections(self.port), "Rspamd listens", 60)
        except RuntimeError:
            self.stop()
            raise

    def check(self, mail: bytes) -> Mapping[str, list[str]]:
        """The symbols that Rspamd gives this mail, each with its options."""
        request = urllib.request.Request(f"http://{LOOPBACK}:{self.port}/checkv2", data=mail)
        with urllib.request.urlopen(request, timeout=30) as reply:
            answer: dict[str, Any] = json.load(reply)
        return {name: symbol.get("options", []) for name, symbol in answer["symbols"].items()}

    def stop(self) -> None:
        self.child.stop()
        shutil.rmtree(self.directory)

    def logs(self) -> str:
        return f"--- rspamd\n{self.child.output()[-5000:]}"
