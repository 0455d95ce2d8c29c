"""Encrypted members of a ZIP with the right password, with wrong ones and without."""

from __future__ import annotations

import time

import pytest

from engines.archive import ArchiveOptions
from icapd.scan.model import FindingKind, Sample
from tests.engines import archive_fixtures as made
from tests.engines.archive_fixtures import SOUP
from tests.engines.archive_probe import found, members, unpack
from tests.support.pace import is_within

ENCRYPTED = {
    "AES-256": made.ZIP_AES_256,
    "AES-128, stored": made.ZIP_AES_128_STORED,
    "the old one": made.ZIP_OLD_ENCRYPTION,
    "the old one, streamed": made.ZIP_STREAMED_ENCRYPTED,
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
    assert found(items) == [(FindingKind.ENCRYPTED, "encrypted:zip")]
    assert SOUP not in [bytes(member.data) for member in members(items)]


@pytest.mark.parametrize("kind", ENCRYPTED)
def test_damage_and_cuts_never_raise(kind: str) -> None:
    data, options = ENCRYPTED[kind], ArchiveOptions(passwords=["secret"])
    for at in range(0, len(data), 1 + len(data) // 100):
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
