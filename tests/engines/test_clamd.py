"""The clamd engine against a real clamd."""

from __future__ import annotations

import hashlib
import io
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet import tcp, unix
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from engines.clamd import ClamdOptions
from engines.clamd.engine import ClamdEngine
from engines.clamd.session import read_only
from icapd.config.schema import SpoolTable
from icapd.scan.engine_api import RemoteFailed
from icapd.scan.model import CacheKey, EngineReport, Outcome
from icapd.scan.remote import ShownBody
from icapd.scan.ruleset import with_versions
from icapd.scan.spool import Body, Spool
from tests.support.clamd import MARK, NAME, Clamd
from tests.support.reactor import reactor, wait_for, wait_until

MIB = 1024 * 1024
WAYS = ["descriptor", "stream", "tcp"]


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clamd]:
    with Clamd(tmp_path_factory.mktemp("clamd"), more="StreamMaxLength 4M\nMaxFileSize 8M") as running:
        yield running


class Scene:
    """An engine and its clamd."""

    def __init__(self, clamd: Clamd, way: str = "descriptor", **options: object) -> None:
        address = clamd.tcp if way == "tcp" else clamd.unix
        transfer = "descriptor" if way == "descriptor" else "stream"
        self.options = ClamdOptions.model_validate({"address": address, "transfer": transfer, **options})
        self.engine = ClamdEngine(self.options)
        self.engine.start(reactor)
        self.spool = Spool(SpoolTable(memory_bytes=64 * 1024))

    def body(self, content: bytes) -> Body:
        body = self.spool.open(1 << 30)
        body.append(content)
        return body

    def scan(self, content: bytes, coding: str = "") -> Deferred[EngineReport]:
        body = self.body(content)
        shown = ShownBody(CacheKey(hashlib.sha256(content).digest(), len(content), "", coding), body)
        scanning = Deferred.fromCoroutine(self.engine.scan(shown, time.monotonic() + 10))

        def release(outcome: object) -> object:
            body.release()
            return outcome

        return scanning.addBoth(release)

    def scanned(self, content: bytes, coding: str = "") -> tuple[Outcome, list[str]]:
        report = wait_for(self.scan(content, coding))
        return report.outcome, [finding.name for finding in report.findings]


def open_sessions() -> int:
    return sum(isinstance(reader, tcp.Client | unix.Client) for reader in reactor.getReaders())


@pytest.fixture(params=WAYS)
def scene(clamd: Clamd, request: pytest.FixtureRequest) -> Iterator[Scene]:
    scene = Scene(clamd, request.param)
    yield scene
    scene.engine.stop()
    assert scene.spool.bodies == 0


@pytest.mark.parametrize("size_bytes", [1, 1000, 64 * 1024 + 1, 128 * 1024, 128 * 1024 + 1, 3 * MIB])
def test_bodies_of_every_size_arrive_whole(scene: Scene, size_bytes: int) -> None:
    assert scene.scanned(b"x" * size_bytes) == (Outcome.NOTHING_FOUND, [])
    assert scene.scanned(b"x" * size_bytes + MARK) == (Outcome.FOUND, [NAME])
    assert scene.scanned(MARK + b"x" * size_bytes) == (Outcome.FOUND, [NAME])


def test_a_hundred_at_once_each_get_their_own_answer(scene: Scene) -> None:
    contents = [b"%d %b" % (number, MARK if number % 3 == 0 else b"harmless") for number in range(100)]
    reports = wait_for(gatherResults([scene.scan(content) for content in contents]), 30)
    assert [report.outcome is Outcome.FOUND for report in reports] == [number % 3 == 0 for number in range(100)]


def test_there_are_never_more_connections_than_allowed(clamd: Clamd) -> None:
    scene = Scene(clamd, connections=3)
    most = 0

    def look(report: EngineReport) -> EngineReport:
        nonlocal most
        most = max(most, open_sessions())
        return report

    before = open_sessions()
    reports = wait_for(gatherResults([scene.scan(b"%d" % number).addCallback(look) for number in range(30)]), 30)
    assert {report.outcome for report in reports} == {Outcome.NOTHING_FOUND}
    assert most - before == 3
    scene.engine.stop()


def test_the_version_has_number_and_date_of_the_signatures(scene: Scene) -> None:
    program, number, date = wait_for(scene.engine.probe()).split("/")
    assert (program[:7], number) == ("ClamAV ", "1")
    assert time.strptime(date)


def test_an_archive_is_clamd_s_to_open(scene: Scene) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.txt", MARK * 3)
    assert scene.scanned(packed.getvalue()) == (Outcome.FOUND, [NAME])


def test_past_max_bytes_clamd_is_not_asked(clamd: Clamd) -> None:
    scene = Scene(clamd, max_bytes=len(MARK))
    assert scene.scanned(MARK) == (Outcome.FOUND, [NAME])
    assert scene.scanned(MARK + b"x") == (Outcome.UNSCANNABLE, ["engines.clamd.max_bytes"])
    scene.engine.stop()


@pytest.mark.parametrize("way", ["stream", "tcp"])
def test_past_clamd_s_own_limit_for_streams_a_body_is_unscannable(clamd: Clamd, way: str) -> None:
    scene = Scene(clamd, way)
    assert scene.scanned(b"x" * (4 * MIB)) == (Outcome.NOTHING_FOUND, [])
    assert scene.scanned(b"x" * (4 * MIB + 1)) == (Outcome.UNSCANNABLE, ["clamd.StreamMaxLength"])
    assert scene.scanned(b"x" * (20 * MIB)) == (Outcome.UNSCANNABLE, ["clamd.StreamMaxLength"])
    assert scene.scanned(MARK) == (Outcome.FOUND, [NAME])
    scene.engine.stop()


def test_past_clamd_s_own_limit_for_files_a_body_is_unscannable(clamd: Clamd) -> None:
    scene = Scene(clamd)
    name = "Heuristics.Limits.Exceeded.MaxFileSize"
    assert scene.scanned(b"x" * (8 * MIB) + b"x") == (Outcome.UNSCANNABLE, [name])
    scene.engine.stop()


def test_a_coded_body_is_shown_only_if_clamd_undoes_the_coding(scene: Scene) -> None:
    assert scene.scanned(MARK, "gzip") == (Outcome.FOUND, [NAME])
    assert scene.scanned(MARK, "br") == (Outcome.SKIPPED, ["clamd:coding-br"])


def test_clamd_cannot_write_to_the_body(clamd: Clamd) -> None:
    """What it is handed is opened anew, for reading."""
    scene = Scene(clamd)
    body = scene.body(b"content")
    descriptor = read_only(body.descriptor())
    with open(descriptor, "rb") as file:
        assert file.read() == b"content"
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(file.fileno(), b"x")
    body.release()
    scene.engine.stop()


@pytest.mark.parametrize("way", WAYS)
def test_killed_and_started_again(tmp_path: Path, way: str) -> None:
    with Clamd(tmp_path / "clamd") as clamd:
        scene = Scene(clamd, way)
        assert scene.scanned(MARK) == (Outcome.FOUND, [NAME])
        clamd.kill()
        with pytest.raises(RemoteFailed, match="cannot connect"):
            scene.scanned(MARK)
        with pytest.raises(RemoteFailed, match="cannot connect"):
            wait_for(scene.engine.probe())
        clamd.write_signatures(2, {"Local.Other": b"another mark"})
        clamd.start()
        assert scene.scanned(MARK) == (Outcome.NOTHING_FOUND, [])
        assert scene.scanned(b"another mark") == (Outcome.FOUND, ["Local.Other.UNOFFICIAL"])
        assert wait_for(scene.engine.probe()).split("/")[1] == "2"
        scene.engine.stop()


@pytest.mark.parametrize("way", WAYS)
def test_started_again_between_two_scans_nobody_notices(tmp_path: Path, way: str) -> None:
    """The kept connection turns out to be dead when it is used; a fresh one is asked."""
    with Clamd(tmp_path / "clamd") as clamd:
        scene = Scene(clamd, way)
        assert scene.scanned(MARK) == (Outcome.FOUND, [NAME])
        clamd.kill()
        clamd.start()
        assert scene.scanned(MARK) == (Outcome.FOUND, [NAME])
        scene.engine.stop()


@pytest.mark.parametrize("way", WAYS)
def test_killed_in_the_midst(tmp_path: Path, way: str) -> None:
    with Clamd(tmp_path / "clamd") as clamd:
        scene = Scene(clamd, way)
        assert scene.scanned(b"harmless") == (Outcome.NOTHING_FOUND, [])
        clamd.hang()
        scanning = [scene.scan(MARK + b"x" * number * 100_000) for number in range(4)]
        wait_until(lambda: open_sessions() == 4)
        assert not any(each.called for each in scanning)
        clamd.kill()
        for each in scanning:
            with pytest.raises(RemoteFailed):
                wait_for(each)
        scene.engine.stop()


@pytest.mark.parametrize("way", WAYS)
def test_a_scan_that_is_given_up_frees_its_connection(tmp_path: Path, way: str) -> None:
    with Clamd(tmp_path / "clamd") as clamd:
        scene = Scene(clamd, way, connections=1)
        clamd.hang()
        first, second = scene.scan(MARK), scene.scan(b"harmless")
        wait_until(lambda: open_sessions() == 1)
        for scanning in (first, second):
            scanning.cancel()
            with pytest.raises(CancelledError):
                wait_for(scanning)
        assert scene.spool.bodies == 0
        clamd.resume()
        assert scene.scanned(MARK) == (Outcome.FOUND, [NAME])
        scene.engine.stop()


@pytest.mark.parametrize("way", WAYS)
def test_new_signatures_while_it_runs(tmp_path: Path, way: str) -> None:
    """clamd reads a database anew beside its work: no scan fails, the next ones know more, and so does a probe."""
    with Clamd(tmp_path / "clamd") as clamd:
        scene = Scene(clamd, way)
        assert scene.scanned(b"another mark") == (Outcome.NOTHING_FOUND, [])
        before = wait_for(scene.engine.probe())
        clamd.write_signatures(2, {"Local.Other": b"another mark", "Local.Mark": MARK})
        assert clamd.command(b"RELOAD") == b"RELOADING"
        give_up = time.monotonic() + 20
        while wait_for(scene.engine.probe()).split("/")[1] != "2" and time.monotonic() < give_up:
            assert scene.scanned(MARK) == (Outcome.FOUND, [NAME])
        assert scene.scanned(b"another mark")[0] is Outcome.FOUND
        after = wait_for(scene.engine.probe())
        assert after != before
        assert with_versions("ab" * 16, {"clamd": after}) != with_versions("ab" * 16, {"clamd": before})
        scene.engine.stop()


@pytest.mark.parametrize("way", WAYS)
def test_past_clamd_s_limit_for_what_an_archive_holds_a_body_is_unscannable(tmp_path: Path, way: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(4):
            archive.writestr(f"{number}.txt", bytes(MIB))
        archive.writestr("last.txt", MARK)
    with Clamd(tmp_path / "clamd", more="MaxScanSize 2M") as clamd:
        scene = Scene(clamd, way)
        assert scene.scanned(packed.getvalue()) == (Outcome.UNSCANNABLE, ["Heuristics.Limits.Exceeded.MaxScanSize"])
        assert scene.scanned(MARK) == (Outcome.FOUND, [NAME])
        scene.engine.stop()
