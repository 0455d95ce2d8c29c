"""Previews, 100 Continue and the permissions for 204 (RFC 3507 §4.5, §4.6), as wire traces in all feedings."""

from __future__ import annotations

import pytest

from icapd.icap import (
    CONTINUE,
    BodyData,
    Reply,
    Wait,
)
from icapd.icap.events import END_OF_MESSAGE, PREVIEW_END
from tests.icap.playbook import NEXT_CYCLE, Playbook, holds, refused, request, says
from tests.icap.wire import (
    CONTINUE_WIRE,
    IEOF,
    ISTAG,
    LAST,
    NO_CONTENT_WIRE,
    OK,
    chunk,
    icap,
    reply_wire,
    reqmod,
    respmod,
)

NO_CONTENT = Reply(204, ISTAG)


def test_preview_then_continue_then_the_rest() -> None:
    (
        Playbook()
        >> respmod("Preview: 4") + chunk(b"abcd") + LAST
        << request("RESPMOD", "/echo", preview_bytes=4, allow_204=False)
        << BodyData(b"abcd")
        << PREVIEW_END
        << Wait.PAUSED
        << says(CONTINUE, CONTINUE_WIRE)
        << Wait.NEED_DATA
        >> chunk(b"ef") + chunk(b"gh") + LAST
        << BodyData(b"efgh")
        << END_OF_MESSAGE
        << says(
            Reply(200, ISTAG, http_head=OK, body=b"abcdefgh"),
            reply_wire(b"200 OK", b"res-hdr=0, res-body=%d" % len(OK), OK + b"8\r\nabcdefgh\r\n0\r\n\r\n"),
        )
        << NEXT_CYCLE
        << Wait.NEED_DATA
    ).run()


def test_preview_of_nothing_with_a_body() -> None:
    (
        Playbook()
        >> respmod("Preview: 0") + LAST
        << request("RESPMOD", "/echo", preview_bytes=0)
        << PREVIEW_END
        << says(CONTINUE, CONTINUE_WIRE)
        >> chunk(b"abc") + LAST
        << BodyData(b"abc")
        << END_OF_MESSAGE
    ).run()


def test_preview_with_null_body_has_no_chunk_at_all() -> None:
    (
        Playbook()
        >> respmod("Preview: 0", body="null-body")
        << request("RESPMOD", "/echo", preview_bytes=0, has_body=False)
        << Wait.PAUSED
        << refused(CONTINUE)
        << says(NO_CONTENT, NO_CONTENT_WIRE)
        << NEXT_CYCLE
        >> respmod("Preview: 0", body="null-body")
        << request("RESPMOD", "/echo", preview_bytes=0)
    ).run()


@pytest.mark.parametrize("data", [b"", b"abc"])
def test_ieof_ends_the_message_in_its_preview(data: bytes) -> None:
    playbook = Playbook() >> respmod("Preview: 1024") + (chunk(data) if data else b"") + IEOF
    playbook << request("RESPMOD", "/echo", preview_bytes=1024)
    if data:
        playbook << BodyData(data)
    playbook << END_OF_MESSAGE << refused(CONTINUE) << says(NO_CONTENT, NO_CONTENT_WIRE) << NEXT_CYCLE
    (playbook << Wait.NEED_DATA).run()


@pytest.mark.parametrize(
    ("reply", "wire"),
    [
        (NO_CONTENT, NO_CONTENT_WIRE),
        (
            Reply(200, ISTAG, http_head=OK, body=b"no"),
            reply_wire(b"200 OK", b"res-hdr=0, res-body=%d" % len(OK), OK + b"2\r\nno\r\n0\r\n\r\n"),
        ),
    ],
    ids=["204", "200"],
)
def test_final_reply_to_a_preview_ends_the_request(reply: Reply, wire: bytes) -> None:
    (
        Playbook()
        >> respmod("Preview: 4") + chunk(b"abcd") + LAST
        << request("RESPMOD", "/echo")
        << BodyData(b"abcd")
        << PREVIEW_END
        << says(reply, wire)
        << NEXT_CYCLE
        >> icap("OPTIONS")
        << request("OPTIONS", "/echo")
    ).run()


def test_204_by_the_allow_header_without_a_preview() -> None:
    (
        Playbook()
        >> reqmod("Allow: 204") + chunk(b"abc") + LAST
        << request("REQMOD", "/echo", allow_204=True, allow_206=False, allow_trailers=False)
        << BodyData(b"abc")
        << END_OF_MESSAGE
        << holds(lambda connection: connection.may_send_204)
        << says(NO_CONTENT, NO_CONTENT_WIRE)
    ).run()


@pytest.mark.parametrize("allows", [False, True])
def test_after_100_the_permission_of_the_preview_is_gone(allows: bool) -> None:
    playbook = Playbook() >> respmod("Preview: 0", *(["Allow: 204"] if allows else ["Allow: trailers"])) + LAST
    playbook << request("RESPMOD", "/echo", allow_204=allows) << PREVIEW_END
    playbook << holds(lambda connection: connection.may_send_204) << says(CONTINUE, CONTINUE_WIRE)
    playbook >> chunk(b"abc") + LAST << BodyData(b"abc") << END_OF_MESSAGE
    playbook << holds(lambda connection: connection.may_send_204 is allows)
    (playbook << (says(NO_CONTENT, NO_CONTENT_WIRE) if allows else refused(NO_CONTENT))).run()


def test_permission_does_not_outlive_its_request() -> None:
    (
        Playbook()
        >> respmod("Preview: 0", "Allow: 204") + LAST
        << request("RESPMOD", "/echo")
        << PREVIEW_END
        << says(NO_CONTENT, NO_CONTENT_WIRE)
        << NEXT_CYCLE
        >> respmod(body="null-body")
        << request("RESPMOD", "/echo")
        << refused(NO_CONTENT)
    ).run()


@pytest.mark.parametrize("lines", [(), ("Preview: 3",)], ids=["without a preview", "after 100"])
def test_ieof_outside_of_a_preview_says_nothing_new(lines: tuple[str, ...]) -> None:
    playbook = Playbook() >> respmod(*lines) + (chunk(b"abc") + LAST if lines else b"")
    playbook << request("RESPMOD", "/echo")
    if lines:
        playbook << BodyData(b"abc") << PREVIEW_END << says(CONTINUE, CONTINUE_WIRE)
    (playbook >> chunk(b"def") + IEOF << BodyData(b"def") << END_OF_MESSAGE << Wait.PAUSED << refused(CONTINUE)).run()
