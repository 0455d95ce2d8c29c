"""The engine that asks another ICAP server: against c-icap with a real clamd, and against a stub that misbehaves."""

from __future__ import annotations

import hashlib
import os
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, gatherResults

from engines.icap_upstream import SPEC, IcapOptions
from engines.icap_upstream.engine import IcapEngine
from icapd.config.schema import SpoolTable
from icapd.scan.engine_api import ConfigurationError, RemoteFailed
from icapd.scan.model import CacheKey, EngineReport, FindingKind, Outcome
from icapd.scan.remote import ShownBody
from icapd.scan.spool import Spool
from tests.support.c_icap_clamd import ScanningCIcap
from tests.support.clamd import MARK, NAME, Clamd
from tests.support.icap_stub import CONTINUE, OPTIONS, UNCHANGED, IcapStub, Request, answer_with
from tests.support.reactor import reactor, wait_for
from tests.support.tls import Authority

MIB = 1024 * 1024
HTTP_OK = b"HTTP/1.1 200 OK\r\n\r\n"
CLEAN: tuple[Outcome, list[str]] = (Outcome.NOTHING_FOUND, [])


class Scene:
    """An engine and the service it asks."""

    def __init__(self, url: str, **options: object) -> None:
        self.engine = IcapEngine(IcapOptions.model_validate({"url": url, **options}))
        self.engine.start(reactor)
        self.spool = Spool(SpoolTable(memory_bytes=64 * 1024))

    def scan(self, content: bytes, coding: str = "") -> Deferred[EngineReport]:
        body = self.spool.open(1 << 30)
        body.append(content)
        shown = ShownBody(CacheKey(hashlib.sha256(content).digest(), len(content), "", coding), body)
        scanning = Deferred.fromCoroutine(self.engine.scan(shown, time.monotonic() + 10))

        def release(outcome: object) -> object:
            body.release()
            return outcome

        return scanning.addBoth(release)

    def scanned(self, content: bytes, coding: str = "") -> tuple[Outcome, list[str]]:
        report = wait_for(self.scan(content, coding), 20)
        return report.outcome, [finding.name for finding in report.findings]


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clamd]:
    with Clamd(tmp_path_factory.mktemp("clamd")) as running:
        yield running


@pytest.fixture(scope="module")
def c_icap(tmp_path_factory: pytest.TempPathFactory, clamd: Clamd) -> Iterator[ScanningCIcap]:
    with ScanningCIcap(tmp_path_factory.mktemp("c-icap"), clamd) as running:
        yield running


Ask = Callable[..., Scene]


@pytest.fixture
def ask() -> Iterator[Ask]:
    made: list[Scene] = []

    def make(url: str, **options: object) -> Scene:
        made.append(Scene(url, **options))
        return made[-1]

    yield make
    for scene in made:
        scene.engine.stop()
        assert scene.spool.bodies == 0


# c-icap


@pytest.mark.parametrize("preview", [True, False])
@pytest.mark.parametrize("size_bytes", [1, 1023, 1024, 1025, 200_000, 3 * MIB])
def test_c_icap_scans_bodies_of_every_size(c_icap: ScanningCIcap, ask: Ask, size_bytes: int, preview: bool) -> None:
    scene = ask(c_icap.url("avscan"), preview=preview)
    assert scene.scanned(b"x" * size_bytes) == CLEAN
    assert scene.scanned(b"x" * size_bytes + MARK) == (Outcome.FOUND, [NAME])


@pytest.mark.parametrize("size_bytes", [1, 1024, 1025, 3 * MIB])
def test_c_icap_s_echo_is_nothing_found(c_icap: ScanningCIcap, ask: Ask, size_bytes: int) -> None:
    assert ask(c_icap.url("echo")).scanned(b"x" * size_bytes) == CLEAN


def test_c_icap_with_a_hundred_at_once(c_icap: ScanningCIcap, ask: Ask) -> None:
    scene = ask(c_icap.url("avscan"))
    contents = [b"%d %b" % (number, MARK if number % 3 == 0 else b"harmless") for number in range(100)]
    reports = wait_for(gatherResults([scene.scan(content) for content in contents]), 60)
    assert [report.outcome is Outcome.FOUND for report in reports] == [number % 3 == 0 for number in range(100)]


def test_c_icap_s_istag_is_its_version(c_icap: ScanningCIcap, ask: Ask) -> None:
    version = wait_for(ask(c_icap.url("avscan")).engine.probe())
    assert "C-ICAP" in version
    assert version == wait_for(ask(c_icap.url("avscan")).engine.probe())


def test_c_icap_that_answers_before_it_knows_cuts_the_body_off(tmp_path: Path, clamd: Clamd, ask: Ask) -> None:
    with ScanningCIcap(tmp_path / "c-icap", clamd, answers_after="0") as c_icap:
        scene = ask(c_icap.url("avscan"), preview=False)
        assert scene.scanned(b"x" * 200_000) == CLEAN
        assert scene.scanned(b"x" * 200_000 + MARK) == (Outcome.FOUND, ["icap:modified"])


def test_c_icap_without_that_service(c_icap: ScanningCIcap, ask: Ask) -> None:
    scene = ask(c_icap.url("none"))
    with pytest.raises(RemoteFailed, match="404"):
        wait_for(scene.engine.probe())
    with pytest.raises(RemoteFailed, match="404"):
        scene.scanned(b"x")


def test_c_icap_without_its_clamd_is_never_clean(tmp_path: Path, ask: Ask) -> None:
    with Clamd(tmp_path / "clamd") as clamd, ScanningCIcap(tmp_path / "c-icap", clamd) as c_icap:
        scene = ask(c_icap.url("avscan"))
        assert scene.scanned(MARK) == (Outcome.FOUND, [NAME])
        clamd.kill()
        try:
            outcome, _ = scene.scanned(MARK)
        except RemoteFailed:
            return
        assert outcome not in (Outcome.NOTHING_FOUND, Outcome.SKIPPED)


# What else there is


def stub_says(reply: bytes) -> Callable[[Request], None]:
    def exchange(request: Request) -> None:
        request.body()
        request.send(reply)

    return exchange


@pytest.mark.parametrize(
    ("fields", "kind", "name"),
    [
        (b"X-Infection-Found: Type=0; Resolution=2; Threat=Some Name;\r\n", FindingKind.MALWARE, "Some Name"),
        (b"X-Infection-Found: Type=1; Resolution=0; Threat=no games;\r\n", FindingKind.FORBIDDEN, "no games"),
        (b"X-Infection-Found: Type=2; Resolution=0; Threat=too deep\r\n", FindingKind.LIMIT, "too deep"),
        (b"X-Infection-Found: odd\r\n", FindingKind.MALWARE, "odd"),
        (b"X-Virus-ID: Another\r\n", FindingKind.MALWARE, "Another"),
        (b"X-Violations-Found: 1\r\n\tfile\r\n\tThird\r\n\t7\r\n\t0\r\n", FindingKind.MALWARE, "Third"),
        (b"X-Violations-Found: 0\r\n", FindingKind.SUSPICIOUS, "icap:modified"),
        (b"", FindingKind.SUSPICIOUS, "icap:modified"),
    ],
)
def test_what_a_server_names(ask: Ask, fields: bytes, kind: FindingKind, name: str) -> None:
    page = answer_with(b"HTTP/1.1 403 Forbidden\r\n\r\n", b"blocked", fields=fields)
    with IcapStub(stub_says(page)) as stub:
        report = wait_for(ask(stub.url()).scan(b"body"))
    (finding,) = report.findings
    assert (finding.kind, name in finding.name) == (kind, True)
    assert report.outcome is (Outcome.UNSCANNABLE if kind is FindingKind.LIMIT else Outcome.FOUND)


def test_a_name_counts_beside_204_too(ask: Ask) -> None:
    with IcapStub(stub_says(UNCHANGED[:-2] + b"X-Virus-ID: Detected\r\n\r\n")) as stub:
        assert ask(stub.url()).scanned(b"body") == (Outcome.FOUND, ["Detected"])


@pytest.mark.parametrize(
    ("http", "body", "expected"),
    [
        (HTTP_OK, b"body", CLEAN),
        (HTTP_OK, b"bodY", (Outcome.FOUND, ["icap:modified"])),
        (HTTP_OK, b"bod", (Outcome.FOUND, ["icap:modified"])),
        (HTTP_OK, b"body!", (Outcome.FOUND, ["icap:modified"])),
        (HTTP_OK, None, (Outcome.FOUND, ["icap:modified"])),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", b"body", (Outcome.FOUND, ["icap:modified"])),
    ],
)
def test_only_the_very_body_is_nothing_found(
    ask: Ask, http: bytes, body: bytes | None, expected: tuple[Outcome, list[str]]
) -> None:
    with IcapStub(stub_says(answer_with(http, body))) as stub:
        assert ask(stub.url()).scanned(b"body") == expected


@pytest.mark.parametrize(("weight", "kind"), [("malware", FindingKind.MALWARE), ("info", FindingKind.INFO)])
def test_what_a_modified_body_is_can_be_set(ask: Ask, weight: str, kind: FindingKind) -> None:
    with IcapStub(stub_says(answer_with(HTTP_OK, b"other"))) as stub:
        report = wait_for(ask(stub.url(), modified=weight).scan(b"body"))
    assert report.findings[0].kind is kind


@pytest.mark.parametrize(
    ("reply", "what"),
    [
        (b"ICAP/1.0 404 Not Found\r\n\r\n", "404"),
        (b"ICAP/1.0 503 Overloaded\r\n\r\n", "503"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "breaks the protocol"),
        (UNCHANGED + b"more", "breaks the protocol"),
        (CONTINUE, "100 Continue"),
    ],
)
def test_what_judges_nothing_is_a_failure(ask: Ask, reply: bytes, what: str) -> None:
    with IcapStub(stub_says(reply)) as stub, pytest.raises(RemoteFailed, match=what):
        ask(stub.url()).scanned(b"body")


def test_a_server_that_hangs_up_in_mid_reply(ask: Ask) -> None:
    def exchange(request: Request) -> None:
        request.body()
        request.send(answer_with(HTTP_OK, b"body")[:-8])
        request.close()

    with IcapStub(exchange) as stub, pytest.raises(RemoteFailed, match="closed"):
        ask(stub.url()).scanned(b"body")


def test_a_preview_may_be_enough(ask: Ask) -> None:
    seen = []

    def exchange(request: Request) -> None:
        seen.append(request.body())
        request.send(UNCHANGED)

    with IcapStub(exchange, OPTIONS + b"Preview: 10\r\n") as stub:
        scene = ask(stub.url())
        assert scene.scanned(b"x" * 11) == CLEAN
        assert scene.scanned(b"y" * 10) == CLEAN
        assert [request.has_ended for request in stub.requests] == [False, True]
        assert stub.connections == 1
        assert stub.option_requests == 1
    assert seen == [b"x" * 10, b"y" * 10]


def test_the_rest_follows_100_continue_alone(ask: Ask) -> None:
    content = bytes(range(256)) * 10_000

    def exchange(request: Request) -> None:
        preview = request.body()
        request.send(CONTINUE)
        request.send(answer_with(HTTP_OK, preview + request.body()))

    with IcapStub(exchange, OPTIONS + b"Preview: 0\r\n") as stub:
        assert ask(stub.url()).scanned(content) == CLEAN


def test_an_early_answer_ends_the_body_and_the_connection(ask: Ask) -> None:
    def exchange(request: Request) -> None:
        request.send(UNCHANGED)
        if len(stub.requests) == 1:
            request.hang()  # so the rest is never read
        else:
            request.body()

    with IcapStub(exchange) as stub:
        scene = ask(stub.url())
        assert scene.scanned(b"x" * (20 * MIB)) == CLEAN
        assert scene.scanned(b"small") == CLEAN
        assert stub.connections == 2


def test_the_request_names_nobody(ask: Ask) -> None:
    with IcapStub(stub_says(UNCHANGED)) as stub:
        ask(stub.url("/service?x=1")).scanned(b"body", "br")
    (request,) = stub.requests
    digest = hashlib.sha256(b"body").hexdigest().encode()
    assert request.head.startswith(b"RESPMOD icap://127.0.0.1:%d/service?x=1 ICAP/1.0\r\n" % stub.port)
    assert request.heads[0] == b"GET http://icapd.invalid/%b HTTP/1.1\r\nHost: icapd.invalid\r\n\r\n" % digest
    assert b"Content-Encoding: br\r\n" in request.heads[1]


def test_a_coding_cannot_add_lines(ask: Ask) -> None:
    with IcapStub(stub_says(UNCHANGED)) as stub:
        ask(stub.url()).scanned(b"body", "br\r\nx: y")
    assert b"Content-Encoding" not in stub.requests[0].heads[1]


def test_past_max_bytes_the_server_is_not_asked(ask: Ask) -> None:
    with IcapStub(stub_says(UNCHANGED)) as stub:
        assert ask(stub.url(), max_bytes=4).scanned(b"body") == CLEAN
        assert ask(stub.url(), max_bytes=3).scanned(b"body") == (Outcome.UNSCANNABLE, ["engines.icap.max_bytes"])
        skipping = ask(stub.url(), max_bytes=3, past_max_bytes="skip")
        assert skipping.scanned(b"body") == (Outcome.SKIPPED, ["engines.icap.max_bytes"])
        assert len(stub.requests) == 1


@pytest.mark.parametrize(
    ("options", "what"),
    [(b"Methods: REQMOD\r\nEncapsulated: null-body=0\r\n", "no RESPMOD"), (b"Encapsulated: bad\r\n", "protocol")],
)
def test_a_service_that_cannot_be_asked(ask: Ask, options: bytes, what: str) -> None:
    with IcapStub(stub_says(UNCHANGED), options) as stub, pytest.raises(RemoteFailed, match=what):
        wait_for(ask(stub.url()).engine.probe())


@pytest.mark.parametrize("url", ["icap://", "http://host/x", "icap://host", "icap://host/a b", "icap://h:99999/x"])
def test_a_url_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        IcapOptions(url=url)


def test_it_is_off_unless_asked_for() -> None:
    assert SPEC.is_remote
    assert not IcapOptions().enabled


# TLS


def over_tls(folder: Path, stub: IcapStub, host: str, ca_file: Path) -> Scene:
    options = IcapOptions.model_validate({"url": f"icaps://{host}:{stub.port}/stub", "ca_file": ca_file.name})
    engine = SPEC.build(options, SPEC.gather(options, lambda text: ca_file.parent / text))
    assert isinstance(engine, IcapEngine)
    scene = Scene.__new__(Scene)
    scene.engine, scene.spool = engine, Spool(SpoolTable(memory_bytes=64 * 1024))
    engine.start(reactor)
    return scene


def test_a_server_over_tls_must_show_a_certificate_for_its_name_by_somebody_we_trust(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    files = ours.files("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["certificate"], files["private_key"])

    def judge(request: Request) -> None:
        body = request.body()
        found = answer_with(HTTP_OK, b"no").replace(b"ISTag", b"X-Virus-ID: Evil\r\nISTag")
        request.send(found if b"evil" in body else UNCHANGED)

    with IcapStub(judge, tls=context) as stub:
        scene = over_tls(tmp_path, stub, "127.0.0.1", ours.certificate)
        assert scene.scanned(b"x" * MIB) == CLEAN
        assert scene.scanned(b"x" * MIB + b"evil") == (Outcome.FOUND, ["Evil"])
        assert wait_for(scene.engine.probe())
        scene.engine.stop()
        for host, trusted in (("127.0.0.1", theirs), ("localhost", ours)):
            stranger = over_tls(tmp_path, stub, host, trusted.certificate)
            with pytest.raises(RemoteFailed, match="the connection broke: "):
                stranger.scanned(b"x")
            stranger.engine.stop()
        assert len(stub.requests) == 2


def test_a_file_without_certificates_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing\n")
    os.mkfifo(tmp_path / "pipe.pem")
    whats = {"empty.pem": "has no certificates in PEM", "gone.pem": "No such file", "pipe.pem": "is no regular file"}
    for name, what in whats.items():
        options = IcapOptions(url="icaps://127.0.0.1/x", ca_file=name)
        with pytest.raises(ConfigurationError, match=what):
            SPEC.gather(options, lambda text: tmp_path / text)
