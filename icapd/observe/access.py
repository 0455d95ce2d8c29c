"""One line a transaction. Never a credential, a body or a URL's query; peer text is capped and escaped.

Lines are gathered and handed to the writer in batches, as one hand-over a transaction would cost more than the line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

_BATCH_BYTES = 64 * 1024


class AccessLine(msgspec.Struct, gc=False):
    """What is known of one finished transaction. Times in seconds or milliseconds as the names say."""

    time: float
    id: str
    peer: str
    client: str
    user: str
    service: str
    method: str
    status: int
    http_method: str
    url: str
    http_status: int
    media_type: str
    real_type: str
    body_bytes: int
    sha256: str
    verdict: str
    action: str
    rule: str
    findings: list[str]
    cache: str
    preview: int | None
    dripped_bytes: int
    scan_ms: float
    total_ms: float
    error: str
    outcome: str
    name: str = ""
    """What an HTTP client calls the file."""
    samples: list[str] | msgspec.UnsetType = msgspec.UNSET
    """Of data that was found, masked; left out when there are none."""


class AccessLog:
    """State: `_lines`, not yet handed to the writer; the front calls `flush` some times a second."""

    def __init__(self, write: Callable[[bytes], object], form: Literal["json", "text"]) -> None:
        self._write = write
        self._lines = bytearray()
        self._encode = msgspec.json.Encoder()
        self.set_format(form)

    def set_format(self, form: Literal["json", "text"]) -> None:
        """Lines from now on have this form."""
        self._is_json = form == "json"

    def add(self, line: AccessLine) -> None:
        """Takes one line."""
        if self._is_json:
            self._encode.encode_into(line, self._lines, -1)
        else:
            self._lines += _as_text(line)
        self._lines += b"\n"
        if len(self._lines) > _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hands what has gathered to the writer."""
        if self._lines:
            self._write(bytes(self._lines))
            self._lines.clear()


def _as_text(line: AccessLine) -> bytes:
    """Space-separated in a fixed order, as icap_log readers are used to; empty fields are `-`."""
    fields = (
        f"{line.time:.3f}",
        f"{line.total_ms:.0f}",
        line.client or line.peer,
        f"{line.method}/{line.status}",
        line.service,
        str(line.body_bytes),
        line.http_method,
        line.url,
        line.user,
        line.verdict,
        line.action,
        line.rule,
        ",".join(line.findings),
        line.cache,
        line.id,
        line.outcome,
    )
    return " ".join(_word(field) for field in fields).encode("utf-8", "backslashreplace")


def _word(text: str) -> str:
    if not text:
        return "-"
    return "".join(c if c.isprintable() and c not in ' "\\' else f"\\x{ord(c):02x}" for c in text)
