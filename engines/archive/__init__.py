"""The engine that opens containers: it judges nothing itself, it finds samples inside a sample for all other engines.

`unpacker` decides what is opened. One file is one family of formats: `zip_files`, `gzip_files`, `stream_files` for
other single streams, `library_files` for what libarchive reads (by `library`, bound in `binding`; `seven_passwords`
decrypts 7z for it, `cabinet_files` makes every cabinet one that it takes), `rpm_files`, `xar_files`,
`self_extracting` for archives behind anything else (and behind an archive, which ends where `container_ends` says),
and `unopened` for what is only recognised;
`coding` is the Content-Encoding of a body. Below them `streams` and `replayed` decompress a block at a time and
`collect` stops them at the limits. Nothing is ever written to a disk, and no size that a file claims is believed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version as distribution_version
from pathlib import Path

from engines.archive import binding
from engines.archive.limits import ArchiveOptions as ArchiveOptions
from icapd.scan.engine_api import EngineOptions, EngineSpec, Material, Unpacker

_FORMATS_VERSION = "7"
_DECODERS = ("brotli", "inflate64", "zlib-ng", "zstandard")


def _gather(options: EngineOptions, resolve: Callable[[str], Path]) -> Material:
    return {}


def _build(options: EngineOptions, material: Material) -> Unpacker:
    from engines.archive.unpacker import ArchiveUnpacker  # here: only who builds engines loads what parses bodies

    assert isinstance(options, ArchiveOptions)
    binding.load()  # now: a scanner may open no file
    return ArchiveUnpacker(options)


def _version() -> str:
    codings = " ".join(f"{name} {distribution_version(name)}" for name in _DECODERS)
    return f"{_FORMATS_VERSION} {codings} {binding.version()}"


SPEC = EngineSpec(name="archive", options=ArchiveOptions, gather=_gather, build=_build, version=_version)
