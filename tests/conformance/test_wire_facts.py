"""What the codec makes of the 53 facts of the wire that a correct ICAP server honours.

The number in a test's name is the fact's number in the table of `test_proofs.py`. Facts about Squid are what its own
ICAP client enforces.
"""

from __future__ import annotations

import pytest

from icapd.errors import LocalProtocolError
from icapd.icap import (
    CONTINUE,
    BodyData,
    CodecLimits,
    Connection,
    EndOfMessage,
    Message,
    PeerClosed,
    PreviewEnd,
    Reply,
    RequestHead,
    Wait,
)
from icapd.icap.http import read_request, read_status
from icapd.icap.status import REASONS
from tests.icap.feeding import Broke, drain, feed, outcome, whole
from tests.icap.reading import read_replies
from tests.icap.wire import GET, IEOF, ISTAG, LAST, OK, POST, chunk, icap, reqmod, respmod


def head_of(data: bytes) -> RequestHead:
    head = outcome(data)[0]
    assert isinstance(head, RequestHead)
    return head


def connection_after(data: bytes) -> Connection:
    connection = Connection(CodecLimits())
    feed(connection, data, whole)
    return connection


def sent(connection: Connection, *messages: Message) -> bytes:
    return b"".join(bytes(piece) for message in messages for piece in connection.send(message))


# Framing


def test_point_01_encapsulated_decides_everything() -> None:
    head = head_of(respmod() + LAST)
    assert (head.http_request, head.http_response, head.has_body) == (GET, OK, True)
    assert not head_of(icap("RESPMOD")).has_body
    assert outcome(icap("RESPMOD", "Encapsulated: res-hdr=0, req-hdr=9, res-body=20")) == [Broke(400)]
    assert outcome(icap("RESPMOD", "Encapsulated: req-body=0")) == [Broke(418)]


def test_point_02_all_header_sections_are_optional() -> None:
    seen = outcome(icap("RESPMOD", "Encapsulated: res-body=0") + chunk(b"abc") + LAST)
    assert isinstance(seen[0], RequestHead)
    assert (seen[0].http_request, seen[0].http_response) == (b"", b"")
    assert seen[1:] == [BodyData(b"abc"), EndOfMessage()]


def test_point_03_offsets_are_trusted_then_checked() -> None:
    without_blank_line = GET[:-2]
    value = f"Encapsulated: req-hdr=0, null-body={len(without_blank_line)}"
    assert outcome(icap("REQMOD", value) + without_blank_line) == [Broke(400)]
    value = f"Encapsulated: req-hdr=0, null-body={len(GET) - 1}"
    assert outcome(icap("REQMOD", value) + GET) == [Broke(400)]


def test_point_04_options_with_and_without_encapsulated() -> None:
    for lines in ([], ["Encapsulated: null-body=0"]):
        assert not head_of(icap("OPTIONS", *lines)).has_body
    seen = outcome(icap("OPTIONS", "Encapsulated: opt-body=0") + chunk(b"abc") + LAST)
    assert seen[1:] == [BodyData(b"abc"), EndOfMessage()]


def test_point_05_a_chunk_is_streamed_not_gathered() -> None:
    connection = connection_after(respmod() + b"3B9ACA00\r\n")
    for _ in range(3):
        connection.receive_data(b"x" * 1000)
        assert connection.next_event() == BodyData(b"x" * 1000)
        assert connection.buffered_bytes == 0
    assert outcome(icap("OPTIONS", "Transfer-Encoding: gzip")) == [Broke(400)]


def test_point_06_unknown_chunk_extensions_are_ignored() -> None:
    data = chunk(b"abc", b' ; a = "b; ieof" ; c') + b"0 ; d\r\n\r\n"
    assert outcome(respmod("Preview: 3") + data)[1:] == [BodyData(b"abc"), PreviewEnd()]
    assert outcome(respmod("Preview: 3") + chunk(b"abc", b"; ieof"))[1:] == [Broke(400)]


def test_point_07_trailers_are_read_and_returned() -> None:
    connection = Connection(CodecLimits())
    seen, _ = feed(connection, respmod() + b"0\r\nX-Sum: 1\r\n\r\n", whole)
    end = seen[-1]
    assert end == EndOfMessage(b"X-Sum: 1\r\n")
    assert sent(connection, Reply(200, ISTAG, http_head=OK, body=b"", trailers=b"X-Sum: 1\r\n")).endswith(
        b"0\r\nX-Sum: 1\r\n\r\n"
    )


def test_point_08_no_icap_trailer_is_ever_sent() -> None:
    connection = connection_after(respmod("Allow: 204, trailers") + LAST)
    (reply,) = read_replies(sent(connection, Reply(200, ISTAG, http_head=OK, body=b"x", trailers=b"X: y\r\n")))
    assert reply.field_value(b"trailer") is None


def test_point_09_chunk_sizes_are_capped_hexadecimal_digits() -> None:
    for size in (b"-1", b"+5", b"0x5", b"8000000000000000", b"FFFFFFFFFFFFFFFF", b"00000000000000005"):
        assert outcome(respmod() + size + b"\r\n")[1:] == [Broke(400)]


def test_point_10_folding_is_taken_and_bad_bytes_are_not() -> None:
    head = head_of(icap("REQMOD", "X-Violations-Found: 1", "\ta.zip", "\tEicar", "\t1", "\t2"))
    assert head.field(b"x-violations-found") == b"1 a.zip Eicar 1 2"
    for line in ("X: a\0b", "X: a\rb", "X : a"):
        assert outcome(icap("REQMOD", line)) == [Broke(400)]


def test_point_11_nothing_follows_a_reply() -> None:
    for reply, end in (
        (Reply(204, ISTAG), b"null-body=0\r\n\r\n"),
        (Reply(200, ISTAG, http_head=OK), b"\r\n\r\n" + OK),
        (Reply(200, ISTAG, http_head=OK, body=b"abc"), b"\r\n3\r\nabc\r\n0\r\n\r\n"),
    ):
        wire = sent(connection_after(respmod("Preview: 0") + IEOF), reply)
        assert wire.endswith(end)
        assert len(read_replies(wire)) == 1
    with pytest.raises(LocalProtocolError):
        connection_after(respmod("Preview: 0") + IEOF).send(Reply(204, ISTAG, body=b""))


# Preview and 100 Continue


def test_point_13_a_preview_ends_with_a_zero_chunk() -> None:
    for end, last in ((LAST, PreviewEnd()), (IEOF, EndOfMessage())):
        assert outcome(respmod("Preview: 3") + chunk(b"abc") + end)[1:] == [BodyData(b"abc"), last]
        assert outcome(respmod("Preview: 3") + chunk(b"abc") + end[:-2])[1:] == [BodyData(b"abc")]


def test_point_14_no_100_after_ieof() -> None:
    connection = connection_after(respmod("Preview: 3") + chunk(b"abc") + IEOF)
    with pytest.raises(LocalProtocolError):
        connection.send(CONTINUE)


def test_point_15_100_once_and_only_after_a_preview() -> None:
    for data in (respmod() + LAST, respmod("Preview: 3"), respmod("Preview: 3") + chunk(b"abc")):
        with pytest.raises(LocalProtocolError):
            connection_after(data).send(CONTINUE)
    connection = connection_after(respmod("Preview: 1024") + chunk(b"abc") + LAST)
    assert sent(connection, CONTINUE) == b"ICAP/1.0 100 Continue\r\n\r\n"
    with pytest.raises(LocalProtocolError):
        connection.send(CONTINUE)


def test_point_16_preview_0_with_and_without_a_body() -> None:
    assert outcome(respmod("Preview: 0") + LAST)[1:] == [PreviewEnd()]
    connection = Connection(CodecLimits())
    seen, waits = feed(connection, respmod("Preview: 0", body="null-body"), whole)
    assert (len(seen), waits) == (1, Wait.PAUSED)
    connection.send(Reply(204, ISTAG))
    assert connection.cycle_is_over


def test_point_17_after_100_only_the_remainder_comes() -> None:
    connection = connection_after(respmod("Preview: 3") + chunk(b"abc") + LAST)
    connection.send(CONTINUE)
    assert feed(connection, chunk(b"de") + LAST, whole)[0] == [BodyData(b"de"), EndOfMessage()]


def test_point_18_a_final_reply_to_a_preview_leaves_nothing_to_drain() -> None:
    for reply in (Reply(204, ISTAG), Reply(200, ISTAG, http_head=OK, body=b"no")):
        connection = connection_after(respmod("Preview: 3") + chunk(b"abc") + LAST)
        connection.send(reply)
        connection.start_next_cycle()
        seen, _ = feed(connection, icap("OPTIONS"), whole)
        assert isinstance(seen[0], RequestHead)


def test_point_20_a_client_may_preview_more_than_asked() -> None:
    seen = outcome(respmod("Preview: 65536") + chunk(b"a" * 65536) + LAST)
    assert seen[1:] == [BodyData(b"a" * 65536), PreviewEnd()]


# 204 and 206


def test_point_21_204_needs_permission() -> None:
    connection = connection_after(respmod("Preview: 3") + chunk(b"abc") + LAST)
    assert connection.may_send_204
    connection.send(CONTINUE)
    feed(connection, LAST, whole)
    with pytest.raises(LocalProtocolError):
        connection.send(Reply(204, ISTAG))


def test_point_22_allow_is_a_list() -> None:
    head = head_of(icap("RESPMOD", "Allow: 204, 206, trailers"))
    assert (head.allow_204, head.allow_206, head.allow_trailers) == (True, True, True)
    head = head_of(icap("RESPMOD", "Allow: trailers,206"))
    assert (head.allow_204, head.allow_206, head.allow_trailers) == (False, True, True)


def test_point_23_206_is_understood_and_never_spoken() -> None:
    assert head_of(icap("RESPMOD", "Allow: 206")).allow_206
    assert 206 not in REASONS


def test_point_24_a_respmod_reply_never_holds_a_request() -> None:
    with pytest.raises(LocalProtocolError):
        connection_after(respmod() + LAST).send(Reply(200, ISTAG, http_head=POST, http_is_request=True))
    (reply,) = read_replies(sent(connection_after(respmod() + LAST), Reply(200, ISTAG, http_head=OK, body=b"")))
    assert (reply.sections, reply.body_name) == ({"res-hdr": OK}, "res-body")


def test_point_25_an_echo_is_the_very_bytes() -> None:
    strange = (
        b"HTTP/1.1  200 ok\r\nset-COOKIE: a\r\nSet-Cookie:b \r\nX: \xff\x01\r\n folded\r\nContent-Length: 9\r\n\r\n"
    )
    body = bytes(range(256)) * 3
    connection = Connection(CodecLimits())
    seen, _ = feed(connection, respmod(http_response=strange) + chunk(body[:100]) + chunk(body[100:]) + LAST, whole)
    head = seen[0]
    assert isinstance(head, RequestHead)
    echoed = b"".join(event.data for event in seen if isinstance(event, BodyData))
    (reply,) = read_replies(sent(connection, Reply(200, ISTAG, http_head=head.http_response, body=echoed)))
    assert (reply.sections["res-hdr"], reply.body) == (strange, body)


# Status codes


def test_point_28_errors_are_bare_and_close() -> None:
    for data, status in (
        (b"junk\r\n\r\n", 400),
        (icap("FROB"), 501),
        (b"OPTIONS / ICAP/2.0\r\n\r\n", 505),
        (icap("RESPMOD", "Encapsulated: req-body=0"), 418),
    ):
        connection = Connection(CodecLimits())
        assert feed(connection, data, whole)[0] == [Broke(status)]
        (reply,) = read_replies(sent(connection, Reply(status, ISTAG)))
        assert (reply.status, reply.body_name, reply.field_value(b"connection")) == (status, "null-body", b"close")
        assert connection.must_close


def test_point_29_the_rest_behind_an_early_reply_is_dropped_within_a_bound() -> None:
    connection = Connection(CodecLimits(discard_bytes=1000))
    feed(connection, respmod(), whole)
    connection.send(Reply(200, ISTAG, http_head=OK, body=b"no"))
    assert feed(connection, chunk(b"x" * 900), whole) == ([], Wait.NEED_DATA)
    assert feed(connection, chunk(b"x" * 900), whole) == ([Broke(400)], None)
    assert connection.must_close


def test_point_30_every_final_reply_has_its_istag() -> None:
    for status in sorted(set(REASONS) - {100}):
        (reply,) = read_replies(sent(connection_after(respmod("Preview: 0") + IEOF), Reply(status, b"A" * 32)))
        assert reply.field_value(b"istag") == b'"%b"' % (b"A" * 32)


# Connections


def test_point_34_service_uris_of_every_shape() -> None:
    for target in (
        b"icap://10.0.0.1/avscan?allow204=on&mode=simple",
        b"icaps://any.name:11344/avscan",
        b"icap://any.name/avscan",
        b"/avscan",
    ):
        assert head_of(b"OPTIONS %b ICAP/1.0\r\n\r\n" % target).path == "/avscan"


def test_point_36_bytes_past_the_end_are_the_next_request() -> None:
    connection = connection_after(icap("OPTIONS", path="/a") + icap("OPTIONS", path="/b"))
    assert connection.buffered_bytes == len(icap("OPTIONS", path="/b"))
    connection.send(Reply(200, ISTAG))
    connection.start_next_cycle()
    (head,), _ = drain(connection)
    assert isinstance(head, RequestHead)
    assert head.path == "/b"


def test_point_37_close_is_announced() -> None:
    for lines, close in (([], True), (["Connection: close"], False)):
        connection = connection_after(icap("OPTIONS", *lines))
        (reply,) = read_replies(sent(connection, Reply(200, ISTAG, close=close)))
        assert reply.field_value(b"connection") == b"close"
        assert connection.must_close


def test_point_38_an_abandoned_request_is_an_event_not_a_fault() -> None:
    connection = connection_after(respmod() + b"5\r\nab")
    connection.receive_eof()
    assert connection.next_event() == PeerClosed(mid_message=True)


def test_point_40_nothing_of_a_request_outlives_it() -> None:
    connection = connection_after(respmod("Preview: 0", "Allow: 204") + LAST)
    connection.send(Reply(204, ISTAG))
    connection.start_next_cycle()
    assert not connection.may_send_204
    assert connection.chunk_bytes_left == 0
    feed(connection, reqmod() + LAST, whole)
    assert not connection.may_send_204


# HTTP inside


def test_point_43_unusual_http_heads_pass() -> None:
    requests = [
        (b"CONNECT www.example.org:443 HTTP/1.1\r\n\r\n", "www.example.org"),
        (b"GET https://www.example.org/a HTTP/1.1\r\n\r\n", "www.example.org"),
        (b"HEAD http://www.example.org/ HTTP/1.0\r\n\r\n", "www.example.org"),
        (b"GET /\r\n\r\n", ""),
    ]
    for http, host in requests:
        head = head_of(reqmod(http=http, body="null-body"))
        assert head.http_request == http
        assert read_request(head.http_request).host == host
    for http, status in [
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", 103),
        (b"HTTP/1.0 200\r\n\r\n", 200),
        (b"HTTP/1.1 200 \r\n\r\n", 200),
        (b"", 0),
    ]:
        head = head_of(respmod(http_response=http, body="null-body"))
        assert head.http_response == http
        assert read_status(head.http_response) == status


def test_point_44_www_authenticate_passes_untouched() -> None:
    http = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\nwww-authenticate: Basic realm="a"\r\n\r\n'
    head = head_of(respmod(http_response=http))
    connection = connection_after(respmod(http_response=http) + LAST)
    (reply,) = read_replies(sent(connection, Reply(200, ISTAG, http_head=head.http_response, body=b"")))
    assert reply.sections["res-hdr"] == http


def test_point_45_respmod_without_a_request_head() -> None:
    head = head_of(icap("RESPMOD", f"Encapsulated: res-hdr=0, res-body={len(OK)}") + OK)
    assert (head.encapsulated.req_bytes, head.http_request, head.http_response) == (None, b"", OK)


# Ends, and what broke another server


def test_point_52_a_half_closed_client_gets_its_answer() -> None:
    connection = connection_after(respmod() + chunk(b"abc") + LAST)
    connection.receive_eof()
    assert connection.next_event() is Wait.PAUSED
    wire = sent(connection, Reply(200, ISTAG, http_head=OK, body=b"abc"))
    assert read_replies(wire)[0].body == b"abc"


def test_point_53_what_one_request_did_to_c_icap() -> None:
    for size in (b"7FFFFFFF", b"80000000", b"4294967296"):
        assert outcome(respmod() + size + b"\r\nabc")[1:] == [BodyData(b"abc")]
    assert not head_of(icap("REQMOD", "Allow: 2040")).allow_204
    assert outcome(icap("FROB")) == [Broke(501)]
    assert outcome(b"OPTIONS / ICAP/1.0\r\nX: " + b"a" * 70_000) == [Broke(400)]
