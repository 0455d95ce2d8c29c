"""The engine that finds what is embedded in mail, forms, text, OneNote files and shortcuts. It judges nothing itself.

`unpacker` decides who looks: `mail` splits MIME messages and multipart bodies (`headers` reads their headers, `coded`
undoes their encodings), `tnef` opens what Outlook makes of attachments, `text` finds base64, data: URLs and
uuencoded files in markup, scripts and plain text, `widened` reads UTF-16 as UTF-8, `openpgp` and `cms` tell what is
encrypted, `cms` takes out what is signed or compressed, `onenote` finds attached files, `shortcut` the command of a
Windows shortcut. All of it is found by its place in memory; nothing is built that grows faster than the bytes that
were read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engines.embedded.limits import EmbeddedOptions as EmbeddedOptions
from icapd.scan.engine_api import EngineOptions, EngineSpec, Material, Unpacker


def _gather(options: EngineOptions, resolve: Callable[[str], Path]) -> Material:
    return {}


def _build(options: EngineOptions, material: Material) -> Unpacker:
    from engines.embedded.unpacker import EmbeddedUnpacker  # here: only who builds engines loads what parses bodies

    assert isinstance(options, EmbeddedOptions)
    return EmbeddedUnpacker(options)


SPEC = EngineSpec(name="embedded", options=EmbeddedOptions, gather=_gather, build=_build, version=lambda: "5")
