"""Decrypts workbooks of the binary format whose password is known: Office's own, or a configured one.

Excel opens those with its own without a question, as it does OOXML packages (`agile`). XOR obfuscation, RC4, and RC4
of CryptoAPI ([MS-XLS] 2.2.10); heads of records, and a few records and fields, stand in the stream as they are.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher

from engines.office.agile import Locked
from icapd.scan.model import Budget

_BLOCK_BYTES: Final = 1024
_FILEPASS, _SHEET = 0x002F, 0x0085
_PLAIN_RECORDS: Final = frozenset({0x0809, _FILEPASS, 0x00E1, 0x0138, 0x0193, 0x0194, 0x0195, 0x0196})
"""BOF, FilePass, InterfaceHdr, and what is said of shared workbooks and locks."""
_ROTATED: Final = bytes((value << 3 | value >> 5) & 0xFF for value in range(256))
_PAD: Final = bytes.fromhex("bbffffbaffffb98000be0f00bf0f00")

Key = Callable[[int], bytes]
"""The key of a block by its number."""


def decrypt(stream: bytes, password: str, budget: Budget) -> bytes:
    """The workbook's stream in plain, when this password opens it.

    Raises: Locked; LimitReached, DeadlineReached.
    """
    try:
        filepass = next(content for kind, _, content in _records(stream, budget) if kind == _FILEPASS)
        (scheme,) = struct.unpack_from("<H", filepass)
        if scheme == 0:
            return _unmasked(stream, _mask(filepass, password), budget)
        return _deciphered(stream, _key(filepass, password.encode("utf-16-le")), budget)
    except (StopIteration, struct.error, ValueError) as error:
        raise Locked from error


def _records(stream: bytes, budget: Budget) -> Iterator[tuple[int, int, bytes]]:
    """Kind, place and content, up to the end or damage."""
    at = count = 0
    while at + 4 <= len(stream):
        count += 1
        if count % 4096 == 0:
            budget.check_time()
        kind, size_bytes = struct.unpack_from("<HH", stream, at)
        yield kind, at + 4, stream[at + 4 : at + 4 + size_bytes]
        at += 4 + size_bytes


def _deciphered(stream: bytes, key: Key, budget: Budget) -> bytes:
    out = bytearray()
    for number, start in enumerate(range(0, len(stream), _BLOCK_BYTES)):
        budget.check_time()
        out += _rc4(key(number), stream[start : start + _BLOCK_BYTES])
    return _assembled(stream, budget, lambda at, content: bytes(out[at : at + len(content)]))


def _unmasked(stream: bytes, mask: bytes, budget: Budget) -> bytes:
    def content_of(at: int, content: bytes) -> bytes:
        first = (at + len(content)) % 16
        ring = (mask[first:] + mask[:first]) * (len(content) // 16 + 1)
        unmasked = int.from_bytes(content, "big") ^ int.from_bytes(ring[: len(content)], "big")
        return unmasked.to_bytes(len(content), "big").translate(_ROTATED)

    return _assembled(stream, budget, content_of)


def _assembled(stream: bytes, budget: Budget, content_of: Callable[[int, bytes], bytes]) -> bytes:
    """The stream with the content of its records in plain; what says that it is encrypted has no kind any more."""
    budget.take_bytes(len(stream))
    out = bytearray()
    for kind, at, content in _records(stream, budget):
        plain = content if kind in _PLAIN_RECORDS else content_of(at, content)
        if kind == _SHEET:
            plain = content[:4] + plain[4:]
        out += struct.pack("<H", 0 if kind == _FILEPASS else kind) + stream[at - 2 : at] + plain
    return bytes(out)


def _key(filepass: bytes, password: bytes) -> Key:
    """Raises: Locked when the password is not the right one, or the scheme is none of ours."""
    major, minor = struct.unpack_from("<HH", filepass, 2)
    if (major, minor) == (1, 1):
        return _checked(_key_40(filepass[6:22], password), "md5", filepass[22:38], filepass[38:54])
    if minor != 2 or major not in (2, 3, 4):
        raise Locked
    (header_bytes,) = struct.unpack_from("<I", filepass, 10)
    (key_bits,) = struct.unpack_from("<I", filepass, 14 + 16)
    verifier = filepass[14 + header_bytes :]
    if key_bits not in (0, *range(40, 129, 8)) or len(verifier) < 60:
        raise Locked
    key = _key_of_provider(verifier[4:20] + password, key_bits // 8 or 5)
    return _checked(key, "sha1", verifier[20:36], verifier[40:60])


def _checked(key: Key, hash_name: str, verifier: bytes, expected: bytes) -> Key:
    plain = _rc4(key(0), verifier + expected)
    if len(plain) < 32 or hashlib.new(hash_name, plain[:16], usedforsecurity=False).digest() != plain[16:]:
        raise Locked
    return key


def _key_40(salt: bytes, password: bytes) -> Key:
    """RC4 encryption's keys ([MS-OFFCRYPTO] 2.3.6.2)."""
    secret = _md5(password)[:5]
    intermediate = _md5((secret + salt) * 16)[:5]
    return lambda number: _md5(intermediate + struct.pack("<I", number))


def _key_of_provider(salted: bytes, key_bytes: int) -> Key:
    """RC4 CryptoAPI encryption's keys ([MS-OFFCRYPTO] 2.3.5.2); one of 40 bits is filled up with zeros."""
    secret = _sha1(salted)

    def key(number: int) -> bytes:
        short = _sha1(secret + struct.pack("<I", number))[:key_bytes]
        return short.ljust(16, b"\0") if key_bytes == 5 else short

    return key


def _mask(filepass: bytes, text: str) -> bytes:
    """XOR obfuscation's array ([MS-OFFCRYPTO] 2.3.7.2), by the key that the record holds.

    Raises: Locked when the record was made for another password.
    """
    key, verifier = struct.unpack_from("<HH", filepass, 2)
    password = text.encode("latin-1", "replace")[:15]
    if verifier != _xor_verifier(password):
        raise Locked
    halves = key.to_bytes(2, "little")
    filled = (password + _PAD)[:16]
    return bytes(_turned(byte ^ halves[at % 2]) for at, byte in enumerate(filled))


def _xor_verifier(password: bytes) -> int:
    """[MS-OFFCRYPTO] 2.3.7.1."""
    value = 0
    for byte in reversed(bytes([len(password)]) + password):
        value = ((value >> 14 & 1) | (value << 1 & 0x7FFF)) ^ byte
    return value ^ 0xCE4B


def _turned(byte: int) -> int:
    return (byte >> 1 | byte << 7) & 0xFF


def _rc4(key: bytes, data: bytes) -> bytes:
    return Cipher(ARC4(key), None).encryptor().update(data)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()
