"""Parts of OOXML packages, one at a time: relations to elsewhere, DDE, macro sheets, controls, and files inside XML.

The archive engine opens the package, so a part comes as a member; flat packages and Word 2003's XML come whole. expat
reads them, which knows prefixes, entities and encodings as Office does; a document type is refused, as in Office.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Final
from xml.parsers import expat

from engines.office import biff, embedded, findings, formula, ole_table, xlm, xlm_table
from engines.office.limits import OfficeOptions
from engines.office.tables import COMBINATIONS
from icapd.scan.indicators import Indicator, add_up
from icapd.scan.model import Budget, Finding, Sample

TEXT_CHARACTERS_MAX: Final = 1_000_000
TEXT_LIMIT: Final = "office.max_field_characters"
EMBEDDED_CHARACTERS_MAX: Final = 64 * 1024 * 1024
EMBEDDED_LIMIT: Final = "office.max_embedded_characters"
_FILES_MAX: Final = 1000
_STEP_BYTES: Final = 256 * 1024
_HEAD_BYTES: Final = 64 * 1024
_XML = re.compile(rb"[\xef\xbb\xbf\xff\xfe\t\n\r \0]*<")
"""Without a declaration any amount of white space may come first, in UTF-16 as well."""
_WORTH: Final = (
    *(b"Relationship", b"instrText", b"fldSimple", b"ddeLink", b"macrosheet", b"classid", b"binData", b"binaryData"),
    *(b"<!DOCTYPE", b"definedName"),
)
"""Without any of these words a part has nothing for us; they are names of elements, which XML cannot disguise."""
_OF_OFFICE: Final = (*(word for word in _WORTH if word not in (b"Relationship", b"<!DOCTYPE")), b"TargetMode")
"""Words that other XML hardly uses; a relation to elsewhere needs the last one."""
_ROOT = re.compile(
    rb"(?:\xef\xbb\xbf)?"
    rb"(?:<\?xml[ \t\r\n]+version=[\"']1\.0[\"'](?:[ \t\r\n]+encoding=[\"'](?i:utf-8|us-ascii)[\"'])?"
    rb"(?:[ \t\r\n]+standalone=[\"'](?:yes|no)[\"'])?[ \t\r\n]*\?>)?"
    rb"[ \t\r\n]*(?:<\?(?!(?i:xml))[^?<]*\?>[ \t\r\n]*)*<(?:[A-Za-z0-9]{1,64}:)?([A-Za-z]{1,32})[ \t\r\n/>]"
)
"""The root where it can be told for sure: in UTF-8 without NULs, after an ordinary declaration."""
_INERT_ROOTS: Final = frozenset(
    b"styles styleSheet theme fonts settings webSettings numbering Types Properties coreProperties worksheet"
    b" chartsheet sst sld sldLayout sldMaster presentation".split()
)
"""Parts in which no program looks for what we do, and the largest; what they refer to stands in their relations."""
_OFFICE = (
    b"openxmlformats.org",
    b"schemas.microsoft.com/office",
    b"purl.oclc.org/ooxml",
    b"schemas-microsoft-com:office",
)
_REMOTE = re.compile(r"(?:mhtml:)?(?:(?:https?|ftp):|\\\\|//|file:(?:///?/?\\\\|//(?!/)|/////))", re.IGNORECASE)
_SHARE = re.compile(r"(?:mhtml:)?(?:\\\\|file:(?:///?/?\\\\|//(?!/)|/////))", re.IGNORECASE)
_DANGEROUS_LINK = re.compile(
    r"(?:ms-msdt|search-ms|ms-officecmd|javascript|vbscript|ms-appinstaller|hcp):", re.IGNORECASE
)
_DDE = re.compile(r"(?:^|\W)dde(?:auto)?\W", re.IGNORECASE)
_FETCHES = re.compile(r"\b(?:includepicture|includetext|import|link)\b", re.IGNORECASE)
_OBJECTS: Final = frozenset({"oleobject", "frame", "subdocument", "afchunk"})
_MACRO_SHEETS: Final = frozenset({"xlmacrosheet", "xlintlmacrosheet"})


def matches(sample: Sample) -> bool:
    """XML of an office program; of other XML its beginning is searched for a few words.

    A member with the name of a part may be one whatever it says: the address of a namespace can be written with
    character references, as no name of an element can.
    """
    if sample.trail and sample.name.lower().endswith((".rels", ".xml")):
        return _XML.match(sample.data) is not None
    return sample.identity.media_type == "application/xml" and _is_office(plain(sample.head(_HEAD_BYTES)))


def _is_office(text: bytes) -> bool:
    return any(name in text for name in _OFFICE)


def _may_be_office(sample: Sample, text: bytes) -> bool:
    """Whether damage and document types in a part matter: those of other XML in archives do not."""
    if sample.trail and sample.name.lower().endswith(".rels"):
        return True
    return _is_office(text) or any(word in text for word in _OF_OFFICE)


def _is_inert(sample: Sample, data: bytes) -> bool:
    """Relations are always read, and so is what another encoding may make into something else."""
    if b"\0" in data or sample.name.lower().endswith(".rels"):
        return False
    return sure_root(data) in _INERT_ROOTS


def sure_root(data: bytes) -> bytes:
    """The local name of the root where a glance tells it for sure, else nothing."""
    root = _ROOT.match(data)
    return root[1] if root is not None else b""


def plain(data: bytes) -> bytes:
    """UTF-16 as ASCII, where it is."""
    return data.replace(b"\0", b"") if b"\0" in data[:64] else data


class _Part:
    """Collects what one part says. State: grows element by element; `_text` is of the element that is being read."""

    def __init__(self) -> None:
        self.signs: list[Indicator] = []
        self.files: list[tuple[str, bytes]] = []
        self.formulas: list[str] = []
        self.limits: set[str] = set()
        self.is_macro_sheet = False
        self._field = self._quoted = ""
        self._text: list[str] | None = None
        self._name = ""
        self._text_left = TEXT_CHARACTERS_MAX
        self._embedded_left = EMBEDDED_CHARACTERS_MAX

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        given = {key.rpartition(" ")[2]: value for key, value in attributes.items()}
        reader = _STARTS.get(local)
        if reader is not None:
            reader(self, given)
        if local in _TEXTS and (local != "f" or self.is_macro_sheet):
            self._text = []
            if local == "binData":
                self._name = given.get("name", "binData")

    def data(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def end(self, name: str) -> None:
        local = name.rpartition(" ")[2]
        if local == "p":
            self.end_field()
        if self._text is None or local not in _TEXTS:
            return
        text, self._text = "".join(self._text), None
        if local == "instrText":
            self._keep_field(text)
        elif local == "definedName":
            if formula.calls_macros(text):
                self.signs.append(xlm_table.MACRO_SHEET)
                self._keep_formula(text)
        elif local == "f":
            self._keep_formula(text)
        else:
            self._file(text)

    def _take(self, count: int) -> None:
        self._text_left -= count
        if self._text_left < 0:
            self.limits.add(TEXT_LIMIT)

    def _keep_formula(self, text: str) -> None:
        self._take(len(text))
        if self._text_left > 0:
            self.formulas.append(text)

    def _keep_field(self, text: str) -> None:
        """A field's code may be spread over many runs."""
        self._take(len(text))
        if self._text_left > 0:
            self._field += text

    def end_field(self) -> None:
        text, self._field = self._field, ""
        if text:
            self.field(text)

    def end_document(self) -> None:
        """What fields give by numbers may be the command of another one."""
        self.end_field()
        if ole_table.DDE in self.signs:
            self.signs += embedded.dde_signs(self._quoted.encode("utf-8", "replace"))

    def field(self, text: str) -> None:
        self._quoted += embedded.quoted(text)
        if _DDE.search(f" {text} "):
            self.signs += embedded.dde_signs(text.encode("utf-8", "replace"))
        elif _FETCHES.search(text) and _REMOTE.search(text.replace("\\\\\\\\", "\\\\")):
            self.signs.append(xlm_table.REMOTE_FIELD)

    def _file(self, text: str) -> None:
        self._embedded_left -= len(text)
        if self._embedded_left < 0 or len(self.files) >= _FILES_MAX:
            self.limits.add(EMBEDDED_LIMIT)
            return
        try:
            content = base64.b64decode(text)
        except (binascii.Error, ValueError):
            return
        self.files.append((self._name or f"part {len(self.files) + 1}", content))

    def relationship(self, given: dict[str, str]) -> None:
        kind = given.get("Type", "").rpartition("/")[2].lower()
        target = given.get("Target", "").strip()
        if kind in _MACRO_SHEETS:
            self.signs.append(xlm_table.MACRO_SHEET)
        if given.get("TargetMode", "").lower() != "external":
            return
        if _DANGEROUS_LINK.match(target):
            self.signs.append(xlm_table.DANGEROUS_LINK)
        if not _REMOTE.match(target):
            return
        if kind == "attachedtemplate":
            self.signs.append(xlm_table.REMOTE_TEMPLATE)
        elif kind in _OBJECTS:
            low = target.lower()
            opens = kind == "oleobject" and (low.startswith("mhtml:") or low.endswith("!") or "!x-usc:" in low)
            self.signs.append(xlm_table.BROWSER_OBJECT if opens else xlm_table.REMOTE_OBJECT)
        elif _SHARE.match(target) and kind != "hyperlink":
            self.signs.append(xlm_table.REMOTE_SHARE)
        elif kind == "image":
            self.signs.append(xlm_table.REMOTE_PICTURE)

    def simple_field(self, given: dict[str, str]) -> None:
        self._take(len(given.get("instr", "")))
        self.field(given.get("instr", ""))

    def field_mark(self, given: dict[str, str]) -> None:
        if given.get("fldCharType") in ("begin", "end", "separate"):
            self.end_field()

    def dde_link(self, given: dict[str, str]) -> None:
        text = f"{given.get('ddeService', '')}|{given.get('ddeTopic', '')}"
        self.signs += embedded.dde_signs(text.encode("utf-8", "replace"))

    def macro_sheet(self, given: dict[str, str]) -> None:
        self.is_macro_sheet = True
        self.signs.append(xlm_table.MACRO_SHEET)

    def defined_name(self, given: dict[str, str]) -> None:
        if biff.is_auto_name(given.get("name", "")):
            self.signs.append(xlm_table.AUTO_OPEN)

    def control(self, given: dict[str, str]) -> None:
        class_id = given.get("classid", "").strip("{}").lower()
        self.signs.append(ole_table.CLASSES.get(class_id, ole_table.ACTIVEX))

    def flat_part(self, given: dict[str, str]) -> None:
        self._name = given.get("name", "").lstrip("/")


_TEXTS: Final = frozenset({"instrText", "f", "definedName", "binData", "binaryData"})
_STARTS: Final[dict[str, Callable[[_Part, dict[str, str]], None]]] = {
    "Relationship": _Part.relationship,
    "fldSimple": _Part.simple_field,
    "fldChar": _Part.field_mark,
    "ddeLink": _Part.dde_link,
    "macrosheet": _Part.macro_sheet,
    "definedName": _Part.defined_name,
    "ocx": _Part.control,
    "part": _Part.flat_part,
}


class _Doctype(Exception):
    """The part declares a document type."""


def _refuse(*_: object) -> None:
    raise _Doctype


def unpack(sample: Sample, options: OfficeOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """The findings about a part, then the files in it. XML that ends badly is judged as far as it goes.

    Raises: LimitReached, DeadlineReached.
    """
    data = bytes(sample.data)
    text = plain(data)
    if _is_inert(sample, data) or not any(word in text for word in _WORTH):
        return
    is_office = _may_be_office(sample, text)
    part = _Part()
    broken: list[Finding] = []
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = part.start
    parser.EndElementHandler = part.end
    parser.CharacterDataHandler = part.data
    parser.StartDoctypeDeclHandler = _refuse
    try:
        for at in range(0, len(data), _STEP_BYTES):
            budget.check_time()
            parser.Parse(data[at : at + _STEP_BYTES], at + _STEP_BYTES >= len(data))
    except _Doctype:
        part.signs += [xlm_table.DOCTYPE] if is_office else []
    except (expat.ExpatError, LookupError, ValueError):  # damaged, or in an encoding that expat is not told of
        broken += [findings.corrupt("xml", sample.trail)] if is_office else []
    part.end_document()
    if part.formulas:
        part.signs += xlm.formula_signs("\n".join(part.formulas), budget)
    yield from add_up(findings.ENGINE, part.signs, COMBINATIONS, options.thresholds, sample.trail)
    yield from broken
    for name, content in part.files:
        budget.take_member()
        budget.take_bytes(len(content))
        yield sample.member(content, name.translate(_CONTROL)[:255])
    for limit in sorted(part.limits):
        yield findings.limit(limit, sample.trail)


_CONTROL: Final = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")
