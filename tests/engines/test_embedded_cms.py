"""CMS in every encoding that programs read: what is encrypted is said to be, and what is not is taken out."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from itertools import repeat
from random import Random

import pytest

from engines.embedded import cms as reader
from icapd.scan.model import Budget, Sample
from tests.engines.embedded_probe import FILE, is_cheap, members, names, unpack

PKCS7 = bytes.fromhex("2a864886f70d0107")
SMIME = bytes.fromhex("2a864886f70d01091001")
SHA256 = bytes.fromhex("608648016503040201")


def der(tag: int, *content: bytes) -> bytes:
    joined = b"".join(content)
    return bytes([tag, 0x84]) + len(joined).to_bytes(4, "big") + joined


def short(tag: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([tag, len(content)]) + content


def open_ended(tag: int, *content: bytes) -> bytes:
    return bytes([tag, 0x80]) + b"".join(content) + b"\0\0"


ALGORITHM = (short(6, SHA256), b"\5\0")
TYPE = short(6, PKCS7 + b"\1")


def cms(kind: bytes, content: bytes, digests: bytes = der(0x31, der(0x30, *ALGORITHM)), inner: bytes = TYPE) -> bytes:
    """A ContentInfo (RFC 5652 §3) of the kind that an element declares."""
    structure = der(0x30, der(2, b"\1"), digests, der(0x30, inner, content), der(0x31))
    return der(0x30, kind, der(0xA0, structure))


def signed(octets: bytes, **parts: bytes) -> bytes:
    return cms(short(6, PKCS7 + b"\2"), der(0xA0, octets), **parts)


def in_pieces(size: int) -> bytes:
    return open_ended(0x24, *(der(4, FILE[at : at + size]) for at in range(0, len(FILE), size)))


def nested(octets: bytes, depth: int) -> bytes:
    for _ in repeat(None, depth):
        octets = der(0x24, octets)
    return octets


SIGNED = {
    "whole": signed(der(4, FILE)),
    "in pieces": signed(in_pieces(100)),
    "in two pieces": signed(der(0x24, der(4, FILE[:9]), der(4, FILE[9:]))),
    "pieces inside pieces": signed(der(0x24, der(0x24, der(4, FILE[:9]), der(4, FILE[9:50])), der(4, FILE[50:]))),
    "open pieces inside pieces": signed(open_ended(0x24, in_pieces(100))),
    "pieces with other tags": signed(der(0x24, der(0x0C, FILE[:9]), der(0x80, FILE[9:]))),
    "deep pieces": signed(nested(der(4, FILE), reader.MAX_NESTING)),
    "a type with a long length": cms(b"\x06\x81\x09" + PKCS7 + b"\2", der(0xA0, der(4, FILE))),
    "a type with a longer length": cms(b"\x06\x83\0\0\x09" + PKCS7 + b"\2", der(0xA0, der(4, FILE))),
    "an inner type with a long length": signed(der(4, FILE), inner=b"\x06\x81\x09" + PKCS7 + b"\1"),
    "long tags": b"\x3f\x80\x10" + signed(b"\x1f\x04" + der(4, FILE)[1:])[1:],
    "open digests": signed(der(4, FILE), digests=open_ended(0x31, open_ended(0x30, *ALGORITHM))),
    "an open algorithm": signed(der(4, FILE), digests=der(0x31, open_ended(0x30, *ALGORITHM))),
    "a null in open digests": signed(der(4, FILE), digests=open_ended(0x31, der(0x30, *ALGORITHM))),
    "open content": cms(short(6, PKCS7 + b"\2"), open_ended(0xA0, der(4, FILE))),
}


@pytest.mark.parametrize("form", SIGNED)
def test_what_is_signed_is_taken_out(form: str) -> None:
    assert (members(unpack(SIGNED[form])), names(unpack(SIGNED[form]))) == ({"signed": FILE}, [])


def test_what_is_only_wrapped_or_digested_is_taken_out() -> None:
    content = der(0xA0, in_pieces(100))
    assert members(unpack(der(0x30, TYPE, content))) == {"data": FILE}
    assert members(unpack(cms(short(6, PKCS7 + b"\5"), content))) == {"digested": FILE}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((PKCS7 + bytes([kind]), "encrypted:cms") for kind in (3, 4, 6)),
        (SMIME + b"\x17", "encrypted:cms"),
        (SMIME + b"\x02", "not-opened:cms"),
    ],
)
def test_what_cannot_be_read_is_said_to_be(kind: bytes, name: str) -> None:
    for length in (b"", b"\x81", b"\x82\0"):
        assert names(unpack(cms(b"\x06" + length + bytes([len(kind)]) + kind, b""))) == [name]


@pytest.mark.parametrize("data", [der(0x30, short(6, PKCS7 + b"\x07")), der(0x30, TYPE[:-1]), b"?\x10 soup", b"0"])
def test_what_is_no_cms_is_left_alone(data: bytes) -> None:
    assert unpack(data) == []


def test_a_signature_alone_holds_nothing() -> None:
    alone = short(6, PKCS7 + b"\2")
    assert unpack(cms(alone, b"")) == []
    structure = der(0x30, der(2, b"\1"), der(0x31), open_ended(0x30, TYPE), der(0xA0, der(0x30, b"a")))
    assert unpack(der(0x30, alone, der(0xA0, structure))) == []


@pytest.mark.parametrize(
    "data",
    [
        signed(der(0x30, FILE)),
        signed(nested(der(4, FILE), reader.MAX_NESTING + 1)),
        signed(open_ended(4, FILE)),
        signed(der(0x24, b"\x04\x05ab")),
        cms(short(6, PKCS7 + b"\2"), der(4, FILE)),
        signed(der(4, FILE), inner=der(4, PKCS7)),
        signed(der(4, FILE), digests=b"\0\0"),
        der(0x30, short(6, PKCS7 + b"\2"), der(4, FILE)),
    ],
)
def test_what_cannot_be_parsed_is_corrupt(data: bytes) -> None:
    assert names(unpack(data)) == ["corrupt:cms"]


def test_a_list_of_certificates_is_no_file() -> None:
    assert unpack(signed(der(0x30, FILE), inner=short(6, bytes.fromhex("2b0601040182370a01")))) == []


def compressed(packed: bytes) -> bytes:
    return cms(short(6, SMIME + b"\x09"), der(0xA0, der(4, packed)), digests=der(0x30, short(6, SMIME)))


def test_what_is_compressed_is_opened() -> None:
    content = Random(1).randbytes(700_000) + bytes(2_000_000)
    packed = zlib.compress(content)
    assert unpack_one(packed) == (content, [])
    cut, said = unpack_one(packed[:-400])
    assert cut is not None
    assert (content.startswith(cut), said) == (True, ["corrupt:cms"])
    assert len(cut) > 600_000
    assert unpack_one(b"no zlib") == (None, ["corrupt:cms"])


def unpack_one(packed: bytes) -> tuple[bytes | None, list[str]]:
    items = unpack(compressed(packed))
    return members(items).get("compressed"), names(items)


def test_compressed_content_stays_within_the_budget() -> None:
    data = compressed(zlib.compress(bytes(20_000_000)))
    assert names(unpack(data)) == ["archive.max_ratio"]
    small = compressed(zlib.compress(bytes(2_000_000)))
    for bytes_left, said in ((2_000_000, ["archive.max_unpacked_bytes"]), (2_010_000, [])):
        assert names(unpack(small, budget=Budget(time.monotonic() + 20, bytes_left))) == said
    for held_bytes, said in ((2_000_000, ["archive.max_held_bytes"]), (2_010_000, [])):
        budget = Budget(time.monotonic() + 20, held_bytes_left=held_bytes)
        assert names(unpack(small, budget=budget)) == said
        assert budget.held_bytes_left == held_bytes


def test_elements_at_the_limit_and_past_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Beside the pieces: the type, the version, the digests, the string and its end.
    monkeypatch.setattr(reader, "MAX_ELEMENTS", -(-len(FILE) // 100) + 5)
    assert names(unpack(signed(in_pieces(100)))) == []
    assert names(unpack(signed(in_pieces(97)))) == [reader.PIECES]


HOSTILE: dict[str, Callable[[], bytes]] = {
    "tiny pieces": lambda: signed(open_ended(0x24, b"\x04\x00" * 400_000)),
    "empty pieces": lambda: signed(open_ended(0x24, b"\x24\x00" * 400_000)),
    "deep pieces": lambda: signed(b"\x24\x80" * 1_000_000),
    "deep digests": lambda: signed(b"", digests=b"\x31\x80" * 1_000_000),
    "long tags": lambda: signed(open_ended(0x24, (b"\x1f" + b"\xff" * 15 + b"\0\0") * 300_000)),
    "long lengths": lambda: signed(open_ended(0x24, (b"\x04\xfe" + bytes(126)) * 150_000)),
    "a long tag": lambda: b"\x3f" + b"\x80" * 5_000_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_content_costs_little(kind: str) -> None:
    assert is_cheap(HOSTILE[kind]())


@pytest.mark.parametrize("form", [*SIGNED, "compressed"])
def test_random_damage_never_raises(form: str) -> None:
    data, random = SIGNED.get(form) or compressed(zlib.compress(FILE)), Random(form)
    for _ in range(200):
        at = random.randrange(120 if random.random() < 0.5 else len(data))
        unpack(data[:at] + random.randbytes(random.randrange(1, 5)) + data[at + random.randrange(3) :])


def test_cut_anywhere_is_corrupt_or_whole() -> None:
    whole = signed(in_pieces(500))
    behind = whole.rindex(b"\0\0\x31\x84") + 2
    for cut in range(len(whole)):
        assert reader.matches(Sample(whole[:cut])) is (cut > 16)
        assert names(unpack(whole[:cut])) == ["corrupt:cms"] * (16 < cut < behind)
        assert FILE.startswith(members(unpack(whole[:cut])).get("signed", b""))
