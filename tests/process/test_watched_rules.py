"""server.watch_rules: what changes in the files of rules and lists comes into force by itself."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.process.conftest import Serve
from tests.process.reloading import Rules, found, hang_up, wait_for_event
from tests.process.servers import ask
from tests.support.process import wait_until


def test_every_way_a_rule_file_changes(serve: Serve, tmp_path: Path) -> None:
    """Renamed over, written in place, in a new folder below; and the whole folder put in the place of another."""
    rules = Rules(tmp_path / "rules")
    server = rules.serve(serve, {"server": {"watch_rules": True}})
    marks = itertools.count()

    def becomes(name: str) -> None:
        wait_until(lambda: found(server, b"%d" % next(marks))[1] == name, f"the rule {name}", 60)

    rules.write("renamed")
    becomes("renamed")
    text = (rules.folder / "mark.yar").read_text()
    rules.write_text(text.replace("renamed", "written"))
    becomes("written")
    (rules.folder / "mark.yar").unlink()
    (rules.folder / "below").mkdir()
    (rules.folder / "below" / "mark.yar").write_text(text.replace("renamed", "below"))
    becomes("below")
    other = Rules(tmp_path / "other")
    other.write("other")
    rules.folder.rename(tmp_path / "old")
    other.folder.rename(rules.folder)
    becomes("other")
    rules.write("after")
    becomes("after")
    count = server.child.output().count('"event":"reloading"')
    (tmp_path / "neighbour.yar").write_text("rule a { condition: nonsense }")
    hang_up(server)
    wait_for_event(server, "reload-unchanged")

    assert server.child.output().count('"event":"reloading"') == count + 1


def test_what_a_failed_reload_was_to_read_is_watched_until_it_can_be_read(serve: Serve, tmp_path: Path) -> None:
    """A file that is wrong, and one in a folder that is not there yet."""
    rules = Rules(tmp_path / "rules")
    server = rules.serve(serve, {"server": {"watch_rules": True}})
    named = tmp_path / "named" / "later"
    text = server.configuration.read_text()
    server.configuration.write_text(text.replace(str(rules.folder), f'{rules.folder}", "{named}'))
    hang_up(server)
    wait_for_event(server, "reload-failed")
    named.mkdir(parents=True)
    (named / "more.yar").write_text("rule more { condition: nonsense }")
    wait_until(lambda: "more.yar:1" in server.child.output(), "it is read, and wrong")
    assert found(server)[1] == "first"
    (named / "more.yar").write_text('rule more { strings: $a = "only here" condition: $a }')
    wait_for_event(server, "reloaded")
    assert ask(server, b"only here, and nowhere else").header("X-Virus-ID") == "more"


def test_it_is_switched_on_and_off_by_a_reload(serve: Serve, tmp_path: Path) -> None:
    rules = Rules(tmp_path / "rules")
    server = rules.serve(serve)
    rules.write("second")
    assert found(server)[1] == "first"
    text = server.configuration.read_text()
    server.configuration.write_text(text.replace("[server]", "[server]\nwatch_rules = true"))
    hang_up(server)
    wait_for_event(server, "watching")
    rules.write("third")
    wait_until(lambda: server.child.output().count('"event":"reloaded"') == 2, "a reload by itself", 60)
    assert found(server, b" by now")[1] == "third"
    server.configuration.write_text(text)
    hang_up(server)
    wait_for_event(server, "watching", 2)

    assert '"paths":0' in server.child.output()
