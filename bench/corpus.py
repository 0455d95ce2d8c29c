"""The bodies that are sent: 400 harmless files in a web-like mix, and four with the EICAR test string.

Names of the latter begin with `bad_`: the load generator takes any other answer than a block for a wrong verdict.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final, NamedTuple

from bench import content
from bench.content import Content, seeded, text, zip_of

EICAR: Final = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}" + b"$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"

_FILES: Final = 400
_SEED: Final = 7
# Sizes are log-normal, as on the web: e ** 9.3 is 11 KB, and few are much larger.
_SIZE_MU, _SIZE_SIGMA = 9.3, 1.35
_SIZE_MIN_BYTES, _SIZE_MAX_BYTES = 200, 4_000_000


class _Kind(NamedTuple):
    extension: str
    share: float
    size_factor: float
    make: Content


_MIX: Final = (
    _Kind("html", 0.20, 1.2, content.html),
    _Kind("js", 0.22, 1.6, content.javascript),
    _Kind("json", 0.10, 0.35, content.json_items),
    _Kind("css", 0.08, 1.0, content.css),
    _Kind("png", 0.13, 0.9, content.png),
    _Kind("jpg", 0.17, 1.8, content.jpeg),
    _Kind("svg", 0.02, 0.3, content.svg),
    _Kind("woff2", 0.02, 2.0, content.woff2),
    _Kind("pdf", 0.02, 8.0, content.pdf),
    _Kind("zip", 0.02, 6.0, content.zip_of),
    _Kind("docx", 0.01, 3.0, content.docx),
    _Kind("exe", 0.01, 20.0, content.executable),
)


def make_corpus(folder: Path) -> None:
    """Writes the files, always the same ones, in a second or two; what was in the folder goes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = seeded(_SEED)
    number = 0
    for kind in _MIX:
        for _ in range(round(kind.share * _FILES)):
            drawn = source.lognormvariate(_SIZE_MU, _SIZE_SIGMA) * kind.size_factor
            size_bytes = int(min(_SIZE_MAX_BYTES, max(_SIZE_MIN_BYTES, drawn)))
            (folder / f"f{number:04d}.{kind.extension}").write_bytes(kind.make(source, size_bytes))
            number += 1
    inner = zip_of(source, 200, "c%d.txt", [("eicar.com", EICAR)])
    bad = {
        "bad_eicar.com": EICAR,
        "bad_eicar_padded.txt": text(source, 9000).encode() + EICAR + text(source, 9000).encode(),
        "bad_eicar.zip": zip_of(source, 400, "a%d.txt", [("eicar.com", EICAR)]),
        "bad_eicar_deep.zip": zip_of(source, 300, "b%d.txt", [("inner.zip", inner)]),
    }
    for name, data in bad.items():
        (folder / name).write_bytes(data)
