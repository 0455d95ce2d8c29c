"""Pictures, sound, film and fonts."""

from __future__ import annotations

import io
import struct
import wave
from collections.abc import Iterator
from functools import cache

from PIL import Image, ImageCms, ImageDraw
from PIL.PngImagePlugin import PngInfo

from bench import content
from bench.content import seeded

_MODES = {"GIF": "P", "BMP": "RGB", "JPEG": "RGB", "PPM": "RGB", "PCX": "RGB", "EPS": "RGB", "PDF": "RGB"}
_EXTENSIONS = {"JPEG": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "ICO", "PPM", "TGA", "PCX", "JPEG2000", "EPS", "PDF")


@cache
def picture(side: int) -> Image.Image:
    """A drawing on a background of soft noise: neither flat nor random."""
    image = Image.effect_noise((side, side), 40).convert("RGB")
    source = seeded(side)
    image.putdata([tuple(source.randrange(60, 200) for _ in range(3)) for _ in range(side * side)])
    draw = ImageDraw.Draw(image)
    draw.ellipse((side // 8, side // 8, side - side // 8, side - side // 8), fill=(200, 120, 40), outline=(9, 9, 9))
    draw.line((0, 0, side, side), fill=(0, 0, 250), width=3)
    return image


def photograph(kind: str, side: int, **options: object) -> bytes:
    packed = io.BytesIO()
    picture(side).convert(_MODES.get(kind, "RGB")).save(packed, kind, **options)
    return packed.getvalue()


def bodies() -> Iterator[tuple[str, bytes]]:
    for kind in _FORMATS:
        yield f"drawing.{_EXTENSIONS.get(kind, kind.lower())}", photograph(kind, 120)
    yield from _with_metadata()
    yield from _of_kinds()
    yield from _sound_and_film()
    yield from _fonts()


def _with_metadata() -> Iterator[tuple[str, bytes]]:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131], exif[0x8298] = "A Maker", "A Camera", "Editor 1.0", "(c) A Cook"
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0Soup <b>for</b> everyone; see https://example.test/"
    exif.get_ifd(0x8825)[1] = "N"
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        extension = _EXTENSIONS.get(kind, kind.lower())
        yield f"with-profile.{extension}", photograph(kind, 100, icc_profile=profile)
        yield f"with-exif.{extension}", photograph(kind, 100, exif=exif.tobytes())
    xmp = b'<?xpacket begin="" id="W5M0"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>' + b" " * 2000
    yield "with-xmp.jpg", photograph("JPEG", 100, xmp=xmp)
    yield (
        "with-comment.jpg",
        photograph("JPEG", 100, comment=b"CREATOR: soup v1.0 (using IJG JPEG v80), quality = 90"),
    )
    texts = PngInfo()
    texts.add_text("Software", "Editor 1.0")
    texts.add_itxt("XML:com.adobe.xmp", xmp.decode(), zip=True)
    yield "with-texts.png", photograph("PNG", 100, pnginfo=texts)
    thumbnail = photograph("JPEG", 60)
    start = photograph("JPEG", 100)
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 10) + b"Exif\0\0\0\0" + thumbnail
    yield "with-thumbnail.jpg", start[:2] + segment + start[2:]


def _of_kinds() -> Iterator[tuple[str, bytes]]:
    yield "progressive.jpg", photograph("JPEG", 150, progressive=True, quality=60)
    yield "interlaced.gif", photograph("GIF", 90, interlace=1)
    frames = [picture(60).rotate(angle).convert("P") for angle in range(0, 90, 15)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        packed = io.BytesIO()
        frames[0].save(packed, kind, save_all=True, append_images=frames[1:])
        yield f"animated.{kind.lower()}", packed.getvalue()
    grey = io.BytesIO()
    picture(80).convert("L").save(grey, "PNG")
    yield "grey.png", grey.getvalue()
    clear = io.BytesIO()
    picture(80).convert("RGBA").save(clear, "WEBP", lossless=True)
    yield "lossless.webp", clear.getvalue()
    source = seeded(5)
    for size_bytes in (300, 9_000, 300_000):
        yield f"noise-{size_bytes}.png", content.png(source, size_bytes)
        yield f"noise-{size_bytes}.jpg", content.jpeg(source, size_bytes)
    yield (
        "pixel.gif",
        b"GIF89a\x01\0\x01\0\x80\0\0" + bytes(6) + b"!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;",
    )


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 8) + kind + data


def _sound_and_film() -> Iterator[tuple[str, bytes]]:
    source = seeded(6)
    film = _box(b"ftyp", b"isom\0\0\x02\0isomiso2avc1mp41") + _box(b"free", b"")
    film += _box(b"moov", _box(b"mvhd", bytes(100)) + _box(b"udta", _box(b"\xa9too", b"Lavf60")))
    yield "film.mp4", film + _box(b"mdat", source.randbytes(60_000))
    yield "segment.m4s", _box(b"styp", b"msdh\0\0\0\0msdhmsix") + _box(b"mdat", source.randbytes(20_000))
    yield "sound.m4a", _box(b"ftyp", b"M4A \0\0\x02\0M4A mp42isom") + _box(b"mdat", source.randbytes(20_000))
    yield "film.mov", _box(b"ftyp", b"qt  \0\0\x02\0qt  ") + _box(b"mdat", source.randbytes(20_000))
    yield "picture.avif", _box(b"ftyp", b"avif\0\0\0\0avifmif1miaf") + _box(b"mdat", source.randbytes(20_000))
    yield "picture.heic", _box(b"ftyp", b"heic\0\0\0\0mif1heic") + _box(b"mdat", source.randbytes(20_000))
    matroska = bytes.fromhex(
        "1a45dfa39f4286810142f7810142f2810442f381084282847765626d42878104428581021853806701ffffffffffffff"
    )
    yield "film.webm", matroska + source.randbytes(40_000)
    frame = b"\xff\xfb\x90\x64" + source.randbytes(413)
    yield "sound.mp3", b"ID3\x04\0\0\0\0\0\x0aTIT2\0\0\0" + frame * 90
    yield "bare.mp3", frame * 90
    yield (
        "sound.ogg",
        b"OggS\0\x02" + bytes(8) + source.randbytes(9) + b"\x01\x1e\x01vorbis" + source.randbytes(20_000),
    )
    yield "sound.flac", b"fLaC\0\0\0\x22" + bytes(34) + source.randbytes(20_000)
    packed = io.BytesIO()
    with wave.open(packed, "wb") as sound:
        sound.setnchannels(2)
        sound.setsampwidth(2)
        sound.setframerate(44_100)
        sound.writeframes(source.randbytes(60_000))
    yield "sound.wav", packed.getvalue()
    yield "film.avi", b"RIFF" + struct.pack("<I", 30_012) + b"AVI LIST" + source.randbytes(30_000)
    yield "film.ts", (b"G@\x00\x10" + source.randbytes(184)) * 200
    yield "film.flv", b"FLV\x01\x05\0\0\0\x09\0\0\0\0" + source.randbytes(20_000)
    yield "tune.mid", b"MThd\0\0\0\x06\0\x01\0\x02\x01\xe0MTrk\0\0\0\x0b\0\xffX\x04\x04\x02\x18\x08\0\xff/\0"
    yield "film.wmv", bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + source.randbytes(20_000)
    yield "sound.aac", (b"\xff\xf1\x50\x80\x2e\x7f\xfc" + source.randbytes(360)) * 60


def _fonts() -> Iterator[tuple[str, bytes]]:
    source = seeded(9)
    for size_bytes in (900, 30_000, 120_000):
        yield f"font-{size_bytes}.woff2", content.woff2(source, size_bytes)
    tables = (b"glyf", b"head", b"hhea", b"loca", b"name")
    directory = b"".join(tag + struct.pack(">III", 0, 12 + 16 * 5, 6_000) for tag in tables)
    for extension, magic in (("ttf", b"\0\x01\0\0"), ("otf", b"OTTO")):
        yield f"font.{extension}", magic + struct.pack(">HHHH", 5, 64, 2, 16) + directory + source.randbytes(30_000)
    yield "font.woff", b"wOFF\0\x01\0\0" + struct.pack(">I", 20_044) + bytes(32) + source.randbytes(20_000)
    yield "font.eot", struct.pack("<III", 20_000, 19_800, 0x00020001) + bytes(22) + b"LP" + source.randbytes(19_962)
