"""Encrypts OOXML packages and binary workbooks as Office does ([MS-OFFCRYPTO] 2.3), with any password."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Callable

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
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


PLAIN_RECORDS = {0x0809, 0x002F, 0x00E1}


def xls_rc4(stream: bytes, password: str) -> bytes:
    """A workbook's stream under RC4 with 40 bits; it must hold a FilePass record of 54 bytes."""

    def key(block: int) -> bytes:
        short = hashlib.md5((hashlib.md5(password.encode("utf-16-le")).digest()[:5] + SALT) * 16).digest()[:5]
        return hashlib.md5(short + struct.pack("<I", block)).digest()

    verifier = b"0123456789abcdef"
    checks = _rc4(key(0), verifier + hashlib.md5(verifier).digest())
    return _records_sealed(stream, struct.pack("<HHH", 1, 1, 1) + SALT + checks, _blocks(key))


def xls_provider(stream: bytes, password: str, bits: int = 128) -> bytes:
    """The same under RC4 of CryptoAPI; its FilePass record has 116 bytes."""
    secret = hashlib.sha1(SALT + password.encode("utf-16-le")).digest()

    def key(block: int) -> bytes:
        digest = hashlib.sha1(secret + struct.pack("<I", block)).digest()[: bits // 8]
        return digest + bytes(11) if bits == 40 else digest

    verifier = b"0123456789abcdef"
    checks = _rc4(key(0), verifier + hashlib.sha1(verifier).digest())
    header = struct.pack("<8I", 4, 0, 0x6801, 0x8004, bits, 1, 0, 0) + "RC4 ".encode("utf-16-le") + b"\0\0"
    head = struct.pack("<HHHII", 1, 2, 2, 4, len(header)) + header
    head += struct.pack("<I", 16) + SALT + checks[:16] + struct.pack("<I", 20) + checks[16:]
    return _records_sealed(stream, head, _blocks(key))


def xls_xor(stream: bytes, password: str, key: int = 0xB359) -> bytes:
    """The same under XOR obfuscation; its FilePass record has six bytes."""
    check = 0
    for byte in reversed(chr(len(password)) + password):
        check = (check >> 14 & 1 | check << 1 & 0x7FFF) ^ ord(byte)
    ring = [*password.encode(), *bytes.fromhex("bbffffbaffffb98000be0f00bf0f00")][:16]
    for at, byte in enumerate(ring):
        mixed = byte ^ (key >> 8 if at % 2 else key & 0xFF)
        ring[at] = mixed >> 1 | (mixed & 1) << 7

    def seal(at: int, content: bytes) -> bytes:
        out = bytearray()
        for number, byte in enumerate(content):
            out.append((byte >> 3 | byte << 5 & 0xFF) ^ ring[(at + len(content) + number) % 16])
        return bytes(out)

    return _records_sealed(stream, struct.pack("<HHH", 0, key, check ^ 0xCE4B), seal)


def _blocks(key: Callable[[int], bytes]) -> Callable[[int, bytes], bytes]:
    def seal(at: int, content: bytes) -> bytes:
        out = b""
        for number, byte in enumerate(content, at):
            ring = _rc4(key(number // 1024), bytes(number % 1024 + 1))
            out += bytes([byte ^ ring[-1]])
        return out

    return seal


def _records_sealed(stream: bytes, filepass: bytes, seal: Callable[[int, bytes], bytes]) -> bytes:
    out, at = b"", 0
    while at < len(stream):
        kind, size = struct.unpack_from("<HH", stream, at)
        content = stream[at + 4 : at + 4 + size]
        if kind == 0x2F:
            assert size == len(filepass)
            content = filepass
        elif kind == 0x85:
            content = content[:4] + seal(at + 4, content)[4:]
        elif kind not in PLAIN_RECORDS:
            content = seal(at + 4, content)
        out += stream[at : at + 4] + content
        at += 4 + size
    return out


def _rc4(key: bytes, data: bytes) -> bytes:
    return Cipher(ARC4(key), None).encryptor().update(data)


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
