"""The scanner: a forked child that examines one body at a time. Hostile bytes are parsed here and nowhere else.

It refuses to know clients, policy and caches. It may be killed at any moment; nothing is lost with it but its task.
"""

from __future__ import annotations

import gc
import mmap
import os
import socket
import sys
import time
from collections import Counter
from typing import NoReturn

import msgspec

from icapd.errors import DeadlineReached
from icapd.scan.merge import rank
from icapd.scan.model import Buffer, EngineReport, Finding, FindingKind, Outcome, Sample
from icapd.scan.tree import EngineSet, Examination, examine
from icapd.worker.frames import PACKET_BYTES_MAX, ScanAnswer, ScanTask, decode_task, encode
from icapd.worker.packets import receive
from icapd.worker.sandbox import Sandbox
from icapd.worker.sandbox.limits import CpuLimit

_NAME_CHARACTERS_MAX = 200
_CROWDED_CHARACTERS_MAX = 32
"""Of a member's name in a report that would not fit otherwise."""
_TRAIL_MAX = 16
READS_PAST_END = sys.version_info < (3, 11, 7)
"""mmap.find looks at one byte behind the map (CPython gh-105235; Debian 12 has 3.11.2): where the last page is full,
a body can kill its scanner that way.
"""


def run(end: socket.socket, engines: EngineSet, sandbox: Sandbox, nursery: int) -> NoReturn:
    """Serves tasks until the front closes the channel. Never returns: the process is a fork of the nursery.

    Args: `nursery` is the process it was forked from.
    """
    exit_code = 1
    try:
        sandbox.enter_as_tried(nursery, end.fileno())
        gc.disable()
        cpu = CpuLimit()
        while _serve_one(end, engines, cpu):
            pass
        exit_code = 0
    except (BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        exit_code = 0
    finally:
        os._exit(exit_code)


def _serve_one(end: socket.socket, engines: EngineSet, cpu: CpuLimit) -> bool:
    packet, descriptors = receive(end)
    if not packet:
        return False
    task, inline = decode_task(packet)
    cpu.allow(task.deadline - time.monotonic())
    examination = _examine(task, inline, descriptors, engines)
    end.send(packet_of(task.number, examination))
    return True


def packet_of(number: int, examination: Examination) -> bytes:
    """The answer; a failure when an engine's report is no report at all.

    What does not go into a packet loses the ends of its members' names, then its least findings: a body cannot get
    rid of a bad finding by many harmless ones.
    """
    try:
        packet = encode(ScanAnswer(number, _trimmed(examination, _NAME_CHARACTERS_MAX)))
        count = sum(len(report.findings) for report in examination.reports)
        while len(packet) > PACKET_BYTES_MAX and count:
            crowded = _trimmed(_worst(examination, count), _CROWDED_CHARACTERS_MAX)
            packet = encode(ScanAnswer(number, crowded))
            count //= 2
    except (TypeError, ValueError) as error:  # also UnicodeEncodeError: text that is no Unicode
        return encode(ScanAnswer(number, _failure(f"{type(error).__name__}: {error}"[:_NAME_CHARACTERS_MAX])))
    if len(packet) > PACKET_BYTES_MAX:
        return encode(ScanAnswer(number, _failure("the report is too large")))
    return packet


def _examine(task: ScanTask, inline: bytes, descriptors: list[int], engines: EngineSet) -> Examination:
    data: Buffer = inline
    try:
        if descriptors:
            data = _mapped(descriptors[0], task.size_bytes)
        sample = Sample(data, coding=task.coding, descriptor=_whole(descriptors, task), _sha256=task.sha256)
        chosen = engines if task.engines is None else engines.only(task.engines)
        return examine(sample, chosen, chosen.budget(task.deadline))
    except (Exception, DeadlineReached) as error:
        return _failure(f"{type(error).__name__}: {error}"[:_NAME_CHARACTERS_MAX])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        if isinstance(data, mmap.mmap):
            _unmap(data)
        gc.collect(0)


def _mapped(descriptor: int, size_bytes: int) -> Buffer:
    """The body where it is; a copy of it where a search would read past its last page."""
    mapped = mmap.mmap(descriptor, size_bytes, mmap.MAP_SHARED, mmap.PROT_READ)
    if READS_PAST_END and size_bytes % mmap.PAGESIZE == 0:
        data = mapped[:]
        mapped.close()
        return data
    return mapped


def _whole(descriptors: list[int], task: ScanTask) -> int | None:
    """The body's descriptor, if its file holds the body and nothing more."""
    if descriptors and os.fstat(descriptors[0]).st_size == task.size_bytes:
        return descriptors[0]
    return None


def _unmap(data: mmap.mmap) -> None:
    try:
        data.close()
    except BufferError:
        gc.collect()  # an engine left a view in a cycle; the mapping goes with it


def _failure(reason: str) -> Examination:
    return Examination(reports=(EngineReport("scanner", Outcome.FAILED, reason=reason),))


def _worst(examination: Examination, count: int) -> Examination:
    """So many findings, all outcomes. The worst of each kind of each engine come first: policy asks for kinds."""
    places = [(at, finding) for at, report in enumerate(examination.reports) for finding in report.findings]
    worst_first = sorted(places, key=lambda place: (-rank(place[1]), -place[1].severity, not place[1].certain))
    seen: Counter[tuple[int, FindingKind]] = Counter()
    turns = []
    for at, finding in worst_first:
        turns.append((seen[at, finding.kind] > 0, at, finding))
        seen[at, finding.kind] += 1
    kept: list[list[Finding]] = [[] for _ in examination.reports]
    for _, at, finding in sorted(turns, key=lambda turn: turn[0])[:count]:
        kept[at].append(finding)
    reports = tuple(
        msgspec.structs.replace(report, findings=tuple(findings))
        for report, findings in zip(examination.reports, kept, strict=True)
    )
    return msgspec.structs.replace(examination, reports=reports)


def _trimmed(examination: Examination, name_characters: int) -> Examination:
    """Names of at most so many characters: they come from the body."""
    reports = tuple(
        msgspec.structs.replace(
            report, findings=tuple(_short(finding, name_characters) for finding in report.findings)
        )
        for report in examination.reports
        if report.findings
    )
    if not reports:
        return examination
    quiet = tuple(report for report in examination.reports if not report.findings)
    return msgspec.structs.replace(examination, reports=(*quiet, *reports))


def _short(finding: Finding, name_characters: int) -> Finding:
    trail = tuple(name[:name_characters] for name in finding.trail[:_TRAIL_MAX])
    return msgspec.structs.replace(finding, name=finding.name[:_NAME_CHARACTERS_MAX], trail=trail)
