"""Decrypts OOXML packages whose password is known ([MS-OFFCRYPTO] 2.3.4), agile and standard, with AES.

Excel opens a workbook with Office's own default password ("VelvetSweatshop") without a question, which is why senders
of malware like it. Besides that one only what the operator configured is tried.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass
from typing import Final
from xml.parsers import expat

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

from icapd.scan.model import Budget

OFFICE_DEFAULT: Final = "VelvetSweatshop"
SPINS_MAX: Final = 200_000
"""Rounds of the key's derivation that we go along with; programs write 100,000 and 50,000."""
_SEGMENT_BYTES: Final = 4096
_INFO_BYTES_MAX: Final = 64 * 1024
_VERIFIER_INPUT: Final = bytes.fromhex("fea7d2763b4b9e79")
_VERIFIER_VALUE: Final = bytes.fromhex("d7aa0f6d3061344e")
_KEY_VALUE: Final = bytes.fromhex("146e0be7abacd0d6")
_STANDARD_SPINS: Final = 50_000
_HASHES: Final = {"SHA1": "sha1", "SHA-1": "sha1", "SHA256": "sha256", "SHA384": "sha384", "SHA512": "sha512"}


class Locked(Exception):
    """Another password, or a scheme that is none of ours."""


@dataclass(frozen=True, slots=True)
class _Spec:
    """The attributes of a `keyData` or `encryptedKey` element."""

    salt: bytes
    hash_name: str
    key_bytes: int
    spins: int
    given: dict[str, str]

    def blob(self, key: str) -> bytes:
        return base64.b64decode(self.given.get(key, ""))


def decrypt(info: bytes, package: bytes, password: str, budget: Budget) -> bytes:
    """The package inside, when this password opens it.

    Raises: Locked; LimitReached, DeadlineReached.
    """
    if len(info) < 12 or len(package) < 24:
        raise Locked
    try:
        major, minor = struct.unpack_from("<HH", info)
        if (major, minor) == (4, 4):
            return _agile(info[8:_INFO_BYTES_MAX], package, password, budget)
        if minor == 2 and major in (2, 3, 4):
            return _standard(info, package, password, budget)
    except (expat.ExpatError, struct.error, ValueError, KeyError, LookupError, binascii.Error) as error:
        raise Locked from error
    raise Locked


def _agile(xml: bytes, package: bytes, password: str, budget: Budget) -> bytes:
    """Agile encryption ([MS-OFFCRYPTO] 2.3.4.10 to 2.3.4.15)."""
    elements: dict[str, dict[str, str]] = {}
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(name: str, attributes: dict[str, str]) -> None:
        elements.setdefault(name.rpartition(" ")[2], attributes)

    parser.StartElementHandler = start
    parser.Parse(xml.rstrip(b"\0"), True)
    data, key = _spec(elements["keyData"]), _spec(elements["encryptedKey"])
    derived = _spun(key.hash_name, key.salt + password.encode("utf-16-le"), key.spins, budget)
    verifier = _unwrapped(key, derived, _VERIFIER_INPUT, "encryptedVerifierHashInput")
    expected = _unwrapped(key, derived, _VERIFIER_VALUE, "encryptedVerifierHashValue")
    digest = hashlib.new(key.hash_name, verifier).digest()
    if expected[: len(digest)] != digest:
        raise Locked
    secret = _unwrapped(key, derived, _KEY_VALUE, "encryptedKeyValue")[: data.key_bytes]
    budget.take_bytes(len(package))
    out = bytearray()
    for number, at in enumerate(range(8, len(package), _SEGMENT_BYTES)):
        budget.check_time()
        vector = _fitted(hashlib.new(data.hash_name, data.salt + struct.pack("<I", number)).digest(), 16)
        out += _cbc(secret, vector, package[at : at + _SEGMENT_BYTES])
    return _cut(out, package)


def _spec(given: dict[str, str]) -> _Spec:
    if given.get("cipherAlgorithm", "AES") != "AES" or given.get("cipherChaining") != "ChainingModeCBC":
        raise Locked
    spins, key_bits = int(given.get("spinCount", "0")), int(given["keyBits"])
    if not 0 <= spins <= SPINS_MAX or key_bits not in (128, 192, 256):
        raise Locked
    salt = base64.b64decode(given["saltValue"])
    return _Spec(salt, _HASHES[given["hashAlgorithm"]], key_bits // 8, spins, given)


def _spun(hash_name: str, salted: bytes, spins: int, budget: Budget) -> bytes:
    """The slow part: one hash over another, as often as the file says."""
    digest = hashlib.new(hash_name, salted).digest()
    hashed = getattr(hashlib, hash_name)
    for number in range(spins):
        if number % 4096 == 0:
            budget.check_time()
        digest = hashed(number.to_bytes(4, "little") + digest).digest()
    return digest


def _unwrapped(spec: _Spec, derived: bytes, block_key: bytes, name: str) -> bytes:
    key = _fitted(hashlib.new(spec.hash_name, derived + block_key).digest(), spec.key_bytes)
    return _cbc(key, _fitted(spec.salt, 16), spec.blob(name))


def _fitted(value: bytes, length: int) -> bytes:
    return value[:length].ljust(length, b"\x36")


def _cbc(key: bytes, vector: bytes, data: bytes) -> bytes:
    decryptor = Cipher(AES(key), CBC(vector)).decryptor()
    return decryptor.update(data[: len(data) - len(data) % 16])


def _standard(info: bytes, package: bytes, password: str, budget: Budget) -> bytes:
    """Standard encryption ([MS-OFFCRYPTO] 2.3.4.5 to 2.3.4.9): SHA-1 and AES in ECB mode."""
    (header_bytes,) = struct.unpack_from("<I", info, 8)
    header, verifier = info[12 : 12 + header_bytes], info[12 + header_bytes :]
    algorithm, _, key_bits = struct.unpack_from("<III", header, 8)
    if algorithm not in (0x660E, 0x660F, 0x6610) or key_bits not in (128, 192, 256):
        raise Locked
    (salt_bytes,) = struct.unpack_from("<I", verifier)
    if salt_bytes != 16 or len(verifier) < 72:
        raise Locked
    salt, check, check_hash = verifier[4:20], verifier[20:36], verifier[40:72]
    final = hashlib.sha1(
        _spun("sha1", salt + password.encode("utf-16-le"), _STANDARD_SPINS, budget) + bytes(4), usedforsecurity=False
    ).digest()
    key = b"".join(
        hashlib.sha1(bytes(byte ^ mask for byte in final.ljust(64, b"\0")), usedforsecurity=False).digest()
        for mask in (0x36, 0x5C)
    )[: key_bits // 8]
    decryptor = Cipher(AES(key), ECB()).decryptor()  # noqa: S305 - the format's choice, and we only read
    plain, digest = decryptor.update(check), decryptor.update(check_hash)
    if hashlib.sha1(plain, usedforsecurity=False).digest() != digest[:20]:
        raise Locked
    budget.take_bytes(len(package))
    return _cut(bytearray(decryptor.update(package[8 : len(package) - (len(package) - 8) % 16])), package)


def _cut(out: bytearray, package: bytes) -> bytes:
    (size_bytes,) = struct.unpack_from("<Q", package)
    return bytes(out[: min(size_bytes, len(out))])
