"""`icapd shadow report`: what the configuration that is tried would have answered otherwise, by rule and host."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from icapd.cli.exits import Exit
from icapd.config.load import read_admin
from icapd.worker.control import ask_shadow, control_address
from icapd.worker.frames import ShadowReport

_HEADINGS = ("change", "rule now", "rule then", "host", "times")
_TELLS = {
    "same": "answered alike",
    "blocks": "would be blocked",
    "releases": "would be released",
    "dropped": "not tried, as too much was waiting or the body too large",
    "failed": "not tried to the end",
}


def run(options: argparse.Namespace) -> int:
    """Asks the running server. Returns: 3 when there is none."""
    overrides = dict(options.set)
    if options.admin:
        overrides["server.admin"] = options.admin
    admin = read_admin(options.config, overrides)
    try:
        report = ask_shadow(control_address(admin), options.timeout)
    except ConnectionRefusedError:
        print(f"icapd: no server with the admin address http://{admin} runs here", file=sys.stderr)
        return Exit.FAILED
    except TimeoutError:
        print("icapd: the server has not answered in time", file=sys.stderr)
        return Exit.FAILED
    if options.json:
        print(json.dumps(_as_json(report)))
    else:
        print("\n".join(_as_text(report)))
    return Exit.OK


def _as_json(report: ShadowReport) -> dict[str, object]:
    keys = ("change", "rule", "action", "shadow_rule", "shadow_action", "host", "times")
    differences = [dict(zip(keys, (*labels, times), strict=True)) for labels, times in report.differences]
    return {
        "configuration": report.configuration,
        "share": report.share,
        "transactions": dict(report.transactions),
        "differences": differences,
        "left_out": report.left_out,
    }


def _as_text(report: ShadowReport) -> Iterator[str]:
    if not report.configuration:
        yield "Nothing is tried: shadow.config is not set."
        return
    yield f"{report.configuration} is tried on {report.share:.4g} of all transactions."
    for change, text in _TELLS.items():
        yield f"{report.transactions.get(change, 0):>10} {text}"
    if not report.differences:
        return
    rows = [
        (change, f"{rule} ({action})", f"{then} ({does})", _clear(host), str(times))
        for (change, rule, action, then, does, host), times in report.differences
    ]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    yield ""
    for row in [_HEADINGS, *rows]:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    if report.left_out:
        yield f"and {report.left_out} rows with fewer"


def _clear(host: str) -> str:
    """A peer's text, fit for a terminal."""
    return "".join(char if char.isprintable() else "?" for char in host)
