from __future__ import annotations

import mmap
from importlib.resources import files
from pathlib import Path

import pytest

from engines.identify import SPEC, IdentifyOptions, load_libmagic
from engines.identify.identifier import MAX_ASKS, ContentIdentifier
from icapd.scan.engine_api import Identifier
from icapd.scan.model import Identity, Sample
from tests.engines import samples as s

TABLE_ONLY = ContentIdentifier(None)

KNOWN = [
    (b"", "application/x-empty", "empty"),
    (s.HTML, "text/html", "markup"),
    (b"\xef\xbb\xbf\r\n  <html>", "text/html", "markup"),
    (b"<!-- cached --> <!doctype HTML><p>", "text/html", "markup"),
    (b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">', "text/html", "markup"),
    (s.JAVASCRIPT, "text/javascript", "script"),
    (b"(()=>{const a=1})()", "text/javascript", "script"),
    (b"(self.webpackChunk=self.webpackChunk||[]).push([[1]])", "text/javascript", "script"),
    (b'import{a as b}from"./c.js";', "text/javascript", "script"),
    (b")]}'\n[[1]]", "text/javascript", "script"),
    (s.CSS, "text/css", "text"),
    (b"/* reset */\n* {\n  box-sizing: border-box;\n}", "text/css", "text"),
    (b":root{--accent:#fff}", "text/css", "text"),
    (s.JSON, "application/json", "data"),
    (b'[{"a":1}]', "application/json", "data"),
    (b"{}", "application/json", "data"),
    (s.SVG, "image/svg+xml", "image"),
    (b'<?xml version="1.0"?>\n<!-- drawn -->\n' + s.SVG, "image/svg+xml", "image"),
    (s.XML, "application/xml", "markup"),
    (b"<Envelope><Body/></Envelope>", "application/xml", "markup"),
    (s.png(), "image/png", "image"),
    (s.JPEG, "image/jpeg", "image"),
    (s.GIF, "image/gif", "image"),
    (s.WEBP, "image/webp", "image"),
    (s.WOFF2, "font/woff2", "font"),
    (b"wOFF\x00\x01\x00\x00", "font/woff", "font"),
    (b"\x00\x01\x00\x00\x00\x0e\x00\x80", "font/ttf", "font"),
    (b"OTTO\x00\x0b\x00\x80", "font/otf", "font"),
    (s.PDF, "application/pdf", "document"),
    (b"junk before\r\n" + s.PDF, "application/pdf", "document"),
    (s.ZIP, "application/zip", "archive"),
    (s.DOCX, "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "office"),
    (s.XLSX, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "office"),
    (s.JAR, "application/java-archive", "archive"),
    (s.zip_of({"AndroidManifest.xml": b"x"}), "application/vnd.android.package-archive", "archive"),
    (s.ODT, "application/vnd.oasis.opendocument", "office"),
    (b"PK\x03\x04", "application/zip", "archive"),
    (s.pe(), "application/vnd.microsoft.portable-executable", "executable"),
    (b"MZ\x90\x00", "application/x-dosexec", "executable"),
    (s.ELF, "application/x-elf", "executable"),
    (b"\xcf\xfa\xed\xfe\x07\x00\x00\x01", "application/x-mach-binary", "executable"),
    (b"\xca\xfe\xba\xbe\x00\x00\x00\x02", "application/x-mach-binary", "executable"),
    (b"\xca\xfe\xba\xbe\x00\x00\x00\x34", "application/java-vm", "executable"),
    (b"\x00asm\x01\x00\x00\x00", "application/wasm", "executable"),
    (s.GZIP, "application/gzip", "archive"),
    (s.BZ2, "application/x-bzip2", "archive"),
    (s.XZ, "application/x-xz", "archive"),
    (s.ZSTD, "application/zstd", "archive"),
    (s.SEVEN_ZIP, "application/x-7z-compressed", "archive"),
    (s.RAR, "application/vnd.rar", "archive"),
    (s.CAB, "application/vnd.ms-cab-compressed", "archive"),
    (s.TAR, "application/x-tar", "archive"),
    (bytes(0x8001) + b"CD001" + bytes(100), "application/x-iso9660-image", "archive"),
    (s.ole2(), "application/x-ole-storage", "office"),
    (s.ole2(bytes.fromhex("84100c0000000000c000000000000046")), "application/x-msi", "executable"),
    (s.RTF, "application/rtf", "office"),
    (s.LNK, "application/x-ms-shortcut", "shortcut"),
    (b"[InternetShortcut]\r\nURL=http://127.0.0.1/", "application/x-mswinurl", "shortcut"),
    (s.MP4, "video/mp4", "video"),
    (b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00", "image/avif", "image"),
    (b"\x1aE\xdf\xa3\x01\x00", "video/webm", "video"),
    (b"ID3\x04\x00\x00", "audio/mpeg", "audio"),
    (b"OggS\x00\x02", "application/ogg", "audio"),
    (s.wav(), "audio/wav", "audio"),
    (s.SHELL, "text/x-shellscript", "script"),
    (b"#!/usr/bin/env python3\n", "text/x-python", "script"),
    (s.POWERSHELL, "text/x-powershell", "script"),
    (s.VBSCRIPT, "text/vbscript", "script"),
    (s.BATCH, "text/x-msdos-batch", "script"),
    (b"<?php echo 1;", "text/x-php", "script"),
    (b"<html><hta:application id=a>", "application/hta", "script"),
    (b"From: a@example.org\r\nTo: b@example.org\r\nSubject: soup\r\n\r\nwarm", "message/rfc822", "mail"),
    (s.PLAIN, "text/plain", "text"),
    ("Суп был тёплым".encode(), "text/plain", "text"),
    ("Suppe für zwei".encode("latin-1"), "text/plain", "text"),
    ("\ufeff<html><body>".encode("utf-16"), "text/html", "markup"),
    (b"id,name\n1,soup\n", "text/plain", "text"),
    (
        b"MZ is a name, and this is a letter about it that is longer than the header of a program.",
        "text/plain",
        "text",
    ),
    (b"CWS", "text/plain", "text"),
    (b"070701 is a number\n", "text/plain", "text"),
    (b"/*!" + b" licence" * 200 + b"*/\nvar a = 1;", "text/javascript", "script"),
    (b"// line\n" * 70 + b"body { margin: 0 }", "text/css", "text"),
    (b"let us import soup", "text/plain", "text"),
]


@pytest.mark.parametrize(("data", "media_type", "family"), KNOWN, ids=lambda value: str(value)[:24])
def test_decides_without_libmagic(data: bytes, media_type: str, family: str) -> None:
    identity = TABLE_ONLY.identify(Sample(data))
    assert (identity.media_type, identity.family) == (media_type, family)


def test_pdf_header_counts_up_to_the_offset_that_readers_accept() -> None:
    assert TABLE_ONLY.identify(Sample(b"a" * 1024 + b"%PDF-1.4")).media_type == "application/pdf"
    assert TABLE_ONLY.identify(Sample(b"a" * 1025 + b"%PDF-1.4")).media_type == "text/plain"


def test_text_cut_inside_a_character_is_still_text() -> None:
    text = "ж".encode() * 400
    assert TABLE_ONLY.identify(Sample(b"(" + text)).family == "text"


def test_every_cut_of_every_known_type_is_survived() -> None:
    for data, _, _ in KNOWN:
        for cut in range(min(len(data), 100)):
            assert TABLE_ONLY.identify(Sample(data[:cut])).media_type


def test_a_mapped_file_is_identified_like_bytes(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(s.DOCX)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert TABLE_ONLY.identify(Sample(mapped)) == TABLE_ONLY.identify(Sample(s.DOCX))


class CountingLibmagic:
    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.seen: list[int] = []

    def from_buffer(self, buf: bytes) -> str:
        self.seen.append(len(buf))
        return self.answer


def test_libmagic_sees_two_kilobytes_and_only_of_unknown_binary_data() -> None:
    libmagic = CountingLibmagic("image/x-odd")
    identifier = ContentIdentifier(libmagic)
    for data, _, _ in KNOWN:
        identifier.identify(Sample(data))
    assert libmagic.seen == []
    assert identifier.identify(Sample(b"\x02\x03" * 5000)) == Identity("image/x-odd", "image", "by libmagic")
    assert libmagic.seen == [2048]
    assert identifier.identify(Sample(b"\x02\x03" * 5000, coding="br")).family == "unknown"
    assert libmagic.seen == [2048]


def test_what_nobody_knows_is_unknown() -> None:
    assert TABLE_ONLY.identify(Sample(b"\x02\x03" * 100)).family == "unknown"
    assert (
        ContentIdentifier(CountingLibmagic("application/octet-stream")).identify(Sample(b"\x02\x03")).family
        == "unknown"
    )


def test_libmagic_comes_from_the_wheel() -> None:
    assert load_libmagic().from_buffer(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR") == "image/png"
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libmagic.so" in line}
    assert mapped
    assert all(Path(path).is_relative_to(str(files("pylibmagic"))) for path in mapped)


def test_the_spec_builds_an_identifier() -> None:
    options = IdentifyOptions()
    built = SPEC.build(options, SPEC.gather(options, Path))
    assert isinstance(built, Identifier)
    assert built.identify(Sample(b"\x02\x00" * 40 + bytes(range(256)))).media_type
    assert SPEC.version()


def test_the_spec_can_do_without_libmagic() -> None:
    built = SPEC.build(IdentifyOptions(libmagic=False), {})
    assert isinstance(built, Identifier)
    assert built.identify(Sample(b"\x02\x03" * 100)).family == "unknown"


def test_libmagic_is_asked_about_members_up_to_the_limit_and_of_each_body_anew() -> None:
    libmagic = CountingLibmagic("image/x-odd")
    identifier = ContentIdentifier(libmagic)
    for _ in range(2):
        libmagic.seen.clear()
        body = Sample(b"\x02\x03" * 50)
        identities = [identifier.identify(body)]
        identities += [identifier.identify(body.member(b"\x02\x03", "a")) for _ in range(MAX_ASKS)]
        assert len(libmagic.seen) == MAX_ASKS
        assert [found.family for found in identities] == ["image"] * MAX_ASKS + ["unknown"]
