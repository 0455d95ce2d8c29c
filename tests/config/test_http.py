"""`[http]`: off by default; who may be served, and which files are good."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from icapd.config.http_files import read_http_files
from tests.config.conftest import Load, Refuse
from tests.support.tls import Authority

TOKEN = "x" * 20


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"# comment\n\n  {TOKEN}  \n")
    path.chmod(0o640)
    return path


def test_it_is_off_by_default(load_text: Load) -> None:
    assert load_text().settings.http.listen == []


def test_tokens_are_read_as_digests_alone(load_text: Load, tokens: Path) -> None:
    loaded = load_text('[http]\nlisten = ["http://192.0.2.1:8344"]\ntokens_file = "tokens"\n')
    files = read_http_files(loaded.settings.http, loaded.resolve)
    assert files.token_digests == [hashlib.sha256(TOKEN.encode()).digest()]
    assert TOKEN not in repr(files)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('listen = ["http://127.0.0.1:8344"]', "http.listen[0]"),
        ('listen = ["http://192.0.2.1"]\ninsecure_no_token = true', "http.listen[0]"),
        ('listen = ["http://localhost.example"]\ninsecure_no_token = true', "http.listen[0]"),
        ('listen = ["http://127.0.0.1"]\ntokens_file = "tokens"\ninsecure_no_token = true', "http.insecure_no_token"),
        ('listen = ["https://127.0.0.1"]\ntokens_file = "tokens"', "http.listen[0]"),
        ('listen = ["http://127.0.0.1"]\nclient_ca = "tokens"', "http.listen[0]"),
        ('listen = ["ftp://127.0.0.1"]', "http.listen[0]"),
        ('listen = ["http://127.0.0.1/scan"]', "http.listen[0]"),
        ('listen = ["http://127.0.0.1:9344"]\ntokens_file = "tokens"', "http.listen[0]"),
        ('listen = ["http://127.0.0.1"]\ntokens_file = "missing"', "http.tokens_file"),
        ('listen = ["http://127.0.0.1"]\ntokens_file = "tokens"\ncertificate = "tokens"', "http"),
        (
            'listen = ["http://127.0.0.1"]\ntokens_file = "tokens"\nmax_body_bytes = 2_000_000_000',
            "http.max_body_bytes",
        ),
        ('listen = ["http://127.0.0.1"]\ntokens_file = "tokens"\nengines = ["nosuch"]', "http.engines"),
        ('listen = ["http://127.0.0.1"]\ntokens_file = "tokens"\nengines = []', "http.engines"),
    ],
)
def test_what_cannot_be_meant(refuse_text: Refuse, tokens: Path, text: str, where: str) -> None:
    assert where in refuse_text(f"[http]\n{text}\n")


def test_loopback_without_a_token_where_the_operator_says_so(load_text: Load) -> None:
    for host in ("127.0.0.1", "[::1]", "localhost"):
        assert load_text(f'[http]\nlisten = ["http://{host}"]\ninsecure_no_token = true\n').settings.http.listen


@pytest.mark.parametrize(
    "content", ["", "# only a comment\n", "x" * 19, "with a blank in the token\n", "ünïcödé-tökéns-äré-nöné"]
)
def test_files_without_a_good_token(refuse_text: Refuse, tokens: Path, content: str) -> None:
    tokens.write_text(content)
    found = refuse_text('[http]\nlisten = ["http://127.0.0.1"]\ntokens_file = "tokens"\n')
    assert list(found) == ["http.tokens_file"]
    assert not content.strip() or content.strip() not in str(found)


def test_secrets_that_every_user_can_read(refuse_text: Refuse, tokens: Path, tmp_path: Path) -> None:
    keys = Authority(tmp_path / "ca").files("icapd")
    tokens.chmod(0o644)
    Path(keys["private_key"]).chmod(0o604)
    text = "".join(f'{key} = "{path}"\n' for key, path in keys.items())
    found = refuse_text(f'[http]\nlisten = ["https://127.0.0.1"]\ntokens_file = "tokens"\n{text}')
    assert sorted(found) == ["http.private_key", "http.tokens_file"]


def test_certificates_that_fit_no_key_or_are_none(refuse_text: Refuse, load_text: Load, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    own, other = authority.files("icapd"), authority.files("other")
    start = f'[http]\nlisten = ["https://127.0.0.1"]\ncertificate = "{own["certificate"]}"\n'
    ca = f'client_ca = "{authority.certificate}"\n'
    assert load_text(f'{start}private_key = "{own["private_key"]}"\n{ca}').settings.http.client_ca
    assert list(refuse_text(f'{start}private_key = "{other["private_key"]}"\n{ca}')) == ["http.certificate"]
    found = refuse_text(f'{start}private_key = "{own["private_key"]}"\nclient_ca = "{own["private_key"]}"\n')
    assert list(found) == ["http.client_ca"]
