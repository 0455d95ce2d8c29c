"""`icapd send` to the real server."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Ended
from tests.cli.command import icapd as run
from tests.support.eicar import EICAR
from tests.support.icapd import Icapd
from tests.support.ports import free_port
from tests.support.process import wait_until

_users = itertools.count(1)


@pytest.fixture(scope="module")
def icapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Icapd]:
    """Listens on a Unix socket, too."""
    directory = tmp_path_factory.mktemp("icapd")
    port = free_port()
    listen = [f"icap://127.0.0.1:{port}", f"unix:{directory}/icapd.sock"]
    with Icapd(directory, {"server": {"listen": listen}}) as running:
        running.port = port
        yield running


@pytest.fixture
def eicar(tmp_path: Path) -> Path:
    path = tmp_path / "eicar.com"
    path.write_bytes(EICAR)
    return path


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "a text.txt"
    path.write_bytes(b"nothing to see here\n" * 200)
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Larger than all buffers between two processes together."""
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(range(256)) * (20 * 4096))
    return path


def run_and_read_log(icapd: Icapd, *arguments: str | Path, stdin: bytes = b"") -> tuple[Ended, dict[str, Any]]:
    """Sends as a user of its own, and waits for that user's access line."""
    user = f"user-{next(_users)}"
    ended = run("send", *arguments, "--header", f"X-Client-Username: {user}", stdin=stdin)
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        found.extend(line for line in icapd.access_lines() if line["user"] == user)
        return bool(found)

    wait_until(is_there, f"an access line of {user}")
    return ended, found[0]


def test_a_clean_file_is_allowed(icapd: Icapd, text: Path) -> None:
    ended = run("send", text, "--url", icapd.url(""))
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == f"ALLOWED   {text}: CLEAN"
    assert lines[1] == "ICAP status 204 No modifications needed"
    assert "    X-Response-Info: CLEAN" in lines
    assert lines[-1].startswith("4000 bytes sent, ")
    assert "\x1b" not in ended.out


def test_malware_is_blocked_with_its_finding(icapd: Icapd, eicar: Path) -> None:
    ended = run("send", eicar, "--url", icapd.url("/respmod"))
    assert (ended.status, ended.err) == (1, "")
    lines = ended.out.splitlines()
    assert lines[0].startswith(f"BLOCKED   {eicar}: MALICIOUS, EICAR")
    assert lines[0].endswith("by the rule malicious")
    assert lines[1].startswith("HTTP status 403, ")
    assert any(line.startswith("    X-Infection-Found: Type=0;") for line in lines)


@pytest.mark.parametrize("preview", ["0", "1", "67", "68", "69", "1024"])
def test_previews_are_followed(icapd: Icapd, eicar: Path, preview: str) -> None:
    ended, line = run_and_read_log(icapd, eicar, "--url", icapd.url("/respmod"), "--preview", preview, "--json")
    assert ended.status == 1
    said = json.loads(ended.out)
    assert (said["blocked"], said["verdict"], said["action"]) == (True, "MALICIOUS", "block")
    assert (said["icap_status"], said["http_status"], said["sent_bytes"]) == (200, 403, 68)
    assert line["preview"] == int(preview)


def test_a_preview_that_decides_ends_the_sending(icapd: Icapd, large: Path) -> None:
    ended = run("send", large, "--url", icapd.url("/echo"), "--preview", "1024", "--json")
    said = json.loads(ended.out)
    assert (ended.status, said["icap_status"], said["verdict"]) == (0, 204, "NOT_SCANNED")
    assert said["sent_bytes"] == 1024


@pytest.mark.parametrize("options", [["--no-204"], ["--no-204", "--preview", "1000"]], ids=" ".join)
@pytest.mark.parametrize("service", ["/respmod", "/scan", "/echo"])
def test_what_comes_back_is_what_was_sent(
    icapd: Icapd, large: Path, tmp_path: Path, options: list[str], service: str
) -> None:
    saved = tmp_path / "saved"
    ended = run("send", large, "--url", icapd.url(service), "--save", saved, *options)
    assert (ended.status, ended.err) == (0, "")
    if "--preview" in options and service == "/echo":
        assert "ICAP status 204" in ended.out  # inside a preview, 204 is always allowed
        assert f"nothing came back to save in {saved}: unchanged" in ended.out
        assert not saved.exists()
    else:
        assert saved.read_bytes() == large.read_bytes()


def test_a_request_comes_back_as_a_request(icapd: Icapd, text: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    arguments: list[str | Path] = ["--method", "reqmod", "--url", icapd.url(""), "--no-204", "--save", saved]
    ended, line = run_and_read_log(icapd, text, *arguments)
    assert ended.status == 0
    assert "the HTTP request came back, 4000 bytes of body" in ended.out
    assert saved.read_bytes() == text.read_bytes()
    assert (line["service"], line["method"], line["http_method"]) == ("/reqmod", "REQMOD", "POST")
    assert line["url"] == "http://localhost/a%20text.txt"


def test_an_upload_of_malware_is_blocked(icapd: Icapd, eicar: Path) -> None:
    ended = run("send", eicar, "--method", "REQMOD", "--url", icapd.url(""))
    assert ended.status == 1
    assert "HTTP status 403" in ended.out


@pytest.mark.parametrize("options", [[], ["--preview", "30"]], ids=" ".join)
def test_standard_input_is_streamed(icapd: Icapd, options: list[str]) -> None:
    arguments = ["-", "--url", icapd.url(""), "--content-type", "text/plain", *options]
    clean, line = run_and_read_log(icapd, *arguments, stdin=b"hello\n" * 9)
    assert (clean.status, clean.err) == (0, "")
    assert (line["media_type"], line["body_bytes"]) == ("text/plain", 54)
    assert run("send", *arguments, stdin=EICAR).status == 1
    assert run("send", *arguments, stdin=b"").status == 0


def test_the_name_decides_the_declared_type(icapd: Icapd, text: Path) -> None:
    assert run_and_read_log(icapd, text, "--url", icapd.url(""))[1]["media_type"] == "text/plain"


def test_more_headers_reach_the_server(icapd: Icapd, text: Path) -> None:
    arguments = ["--url", icapd.url(""), "--header", "X-Client-IP: 192.0.2.7"]
    assert run_and_read_log(icapd, text, *arguments)[1]["client"] == "192.0.2.7"


def test_options_shows_what_the_service_offers(icapd: Icapd) -> None:
    ended = run("send", "--method", "OPTIONS", "--url", icapd.url("/reqmod"))
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(f"{icapd.url('/reqmod')}: 200 OK\n")
    assert "    Methods: REQMOD\n" in ended.out
    assert "    Preview: 1024\n" in ended.out


def test_a_unix_socket_serves_too(icapd: Icapd, eicar: Path) -> None:
    url = f"unix:{icapd.configuration.parent}/icapd.sock"
    ended, line = run_and_read_log(icapd, eicar, "--url", url, "--service", "/scan")
    assert ended.status == 1
    assert (line["service"], line["verdict"]) == ("/scan", "MALICIOUS")


def test_an_unknown_service_is_a_failure(icapd: Icapd, text: Path) -> None:
    ended = run("send", text, "--url", icapd.url("/nowhere"))
    assert ended.status == 3
    assert "404 ICAP Service not found" in ended.out


def test_an_empty_file_is_allowed(icapd: Icapd, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert run("send", path, "--url", icapd.url("")).status == 0
    assert run("send", path, "--url", icapd.url(""), "--preview", "0").status == 0
