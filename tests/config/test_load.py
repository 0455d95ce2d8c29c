"""Layers: defaults, file, environment, command line; paths; what a loaded configuration offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from icapd.config.load import load
from icapd.config.schema import Settings
from icapd.config.shipped import resolve, shipped_conf
from icapd.policy.facts import Action, Decision, Facts
from icapd.policy.page import PageFacts
from icapd.scan.model import ScanReport, Verdict
from tests.config.conftest import SPECS, ListOptions, Load, RemoteOptions


def test_no_file_gives_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load(None, SPECS, environ={})
    assert loaded.settings == Settings(engines={"lists": ListOptions(), "far-away": RemoteOptions()})
    assert loaded.base == tmp_path
    assert loaded.settings.server.policy == "balanced"
    assert [service.path for service in loaded.settings.service] == [
        "/respmod",
        "/reqmod",
        "/scan",
        "/avscan",
        "/echo",
    ]


def test_an_empty_file_gives_the_defaults_too(load_text: Load, tmp_path: Path) -> None:
    assert load_text().settings == load(None, SPECS, environ={}).settings
    assert load_text().base == tmp_path


def test_file_then_environment_then_command_line(load_text: Load) -> None:
    text = "[limits]\nhead_bytes = 2048\nheader_count = 20\ntrailer_bytes = 1\n"
    environ = {"ICAPD_LIMITS__HEADER_COUNT": "30", "ICAPD_LIMITS__TRAILER_BYTES": "2"}
    limits = load_text(text, {"limits.trailer_bytes": "3"}, environ).settings.limits
    assert (limits.head_bytes, limits.header_count, limits.trailer_bytes) == (2048, 30, 3)


def test_nested_tables_and_engines_are_reached_from_outside(load_text: Load, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 32)
    (tmp_path / "secret").chmod(0o600)
    environ = {
        "ICAPD_CACHE__MEMCACHED__SERVERS": '["127.0.0.1:11211", "unix:/run/m"]',
        "ICAPD_CACHE__SECRET_FILE": "secret",
        "ICAPD_ENGINES__LISTS__RULES": "a,b.yar",
        "ICAPD_ENGINES__FAR_AWAY__ENABLED": "false",
        "ICAPD_SERVICE": '[{ path = "/only" }]',
        "PATH": "/bin",
    }
    settings = load_text("", {"engines.lists.depth": "9"}, environ).settings
    assert settings.cache.memcached.servers == ["127.0.0.1:11211", "unix:/run/m"]
    assert settings.engines["lists"].rules == ["a,b.yar"]
    assert settings.engines["lists"].depth == 9
    assert not settings.engines["far-away"].enabled
    assert [service.path for service in settings.service] == ["/only"]


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("log.level", "debug", "debug"),
        ("log.level", '"debug"', "debug"),
        ("pages.contact", "4711", "4711"),
        ("pages.contact", "a\nb = 1", "a\nb = 1"),
        ("pages.contact", '"a"\nb = 1', '"a"\nb = 1'),
        ("timeouts.scan_s", "7", 7.0),
        ("server.fronts", "3", 3),
        ("server.fronts", "auto", "auto"),
        ("server.listen", "icap://[::1]:1344", ["icap://[::1]:1344"]),
        ("delivery.drip_on_stall", "false", False),
        ("limits.body_bytes", "1_000_000", 1_000_000),
        ("engines.lists.label", "5", "5"),
    ],
)
def test_a_value_from_outside_takes_the_form_its_key_wants(
    load_text: Load, key: str, text: str, value: object
) -> None:
    found: object = load_text("", {key: text}).settings
    for name in key.split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    assert found == value
    assert type(found) is type(value)


def test_what_kubernetes_puts_into_the_environment_is_no_mistake(load_text: Load) -> None:
    names = [
        "ICAPD_SERVICE_HOST",
        "ICAPD_SERVICE_PORT",
        "ICAPD_SERVICE_PORT_ICAP",
        "ICAPD_PORT",
        "ICAPD_PORT_1344_TCP",
        "ICAPD_PORT_1344_TCP_ADDR",
        "ICAPD_EDGE_SERVICE_HOST",
        "ICAPD_EDGE_PORT_1344_TCP_PROTO",
    ]
    assert load_text(environ=dict.fromkeys(names, "tcp://192.0.2.1:1344")).settings == load_text().settings


def test_paths_start_at_the_file_and_conf_falls_back_to_what_is_shipped(load_text: Load, tmp_path: Path) -> None:
    loaded = load_text()
    assert loaded.resolve("rules/own.yar") == tmp_path / "rules/own.yar"
    assert loaded.resolve("/etc/rules") == Path("/etc/rules")
    assert loaded.resolve("conf/pages/block.html") == shipped_conf() / "pages/block.html"
    (tmp_path / "conf" / "pages").mkdir(parents=True)
    (tmp_path / "conf" / "pages" / "block.html").write_text("mine")
    assert loaded.resolve("conf/pages/block.html") == tmp_path / "conf/pages/block.html"
    assert resolve(tmp_path, "conf2/x") == tmp_path / "conf2/x"


def test_the_shipped_tree_is_there() -> None:
    assert (shipped_conf() / "policies" / "strict.toml").is_file()
    assert (shipped_conf() / "pages" / "block.html").is_file()


def test_each_service_has_its_policy_and_each_decision_its_page(load_text: Load, tmp_path: Path) -> None:
    (tmp_path / "exe.html").write_text("no programs: {{ rule }}")
    loaded = load_text(
        """
        [server]
        policy = "open"
        [[service]]
        path = "/a"
        [[service]]
        path = "/b"
        policy = "strict"
        [[policy]]
        name = "exe"
        when = { extension = "exe", service = "/a" }
        action = "block"
        page = "exe.html"
        """
    )
    a, b = loaded.settings.service
    failed = Facts(report=ScanReport(Verdict.ERROR))
    assert loaded.policy_of(a).decide(failed).action is Action.MONITOR
    assert loaded.policy_of(b).decide(failed).action is Action.BLOCK
    blocked = loaded.policy_of(a).early(Facts(service="/a", extension="exe"))
    assert blocked is not None
    assert loaded.page_of(blocked).render(PageFacts(Verdict.NOT_SCANNED, "exe")) == b"no programs: exe"
    plain = loaded.page_of(Decision(Action.BLOCK, "malicious")).render(PageFacts(Verdict.MALICIOUS, "malicious"))
    assert b"<main" in plain


def test_a_configured_page_replaces_the_shipped_one(load_text: Load, tmp_path: Path) -> None:
    (tmp_path / "own.html").write_text("own")
    loaded = load_text('[pages]\nblock = "own.html"\n')
    assert loaded.page_of(Decision(Action.BLOCK, "r")).render(PageFacts(Verdict.ERROR, "r")) == b"own"
