"""The values of command line options, read strictly. Imports argparse alone, as `icapd.cli.arguments` does."""

from __future__ import annotations

import argparse
import os

PREVIEW_BYTES_MAX = 1024 * 1024


def cores() -> int:
    return len(os.sched_getaffinity(0))


def assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError("wants KEY=VALUE, as log.level=debug")
    return key, value


def number(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15 and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"wants a number from {least} to {most}")
    return int(text)


def sha256(text: str) -> bytes:
    if len(text) != 64 or not all(char in "0123456789abcdefABCDEF" for char in text):
        raise argparse.ArgumentTypeError("wants 64 hexadecimal digits")
    return bytes.fromhex(text)


def size(text: str) -> int:
    return number(text, 1, 10**15 - 1)


def preview(text: str) -> int:
    return number(text, 0, PREVIEW_BYTES_MAX)


def jobs(text: str) -> int:
    return number(text, 1, 256)


def seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError("wants seconds, above 0 and up to 86400")
    return seconds


def header(text: str) -> str:
    name, colon, value = text.partition(":")
    is_token = bool(name) and all(char.isascii() and (char.isalnum() or char in "!#$%&'*+-.^_`|~") for char in name)
    if not colon or not is_token or not all(char == "\t" or " " <= char <= "~" for char in value):
        raise argparse.ArgumentTypeError("wants 'NAME: VALUE' in printable ASCII")
    if name.lower() in ("encapsulated", "preview", "allow", "transfer-encoding"):
        raise argparse.ArgumentTypeError(f"{name} frames the message; it cannot be set")
    return f"{name}: {value.strip()}"


def body_size(text: str) -> int:
    return number(text, 0, 10**15 - 1)


def time(text: str) -> int:
    hour, colon, minute = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError("wants HH:MM, as 08:30")
    return number(hour, 0, 23) * 60 + number(minute, 0, 59)
