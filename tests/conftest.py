"""Fixtures for every test: the real parts of tests.support, and their logs in the report of a test that failed."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.icapd import Icapd
from tests.support.origin import Origin
from tests.support.process import Running
from tests.support.squid import Squid

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it runs in the background so, and what we start would inherit it and never see a Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin() as running:
        yield running


@pytest.fixture(scope="module")
def icapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Icapd]:
    """A server with all shipped rules; a module that needs another configuration has its own fixture."""
    directory: Path = tmp_path_factory.mktemp("icapd")
    with Icapd(directory, {"engines": {"yara": {"rules": ["conf/rules"]}}}) as running:
        yield running


@pytest.fixture(scope="module")
def squid(icapd: Icapd) -> Iterator[Squid]:
    """Squid that asks `icapd` at both vectoring points."""
    with Squid(reqmod=icapd.url("/reqmod"), respmod=icapd.url("/respmod")) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Running):
                report.sections.append((f"logs of {name}", value.logs()))
    return report
