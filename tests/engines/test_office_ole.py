"""Compound files: members, packages, monikers, equations, DDE, locked documents, damage and bombs."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib

import pytest

from engines.office import ole_files, ole_table
from engines.office.compound import ENTRIES_MAX, Compound, Damaged
from icapd.scan.model import Budget, FindingKind, Verdict
from tests.engines.document_probe import members, names, scan, telling
from tests.engines.office_writing import compound, native_package, vba_project
from tests.engines.samples import PLAIN, pe, zip_of
from tests.support.pace import is_within

EQUATION_CLASS = bytes.fromhex("02ce020000000000c000000000000046")
WORD = b"\xec\xa5" + bytes(510)


def budget() -> Budget:
    return Budget(time.monotonic() + 20)


def test_streams_small_and_large_come_back() -> None:
    streams = {"a": b"x" * 10, "b/c": b"y" * 4095, "b/d": b"z" * 4096, "e": bytes(range(256)) * 400}
    file = Compound(compound(streams), budget())
    assert {entry.path: file.read(entry, budget()) for entry in file.entries if entry.is_stream} == streams


def test_streams_are_members_of_the_tree() -> None:
    found = members(zip_of({"old.doc": compound({"Data/inner": zip_of({"soup.txt": PLAIN})})}))
    assert found[("old.doc", "Data/inner", "soup.txt")] == PLAIN


def test_an_ordinary_document_is_clean_without_a_note() -> None:
    summary = b"\xfe\xff\0\0" + bytes(300)
    report = scan(compound({"WordDocument": WORD, "1Table": bytes(5000), "\x05SummaryInformation": summary}))
    assert (report.verdict, names(report)) == (Verdict.CLEAN, set())


@pytest.mark.parametrize("name", ["invoice.exe", "a.VBS", "b.lnk", "c.js", "d.settingcontent-ms"])
def test_a_packaged_program_is_suspicious_and_a_member(name: str) -> None:
    data = compound({"ObjectPool/_1/\x01Ole10Native": native_package(name, PLAIN)})
    report = scan(data)
    assert telling(report) == {(FindingKind.SUSPICIOUS, "ole:packaged-program")}
    assert members(data)[(name,)] == PLAIN


def test_a_packaged_picture_is_recorded_only() -> None:
    report = scan(compound({"\x01Ole10Native": native_package("plan.png", PLAIN)}))
    assert (report.verdict, names(report)) == (Verdict.CLEAN, {"ole:package"})


def test_a_program_under_a_harmless_name_is_still_one() -> None:
    assert "ole:packaged-program" in names(scan(compound({"\x01Ole10Native": native_package("plan.png", pe())})))


@pytest.mark.parametrize("name", ["a.exe", "a.exe. ", "a.JS"])
def test_what_the_packager_starts_counts_whatever_the_label_says(name: str) -> None:
    stream = native_package(name, PLAIN).replace(name.encode() + b"\0", b"soup.txt\0", 1)
    assert "ole:packaged-program" in names(scan(compound({"\x01Ole10Native": stream})))


def test_native_data_that_is_no_package_is_a_member_whole() -> None:
    assert members(compound({"\x01Ole10Native": struct.pack("<I", 4) + b"abcd"}))[("Ole10Native",)] == b"abcd"


def test_a_program_in_any_stream_is_suspicious() -> None:
    assert telling(scan(compound({"Blob": pe()}))) == {(FindingKind.SUSPICIOUS, "ole:embedded-executable")}


def test_a_macro_that_starts_and_a_packaged_program_are_malicious() -> None:
    from tests.engines.office_writing import vba_streams

    streams = vba_streams({"M": "Sub AutoOpen()\n x = 1\nEnd Sub"})
    data = compound({**streams, "ObjectPool/\x01Ole10Native": native_package("a.exe", pe())})
    assert telling(scan(data)) == {(FindingKind.MALWARE, "ole:macro-with-program")}


def _link(address: str) -> bytes:
    return bytes(24) + ole_table.URL_MONIKER + struct.pack("<I", 2 * len(address)) + address.encode("utf-16-le")


def test_an_object_from_an_address_is_suspicious() -> None:
    assert telling(scan(compound({"\x01Ole": _link("http://example.test/a.hta")}))) == {
        (FindingKind.SUSPICIOUS, "ole:linked-address")
    }
    assert names(scan(compound({"\x01Ole": _link("about:blank")}))) == set()


@pytest.mark.parametrize("moniker", ole_table.SCRIPT_MONIKERS)
def test_an_object_that_is_a_script_is_malicious(moniker: bytes) -> None:
    assert len(moniker) == 16
    assert scan(compound({"\x01Ole": bytes(20) + moniker})).verdict is Verdict.MALICIOUS


def _equation(font: bytes) -> bytes:
    return struct.pack("<H", 28) + bytes(26) + b"\x03\x01\x01\x03\x0a" + b"\x0a\x01\x08\x5a\x5a" + font + bytes(20)


def test_equations_count_and_long_font_names_are_an_attack() -> None:
    data = compound({"o/Equation Native": _equation(b"Symbol")}, {"o": EQUATION_CLASS})
    assert (scan(data).verdict, names(scan(data))) == (Verdict.CLEAN, {"ole:equation"})
    assert scan(compound({"Equation Native": _equation(b"A" * 36)})).verdict is Verdict.CLEAN
    assert telling(scan(compound({"Equation Native": _equation(b"A" * 37)}))) == {
        (FindingKind.MALWARE, "ole:equation-overflow")
    }


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_dde_fields_of_old_documents(encoding: str) -> None:
    def field(code: str) -> bytes:
        return compound({"WordDocument": WORD + f"text \x13 {code} \x14 \x15".encode(encoding)})

    command = "DDE" + 'AUTO c:\\\\windows\\\\cmd.exe "/k dir"'
    assert telling(scan(field(command))) == {(FindingKind.MALWARE, "ole:dde-command")}
    assert telling(scan(field('DDE excel "sheet" "r1c1"'))) == {(FindingKind.SUSPICIOUS, "ole:dde")}
    assert names(scan(field('DATE \\@ "d MMMM"'))) == set()


LOCKED = {
    "encrypted:doc": compound({"WordDocument": b"\xec\xa5" + bytes(8) + b"\x00\x01" + bytes(500)}),
    "encrypted:ppt": compound(
        {"Current User": bytes(12) + struct.pack("<I", 0xF3D1C4DF), "PowerPoint Document": b"x"}
    ),
    "encrypted:ooxml": compound(
        {"EncryptionInfo": b"\x04\0\x04\0@\0\0\0<encryption/>", "EncryptedPackage": bytes(64)}
    ),
}


@pytest.mark.parametrize("name", LOCKED)
def test_locked_documents_are_said_to_be_encrypted(name: str) -> None:
    report = scan(LOCKED[name])
    assert report.verdict is Verdict.UNSCANNABLE
    assert telling(report) == {(FindingKind.ENCRYPTED, name)}


def _slides(storage: bytes, size: int | None = None) -> bytes:
    packed = struct.pack("<I", len(storage) if size is None else size) + zlib.compress(storage)
    record = b"\x10\x00\x11\x10" + struct.pack("<I", len(packed)) + packed
    return compound({"PowerPoint Document": bytes(40) + record})


def test_macros_of_old_slides_are_found() -> None:
    data = _slides(vba_project(M='Sub Auto_Open()\n Shell "calc"\nEnd Sub'))
    report = scan(data)
    assert report.verdict is Verdict.MALICIOUS
    assert report.findings[0].trail == ("object 1",)


def test_objects_of_slides_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = _slides(vba_project(M="x = 1"))
    monkeypatch.setattr(ole_files, "STORAGES_MAX", 1)
    assert ole_files.STORAGES_LIMIT not in names(scan(data))
    monkeypatch.setattr(ole_files, "STORAGES_MAX", 0)
    assert ole_files.STORAGES_LIMIT in names(scan(data))


def test_a_bomb_in_slides_is_a_limit() -> None:
    data = _slides(bytes(64 << 20))
    tracemalloc.start()
    started = time.process_time()
    report = scan(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert is_within(time.process_time() - started, 2)
    assert peak < 200 << 20
    assert "archive.max_ratio" in names(report)


@pytest.mark.parametrize("size", [8, 100, 511, 512, 700])
def test_what_is_too_short_is_damaged(size: int) -> None:
    report = scan(compound({"a": b"x" * 5000})[:size])
    assert telling(report) == {(FindingKind.CORRUPT, "corrupt:ole")}


def test_a_file_cut_short_is_damaged_and_gives_what_is_left() -> None:
    data = compound({"a": b"x" * 5000, "b": b"y" * 600})
    whole = len(data)
    assert telling(scan(data[: whole - 512])) == {(FindingKind.CORRUPT, "corrupt:ole")}


@pytest.mark.parametrize(("offset", "value"), [(30, 63), (30, 8), (30, 13), (32, 16), (32, 0)])
def test_sectors_of_odd_sizes_are_refused(offset: int, value: int) -> None:
    data = bytearray(compound({"a": b"x"}))
    struct.pack_into("<H", data, offset, value)
    with pytest.raises(Damaged):
        Compound(bytes(data), budget())


def _many(count: int) -> bytes:
    return compound({f"{number}": b"x" for number in range(count)})


def test_entries_past_the_ceiling_are_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ENTRIES_MAX >= 4096
    monkeypatch.setattr("engines.office.compound.ENTRIES_MAX", 8)
    assert "office.max_ole_entries" not in names(scan(_many(7)))
    assert "office.max_ole_entries" in names(scan(_many(8)))


def _patched(data: bytes, *changes: tuple[int, int]) -> bytes:
    changed = bytearray(data)
    for offset, value in changes:
        struct.pack_into("<I", changed, offset, value)
    return bytes(changed)


def _looped() -> bytes:
    """Every sector is its own successor; every stream says that it is as long as the file."""
    data = bytearray(compound({f"{number}": b"x" * 5000 for number in range(100)}))
    (fat,) = struct.unpack_from("<I", data, 76)
    at = 512 + 512 * fat
    for number in range((len(data) - at) // 4):
        struct.pack_into("<I", data, at + 4 * number, number)
    name = "0".encode("utf-16-le")
    for place in range(512, len(data) - 128, 128):
        if data[place + 66] == 2 and data[place : place + 1] in name + b"123456789":
            struct.pack_into("<I", data, place + 120, len(data))
    return bytes(data)


WHOLE = compound({"a": b"x" * 9000, "b/c": b"y" * 100})
HOSTILE = {
    "a loop": _looped(),
    "four billion table sectors": _patched(WHOLE, (44, 0xFFFFFFFF), (68, 0), (72, 0xFFFFFFFF)),
    "a list of tables that lists itself": _patched(WHOLE, (44, 34_000_000), (68, 1), (72, 267_716)),
    "all tables are one": _patched(WHOLE, *((76 + 4 * number, 3) for number in range(109))),
    "four billion small tables": _patched(WHOLE, (60, 0), (64, 0xFFFFFFFF)),
    "the directory lies outside": _patched(WHOLE, (48, 0xFFFFFF)),
    "the directory is the header": _patched(WHOLE, (48, 0xFFFFFFFE)),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_end_soon_and_in_little_memory(case: str) -> None:
    tracemalloc.start()
    started = time.process_time()
    report = scan(HOSTILE[case])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert is_within(time.process_time() - started, 2)
    assert peak < 64 << 20
    assert not any(finding.kind is FindingKind.FAILED for finding in report.findings)


def test_streams_that_share_their_bytes_are_a_limit() -> None:
    assert "office.max_ole_bytes" in names(scan(_looped()))


def test_a_directory_of_one_long_branch_needs_no_recursion() -> None:
    report = scan(_many(1500))
    assert not any(finding.kind is FindingKind.FAILED for finding in report.findings)


def test_streams_that_no_storage_names_are_found() -> None:
    data = bytearray(compound({"a": b"x" * 100, "b": zip_of({"soup.txt": PLAIN})}))
    first = data.index("a".encode("utf-16-le") + bytes(62) + b"\x04\0\x02")
    struct.pack_into("<I", data, first + 72, 0xFFFFFFFF)  # a's right neighbour was b
    assert ("(unlinked)/b", "soup.txt") in members(bytes(data))
    assert "ole:unlinked-stream" in names(scan(bytes(data)))


def test_any_damaged_byte_is_survived() -> None:
    for at in range(0, len(WHOLE), 41):
        for value in (0x00, 0xFF, WHOLE[at] ^ 1):
            report = scan(WHOLE[:at] + bytes([value]) + WHOLE[at + 1 :])
            assert not any(finding.kind is FindingKind.FAILED for finding in report.findings), (at, value)
