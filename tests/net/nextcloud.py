"""What Nextcloud's antivirus app takes an answer for: its lib/Scanner/ICAP.php and lib/Net, read at 62e4aa8."""

from __future__ import annotations

import re

_UNSCANNABLE = frozenset({"decode_error", "max_archive_layers_exceeded", "password_protected"})
_BLOCKED = frozenset({"file_type_blocked", "file_extension_blocked"})


def verdict(reply: bytes, virus_header: str = "X-Infection-Found") -> str:
    """clean, infected, unscannable, or error where the app throws. Header names are compared with their case."""
    head, _, rest = reply.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    status = re.fullmatch(r"ICAP/1\.0 (\d{3}) .+", lines[0])
    if status is None:
        return "error"
    if status[1] == "204":
        return "clean"  # its headers are not read
    headers = dict(line.split(": ", 1) for line in lines[1:])
    if status[1] == "200":
        http_status = rest.partition(b"\r\n")[0]
        is_hit = virus_header in headers or b"403 Forbidden" in http_status or b"403 VirusFound" in http_status
        return "infected" if is_hit else "clean"
    code = headers.get("X-Error-Code")
    if status[1] != "500" or code is None:
        return "error"
    return "unscannable" if code in _UNSCANNABLE else "infected" if code in _BLOCKED else "error"
