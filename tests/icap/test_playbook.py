"""The playbook itself: a line that does not come true fails it."""

from __future__ import annotations

import pytest

from icapd.icap import CONTINUE, BodyData, Reply, Wait
from icapd.icap.events import END_OF_MESSAGE
from tests.icap.feeding import Broke, byte_by_byte, cut_at, joined, whole
from tests.icap.playbook import NEXT_CYCLE, Playbook, holds, refused, request, says
from tests.icap.wire import ISTAG, LAST, chunk, icap, reply_wire, reqmod

OPTIONS = icap("OPTIONS")
BODY = reqmod() + chunk(b"abc") + LAST

WRONG = [
    Playbook() >> OPTIONS,
    Playbook() >> OPTIONS << request("REQMOD", "/echo"),
    Playbook() >> OPTIONS << request("OPTIONS", "/echo", preview_bytes=0),
    Playbook() >> OPTIONS << request("OPTIONS", "/echo") << END_OF_MESSAGE,
    Playbook() >> OPTIONS << request("OPTIONS", "/echo") << Wait.NEED_DATA,
    Playbook() >> OPTIONS << Wait.PAUSED << request("OPTIONS", "/echo"),
    Playbook() >> OPTIONS << request("OPTIONS", "/echo") << holds(lambda connection: connection.cycle_is_over),
    Playbook() >> OPTIONS << request("OPTIONS", "/echo") << says(Reply(200, ISTAG), b"ICAP/1.0 200 OK\r\n\r\n"),
    Playbook() >> OPTIONS << request("OPTIONS", "/echo") << refused(Reply(200, ISTAG)),
    Playbook() >> BODY << request("REQMOD", "/echo") << BodyData(b"ab") << END_OF_MESSAGE,
    Playbook() >> BODY << request("REQMOD", "/echo") << BodyData(b"abc"),
    Playbook() >> b"junk\r\n\r\n" << Broke(501),
    (
        Playbook()
        >> OPTIONS + OPTIONS
        << request("OPTIONS", "/echo")
        << says(Reply(200, ISTAG), reply_wire(b"200 OK", b"null-body=0"))
        << NEXT_CYCLE
    ),
]


@pytest.mark.parametrize("playbook", WRONG)
def test_a_wrong_line_fails(playbook: Playbook) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        playbook.run()


def test_splits_keep_every_byte() -> None:
    data = bytes(range(100))
    for split in (whole, byte_by_byte, cut_at([1, 50, 50, 99, 100, 101, 250])):
        assert b"".join(split(data)) == data
    assert [len(piece) for piece in cut_at([3, 103, 7])(data)] == [3, 4, 93]


def test_joining_keeps_order_and_drops_only_data_before_a_breach() -> None:
    assert joined([BodyData(b"a"), BodyData(b"b"), END_OF_MESSAGE, BodyData(b"c")]) == [
        BodyData(b"ab"),
        END_OF_MESSAGE,
        BodyData(b"c"),
    ]
    assert joined([END_OF_MESSAGE, BodyData(b"a"), BodyData(b"b"), Broke(400)]) == [END_OF_MESSAGE, Broke(400)]


def test_a_message_that_is_sent_where_it_cannot_be_fails() -> None:
    with pytest.raises(Exception, match="CONTINUE in IDLE"):
        (Playbook() << says(CONTINUE, b"")).run()
