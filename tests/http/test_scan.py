"""One file in, one verdict out."""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
from typing import Any

import pytest

from tests.http.client import Server, ask
from tests.process.servers import ask as ask_over_icap
from tests.process.servers import verdict
from tests.support.eicar import EICAR

CLEAN = b"An ordinary text.\n"


def test_a_clean_file(server: Server) -> None:
    answer = ask(server, b"What nobody has asked for before.\n", "/scan?filename=a.txt")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json.keys() == {
        "name", "verdict", "outcome", "action", "rule", "findings", "sha256", "size_bytes", "media_type", "cache",
        "elapsed_ms", "transaction",
    }  # fmt: skip
    assert answer.said("name", "verdict", "outcome", "action", "rule") == (
        "a.txt",
        "CLEAN",
        "clean",
        "allow",
        "clean",
    )
    assert answer.said("findings", "size_bytes", "media_type", "cache") == ([], 34, "text/plain", "miss")
    assert answer.json["sha256"] == hashlib.sha256(b"What nobody has asked for before.\n").hexdigest()


def test_malware_is_named_with_where_it_is(server: Server) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("folder/eicar.com", EICAR)
    answer = ask(server, packed.getvalue())
    assert (answer.status, *answer.said("verdict", "outcome", "action")) == (200, "MALICIOUS", "malicious", "block")
    found = {(each["engine"], each["kind"], each["name"], tuple(each["trail"])) for each in answer.json["findings"]}
    assert ("yara", "malware", "EICAR_Test_File", ("folder/eicar.com",)) in found


def test_what_was_scanned_once_is_remembered_for_icap_and_http_alike(server: Server) -> None:
    body = b"Remembered, whichever way it came.\n"
    first, second = ask(server, body), ask(server, body)
    assert (first.json["cache"], second.json["cache"]) == ("miss", "memory")
    assert first.json["transaction"] != second.json["transaction"]
    assert verdict(ask_over_icap(server, body)) == "CLEAN"
    [line] = server.access_lines(1, method="RESPMOD", sha256=first.json["sha256"])
    assert line["cache"] == "memory"


def test_an_empty_file_is_clean(server: Server) -> None:
    for body in (b"", None):
        answer = ask(server, body)
        assert (answer.status, *answer.said("verdict", "size_bytes", "media_type")) == (
            200,
            "CLEAN",
            0,
            "application/x-empty",
        )


@pytest.mark.parametrize("size_bytes", [1, 10_000, 1024 * 1024])
def test_sizes_by_length_and_by_chunks(server: Server, size_bytes: int) -> None:
    body = bytes(range(256)) * (size_bytes // 256) + b"x" * (size_bytes % 256)
    chunks = (body[start : start + 7000] for start in range(0, len(body), 7000))
    for sent in (body, chunks):
        answer = ask(server, sent)
        assert answer.status == 200
        assert answer.said("size_bytes", "sha256") == (size_bytes, hashlib.sha256(body).hexdigest())


def test_a_coded_body_is_decoded_to_be_judged(server: Server) -> None:
    answer = ask(server, gzip.compress(EICAR), Content_Encoding="gzip")
    assert answer.said("verdict", "action") == ("MALICIOUS", "block")
    answer = ask(server, b"no gzip at all", Content_Encoding="gzip")
    assert answer.said("verdict", "outcome") == ("UNSCANNABLE", "corrupt")
    answer = ask(server, CLEAN, Content_Encoding="rot13")
    assert answer.said("verdict", "outcome") == ("UNSCANNABLE", "unsupported")


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        ("/scan?filename=holiday.jpg", {}),
        ("/scan", {"X_Filename": "holiday%2Ejpg"}),
        ("/scan", {"Content_Type": "image/jpeg"}),
        ("/scan?filename=holiday.jpg", {"X_Filename": "setup.exe"}),
    ],
)
def test_a_program_under_a_harmless_name_is_suspicious(server: Server, target: str, fields: dict[str, Any]) -> None:
    program = b"\x7fELF\x02\x01\x01" + bytes(57)
    assert "type-mismatch" not in [each["kind"] for each in ask(server, program).json["findings"]]
    answer = ask(server, program, target, **fields)
    assert "executable-as-image" in [each["name"] for each in answer.json["findings"]]
    assert answer.json["verdict"] == "SUSPICIOUS"


def test_a_status_alone_for_those_who_read_no_json(server: Server) -> None:
    for body, status in ((CLEAN, 200), (EICAR, 403)):
        answer = ask(server, body, "/scan?answer=status")
        assert (answer.status, answer.body) == (status, b"")


def test_the_access_line_and_the_counters(server: Server) -> None:
    asked = {"service": "/scan", "method": "POST", "action": "block"}
    before = server.metric("icapd_transactions_total", status="200", verdict="MALICIOUS", **asked)
    answer = ask(server, EICAR, "/scan?filename=invoice.com", X_Client_IP="192.0.2.7", X_Client_Username="alice")
    [line] = server.access_lines(1, id=answer.json["transaction"])
    wanted = {
        **asked, "name": "invoice.com", "client": "192.0.2.7", "user": "alice", "peer": "127.0.0.1", "status": 200,
        "verdict": "MALICIOUS", "outcome": "malicious", "sha256": answer.json["sha256"], "body_bytes": 68,
    }  # fmt: skip
    assert {key: line[key] for key in wanted} == wanted
    after = server.metric("icapd_transactions_total", status="200", verdict="MALICIOUS", **asked)
    assert after == before + 1


def test_rules_know_the_client_the_type_and_the_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    rules = [
        {"name": "no-text", "when": {"service": "/scan", "extension": "txt"}, "action": "block"},
        {"name": "not-them", "when": {"client": "192.0.2.0/24"}, "action": "block"},
        {"name": "only-icap", "when": {"method": "REQMOD"}, "action": "block"},
    ]
    with Server(tmp_path_factory.mktemp("rules"), {"policy": rules}) as ruled:
        assert ask(ruled, CLEAN, "/scan?filename=a.txt").said("verdict", "outcome", "action", "rule") == (
            "CLEAN",
            "forbidden",
            "block",
            "no-text",
        )
        assert ask(ruled, CLEAN, X_Client_IP="192.0.2.9").json["rule"] == "not-them"
        assert ask(ruled, CLEAN).json["rule"] == "clean"


@pytest.mark.parametrize(
    "target",
    [
        "/scan?answer=xml",
        "/scan?answer=json&answer=json",
        "/scan?verdict=clean",
        "/scan?answer",
        "/scan?filename=" + "a" * 1025,
    ],
)
def test_a_query_that_means_nothing_is_refused(server: Server, target: str) -> None:
    answer = ask(server, CLEAN, target)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert answer.json["status"] == 400


def test_the_longest_name_there_may_be(server: Server) -> None:
    assert ask(server, CLEAN, "/scan?filename=" + "a" * 1024).json["name"] == "a" * 1024


@pytest.mark.parametrize(
    ("method", "target", "status", "allow"),
    [
        ("GET", "/scan", 405, "POST"),
        ("PUT", "/scan", 405, "POST"),
        ("POST", "/openapi.json", 405, "GET, HEAD"),
        ("POST", "/scan/", 404, None),
        ("GET", "http://icapd/scan", 405, "POST"),
        ("POST", "http:///scan", 404, None),
        ("POST", "ftp://icapd/scan", 404, None),
        ("POST", "/http://icapd/scan", 404, None),
        ("GET", "/", 404, None),
        ("CONNECT", "example.org:443", 404, None),
    ],
)
def test_other_methods_and_paths(server: Server, method: str, target: str, status: int, allow: str | None) -> None:
    answer = ask(server, None, target, method=method)
    assert (answer.status, answer.headers.get("allow")) == (status, allow)


@pytest.mark.parametrize("origin", ["http://icapd", "HTTPS://other.example:8443"])
def test_a_target_in_absolute_form(server: Server, origin: str) -> None:
    answer = ask(server, CLEAN, f"{origin}/scan?filename=a.txt")
    assert (answer.status, answer.json["name"]) == (200, "a.txt")


def test_a_head_request_gets_no_body(server: Server) -> None:
    answer = ask(server, None, "/openapi.json", method="HEAD")
    assert (answer.status, answer.body, int(answer.headers["content-length"]) > 1000) == (200, b"", True)


@pytest.mark.parametrize("media_type", ["text", "text/plain, multipart/form-data; boundary=x", "multipart/mixed"])
def test_a_type_that_is_none_or_is_not_opened(server: Server, media_type: str) -> None:
    assert ask(server, CLEAN, Content_Type=media_type).status == 415
