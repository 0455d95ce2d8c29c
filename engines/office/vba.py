"""Finds the Visual Basic project of a compound file, recovers its source and says which signs it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from engines.office import ovba, vba_cache, vba_table
from engines.office.compound import Compound, Entry
from engines.office.vba_text import Prepared, prepare
from icapd.scan.indicators import Indicator, seen_in
from icapd.scan.model import Budget

SOURCE_BYTES_MAX: Final = 3 * 1024 * 1024
SOURCE_LIMIT: Final = "office.max_macro_bytes"
_STRONG: Final = frozenset({"run", "download", "network", "inject", "write", "protection"})
_COMPILED_AUTO = re.compile(r"auto_?(?:open|close|exec)|document_(?:open|close)|workbook_(?:open|activate)")
_LIBRARY: Final = "iwshruntimelibrary"
"""Named in compiled projects that refer to Windows Script Host for its files or network alone."""
_AUTO: Final = next(row for row in vba_table.ROWS if row.name == "vba:auto-exec")


@dataclass(slots=True)
class Project:
    """What was recovered: sources by module name, the compiled parts, and the streams that belong to it."""

    sources: list[tuple[str, bytes]] = field(default_factory=list)
    compiled: list[bytes] = field(default_factory=list)
    has_lost_source: bool = False
    is_cut: bool = False
    left_bytes: int = field(default_factory=lambda: SOURCE_BYTES_MAX)

    @property
    def is_empty(self) -> bool:
        return not self.sources and not self.compiled

    def add(self, name: str, source: bytes) -> None:
        self.is_cut |= len(source) >= self.left_bytes
        self.sources.append((name, source[: max(self.left_bytes, 0)]))
        self.left_bytes -= len(source)


def read_project(file: Compound, streams: dict[str, bytes], budget: Budget) -> Project:
    """The project whose streams are among `streams`, by path.

    Raises: LimitReached, DeadlineReached.
    """
    project = Project()
    caches: dict[str, int] = {}
    written: dict[str, list[bytes]] = {}
    by_lower = {path.lower(): content for path, content in streams.items()}
    for path, content in by_lower.items():
        if path.rpartition("/")[2] != "dir":
            continue
        prefix = path[: -len("dir")]
        directory = ovba.decompress(content, 0, budget, SOURCE_BYTES_MAX)
        listed = list(ovba.modules(directory))
        places = {(module.stream.lower(), module.offset): module for module in listed}
        for module in places.values():  # each place once, however often it is listed
            if project.is_cut:
                break
            place = prefix + module.stream.lower()
            if place in by_lower:
                caches[place] = max(caches.get(place, 0), module.offset)
                source = _add_module(project, module, by_lower[place], budget)
                written.setdefault(place, []).append(source)
        if listed:
            project.compiled.append(by_lower.get(prefix + "_vba_project", b""))
    for path, size_bytes in caches.items():
        project.compiled.append(vba_cache.code_of(by_lower[path][:size_bytes], written[path], budget))
    for path, content in by_lower.items():  # what a list that we read otherwise than Office leaves out
        if path not in caches:
            for number, source in enumerate(carved(content, budget, project.left_bytes), 1):
                project.add(f"{path.rpartition('/')[2]} {number}", source)
    return project


def is_project_stream(entry: Entry, storages: set[str]) -> bool:
    return entry.is_stream and entry.path.rpartition("/")[0].lower() in storages


def project_storages(file: Compound) -> set[str]:
    """The storages that hold a project: those with a stream `dir` ([MS-OVBA] 2.2.1), in lower case."""
    paths = (entry.path.lower().rpartition("/") for entry in file.entries if entry.is_stream)
    return {storage for storage, _, name in paths if name == "dir"}


def _add_module(project: Project, module: ovba.Module, stream: bytes, budget: Budget) -> bytes:
    """Its source, which is added to the project."""
    source = ovba.decompress(stream, module.offset, budget, project.left_bytes)
    if not source:
        source = b"\n".join(carved(stream, budget, project.left_bytes))
    project.add(module.name, source)
    project.has_lost_source |= not source and module.offset > 0
    return source


def carved(content: bytes, budget: Budget, most_bytes: int) -> Iterator[bytes]:
    """Sources wherever a compressed module seems to begin: for what no `dir` stream lists, and for damaged files.

    They end at `most_bytes` for all together, the last one by being as long as what was left.
    """
    left = most_bytes
    at = content.find(ovba.SOURCE_MARK)
    while at >= 0 and left > 0:
        budget.check_time()
        if at >= 3 and (source := ovba.decompress(content, at - 3, budget, left)):
            left -= len(source)
            yield source
        at = content.find(ovba.SOURCE_MARK, at + 1)


def signs(project: Project, forms: list[bytes], budget: Budget) -> list[Indicator]:
    """The rows that a project shows, by its source, and by compiled code where that says what its source does not.

    Args: `forms` are streams of user forms, whose texts macros like to read their strings from.
    """
    if not project.sources:
        return []
    text = "\n".join(source.decode("latin-1") for _, source in project.sources)
    prepared = prepare(text, budget.check_time)
    project.is_cut |= prepared.is_cut
    found = list(seen_in(prepared.plain, vba_table.ROWS, budget.check_time))
    found += _decoded_signs(prepared, found, budget)
    found += [vba_table.MANY_TRICKS[trick] for trick in sorted(prepared.tricks)]
    found += _compiled_signs(project, found, budget)
    if found:
        found += _form_signs(forms, found, budget)
    return found


def _decoded_signs(prepared: Prepared, plain: list[Indicator], budget: Budget) -> Iterator[Indicator]:
    if not prepared.decoded:
        return
    known = {row.name for row in plain}
    hidden = [row for row in seen_in(prepared.decoded, vba_table.ROWS, budget.check_time) if row.name not in known]
    yield from hidden
    if any(row.group in _STRONG and row.severity >= vba_table.HIGH for row in hidden):
        yield vba_table.HIDDEN_WORDS


def _compiled_signs(project: Project, found: list[Indicator], budget: Budget) -> Iterator[Indicator]:
    """Signs of code whose source was taken away or replaced: Office runs what is compiled.

    Each stream has its own limit: a long one hides no other.
    """
    if not any(stream.strip() for stream in project.compiled):
        return
    known = {row.group for row in found}
    rows = [row for row in vba_table.ROWS if row.group in _STRONG - known and row.pattern is None]
    strong: list[Indicator] = []
    starts = False
    for stream in project.compiled:
        project.is_cut |= len(stream) > SOURCE_BYTES_MAX
        text = stream[:SOURCE_BYTES_MAX].decode("latin-1").lower().replace("\0", "").replace(_LIBRARY, "")
        strong += seen_in(text, [row for row in rows if row not in strong], budget.check_time)
        starts |= "auto" not in known and _COMPILED_AUTO.search(text) is not None
    if strong or project.has_lost_source:
        yield from strong
        yield vba_table.NO_SOURCE
        if starts:
            yield _AUTO


def _form_signs(forms: list[bytes], found: list[Indicator], budget: Budget) -> Iterator[Indicator]:
    text = b"\n".join(forms)[:SOURCE_BYTES_MAX].decode("latin-1").lower().replace("\0", "")
    known = {row.name for row in found}
    rows = [row for row in vba_table.ROWS if row.group in _STRONG and row.name not in known and row.pattern is None]
    return seen_in(text, rows, budget.check_time)
