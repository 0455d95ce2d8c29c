"""Decrypts documents whose user password is empty, or one that the operator configured (ISO 32000-2, 7.6).

An empty one is how offices "protect" a document against printing; every reader opens it without a question. RC4 and
AES of revisions 2 to 6; no password is guessed.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher as _Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from engines.pdf.values import Value

_PADDING: Final = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")
_KEY_BYTES: Final = (5, 16)
"""40 and 128 bits: what programs write. OpenSSL's RC4 takes no lengths between that would fit."""
_ROUNDS_MAX: Final = 4096
"""Of revision 6's key: it ends after 64 rounds and a few more, by chance."""


class Locked(Exception):
    """Encrypted, and not readable with this password."""


class Cipher:
    """The keys of one document."""

    def __init__(self, dictionary: Mapping[str, Value], identifier: bytes, password: str = "") -> None:
        """Raises: Locked when the password does not open it, or the scheme is none we know."""
        version, revision = _int(dictionary, "V"), _int(dictionary, "R")
        if dictionary.get("Filter") != "Standard" or version not in (1, 2, 4, 5) or revision not in (2, 3, 4, 5, 6):
            raise Locked
        self._dictionary = dictionary
        self._version = version
        self._method = _method(dictionary, version, dictionary.get("StmF"))
        self._string_method = _method(dictionary, version, dictionary.get("StrF"))
        if revision >= 5:
            self._key = _key_256(dictionary, revision, password.encode()[:127])
        else:
            padded = (password.encode("latin-1", "replace") + _PADDING)[:32]
            self._key = _key_40_to_128(dictionary, revision, version, identifier, padded)
        self._keeps_metadata_plain = dictionary.get("EncryptMetadata") is False

    def is_like(self, other: Cipher) -> bool:
        """Whether both read every stream and string alike."""
        return (
            self._key == other._key
            and self._method == other._method
            and self._string_method == other._string_method
            and self._keeps_metadata_plain == other._keeps_metadata_plain
            and self._dictionary.get("CF") == other._dictionary.get("CF")
        )

    def stream(
        self, raw: bytes, number: int, generation: int, kind: Value, filters: list[str], parameters: Value
    ) -> bytes:
        """Args: `kind` is the stream's type; `parameters` those of its first filter, which may name a cipher."""
        if kind == "XRef" or (kind == "Metadata" and self._keeps_metadata_plain):
            return raw
        method = self._method
        if filters[:1] == ["Crypt"]:
            name = parameters.get("Name") if isinstance(parameters, dict) else None
            try:
                method = _method(self._dictionary, self._version, name)
            except Locked:
                return raw
        return self._decrypt(method, raw, number, generation)

    def string(self, raw: bytes, number: int, generation: int) -> bytes:
        return self._decrypt(self._string_method, raw, number, generation)

    def _decrypt(self, method: str, raw: bytes, number: int, generation: int) -> bytes:
        if method == "Identity" or not raw:
            return raw
        if method == "AESV3":
            return _aes(self._key, raw)
        salt = struct.pack("<I", number & 0xFFFFFF)[:3] + struct.pack("<I", generation & 0xFFFF)[:2]
        is_aes = method == "AESV2"
        digest = _md5(self._key + salt + (b"sAlT" if is_aes else b""))
        key = digest[: min(len(self._key) + 5, 16)]
        return _aes(key, raw) if is_aes else _rc4(key, raw)


def _int(dictionary: Mapping[str, Value], key: str) -> int:
    value = dictionary.get(key)
    return value if isinstance(value, int) else 0


def _bytes(dictionary: Mapping[str, Value], key: str, length: int) -> bytes:
    value = dictionary.get(key)
    if not isinstance(value, bytes) or len(value) < length:
        raise Locked
    return value[:length]


def _method(dictionary: Mapping[str, Value], version: int, name: Value) -> str:
    """Which cipher streams or strings have: RC4 before crypt filters, else as the filter of that name says."""
    if version < 4:
        return "V2"
    filters = dictionary.get("CF")
    chosen = filters.get(str(name)) if isinstance(filters, dict) else None
    if name in (None, "Identity") or not isinstance(chosen, dict):
        return "Identity"
    method = chosen.get("CFM", "None")
    if method in ("V2", "AESV2", "AESV3"):
        return str(method)
    if method in ("None", None):
        return "Identity"
    raise Locked


def _key_40_to_128(
    dictionary: Mapping[str, Value], revision: int, version: int, identifier: bytes, padded: bytes
) -> bytes:
    """Algorithms 2, 4 and 5."""
    owner, user = _bytes(dictionary, "O", 32), _bytes(dictionary, "U", 32)
    bits = _int(dictionary, "Length") or 40
    length = 16 if version == 4 else bits // 8 if revision >= 3 else 5
    if length not in _KEY_BYTES:
        raise Locked
    permissions = struct.pack("<I", _int(dictionary, "P") & 0xFFFFFFFF)
    plain = dictionary.get("EncryptMetadata") is False and revision >= 4
    key = _md5(padded + owner + permissions + identifier + (b"\xff\xff\xff\xff" if plain else b""))
    if revision >= 3:
        for _ in range(50):
            key = _md5(key[:length])
    key = key[:length]
    if revision == 2:
        is_right = _rc4(key, _PADDING) == user
    else:
        check = _rc4(key, _md5(_PADDING + identifier))
        for step in range(1, 20):
            check = _rc4(bytes(byte ^ step for byte in key), check)
        is_right = check == user[:16]
    if not is_right:
        raise Locked
    return key


def _key_256(dictionary: Mapping[str, Value], revision: int, password: bytes) -> bytes:
    """Algorithm 2.A with a user's password."""
    user, wrapped = _bytes(dictionary, "U", 48), _bytes(dictionary, "UE", 32)
    digest: Callable[[bytes, bytes], bytes] = _sha256 if revision == 5 else _hardened
    if digest(password, user[32:40]) != user[:32]:
        raise Locked
    decryptor = _Cipher(AES(digest(password, user[40:48])), CBC(bytes(16))).decryptor()
    return decryptor.update(wrapped) + decryptor.finalize()


def _hardened(password: bytes, salt: bytes) -> bytes:
    """Algorithm 2.B for a user's password."""
    key = _sha256(password, salt)
    for count in range(1, _ROUNDS_MAX):
        encryptor = _Cipher(AES(key[:16]), CBC(key[16:32])).encryptor()
        mixed = encryptor.update((password + key) * 64) + encryptor.finalize()
        digest = (hashlib.sha256, hashlib.sha384, hashlib.sha512)[sum(mixed[:16]) % 3]
        key = digest(mixed).digest()
        if count >= 64 and mixed[-1] <= count - 32:
            break
    return key[:32]


def _sha256(password: bytes, salt: bytes) -> bytes:
    return hashlib.sha256(password + salt).digest()


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _rc4(key: bytes, data: bytes) -> bytes:
    return _Cipher(ARC4(key), None).encryptor().update(data)


def _aes(key: bytes, data: bytes) -> bytes:
    """CBC behind its vector; a last block that is cut, or bad padding, loses itself and nothing else."""
    whole = len(data) - len(data) % 16
    if whole < 32:
        return b""
    decryptor = _Cipher(AES(key), CBC(data[:16])).decryptor()
    plain = decryptor.update(data[16:whole]) + decryptor.finalize()
    return plain[: -plain[-1]] if 1 <= plain[-1] <= 16 else plain
