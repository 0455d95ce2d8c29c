"""RFC 3507 and its errata, clause by clause: what the codec takes, refuses and writes."""

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
    PreviewEnd,
    Reply,
    RequestHead,
    Wait,
)
from icapd.icap.status import REASONS
from tests.icap.feeding import Broke, Seen, drain, feed, outcome, whole
from tests.icap.reading import read_replies
from tests.icap.wire import GET, IEOF, ISTAG, LAST, OK, POST, chunk, icap, reqmod, respmod


def head_of(data: bytes) -> RequestHead:
    seen = outcome(data)
    assert isinstance(seen[0], RequestHead), seen
    return seen[0]


def broke(data: bytes) -> int | None:
    """The status that answers the breach in these bytes; None when there is none."""
    last = outcome(data)[-1]
    return last.status if isinstance(last, Broke) else None


def answer(data: bytes, *messages: Message) -> bytes:
    """What goes out when a client sends `data` and is told these messages."""
    connection = Connection(CodecLimits())
    feed(connection, data, whole)
    return b"".join(bytes(piece) for message in messages for piece in connection.send(message))


# 4.2 ICAP URIs


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("icap://icap.example/respmod", "/respmod"),
        ("icap://icap.example:1344/respmod", "/respmod"),
        ("ICAP://[::1]:1344/respmod", "/respmod"),
        ("icaps://icap.example/respmod", "/respmod"),
        ("icap://icap.example/respmod?allow204=on&mode=simple", "/respmod"),
        ("icap://icap.example/a/b%20c", "/a/b%20c"),
        ("icap://icap.example/%72esp%6Dod%2f%00", "/respmod%2f%00"),
        ("icap://icap.example", "/"),
        ("icap://icap.example?x=y", "/"),
        ("/respmod", "/respmod"),
        ("/respmod?x", "/respmod"),
        ("*", "*"),
    ],
)
def test_4_2_service_uri(target: str, path: str) -> None:
    assert head_of(f"OPTIONS {target} ICAP/1.0\r\n\r\n".encode()).path == path


@pytest.mark.parametrize(
    "target", ["http://icap.example/respmod", "respmod", "icap:/respmod", "icap://h/a#b", "?x", "**", "icap//h/a"]
)
def test_4_2_other_targets_are_refused(target: str) -> None:
    assert outcome(f"OPTIONS {target} ICAP/1.0\r\n\r\n".encode()) == [Broke(400)]


# 4.3.1 Request headers


@pytest.mark.parametrize("value", ["gzip", "chunked, chunked", "chunkedx", ""])
def test_4_3_1_transfer_encoding_is_not_for_icap_heads(value: str) -> None:
    assert broke(icap("OPTIONS", f"Transfer-Encoding: {value}")) == 400


@pytest.mark.parametrize("value", ["chunked", "Chunked", "identity"])
def test_4_3_1_transfer_encoding_that_changes_nothing_is_taken(value: str) -> None:
    assert not head_of(icap("OPTIONS", f"Transfer-Encoding: {value}")).has_body


@pytest.mark.parametrize("name", ["Encapsulated", "Preview", "Transfer-Encoding", "Host"])
def test_4_3_1_framing_headers_stand_once(name: str) -> None:
    value = {"Encapsulated": "null-body=0", "Preview": "0", "Transfer-Encoding": "chunked", "Host": "h"}[name]
    assert broke(icap("REQMOD", f"{name}: {value}")) is None
    assert broke(icap("REQMOD", f"{name}: {value}", "X: y", f"{name.upper()}: {value}")) == 400


def test_4_3_1_header_names_are_case_insensitive() -> None:
    head = head_of(icap("REQMOD", "ENCAPSULATED: NULL-BODY=0", "aLLow: 204", "preview: 0", "CONNECTION: close"))
    assert (head.allow_204, head.preview_bytes, head.wants_close, head.has_body) == (True, 0, True, False)


def test_4_3_1_lists_may_be_spread_over_lines() -> None:
    head = head_of(icap("REQMOD", "Allow: 204", "Connection: TE", "X-A: b", "Allow: trailers", "Connection: close"))
    assert (head.allow_204, head.allow_trailers, head.allow_206, head.wants_close) == (True, True, False, True)


# 4.3.2 Request line, 4.3.3 status codes


@pytest.mark.parametrize("method", ["OPTIONS", "REQMOD", "RESPMOD"])
def test_4_3_2_methods(method: str) -> None:
    assert head_of(icap(method)).method == method


@pytest.mark.parametrize("method", ["GET", "LOG", "options", "Reqmod", "X-EXTENSION"])
def test_4_3_3_unknown_methods_are_501(method: str) -> None:
    assert broke(icap(method)) == 501


@pytest.mark.parametrize(
    ("version", "status"), [("1.0", None), ("1.1", None), ("2.0", 505), ("0.9", 505), ("10.0", 505)]
)
def test_4_3_3_versions(version: str, status: int | None) -> None:
    assert broke(f"OPTIONS /echo ICAP/{version}\r\n\r\n".encode()) == status


def test_4_3_3_replies_have_a_status_line_an_istag_and_no_body_when_they_are_errors() -> None:
    for status, reason in REASONS.items():
        if status < 400:
            continue
        (reply,) = read_replies(answer(b"junk\r\n\r\n", Reply(status, ISTAG)))
        assert reply.start_line == f"ICAP/1.0 {status} {reason}".encode()
        assert reply.field_value(b"istag") == b'"T-1"'
        assert reply.field_value(b"connection") == b"close"
        assert (reply.body_name, reply.rest) == ("null-body", None)


# 4.4 Bodies and 4.4.1 the Encapsulated header


def test_4_4_bodies_are_chunked_and_heads_are_not() -> None:
    seen = outcome(reqmod() + chunk(b"abc") + chunk(b"def") + LAST)
    assert isinstance(seen[0], RequestHead)
    assert seen[0].http_request == POST
    assert seen[1:] == [BodyData(b"abcdef"), EndOfMessage()]
    wire = answer(reqmod() + LAST, Reply(200, ISTAG, http_head=POST, http_is_request=True, body=b"abc"))
    assert wire.endswith(POST + b"3\r\nabc\r\n0\r\n\r\n")


def test_4_4_chunked_data_within_chunked_data_stays_as_it_is() -> None:
    inner = chunk(b"abc") + LAST
    assert outcome(respmod() + chunk(inner) + LAST)[1:] == [BodyData(inner), EndOfMessage()]


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("REQMOD", "req-hdr=0, null-body={req}"),
        ("REQMOD", "req-hdr=0, req-body={req}"),
        ("RESPMOD", "req-hdr=0, res-hdr={req}, res-body={both}"),
        ("RESPMOD", "req-hdr=0,res-hdr={req},null-body={both}"),
        ("RESPMOD", "Req-Hdr = 0 ,\tres-hdr = {req} , RES-BODY = {both}"),
    ],
)
def test_4_4_1_sections(method: str, value: str) -> None:
    heads = POST if method == "REQMOD" else POST + OK
    offsets = value.format(req=len(POST), both=len(POST + OK))
    head = head_of(icap(method, f"Encapsulated: {offsets}") + heads)
    assert head.http_request + head.http_response == heads


WRONG_OFFSETS = [
    "req-hdr=0, res-hdr=70, res-body=60",
    "req-hdr=70, res-hdr=0, res-body=80",
    "req-hdr=1, null-body=70",
    "null-body=1",
]


@pytest.mark.parametrize("value", WRONG_OFFSETS)
def test_4_4_1_offsets_must_increase_from_zero(value: str) -> None:
    assert broke(icap("RESPMOD", f"Encapsulated: {value}") + GET + OK) == 400


def test_4_4_1_equal_offsets_are_an_empty_section() -> None:
    head = head_of(icap("RESPMOD", f"Encapsulated: req-hdr=0, res-hdr={len(GET)}, null-body={len(GET)}") + GET)
    assert (head.encapsulated.req_bytes, head.encapsulated.res_bytes) == (len(GET), 0)
    assert (head.http_request, head.http_response) == (GET, b"")


@pytest.mark.parametrize("shift", [-3, -1, 1, 5])
def test_4_4_1_offsets_must_meet_the_end_of_a_head(shift: int) -> None:
    value = f"Encapsulated: req-hdr=0, res-hdr={len(GET) + shift}, null-body={len(GET + OK)}"
    assert broke(icap("RESPMOD", value) + GET + OK) == 400
    value = f"Encapsulated: req-hdr=0, null-body={len(GET) + shift}"
    assert broke(icap("REQMOD", value) + GET + b"x" * 5) == 400


def test_4_4_1_a_section_holds_one_head() -> None:
    assert broke(icap("REQMOD", f"Encapsulated: req-hdr=0, null-body={2 * len(GET)}") + GET + GET) == 400


@pytest.mark.parametrize(
    "value",
    [
        "",
        "null-body",
        "null-body=",
        "null-body=0,",
        ",null-body=0",
        "null-body=0;",
        "null-body=0 req-body=0",
        "null body=0",
        "xyz-hdr=0, null-body=9",
        "req-hdr=0",
        "null-body=0, req-hdr=0",
        "null-body=0, null-body=0",
        "req-hdr=0, req-hdr=10, null-body=20",
        "req-body=0, null-body=0",
        "res-hdr=0, req-hdr=10, res-body=20",
        "req-hdr=-1, null-body=0",
        "req-hdr=+0, null-body=9",
        "req-hdr=0x0, null-body=9",
        "req-hdr=0, null-body=1_0",
        "req-hdr=0, null-body=99999999999",
        "req-hdr=0, null-body=18446744073709551616",
        "req-hdr=0, null-body=\xb2",
    ],
)
def test_4_4_1_malformed_lists(value: str) -> None:
    assert broke(icap("RESPMOD", f"Encapsulated: {value}")) == 400


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("RESPMOD", "req-body=0"),
        ("RESPMOD", "req-hdr=0, req-body=9"),
        ("RESPMOD", "opt-body=0"),
        ("REQMOD", "res-body=0"),
        ("REQMOD", "res-hdr=0, null-body=9"),
        ("REQMOD", "req-hdr=0, res-hdr=5, res-body=9"),
        ("OPTIONS", "req-hdr=0, null-body=9"),
        ("OPTIONS", "req-body=0"),
    ],
)
def test_errata_e5_sections_of_another_method_are_418(method: str, value: str) -> None:
    assert broke(icap(method, f"Encapsulated: {value}")) == 418


# 4.5 Preview


def paused(*lines: str) -> Connection:
    """A connection whose preview is over, with more body to come."""
    connection = Connection(CodecLimits())
    assert feed(connection, respmod("Preview: 3", *lines) + chunk(b"abc") + LAST, whole)[1] is Wait.PAUSED
    return connection


@pytest.mark.parametrize(("end", "last"), [(LAST, PreviewEnd()), (IEOF, EndOfMessage())])
def test_4_5_a_preview_ends_with_a_zero_chunk(end: bytes, last: Seen) -> None:
    assert outcome(respmod("Preview: 3") + chunk(b"abc") + end)[1:] == [BodyData(b"abc"), last]


def test_4_5_a_preview_may_be_shorter_than_announced() -> None:
    assert outcome(respmod("Preview: 1024") + chunk(b"abc") + LAST)[1:] == [BodyData(b"abc"), PreviewEnd()]


def test_4_5_continue_only_after_the_preview() -> None:
    connection = paused()
    assert connection.send(CONTINUE) == [b"ICAP/1.0 100 Continue\r\n\r\n"]
    with pytest.raises(LocalProtocolError):
        connection.send(CONTINUE)


def test_4_5_ieof_forbids_100() -> None:
    with pytest.raises(LocalProtocolError):
        answer(respmod("Preview: 3") + IEOF, CONTINUE)


def test_4_5_without_a_preview_there_is_no_100() -> None:
    with pytest.raises(LocalProtocolError):
        answer(respmod() + chunk(b"abc") + LAST, CONTINUE)


def test_4_5_the_rest_ends_without_ieof_and_continues_the_preview() -> None:
    connection = paused()
    connection.send(CONTINUE)
    events, _ = feed(connection, chunk(b"def") + LAST, whole)
    assert events == [BodyData(b"def"), EndOfMessage()]


@pytest.mark.parametrize("extension", [b";ieof", b"; ieof", b"; a; ieof"])
def test_4_5_ieof_stands_on_the_zero_chunk_only(extension: bytes) -> None:
    assert broke(respmod("Preview: 3") + chunk(b"abc", extension)) == 400


def test_4_5_a_final_reply_ends_a_paused_request() -> None:
    connection = paused()
    connection.send(Reply(204, ISTAG))
    assert connection.cycle_is_over


# 4.6 204 outside of previews


def test_4_6_204_needs_allow_or_a_preview() -> None:
    for lines, allowed in (
        (["Allow: 204"], True),
        (["Preview: 9"], True),
        (["Allow: 206, trailers"], False),
        ([], False),
    ):
        connection = Connection(CodecLimits())
        feed(connection, respmod(*lines) + chunk(b"abc") + (IEOF if "Preview: 9" in lines else LAST), whole)
        assert connection.may_send_204 is allowed
        if not allowed:
            with pytest.raises(LocalProtocolError):
                connection.send(Reply(204, ISTAG))


@pytest.mark.parametrize("lines", [["Allow: 204"], []])
def test_4_6_after_100_only_allow_counts(lines: list[str]) -> None:
    connection = paused(*lines)
    assert connection.may_send_204
    connection.send(CONTINUE)
    assert connection.may_send_204 is bool(lines)


# 4.7 ISTag


def test_4_7_every_final_reply_has_a_quoted_istag() -> None:
    for reply in (Reply(200, b"A-1"), Reply(204, b"A-1"), Reply(200, b"A-1", http_head=OK, body=b"x")):
        (read,) = read_replies(answer(respmod("Preview: 3") + IEOF, reply))
        assert read.field_value(b"istag") == b'"A-1"'


# 4.8 and 4.9, what replies to REQMOD and RESPMOD hold


def test_4_8_2_reqmod_may_be_answered_with_a_request_or_a_response() -> None:
    for is_request, section in ((True, "req"), (False, "res")):
        http_head = POST if is_request else OK
        reply = Reply(200, ISTAG, http_head=http_head, http_is_request=is_request, body=b"x")
        (read,) = read_replies(answer(reqmod() + LAST, reply))
        assert (read.sections, read.body_name) == ({f"{section}-hdr": http_head}, f"{section}-body")


def test_4_9_2_respmod_is_never_answered_with_a_request() -> None:
    with pytest.raises(LocalProtocolError):
        answer(respmod() + LAST, Reply(200, ISTAG, http_head=POST, http_is_request=True))


# 4.10 OPTIONS, errata e1, e2, e7


def test_4_10_1_options_may_come_without_encapsulated() -> None:
    assert not head_of(icap("OPTIONS", "Host: icap.example")).has_body


def test_errata_e1_no_encapsulated_header_means_no_body() -> None:
    assert not head_of(icap("RESPMOD")).has_body


def test_errata_e1_a_204_has_no_body() -> None:
    with pytest.raises(LocalProtocolError):
        answer(respmod("Allow: 204") + LAST, Reply(204, ISTAG, body=b"x"))


def test_errata_e2_trailers_are_read_and_written() -> None:
    seen = outcome(respmod() + chunk(b"abc") + b"0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n")
    assert seen[2] == EndOfMessage(b"X-Sum: 1\r\nX-Sum: 2\r\n")
    wire = answer(respmod() + LAST, Reply(200, ISTAG, http_head=OK, body=b"abc", trailers=b"X-Sum: 1\r\n"))
    assert wire.endswith(b"\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")


def test_errata_e7_the_rest_behind_an_early_reply_is_read_and_dropped() -> None:
    connection = Connection(CodecLimits())
    feed(connection, respmod() + chunk(b"abc"), whole)
    connection.send(Reply(200, ISTAG, http_head=OK, body=b"no"))
    assert feed(connection, chunk(b"def") + LAST, whole) == ([], Wait.PAUSED)
    connection.start_next_cycle()
    assert drain(connection) == ([], Wait.NEED_DATA)
