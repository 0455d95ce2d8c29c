"""Where a transaction stands."""

from __future__ import annotations

import enum


class Stage(enum.IntEnum):
    """The steps from a head to an answer."""

    SPOOLING = 0  # the body comes in and is kept
    DROPPING = 1  # the answer is known to be 204; the body comes in and is dropped
    PASSING = 2  # the body goes back as it comes
    JUDGING = 3  # the body is whole; a report is being made
    ANSWERING = 4  # the reply goes out
    DONE = 5
