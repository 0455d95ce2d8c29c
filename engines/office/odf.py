"""Parts of OpenDocument files: what the manifest says is encrypted, and modules of Basic, judged like Visual Basic.

The archive engine opens the package, so a part comes as a member. Its root says whether it is a module, as expat
reads it, which LibreOffice does too: words in the bytes prove nothing, and can be written otherwise. Basic of
LibreOffice is near enough to Visual Basic that the same words tell; that a document runs it when it is opened stands
in another part.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.parsers import expat

from engines.office import findings, vba
from engines.office.limits import OfficeOptions
from engines.office.ooxml import plain, sure_root
from engines.office.tables import COMBINATIONS
from icapd.scan.indicators import add_up
from icapd.scan.model import Budget, Finding, Sample

_MANIFEST: Final = "META-INF/manifest.xml"
_ENCRYPTED: Final = b"encryption-data"
_MODULE: Final = "http://openoffice.org/2000/script module"
_NAMESPACE: Final = b"openoffice.org/2000/script"
_FOLDER: Final = "Basic/"
_HEAD_BYTES: Final = 4096
_FIRST_BYTES: Final = 512
_FAULTS: Final = (expat.ExpatError, LookupError, ValueError)
"""Damage, and encodings that expat is not told of."""


class _RootFound(Exception):
    """Nothing behind the root is asked for."""


def is_module(sample: Sample, budget: Budget) -> bool:
    """Whether an XML member is a module, or may be one for all that can be told.

    Raises: DeadlineReached.
    """
    data = bytes(sample.data)
    if sure_root(data) not in (b"", b"module"):  # six times faster than asking expat
        return False
    roots: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        roots.append(name)
        raise _RootFound

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    try:
        _feed(parser, data, budget)
    except _RootFound:
        return roots == [_MODULE]
    except _FAULTS:
        return sample.name.startswith(_FOLDER) or _NAMESPACE in plain(data[:_HEAD_BYTES])
    return False


def unpack_module(sample: Sample, options: OfficeOptions, budget: Budget) -> Iterator[Finding]:
    """Raises: DeadlineReached."""
    source: list[str] = []
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.CharacterDataHandler = source.append
    parser.EntityDeclHandler = parser.AttlistDeclHandler = _refuse
    try:
        _feed(parser, bytes(sample.data), budget)
    except _FAULTS:
        yield findings.corrupt("xml", sample.trail)
    project = vba.Project()
    if source:
        project.add(sample.name, "".join(source).encode("utf-8", "replace"))
    if project.is_cut:
        yield findings.limit(vba.SOURCE_LIMIT, sample.trail)
    signs = vba.signs(project, [], budget) if source else []
    yield from add_up(findings.ENGINE, signs, COMBINATIONS, options.thresholds, sample.trail)


def unpack_manifest(sample: Sample) -> Iterator[Finding]:
    """An element's name is as it stands, in UTF-16 as well."""
    if sample.name == _MANIFEST and _ENCRYPTED in plain(bytes(sample.data)):
        yield findings.encrypted("odf", sample.trail)


def _feed(parser: expat.XMLParserType, data: bytes, budget: Budget) -> None:
    """In steps that double: what ends far behind, as a comment, is then read twice at most."""
    at, step_bytes = 0, _FIRST_BYTES
    while at < len(data):
        budget.check_time()
        parser.Parse(data[at : at + step_bytes], at + step_bytes >= len(data))
        at += step_bytes
        step_bytes *= 2


def _refuse(*_: object) -> None:
    """No program declares entities or attributes in a module."""
    raise ValueError("a declaration")
