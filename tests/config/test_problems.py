"""Every kind of problem once, with its place and its words; and all of them together."""

from __future__ import annotations

from pathlib import Path

import pytest

from icapd.config.load import load
from icapd.errors import ConfigurationError
from icapd.plugins import installed_specs
from tests.config.conftest import SPECS, Load, Refuse

SERVICE = '[[service]]\npath = "/a"\n'
RULE = '[[policy]]\nname = "r"\naction = "block"\n'


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("[server]\nmax_connections = '5'", "server.max_connections", 'must be a whole number, not "5"'),
        ("[server]\nmax_connections = 5.0", "server.max_connections", "must be a whole number, not 5.0"),
        ("[server]\nmax_connections = 0", "server.max_connections", "must be at least 1, not 0"),
        ("[server]\nfronts = 65", "server.fronts", 'must be "auto" or at most 64, not 65'),
        ("[server]\nfronts = 'many'", "server.fronts", 'must be "auto" or a whole number, not "many"'),
        ("[server]\nlisten = []", "server.listen", "must be a list of at least 1, not []"),
        ("[server]\nlisten = 'icap://a'", "server.listen", 'must be a list, not "icap://a"'),
        ("[server]\nlisten = ['http://a']", "server.listen[0]", '"http://a": wants icap://HOST:PORT'),
        ("[server]\nadmin = 'icap://a'", "server.admin", '"icap://a": wants http://HOST:PORT'),
        ("[server]\nallow_clients = ['::1', 'x']", "server.allow_clients[1]", "\"x\": 'x' does not appear"),
        ("[timeouts]\nscan_s = 0", "timeouts.scan_s", "must be above 0, not 0"),
        ("[timeouts]\nscan_s = nan", "timeouts.scan_s", "must be "),
        ("[timeouts]\nscan_s = '5'", "timeouts.scan_s", 'must be a number, not "5"'),
        ("[delivery]\ndrip_on_stall = 1", "delivery.drip_on_stall", "must be true or false, not 1"),
        ("[log]\nlevel = 'loud'", "log.level", 'must be "debug", "info", "warning" or "error", not "loud"'),
        ("[log]\nlevel = 5", "log.level", "must be "),
        ("[pages]\ncontact = 5", "pages.contact", "must be a string, not 5"),
        (f"[pages]\ncontact = '{'x' * 201}'", "pages.contact", "must be at most 200 characters long"),
        ("[spool]\ndirectory = ''", "spool.directory", 'must be at least 1 characters long, not ""'),
        ("log = 5", "log", "must be a table, not 5"),
        ("[[log]]", "log", "must be a table, not [{}]"),
        ("engines = 5", "engines", "must be a table"),
        ("[engines]\nlists = 5", "engines.lists", "must be a table, not 5"),
        ("[engines.lists]\ndepth = 10", "engines.lists.depth", "must be at most 9, not 10"),
        ("[engines.lists]\nrule = []", "engines.lists.rule", "unknown key; did you mean rules?"),
        ("[engines.list]", "engines.list", "no such engine is installed; did you mean lists?"),
        ("[servr]", "servr", "unknown key; did you mean server?"),
        ("[limits]\nhead_byte = 1", "limits.head_byte", "unknown key; did you mean head_bytes?"),
        ("[cache.memcached]\nserver = 1", "cache.memcached.server", "unknown key; did you mean servers?"),
        ("[limits]\nzzz = 1", "limits.zzz", "unknown key"),
        (SERVICE + "engins = []", "service[0].engins", "unknown key; did you mean engines?"),
        (SERVICE + "methods = ['GET']", "service[0].methods[0]", 'must be "REQMOD" or "RESPMOD", not "GET"'),
        (SERVICE + "preview_bytes = 65537", "service[0].preview_bytes", "must be at most 65536, not 65537"),
        (SERVICE + "[[service]]\nscan = true", "service[1].path", "is missing"),
        ("[[service]]\npath = 'a'", "service[0].path", "must be of the form"),
        (RULE + "when = { verdikt = 'x' }", "policy[0].when.verdikt", "unknown key; did you mean verdict?"),
        (RULE + "when = { verdict = 5 }", "policy[0].when.verdict", "must be a string or a list, not 5"),
        (RULE + "when = { verdict = [5] }", "policy[0].when.verdict", "must be a string"),
        (
            RULE + "when = { verdict = 'CLEEN' }",
            "policy[0].when.verdict",
            '"CLEEN": is no verdict; did you mean CLEAN?',
        ),
        ("[[policy]]\nname = 'a b'\naction = 'block'", "policy[0].name", "must be of the form"),
        (
            "[[policy]]\nname = 'a'\naction = 'deny'",
            "policy[0].action",
            'must be "allow", "block", "monitor" or "redirect"',
        ),
        ("[[policy]]\nname = 'a'", "policy[0].action", "is missing"),
        (RULE + RULE, "policy[1].name", '"r" is the name of policy[0] already'),
        (
            RULE.replace('"r"', '"encrypted"'),
            "policy[0].name",
            "is the name of a rule of the shipped policy balanced",
        ),
        (RULE + "page = 'none.html'", "policy[0].page", "cannot read "),
        (
            RULE + "when = { service = '/respmot' }",
            "policy[0].when.service",
            "no service /respmot; did you mean /respmod?",
        ),
        (
            RULE + "when = { service = '/virus_scan' }",
            "policy[0].when.service",
            "is an alias; name the service by its path",
        ),
        (
            "[[delivery.rule]]\nmode = 'stream'\nwhen = { service = '/respmot' }",
            "delivery.rule[0].when.service",
            "no service /respmot; did you mean /respmod?",
        ),
        (SERVICE + SERVICE, "service[1].path", "/a is taken by service[0].path already"),
        (SERVICE + "aliases = ['/b', '/a']", "service[0].aliases[1]", "/a is taken by service[0].path already"),
        (
            SERVICE + "max_body_bytes = 1073741825",
            "service[0].max_body_bytes",
            "is past limits.body_bytes, 1073741824",
        ),
        (
            SERVICE + "preview_bytes = 9\nmax_body_bytes = 8",
            "service[0].preview_bytes",
            "more than a whole body may have",
        ),
        (SERVICE + "engines = ['list']", "service[0].engines", 'no engine "list" is installed; did you mean lists?'),
        (SERVICE + "engines = []", "service[0].engines", "nothing would be scanned"),
        (
            SERVICE + "engines = ['lists']\n[engines.lists]\nenabled = false",
            "service[0].engines",
            '"lists" is switched off by engines.lists.enabled',
        ),
        ("engines = { lists.enabled = false, far-away.enabled = false }", "engines", "all are switched off"),
        (
            "[server]\nlisten = ['icap://a', 'icap://a:1344']",
            "server.listen[1]",
            "is taken by server.listen[0] already",
        ),
        ("[server]\nlisten = ['unix:/a', 'unix:/a']", "server.listen[1]", "unix:/a is taken by server.listen[0]"),
        ("[server]\nlisten = ['icap://127.0.0.1:9344']", "server.listen[0]", "is taken by server.admin already"),
        ("[spool]\nmemory_bytes = 1048577\ntotal_memory_bytes = 1048576", "spool.total_memory_bytes", "is less than"),
        ("[spool]\ndirectory = 'missing'", "spool.directory", "No such file or directory"),
        ("[spool]\ndirectory = '/proc'", "spool.directory", "cannot make a file in /proc"),
        ("[cache.memcached]\nservers = ['a:1']", "cache.memcached.servers", "needs cache.secret_file"),
        ("[cache.memcached]\nservers = ['a']", "cache.memcached.servers[0]", "must be of the form"),
        ("[cache.disk]\ndirectory = 'icapd.toml'", "cache.disk.directory", "cannot write to"),
        ("[cache.disk]\nmax_bytes = 16777215", "cache.disk.max_bytes", "must be at least"),
        ("[cache]\nsecret_file = 'missing'", "cache.secret_file", "No such file or directory"),
        ("[cache]\nsecret_file = '.'", "cache.secret_file", "Is a directory"),
        ("[pages]\noverride_secret_file = 'missing'", "pages.override_secret_file", "No such file or directory"),
        ("[pages]\noverride_ttl_s = 9", "pages.override_ttl_s", "must be at least"),
        ("[pages]\noverride_ttl_s = 86401", "pages.override_ttl_s", "must be at most"),
        (
            "[[policy]]\nname = 'a'\naction = 'block'\noverride = true",
            "policy[0].override",
            "needs pages.override_secret_file",
        ),
        (
            "[[policy]]\nname = 'a'\naction = 'monitor'\noverride = true",
            "policy[0].override",
            'is for action = "block"',
        ),
        ("[log]\naccess = 'missing/access.log'", "log.access", "does not exist"),
        ("[log]\naccess = '/tmp'", "log.access", "/tmp is a folder"),
        ("[pages]\nblock = 'none.html'", "pages.block", "No such file or directory"),
        ("[pages]\nblock = 'icapd.toml' # {% if %}", "pages.block", "line 2: "),
        ("[pages]\nblock = 'icapd.toml' # {{ nothing }}", "pages.block", "'nothing' is undefined"),
    ],
)
def test_each_problem_names_its_key_and_what_is_wrong(refuse_text: Refuse, text: str, where: str, what: str) -> None:
    problems = refuse_text(text)
    assert list(problems) == [where]
    assert what in problems[where]


@pytest.mark.parametrize(
    "text",
    [
        "[server]\nfronts = 64\nmax_connections = 1",
        "[server]\nlisten = ['icap://a:0', 'icap://a:0']",
        SERVICE + "preview_bytes = 65536",
        SERVICE + "max_body_bytes = 1073741824",
        SERVICE + "preview_bytes = 8\nmax_body_bytes = 8",
        SERVICE + "scan = false\nengines = []",
        SERVICE + "scan = false\n[engines]\nlists.enabled = false\nfar-away.enabled = false",
        "[engines]\nlists.enabled = false",
        "[spool]\nmemory_bytes = 1048576\ntotal_memory_bytes = 1048576",
        "[cache.disk]\nmax_bytes = 16777216",
        "[timeouts]\nscan_s = 3600",
        "[log]\naccess = 'off'",
        "[log]\naccess = 'access.log'",
        f"[pages]\ncontact = '{'x' * 200}'",
        RULE + "when = { service = ['/respmod', '/echo'] }",
    ],
)
def test_what_is_just_allowed_is_allowed(load_text: Load, text: str) -> None:
    load_text(text)


def test_a_policy_with_an_open_outcome_is_refused_by_name(load_text: Load) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_text('[server]\npolicy = "custom"\n' + RULE + 'when = { verdict = ["CLEAN", "ERROR"] }')
    named = {problem.what for problem in refused.value.problems}
    assert "custom: no rule answers the outcome limit in every case" in named
    assert {problem.where for problem in refused.value.problems} == {"policy"}
    assert len(named) == 9


@pytest.mark.parametrize(
    ("content", "mode", "what"),
    [
        (b"x" * 32, 0o640, None),
        (b"x" * 31, 0o600, "has 31 bytes; at least 32 are needed"),
        (b"x" * 32, 0o644, "is open to every user of this machine"),
        (b"x" * 32, 0o602, "is open to every user of this machine"),
    ],
)
def test_a_secret_is_long_enough_and_secret(
    load_text: Load, refuse_text: Refuse, tmp_path: Path, content: bytes, mode: int, what: str | None
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(content)
    secret.chmod(mode)
    text = "[cache]\nsecret_file = 'secret'\nmemcached = { servers = ['a:1'] }"
    if what is None:
        assert load_text(text).settings.cache.secret_file == "secret"
    else:
        assert what in refuse_text(text)["cache.secret_file"]
        assert what in refuse_text("[pages]\noverride_secret_file = 'secret'")["pages.override_secret_file"]


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("[server]\nfronts = \n", ", line 2", "is not TOML: Invalid value"),
        ("[log]\n[log]\n", ", line 2", "is not TOML: "),
        ('a = "', ", end of document", "is not TOML: Unterminated string"),
    ],
)
def test_a_syntax_error_names_its_line(refuse_text: Refuse, tmp_path: Path, text: str, place: str, what: str) -> None:
    ((where, said),) = refuse_text(text).items()
    assert where == f"{tmp_path / 'icapd.toml'}{place}"
    assert said.startswith(what)


@pytest.mark.parametrize(
    ("content", "what"),
    [(None, "cannot be read: No such file"), (b"a = '\xff'", "is not UTF-8 at byte 5")],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, what: str) -> None:
    path = tmp_path / "icapd.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        load(path, SPECS, environ={})
    assert str(refused.value).startswith(f"{path}: {what}")


@pytest.mark.parametrize(
    ("environ", "where", "what"),
    [
        ({"ICAPD_CACHE__TTL_CLEAN": "5"}, "ICAPD_CACHE__TTL_CLEAN", "no such key; did you mean cache.ttl_clean_s?"),
        ({"ICAPD_LOG": "debug"}, "ICAPD_LOG", "there is no such key"),
        ({"ICAPD_ENGINES__LISTS__DEEP": "5"}, "ICAPD_ENGINES__LISTS__DEEP", "did you mean engines.lists.depth?"),
        ({"ICAPD_LOG__LEVEL": "loud"}, "log.level (ICAPD_LOG__LEVEL)", 'not "loud"'),
        ({"ICAPD_SERVER__LISTEN": "x"}, "server.listen[0] (ICAPD_SERVER__LISTEN)", "wants icap://"),
        (
            {"ICAPD_DELIVERY__DRIP_ON_STALL": "maybe"},
            "delivery.drip_on_stall (ICAPD_DELIVERY__DRIP_ON_STALL)",
            "true",
        ),
        (
            {"ICAPD_ENGINES__FAR_AWAY__TIMEOUT_S": "0"},
            "engines.far-away.timeout_s (ICAPD_ENGINES__FAR_AWAY__TIMEOUT_S)",
            "0",
        ),
    ],
)
def test_a_problem_from_the_environment_names_the_variable(
    refuse_text: Refuse, environ: dict[str, str], where: str, what: str
) -> None:
    problems = refuse_text(environ=environ)
    assert list(problems) == [where]
    assert what in problems[where]


def test_a_problem_from_the_command_line_names_the_key(refuse_text: Refuse) -> None:
    problems = refuse_text(overrides={"server.lissen": "x", "server.admin": "x"})
    assert problems["server.lissen"] == "there is no such key; did you mean server.listen?"
    assert "wants http://" in problems["server.admin"]


def test_an_override_below_a_plain_value_leaves_that_problem_alone(refuse_text: Refuse) -> None:
    assert list(refuse_text("log = 5", {"log.level": "debug"})) == ["log"]


def test_everything_wrong_is_said_at_once(refuse_text: Refuse) -> None:
    problems = refuse_text(
        """
        [limits]
        head_bytes = 1
        [spool]
        directory = "missing"
        [engines.lists]
        depth = 0
        [cache.memcached]
        servers = ["a:1"]
        [pages]
        block = "missing"
        [[policy]]
        name = "r"
        action = "block"
        when = { host = "http://x" }
        """,
        {"log.color": "red"},
        {"ICAPD_LOG__LEVEL": "loud"},
    )
    assert set(problems) == {
        "limits.head_bytes",
        "spool.directory",
        "engines.lists.depth",
        "cache.memcached.servers",
        "pages.block",
        "policy[0].when.host",
        "log.color",
        "log.level (ICAPD_LOG__LEVEL)",
    }


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[server]\npolicy = "custom"\n[[policy]]\nname = "all"\naction = "permit"\n', "policy[0].action"),
        ("[limits]\nbody_bytes = '9'\n" + SERVICE + "max_body_bytes = 2147483648\n", "limits.body_bytes"),
        (SERVICE + "scan = 1\n" + RULE + "when = { service = '/a' }\n", "service[0].scan"),
        ("[cache]\nsecret_file = 5\nmemcached = { servers = ['a:1'] }\n", "cache.secret_file"),
    ],
)
def test_what_stands_in_for_a_wrong_section_is_not_judged(refuse_text: Refuse, text: str, where: str) -> None:
    assert list(refuse_text(text)) == [where]


def test_rule_files_and_lists_are_told_of_beside_wrong_keys(tmp_path: Path) -> None:
    (tmp_path / "bad.yar").write_text("rule a {\n condition: nothing_of_that_name\n}\n")
    (tmp_path / "list.txt").write_text("not a digest\n")
    file = tmp_path / "icapd.toml"
    engines = '[engines.yara]\nrules = ["bad.yar"]\n[engines.hashes]\ndeny = ["list.txt"]\n'
    file.write_text("[server]\nbogus = 1\n" + engines)
    with pytest.raises(ConfigurationError) as raised:
        load(file, installed_specs(), environ={})
    places = [problem.where for problem in raised.value.problems]
    assert "server.bogus" in places
    assert any("bad.yar:2" in place for place in places)
    assert any("list.txt:1" in place for place in places)


def test_values_that_nothing_can_use_are_named_each(refuse_text: Refuse) -> None:
    problems = refuse_text(
        '[limits]\nbody_bytes = 99999999999999999999\n[server]\nlisten = ["unix:/run/a\\u0000b"]\n'
        '[spool]\ndirectory = "a\\u0000b"\n[engines.lists]\nrules = ["a", "\\u0000"]\n'
    )
    assert set(problems) == {"limits.body_bytes", "server.listen[0]", "spool.directory", "engines.lists.rules[1]"}
    assert problems["limits.body_bytes"] == "must be at most 9223372036854775807, not 99999999999999999999"


def test_the_largest_number_is_one(load_text: Load) -> None:
    assert load_text(f"[limits]\nbody_bytes = {(1 << 63) - 1}\n").settings.limits.body_bytes == (1 << 63) - 1
