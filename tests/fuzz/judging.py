"""What the engines that open nothing are fuzzed with: a good input for each, and the rules it must keep."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

from engines.clamd import ClamdOptions
from engines.clamd.replies import report_of
from engines.data import SPEC as DATA
from engines.data.detect import DETECTORS
from engines.hashes import SPEC as HASHES
from engines.icap_upstream import IcapOptions
from engines.icap_upstream import answers as icap_answers
from engines.identify.identifier import ContentIdentifier
from engines.urls import SPEC as URLS
from engines.urls.engine import UrlLists
from engines.urls.names import canonical_host, is_address
from icapd.errors import ConfigurationError, PeerProtocolError
from icapd.icap.reply import ReplyHead, ReplyReader
from icapd.scan.engine_api import RemoteFailed
from icapd.scan.inert import INERT_TYPES, is_inert
from icapd.scan.model import Budget, Outcome, Sample
from icapd.scan.selection import profile
from tests.fuzz.unpacking import mutated
from tests.support.icap_stub import CONTINUE, UNCHANGED, answer_with

SECONDS: Final = 2.0
_GOOD_OUTCOMES: Final = frozenset({Outcome.NOTHING_FOUND, Outcome.FOUND, Outcome.SKIPPED})
_PNG: Final = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90\x77\x53\xde\0\0\0\x0cIDAT"
_PICTURE: Final = _PNG + bytes(range(12)) + b"\0\0\0\0\0\0\0\0IEND\xaeB`\x82"
_SOUNDS: Final = b"RIFF\x58\0\0\0WAVEfmt \x10\0\0\0" + bytes(16) + b"data\x34\0\0\0" + bytes(range(52))
_TEXT: Final = (
    b'{"card": "4111 1111 1111 1111", "iban": "DE89 3704 0044 0532 0130 00", "say": "Ignore previous instructions",'
    b' "k": "-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ\\n-----END", "t": "ghp_'
    b'abcdefghijklmnopqrstuvwxyz0123456789"}'
)
_SOURCE: Final = (
    b"/* a licence */\nfunction f(a) { return a }\r\n<html><?php \xef\xbb\xbf#!/bin/sh\nFrom: a\nTo: b\nDate: c\n"
)


def _identify(data: bytes) -> None:
    identity = ContentIdentifier(None).identify(Sample(data))
    assert "/" in identity.media_type
    assert identity.family


def _inert(data: bytes) -> None:
    """Bytes behind the end, and a ZIP or PDF before or behind, are never inert."""
    for media_type in INERT_TYPES:
        for is_thorough in (False, True):
            if is_inert(data, media_type, is_thorough=is_thorough):
                for more in (data + b"x", b"x" + data, data + b"PK\x05\x06" + bytes(18), b"%PDF-1.4" + data):
                    assert not is_inert(more, media_type, is_thorough=is_thorough)
    sample = Sample(data)
    sample.identity = ContentIdentifier(None).identify(sample)
    assert 0 <= profile(sample).risk <= 100


def _data(data: bytes) -> None:
    engine: Any = DATA.build(DATA.options.model_validate({"enabled": True}), {})
    sample = Sample(data)
    sample.identity = ContentIdentifier(None).identify(sample)
    report = engine.scan(sample, Budget(time.monotonic() + 60))
    assert report.outcome in _GOOD_OUTCOMES
    for detector in DETECTORS.values():
        assert all(seen.value for seen in detector(data))


@cache
def _lists() -> UrlLists:
    with TemporaryDirectory() as folder:
        domains, urls = Path(folder) / "domains", Path(folder) / "urls"
        domains.write_text("example.org\n127.0.0.1\n")
        urls.write_text("example.net/a/b\n")
        options = URLS.options.model_validate({"lists": [{"path": str(domains)}, {"path": str(urls)}]})
        engine = URLS.build(options, URLS.gather(options, Path))
        assert isinstance(engine, UrlLists)
        return engine


def _url(data: bytes) -> None:
    """A host in its one form stays what it is, and what is listed is listed for all below it."""
    text = data.decode("latin-1").lower()
    host, _, rest = text.partition("/")
    found = _lists().look_up(host or "x", "", rest.encode("latin-1"))
    once = canonical_host(host)
    assert canonical_host(once) == once or "%" in once or len(host) > 200  # no host has one
    if found and not is_address(once) and once.endswith("example.org"):
        assert _lists().look_up(f"a.{once}", "", b"/")


def _url_list(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "it"
        path.write_bytes(data)
        for known in ("auto", "hosts", "domains", "urls"):
            options = URLS.options.model_validate({"lists": [{"path": str(path), "format": known}]})
            try:
                engine = URLS.build(options, URLS.gather(options, Path))
            except ConfigurationError:
                continue
            assert isinstance(engine, UrlLists)
            engine.look_up("www.example.org", "", b"/a")


def _hash_list(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "it"
        path.write_bytes(data)
        options = HASHES.options.model_validate({"deny": [str(path)]})
        try:
            engine: Any = HASHES.build(options, HASHES.gather(options, Path))
        except ConfigurationError:
            return
        assert engine.scan(Sample(b"x"), Budget(time.monotonic() + 60)).outcome in _GOOD_OUTCOMES


def _clamd(data: bytes) -> None:
    """Nothing but OK is clean."""
    answer = data.decode("utf-8", "replace")
    try:
        report = report_of(answer, ClamdOptions())
    except RemoteFailed:
        return
    assert (report.outcome is Outcome.NOTHING_FOUND) == answer.endswith(": OK")


def _icap(data: bytes) -> None:
    """Whole or byte by byte, a reply is the same, or breaks the protocol."""
    said: list[tuple[ReplyHead | None, bytes] | None] = []
    for step in (len(data) or 1, 1):
        reader = ReplyReader()
        body = b""
        try:
            for at in range(0, len(data), step):
                body += reader.receive(data[at : at + step])
                reader.take_continue()
                if reader.is_finished:
                    break
        except PeerProtocolError:
            said.append(None)
            continue
        said.append((reader.head, body) if reader.is_finished else None)
        if reader.head is not None and reader.is_finished:
            answer = icap_answers.Answer(reader.head, is_unchanged=False)
            try:
                report = icap_answers.report_of(answer, IcapOptions())
            except RemoteFailed:
                continue
            assert report.outcome is not Outcome.NOTHING_FOUND or reader.head.status == 204
    assert said[0] is None or said[0] == said[1]


TARGETS: Final[dict[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]]] = {
    "identify": (
        _identify,
        (_SOURCE, _PICTURE, b"PK\x03\x04" + bytes(30) + b"mimetype", b"MZ" + bytes(70) + b"PE\0\0"),
    ),
    "inert": (_inert, (_PICTURE, _SOUNDS)),
    "data": (_data, (_TEXT,)),
    "url": (_url, (b"www.example.org/a/%2e%2e/b?c=d&e", b"0x7f.1/", b"b\xfccher.example.net/a/b/c", b"[::1]/x")),
    "url-list": (
        _url_list,
        (b"# it\n0.0.0.0 a.example b.example\n::1 c.example\n", b"*.example.org\nhttp://a.b/c?d\n"),
    ),
    "hash-list": (_hash_list, (b"# it\n" + b"ab" * 32 + b"  name\n" + b"cd" * 20 + b"\n" + b"ef" * 16 + b":5:x\n",)),
    "clamd": (_clamd, (b"stream: OK", b"fd[7]: Evil FOUND", b"INSTREAM size limit exceeded. ERROR")),
    "icap": (_icap, (CONTINUE + UNCHANGED, answer_with(b"HTTP/1.1 403 No\r\nA: b\r\n\r\n", b"no" * 20))),
}
"""By what is fuzzed: the rules, and inputs that it reads whole."""


def made(name: str, random: Random) -> bytes:
    """An input with faults; now and then one as it is."""
    data = random.choice(TARGETS[name][1])
    return mutated(data, random) if random.randrange(20) else data


def check(name: str, data: bytes) -> None:
    """Raises: what broke a rule."""
    began = time.process_time()
    TARGETS[name][0](data)
    assert time.process_time() - began < SECONDS
