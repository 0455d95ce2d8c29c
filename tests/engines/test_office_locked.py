"""Packages with Office's own default password are opened, others are ENCRYPTED, and damage is no way around it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engines.office import OfficeOptions
from engines.office import agile as reader
from icapd.scan.model import FindingKind, Verdict
from tests.engines.document_probe import members, names, scan, telling
from tests.engines.office_locking import agile, standard, xls_provider, xls_rc4, xls_xor
from tests.engines.office_writing import compound, vba_project
from tests.engines.samples import PLAIN, zip_of
from tests.engines.test_office_parts import AUTO, EXEC, cell, record, workbook_stream

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


XLS: dict[str, tuple[Callable[[bytes, str], bytes], int]] = {
    "RC4": (xls_rc4, 54),
    "RC4 of CryptoAPI": (xls_provider, 116),
    "RC4 of CryptoAPI with 40 bits": (lambda stream, password: xls_provider(stream, password, 40), 116),
    "XOR": (xls_xor, 6),
}


def xls(scheme: str, password: str) -> bytes:
    """A workbook that starts a program, over more than one block."""
    lock, size = XLS[scheme]
    filler = record(0x00FC, b"soup" * 400)
    return lock(workbook_stream(cell(EXEC), AUTO + filler, state=2, more=record(0x2F, bytes(size))), password)


@pytest.mark.parametrize("scheme", XLS)
def test_old_workbooks_that_excel_opens_by_itself_are_opened(scheme: str) -> None:
    data = compound({"Workbook": xls(scheme, DEFAULT)})
    report = scan(data)
    assert report.verdict is Verdict.MALICIOUS
    assert {"ole:default-password", "xlm:exec", "xlm:auto-open", "xlm:hidden-macro-sheet"} <= names(report)
    assert b"soup" * 400 in members(data)[("Workbook",)]


@pytest.mark.parametrize("scheme", XLS)
def test_old_workbooks_with_another_password_are_encrypted(scheme: str) -> None:
    report = scan(compound({"Workbook": xls(scheme, "secret")}))
    assert telling(report) == {(FindingKind.ENCRYPTED, "encrypted:xls")}


@pytest.mark.parametrize("scheme", XLS)
def test_old_workbooks_that_are_damaged_never_look_clean(scheme: str) -> None:
    whole = xls(scheme, "secret")
    start = whole.index(b"\x2f\x00")
    for at in range(start + 4, start + 4 + XLS[scheme][1]):
        report = scan(compound({"Workbook": whole[:at] + bytes([whole[at] ^ 0x11]) + whole[at + 1 :]}))
        assert telling(report) == {(FindingKind.ENCRYPTED, "encrypted:xls")}, at


CONFIGURED = OfficeOptions(passwords=["soup", "secret"])
LOCKED = {
    "agile": agile(MACROS, "secret"),
    "standard": standard(MACROS, "secret"),
    **{scheme: compound({"Workbook": xls(scheme, "secret")}) for scheme in XLS},
}


@pytest.mark.parametrize("case", LOCKED)
def test_configured_passwords_are_tried(case: str) -> None:
    report = scan(LOCKED[case], options=CONFIGURED)
    assert report.verdict is Verdict.MALICIOUS
    assert "ole:default-password" not in names(report)
    assert FindingKind.ENCRYPTED in {kind for kind, _ in telling(scan(LOCKED[case], options=OTHERS))}


OTHERS = OfficeOptions(passwords=["soup", "Secret"])


def test_passwords_are_counted() -> None:
    assert OfficeOptions(passwords=["a"] * 32)
    with pytest.raises(ValueError, match="passwords"):
        OfficeOptions(passwords=["a"] * 33)
