"""Archives, packages, disk images, mail, programs and what else comes as one binary file."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import plistlib
import sqlite3
import struct
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP

import brotli
import zstandard

from bench import content
from bench.content import seeded, text
from tests.benign import documents, pages, pictures, scripts
from tests.engines import archive_fixtures
from tests.engines import archive_writing as written
from tests.engines.embedded_probe import shortcut
from tests.engines.samples import tar_of, zip_of

_CLASS = b"\xca\xfe\xba\xbe\0\0\0\x34\0\x10\x0a\0\x03\0\x0d\x07\0\x0e\x07\0\x0f\x01\0\x06<init>" + bytes(60)
_WASM = (
    b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x03\x02\x01\0\x07\x08\x01\x04soup\0\0\x0a\x06\x01\x04\0\x41\x2a\x0b"
)


def bodies() -> Iterator[tuple[str, bytes]]:
    inside = dict(_members())
    yield from _archives(inside)
    yield from _packages(inside)
    yield from _mail(inside)
    yield from _programs()
    yield from _data()


def _members() -> Iterator[tuple[str, bytes]]:
    """A little of everything."""
    wanted = {"page-4000.html", "library.min.js", "README.md", "download.ps1", "build.bat", "install.sh", "server.py"}
    wanted |= {"drawing.png", "with-exif.jpg", "letter.docx", "links.xlsx", "form.pdf", "table.csv", "font-900.woff2"}
    for module in (pages, scripts, pictures, documents):
        yield from ((name, data) for name, data in module.bodies() if name in wanted)


def _archives(inside: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    packed_zip, packed_tar = zip_of(inside), tar_of(inside)
    yield "files.zip", packed_zip
    yield "stored.zip", zip_of(inside, zipfile.ZIP_STORED)
    yield "lzma.zip", zip_of(inside, zipfile.ZIP_LZMA)
    yield "nested.zip", zip_of({"a.zip": packed_zip, "b.tar": packed_tar})
    yield "many.zip", zip_of({f"src/{number}.py": b"a = %d\n" % number for number in range(900)})
    yield "made.zip", content.zip_of(seeded(4), 90_000)
    yield "empty.zip", zip_of({})
    yield "files.tar", packed_tar
    yield "files.tar.gz", gzip.compress(packed_tar, mtime=0)
    yield "files.tar.bz2", bz2.compress(packed_tar)
    yield "files.tar.xz", lzma.compress(packed_tar)
    yield "files.tar.zst", zstandard.compress(packed_tar)
    yield "files.tar.lzma", lzma.compress(packed_tar, lzma.FORMAT_ALONE)
    yield "access.log.gz", gzip.compress(b"203.0.113.9 GET / 200\n" * 900, mtime=0)
    yield "page.html.br", brotli.compress(inside["page-4000.html"])
    named = {name: data for name, data in inside.items() if len(name) < 15}
    yield "files.rar", written.rar5(named)
    yield "old.rar", written.rar4(named)
    yield "files.lzh", written.lzh(named)
    yield "files.cpio", written.cpio(named)
    yield "files.a", written.ar({"soup.o": b"\x7fELF\x02\x01\x01" + bytes(90)})
    yield "files.7z", archive_fixtures.SEVEN_ZIP
    yield "files.cab", archive_fixtures.CABINET
    yield "files.iso", archive_fixtures.ISO9660
    yield "files.pkg", written.xar(named)
    links = io.BytesIO()
    with tarfile.open(fileobj=links, mode="w:gz") as archive:
        for name, kind in (("bin/soup", tarfile.SYMTYPE), ("a/b", tarfile.LNKTYPE), ("dir", tarfile.DIRTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "../lib/soup"
            archive.addfile(entry)
    yield "links.tgz", links.getvalue()


def _packages(inside: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    metadata = b"Metadata-Version: 2.4\nName: soup\nVersion: 1.0\nDescription-Content-Type: text/markdown\n\n"
    wheel = {
        "soup/__init__.py": b"__version__ = '1.0'\n",
        "soup-1.0.dist-info/METADATA": metadata + inside["README.md"],
    }
    yield "soup-1.0-py3-none-any.whl", zip_of(wheel)
    yield "soup-1.0.tar.gz", gzip.compress(tar_of({"soup-1.0/PKG-INFO": metadata + inside["README.md"]}), mtime=0)
    manifest = b"Manifest-Version: 1.0\r\nMain-Class: soup.Soup\r\n\r\n"
    classes = {f"soup/Soup{number}.class": _CLASS for number in range(30)}
    yield "soup.jar", zip_of({"META-INF/MANIFEST.MF": manifest, **classes})
    yield (
        "soup.war",
        zip_of({"WEB-INF/web.xml": b"<web-app/>", "index.jsp": b"<%= new java.util.Date() %>", **classes}),
    )
    android = {
        "AndroidManifest.xml": b"\x03\0\x08\0" + bytes(400),
        "classes.dex": b"dex\n035\0" + seeded(1).randbytes(9_000),
    }
    yield (
        "soup.apk",
        zip_of({**android, "resources.arsc": bytes(900), "lib/arm64-v8a/libsoup.so": b"\x7fELF" + bytes(900)}),
    )
    yield "soup.xpi", zip_of({"manifest.json": b'{"manifest_version": 2}', "background.js": inside["library.min.js"]})
    yield "soup.nupkg", zip_of({"soup.nuspec": b'<?xml version="1.0"?><package/>', "lib/net8.0/Soup.dll": _program()})
    yield (
        "soup.vsix",
        zip_of({"extension.vsixmanifest": b'<?xml version="1.0"?><PackageManifest/>', "extension/a.js": b"a()"}),
    )
    package = b'{"name": "soup", "scripts": {"postinstall": "node build.js"}}'
    yield "soup-1.0.tgz", gzip.compress(tar_of({"package/package.json": package, "package/a.js": b"a()"}), mtime=0)
    control = gzip.compress(
        tar_of({"./control": b"Package: soup\n", "./postinst": b"#!/bin/sh\nldconfig\n"}), mtime=0
    )
    data = lzma.compress(tar_of({"./usr/bin/soup": b"#!/bin/sh\nexec soup-bin\n"}))
    yield "soup.deb", written.ar({"debian-binary": b"2.0\n", "control.tar.gz": control, "data.tar.xz": data})
    yield "soup.rpm", written.rpm(lzma.compress(written.cpio({"./usr/bin/soup": b"#!/bin/sh\nexec soup-bin\n"})))
    yield "place.kmz", zip_of({"doc.kml": b'<?xml version="1.0"?><kml><Placemark/></kml>'})


def _mail(inside: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    for name, data in inside.items():
        yield f"with-{name}.eml", _message(name, data)
    whole = EmailMessage(SMTP)
    whole["Subject"], whole["From"], whole["To"] = "Fwd: opening hours", "a@example.test", "b@example.test"
    whole.set_content("See below.\n")
    for name, data in inside.items():
        whole.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    yield "with-everything.eml", whole.as_bytes()
    forwarded = EmailMessage(SMTP)
    forwarded["Subject"], forwarded["From"], forwarded["To"] = "Fwd", "a@example.test", "b@example.test"
    forwarded.set_content("See below.\n")
    forwarded.add_attachment(whole)
    yield "forwarded.eml", forwarded.as_bytes()
    letter = EmailMessage(SMTP)
    letter["Subject"], letter["From"], letter["To"] = "Neuigkeiten für Sie", "a@example.test", "b@example.test"
    letter.set_content("Suppe für alle\n", cte="quoted-printable")
    letter.add_alternative('<html><body><img src="cid:a">Suppe</body></html>', subtype="html", cte="base64")
    yield "newsletter.eml", letter.as_bytes()
    yield (
        "folder.mbox",
        b"".join(b"From a@example.test Sat Jan  1 00:00:00 2025\n" + letter.as_bytes() for _ in range(9)),
    )
    part = (
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\nContent-Type: image/png\r\n\r\n%b\r\n'
    )
    yield (
        "upload.form",
        b"".join(part % item for item in ((b"a.png", inside["drawing.png"]), (b"b.txt", b"x"))) + b"--B--\r\n",
    )
    yield "page.mhtml", letter.as_bytes().replace(b"multipart/alternative", b"multipart/related", 1)


def _message(name: str, data: bytes) -> bytes:
    message = EmailMessage(SMTP)
    message["Subject"], message["From"], message["To"] = "Opening hours", "a@example.test", "b@example.test"
    message.set_content("The file is attached.\n")
    message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


def _program() -> bytes:
    return content.executable(seeded(5), 20_000)


def _programs() -> Iterator[tuple[str, bytes]]:
    yield "soup.exe", _program()
    yield "soup.wasm", _WASM
    yield "large.wasm", _WASM + b"\0\xff\xff\x02\x04name" + seeded(6).randbytes(40_000)
    yield "Soup.class", _CLASS
    with open(sys.executable, "rb") as program:
        yield "interpreter", program.read()
    yield "notepad.lnk", shortcut("C:\\Windows\\System32\\notepad.exe", "readme.txt")
    yield "browser.lnk", shortcut("C:\\Program Files\\Browser\\browser.exe", "--new-window https://www.example.test/")
    yield "script.lnk", shortcut("C:\\Tools\\backup.cmd", "/quiet", is_unicode=False)


def _data() -> Iterator[tuple[str, bytes]]:
    with sqlite3.connect(":memory:") as base:
        base.execute("CREATE TABLE soup (id INTEGER PRIMARY KEY, name TEXT, picture BLOB)")
        rows = [(text(seeded(n), 60), seeded(n).randbytes(400)) for n in range(200)]
        base.executemany("INSERT INTO soup (name, picture) VALUES (?, ?)", rows)
        base.commit()
        yield "soup.sqlite", base.serialize()
    settings = {"CFBundleName": "Soup", "items": list(range(90)), "data": seeded(7).randbytes(300)}
    yield "settings.plist", plistlib.dumps(settings, fmt=plistlib.FMT_BINARY)
    yield "Info.plist", plistlib.dumps(settings)
    packet = struct.pack("<IIII", 0, 0, 60, 60) + seeded(8).randbytes(60)
    yield "capture.pcap", b"\xd4\xc3\xb2\xa1\x02\0\x04\0" + bytes(8) + b"\xff\xff\0\0\x01\0\0\0" + packet * 90
    yield "noise.bin", seeded(9).randbytes(90_000)
    yield "zeros.bin", bytes(90_000)
    yield "message.pb", b"".join(b"\x0a\x08opening!\x10%c" % n for n in range(120)) * 9
    yield "columns.parquet", b"PAR1" + seeded(10).randbytes(9_000) + b"PAR1"
    yield "torrent.torrent", b"d8:announce30:https://example.test/announce/4:infod6:lengthi9e4:name4:soupee"
    yield "delta.bsdiff", b"BSDIFF40" + seeded(11).randbytes(9_000)
    yield "messages.mo", b"\xde\x12\x04\x95" + bytes(24) + b"soup\0Suppe\0" * 90
