"""What the fuzzers of the document readers share: seeds, mutations that know the formats, and the rule to keep.

The rule: whatever the bytes, every engine reports, none fails, and no scan takes long.
"""

from __future__ import annotations

import time
from random import Random

from icapd.scan.model import FindingKind, Outcome
from tests.engines import (
    test_office_locked,
    test_office_ole,
    test_office_parts,
    test_office_rtf,
    test_office_xlsb,
    test_pdf,
    test_pdf_evasion,
)
from tests.engines.document_probe import scan
from tests.engines.office_locking import agile
from tests.engines.office_writing import compound, compressed, native_package, vba_streams
from tests.engines.test_office_parts import AUTO, EXEC, cell, workbook

SECONDS = 3.0
_CODE = 'Sub AutoOpen()\n Shell Chr(99) & "alc" _\n & StrReverse("x")\n x = Array(1,2,3,4,5,6,7,8,9)\nEnd Sub'

SEEDS: dict[str, list[bytes]] = {
    "compound": [
        test_office_ole.WHOLE,
        compound(vba_streams({"M": _CODE, "N": ""})),
        compound({"\x01Ole10Native": native_package("a.exe", b"MZ"), "Equation Native": bytes(64)}),
        *test_office_ole.LOCKED.values(),
        agile(b"package" * 20, "Velvet" + "Sweatshop", 10),
    ],
    "vba": [compressed(_CODE.encode() * 20)],
    "biff": [
        workbook(cell(EXEC) * 5, AUTO),
        *(
            compound({"Workbook": test_office_locked.xls(scheme, test_office_locked.DEFAULT)})
            for scheme in test_office_locked.XLS
        ),
    ],
    "biff12": [test_office_xlsb.sheet(case) for case in test_office_xlsb.MALICIOUS.values()],
    "rtf": [*test_office_rtf.MALICIOUS.values()],
    "ooxml": [test_office_parts.FLAT.encode(), test_office_parts.WORD_2003.encode(), test_office_parts.ACTIVE_MIME],
    "pdf": [
        *test_pdf.HOSTILE.values(),
        *(each for each in test_pdf_evasion.HIDDEN.values() if len(each) < 50_000),
        *(data for data, _ in test_pdf.ORDINARY.values()),
    ],
}
"""By reader."""

_WORDS: dict[str, tuple[bytes, ...]] = {
    "compound": (b"\xfe\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"dir\0", b"\x01\0\0\0"),
    "vba": (b"\x00\xb0", b"\xff\xbf", b"\xff\x3f", b"\x01"),
    "biff": (b"\x09\x08\x10\x00", b"\x0a\0\0\0", b"\x06\0", b"\x85\0", b"\x17\xff\x01", b"\x22\xff\x60\x80"),
    "rtf": (b"{", b"}", b"\\bin99999999 ", b"\\objdata ", b"{\\*\\", b"\\'", b"\\u-1 ", b"\\\\", b"0105000002000000"),
    "biff12": (
        b"\x09",
        b"\x08",
        b"\x27",
        b"\xe8\x02",
        b"\xaa\x03",
        b"\xff\xff\xff\x7f",
        b"\x41\x6e\0",
        b"\x42\xff\x96\0",
    ),
    "ooxml": (b"<", b"/>", b"<!DOCTYPE a [", b"&#x0;", b"<w:p>", b"<f>", b"binData"),
    "pdf": (
        *(b"<<", b">>", b"[", b"]", b"(", b")", b"<", b"%", b"/", b"stream\n", b"endstream", b"endobj", b"1 0 obj"),
        *(b"/JS 3 0 R", b"/Filter [/Fl /LZW /A85]", b"/Type /ObjStm /N 99 /First 9", b"#41", b"/Length 99999999999"),
    ),
}


def mutated(reader: str, random: Random) -> bytes:
    """A seed with bytes changed, words of the format put in, pieces moved, or its end cut off."""
    data = bytearray(random.choice(SEEDS[reader]))
    for _ in range(random.randint(1, 12)):
        at = random.randrange(len(data) + 1)
        match random.randrange(6):
            case 0 if at < len(data):
                data[at] = random.randrange(256)
            case 1:
                word = random.choice(_WORDS[reader])
                data[at : at + len(word)] = word
            case 2:
                data[at:at] = random.choice(_WORDS[reader]) * random.choice((1, 1, 1, 50))
            case 3:
                del data[at : at + random.randint(1, 64)]
            case 4:
                start = random.randrange(len(data) + 1)
                data[at:at] = data[start : start + random.randint(1, 512)]
            case 5 if random.randrange(4) == 0:
                del data[at:]
    if reader == "vba":
        return compound(vba_streams({"M": ""}, sources={"M": bytes(data)}))
    if reader == "biff12":
        return test_office_xlsb.package("xl/macrosheets/sheet1.bin", bytes(data))
    return bytes(data)


def check(data: bytes) -> None:
    """Raises: AssertionError when the rule is broken."""
    started = time.process_time()
    report = scan(data)
    spent_s = time.process_time() - started
    assert spent_s < SECONDS, f"{spent_s:.1f} s"
    assert not any(finding.kind is FindingKind.FAILED for finding in report.findings), report.reports
    assert not any(each.outcome in (Outcome.FAILED, Outcome.TIMED_OUT) for each in report.reports), report.reports
