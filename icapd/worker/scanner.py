"""The scanner: a forked child that examines one body at a time. Hostile bytes are parsed here and nowhere else.

It refuses to know clients, policy and caches. It may be killed at any moment; nothing is lost with it but its task.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import resource
import signal
import socket
from typing import NoReturn

import msgspec

from icapd.errors import DeadlineReached
from icapd.scan.model import Buffer, EngineReport, Finding, Outcome, Sample
from icapd.scan.tree import EngineSet, Examination, examine
from icapd.worker.channel import receive
from icapd.worker.frames import PACKET_BYTES_MAX, ScanAnswer, ScanTask, decode_task, encode

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_NAME_CHARACTERS_MAX = 200
_TRAIL_MAX = 16


def run(end: socket.socket, engines: EngineSet, memory_bytes: int, nursery: int) -> NoReturn:
    """Serves tasks until the front closes the channel. Never returns: the process is a fork of the nursery.

    Args: `nursery` is the process it was forked from.
    """
    exit_code = 1
    try:
        _settle(memory_bytes, nursery)
        while _serve_one(end, engines):
            pass
        exit_code = 0
    except (BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        exit_code = 0
    finally:
        os._exit(exit_code)


def _settle(memory_bytes: int, nursery: int) -> None:
    """Ties the scanner's life to its nursery's, bounds its memory, and takes from it what no engine needs.

    RLIMIT_NPROC stays: YARA-X starts a thread for its time limits, and threads count as processes there.
    """
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != nursery:
        os._exit(0)  # it died before we asked to be told, and nobody could kill us at a deadline
    limit = _data_bytes() + memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    gc.disable()


def _data_bytes() -> int:
    """What RLIMIT_DATA already counts at this moment, in bytes."""
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"VmData:"):
                return int(line.split()[1]) * 1024
    return 0


def _serve_one(end: socket.socket, engines: EngineSet) -> bool:
    packet, descriptors = receive(end)
    if not packet:
        return False
    task, inline = decode_task(packet)
    examination = _examine(task, inline, descriptors, engines)
    end.send(_packet(task.number, examination))
    return True


def _packet(number: int, examination: Examination) -> bytes:
    """The answer; a failure when an engine's report does not go into a packet, or is no report at all."""
    try:
        packet = encode(ScanAnswer(number, _trimmed(examination)))
    except (TypeError, ValueError) as error:  # also UnicodeEncodeError: text that is no Unicode
        return encode(ScanAnswer(number, _failure(f"{type(error).__name__}: {error}"[:_NAME_CHARACTERS_MAX])))
    if len(packet) > PACKET_BYTES_MAX:
        return encode(ScanAnswer(number, _failure("the report is too large")))
    return packet


def _examine(task: ScanTask, inline: bytes, descriptors: list[int], engines: EngineSet) -> Examination:
    data: Buffer = inline
    try:
        if descriptors:
            data = mmap.mmap(descriptors[0], task.size_bytes, mmap.MAP_SHARED, mmap.PROT_READ)
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


def _trimmed(examination: Examination) -> Examination:
    """Names of at most so many characters: they come from the body."""
    reports = tuple(
        msgspec.structs.replace(report, findings=tuple(_short(finding) for finding in report.findings))
        for report in examination.reports
        if report.findings
    )
    if not reports:
        return examination
    quiet = tuple(report for report in examination.reports if not report.findings)
    return msgspec.structs.replace(examination, reports=(*quiet, *reports))


def _short(finding: Finding) -> Finding:
    trail = tuple(name[:_NAME_CHARACTERS_MAX] for name in finding.trail[:_TRAIL_MAX])
    return msgspec.structs.replace(finding, name=finding.name[:_NAME_CHARACTERS_MAX], trail=trail)
