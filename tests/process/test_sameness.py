"""One configuration judges by one ruleset: in every front, on every node, and after a respawn."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.process.conftest import Serve
from tests.process.servers import CLEAN, ask, trees, verdict, wait_ready
from tests.support.icap_client import IcapClient
from tests.support.icapd import ICAPD, Icapd, environment
from tests.support.process import Child, wait_until
from tests.support.tree import kill

RULE = 'rule %s { meta: kind = "malware" strings: $a = "%s" condition: $a }\n'
CLIENTS = 24


def istags(server: Icapd) -> set[str | None]:
    """Of replies on many connections, which the kernel spreads over the fronts."""

    def one(number: int) -> set[str | None]:
        with IcapClient(server.address) as client:
            return {client.options(service).header("ISTag") for service in ("/scan", "/reqmod", "/respmod")}

    with ThreadPoolExecutor(8) as asking:
        tags = set().union(*asking.map(one, range(CLIENTS)))
    tags.add(ask(server, CLEAN).header("ISTag"))
    return tags


def test_one_istag_everywhere(serve: Serve, tmp_path: Path) -> None:
    """Over two fronts, and over two servers whose configuration lies in different folders."""
    overrides = {
        "server": {"fronts": 2},
        "engines": {"yara": {"rules": ["rules", "conf/rules/eicar.yar"]}, "hashes": {"deny": ["lists/bad.txt"]}},
    }
    servers = []
    for number in range(2):
        folder = tmp_path / f"server-{number}"
        (folder / "rules").mkdir(parents=True)
        (folder / "lists").mkdir()
        (folder / "rules" / "own.yar").write_text(RULE % ("own", "needle"))
        (folder / "lists" / "bad.txt").write_text(f"{'a' * 64} Some.Malware\n")
        servers.append(serve(overrides))

    assert len(istags(servers[0]) | istags(servers[1])) == 1
    assert [verdict(ask(server, b"a needle")) for server in servers] == ["MALICIOUS"] * 2


def test_a_changed_rule_file_changes_nothing_until_the_next_start(serve: Serve, tmp_path: Path) -> None:
    rules = tmp_path / "server-0" / "rules"
    rules.mkdir(parents=True)
    (rules / "own.yar").write_text(RULE % ("before", "needle"))
    server = serve({"engines": {"yara": {"rules": ["rules"]}}, "cache": {"memory": {"max_bytes": 0}}})
    [before] = istags(server)
    (rules / "own.yar").write_text(RULE % ("after", "pin"))
    (rules / "broken.yar").write_text("rule {")

    def judges_as_before() -> bool:
        replies = [ask(server, body) for body in (b"a needle", b"a pin")]
        return [verdict(reply) for reply in replies] == ["MALICIOUS", "CLEAN"] and istags(server) == {before}

    [tree] = trees(server)
    for pid in tree.scanners:
        kill(pid)
    trees(server)
    assert judges_as_before()
    kill(tree.nursery)
    trees(server)
    assert judges_as_before()
    kill(tree.pid)
    shutil.rmtree(rules)
    [again] = trees(server)
    assert again.pid != tree.pid
    wait_ready(server)
    assert judges_as_before()

    assert server.stop() == 0
    rules.mkdir()
    (rules / "own.yar").write_text(RULE % ("after", "pin"))
    with Child([ICAPD, "serve", "--config", str(server.configuration)], server.child.log, env=environment()) as child:
        child.wait_until(lambda: server.admin("/readyz")[0] == 200, "GET /readyz answers 200")
        assert [verdict(ask(server, body)) for body in (b"a needle", b"a pin")] == ["CLEAN", "MALICIOUS"]
        assert before not in istags(server)


def test_metrics_are_the_sums_over_all_fronts(serve: Serve) -> None:
    server = serve({"server": {"fronts": 2}})
    count = 60
    with ThreadPoolExecutor(8) as asking:
        replies = list(asking.map(lambda number: ask(server, CLEAN + b"%d" % number), range(count)))

    assert [verdict(reply) for reply in replies] == ["CLEAN"] * count
    wait_until(lambda: server.metric("icapd_transactions_total") == count, f"{count} transactions are counted")
    assert server.metric("icapd_transactions_total", service="/scan", verdict="CLEAN", status="204") == count
    assert server.metric("icapd_transaction_seconds_count", service="/scan") == count
    assert server.metric("icapd_fronts") == 2
    assert server.metric("icapd_ready") == 1
