"""Compound files: reads every stream once, says what the whole file amounts to, then yields what is inside.

The judgement comes before the members, so that a scan whose time ends inside a member keeps it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from engines.inflate import ZLIB, InflateError, decompressor
from engines.office import agile, biff, embedded, findings, ole_table, vba, xlm, xls_crypt
from engines.office.compound import ENTRIES_LIMIT, ORPHANS, Compound, Damaged, Entry
from engines.office.limits import OfficeOptions
from engines.office.tables import COMBINATIONS
from icapd.scan.engine_api import LimitReached
from icapd.scan.indicators import Indicator, add_up
from icapd.scan.model import Budget, Finding, Sample

FORMAT: Final = "ole"
STORAGES_MAX: Final = 256
STORAGES_LIMIT: Final = "office.max_slide_objects"
_DDE_FIELD = re.compile(
    rb"\x13[ -~\x01]{0,40}DDE(?:AUTO)?[ \t][^\x13-\x15]{0,400}"
    rb"|\x13\0(?:[ -~\x01]\0){0,40}D\0D\0E\0(?:A\0U\0T\0O\0)?[ \t]\0[^\x13-\x15]{0,800}",
    re.IGNORECASE,
)
_STORED_OBJECT = re.compile(rb"\x10\x00\x11\x10")
"""The head of a compressed ExOleObjStg ([MS-PPT] 2.10.34): instance 1, type 0x1011."""
_WORD_MAGICS: Final = (b"\xec\xa5", b"\xdc\xa5")
_PROTECTED_SLIDES: Final = 0xF3D1C4DF


@dataclass(slots=True)
class _Found:
    """What a file showed so far. State: grows stream by stream."""

    signs: list[Indicator] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    members: list[tuple[str, bytes]] = field(default_factory=list)
    project: dict[str, bytes] = field(default_factory=dict)
    forms: list[bytes] = field(default_factory=list)
    loose: list[tuple[str, bytes]] = field(default_factory=list)
    left_bytes: int = field(default_factory=lambda: vba.SOURCE_BYTES_MAX)
    passwords: list[str] = field(default_factory=list)
    encryption: bytes = b""
    package: bytes = b""


def unpack(sample: Sample, options: OfficeOptions, budget: Budget) -> Iterator[Sample | Finding]:
    """The findings about a compound file, then its sources, packages and streams as samples.

    Raises: LimitReached, DeadlineReached.
    """
    found = _Found(passwords=[agile.OFFICE_DEFAULT, *options.passwords])
    reached = ""
    try:
        file = Compound(sample.data, budget)
    except Damaged:
        found.notes.append(findings.corrupt(FORMAT, sample.trail))
        raw = bytes(sample.data)
        _carve(raw, "recovered", found, budget)
        project = vba.Project()
    else:
        found.notes += [findings.limit(ENTRIES_LIMIT, sample.trail)] if file.has_more else []
        try:
            _read(file, sample, found, budget)
            _unlock(sample, found, budget)
        except LimitReached as error:
            reached = error.limit
        project = vba.read_project(file, found.project, budget)
    _add_loose(found, project)
    found.signs += vba.signs(project, found.forms, budget)
    if project.is_cut or found.left_bytes <= 0:
        found.notes.append(findings.limit(vba.SOURCE_LIMIT, sample.trail))
    yield from add_up(findings.ENGINE, found.signs, COMBINATIONS, options.thresholds, sample.trail)
    yield from found.notes
    found.members[:0] = [(f"VBA/{name}", source) for name, source in project.sources]
    for name, content in found.members:
        if content:
            budget.take_member()
            yield sample.member(content, name)
    if reached:
        yield findings.limit(reached, sample.trail)


def _add_loose(found: _Found, project: vba.Project) -> None:
    """Sources that no project lists, unless they are another copy of a listed one."""
    known = {source for _, source in project.sources}
    for name, source in found.loose:
        if source not in known:
            project.add(name, source)
            known.add(source)


def _read(file: Compound, sample: Sample, found: _Found, budget: Budget) -> None:
    storages = vba.project_storages(file)
    classes = {file.class_id, *(entry.class_id for entry in file.entries)}
    found.signs += [ole_table.CLASSES[each] for each in classes if each in ole_table.CLASSES]
    for entry in file.entries:
        if not entry.is_stream or not entry.size_bytes:
            continue
        content = file.read(entry, budget)
        if len(content) < entry.size_bytes:
            found.notes.append(findings.corrupt(FORMAT, (*sample.trail, entry.name)))
        if entry.path.startswith(ORPHANS):
            found.signs.append(ole_table.UNLINKED)
        if vba.is_project_stream(entry, storages):
            found.project[entry.path] = content
            continue
        _look(entry, content, sample, found, budget)


def _look(entry: Entry, content: bytes, sample: Sample, found: _Found, budget: Budget) -> None:
    """One stream that is no part of a project: its signs, and what it is as a member."""
    name = entry.path.rpartition("/")[2].lower()
    reader = _READERS.get(name)
    if reader is not None and reader(content, sample, found, budget):
        return
    if content[:2] == b"MZ" and b"PE\0\0" in content[:1024]:
        found.signs.append(ole_table.EXECUTABLE)
    if name in ("o", "f"):
        found.forms.append(content)
    _carve(content, entry.name, found, budget)
    found.members.append((entry.name, content))


def _carve(content: bytes, name: str, found: _Found, budget: Budget) -> None:
    """Keeps sources that no project lists, up to the ceiling for all of them."""
    for number, source in enumerate(vba.carved(content, budget, found.left_bytes), 1):
        found.left_bytes -= len(source)
        found.loose.append((f"{name} {number}", source))


def _package(content: bytes, sample: Sample, found: _Found, budget: Budget) -> bool:
    package = embedded.package(content)
    if package is None:
        found.members.append(("Ole10Native", content[4:]))
        return True
    found.signs += package.signs
    found.members.append((package.name, package.data))
    return True


def _moniker(content: bytes, sample: Sample, found: _Found, budget: Budget) -> bool:
    found.signs += embedded.moniker_signs(content)
    return False


def _equation(content: bytes, sample: Sample, found: _Found, budget: Budget) -> bool:
    found.signs += embedded.equation_signs(content)
    return False


def _word(content: bytes, sample: Sample, found: _Found, budget: Budget) -> bool:
    """The flags of the FIB ([MS-DOC] 2.5.2) and the fields of the text."""
    if content[:2] in _WORD_MAGICS and len(content) >= 12 and content[11] & 0x01:
        found.notes.append(findings.encrypted("doc", sample.trail))
        return False
    for match in _DDE_FIELD.finditer(content):
        budget.check_time()
        found.signs += embedded.dde_signs(match[0])
    return False


def _slides(content: bytes, sample: Sample, found: _Found, budget: Budget) -> bool:
    """Slides keep projects and objects as compressed compound files of their own."""
    for number, match in enumerate(_STORED_OBJECT.finditer(content)):
        at = match.end()
        if number >= STORAGES_MAX:
            found.notes.append(findings.limit(STORAGES_LIMIT, sample.trail))
            break
        if at + 8 > len(content):
            break
        budget.check_time()
        size_bytes = min(int.from_bytes(content[at : at + 4], "little"), len(content) - at - 4)
        most = min(int.from_bytes(content[at + 4 : at + 8], "little"), budget.bytes_left)
        try:
            inflater = decompressor(ZLIB)
            storage = inflater.decompress(content[at + 8 : at + 4 + size_bytes], max(most, 1))
        except InflateError:
            continue
        budget.take_bytes(len(storage))
        budget.check_ratio(len(sample.data), len(storage))
        found.members.append((f"object {number + 1}", storage))
    return False


def _workbook(content: bytes, sample: Sample, found: _Found, budget: Budget) -> bool:
    workbook = biff.read_workbook(content, budget)
    is_opened = False
    if workbook.is_encrypted:
        plain = _unlocked("xls", sample, found, lambda password: xls_crypt.decrypt(content, password, budget))
        if plain:
            found.members.append(("Workbook", plain))
            is_opened = True
            workbook = biff.read_workbook(plain, budget)
    found.signs += xlm.workbook_signs(workbook, budget)
    if workbook.limit:
        found.notes.append(findings.limit(workbook.limit, sample.trail))
    if workbook.formulas:
        found.members.append(("XLM", "\n".join(workbook.formulas).encode("utf-8", "replace")))
    return is_opened


def _current_user(content: bytes, sample: Sample, found: _Found, budget: Budget) -> bool:
    if int.from_bytes(content[12:16], "little") == _PROTECTED_SLIDES:
        found.notes.append(findings.encrypted("ppt", sample.trail))
    return False


def _encryption(content: bytes, sample: Sample, found: _Found, budget: Budget) -> bool:
    found.encryption = content
    return True


def _encrypted_package(content: bytes, sample: Sample, found: _Found, budget: Budget) -> bool:
    found.package = content
    return True


def _unlock(sample: Sample, found: _Found, budget: Budget) -> None:
    """A package that a password opens is a member, any other is ENCRYPTED."""
    if not found.package:
        return
    plain = _unlocked(
        "ooxml", sample, found, lambda password: agile.decrypt(found.encryption, found.package, password, budget)
    )
    if plain:
        found.members.append(("EncryptedPackage", plain))


def _unlocked(what: str, sample: Sample, found: _Found, decrypt: Callable[[str], bytes]) -> bytes:
    """What the first password opens that does, or nothing and a note. Raises: LimitReached, DeadlineReached."""
    for password in found.passwords:
        with contextlib.suppress(agile.Locked):
            plain = decrypt(password)
            found.signs += [ole_table.DEFAULT_KEY] if password == agile.OFFICE_DEFAULT else []
            return plain
    found.notes.append(findings.encrypted(what, sample.trail))
    return b""


_READERS: Final[dict[str, Callable[[bytes, Sample, _Found, Budget], bool]]] = {
    "\x01ole10native": _package,
    "\x01ole": _moniker,
    "equation native": _equation,
    "worddocument": _word,
    "powerpoint document": _slides,
    "workbook": _workbook,
    "book": _workbook,
    "current user": _current_user,
    "encryptioninfo": _encryption,
    "encryptedpackage": _encrypted_package,
}
"""What is known of a stream by its name; True when the stream itself is no member any more."""
