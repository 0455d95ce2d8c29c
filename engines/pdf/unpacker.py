"""The PDF engine as an unpacker: judges a document as a whole, then yields its attachments and streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Final

from engines.pdf import findings, table
from engines.pdf.contents import Contents, is_contents
from engines.pdf.crypt import Cipher, Locked
from engines.pdf.document import Document, Object
from engines.pdf.filters import Decoded
from engines.pdf.findings import ENGINE
from engines.pdf.judge import SCRIPTS_LIMIT, Judge, Judgement
from engines.pdf.limits import PdfOptions
from engines.pdf.script import prepare
from engines.pdf.values import Ref, Value
from icapd.scan.engine_api import LimitReached
from icapd.scan.indicators import Indicator, add_up, seen_in
from icapd.scan.model import Budget, Finding, Sample

MEDIA_TYPE: Final = "application/pdf"
HEADER_WITHIN_BYTES: Final = 1024
_ORDINARY_FILTERS: Final = 2
_MAGIC: Final = b"%PDF"
_ENCRYPTIONS_MAX: Final = 8
ENCRYPTIONS_LIMIT: Final = "pdf.max_encryptions"
_SLOW_BYTES: Final = 256 * 1024
"""From so many packed bytes on a stream may take long to decode."""
_CONTROL: Final = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")
_TEXT_ENDS: Final = b"\0\t\n\f\r "


class PdfUnpacker:
    """Judges PDF files and finds what is inside them. Keeps nothing between samples."""

    name = ENGINE

    def __init__(self, options: PdfOptions) -> None:
        self._options = options

    def opens(self, sample: Sample) -> bool:
        """What is identified as PDF, and what has its header where readers look for it, whatever else it is.

        PDFium reads a file without the header's dash and version.
        """
        return sample.identity.media_type == MEDIA_TYPE or _MAGIC in sample.data[: HEADER_WITHIN_BYTES + len(_MAGIC)]

    def unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
        """Raises: LimitReached, DeadlineReached."""
        held_bytes_left = budget.held_bytes_left
        try:
            yield from self._unpack(sample, budget)
        finally:
            budget.held_bytes_left = held_bytes_left

    def _unpack(self, sample: Sample, budget: Budget) -> Iterator[Sample | Finding]:
        """Takes what it holds from the budget, for `unpack` to give back."""
        document = Document(sample.data, budget, self._options.max_stream_bytes)
        document.read()
        is_locked = not _unlock(document, self._options.passwords, budget)
        packed = document.unpack_objects()
        found = Judge(document, budget).run()
        signs = [*found.signs, *_script_signs(found, budget), *_structure_signs(document, sample, budget)]
        yield from add_up(ENGINE, signs, table.COMBINATIONS, self._options.thresholds, sample.trail)
        if is_locked:
            yield findings.encrypted(sample.trail)
        if len(document.ciphers) > 1:  # of what has no filters nobody can tell which key is right
            yield findings.several_encryptions(sample.trail)
        if found.is_cut:
            document.limits.add(SCRIPTS_LIMIT)
        yield from _scripts(found, sample, budget)
        for item in _members(document, found, packed, sample, budget):
            if not (is_locked and isinstance(item, Finding)):  # what is encrypted cannot be decoded either
                yield item
        for name in sorted(document.limits):
            yield findings.limit(name, sample.trail)


def _members(
    document: Document,
    found: Judgement,
    packed: list[tuple[Object, Decoded]],
    sample: Sample,
    budget: Budget,
) -> Iterator[Sample | Finding]:
    """Attachments under their names, then every stream that is no picture; contents of pages together."""
    contents = Contents(sample, budget)
    done = {holder.stream: decoded for holder, decoded in packed}
    try:
        for holder in document.streams:
            budget.check_time()
            attached = found.attachments.get(holder.stream) if holder.stream else None
            if attached is None and holder.is_plain:
                data = document.in_one_step(holder)
                if data is not None and is_contents(data):
                    yield from contents.add(f"stream {holder.number}", data)
                    continue
                decoded = None if data is None else Decoded(data)
                del data
            else:
                decoded = done.get(holder.stream)
            if decoded is None:
                if attached is None and not holder.is_plain and _is_left_alone(document, holder):
                    continue
                if _packed_bytes(holder) >= _SLOW_BYTES:
                    yield from contents.rest()  # the time may end before this stream does
                decoded = document.decoded(holder)
            name = f"stream {holder.number}" if attached is None else attached.translate(_CONTROL)[:255]
            if attached is None and is_contents(decoded.data):
                yield from _shortfall(holder, decoded, name, sample)
                yield from contents.add(name, decoded.data)
            else:
                yield from _member(holder, decoded, name, sample, budget)
            del decoded  # a stream goes before the next one is decoded
    except LimitReached:
        yield from contents.rest()
        raise
    yield from contents.rest()


def _unlock(document: Document, passwords: Sequence[str], budget: Budget) -> bool:
    """Finds the keys of an encrypted document; False when it names an encryption that needs another password.

    Any trailer and cross-reference stream may name it, with an identifier that may stand in another one: which of
    them a reader believes is not for us to know, so that every key is kept.

    Raises: DeadlineReached.
    """
    tables = [each.dictionary for each in document.streams if not each.is_plain]
    dictionaries = [each for each in (*document.trailers, *tables) if "Encrypt" in each or "ID" in each]
    identifiers = [document.first(each.get("ID")) for each in dictionaries]
    firsts = [each[0] for each in identifiers if isinstance(each, list) and each and isinstance(each[0], bytes)]
    tried = list(product(_distinct([*firsts, b""]), ("", *passwords)))
    is_locked = False
    for known in _encryptions(document, dictionaries, budget):
        cipher = _opened(known, tried, budget)
        if cipher is None:
            is_locked = True
        elif not any(cipher.is_like(each) for each in document.ciphers):
            document.ciphers.append(cipher)
    return not is_locked


def _encryptions(
    document: Document, dictionaries: Iterable[dict[str, Value]], budget: Budget
) -> list[dict[str, Value]]:
    """The encryptions that are named, each once; more than may be tried are a limit. Raises: DeadlineReached."""
    found: list[dict[str, Value]] = []
    seen: set[Ref] = set()
    for given in (each["Encrypt"] for each in dictionaries if "Encrypt" in each):
        if isinstance(given, Ref):
            if given in seen:
                continue
            seen.add(given)
        budget.check_time()
        resolved = document.first(given)
        if not isinstance(resolved, dict):
            continue
        known = {key: document.first(value) for key, value in resolved.items()}
        if known in found:
            continue
        if len(found) == _ENCRYPTIONS_MAX:
            document.limits.add(ENCRYPTIONS_LIMIT)
            break
        found.append(known)
    return found


def _opened(known: dict[str, Value], tried: Iterable[tuple[Value, str]], budget: Budget) -> Cipher | None:
    """Raises: DeadlineReached."""
    for identifier, password in tried:
        budget.check_time()
        try:
            return Cipher(known, identifier if isinstance(identifier, bytes) else b"", password)
        except Locked:
            continue
    return None


def _distinct(values: Iterable[Value]) -> list[Value]:
    """The last ones, no value twice; as many as may be tried."""
    found: list[Value] = []
    for value in values:
        if value not in found[-_ENCRYPTIONS_MAX:]:
            found.append(value)
    return found[: -_ENCRYPTIONS_MAX - 1 : -1]


def _script_signs(found: Judgement, budget: Budget) -> Iterator[Indicator]:
    for script in found.scripts:
        budget.check_time()
        yield from seen_in(prepare(script), table.ROWS, budget.check_time)


def _structure_signs(document: Document, sample: Sample, budget: Budget) -> Iterator[Indicator]:
    if sample.data[:5] != b"%PDF-" and sample.data[:3] != b"\xef\xbb\xbf":
        yield table.LATE_HEADER
    if sample.data[-2048:].find(b"%%EOF") < 0:
        yield table.NO_END
    if document.problems:
        yield table.DAMAGED
    try:
        for each in document.streams:
            if each.is_plain:
                continue
            budget.check_time()
            if len(document.filters_of(each)[0]) > _ORDINARY_FILTERS:
                yield table.FILTER_CHAIN
                return
    except LimitReached as reached:
        document.note(reached)


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
    is_plain = not names and not document.ciphers and dictionary.get("Type") != "EmbeddedFile"
    return is_picture or dictionary.get("Type") == "XRef" or is_plain


def _member(
    holder: Object, decoded: Decoded, name: str, sample: Sample, budget: Budget
) -> Iterator[Sample | Finding]:
    if decoded.is_picture:
        return
    yield from _shortfall(holder, decoded, name, sample)
    if decoded.data:
        budget.take_member()
        yield sample.member(decoded.data, name)


def _shortfall(holder: Object, decoded: Decoded, name: str, sample: Sample) -> Iterator[Finding]:
    """Why a stream is not what a reader would make of it."""
    if not decoded.is_known:
        yield findings.unsupported("unknown", (*sample.trail, name))
    elif _packed_bytes(holder) > len(_TEXT_ENDS) and not decoded.data and not decoded.is_whole:
        yield findings.corrupt((*sample.trail, name))


def _packed_bytes(holder: Object) -> int:
    return holder.stream[1] - holder.stream[0] if holder.stream else 0
