"""Conversations of real clients, replayed in all feedings and compared with a second reading of the same bytes."""

from __future__ import annotations

import pytest

from icapd.icap import BodyData, CodecLimits, Connection, EndOfMessage, PreviewEnd, RequestHead
from tests.icap.captured import CONVERSATIONS, DIRECTORY, Facts, client_bytes, facts, server_bytes, statuses
from tests.icap.conversation import Conversation
from tests.icap.feeding import Seen, Split, in_all_feedings, joined
from tests.icap.reading import ReadMessage, read_replies, read_requests

CLIENT_ENDINGS = {"no-body", "whole", "ieof", "continued", "answered", "cut"}
ANSWERED = sorted(name for name in CONVERSATIONS if statuses(name))


def test_every_capture_has_its_facts() -> None:
    assert {path.stem for path in DIRECTORY.glob("*.c2s")} == set(CONVERSATIONS)
    assert {path.stem for path in DIRECTORY.glob("*.s2c")} == set(ANSWERED)
    assert {path.suffix for path in DIRECTORY.iterdir() if path.suffix} == {".c2s", ".s2c", ".md"}
    assert {fact.ending for name in CONVERSATIONS for fact in facts(name)} == CLIENT_ENDINGS


def expected_events(read: ReadMessage) -> list[Seen]:
    """The events behind a request's head, by the second reading."""
    events: list[Seen] = []
    for part in (read.preview, read.rest):
        if part is None:
            continue
        if part.data:
            events.append(BodyData(part.data))
        is_preview = part is read.preview and b"ieof" not in part.end_extension
        events.append(PreviewEnd() if is_preview else EndOfMessage(part.trailers))
    return events


def check_head(head: Seen, read: ReadMessage, fact: Facts) -> None:
    assert isinstance(head, RequestHead)
    assert (head.method, head.path, head.preview_bytes) == (fact.method, fact.path, fact.preview_bytes)
    allowed = {"204": head.allow_204, "206": head.allow_206, "trailers": head.allow_trailers}
    assert {name for name, given in allowed.items() if given} == fact.allow
    assert head.fields == read.fields
    assert head.http_request == read.sections.get("req-hdr", b"")
    assert head.http_response == read.sections.get("res-hdr", b"")
    assert (len(head.http_request), len(head.http_response)) == (fact.request_head_bytes, fact.response_head_bytes)
    assert head.encapsulated.body == read.body_name
    assert head.has_body is (fact.ending != "no-body")
    assert head.wants_close is (read.field_value(b"connection") == b"close")


@pytest.mark.parametrize("name", sorted(CONVERSATIONS))
def test_the_client_is_understood(name: str) -> None:
    data = client_bytes(name)
    requests, left = read_requests(data)
    wanted = facts(name)
    assert len(requests) == len(wanted)
    assert [len(read.body) for read in requests] == [fact.body_bytes for fact in wanted]

    def replay(split: Split) -> None:
        conversation = Conversation(Connection(CodecLimits()), continues=wanted[-1].ending == "continued")
        conversation.feed(data, split)
        seen = joined(conversation.seen)
        for read, fact in zip(requests, wanted, strict=True):
            check_head(seen.pop(0), read, fact)
            events = expected_events(read)
            assert seen[: len(events)] == events
            del seen[: len(events)]
        assert seen == []
        assert left.startswith(data[len(data) - conversation.connection.buffered_bytes :])
        check_echo(conversation, requests, wanted)

    in_all_feedings(replay, examples=6)


def check_echo(conversation: Conversation, requests: list[ReadMessage], wanted: list[Facts]) -> None:
    """What we sent back reads as the very bytes that came."""
    replies = read_replies(b"".join(conversation.sent))
    for read, fact in zip(requests, wanted, strict=True):
        reply = replies.pop(0)
        if fact.ending == "continued":
            assert (reply.status, reply.fields) == (100, b"")
            reply = replies.pop(0)
        assert reply.status == 200
        assert reply.field_value(b"istag") == b'"T-1"'
        closes = read.field_value(b"connection") == b"close"
        assert (reply.field_value(b"connection") == b"close") is closes
        if fact.method == "OPTIONS" or fact.ending in {"answered", "cut"}:
            assert (reply.sections, reply.body_name) == ({}, "null-body")
            continue
        section = "req-hdr" if fact.method == "REQMOD" else "res-hdr"
        assert reply.sections == {section: read.sections[section]}
        assert reply.body_name == read.body_name
        assert reply.body == read.body
    assert replies == []


def test_the_second_terminator_of_an_empty_file_is_left_alone() -> None:
    """Nextcloud ends an empty file twice, and closes: what stands behind the first end is no request."""
    conversation = Conversation(Connection(CodecLimits()), continues=False)
    conversation.feed(client_bytes("synthetic-nextcloud-reqmod-emptyfile-double-terminator"), lambda data: [data])
    assert conversation.connection.must_close
    assert conversation.connection.buffered_bytes == len(b"0\r\n\r\n")


@pytest.mark.parametrize("name", ANSWERED)
def test_the_captured_server_reads_as_it_answered(name: str) -> None:
    """Proves the second reading itself: it finds in another server's replies what that server echoed."""
    replies = read_replies(server_bytes(name))
    assert [reply.status for reply in replies] == statuses(name)
    request = read_requests(client_bytes(name))[0][-1]
    reply = replies[-1]
    if reply.status == 204:
        assert (reply.sections, reply.body) == ({}, b"")
    elif reply.status == 200:
        assert reply.body == request.body
        section = "req-hdr" if request.start_line.startswith(b"REQMOD") else "res-hdr"
        assert reply.sections[section].startswith(request.sections[section][:-2])
        assert b"\r\nVia: ICAP/1.0 " in reply.sections[section]
    else:
        assert reply.status == 206
        assert reply.rest is not None
        assert reply.rest.end_extension == b"; use-original-body=0"
