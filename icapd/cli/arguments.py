"""What each command takes, with examples. Imports argparse alone: every start of `icapd` reads this.

The subcommand `NAME` is run by the module `icapd.cli.NAME`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from icapd import PRODUCT
from icapd.cli.values import assignment, body_size, cores, header, jobs, preview, seconds, sha256, size, time

DEFAULT_URL = "icap://127.0.0.1:1344"

# Written out, as this module imports nothing: a test holds them against the enums.
_OUTCOMES = (
    *("clean", "malicious", "suspicious", "forbidden", "too-large", "limit", "unsupported", "encrypted", "corrupt"),
    *("overloaded", "timed-out", "engine-absent", "engine-failed", "not-scanned"),
)
_VERDICTS = ("CLEAN", "SUSPICIOUS", "MALICIOUS", "FORBIDDEN", "UNSCANNABLE", "ERROR", "NOT_SCANNED")
_EXIT_STATUSES = "Exit status: 0 {ok}; {blocked}2 wrong usage or configuration{failed}; 130 interrupted."


def make_parser() -> argparse.ArgumentParser:
    """The whole command line. `command` is None when none was given."""
    parser = argparse.ArgumentParser(
        prog="icapd",
        description="An ICAP (RFC 3507) server that scans what passes through a gateway, and blocks or allows it.",
        epilog=_examples(
            "icapd serve                        run the server on icap://127.0.0.1:1344",
            "icapd reload                       have the running server read its files anew",
            "icapd send invoice.pdf             ask the running server about a file",
            "icapd scan ~/Downloads             scan files without a server",
            "icapd config check icapd.toml      find every problem in a configuration",
            "icapd cache stats                  what the verdict cache holds",
            "icapd policy explain               which rule answers each outcome",
            "icapd shadow report                what the configuration that is tried would change",
            "icapd send --help                  all options of one command",
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=PRODUCT)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_serve(commands)
    _add_reload(commands)
    _add_config(commands)
    _add_send(commands)
    _add_scan(commands)
    _add_cache(commands)
    _add_policy(commands)
    _add_shadow(commands)
    return parser


def _examples(*lines: str) -> str:
    return "\n  ".join(["examples:", *lines])


def _command(commands: Any, name: str, text: str, examples: str, statuses: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"{examples}\n\n{statuses}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _statuses(ok: str, blocked: str = "", failed: str = "") -> str:
    return _EXIT_STATUSES.format(
        ok=ok, blocked=f"1 {blocked}; " if blocked else "", failed=f"; 3 {failed}" if failed else ""
    )


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration; without it, the defaults")
    parser.add_argument(
        "--set",
        type=assignment,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key, as cache.ttl_clean_s=60; may be repeated",
    )


def _actions(parser: argparse.ArgumentParser) -> Any:
    """The commands below a command."""
    return parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")


def _add_admin(parser: argparse.ArgumentParser, timeout_s: int) -> None:
    parser.add_argument("--admin", metavar="URL", help="the server's admin address: http://HOST:PORT")
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=float(timeout_s),
        metavar="S",
        help=f"give up after S seconds (default: {timeout_s})",
    )


def _add_json(parser: argparse.ArgumentParser, what: str = "object") -> None:
    parser.add_argument("--json", action="store_true", help=f"one JSON {what} instead of text")


def _add_serve(commands: Any) -> None:
    parser = _command(
        commands,
        "serve",
        "run the server in the foreground, until SIGTERM or Ctrl-C",
        _examples(
            "icapd serve",
            "icapd serve --config /etc/icapd/icapd.toml",
            "icapd serve --listen icap://0.0.0.0:1344 --listen unix:/run/icapd/icapd.sock",
            "icapd serve --set server.policy=strict --set log.access=off",
        ),
        _statuses("stopped as asked"),
    )
    _add_configuration(parser)
    parser.add_argument(
        "--listen", action="append", metavar="URL", help="icap://HOST:PORT or unix:/PATH; may be repeated"
    )
    parser.add_argument("--admin", metavar="URL", help="where metrics and health are served: http://HOST:PORT")


def _add_reload(commands: Any) -> None:
    parser = _command(
        commands,
        "reload",
        "have the running server read its configuration, rules and lists anew",
        _examples(
            "icapd reload",
            "icapd reload --config /etc/icapd/icapd.toml",
            "icapd reload --admin http://127.0.0.1:9344",
        ),
        "The server reads the files that it was started with; FILE and URL say which server is meant, by its admin\n"
        "address. Everything is tried first. If anything is wrong, all of it is printed, and the old stays.\n\n"
        "Exit status: 0 reloaded, or unchanged; 1 failed, and the old stays; 2 wrong usage; 3 no such server, or\n"
        "not yours; 130 interrupted.",
    )
    _add_configuration(parser)
    _add_admin(parser, timeout_s=600)


def _add_config(commands: Any) -> None:
    parser = _command(
        commands,
        "config",
        "check a configuration, or show the one in force",
        _examples("icapd config check icapd.toml", "icapd config show --defaults"),
        _statuses("no problems"),
    )
    actions = _actions(parser)
    check = _command(
        actions,
        "check",
        "find every problem in a configuration, its rule files and its lists",
        _examples("icapd config check /etc/icapd/icapd.toml", "icapd config check --set server.policy=strict"),
        _statuses("no problems"),
    )
    check.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the same as --config FILE")
    _add_configuration(check)
    show = _command(
        actions,
        "show",
        "show the configuration in force, after the environment and --set",
        _examples(
            "icapd config show --config /etc/icapd/icapd.toml",
            "icapd config show --defaults >icapd.toml      every key with its meaning, to start from",
        ),
        _statuses("shown"),
    )
    _add_configuration(show)
    show.add_argument("--defaults", action="store_true", help="every key at its default, with its meaning")


def _add_send(commands: Any) -> None:
    parser = _command(
        commands,
        "send",
        "send a file to an ICAP server and say what became of it",
        _examples(
            "icapd send invoice.pdf",
            "icapd send setup.exe --preview 1024",
            "icapd send form.bin --method REQMOD --url icap://192.0.2.1:1344/reqmod",
            "curl -s https://www.example.org/ | icapd send - --content-type text/html --json",
            "icapd send picture.png --no-204 --save returned.png",
            "icapd send picture.png --url unix:/run/icapd/icapd.sock --service /scan",
            "icapd send --method OPTIONS",
        ),
        _statuses("allowed", "blocked", "the connection or the protocol failed"),
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="the file, or - for standard input")
    parser.add_argument(
        "--url", default=DEFAULT_URL, help=f"icap://HOST[:PORT][/SERVICE] or unix:/PATH (default: {DEFAULT_URL})"
    )
    parser.add_argument("--service", metavar="PATH", help="the service, when the URL has none (default: by method)")
    parser.add_argument("--method", choices=("RESPMOD", "REQMOD", "OPTIONS"), default="RESPMOD", type=str.upper)
    parser.add_argument(
        "--preview", type=preview, metavar="N", help="send the first N bytes and wait (RFC 3507 §4.5)"
    )
    parser.add_argument("--no-204", action="store_true", help="do not allow 204: a clean body must come back")
    parser.add_argument(
        "--header", type=header, action="append", default=[], metavar="'NAME: VALUE'", help="one more ICAP header"
    )
    parser.add_argument("--content-type", metavar="TYPE", help="declared for the body (default: by the file's name)")
    parser.add_argument("--save", type=Path, metavar="OUT", help="write the HTTP body that comes back to this file")
    parser.add_argument(
        "--timeout", type=seconds, default=60.0, metavar="S", help="give up after S seconds of silence (default: 60)"
    )
    _add_json(parser)


def _add_scan(commands: Any) -> None:
    parser = _command(
        commands,
        "scan",
        "scan files and folders without a server, by the same engines and policy",
        _examples(
            "icapd scan ~/Downloads",
            "icapd scan --policy strict --verbose upload.zip",
            "icapd scan --config /etc/icapd/icapd.toml --json /srv/files >report.jsonl",
            "icapd scan --quiet mail.eml || echo refuse",
        ),
        "To policy a file is a RESPMOD body on the service /scan, of its true size, with the extension of its name;\n"
        "client, host and declared media type are unknown. No size limit applies, as files are mapped, not read.\n\n"
        + _statuses("everything is allowed", "something is blocked", "a file could not be read"),
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, or a folder with all that is below it")
    _add_configuration(parser)
    parser.add_argument("--policy", metavar="NAME", help="strict, balanced, open or custom (default: server.policy)")
    parser.add_argument("--jobs", type=jobs, default=cores(), metavar="N", help="files at once (default: one a core)")
    parser.add_argument(
        "--verbose", action="store_true", help="a line for every file, also for clean and skipped ones"
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only; the exit status tells the rest")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: each file, then the summary")


def _add_policy(commands: Any) -> None:
    parser = _command(
        commands,
        "policy",
        "say which rule answers a request",
        _examples("icapd policy explain --outcome encrypted"),
        _statuses("said"),
    )
    actions = _actions(parser)
    explain = _command(
        actions,
        "explain",
        "say which rule answers a request and why no earlier one does, and name rules that never decide",
        _examples(
            "icapd policy explain                                 the answer to each outcome",
            "icapd policy explain --service /respmod --url http://www.example.org/a.zip --outcome encrypted",
            "icapd policy explain --user alice --group Staff --finding suspicious=macro --severity low",
        ),
        _statuses("said"),
    )
    _add_configuration(explain)
    add = explain.add_argument
    add("--service", default="/respmod", metavar="PATH", help="the service that is asked (default: /respmod)")
    add("--method", choices=("RESPMOD", "REQMOD"), type=str.upper, help="(default: what the service takes)")
    add("--http-method", default="GET", metavar="METHOD", help="of the HTTP request (default: GET)")
    add("--url", help="of the HTTP request; host and extension are taken from it")
    add("--host", help="of the HTTP request")
    add("--client", metavar="ADDRESS", help="as in X-Client-IP")
    add("--user", help="as in X-Client-Username")
    add("--group", action="append", default=[], help="one of the user's groups; may be repeated")
    add("--media-type", metavar="TYPE", help="as the message declares it")
    add("--real-type", metavar="TYPE", help="as the body is")
    add("--extension", metavar="EXT", help="of the URL's path, without the dot")
    add("--size", type=body_size, metavar="BYTES", help="of the body")
    add("--time", type=time, metavar="HH:MM", help="of day in server.time_zone (default: now)")
    add("--weekday", choices=("mon", "tue", "wed", "thu", "fri", "sat", "sun"), help="(default: today)")
    add("--outcome", choices=_OUTCOMES, metavar="OUTCOME", help=" ".join(_OUTCOMES))
    add("--verdict", choices=_VERDICTS, type=str.upper, metavar="VERDICT", help=" ".join(_VERDICTS))
    add("--finding", action="append", default=[], help="a kind, KIND=NAME, or a name; may be repeated")
    add("--severity", choices=("info", "low", "medium", "high", "critical"), default="high", help="of the findings")
    add("--engine", default="engine", metavar="NAME", help="that made the findings")
    _add_json(explain)


def _add_cache(commands: Any) -> None:
    parser = _command(
        commands,
        "cache",
        "look into the verdict cache's disk and memcached tiers, or empty them",
        _examples("icapd cache stats --config /etc/icapd/icapd.toml", "icapd cache purge"),
        _statuses("done"),
    )
    actions = _actions(parser)
    _cache_action(
        actions,
        "stats",
        "show what each tier holds, and a running server's counters",
        _examples("icapd cache stats --config /etc/icapd/icapd.toml", "icapd cache stats --json"),
        _statuses("shown", failed="a tier could not be reached"),
    )
    get = _cache_action(
        actions,
        "get",
        "show every verdict that is kept of a content",
        _examples(
            'icapd cache get "$(sha256sum <setup.exe | cut -c1-64)"',
            "icapd cache get --size 68 275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f",
        ),
        _statuses("found", "nothing is known", "a tier could not be reached"),
    )
    get.add_argument("sha256", type=sha256, metavar="SHA256", help="the content's digest, 64 hexadecimal digits")
    get.add_argument(
        "--size",
        type=size,
        metavar="BYTES",
        help="the content's size: asks memcached, under the ruleset in force, also for what is not on disk",
    )
    purge = _cache_action(
        actions,
        "purge",
        "forget all verdicts, on disk and in the memory of the fronts that share it",
        _examples("icapd cache purge --config /etc/icapd/icapd.toml", "icapd cache purge --memcached"),
        _statuses("forgotten", failed="a tier could not be reached"),
    )
    purge.add_argument(
        "--memcached", action="store_true", help="empty the memcached servers, too: for everyone who uses them"
    )


def _cache_action(actions: Any, name: str, text: str, examples: str, statuses: str) -> argparse.ArgumentParser:
    parser = _command(actions, name, text, examples, statuses)
    _add_configuration(parser)
    _add_json(parser, "value")
    return parser


def _add_shadow(commands: Any) -> None:
    parser = _command(
        commands,
        "shadow",
        "say what the configuration that is tried beside the one in force would change",
        _examples("icapd shadow report", "icapd shadow report --json"),
        _statuses("said"),
    )
    actions = _actions(parser)
    report = _command(
        actions,
        "report",
        "say what it would have blocked and released, by rule and host",
        _examples("icapd shadow report --config /etc/icapd/icapd.toml", "icapd shadow report --json"),
        _statuses("said", failed="no such server, or not yours"),
    )
    _add_configuration(report)
    _add_admin(report, timeout_s=10)
    _add_json(report)
