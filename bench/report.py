"""What the runs say: medians, ratios, faults, and the table of them. Pure: values in, values and text out."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

import msgspec

from bench.memory import Memory

BEGIN: Final = "<!-- bench: begin -->"
END: Final = "<!-- bench: end -->"

_MB: Final = 1_000_000


class Run(msgspec.Struct, frozen=True):
    """One run of the load generator, as it reports it, after the warm-up."""

    req_s: float
    """Correct answers a second."""
    requests: int
    ok: int
    """Answers that were whole; a wrong verdict among them counts in `wrong_verdicts`."""
    errors: int
    wrong_verdicts: int
    r204: int
    r200: int
    blocked: int
    """Of those with status 200."""
    p50_ms: float
    p99_ms: float
    max_ms: float


class CaseResult(msgspec.Struct, frozen=True):
    """One case's runs, in the order they were made."""

    name: str
    title: str
    budget: float
    c_icap: list[Run]
    icapd: list[Run]

    @property
    def ratio(self) -> float:
        return median_of(self.icapd) / median_of(self.c_icap)


class Setting(msgspec.Struct, frozen=True):
    """Where and how it was measured."""

    command: str
    cpu: str
    cores: int
    versions: str
    load_before: float


class Results(msgspec.Struct, frozen=True):
    """Everything one call of the benchmark found out."""

    setting: Setting
    cases: list[CaseResult]
    memory: list[Memory]


def median_of(runs: Sequence[Run]) -> float:
    """The median of the requests a second."""
    return median(run.req_s for run in runs)


def faults(cases: Sequence[CaseResult]) -> list[str]:
    """What icapd did wrong, a line for each run in which it did."""
    return [
        f"icapd, {case.name}, run {number}: {run.errors} errors, {run.wrong_verdicts} wrong verdicts"
        for case in cases
        for number, run in enumerate(case.icapd, 1)
        if run.errors or run.wrong_verdicts
    ]


def render(results: Results) -> str:
    """The tables and what they were measured on, in Markdown."""
    setting = results.setting
    lines = [
        "| case | c-icap, requests/s | icapd, requests/s | ratio | budget | p99, c-icap | p99, icapd |",
        "|---|---|---|---|---|---|---|",
        *(_case_row(case) for case in results.cases),
        "",
        "Medians, with the slowest and the fastest run in brackets.",
        "",
        "| icapd's processes | how many | peak RSS of the largest | PSS of the largest |",
        "|---|---|---|---|",
        *_memory_rows(results.memory),
        "",
        f"`{setting.command}` on {setting.cores} cores, {setting.cpu}; {setting.versions}.",
    ]
    if peer := _peer_faults(results.cases):
        lines += ["", peer]
    return "\n".join(lines)


def _case_row(case: CaseResult) -> str:
    return (
        f"| {case.title} | {_rates(case.c_icap)} | {_rates(case.icapd)} | **{case.ratio:.1f}** | ≥ {case.budget:g} "
        f"| {_p99(case.c_icap)} | {_p99(case.icapd)} |"
    )


def _rates(runs: Sequence[Run]) -> str:
    rates = [run.req_s for run in runs]
    return f"{median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


def _p99(runs: Sequence[Run]) -> str:
    return f"{median(run.p99_ms for run in runs):,.0f} ms"


def _memory_rows(memory: Sequence[Memory]) -> list[str]:
    roles: dict[str, list[Memory]] = {}
    for process in memory:
        roles.setdefault(process.role, []).append(process)
    return [
        f"| {role} | {len(processes)} | {max(process.peak_rss_bytes for process in processes) / _MB:.0f} MB "
        f"| {max(process.pss_bytes for process in processes) / _MB:.0f} MB |"
        for role, processes in sorted(roles.items())
    ]


def _peer_faults(cases: Sequence[CaseResult]) -> str:
    errors = sum(run.errors for case in cases for run in case.c_icap)
    wrong = sum(run.wrong_verdicts for case in cases for run in case.c_icap)
    return f"c-icap's runs had {errors} errors and {wrong} wrong verdicts." if errors or wrong else ""


def replace_section(document: str, section: str) -> str:
    """The document with the section between its two marks. Raises: ValueError when they are not there once each."""
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        raise ValueError(f"needs {BEGIN} and {END} once each")
    before, _, rest = document.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{END} stands before {BEGIN}")
    return f"{before}{BEGIN}\n{section}\n{mark}{after}"
