"""Encrypted members of ZIP and 7z archives with the right password, with wrong ones and without."""

from __future__ import annotations

import struct
import time
import zlib

import pytest

from engines.archive import ArchiveOptions
from icapd.errors import DeadlineReached
from icapd.scan.model import Finding, FindingKind, Sample
from tests.engines import archive_fixtures as made
from tests.engines.archive_fixtures import SOUP
from tests.engines.archive_probe import found, members, unpack, unpacker
from tests.engines.seven_writing import Stored, checksum, seven_zip, with_packed_header
from tests.support.pace import is_within

ENCRYPTED = {
    "AES-256": made.ZIP_AES_256,
    "AES-128, stored": made.ZIP_AES_128_STORED,
    "AES-256, Deflate64": made.ZIP_DEFLATE64_AES,
    "the old one": made.ZIP_OLD_ENCRYPTION,
    "the old one, streamed": made.ZIP_STREAMED_ENCRYPTED,
    "7z": made.SEVEN_ZIP_ENCRYPTED,
    "7z, its list as well": made.SEVEN_ZIP_ENCRYPTED_LIST,
    "7z, stored": made.SEVEN_ZIP_STORED_ENCRYPTED,
    "7z, four coders": made.SEVEN_ZIP_BCJ2_ENCRYPTED,
    "7z, behind a clear member": made.SEVEN_ZIP_PARTLY_ENCRYPTED,
}


@pytest.mark.parametrize("kind", ENCRYPTED)
def test_the_right_password_opens_it(kind: str) -> None:
    items = unpack(Sample(ENCRYPTED[kind]), ArchiveOptions(passwords=["infected", "pässword", "secret"]))
    assert SOUP in [bytes(member.data) for member in members(items)]
    assert found(items) == []


@pytest.mark.parametrize("passwords", [[], ["infected"], ["", "secret "]])
@pytest.mark.parametrize("kind", ENCRYPTED)
def test_without_it_the_member_is_encrypted(kind: str, passwords: list[str]) -> None:
    items = unpack(Sample(ENCRYPTED[kind]), ArchiveOptions(passwords=passwords))
    expected = (FindingKind.ENCRYPTED, "encrypted:7z" if kind.startswith("7z") else "encrypted:zip")
    assert set(found(items)) == {expected}
    assert SOUP not in [bytes(member.data) for member in members(items)]


@pytest.mark.parametrize("kind", ENCRYPTED)
def test_damage_and_cuts_never_raise(kind: str) -> None:
    data, options = ENCRYPTED[kind], ArchiveOptions(passwords=["secret"])
    for at in range(0, len(data), 1 + len(data) // (20 if kind.startswith("7z") else 100)):  # a key of 7z takes 30 ms
        unpack(Sample(data[:at]), options)
        unpack(Sample(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]), options)


def test_data_that_was_changed_is_not_taken_for_decrypted() -> None:
    data = bytearray(made.ZIP_AES_256)
    data[90] ^= 1
    items = unpack(Sample(bytes(data)), ArchiveOptions(passwords=["secret"]))
    assert found(items) == [(FindingKind.ENCRYPTED, "encrypted:zip")]


def test_many_passwords_cost_little() -> None:
    options = ArchiveOptions(passwords=[f"wrong{n}" for n in range(32)])
    started = time.process_time()
    unpack(Sample(made.ZIP_AES_256), options)
    assert is_within(time.process_time() - started, 1)


SEVEN = ArchiveOptions(passwords=["infected", "secret"])


def test_what_is_not_encrypted_is_there_without_the_password() -> None:
    items = unpack(Sample(made.SEVEN_ZIP_PARTLY_ENCRYPTED), ArchiveOptions(passwords=["infected"]))
    assert [member.trail for member in members(items)] == [("bread.txt",)]
    assert found(items) == [(FindingKind.ENCRYPTED, "encrypted:7z")]


def test_stored_data_that_was_changed_is_not_taken_for_decrypted() -> None:
    """Nothing but its checksum tells stored data from what a wrong password makes."""
    data = bytearray(made.SEVEN_ZIP_STORED_ENCRYPTED)
    data[40] ^= 1
    items = unpack(Sample(bytes(data)), SEVEN)
    assert {name for _, name in found(items)} == {"encrypted:7z"}
    assert SOUP not in [bytes(member.data) for member in members(items)]


def test_a_method_that_nobody_undoes_is_no_wrong_password() -> None:
    items = unpack(Sample(made.SEVEN_ZIP_BZIP2_ENCRYPTED), SEVEN)
    assert {name for _, name in found(items)} == {"unsupported:7z-method"}


@pytest.mark.parametrize(("power", "is_opened"), [(19, True), (22, False), (23, False), (0x3F, False)])
def test_rounds_of_the_key_are_bounded(power: int, is_opened: bool) -> None:
    data = bytearray(made.SEVEN_ZIP_ENCRYPTED)
    at = data.index(b"\x06\xf1\x07\x01") + 5
    assert data[at] & 0x3F == 19
    data[at] = data[at] & 0xC0 | power
    started = time.process_time()
    items = unpack(Sample(with_checksums(data)), SEVEN)
    assert (SOUP in [bytes(member.data) for member in members(items)]) == is_opened
    assert is_within(time.process_time() - started, 0.5 if power > 22 else 4)


def test_more_than_may_be_held_is_not_decrypted() -> None:
    data = made.SEVEN_ZIP_STORED_ENCRYPTED
    for room_bytes, is_decrypted in ((4 * len(data), True), (4 * len(data) - 1, False)):
        budget = unpacker(SEVEN).budget(time.monotonic() + 20)
        budget.held_bytes_left = room_bytes  # in which no member has room for its decoder
        names = {name for _, name in found(unpack(Sample(data), SEVEN, budget))}
        assert names == {"archive.max_held_bytes" if is_decrypted else "encrypted:7z"}


def test_the_time_is_asked_between_rounds() -> None:
    budget = unpacker(SEVEN).budget(time.monotonic() - 1)
    with pytest.raises(DeadlineReached):
        unpack(Sample(made.SEVEN_ZIP_ENCRYPTED), SEVEN, budget)


BREAD = b"Bread, too. " * 9
FITS = Stored("a.txt", BREAD, "secret", checksum(BREAD))


@pytest.mark.parametrize("with_folders", [True, False])
def test_checksums_stand_with_members_or_with_folders(with_folders: bool) -> None:
    data = seven_zip([FITS, Stored("b", SOUP, "secret", checksum(SOUP))], with_folders=with_folders)
    items = unpack(Sample(data), SEVEN)
    assert [bytes(member.data) for member in members(items)] == [BREAD, SOUP]
    assert found(items) == []


@pytest.mark.parametrize(
    "member",
    [
        Stored("b", SOUP, "another"),
        Stored("b", SOUP, "secret"),
        Stored("b", SOUP, "another", checksum(SOUP)),
        Stored("b", SOUP, "secret", checksum(BREAD)),
    ],
)
@pytest.mark.parametrize("before", [[], [FITS]])
@pytest.mark.parametrize("with_folders", [True, False])
def test_what_no_checksum_proves_is_encrypted(member: Stored, before: list[Stored], with_folders: bool) -> None:
    """Under any password stored data decrypts to something."""
    items = unpack(Sample(seven_zip([*before, member], with_folders=with_folders)), SEVEN)
    assert [(each.name, each.trail) for each in items if isinstance(each, Finding)] == [("encrypted:7z", ("b",))]


def test_a_clear_member_is_seen_whatever_its_checksum() -> None:
    items = unpack(Sample(seven_zip([FITS, Stored("b", SOUP, "", checksum(BREAD))])), SEVEN)
    assert [bytes(member.data) for member in members(items)] == [BREAD, SOUP]
    assert found(items) == []


@pytest.mark.parametrize("options", [SEVEN, ArchiveOptions()])
def test_a_header_of_millions_of_folders_is_left_soon(options: ArchiveOptions) -> None:
    count = 3_900_000
    header = b"\x01\x04\x06\0\1\x09\x01\0\x07\x0b\xf0" + struct.pack("<I", count) + b"\0" + b"\1\0" * count
    data = with_packed_header(header)
    assert len(data) < 2000
    started = time.process_time()
    items = unpack(Sample(data), options)
    assert is_within(time.process_time() - started, 1)
    assert found(items) == [(FindingKind.CORRUPT, "corrupt:7z")]


def with_checksums(archive: bytes | bytearray) -> bytes:
    """The 7z archive with the checksums of its headers made anew."""
    data = bytearray(archive)
    at, size = struct.unpack_from("<QQ", data, 12)
    struct.pack_into("<I", data, 28, zlib.crc32(data[32 + at : 32 + at + size]))
    struct.pack_into("<I", data, 8, zlib.crc32(data[12:32]))
    return bytes(data)
