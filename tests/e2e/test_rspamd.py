"""What a real Rspamd makes of mails that icapd judges for it."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from tests.support.eicar import EICAR
from tests.support.icapd import Icapd
from tests.support.ports import free_port
from tests.support.rspamd import FAILED, SYMBOL, Rspamd

LIMIT_BYTES = 50_000


def mail(attachment: bytes) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@mail.example", "b@mail.example", "Hello"
    message["Message-ID"], message["Date"] = "<1@mail.example>", "Fri, 20 Nov 2026 20:17:10 +0000"
    message.set_content("The report is attached.\n")
    message.add_attachment(attachment, maintype="application", subtype="octet-stream", filename="report.bin")
    return message.as_bytes()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Icapd]:
    tables: dict[str, Any] = {
        "service": [
            {"path": "/mail", "profile": "rspamd", "max_body_bytes": LIMIT_BYTES, "policy": "open"},
            {"path": "/scan", "max_body_bytes": LIMIT_BYTES},
        ]
    }
    with Icapd(tmp_path_factory.mktemp("icapd"), tables) as running:
        yield running


@pytest.fixture(scope="module", params=["mail", "scan"])
def rspamd(request: pytest.FixtureRequest, server: Icapd) -> Iterator[Rspamd]:
    """Asks the service of its own profile, and one that knows nothing of it."""
    with Rspamd(server.port, request.param) as running:
        yield running


def test_a_clean_mail_gets_no_symbol(server: Icapd, rspamd: Rspamd) -> None:
    before = len(server.access_lines(verdict="CLEAN"))
    symbols = rspamd.check(mail(b"Nothing of interest.\n"))
    assert not {SYMBOL, FAILED} & symbols.keys()
    assert len(server.access_lines(before + 1, verdict="CLEAN")) > before, "it was asked"


def test_a_mail_with_the_test_file_is_named_as_icapd_names_it(server: Icapd, rspamd: Rspamd) -> None:
    symbols = rspamd.check(mail(EICAR))
    [line, *_] = server.access_lines(1, verdict="MALICIOUS")
    assert symbols[SYMBOL] == [line["findings"][0]]
    assert FAILED not in symbols


def test_what_is_past_the_limit_is_a_failed_scan_and_no_virus(rspamd: Rspamd) -> None:
    symbols = rspamd.check(mail(b"x" * (LIMIT_BYTES + 1)))
    assert SYMBOL not in symbols
    assert "max_body_bytes" in str(symbols[FAILED])


@pytest.mark.parametrize("attachment", [b"Nothing of interest.\n", EICAR], ids=["clean", "eicar"])
def test_without_icapd_the_scan_has_failed(tmp_path: Path, attachment: bytes) -> None:
    with Rspamd(free_port(), "mail") as rspamd:
        symbols = rspamd.check(mail(attachment))
    assert FAILED in symbols
    assert SYMBOL not in symbols
