"""Writes PDF files as programs do, and as no program does: objects, filters, object streams, encryption."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")
IDENTIFIER = b"0123456789abcdef"


def stream(content: bytes, entries: str = "", filters: tuple[str, ...] = ("FlateDecode",)) -> bytes:
    """A stream object's value; the filters are named in the order in which a reader undoes them."""
    for name in reversed(filters):
        content = ENCODERS[name](content)
    named = f"/Filter [{' '.join('/' + name for name in filters)}]" if filters else ""
    head = f"<< /Length {len(content)} {named} {entries} >>\nstream\n"
    return head.encode("latin-1") + content + b"\nendstream"


def document(
    *objects: bytes | str, trailer: str = "/Root 1 0 R", head: bytes = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
) -> bytes:
    """A file with these objects, numbered from 1, and a classic cross-reference table."""
    out = bytearray(head)
    places = []
    for number, each in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + (each.encode("latin-1") if isinstance(each, str) else each) + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += f"trailer\n<< /Size {len(places) + 1} {trailer} >>\nstartxref\n{start}\n%%EOF\n".encode("latin-1")
    return bytes(out)


def object_stream(objects: dict[int, str]) -> bytes:
    """An object stream ([ISO 32000-2] 7.5.7) with these objects."""
    bodies = [body.encode("latin-1") for body in objects.values()]
    pairs, at = [], 0
    for number, body in zip(objects, bodies, strict=True):
        pairs.append(f"{number} {at}")
        at += len(body) + 1
    table = (" ".join(pairs) + " ").encode("latin-1")
    return stream(table + b" ".join(bodies), f"/Type /ObjStm /N {len(objects)} /First {len(table)}")


def _ascii85(content: bytes) -> bytes:
    return base64.a85encode(content) + b"~>"


def _run_length(content: bytes) -> bytes:
    blocks = (content[at : at + 128] for at in range(0, len(content), 128))
    return b"".join(bytes([len(block) - 1]) + block for block in blocks) + b"\x80"


def _lzw(content: bytes) -> bytes:
    """Codes of growing width with the early change, as Acrobat wrote them."""
    table = {bytes([byte]): byte for byte in range(256)}
    bits: list[tuple[int, int]] = [(256, 9)]
    width, count, current = 9, 258, b""
    for byte in content:
        longer = current + bytes([byte])
        if longer in table:
            current = longer
            continue
        bits.append((table[current], width))
        table[longer] = count
        count += 1
        width = max((count).bit_length(), 9)
        if count >= 4094:
            bits.append((256, 12))
            table = {bytes([value]): value for value in range(256)}
            width, count = 9, 258
        current = bytes([byte])
    if current:
        bits.append((table[current], width))
        count += 1
        width = max(count.bit_length(), 9)
    bits.append((257, width))
    text = "".join(f"{code:0{size}b}" for code, size in bits)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "FlateDecode": lambda content: zlib.compress(content),
    "ASCIIHexDecode": lambda content: content.hex().encode() + b">",
    "ASCII85Decode": _ascii85,
    "RunLengthDecode": _run_length,
    "LZWDecode": _lzw,
}


def png_rows(content: bytes, columns: int, kind: int) -> bytes:
    """Content in rows under one of PNG's filters, one byte a pixel."""
    content = content.ljust(-(-len(content) // columns) * columns, b" ")
    above = bytes(columns)
    out = bytearray()
    for start in range(0, len(content), columns):
        row = content[start : start + columns]
        out.append(kind)
        for at, byte in enumerate(row):
            left = row[at - 1] if at else 0
            corner = above[at - 1] if at else 0
            guess = [0, left, above[at], (left + above[at]) // 2, _paeth(left, above[at], corner)][kind]
            out.append((byte - guess) & 0xFF)
        above = row
    return bytes(out)


def _paeth(left: int, above: int, corner: int) -> int:
    guess = left + above - corner
    return min((left, above, corner), key=lambda each: abs(guess - each))


@dataclass
class Encryption:
    """The standard handler of one revision, with this user password."""

    revision: int
    password: bytes = b""
    key: bytes = field(init=False)
    entry: str = field(init=False)

    def __post_init__(self) -> None:
        owner = hashlib.sha256(b"owner").digest()
        if self.revision >= 5:
            self._set_256()
            return
        length = 5 if self.revision == 2 else 16
        padded = (self.password + PADDING)[:32]
        key = _md5(padded + owner + struct.pack("<i", -4) + IDENTIFIER)
        if self.revision >= 3:
            for _ in range(50):
                key = _md5(key[:length])
        self.key = key[:length]
        if self.revision == 2:
            user = _rc4(self.key, PADDING)
        else:
            user = _rc4(self.key, _md5(PADDING + IDENTIFIER))
            for step in range(1, 20):
                user = _rc4(bytes(byte ^ step for byte in self.key), user)
            user += bytes(16)
        version = {2: 1, 3: 2, 4: 4}[self.revision]
        crypt = " /CF << /StdCF << /CFM /AESV2 /Length 16 >> >> /StmF /StdCF /StrF /StdCF" if version == 4 else ""
        self.entry = (
            f"<< /Filter /Standard /V {version} /R {self.revision} /Length {length * 8} /P -4{crypt}"
            f" /O <{owner.hex()}> /U <{user.hex()}> >>"
        )

    def _set_256(self) -> None:
        self.key = hashlib.sha256(b"file key").digest()
        check, salt = b"checksum", b"keysaltt"
        digest = _sha256 if self.revision == 5 else _hardened
        user = digest(self.password, check) + check + salt
        wrapped = _cbc(digest(self.password, salt), bytes(16), self.key)
        self.entry = (
            f"<< /Filter /Standard /V 5 /R {self.revision} /Length 256 /P -4 /O <{bytes(48).hex()}> /U <{user.hex()}>"
            f" /UE <{wrapped.hex()}> /OE <{bytes(32).hex()}> /Perms <{bytes(16).hex()}>"
            " /CF << /StdCF << /CFM /AESV3 /Length 32 >> >> /StmF /StdCF /StrF /StdCF >>"
        )

    def seal(self, content: bytes, number: int) -> bytes:
        """Content as it stands in object `number`, generation 0."""
        salt = struct.pack("<I", number)[:3] + b"\0\0"
        if self.revision >= 5:
            return _sealed(self.key, content)
        if self.revision == 4:
            return _sealed(_md5(self.key + salt + b"sAlT")[:16], content)
        return _rc4(_md5(self.key + salt)[: min(len(self.key) + 5, 16)], content)


def encrypted(encryption: Encryption, script: bytes) -> bytes:
    """A file whose script, in a stream, runs when it is opened; a second copy is a string."""
    sealed = encryption.seal(zlib.compress(script), 3)
    code = b"<< /Length %d /Filter /FlateDecode >>\nstream\n" % len(sealed) + sealed + b"\nendstream"
    return document(
        "<< /Type /Catalog /OpenAction 2 0 R >>",
        "<< /S /JavaScript /JS 3 0 R >>",
        code,
        encryption.entry,
        f"<< /Type /Filespec /F <{encryption.seal(b'invoice.exe', 5).hex()}> /EF << /F 3 0 R >> >>",
        trailer=f"/Root 1 0 R /Encrypt 4 0 R /ID [<{IDENTIFIER.hex()}> <{IDENTIFIER.hex()}>]",
    )


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _rc4(key: bytes, data: bytes) -> bytes:
    return Cipher(ARC4(key), None).encryptor().update(data)


def _cbc(key: bytes, vector: bytes, data: bytes) -> bytes:
    encryptor = Cipher(AES(key), CBC(vector)).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def _sealed(key: bytes, content: bytes) -> bytes:
    pad = 16 - len(content) % 16
    return bytes(range(16)) + _cbc(key, bytes(range(16)), content + bytes([pad]) * pad)


def _sha256(password: bytes, salt: bytes) -> bytes:
    return hashlib.sha256(password + salt).digest()


def _hardened(password: bytes, salt: bytes) -> bytes:
    """Algorithm 2.B of ISO 32000-2, written down a second time."""
    key = hashlib.sha256(password + salt).digest()
    count = 0
    while True:
        mixed = _cbc(key[:16], key[16:32], (password + key) * 64)
        name = ("sha256", "sha384", "sha512")[int.from_bytes(mixed[:16], "big") % 3]
        key = hashlib.new(name, mixed).digest()
        count += 1
        if count >= 64 and mixed[-1] <= count - 32:
            return key[:32]
