"""The command line as a whole: help, versions, what is loaded, how it ends."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator

import pytest

from icapd import PRODUCT
from icapd.cli.arguments import make_parser
from tests.cli.command import EICAR_RULE_ALONE, icapd

HEAVY = {"pydantic", "twisted", "rich", "msgspec", "yara", "engines"}


def _commands(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from _commands(below, (*path, name))


COMMANDS = list(_commands(make_parser()))


def test_every_command_is_known_to_this_test() -> None:
    assert {" ".join(path) for path in COMMANDS} == {
        "", "serve", "reload", "config", "config check", "config show", "send", "scan",
        "cache", "cache stats", "cache get", "cache purge", "policy", "policy explain",
        "shadow", "shadow report",
    }  # fmt: skip


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_each_help_has_examples(path: tuple[str, ...]) -> None:
    ended = icapd(*path, "--help")
    assert ended.status == 0
    assert f"\nexamples:\n  icapd {' '.join(path)}" in ended.out


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_load_nothing_heavy(flag: str) -> None:
    code = (
        "import sys\nfrom icapd.cli import main\n"
        f"try: main(['{flag}'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print('MODULES', *sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    modules = {name.partition(".")[0] for name in out.rpartition("MODULES ")[2].split()}
    assert "argparse" in modules
    assert modules & HEAVY == set()


def test_version_is_the_product() -> None:
    assert icapd("--version") == (0, f"{PRODUCT}\n", "")


def test_the_module_is_the_command() -> None:
    out = subprocess.run(
        [sys.executable, "-m", "icapd", "--help"], capture_output=True, check=True, text=True, timeout=60
    ).stdout
    assert out == icapd("--help").out


def test_without_a_command_help_is_shown_and_the_usage_is_wrong() -> None:
    ended = icapd()
    assert (ended.status, ended.out) == (2, "")
    assert "icapd serve" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["serve", "--bogus"],
        ["serve", "--set", "log.level"],
        ["serve", "--set", "=debug"],
        ["config"],
        ["send", "x", "--method", "DELETE"],
        ["send", "x", "--preview", "-1"],
        ["send", "x", "--preview", "1048577"],
        ["send", "x", "--preview", "1_0"],
        ["send", "x", "--timeout", "0"],
        ["send", "x", "--timeout", "nan"],
        ["send", "x", "--header", "no colon"],
        ["send", "x", "--header", "Bad Name: x"],
        ["send", "x", "--header", "X-A: 1\r\nX-B: 2"],
        ["send", "x", "--header", "encapsulated: null-body=0"],
        ["scan"],
        ["scan", "x", "--jobs", "0"],
        ["scan", "x", "--jobs", "257"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_one_line_that_says_why(arguments: list[str]) -> None:
    ended = icapd(*arguments)
    assert ended.status == 2
    assert ended.out == ""
    assert "error: " in ended.err.splitlines()[-1]


def test_limits_of_numbers_are_themselves_allowed() -> None:
    parse = make_parser().parse_args
    assert parse(["send", "x", "--preview", "1048576"]).preview == 1_048_576
    assert parse(["send", "x", "--preview", "0"]).preview == 0
    assert parse(["send", "x", "--timeout", "86400"]).timeout == 86_400
    assert parse(["scan", "x", "--jobs", "256"]).jobs == 256
    assert parse(["scan", "x", "--jobs", "1"]).jobs == 1


@pytest.mark.parametrize(
    "arguments",
    [["config", "show", "--defaults"], ["config", "check"], ["scan", "--verbose", *EICAR_RULE_ALONE, __file__]],
    ids=["config show", "config check", "scan"],
)
def test_output_that_cannot_be_written_ends_with_3(arguments: list[str]) -> None:
    """Not with 1, which would mean that something is blocked."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "icapd", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (3, "icapd: [Errno 28] No space left on device\n")


def test_a_closed_pipe_ends_quietly() -> None:
    command = [sys.executable, "-m", "icapd", "config", "show", "--defaults"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), err) == (141, b"")
