"""The status codes icapd speaks (RFC 3507 §4.3.3), each with the reason phrase that clients insist on."""

from __future__ import annotations

REASONS: dict[int, str] = {
    100: "Continue",
    200: "OK",
    204: "No modifications needed",
    400: "Bad request",
    404: "ICAP Service not found",
    405: "Method not allowed for service",
    408: "Request timeout",
    418: "Bad composition",
    500: "Server error",
    501: "Method not implemented",
    503: "Service overloaded",
    505: "ICAP version not supported",
}

STATUS_LINES: dict[int, bytes] = {
    status: f"ICAP/1.0 {status} {reason}\r\n".encode("ascii") for status, reason in REASONS.items()
}
