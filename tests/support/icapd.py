"""The real `icapd serve`, as a process on free ports, with a configuration made from a test's overrides."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.ports import LOOPBACK, free_port
from tests.support.process import Child, Running, wait_until

Table = Mapping[str, Any]

ICAPD = str(Path(sys.executable).with_name("icapd"))
"""The installed command, as users run it."""


def environment() -> dict[str, str]:
    """Ours, without what would configure icapd."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ICAPD_")}


def to_toml(tables: Table) -> str:
    """TOML for the nested tables: scalars and lists first, then tables, then arrays of tables."""
    return "\n".join(_toml_lines(tables, ())) + "\n"


def _toml_lines(table: Table, path: tuple[str, ...]) -> list[str]:
    lines = []
    below: list[str] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            inner = (*path, key)
            below += ["", f"[{'.'.join(inner)}]", *_toml_lines(value, inner)]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            inner = (*path, key)
            for entry in value:
                below += ["", f"[[{'.'.join(inner)}]]", *_toml_lines(entry, inner)]
        else:
            # JSON's strings, numbers, booleans and lists of them are TOML's too.
            lines.append(f"{key} = {json.dumps(value)}")
    return lines + below


def merged(base: Table, overrides: Table) -> dict[str, Any]:
    """Base with the overrides laid over it, table by table."""
    result = dict(base)
    for key, value in overrides.items():
        below = result.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


class Icapd(Running):
    """A running server; a context manager that ends it.

    One front, two scanners and one rule file, on loopback, so that it starts in little time; everything else is at
    its default unless overridden.
    """

    def __init__(self, directory: Path, overrides: Table | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.admin_url = f"http://{LOOPBACK}:{free_port()}"
        self.access_log = directory / "access.log"
        self.configuration = directory / "icapd.toml"
        base = {
            "server": {"listen": [f"icap://{LOOPBACK}:{self.port}"], "admin": self.admin_url, "fronts": 1},
            "scanners": {"count": 2},
            "engines": {"yara": {"rules": ["conf/rules/eicar.yar"]}},
            "log": {"access": str(self.access_log)},
        }
        self.configuration.write_text(to_toml(merged(base, overrides or {})))
        argv = [ICAPD, "serve", "--config", str(self.configuration)]
        self.child = Child(argv, directory / "icapd.log", env=environment())
        try:
            self.child.wait_until(lambda: self.admin("/readyz")[0] == 200, "GET /readyz answers 200")
        except RuntimeError:
            self.child.stop()
            raise

    def url(self, service: str) -> str:
        return f"icap://{LOOPBACK}:{self.port}{service}"

    @property
    def address(self) -> tuple[str, int]:
        return LOOPBACK, self.port

    def admin(self, path: str) -> tuple[int, str]:
        """GET on the admin address: status and body; status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(self.admin_url + path, timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the metric's samples that have these labels; 0 when there is none."""
        families = text_string_to_metric_families(self.admin("/metrics")[1])
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def access_lines(self, count: int = 0, **fields: object) -> list[dict[str, Any]]:
        """The access lines so far that have these fields, once there are at least `count` of them."""

        def found() -> list[dict[str, Any]]:
            text = self.access_log.read_text() if self.access_log.exists() else ""
            lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
            return [line for line in lines if fields.items() <= line.items()]

        wait_until(lambda: len(found()) >= count, f"{count} access lines with {fields}")
        return found()

    def logs(self) -> str:
        """Its standard error and access log, the last of each: what a failing test shows."""
        access = self.access_log.read_text()[-6000:] if self.access_log.exists() else ""
        return f"--- icapd\n{self.child.output()[-6000:]}\n--- access\n{access}"

    def stop(self) -> int:
        """SIGTERM. Returns the exit code."""
        return self.child.stop(grace_s=40)
