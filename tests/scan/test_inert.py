"""What is proven to hold nothing but a picture, font or sound, and what only looks so."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import pytest

from bench import content
from bench.content import seeded
from icapd.scan.inert import LEAST_BYTES, TEXT_RUN_BYTES, has_text, is_inert
from tests.benign import pictures
from tests.engines.samples import zip_of

PNG, JPEG, WEBP, WAVE, WOFF2 = "image/png", "image/jpeg", "image/webp", "audio/wav", "font/woff2"
TYPES = {"png": PNG, "jpg": JPEG, "webp": WEBP, "wav": WAVE, "woff2": WOFF2}
BODIES = dict(pictures.bodies())


def woff2(metadata: int = 0, size: int | None = None, told: int | None = None, text: bytes = b"") -> bytes:
    stream = (text + seeded(3).randbytes(2000))[:2000]
    whole = 48 + 12 + len(stream) if size is None else size
    head = b"wOF2\0\1\0\0" + struct.pack(">IHHII", whole if told is None else told, 4, 0, 9000, len(stream))
    return head + bytes(4) + struct.pack(">I", metadata) + bytes(16) + bytes(range(1, 13)) + stream


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*more: bytes, pixels: bytes | None = None) -> bytes:
    data = zlib.compress(seeded(1).randbytes(600), 1) if pixels is None else pixels
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20, 10, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg(*segments: bytes) -> bytes:
    whole = pictures.photograph("JPEG", 64)
    return whole[:2] + b"".join(segments) + whole[2:]


def segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


INERT = {
    **{
        name: (BODIES[name], TYPES[name.rpartition(".")[2]])
        for name in ("drawing.png", "drawing.jpg", "drawing.webp")
    },
    **{name: (BODIES[name], TYPES[name.rpartition(".")[2]]) for name in ("progressive.jpg", "grey.png", "sound.wav")},
    "small parts": (png(chunk(b"gAMA", bytes(4)), chunk(b"pHYs", bytes(9))), PNG),
    "a font": (woff2(), WOFF2),
    "restart markers": (pictures.photograph("JPEG", 64, restart_marker_blocks=2), JPEG),
}
ODD = {
    "text in a part": (png(chunk(b"tEXt", b"Comment\0<?php eval($_POST[1]);")), PNG),
    "compressed text": (png(chunk(b"zTXt", b"a\0\0" + zlib.compress(b"a"))), PNG),
    "a part nobody knows": (png(chunk(b"evIl", b"x")), PNG),
    "a small part that is large": (png(chunk(b"gAMA", bytes(5))), PNG),
    "a palette that is large": (png(chunk(b"PLTE", bytes(769))), PNG),
    "bytes behind the end": (png() + b"x", PNG),
    "a second picture behind it": (png() + png(), PNG),
    "a program behind it": (png() + content.executable(seeded(1), 3000), PNG),
    "an archive behind it": (png() + zip_of({"a": b"x"}), PNG),
    "an archive among the pixels": (png(pixels=zip_of({"a": b"x"})), PNG),
    "a PDF among the pixels": (png(pixels=b"%PDF-1.4\n1 0 obj"), PNG),
    "no end": (png()[:-12], PNG),
    "cut": (png()[:-1], PNG),
    "another type than told": (png(), JPEG),
    "Exif": (BODIES["with-exif.jpg"], JPEG),
    "a profile": (BODIES["with-profile.jpg"], JPEG),
    "a comment": (BODIES["with-comment.jpg"], JPEG),
    "a comment with a page": (jpeg(segment(0xFE, b"<script>alert(1)</script>")), JPEG),
    "a page in a table": (jpeg(segment(0xDB, b"\0" + b"<script src=//example.test>".ljust(64, b"\x10"))), JPEG),
    "a sentence in a table": (
        jpeg(segment(0xC4, b"\x11" + bytes([0] * 7 + [30] + [0] * 8) + b"eval" * 7 + b"ab")),
        JPEG,
    ),
    "a JPEG with bytes behind it": (BODIES["drawing.jpg"] + b"x", JPEG),
    "WebP with Exif": (BODIES["with-exif.webp"], WEBP),
    "WebP that is longer than it says": (BODIES["drawing.webp"] + b"xx", WEBP),
    "WAVE with a list": (BODIES["sound.wav"] + b"LIST\4\0\0\0INFO", WAVE),
    "a font with metadata": (woff2(metadata=1), WOFF2),
    "a font longer than it says": (woff2(told=2059), WOFF2),
    "a font of another make": (BODIES["font.ttf"], "font/ttf"),
    "SVG": (BODIES["drawing.png"], "image/svg+xml"),
    "nothing": (b"", PNG),
}


@pytest.mark.parametrize("is_thorough", [True, False])
@pytest.mark.parametrize("case", INERT)
def test_proven(case: str, is_thorough: bool) -> None:
    data, media_type = INERT[case]
    assert is_inert(data, media_type, is_thorough=is_thorough) is (is_thorough or media_type != JPEG)


@pytest.mark.parametrize("is_thorough", [True, False])
@pytest.mark.parametrize("case", ODD)
def test_not_proven(case: str, is_thorough: bool) -> None:
    assert not is_inert(*ODD[case], is_thorough=is_thorough)


HIDDEN: dict[str, Callable[[bytes], tuple[bytes, str]]] = {
    "pixels": lambda text: (png(pixels=seeded(2).randbytes(90) + b"\x80" + text + b"\x80" * 9), PNG),
    "a scan": lambda text: (BODIES["drawing.jpg"][:-2] + b"\x80" + text + b"\x80\xff\xd9", JPEG),
    "a font": lambda text: (woff2(text=b"\x80" + text + b"\x80"), WOFF2),
}


@pytest.mark.parametrize("place", HIDDEN)
def test_a_run_of_text_shows_in_a_thorough_proof(place: str) -> None:
    at_limit, below = b"e" * TEXT_RUN_BYTES, b"e" * (TEXT_RUN_BYTES - 1)
    assert is_inert(*HIDDEN[place](below))
    assert not is_inert(*HIDDEN[place](at_limit))
    assert not is_inert(*HIDDEN[place]("wide letters".encode("utf-16-le")))
    if place != "a scan":
        assert is_inert(*HIDDEN[place](at_limit), is_thorough=False)


def test_an_early_end_shows_in_a_thorough_proof() -> None:
    data = BODIES["drawing.jpg"]
    hidden = data + content.executable(seeded(1), 3000) + b"\xff\xd9"
    assert not is_inert(hidden, JPEG)


@pytest.mark.parametrize("offset", range(9))
def test_text_is_found_wherever_it_stands(offset: int) -> None:
    frame = b"\x80" * 40
    for length, found in ((TEXT_RUN_BYTES - 1, False), (TEXT_RUN_BYTES, True), (TEXT_RUN_BYTES + 9, True)):
        data = frame + b"\x80" * offset + b"e" * length + frame
        assert has_text(data, 0, len(data)) is found
        assert has_text(data, 0, 40 + offset + length - 1) is (length > TEXT_RUN_BYTES)


def test_what_is_almost_text_ends_the_search() -> None:
    data = (b"e" * 23 + b"\x80") * 40_000
    assert has_text(data, 0, len(data))


def test_small_and_cut_bodies() -> None:
    whole = png()
    assert len(whole) > LEAST_BYTES
    assert not any(is_inert(whole[:length], PNG) for length in range(len(whole)))
    photograph = pictures.photograph("JPEG", 8)
    assert not any(is_inert(photograph[:length], JPEG) for length in range(len(photograph) - 1))


def test_random_damage_never_raises() -> None:
    source = seeded(5)
    for data, media_type in INERT.values():
        for _ in range(60):
            at = source.randrange(len(data))
            damaged = data[:at] + source.randbytes(3) + data[at + source.randrange(5) :]
            is_inert(damaged, media_type)
            is_inert(damaged, media_type, is_thorough=False)


def test_a_picture_without_frames_is_written_anew_by_pillow() -> None:
    packed = io.BytesIO()
    pictures.picture(40).save(packed, "PNG", optimize=True)
    assert is_inert(packed.getvalue(), PNG)
