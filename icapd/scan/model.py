"""The words of a scan: sample, finding, report, verdict. Values only: no I/O, no clock but Budget's reading of it.

Engines say what *is* there with these types; what to *do* is said in `icapd.policy`.
"""

from __future__ import annotations

import enum
import hashlib
import mmap
import time
from dataclasses import dataclass, field
from typing import Final, assert_never

import msgspec

from icapd.errors import DeadlineReached, LimitReached

Buffer = bytes | mmap.mmap


class Verdict(enum.StrEnum):
    """What all engines together say of one body."""

    CLEAN = "CLEAN"
    SUSPICIOUS = "SUSPICIOUS"
    MALICIOUS = "MALICIOUS"
    FORBIDDEN = "FORBIDDEN"
    UNSCANNABLE = "UNSCANNABLE"
    ERROR = "ERROR"
    NOT_SCANNED = "NOT_SCANNED"
    """Policy or the service decided without a scan. Never shown as CLEAN."""


class Outcome(enum.StrEnum):
    """What one engine did with one body."""

    NOTHING_FOUND = "NOTHING_FOUND"
    FOUND = "FOUND"
    UNSCANNABLE = "UNSCANNABLE"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    SKIPPED = "SKIPPED"


class FindingKind(enum.StrEnum):
    """The class of a finding. The first group judges content, the second says why it could not be judged."""

    MALWARE = "malware"
    SUSPICIOUS = "suspicious"
    FORBIDDEN = "forbidden"
    TYPE_MISMATCH = "type-mismatch"
    ALLOWED = "allowed"
    INFO = "info"

    LIMIT = "limit"
    ENCRYPTED = "encrypted"
    CORRUPT = "corrupt"
    UNSUPPORTED = "unsupported"

    TIMEOUT = "timeout"
    FAILED = "failed"
    OVERLOAD = "overload"


UNSCANNABLE_KINDS = frozenset(
    {FindingKind.LIMIT, FindingKind.ENCRYPTED, FindingKind.CORRUPT, FindingKind.UNSUPPORTED}
)
ERROR_KINDS = frozenset({FindingKind.TIMEOUT, FindingKind.FAILED, FindingKind.OVERLOAD})

ABSENT_PREFIX = "absent:"
"""Begins the name of the FAILED finding for a required engine that gave no report."""
BODY_LIMIT = "max_body_bytes"
"""The name of the LIMIT finding for a body that is too large as a whole."""


CODING: Final = "coding"
"""Who says that nobody undid a body's codings."""
SERVER: Final = "icapd"
"""Who says what the server itself knows: of a body that no engine saw, or of a response that is a part."""
SPEAKERS: Final = frozenset({CODING, SERVER})
"""Whose findings are no engine's."""


class Severity(enum.IntEnum):
    """How bad a finding is if it is true."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


class Finding(msgspec.Struct, frozen=True):
    """One thing an engine found.

    `trail` names the members from the outermost container inwards; empty for the body itself.
    `certain` marks an exact match (a hash on a list), which outranks engines that failed.
    """

    kind: FindingKind
    name: str
    engine: str
    severity: Severity = Severity.HIGH
    trail: tuple[str, ...] = ()
    certain: bool = False
    sample: str = ""
    """What was found, masked so that it gives nothing away; for logs."""

    @property
    def verdict(self) -> Verdict:
        """What this finding would make of a body by itself; CLEAN for what is recorded only."""
        if self.severity <= Severity.INFO:
            return Verdict.CLEAN
        match self.kind:
            case FindingKind.MALWARE:
                return Verdict.MALICIOUS if self.severity >= Severity.MEDIUM else Verdict.SUSPICIOUS
            case FindingKind.SUSPICIOUS | FindingKind.TYPE_MISMATCH:
                return Verdict.SUSPICIOUS
            case FindingKind.FORBIDDEN:
                return Verdict.FORBIDDEN
            case FindingKind.LIMIT | FindingKind.ENCRYPTED | FindingKind.CORRUPT | FindingKind.UNSUPPORTED:
                return Verdict.UNSCANNABLE
            case FindingKind.TIMEOUT | FindingKind.FAILED | FindingKind.OVERLOAD:
                return Verdict.ERROR
            case FindingKind.ALLOWED | FindingKind.INFO:
                return Verdict.CLEAN
            case _:
                assert_never(self.kind)


class EngineReport(msgspec.Struct, frozen=True):
    """What one engine says of one sample, or, after merging, of one whole body."""

    engine: str
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    elapsed_s: float = 0.0
    reason: str = ""


class Identity(msgspec.Struct, frozen=True):
    """What bytes really are, whatever they were called.

    `family` is one of: text, markup, script, image, audio, video, font, archive, document, office, executable,
    shortcut, mail, data, empty, unknown.
    """

    media_type: str
    family: str
    description: str = ""


NO_CODING = frozenset({"", "identity", "none", "binary", "utf-8"})
"""What servers write into Content-Encoding without having coded anything; receivers show the body as it is."""

UNKNOWN_IDENTITY = Identity("application/octet-stream", "unknown")


class ScanReport(msgspec.Struct, frozen=True):
    """The facts about one body. This is what caches keep; decisions are made from it anew each time."""

    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    identity: Identity = UNKNOWN_IDENTITY
    reports: tuple[EngineReport, ...] = ()
    size_bytes: int = 0
    elapsed_s: float = 0.0


class CacheKey(msgspec.Struct, frozen=True):
    """Identifies the facts about a body: its content, how it was coded, and the rules that judged it."""

    sha256: bytes
    size_bytes: int
    ruleset: str
    coding: str = ""
    """Content-Encoding as declared, lower case; the same bytes decode to different things under another coding."""


@dataclass(slots=True)
class Sample:
    """Bytes to be judged: the body itself, or a member found inside it.

    State: `identity` is set by the scanner before any engine sees the sample.
    """

    data: Buffer
    name: str = ""
    trail: tuple[str, ...] = ()
    declared_type: str = ""
    coding: str = ""
    identity: Identity = UNKNOWN_IDENTITY
    descriptor: int | None = None
    """An open file of exactly these bytes, where there is one; it stays open while the sample is judged."""
    _sha256: bytes = b""

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    @property
    def sha256(self) -> bytes:
        """The SHA-256 of the sample, 32 bytes; computed on first use for members, given for the body."""
        if not self._sha256:
            self._sha256 = hashlib.sha256(self.data).digest()
        return self._sha256

    def head(self, size_bytes: int) -> bytes:
        """The first bytes, as bytes whatever the buffer is."""
        return bytes(self.data[:size_bytes])

    def member(self, data: Buffer, name: str) -> Sample:
        """A sample found inside this one; its trail grows by its own name."""
        return Sample(data=data, name=name, trail=(*self.trail, name))


HELD_BYTES: Final = "archive.max_held_bytes"


@dataclass(slots=True)
class Budget:
    """What one body's whole unpack tree may use. Shared by all engines; only ever shrinks.

    Units: `deadline` is a `time.monotonic()` reading; bytes count unpacked output.
    """

    deadline: float
    bytes_left: int = 512 * 1024 * 1024
    members_left: int = 10_000
    depth_left: int = 8
    ratio_max: int = 200
    """Unpacked bytes allowed for each packed byte, once more than `ratio_floor_bytes` came out."""
    ratio_floor_bytes: int = 8 * 1024 * 1024
    held_bytes_left: int = 184 * 1024 * 1024
    """Of members that are in memory at one time, each inside the other, and of what unpacks them."""
    hit: list[str] = field(default_factory=list)

    @property
    def remaining_s(self) -> float:
        return self.deadline - time.monotonic()

    def check_time(self) -> None:
        """Raises: DeadlineReached when the time is over."""
        if self.remaining_s <= 0:
            raise DeadlineReached

    def take_member(self) -> None:
        """Raises: LimitReached("archive.max_members") when no member is left."""
        if self.members_left <= 0:
            self._refuse("archive.max_members")
        self.members_left -= 1

    def take_bytes(self, count: int) -> None:
        """Raises: LimitReached("archive.max_unpacked_bytes") when the body unpacks to too much, and
        LimitReached("archive.max_held_bytes") when so many more do not go into memory at once.
        """
        if count > self.held_bytes_left:
            self._refuse(HELD_BYTES)
        self.take_block(count)

    def take_block(self, count: int) -> None:
        """The same for a part of a member, of which the caller holds no more than `held_bytes_left`."""
        if count > self.bytes_left:
            self._refuse("archive.max_unpacked_bytes")
        self.bytes_left -= count

    def check_ratio(self, packed_bytes: int, unpacked_bytes: int) -> None:
        """Raises: LimitReached("archive.max_ratio") for a bomb's compression ratio."""
        if unpacked_bytes > self.ratio_floor_bytes and unpacked_bytes > self.ratio_max * max(packed_bytes, 1):
            self._refuse("archive.max_ratio")

    def _refuse(self, limit: str) -> None:
        self.hit.append(limit)
        raise LimitReached(limit)
