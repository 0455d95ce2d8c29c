"""One request and its reply: heads, bodies, previews, pipelining, as wire traces in all feedings."""

from __future__ import annotations

import pytest

from icapd.icap import (
    CONTINUE,
    REPLY_END,
    STREAM,
    BodyData,
    CodecLimits,
    Connection,
    EndOfMessage,
    PeerClosed,
    Reply,
    ReplyData,
    RequestHead,
    Wait,
)
from icapd.icap.events import END_OF_MESSAGE, PREVIEW_END, ReplyEnd
from tests.icap.playbook import HALF_CLOSE, NEXT_CYCLE, Playbook, holds, refused, request, says
from tests.icap.wire import (
    GET,
    ISTAG,
    LAST,
    NO_CONTENT_WIRE,
    OK,
    POST,
    chunk,
    icap,
    reply_wire,
    reqmod,
    respmod,
)

NO_CONTENT = Reply(204, ISTAG)
OPTIONS_REPLY = Reply(200, ISTAG, fields=b"Methods: RESPMOD\r\n")
OPTIONS_WIRE = reply_wire(b"200 OK", b"null-body=0", fields=b"Methods: RESPMOD\r\n")


@pytest.mark.parametrize("lines", [(), ("Encapsulated: null-body=0",)], ids=["no Encapsulated", "null-body"])
def test_options(lines: tuple[str, ...]) -> None:
    (
        Playbook()
        >> icap("OPTIONS", "Host: icap.example", *lines)
        << request("OPTIONS", "/echo", has_body=False, http_request=b"", http_response=b"", preview_bytes=None)
        << Wait.PAUSED
        << says(OPTIONS_REPLY, OPTIONS_WIRE)
        << holds(lambda connection: connection.cycle_is_over)
    ).run()


def test_options_with_a_body() -> None:
    (
        Playbook()
        >> icap("OPTIONS", "Encapsulated: opt-body=0") + chunk(b"<x/>") + LAST
        << request("OPTIONS", "/echo", has_body=True)
        << BodyData(b"<x/>")
        << END_OF_MESSAGE
        << says(OPTIONS_REPLY, OPTIONS_WIRE)
    ).run()


SECTIONS = [
    ("REQMOD", POST, b"", "req-body"),
    ("REQMOD", POST, b"", "null-body"),
    ("REQMOD", b"", b"", "req-body"),
    ("REQMOD", b"", b"", "null-body"),
    *(("RESPMOD", req, res, body) for req in (b"", GET) for res in (b"", OK) for body in ("res-body", "null-body")),
]


@pytest.mark.parametrize(("method", "req", "res", "body"), SECTIONS)
def test_every_combination_of_sections(method: str, req: bytes, res: bytes, body: str) -> None:
    offsets = [f"req-hdr={0}"] if req else []
    offsets += [f"res-hdr={len(req)}"] if res else []
    offsets += [f"{body}={len(req + res)}"]
    has_body = body != "null-body"
    wire = icap(method, f"Encapsulated: {', '.join(offsets)}", "Allow: 204") + req + res
    playbook = Playbook() >> wire + (chunk(b"abc") + LAST if has_body else b"")
    playbook << request(method, "/echo", http_request=req, http_response=res, has_body=has_body, allow_204=True)
    if has_body:
        playbook << BodyData(b"abc") << END_OF_MESSAGE
    (playbook << Wait.PAUSED << says(NO_CONTENT, NO_CONTENT_WIRE) << NEXT_CYCLE << Wait.NEED_DATA).run()


def test_no_encapsulated_means_no_body() -> None:
    (Playbook() >> icap("REQMOD", "Allow: 204") << request("REQMOD", "/echo", has_body=False) << Wait.PAUSED).run()


EXTENSIONS = [
    b";a",
    b"; a=b",
    b" ; a = b",
    b'\t;\ta="quoted; ieof; \\" text"',
    b';a="";b;c=d',
    b"; IEOFX",
    b"; ieof=1",
]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_chunk_extensions_are_ignored(extension: bytes) -> None:
    (
        Playbook()
        >> respmod("Preview: 3") + chunk(b"abc", extension) + b"0" + extension + b"\r\n\r\n"
        << request("RESPMOD", "/echo")
        << BodyData(b"abc")
        << PREVIEW_END
    ).run()


@pytest.mark.parametrize("extension", [b";ieof", b"; ieof", b" ; ieof", b"; IEOF", b"; a=1; ieof", b"; ieof ; a"])
def test_ieof_among_extensions(extension: bytes) -> None:
    (
        Playbook()
        >> respmod("Preview: 3") + chunk(b"abc") + b"000" + extension + b"\r\n\r\n"
        << request("RESPMOD", "/echo")
        << BodyData(b"abc")
        << END_OF_MESSAGE
    ).run()


TRAILERS = b"X-Checksum: abc\r\nX-Folded: a\r\n b\r\n"


@pytest.mark.parametrize("end", [b"0\r\n", b"0; ieof\r\n"])
def test_trailers_come_and_go_back(end: bytes) -> None:
    preview = ["Preview: 10"] if b"ieof" in end else []
    (
        Playbook()
        >> respmod(*preview) + chunk(b"abc") + end + TRAILERS + b"\r\n"
        << request("RESPMOD", "/echo")
        << BodyData(b"abc")
        << EndOfMessage(TRAILERS)
        << says(
            Reply(200, ISTAG, http_head=OK, body=b"abc", trailers=TRAILERS),
            reply_wire(
                b"200 OK", b"res-hdr=0, res-body=%d" % len(OK), OK + b"3\r\nabc\r\n0\r\n" + TRAILERS + b"\r\n"
            ),
        )
        << NEXT_CYCLE
        << Wait.NEED_DATA
    ).run()


def test_three_requests_in_one_write_keep_order_and_bytes() -> None:
    def one(path: str) -> bytes:
        return icap("REQMOD", "Encapsulated: req-body=0", "Allow: 204", path=path) + chunk(path.encode()) + LAST

    playbook = Playbook() >> one("/a") + b"\r\n" + one("/b") + one("/c") + b"OPT"
    for path in ("/a", "/b", "/c"):
        playbook << request("REQMOD", path) << BodyData(path.encode()) << END_OF_MESSAGE
        playbook << says(NO_CONTENT, NO_CONTENT_WIRE) << NEXT_CYCLE
    playbook << holds(lambda connection: connection.buffered_bytes == 3)
    (playbook >> b"IONS * ICAP/1.0\r\n\r\n" << request("OPTIONS", "*")).run()


def test_a_short_request_behind_a_long_one() -> None:
    long = respmod("Allow: 204", "X-Long: " + "y" * 300, body="null-body")
    playbook = Playbook() >> long + icap("OPTIONS") + long
    playbook << request("RESPMOD", "/echo") << says(NO_CONTENT, NO_CONTENT_WIRE) << NEXT_CYCLE
    playbook << request("OPTIONS", "/echo") << says(OPTIONS_REPLY, OPTIONS_WIRE) << NEXT_CYCLE
    (playbook << request("RESPMOD", "/echo") >> icap("OPTIONS")[:1] << Wait.PAUSED).run()


def test_folded_header_lines() -> None:
    (
        Playbook()
        >> icap("REQMOD", "X-Long: one", " two", "\t three", "Allow: 206,", " 204", "Encapsulated:", " null-body=0")
        << request(
            "REQMOD",
            "/echo",
            allow_204=True,
            allow_206=True,
            fields=b"X-Long: one\r\n two\r\n\t three\r\nAllow: 206,\r\n 204\r\nEncapsulated:\r\n null-body=0\r\n",
        )
    ).run()


def test_request_fields_are_read_unfolded_and_joined() -> None:
    connection = Connection(CodecLimits())
    connection.receive_data(icap("OPTIONS", "X-A:  one", "  two  ", "X-a: other", "X-Empty:"))
    head = connection.next_event()
    assert isinstance(head, RequestHead)
    assert head.field(b"x-a") == b"one two,other"
    assert head.field(b"x-empty") == b""
    assert head.field(b"x") is None


def test_streamed_reply() -> None:
    (
        Playbook()
        >> reqmod() + chunk(b"abc") + LAST
        << request("REQMOD", "/echo")
        << BodyData(b"abc")
        << END_OF_MESSAGE
        << says(
            Reply(200, ISTAG, http_head=POST, http_is_request=True, body=STREAM),
            reply_wire(b"200 OK", b"req-hdr=0, req-body=%d" % len(POST), POST),
        )
        << says(ReplyData(b"a" * 16), b"10\r\n" + b"a" * 16 + b"\r\n")
        << says(ReplyData(b""), b"")
        << says(ReplyData(memoryview(b"bc")), b"2\r\nbc\r\n")
        << says(ReplyEnd(b"X-Sum: 1\r\n"), b"0\r\nX-Sum: 1\r\n\r\n")
        << NEXT_CYCLE
        << Wait.NEED_DATA
    ).run()


def test_streamed_reply_while_the_body_still_comes() -> None:
    (
        Playbook()
        >> reqmod() + chunk(b"abc")
        << request("REQMOD", "/echo")
        << BodyData(b"abc")
        << says(
            Reply(200, ISTAG, http_head=POST, http_is_request=True, body=STREAM),
            reply_wire(b"200 OK", b"req-hdr=0, req-body=%d" % len(POST), POST),
        )
        << says(ReplyData(b"abc"), b"3\r\nabc\r\n")
        >> chunk(b"de") + LAST
        << BodyData(b"de")
        << END_OF_MESSAGE
        << says(ReplyData(b"de"), b"2\r\nde\r\n")
        << says(REPLY_END, b"0\r\n\r\n")
        << NEXT_CYCLE
        << Wait.NEED_DATA
    ).run()


def test_streamed_reply_that_begins_in_the_middle_of_a_preview() -> None:
    (
        Playbook()
        >> respmod("Preview: 1024") + chunk(b"abc")
        << request("RESPMOD", "/echo")
        << BodyData(b"abc")
        << says(
            Reply(200, ISTAG, http_head=OK, body=STREAM),
            reply_wire(b"200 OK", b"res-hdr=0, res-body=%d" % len(OK), OK),
        )
        >> LAST
        << PREVIEW_END
        << refused(CONTINUE)
        << says(ReplyData(b"no"), b"2\r\nno\r\n")
        << says(REPLY_END, b"0\r\n\r\n")
        << NEXT_CYCLE
        << Wait.NEED_DATA
    ).run()


@pytest.mark.parametrize(
    ("reply", "encapsulated", "rest"),
    [
        (Reply(200, ISTAG, http_head=OK), b"res-hdr=0, null-body=%d" % len(OK), OK),
        (Reply(200, ISTAG, http_head=OK, body=b""), b"res-hdr=0, res-body=%d" % len(OK), OK + b"0\r\n\r\n"),
        (Reply(200, ISTAG, body=b""), b"res-body=0", b"0\r\n\r\n"),
        (Reply(200, ISTAG, body=b"x"), b"res-body=0", b"1\r\nx\r\n0\r\n\r\n"),
        (
            Reply(200, ISTAG, http_head=POST, http_is_request=True),
            b"req-hdr=0, null-body=%d" % len(POST),
            POST,
        ),
        (Reply(200, ISTAG), b"null-body=0", b""),
    ],
)
def test_reply_sections(reply: Reply, encapsulated: bytes, rest: bytes) -> None:
    (
        Playbook()
        >> reqmod(body="null-body")
        << request("REQMOD", "/echo")
        << says(reply, reply_wire(b"200 OK", encapsulated, rest))
        << holds(lambda connection: connection.cycle_is_over and not connection.must_close)
        << NEXT_CYCLE
        << Wait.NEED_DATA
    ).run()


def test_pipelined_request_before_a_half_close_is_answered_too() -> None:
    (
        Playbook()
        >> icap("OPTIONS", path="/a") + icap("OPTIONS", path="/b")
        << request("OPTIONS", "/a")
        >> HALF_CLOSE
        << Wait.PAUSED
        << says(OPTIONS_REPLY, OPTIONS_WIRE)
        << NEXT_CYCLE
        << request("OPTIONS", "/b")
        << says(
            OPTIONS_REPLY,
            reply_wire(b"200 OK", b"null-body=0", fields=b"Methods: RESPMOD\r\nConnection: close\r\n"),
        )
        << holds(lambda connection: connection.must_close)
    ).run()


def test_close_between_requests_is_no_fault() -> None:
    (Playbook() >> HALF_CLOSE << PeerClosed(mid_message=False) << Wait.PAUSED).run()
