"""Files of packages that the tests themselves need, and of the Python they run on: written by many hands.

Named by where they stand. Which there are differs with versions; those that every set-up has are asserted by the test.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

_SITE = Path(sysconfig.get_path("purelib"))
_STANDARD = Path(sysconfig.get_path("stdlib"))
_OF_A_KIND = 12
_SIZE_MAX_BYTES = 2_000_000
_PATTERNS = (
    "setuptools/*.exe",
    "pip/_vendor/distlib/*.exe",
    "*/*.so",
    "*/*/*.so",
    "*.dist-info/METADATA",
    "*.dist-info/RECORD",
    "*/*.pyi",
    "twisted/*/*.py",
    "pip/_vendor/*/*.py",
    "docx/templates/*",
    "reportlab/fonts/*",
    "**/*.ttf",
    "**/*.html",
    "**/*.js",
    "**/*.css",
    "**/*.png",
    "**/*.json",
    "**/*.pem",
    "**/*.whl",
    "**/*.c",
    "**/*.h",
    "**/*.pxd",
    "**/__pycache__/a*.pyc",
)


def bodies() -> Iterator[tuple[str, bytes]]:
    seen: set[Path] = set()
    for pattern in _PATTERNS:
        paths = sorted(path for path in _SITE.glob(pattern) if path.is_file() and path not in seen)
        small = (path for path in paths if path.stat().st_size <= _SIZE_MAX_BYTES)
        for path in islice(small, _OF_A_KIND):
            seen.add(path)
            yield f"site-packages/{path.relative_to(_SITE)}", path.read_bytes()
    for path in islice(sorted(_STANDARD.glob("*.py")), 60):
        yield f"lib/{path.name}", path.read_bytes()
