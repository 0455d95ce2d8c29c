"""`icapd scan`: files and folders by the engines and the policy of the server, without one."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from icapd.cli.config import load_configuration
from icapd.cli.console import Output, path_text
from icapd.cli.exits import Exit
from icapd.cli.files import walk
from icapd.cli.offline import NoScanners, OfflineScan, Scanned, Sink
from icapd.plugins import gather_snapshot
from icapd.policy.facts import Action
from icapd.scan.model import Verdict

_DONE = {Action.ALLOW: "ALLOWED", Action.BLOCK: "BLOCKED", Action.MONITOR: "MONITORED"}


def run(options: argparse.Namespace) -> int:
    """Returns: 0 all allowed, 1 something is blocked, 3 something could not be read.

    Raises: ConfigurationError, KeyboardInterrupt.
    """
    flags = {"server.policy": options.policy} if options.policy else {}
    loaded = load_configuration(options, flags)
    snapshot = gather_snapshot(loaded.settings.engines, loaded.resolve, selection=loaded.settings.selection)
    with Report(options) as report:
        files = walk(options.paths, report.skipped, report.unread)
        sink = Sink(report.scanned, report.unread, report.refresh)
        try:
            OfflineScan(loaded, snapshot, options.jobs, files, options.paths, sink).run()
        except NoScanners as error:
            print(f"icapd scan: {error}", file=sys.stderr)
            return Exit.FAILED
    report.summary()
    if report.actions[Action.BLOCK]:
        return Exit.BLOCKED
    return Exit.FAILED if report.unread_files else Exit.OK


class Report:
    """What is said while files are scanned, and at the end.

    State: the counts; the progress bar, while a terminal shows one.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._out = Output()
        self._err = Output(to_stderr=True)
        self._started = time.monotonic()
        self._resources = contextlib.ExitStack()
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._bytes = 0
        self.actions: Counter[Action] = Counter()
        self.verdicts: Counter[Verdict] = Counter()
        self.kinds_skipped: Counter[str] = Counter()
        self.unread_files = 0

    def __enter__(self) -> Report:
        """Shows a bar when somebody looks and there is more than one file, which takes a first walk to count them."""
        if self._options.quiet or not self._err.console.is_terminal:
            return self
        total = sum(1 for _ in walk(self._options.paths, lambda path, kind: None, lambda path, error: None))
        if total < 2:
            return self
        columns = (TextColumn("scanning"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        # Where both streams are the same terminal, one console must write both, or lines and bar would mix.
        console = (self._out if self._out.console.is_terminal else self._err).console
        self._progress = Progress(
            *columns,
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        if console is self._out.console:
            self._err = self._out
        self._task = self._progress.add_task("", total=total)
        self._resources.enter_context(self._progress)
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def refresh(self) -> None:
        """Draws the bar anew."""
        if self._progress is not None:
            self._progress.refresh()

    # One file

    def scanned(self, scanned: Scanned) -> None:
        """A file was judged."""
        report, decision = scanned.report, scanned.decision
        self.actions[decision.action] += 1
        self.verdicts[report.verdict] += 1
        self._bytes += report.size_bytes
        self._advance()
        if self._options.quiet:
            return
        if self._options.json:
            print(json.dumps(_as_json(scanned)))
        elif report.verdict is not Verdict.CLEAN or decision.action is not Action.ALLOW or self._options.verbose:
            self._out.line(_as_line(scanned), _DONE[decision.action])

    def unread(self, path: str, error: OSError) -> None:
        """A file or folder could not be read: an error, which --quiet shows too."""
        self.unread_files += 1
        self._advance()
        if self._options.json and not self._options.quiet:
            print(json.dumps({"path": path_text(path), "error": error.strerror}))
        self._err.line(f"{path_text(path)}: {error.strerror}", "UNREAD")

    def skipped(self, path: str, kind: str) -> None:
        """Something that is no file was left out. Symbolic links are common, and so only counted."""
        self.kinds_skipped[kind] += 1
        if self._options.verbose or (kind != "symbolic link" and not self._options.quiet):
            self._err.line(f"{path_text(path)}: {kind}", "SKIPPED")

    def _advance(self) -> None:
        if self._progress is not None:
            self._progress.advance(self._task)

    # The end

    def summary(self) -> None:
        """Counts, bytes and seconds; not with --quiet."""
        elapsed_s = time.monotonic() - self._started
        if self._options.quiet:
            return
        if self._options.json:
            print(json.dumps({"summary": self._summary_as_json(elapsed_s)}))
            return
        self._out.line(" · ".join([f"{sum(self.actions.values())} files", *self._counts()]))
        self._out.line(f"{self._bytes} bytes in {elapsed_s:.1f} s")

    def _counts(self) -> Iterator[str]:
        for verdict, count in sorted(self.verdicts.items()):
            yield f"{count} {verdict}"
        yield f"{self.actions[Action.BLOCK]} blocked"
        if self.unread_files:
            yield f"{self.unread_files} not read"
        if self.kinds_skipped:
            kinds = ", ".join(
                f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(self.kinds_skipped.items())
            )
            yield f"skipped: {kinds}"

    def _summary_as_json(self, elapsed_s: float) -> dict[str, object]:
        return {
            "files": sum(self.actions.values()),
            "verdicts": {str(verdict): count for verdict, count in sorted(self.verdicts.items())},
            "actions": {str(action): count for action, count in sorted(self.actions.items())},
            "unread": self.unread_files,
            "skipped": dict(sorted(self.kinds_skipped.items())),
            "bytes": self._bytes,
            "elapsed_s": round(elapsed_s, 3),
        }


def _as_line(scanned: Scanned) -> str:
    report = scanned.report
    text = f"{path_text(scanned.path)}: {report.verdict}"
    if report.findings:
        finding = report.findings[0]
        member = f" in {' / '.join(finding.trail)}" if finding.trail else ""
        text += f", {finding.name} ({finding.kind}){member}"
        if len(report.findings) > 1:
            text += f" and {len(report.findings) - 1} more"
    return f"{text}, by the rule {scanned.decision.rule}"


def _as_json(scanned: Scanned) -> dict[str, object]:
    report, decision = scanned.report, scanned.decision
    return {
        "path": path_text(scanned.path),
        "verdict": report.verdict,
        "action": decision.action,
        "rule": decision.rule,
        "findings": [
            {
                "kind": finding.kind,
                "name": finding.name,
                "engine": finding.engine,
                "severity": finding.severity.name,
                "trail": finding.trail,
            }
            for finding in report.findings
        ],
        "engines": [
            {"engine": engine.engine, "outcome": engine.outcome, "reason": engine.reason} for engine in report.reports
        ],
        "media_type": report.identity.media_type,
        "size_bytes": report.size_bytes,
        "sha256": scanned.sha256.hex(),
    }
