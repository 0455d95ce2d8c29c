"""Reads digest lists into sorted tables. A line is a digest in hex, then perhaps a name; `#` starts a comment.

A million lines are read in blocks and taken apart by array operations: a Python statement a line would be slower by a
second, and text and objects of that many lines would take several hundred megabytes.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from engines.hashes.table import DIGEST_BYTES, REFERENCE_BYTES, sort_rows
from icapd.scan.engine_api import ConfigurationError, Material, Problem, open_regular

BLOCK_BYTES = 1 << 20
LINE_BYTES = 64 * 1024
PROBLEMS_PER_FILE = 20
NAMES_BYTES = (1 << 32) - 1
"""What a reference can point into; digests past it are listed without their names."""

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.intp]

_NO_NIBBLE = 0xFF
_NIBBLES = bytes(int(chr(byte), 16) if chr(byte) in string.hexdigits else _NO_NIBBLE for byte in range(256))
_PARTS = np.isin(np.arange(256), tuple(b"\n\r\t "))
"""Which bytes may follow a digest."""


def read_lists(deny: list[Path], allow: list[Path]) -> Material:
    """Tables under deny.KIND and allow.KIND, KIND one of sha256, sha1, md5; the denied ones' names under deny.names.

    Raises: ConfigurationError with every file that cannot be read and every line that is no digest.
    """
    material: dict[str, bytes] = {}
    problems: list[Problem] = []
    for purpose, paths in (("deny", deny), ("allow", allow)):
        reader = _Reader()
        for path in dict.fromkeys(paths):
            problems += reader.read(path)
        material |= reader.material(purpose)
    if problems:
        raise ConfigurationError(problems)
    material.pop("allow.names", None)
    return material


class _Reader:
    """Collects the rows and names of all lists of one purpose.

    State: grows by `read`; `material` empties it.
    """

    def __init__(self) -> None:
        self._rows = {digest: bytearray() for digest in DIGEST_BYTES}
        self._names = bytearray(b"\n")  # so that reference 0 points at no name

    def read(self, path: Path) -> list[Problem]:
        problems: list[Problem] = []
        try:
            with open_regular(path) as file:
                self._read(file, path, problems)
        except OSError as error:
            problems.append(Problem(str(path), error.strerror or "cannot be read"))
        return problems[:PROBLEMS_PER_FILE]

    def material(self, purpose: str) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for digest in DIGEST_BYTES:
            if rows := self._rows.pop(digest):
                sort_rows(rows, digest)
                found[f"{purpose}.{digest}"] = bytes(rows)
        if found and len(self._names) > 1:
            found[f"{purpose}.names"] = bytes(self._names)
        return found

    def _read(self, file: BinaryIO, path: Path, problems: list[Problem]) -> None:
        rest = file.read(3).removeprefix(b"\xef\xbb\xbf")
        line = 1
        while (block := file.read(BLOCK_BYTES)) or rest:
            block = rest + block if block else rest + b"\n"
            whole = block.rfind(b"\n") + 1
            rest = block[whole:]
            line = self._take_lines(block[:whole], line, path, problems)
            if len(rest) > LINE_BYTES:
                problems.append(_too_long(path, line))
            if len(problems) >= PROBLEMS_PER_FILE or len(rest) > LINE_BYTES:
                return

    def _take_lines(self, block: bytes, line: int, path: Path, problems: list[Problem]) -> int:
        """Takes the digests of whole lines; returns the number of the line after them."""
        text = np.frombuffer(block, dtype=np.uint8)
        nibbles = np.frombuffer(block.translate(_NIBBLES), dtype=np.uint8)
        ends = np.flatnonzero(text == ord("\n"))
        starts = np.concatenate(([0], ends + 1))[:-1]
        too_long = np.flatnonzero(ends - starts > LINE_BYTES).tolist()
        problems += [_too_long(path, line + index) for index in too_long]
        is_known = np.zeros(len(starts), dtype=bool)
        for digest, digest_bytes in DIGEST_BYTES.items():
            picked = np.flatnonzero(ends - starts >= 2 * digest_bytes)
            picked = picked[_PARTS[text[starts[picked] + 2 * digest_bytes]]]
            if len(picked) == 0:
                continue
            digits = sliding_window_view(nibbles, 2 * digest_bytes)[starts[picked]]
            if digits.max() == _NO_NIBBLE:
                is_hex = digits.max(axis=1) < _NO_NIBBLE
                picked, digits = picked[is_hex], digits[is_hex]
            is_known[picked] = True
            references = self._take_names(block, starts[picked] + 2 * digest_bytes, ends[picked])
            self._rows[digest] += _rows(digits, references)
        for index in np.flatnonzero(~is_known).tolist():
            content = block[starts[index] : ends[index]].strip()
            if content and not content.startswith(b"#"):
                told = content[:80].decode("ascii", "backslashreplace")
                problems.append(Problem(f"{path}:{line + index}", f"no SHA-256, SHA-1 or MD5 digest: {told!r}"))
                if len(problems) >= PROBLEMS_PER_FILE:
                    break
        return line + len(starts)

    def _take_names(self, block: bytes, name_starts: Positions, ends: Positions) -> npt.NDArray[np.uint32]:
        """Keeps what stands after the digests, untrimmed, each with its newline; returns where."""
        references = np.zeros(len(ends), dtype=np.uint32)
        is_named = ends - name_starts > 1  # one character is a carriage return or a blank
        sizes = (ends - name_starts)[is_named] + 1
        if len(sizes) == 0 or len(self._names) + int(sizes.sum()) > NAMES_BYTES:
            return references
        references[is_named] = len(self._names) + np.cumsum(sizes) - sizes
        places = zip(name_starts[is_named].tolist(), (ends[is_named] + 1).tolist(), strict=True)
        self._names += b"".join([block[start:end] for start, end in places])
        return references


def _too_long(path: Path, line: int) -> Problem:
    return Problem(f"{path}:{line}", f"a line of more than {LINE_BYTES} bytes")


def _rows(digits: Bytes, references: npt.NDArray[np.uint32]) -> bytes:
    digest_bytes = digits.shape[1] // 2
    rows = np.empty((len(digits), digest_bytes + REFERENCE_BYTES), dtype=np.uint8)
    rows[:, :digest_bytes] = digits[:, 0::2] << 4 | digits[:, 1::2]
    rows[:, digest_bytes:] = references.astype(">u4").view(np.uint8).reshape(-1, REFERENCE_BYTES)
    return rows.tobytes()
