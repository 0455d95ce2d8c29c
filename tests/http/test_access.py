"""Who may ask: tokens, client certificates, networks."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http.client import OTHER_TOKEN, TOKEN, Server, ask, headers_of
from tests.http.conftest import Serve
from tests.process.reloading import reload
from tests.support.eicar import EICAR
from tests.support.process import wait_until
from tests.support.tls import Authority

CLEAN = b"An ordinary text.\n"


@pytest.mark.parametrize("token", [TOKEN, OTHER_TOKEN])
def test_each_token_of_the_file_is_good(server: Server, token: str) -> None:
    assert ask(server, CLEAN, token=token).status == 200


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN} {TOKEN}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer # two applications",
        "Bearer " + "x" * 5000,
    ],
)
def test_without_a_good_token_nothing_is_scanned(server: Server, authorization: str | None) -> None:
    fields: dict[str, Any] = {} if authorization is None else {"Authorization": authorization}
    answer = ask(server, EICAR, token=None, **fields)
    assert (answer.status, answer.json["title"]) == (401, "Unauthorized")
    wanted = 'Bearer realm="icapd"' + ("" if authorization is None else ', error="invalid_token"')
    assert answer.headers["www-authenticate"] == wanted
    assert (authorization or TOKEN) not in server.child.output()


def test_the_scheme_may_be_written_in_any_case(server: Server) -> None:
    assert ask(server, CLEAN, token=None, Authorization=f"bEARER {TOKEN}").status == 200


def test_the_description_needs_no_token(server: Server) -> None:
    assert ask(server, None, "/openapi.json", method="GET", token=None).json["openapi"] == "3.1.0"


def test_tokens_are_neither_logged_nor_shown(server: Server) -> None:
    assert ask(server, CLEAN).status == 200
    assert ask(server, CLEAN, token="not-a-token-of-anybody").status == 401
    for text in (server.logs(), server.admin("/metrics")[1]):
        assert TOKEN not in text
        assert "not-a-token-of-anybody" not in text


def test_without_any_token_where_the_operator_says_so(serve: Serve) -> None:
    served = serve(tokens_file=None, insecure_no_token=True)
    assert ask(served, CLEAN, token=None).status == 200
    assert (
        ask(served, None, "/openapi.json", method="GET", token=None).json["paths"]["/scan"]["post"]["security"] == []
    )


def test_other_networks_are_closed_without_an_answer(serve: Serve) -> None:
    served = serve(allow_clients=["192.0.2.0/24"])
    with served.connect() as client:
        assert client.recv(1) == b""
    assert served.metric("icapd_connections_refused_total", reason="address") == 1


def test_no_more_connections_than_allowed(serve: Serve) -> None:
    served = serve(max_connections=1)
    with served.connect() as first:
        first.sendall(b"POST ")
        with served.connect() as second:
            assert second.recv(1) == b""
    served.child.wait_until(lambda: served.metric("icapd_open_connections") == 0, "the first is gone")
    assert ask(served, CLEAN).status == 200


def test_a_reload_changes_the_tokens(serve: Serve) -> None:
    served = serve()
    file = served.configuration.parent / "tokens"
    file.write_text("a-token-that-is-good-from-now-on\n")
    assert reload(served).result == "reloaded"
    wait_until(lambda: ask(served, CLEAN).status == 401, "the front has the new tokens")
    assert ask(served, CLEAN, token="a-token-that-is-good-from-now-on").status == 200


def test_another_address_needs_a_restart(server: Server) -> None:
    text = server.configuration.read_text()
    server.configuration.write_text(text.replace(str(server.http_port), "1"))
    assert reload(server).result == "failed"
    assert ask(server, CLEAN).status == 200
    server.configuration.write_text(text)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Server]:
    """Over https, with tokens; files of 8 MiB at most."""
    folder = tmp_path_factory.mktemp("https")
    with Server(folder, None, "https", max_body_bytes=8 * 1024 * 1024, **authority.files("icapd")) as running:
        yield running


def test_a_client_certificate_and_no_token(serve: Serve, authority: Authority, tmp_path: Path) -> None:
    keys = authority.files("icapd")
    served = serve(scheme="https", tokens_file=None, client_ca=str(authority.certificate), **keys)
    answer = ask(served, EICAR, token=None, tls=authority.client("gateway"))
    assert answer.json["verdict"] == "MALICIOUS"
    for stranger in (authority.client(None), authority.client("gateway", Authority(tmp_path / "another"))):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(served, CLEAN, token=None, tls=stranger)
    assert ask(served, CLEAN, token=None, tls=authority.client("gateway")).status == 200


def test_where_both_are_configured_both_are_needed(serve: Serve, authority: Authority) -> None:
    served = serve(scheme="https", client_ca=str(authority.certificate), **authority.files("icapd"))
    tls = authority.client("gateway")
    assert ask(served, CLEAN, tls=tls).status == 200
    assert ask(served, CLEAN, token=None, tls=tls).status == 401


def test_large_bodies_and_refusals_over_tls(encrypted: Server, authority: Authority) -> None:
    tls = authority.client(None)
    at_the_limit = ask(encrypted, b"x" * 8 * 1024 * 1024, tls=tls)
    assert (at_the_limit.status, at_the_limit.json["size_bytes"]) == (200, 8 * 1024 * 1024)
    too_large = ask(encrypted, (b"x" * 1024 * 1024 for _ in range(9)), tls=tls)
    assert (too_large.status, too_large.json["outcome"]) == (413, "too-large")


def test_who_shakes_no_hands_and_who_takes_no_end_are_cut_off(serve: Serve, authority: Authority) -> None:
    """Over TLS an end has two sides: a client that never says its own must not keep a connection for ever."""
    times = {"head_s": 0.3, "idle_s": 0.3, "drain_s": 0.3}
    served = serve({"timeouts": times}, "https", **authority.files("icapd"))
    with served.connect() as silent, served.connect() as bare:
        with authority.client(None).wrap_socket(bare, server_hostname="127.0.0.1") as idle:
            idle.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: icapd\r\n\r\n")
            served.child.wait_until(lambda: served.metric("icapd_open_connections") == 0, "both are gone")
        with pytest.raises(ConnectionResetError):
            silent.recv(1)


def test_a_new_certificate_by_reload(serve: Serve, authority: Authority) -> None:
    files = authority.files("to-be-renewed")
    served = serve(scheme="https", **files)
    assert ask(served, CLEAN, tls=authority.client(None)).status == 200
    another = Authority(authority.folder.parent / "renewed")
    for key, path in another.files("icapd").items():
        Path(files[key]).write_bytes(Path(path).read_bytes())
    assert reload(served).result == "reloaded"

    def is_refused(signer: Authority) -> bool:
        try:
            return ask(served, CLEAN, tls=signer.client(None)).status != 200
        except ssl.SSLError:
            return True

    wait_until(lambda: is_refused(authority), "the front shows the new certificate")
    assert not is_refused(another)


def test_plain_http_on_a_tls_port_is_no_request(encrypted: Server, authority: Authority) -> None:
    with encrypted.connect() as client:
        client.sendall(b"POST /scan HTTP/1.1\r\nHost: icapd\r\nContent-Length: 0\r\n\r\n")
        assert b"HTTP/1.1 200" not in client.recv(65536)
    assert ask(encrypted, CLEAN, tls=authority.client(None), **headers_of()).status == 200
