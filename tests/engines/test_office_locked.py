"""Packages with Office's own default password are opened, others are ENCRYPTED, and damage is no way around it."""

from __future__ import annotations

import pytest

from engines.office import agile as reader
from icapd.scan.model import FindingKind, Verdict
from tests.engines.document_probe import members, names, scan, telling
from tests.engines.office_locking import agile, standard
from tests.engines.office_writing import vba_project
from tests.engines.samples import PLAIN, zip_of

MACROS = zip_of(
    {"xl/vbaProject.bin": vba_project(M='Sub AutoOpen()\n Shell "calc"\nEnd Sub'), "soup.txt": PLAIN * 200}
)
DEFAULT = "Velvet" + "Sweatshop"


@pytest.mark.parametrize("lock", [agile, standard])
def test_what_office_opens_by_itself_is_opened(lock: object) -> None:
    data = agile(MACROS, DEFAULT) if lock is agile else standard(MACROS, DEFAULT)
    report = scan(data)
    assert report.verdict is Verdict.MALICIOUS
    assert "ole:default-password" in names(report)
    assert members(data)[("EncryptedPackage", "soup.txt")] == PLAIN * 200


@pytest.mark.parametrize("data", [agile(MACROS, "secret"), standard(MACROS, "secret")])
def test_what_has_another_password_is_encrypted(data: bytes) -> None:
    assert telling(scan(data)) == {(FindingKind.ENCRYPTED, "encrypted:ooxml")}


def test_rounds_end_at_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = agile(MACROS, DEFAULT, spins=100)
    monkeypatch.setattr(reader, "SPINS_MAX", 100)
    assert "encrypted:ooxml" not in names(scan(data))
    monkeypatch.setattr(reader, "SPINS_MAX", 99)
    assert telling(scan(data)) == {(FindingKind.ENCRYPTED, "encrypted:ooxml")}


@pytest.mark.parametrize("lock", ["agile", "standard"])
def test_damage_never_fails_and_never_looks_clean(lock: str) -> None:
    small = zip_of({"soup.txt": PLAIN})
    whole = agile(small, "secret", 10) if lock == "agile" else standard(small, "secret")
    start = whole.index(b"<?xml") if lock == "agile" else whole.index("AES".encode("utf-16-le")) - 44
    for at in range(start, start + (900 if lock == "agile" else 140), 37):
        report = scan(whole[:at] + bytes([whole[at] ^ 0x11]) + whole[at + 1 :])
        assert telling(report) == {(FindingKind.ENCRYPTED, "encrypted:ooxml")}, at
