"""One configuration judges by one ruleset: in every front, on every node, and after a respawn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.process.conftest import Serve
from tests.process.servers import CLEAN, ask, request, trees, verdict, wait_ready
from tests.support.icap_client import IcapClient
from tests.support.icapd import ICAPD, Icapd, environment
from tests.support.process import Child, wait_until
from tests.support.tree import kill

RULE = 'rule %s { meta: kind = "malware" strings: $a = "%s" condition: $a }\n'
CLIENTS = 24
MANY_SERVICES = [f"/service-{'x' * 100}-{number}" for number in range(600)]
"""Labels of 16 samples each in the front's metrics: together more than 1 MB."""


def istags(server: Icapd) -> set[str | None]:
    """Of replies on many connections, which the kernel spreads over the fronts."""

    def one(number: int) -> set[str | None]:
        with IcapClient(server.address) as client:
            return {client.options(service).header("ISTag") for service in ("/scan", "/reqmod", "/respmod")}

    with ThreadPoolExecutor(8) as asking:
        tags = set().union(*asking.map(one, range(CLIENTS)))
    tags.add(ask(server, CLEAN).header("ISTag"))
    return tags


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Icapd]]:
    """Two servers of one configuration that lies in different folders; the first has two fronts."""
    with ExitStack() as running:

        def start(fronts: int) -> Icapd:
            folder = tmp_path_factory.mktemp("node")
            for name, text in (("rules/own.yar", RULE % ("own", "needle")), ("lists/bad.txt", f"{'a' * 64} Some\n")):
                (folder / name).parent.mkdir()
                (folder / name).write_text(text)
            overrides = {
                "server": {"fronts": fronts},
                "engines": {
                    "yara": {"rules": ["rules", "conf/rules/eicar.yar"]},
                    "hashes": {"deny": ["lists/bad.txt"]},
                },
                "service": [{"path": path} for path in ("/scan", "/reqmod", "/respmod", *MANY_SERVICES)],
            }
            return running.enter_context(Icapd(folder, overrides))

        yield [start(2), start(1)]


def test_one_istag_everywhere(nodes: list[Icapd]) -> None:
    assert len(istags(nodes[0]) | istags(nodes[1])) == 1
    assert [verdict(ask(server, b"a needle")) for server in nodes] == ["MALICIOUS"] * 2


def test_metrics_are_the_sums_over_all_fronts(nodes: list[Icapd]) -> None:
    """However many there are: with all these services they are far more than a packet takes."""
    server = nodes[0]

    def some(first: int) -> list[str]:
        with IcapClient(server.address) as client:
            return [
                verdict(client.exchange(request(CLEAN + service.encode(), service)))
                for service in MANY_SERVICES[first::CLIENTS]
            ]

    with ThreadPoolExecutor(8) as asking:
        verdicts = [each for part in asking.map(some, range(CLIENTS)) for each in part]

    count = len(MANY_SERVICES)
    assert verdicts == ["CLEAN"] * count
    wait_until(
        lambda: server.metric("icapd_transactions_total", verdict="CLEAN", status="204") >= count, "all are counted"
    )
    for service in (MANY_SERVICES[0], MANY_SERVICES[-1]):
        assert server.metric("icapd_transactions_total", service=service, verdict="CLEAN", status="204") == 1
        assert server.metric("icapd_transaction_seconds_count", service=service) == 1
    assert server.metric("icapd_fronts") == 2
    assert server.metric("icapd_front_deaths_total") == 0
    assert server.metric("icapd_ready") == 1


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
