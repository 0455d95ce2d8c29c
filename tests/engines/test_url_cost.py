"""What looking up hosts that are not remembered costs, in instructions of Python: most run in some 10 ns."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from engines.urls.engine import HOSTS_KEPT, UrlLists
from tests.engines.test_urls import made, names
from tests.support.steps import steps


@pytest.fixture
def engine(tmp_path: Path) -> UrlLists:
    """With a list of each kind, and no host remembered."""
    (tmp_path / "hosts").write_text("".join(f"0.0.0.0 h{number}.example.org\n" for number in range(5000)))
    (tmp_path / "domains").write_text("".join(f"d{number}.example.net\n" for number in range(5000)))
    (tmp_path / "urls").write_text("".join(f"u{number}.example.com/a/b/c\n" for number in range(5000)))
    engine = made(tmp_path, {"path": "hosts"}, {"path": "domains"}, {"path": "urls"})
    for kind in ("h1.example.org", "d1.example.net", "x.d1.example.net", "u1.example.com"):
        assert names(engine, f"{kind}/a/b/c/d.html")
    return engine


@pytest.mark.parametrize(
    ("host", "most"),
    [("h{}.example.org", 310), ("d{}.example.net", 310), ("x.d{}.example.net", 360), ("u{}.example.com", 790)],
)
def test_what_is_listed(engine: UrlLists, host: str, most: int) -> None:
    hosts = [host.format(number) for number in range(2, 1002)]
    taken = sorted(steps(partial(engine.look_up, host, "", b"http://h/a/b/c/d.html")) for host in hosts)
    assert 100 < taken[500] < most
    assert taken[-1] < most + 200  # names that the filter takes for listed


def test_what_is_on_no_list(engine: UrlLists) -> None:
    hosts = [f"n{number}.example.org" for number in range(1000)]
    taken = sorted(steps(partial(engine.look_up, host, "", b"/")) for host in hosts)
    assert 100 < taken[500] < 270


def test_what_is_remembered(engine: UrlLists) -> None:
    assert steps(lambda: engine.look_up("h1.example.org", "", b"/")) < 30


def test_hosts_are_remembered_up_to_a_number(engine: UrlLists) -> None:
    for number in range(HOSTS_KEPT - len(engine._hosts)):
        engine.look_up(f"n{number}.example", "", b"/")
    assert len(engine._hosts) == HOSTS_KEPT
    engine.look_up("one-more.example", "", b"/")
    assert [*engine._hosts] == ["one-more.example"]
