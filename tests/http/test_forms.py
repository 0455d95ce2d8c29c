"""Multipart uploads: a verdict for each file, and one for all."""

from __future__ import annotations

import pytest

from tests.http.client import BOUNDARY, Server, ask, form, form_type, head, read_answer
from tests.http.conftest import Serve
from tests.support.eicar import EICAR

CLEAN = b"An ordinary text.\n"
TYPE = form_type()


def test_three_files_of_which_one_is_bad(server: Server) -> None:
    body = form(("a.txt", CLEAN), ("b.com", EICAR), ("c.bin", b""))
    answer = ask(server, body, Content_Type=TYPE)
    assert answer.status == 200
    assert answer.said("verdict", "outcome", "action", "rule") == ("MALICIOUS", "malicious", "block", "malicious")
    files = [(each["name"], each["verdict"], each["action"]) for each in answer.json["files"]]
    assert files == [("a.txt", "CLEAN", "allow"), ("b.com", "MALICIOUS", "block"), ("c.bin", "CLEAN", "allow")]
    lines = [server.access_lines(1, id=each["transaction"])[0] for each in answer.json["files"]]
    assert [(line["name"], line["verdict"], line["status"]) for line in lines] == [
        ("a.txt", "CLEAN", 200),
        ("b.com", "MALICIOUS", 200),
        ("c.bin", "CLEAN", 200),
    ]


@pytest.mark.parametrize(("bad", "status"), [(CLEAN, 200), (EICAR, 403)])
def test_the_status_of_all(server: Server, bad: bytes, status: int) -> None:
    body = form(("a", CLEAN), ("b", bad), ("c", CLEAN))
    answer = ask(server, body, "/scan?answer=status", Content_Type=TYPE)
    assert (answer.status, answer.body) == (status, b"")


@pytest.mark.parametrize("piece_bytes", [1, 3, 50, 1000])
def test_however_it_is_cut(server: Server, piece_bytes: int) -> None:
    tricky = b"\r\n--frontie\r\n--" + EICAR[:30] + b"\r\n\r\n--frontier".replace(b"frontier", b"front")
    body = form(("tricky", tricky), ("eicar", EICAR))
    pieces = (body[start : start + piece_bytes] for start in range(0, len(body), piece_bytes))
    answer = ask(server, pieces, Content_Type=TYPE)
    assert [(each["size_bytes"], each["verdict"]) for each in answer.json["files"]] == [
        (len(tricky), "CLEAN"),
        (len(EICAR), "MALICIOUS"),
    ]


def test_a_field_without_a_file_name_is_scanned_too(server: Server) -> None:
    body = b'--frontier\r\nContent-Disposition: form-data; name="comment"\r\n\r\n' + EICAR + b"\r\n--frontier--\r\n"
    answer = ask(server, body, Content_Type=TYPE)
    assert [(each["name"], each["verdict"]) for each in answer.json["files"]] == [("comment", "MALICIOUS")]


def test_a_part_is_taken_for_what_it_declares_to_be(server: Server) -> None:
    program = b"\x7fELF\x02\x01\x01" + bytes(57)
    disposition = b'Content-Disposition: form-data; name="f"; filename="x"\r\nContent-Type: image/png\r\n\r\n'
    answer = ask(server, b"--frontier\r\n" + disposition + program + b"\r\n--frontier--", Content_Type=TYPE)
    assert answer.json["verdict"] == "SUSPICIOUS"


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ("name=a; filename=b.txt", "b.txt"),
        ("name=a; filename*=UTF-8''na%C3%AFve.txt", "na\u00efve.txt"),
        ("name=a; filename=\"naive.TXT\"; filename*=UTF-8''na%C3%AFve.txt", "na\u00efve.txt"),
        ('name="a%22b"', 'a"b'),
    ],
)
def test_names_of_parts(server: Server, parameters: str, name: str) -> None:
    disposition = f"Content-Disposition: form-data; {parameters}\r\n\r\n".encode()
    answer = ask(server, b"--frontier\r\n" + disposition + CLEAN + b"\r\n--frontier--", Content_Type=TYPE)
    assert [each["name"] for each in answer.json["files"]] == [name]


def test_as_many_files_as_there_may_be_and_one_more(server: Server) -> None:
    files = [(f"{number}", CLEAN) for number in range(5)]
    assert len(ask(server, form(*files[:4]), Content_Type=TYPE).json["files"]) == 4
    answer = ask(server, form(*files), Content_Type=TYPE)
    assert (answer.status, answer.json["detail"]) == (
        400,
        "the form has more than 4 parts",
    )


def test_one_file_too_large_among_others(server: Server) -> None:
    body = form(("a", CLEAN), ("large", b"x" * (1024 * 1024 + 1)), ("c", EICAR))
    answer = ask(server, body, Content_Type=TYPE)
    assert (answer.status, *answer.said("verdict", "action")) == (413, "MALICIOUS", "block")
    assert [(each["outcome"], each["sha256"] is None) for each in answer.json["files"]] == [
        ("clean", False),
        ("too-large", True),
        ("malicious", False),
    ]
    assert ask(server, body, "/scan?answer=status", Content_Type=TYPE).status == 403
    at_the_limit = ask(server, form(("large", b"x" * 1024 * 1024)), Content_Type=TYPE)
    assert (at_the_limit.status, at_the_limit.json["verdict"]) == (200, "CLEAN")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--frontier--\r\n",
        b"no boundary at all, and long enough to be sure of that",
        form(("a", CLEAN))[:-20],
        form(("a", CLEAN)) + b"more behind its end",
        b"preamble\r\n" + form(("a", CLEAN)),
        form(("a", b"x\r\n--frontier in a line of content")),
        form(("a", b"--frontier--\r\n")),
        b'--frontier\r\nContent-Disposition: form-data; name="a"; name="b"\r\n\r\nx\r\n--frontier--',
        b"--frontier\r\nContent-Disposition: form-data\r\n\r\nx\r\n--frontier--",
        b"--frontier\r\nContent-Disposition: attachment\r\n\r\nx\r\n--frontier--",
        b"--frontier\r\n\r\nx\r\n--frontier--",
        b"--frontier\r\nContent-Disposition: form-data; name=a; filename=\"a.exe\"; filename*=UTF-8''a.txt\r\n\r\n"
        b"x\r\n--frontier--",
        b"--frontier\r\nContent-Disposition: form-data; name=a\r\n" + b"X: y\r\n" * 16 + b"\r\nx\r\n--frontier--",
        b"--frontier\r\nContent-Disposition: form-data; name=a\r\nX: " + b"y" * 8200 + b"\r\n\r\nx\r\n--frontier--",
        b"--frontier\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64\r\n\r\nWA==\r\n"
        b"--frontier--",
    ],
)
def test_what_is_no_form_is_refused(server: Server, body: bytes) -> None:
    answer = ask(server, body, Content_Type=TYPE)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")


@pytest.mark.parametrize(
    ("media_type", "coding", "status"),
    [
        ("multipart/form-data", "identity", 400),
        ("multipart/form-data; boundary=", "identity", 400),
        (f"multipart/form-data; boundary={'x' * 71}", "identity", 400),
        (f"{TYPE}; boundary=another", "identity", 400),
        (f"{TYPE}; Boundary={BOUNDARY}", "identity", 400),
        (f'multipart/form-data; a="; boundary={BOUNDARY};"; boundary=another', "identity", 400),
        (f"multipart/form-data; junk; boundary={BOUNDARY}", "identity", 400),
        (f"{TYPE}, text/plain", "identity", 400),
        (f"text/plain; a=b, {TYPE}", "identity", 415),
        (TYPE, "gzip", 415),
    ],
)
def test_heads_that_no_form_can_have(server: Server, media_type: str, coding: str, status: int) -> None:
    answer = ask(server, form(("a", CLEAN)), Content_Type=media_type, Content_Encoding=coding)
    assert answer.status == status


@pytest.mark.parametrize("boundary", ["x" * 70, "a'b+_,./:=?-z"])
def test_boundaries_with_and_without_quotes(server: Server, boundary: str) -> None:
    body = form(("a", EICAR), boundary=boundary)
    for written in (f'"{boundary}"', *([boundary] if boundary != "a'b+_,./:=?-z" else [])):
        answer = ask(server, body, Content_Type=f"multipart/form-data; charset=utf-8; boundary={written};")
        assert answer.json["verdict"] == "MALICIOUS"
    assert BOUNDARY not in boundary


def test_a_boundary_is_not_looked_for_inside_a_quoted_parameter(server: Server) -> None:
    media_type = f'multipart/form-data; a="; boundary=another;"; boundary={BOUNDARY}'
    assert ask(server, form(("a", EICAR)), Content_Type=media_type).json["verdict"] == "MALICIOUS"


def test_a_form_that_does_not_come_whole_does_not_pass(serve: Serve) -> None:
    """Whatever policy makes of the part that was too large, or slow: behind it could be anything."""
    tables = {"limits": {"discard_bytes": 2048}, "timeouts": {"body_idle_s": 0.5}}
    served = serve(tables, max_body_bytes=1024, policy="open")
    for dropped_bytes, with_json, status_alone in ((1000, 413, 403), (3000, 413, 413)):
        body = form(("large", b"x" * (1100 + dropped_bytes)), ("bad", EICAR))
        for target, status in (("/scan", with_json), ("/scan?answer=status", status_alone)):
            pieces = (body[start : start + 100] for start in range(0, len(body), 100))
            answer = ask(served, pieces, target, Content_Type=TYPE)
            assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    whole = form(("first", CLEAN), ("second", CLEAN))
    with served.connect() as client:
        client.sendall(head(len(whole), "/scan?answer=status", f"Content-Type: {TYPE}") + whole[:200])
        assert read_answer(client).status == 408
