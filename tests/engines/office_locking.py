"""Encrypts OOXML packages as Office does ([MS-OFFCRYPTO] 2.3.4), agile and standard, with any password."""

from __future__ import annotations

import base64
import hashlib
import struct

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

from tests.engines.office_writing import compound

SALT = bytes(range(16))
DATA_SALT = bytes(range(16, 32))
SECRET = bytes(range(32))


def agile(package: bytes, password: str, spins: int = 1000) -> bytes:
    """A compound file with an agile package: AES-256, SHA-512."""
    digest = _spun("sha512", password, spins)
    verifier = b"0123456789abcdef"
    values = {
        "encryptedVerifierHashInput": (bytes.fromhex("fea7d2763b4b9e79"), verifier),
        "encryptedVerifierHashValue": (bytes.fromhex("d7aa0f6d3061344e"), hashlib.sha512(verifier).digest()),
        "encryptedKeyValue": (bytes.fromhex("146e0be7abacd0d6"), SECRET),
    }
    wrapped = " ".join(
        f'{name}="{_text(_cbc(hashlib.sha512(digest + block).digest()[:32], SALT, value))}"'
        for name, (block, value) in values.items()
    )
    common = (
        'keyBits="256" cipherAlgorithm="AES" cipherChaining="ChainingModeCBC" hashAlgorithm="SHA512" hashSize="64"'
    )
    xml = (
        '<?xml version="1.0"?><encryption xmlns="http://schemas.microsoft.com/office/2006/encryption"'
        ' xmlns:p="http://schemas.microsoft.com/office/2006/keyEncryptor/password">'
        f'<keyData saltSize="16" blockSize="16" {common} saltValue="{_text(DATA_SALT)}"/><keyEncryptors>'
        f'<keyEncryptor><p:encryptedKey spinCount="{spins}" {common} saltValue="{_text(SALT)}" {wrapped}/>'
        "</keyEncryptor></keyEncryptors></encryption>"
    )
    sealed = b"".join(
        _cbc(
            SECRET,
            hashlib.sha512(DATA_SALT + struct.pack("<I", number)).digest()[:16],
            _padded(package[at : at + 4096]),
        )
        for number, at in enumerate(range(0, len(package), 4096))
    )
    info = struct.pack("<HHI", 4, 4, 0x40) + xml.encode()
    return compound({"EncryptionInfo": info, "EncryptedPackage": struct.pack("<Q", len(package)) + sealed})


def standard(package: bytes, password: str) -> bytes:
    """A compound file with a standard package: AES-128, SHA-1."""
    final = hashlib.sha1(_spun("sha1", password, 50_000) + bytes(4)).digest()
    key = hashlib.sha1(bytes(byte ^ 0x36 for byte in final.ljust(64, b"\0"))).digest()[:16]
    encryptor = Cipher(AES(key), ECB()).encryptor()
    verifier = b"0123456789abcdef"
    checks = encryptor.update(verifier), encryptor.update(hashlib.sha1(verifier).digest() + bytes(12))
    header = struct.pack("<8I", 0x24, 0, 0x660E, 0x8004, 128, 0x18, 0, 0) + "AES\0".encode("utf-16-le")
    info = struct.pack("<HHII", 3, 2, 0x24, len(header)) + header
    info += struct.pack("<I", 16) + SALT + checks[0] + struct.pack("<I", 20) + checks[1]
    sealed = encryptor.update(_padded(package))
    return compound({"EncryptionInfo": info, "EncryptedPackage": struct.pack("<Q", len(package)) + sealed})


def _spun(name: str, password: str, spins: int) -> bytes:
    digest = hashlib.new(name, SALT + password.encode("utf-16-le")).digest()
    for number in range(spins):
        digest = hashlib.new(name, struct.pack("<I", number) + digest).digest()
    return digest


def _cbc(key: bytes, vector: bytes, data: bytes) -> bytes:
    return Cipher(AES(key), CBC(vector)).encryptor().update(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
