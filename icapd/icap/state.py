"""The two state tables of one ICAP connection: the client's side and ours. A step with no row is an error.

One cycle is one request and its reply. A `Continue` leads the client from PAUSED to BODY; a final reply to a paused
preview ends the request, as the rest never comes (RFC 3507 §4.5). A final reply while the client still sends (errata
e7) turns what follows into bytes to be read and dropped. The client closes only where we wait for its bytes: one
that half-closes while it is our turn still gets its whole answer.
"""

from __future__ import annotations

import enum
from typing import Any


class ClientState(enum.IntEnum):
    """What the client is doing."""

    IDLE = 0
    PREVIEW = 1
    PAUSED = 2
    BODY = 3
    DISCARDED_PREVIEW = 4
    DISCARDED_BODY = 5
    DONE = 6
    CLOSED = 7
    BROKEN = 8


class ServerState(enum.IntEnum):
    """What we are doing."""

    IDLE = 0
    OWES_REPLY = 1
    STREAMING = 2
    STREAMING_LAST = 3
    """The reply said `Connection: close`, or the client broke the protocol meanwhile."""
    DONE = 4
    CLOSING = 5


class Step(enum.IntEnum):
    """Everything that can happen to either side."""

    HEAD_WITH_PREVIEW = 0
    HEAD_WITH_BODY = 1
    HEAD_WITHOUT_BODY = 2
    DATA = 3
    PREVIEW_ENDS = 4
    MESSAGE_ENDS = 5
    CLIENT_CLOSES = 6
    CLIENT_BREAKS = 7
    CONTINUE = 8
    REPLY_BEGINS = 9
    LAST_REPLY_BEGINS = 10
    REPLY_DATA = 11
    REPLY_ENDS = 12
    WHOLE_REPLY = 13
    """REPLY_BEGINS and REPLY_ENDS in one; its rows follow from theirs."""
    LAST_WHOLE_REPLY = 14


C, S, T = ClientState, ServerState, Step

CLIENT: dict[ClientState, dict[Step, ClientState]] = {
    C.IDLE: {
        T.HEAD_WITH_PREVIEW: C.PREVIEW,
        T.HEAD_WITH_BODY: C.BODY,
        T.HEAD_WITHOUT_BODY: C.DONE,
        T.CLIENT_CLOSES: C.CLOSED,
        T.CLIENT_BREAKS: C.BROKEN,
        T.LAST_REPLY_BEGINS: C.BROKEN,  # a 408 to a head that never came, a 503 to a connection too many
    },
    C.PREVIEW: {
        T.DATA: C.PREVIEW,
        T.PREVIEW_ENDS: C.PAUSED,
        T.MESSAGE_ENDS: C.DONE,
        T.CLIENT_CLOSES: C.CLOSED,
        T.CLIENT_BREAKS: C.BROKEN,
        T.REPLY_BEGINS: C.PREVIEW,
        T.LAST_REPLY_BEGINS: C.PREVIEW,
        T.REPLY_DATA: C.PREVIEW,
        T.REPLY_ENDS: C.DISCARDED_PREVIEW,
    },
    C.PAUSED: {
        T.CONTINUE: C.BODY,
        T.REPLY_BEGINS: C.DONE,
        T.LAST_REPLY_BEGINS: C.DONE,
        T.REPLY_DATA: C.PAUSED,  # the reply began while the preview was still coming
        T.REPLY_ENDS: C.DONE,
    },
    C.BODY: {
        T.DATA: C.BODY,
        T.MESSAGE_ENDS: C.DONE,
        T.CLIENT_CLOSES: C.CLOSED,
        T.CLIENT_BREAKS: C.BROKEN,
        T.REPLY_BEGINS: C.BODY,
        T.LAST_REPLY_BEGINS: C.BODY,
        T.REPLY_DATA: C.BODY,
        T.REPLY_ENDS: C.DISCARDED_BODY,
    },
    C.DISCARDED_PREVIEW: {
        T.DATA: C.DISCARDED_PREVIEW,
        T.PREVIEW_ENDS: C.DONE,
        T.MESSAGE_ENDS: C.DONE,
        T.CLIENT_CLOSES: C.CLOSED,
        T.CLIENT_BREAKS: C.BROKEN,
    },
    C.DISCARDED_BODY: {
        T.DATA: C.DISCARDED_BODY,
        T.MESSAGE_ENDS: C.DONE,
        T.CLIENT_CLOSES: C.CLOSED,
        T.CLIENT_BREAKS: C.BROKEN,
    },
    C.DONE: {
        T.REPLY_BEGINS: C.DONE,
        T.LAST_REPLY_BEGINS: C.DONE,
        T.REPLY_DATA: C.DONE,
        T.REPLY_ENDS: C.DONE,
    },
    C.CLOSED: {},
    C.BROKEN: {
        T.LAST_REPLY_BEGINS: C.BROKEN,
        T.REPLY_DATA: C.BROKEN,
        T.REPLY_ENDS: C.BROKEN,
    },
}

SERVER: dict[ServerState, dict[Step, ServerState]] = {
    S.IDLE: {
        T.HEAD_WITH_PREVIEW: S.OWES_REPLY,
        T.HEAD_WITH_BODY: S.OWES_REPLY,
        T.HEAD_WITHOUT_BODY: S.OWES_REPLY,
        T.CLIENT_BREAKS: S.OWES_REPLY,
        T.LAST_REPLY_BEGINS: S.STREAMING_LAST,
    },
    S.OWES_REPLY: {
        T.CONTINUE: S.OWES_REPLY,
        T.CLIENT_BREAKS: S.OWES_REPLY,
        T.REPLY_BEGINS: S.STREAMING,
        T.LAST_REPLY_BEGINS: S.STREAMING_LAST,
    },
    S.STREAMING: {
        T.REPLY_DATA: S.STREAMING,
        T.REPLY_ENDS: S.DONE,
        T.CLIENT_BREAKS: S.STREAMING_LAST,
    },
    S.STREAMING_LAST: {
        T.REPLY_DATA: S.STREAMING_LAST,
        T.REPLY_ENDS: S.CLOSING,
        T.CLIENT_BREAKS: S.STREAMING_LAST,
    },
    S.DONE: {T.CLIENT_BREAKS: S.CLOSING},
    S.CLOSING: {T.CLIENT_BREAKS: S.CLOSING},
}


def _add_whole_replies(table: dict[Any, dict[Step, Any]]) -> None:
    for row in table.values():
        for begins, whole in ((T.REPLY_BEGINS, T.WHOLE_REPLY), (T.LAST_REPLY_BEGINS, T.LAST_WHOLE_REPLY)):
            if begins in row and T.REPLY_ENDS in table[row[begins]]:
                row[whole] = table[row[begins]][T.REPLY_ENDS]


_add_whole_replies(CLIENT)
_add_whole_replies(SERVER)
