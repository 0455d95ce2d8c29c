"""Parts of OpenDocument files: what the manifest says is encrypted, and modules of Basic, judged like Visual Basic.

The archive engine opens the package, so a part comes as a member. Basic of LibreOffice is near enough to Visual Basic
that the same words tell; that a document runs it when it is opened stands in another part.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.parsers import expat

from engines.office import findings, vba
from engines.office.limits import OfficeOptions
from engines.office.tables import COMBINATIONS
from icapd.scan.indicators import add_up
from icapd.scan.model import Budget, Finding, Sample

_MANIFEST: Final = "META-INF/manifest.xml"
_ENCRYPTED: Final = b"encryption-data"
_MODULE: Final = "http://openoffice.org/2000/script module"
_HEAD_BYTES: Final = 4096


def matches(sample: Sample) -> bool:
    """A manifest that tells of encryption, or an XML member that may be a module."""
    if not sample.trail or not sample.name.endswith(".xml"):
        return False
    if sample.name == _MANIFEST:
        return sample.data.find(_ENCRYPTED) >= 0
    return b"openoffice.org/2000/script" in sample.head(_HEAD_BYTES)


def unpack(sample: Sample, options: OfficeOptions, budget: Budget) -> Iterator[Sample | Finding]:
    if sample.name == _MANIFEST:
        yield findings.encrypted("odf", sample.trail)
        return
    reader = _Reader()
    try:
        reader.read(bytes(sample.data))
    except (expat.ExpatError, LookupError, ValueError):
        yield findings.corrupt("xml", sample.trail)
    project = vba.Project()
    if reader.source:
        project.add(sample.name, "".join(reader.source).encode("utf-8", "replace"))
    if project.is_cut:
        yield findings.limit(vba.SOURCE_LIMIT, sample.trail)
    signs = vba.signs(project, [], budget) if reader.source else []
    yield from add_up(findings.ENGINE, signs, COMBINATIONS, options.thresholds, sample.trail)


class _Reader:
    """Collects the text of a module. State: `source` grows while the root is one."""

    def __init__(self) -> None:
        self.source: list[str] = []
        self._is_module: bool | None = None

    def read(self, data: bytes) -> None:
        """Raises: ExpatError; ValueError for entities, which no program declares here."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.CharacterDataHandler = self._text
        parser.EntityDeclHandler = _refuse
        parser.Parse(data, True)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self._is_module is None:
            self._is_module = name == _MODULE

    def _text(self, text: str) -> None:
        if self._is_module:
            self.source.append(text)


def _refuse(*_: object) -> None:
    raise ValueError("an entity")
