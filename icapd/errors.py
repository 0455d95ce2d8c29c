"""The exception tree of icapd. Each name says which side is at fault.

IcapdError
├── ConfigurationError        the operator's file, rules or lists; carries every problem found
├── PeerProtocolError         the ICAP client broke the protocol; carries the status to answer with
├── LocalProtocolError        our own code asked the codec for an impossible step: a bug of ours
├── SpoolError                a body could not be kept
│   ├── BodyTooLarge          past `limits.body_bytes` or the service's `max_body_bytes`
│   └── SpoolFull             past the totals of `[spool]`, or the disk said no
├── RemoteFailed              a remote engine's server cannot be reached, gave up, or broke its protocol
├── LimitReached              an unpack limit of one body's Budget; carries the limit's name
└── ScanError                 a scan ended without a report; policy names the answer
    ├── ScannerLost           the scanner process went away before it could take the task, or nobody waits
    ├── LethalBody            two scanner processes died with it
    ├── ScanTimedOut          the deadline passed, in the queue or in a scanner that was then killed
    └── Overloaded            no room for one more scan

DeadlineReached               a BaseException: no `except Exception` in an engine can swallow it
"""

from __future__ import annotations

from dataclasses import dataclass


class IcapdError(Exception):
    """Base of all errors raised on purpose by icapd."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in what the operator gave us: where, and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class ConfigurationError(IcapdError):
    """The configuration, a rule file or a list cannot be used. Holds every problem, not the first."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


class PeerProtocolError(IcapdError):
    """The client sent something RFC 3507 does not allow.

    `status_hint` is the ICAP status that answers it; the connection closes afterwards.
    """

    def __init__(self, message: str, status_hint: int = 400) -> None:
        super().__init__(message)
        self.status_hint = status_hint


class LocalProtocolError(IcapdError):
    """Our side tried a step that the state tables have no row for."""


class SpoolError(IcapdError):
    """A body could not be kept for scanning."""


class BodyTooLarge(SpoolError):
    """The body is past the ceiling for one body."""


class SpoolFull(SpoolError):
    """The totals of the spool are used up, or the disk refused."""


class RemoteFailed(IcapdError):
    """The server of a remote engine cannot be reached, gave up on a body, or broke its protocol."""


class LimitReached(IcapdError):
    """An unpack limit was hit; `limit` is its configuration key, as `archive.max_members`."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


class ScanError(IcapdError):
    """A scan ended without a report. Policy names the answer."""


class ScannerLost(ScanError):
    """The scanner that held a task died, or went away before it took it."""


class LethalBody(ScanError):
    """Two scanners died with the same body, one after the other."""


class ScanTimedOut(ScanError):
    """The time for a scan was over."""


class Overloaded(ScanError):
    """No room for one more scan."""


class DeadlineReached(BaseException):
    """The time of one scan is over. Not an Exception, so that engine code cannot swallow it."""
