"""The PDF engine as an unpacker: judges a document as a whole, then yields its attachments and streams."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from engines.pdf import findings, table
from engines.pdf.crypt import Cipher, Locked
from engines.pdf.document import Document, Object
from engines.pdf.filters import Decoded
from engines.pdf.findings import ENGINE
from engines.pdf.judge import SCRIPTS_LIMIT, Judge, Judgement
from engines.pdf.limits import PdfOptions
from engines.pdf.script import prepare
from engines.pdf.values import Value
from icapd.scan.engine_api import LimitReached
from icapd.scan.indicators import Indicator, add_up, seen_in
from icapd.scan.model import Budget, Finding, Sample

MEDIA_TYPE: Final = "application/pdf"
HEADER_WITHIN_BYTES: Final = 1024
_ORDINARY_FILTERS: Final = 2
_NOT_FILTER_NAME = re.compile(r"[^A-Za-z0-9.-]")
_CONTROL: Final = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")
_TEXT_ENDS: Final = b"\0\t\n\f\r "


class PdfUnpacker:
    """Judges PDF files and finds what is inside them. Keeps nothing between samples."""

    name = ENGINE

    def __init__(self, options: PdfOptions) -> None:
        self._options = options

    def opens(self, sample: Sample) -> bool:
        """What is identified as PDF, and what has its header where readers look for it, whatever else it is."""
        return sample.identity.media_type == MEDIA_TYPE or b"%PDF-" in sample.data[: HEADER_WITHIN_BYTES + 5]

    def unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
        """Raises: LimitReached, DeadlineReached."""
        document = Document(sample.data, budget, self._options.max_stream_bytes)
        document.read()
        notes: list[Finding] = []
        if not _unlock(document):
            notes.append(findings.encrypted(sample.trail))
            found = Judge(document, budget).run()
            members: list[tuple[Object, Decoded]] = []
        else:
            members = document.unpack_objects()
            found = Judge(document, budget).run()
        signs = [*found.signs, *_script_signs(found, budget), *_structure_signs(document, sample)]
        yield from add_up(ENGINE, signs, table.COMBINATIONS, self._options.thresholds, sample.trail)
        yield from notes
        if found.is_cut:
            document.limits.add(SCRIPTS_LIMIT)
        if not notes:
            yield from _scripts(found, sample, budget)
            yield from self._members(document, found, members, sample, budget)
        for name in sorted(document.limits):
            yield findings.limit(name, sample.trail)

    def _members(
        self,
        document: Document,
        found: Judgement,
        unpacked: list[tuple[Object, Decoded]],
        sample: Sample,
        budget: Budget,
    ) -> Iterator[Sample | Finding]:
        """Attachments under their names, then every stream that is no picture."""
        done = {holder.stream for holder, _ in unpacked}
        for holder, decoded in unpacked:
            yield from _member(holder, decoded, f"stream {holder.number}", sample, budget)
        for holder in document.streams:
            attached = found.attachments.get(holder.stream) if holder.stream else None
            if holder.stream in done or (attached is None and _is_left_alone(document, holder)):
                continue
            name = f"stream {holder.number}" if attached is None else attached.translate(_CONTROL)[:255]
            yield from _member(holder, document.decoded(holder), name, sample, budget)


def _unlock(document: Document) -> bool:
    """Finds the keys of an encrypted document; False when it needs a password."""
    dictionaries = [*document.trailers, *(each.dictionary for each in document.streams)]
    for trailer in dictionaries:
        given = trailer.get("Encrypt")
        if given is None:
            continue
        resolved = document.first(given)
        if not isinstance(resolved, dict):
            continue
        known: dict[str, Value] = {key: document.first(value) for key, value in resolved.items()}
        identifiers = [document.first(each.get("ID")) for each in dictionaries if "ID" in each]
        first = next((each[0] for each in identifiers if isinstance(each, list) and each), b"")
        try:
            document.cipher = Cipher(known, first if isinstance(first, bytes) else b"")
        except Locked:
            return False
        return True
    return True


def _script_signs(found: Judgement, budget: Budget) -> Iterator[Indicator]:
    for script in found.scripts:
        budget.check_time()
        yield from seen_in(prepare(script), table.ROWS, budget.check_time)


def _structure_signs(document: Document, sample: Sample) -> Iterator[Indicator]:
    if sample.data[:5] != b"%PDF-" and sample.data[:3] != b"\xef\xbb\xbf":
        yield table.LATE_HEADER
    if sample.data[-2048:].find(b"%%EOF") < 0:
        yield table.NO_END
    if document.problems:
        yield table.DAMAGED
    try:
        is_chained = any(len(document.filters_of(each)[0]) > _ORDINARY_FILTERS for each in document.streams)
    except LimitReached as reached:
        document.note(reached)
    else:
        if is_chained:
            yield table.FILTER_CHAIN


def _scripts(found: Judgement, sample: Sample, budget: Budget) -> Iterator[Sample]:
    for number, script in enumerate(found.scripts, 1):
        budget.take_member()
        content = script.encode("utf-8", "replace")
        budget.take_bytes(len(content))
        yield sample.member(content, f"script {number}")


def _is_left_alone(document: Document, holder: Object) -> bool:
    """Cross-reference tables, pictures, and what stands in the file as it is and so was scanned with it."""
    dictionary = holder.dictionary
    names, _ = document.filters_of(holder)
    is_picture = document.first(dictionary.get("Subtype")) == "Image"
    is_plain = not names and document.cipher is None and dictionary.get("Type") != "EmbeddedFile"
    return is_picture or dictionary.get("Type") == "XRef" or is_plain


def _member(
    holder: Object, decoded: Decoded, name: str, sample: Sample, budget: Budget
) -> Iterator[Sample | Finding]:
    if decoded.is_picture:
        return
    size_bytes = holder.stream[1] - holder.stream[0] if holder.stream else 0
    if not decoded.is_known:
        yield findings.unsupported("unknown", (*sample.trail, name))
    elif size_bytes > len(_TEXT_ENDS) and not decoded.data and not decoded.is_whole:
        yield findings.corrupt((*sample.trail, name))
    if decoded.data:
        budget.take_member()
        yield sample.member(decoded.data, name)
