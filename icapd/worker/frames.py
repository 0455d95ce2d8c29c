"""The messages between processes, as values and as bytes. Pure: no socket, no clock.

Every message is one packet of a SOCK_SEQPACKET socket pair, so that a message is whole or absent. Bodies travel
behind a scan task in the same packet, or as a file descriptor beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

import msgspec

from icapd.errors import Problem
from icapd.scan.tree import Examination

ReloadResult = Literal["reloaded", "unchanged", "failed"]

PACKET_BYTES_MAX = 208 * 1024
"""What one packet may hold; Linux's default socket buffer (net.core.wmem_default) takes it."""

_HEADER_BYTES = 4
_PROBLEMS_MAX = 100
_PROBLEM_CHARACTERS_MAX = 500

Message = TypeVar("Message")


class ScanTask(msgspec.Struct, frozen=True, gc=False):
    """One body to examine.

    `deadline` is a reading of CLOCK_MONOTONIC, which all processes of a machine share. A task carries nothing that is
    not part of the cache's key: what a scanner says must be true of the content, whoever sends it under what name.
    """

    number: int
    size_bytes: int
    sha256: bytes
    deadline: float
    coding: str = ""
    engines: tuple[str, ...] | None = None
    """Only these; None = all that are enabled."""


class ScanAnswer(msgspec.Struct, frozen=True):
    """What the scanner made of task `number`."""

    number: int
    examination: Examination


class Spawn(msgspec.Struct, frozen=True, tag=True):
    """Front to nursery, with the scanner's end of its channel: fork a scanner."""

    slot: int


class SandboxStep(msgspec.Struct, frozen=True):
    """One step into the scanners' sandbox: whether the kernel put it in force, and to what extent or why not."""

    name: str
    in_force: bool
    detail: str = ""


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """Nursery to front: the engines are built, and this is in force in every scanner."""

    elapsed_s: float
    sandbox: tuple[SandboxStep, ...] = ()


class BuildFailed(msgspec.Struct, frozen=True, tag=True):
    """Nursery to front: the engines cannot be built; nothing will be spawned."""

    problems: list[tuple[str, str]]


class Spawned(msgspec.Struct, frozen=True, tag=True):
    """Nursery to front, with the scanner's pidfd."""

    slot: int
    pid: int


class Exited(msgspec.Struct, frozen=True, tag=True):
    """Nursery to front: a scanner ended; `signal_number` is 0 for an exit."""

    slot: int
    pid: int
    exit_code: int
    signal_number: int


FromNursery = Loaded | BuildFailed | Spawned | Exited


class Ready(msgspec.Struct, frozen=True, tag=True):
    """Front to supervisor: whether it has scanners with their rules, and does not drain; what confines them."""

    is_ready: bool
    sandbox: tuple[SandboxStep, ...] = ()


class Fatal(msgspec.Struct, frozen=True, tag=True):
    """Front to supervisor: it cannot start, and a respawn would not help."""

    problems: list[tuple[str, str]]


class Metrics(msgspec.Struct, frozen=True, tag=True):
    """Front to supervisor: the answer to ReadMetrics.

    The values come as a memfd beside it: with many services they are more than a packet takes.
    """

    number: int


class Prepared(msgspec.Struct, frozen=True, tag=True):
    """Front to supervisor: the new configuration waits for its Commit, or cannot be used."""

    number: int
    problems: list[tuple[str, str]]


class Beat(msgspec.Struct, frozen=True, tag=True):
    """Supervisor to front, and back at once: the front's reactor turns."""


FromFront = Ready | Fatal | Metrics | Prepared | Beat


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Supervisor to front: take no new connection, finish what runs, exit within `within_s`."""

    within_s: float


class ReadMetrics(msgspec.Struct, frozen=True, tag=True):
    """Supervisor to front: send your metrics."""

    number: int


class Prepare(msgspec.Struct, frozen=True, tag=True):
    """Supervisor to front, with the descriptors of a plan and a snapshot: get ready to work by them."""

    number: int
    scanners: int


class Commit(msgspec.Struct, frozen=True, tag=True):
    """Supervisor to front: from now on, what was prepared under this number is in force."""

    number: int


class Abandon(msgspec.Struct, frozen=True, tag=True):
    """Supervisor to front: what was prepared under this number will not be needed."""

    number: int


class Versions(msgspec.Struct, frozen=True, tag=True):
    """Supervisor to front: what answers where remote engines ask, by engine. All fronts hear the same at once, so
    that all give the same ISTag and look for verdicts under the same ruleset."""

    versions: dict[str, str]


ToFront = Drain | ReadMetrics | Prepare | Commit | Abandon | Beat | Versions


class Trial(msgspec.Struct, frozen=True):
    """What a set of rules made of EICAR and of harmless samples.

    `finds_eicar` when it is MALICIOUS to them; `flagged`, the harmless samples that are not CLEAN, and what they are.
    """

    finds_eicar: bool = False
    flagged: dict[str, str] = {}


class Checked(msgspec.Struct, frozen=True, tag=True):
    """Candidate to supervisor: what there is to be said against the files as they are now.

    Without problems and unless it `is_unchanged`, a plan and a snapshot come beside it. `notes` are for the operator.
    """

    problems: list[tuple[str, str]]
    notes: list[str] = []
    is_unchanged: bool = False
    scanners: int = 0
    trial: Trial = Trial()
    watched: list[str] = []
    """The files and folders that the rules and lists were read from."""


class AskReload(msgspec.Struct, frozen=True, tag=True):
    """`icapd reload` to supervisor."""


class AskShadow(msgspec.Struct, frozen=True, tag=True):
    """`icapd shadow report` to supervisor."""


class ShadowReport(msgspec.Struct, frozen=True, tag=True):
    """Supervisor to `icapd shadow report`: by `change`, how many transactions; the most frequent differences.

    A difference has change, rule, action, and the other configuration's rule and action, and the host.
    `configuration` is empty while nothing is tried.
    """

    configuration: str
    share: float
    transactions: dict[str, int]
    differences: list[tuple[tuple[str, ...], int]]
    left_out: int


class ReloadEnded(msgspec.Struct, frozen=True, tag=True):
    """Supervisor to `icapd reload`. The ISTag is the one in force, whatever became of the reload."""

    result: ReloadResult
    istag: str
    problems: list[tuple[str, str]]
    notes: list[str]
    elapsed_s: float


MetricValues = dict[str, list[tuple[tuple[str, ...], float]]]
"""As `observe.metrics.Values`."""


def _strict(decode: Callable[[bytes], Message]) -> Callable[[bytes], Message]:
    """With one kind of error: msgspec lets that of text pass which is no Unicode."""

    def decode_strictly(packet: bytes) -> Message:
        try:
            return decode(packet)
        except UnicodeDecodeError as error:
            raise msgspec.DecodeError(str(error)) from error

    return decode_strictly


_encode = msgspec.msgpack.Encoder().encode
decode_from_front = _strict(msgspec.msgpack.Decoder(FromFront).decode)
decode_to_front = _strict(msgspec.msgpack.Decoder(ToFront).decode)
decode_from_nursery = _strict(msgspec.msgpack.Decoder(FromNursery).decode)
decode_checked = _strict(msgspec.msgpack.Decoder(Checked).decode)
decode_ask = _strict(msgspec.msgpack.Decoder(AskReload | AskShadow).decode)
decode_shadow_report = _strict(msgspec.msgpack.Decoder(ShadowReport).decode)
decode_ended = _strict(msgspec.msgpack.Decoder(ReloadEnded).decode)
decode_spawn = _strict(msgspec.msgpack.Decoder(Spawn).decode)
decode_answer = _strict(msgspec.msgpack.Decoder(ScanAnswer).decode)
encode_values = msgspec.msgpack.Encoder().encode
decode_values = _strict(msgspec.msgpack.Decoder(MetricValues).decode)
_decode_task = _strict(msgspec.msgpack.Decoder(ScanTask).decode)


def encode(
    message: FromFront
    | ToFront
    | FromNursery
    | Spawn
    | ScanAnswer
    | Checked
    | AskReload
    | AskShadow
    | ReloadEnded
    | ShadowReport,
) -> bytes:
    """One message as one packet."""
    return _encode(message)


def encode_task(task: ScanTask) -> bytes:
    """A task's packet up to where its body begins."""
    head = _encode(task)
    return len(head).to_bytes(_HEADER_BYTES, "big") + head


def decode_task(packet: bytes) -> tuple[ScanTask, bytes]:
    """A task and the body behind it; the body is empty when it comes as a descriptor. Raises: MsgspecError."""
    end = _HEADER_BYTES + int.from_bytes(packet[:_HEADER_BYTES], "big")
    return _decode_task(packet[_HEADER_BYTES:end]), packet[end:]


def pack_problems(problems: list[Problem]) -> list[tuple[str, str]]:
    """As many as a packet takes; the last one says how many there are beside them."""
    packed = [
        (problem.where[:_PROBLEM_CHARACTERS_MAX], problem.what[:_PROBLEM_CHARACTERS_MAX])
        for problem in problems[:_PROBLEMS_MAX]
    ]
    if len(problems) > _PROBLEMS_MAX:
        packed.append(("", f"and {len(problems) - _PROBLEMS_MAX} more"))
    return packed


def unpack_problems(packed: list[tuple[str, str]]) -> list[Problem]:
    return [Problem(where, what) for where, what in packed]
