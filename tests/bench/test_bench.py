from __future__ import annotations

import msgspec
import pytest

from bench.memory import Memory
from bench.report import (
    BEGIN,
    END,
    CaseResult,
    Results,
    Run,
    Setting,
    faults,
    median_of,
    render,
    replace_section,
)

MB = 1_000_000


def run(req_s: float, *, p99_ms: float = 5.0, errors: int = 0, wrong_verdicts: int = 0) -> Run:
    return Run(req_s, 100, 100, errors, wrong_verdicts, 98, 2, 1, 1.0, p99_ms, 9.0)


def case(c_icap: list[Run], icapd: list[Run]) -> CaseResult:
    return CaseResult("unique", "every body unique", 4.0, c_icap, icapd)


def results(*cases: CaseResult, memory: tuple[Memory, ...] = ()) -> Results:
    return Results(Setting("python -m bench", "A Processor", 2, "icapd 1, c-icap 2", 0.5), list(cases), list(memory))


def test_median_is_not_moved_by_one_run_that_was_disturbed() -> None:
    assert median_of([run(100), run(9000), run(110)]) == 110


def test_median_of_an_even_number_of_runs_lies_between_the_middle_ones() -> None:
    assert median_of([run(100), run(400), run(200), run(300)]) == 250


def test_ratio_says_how_many_times_as_fast_icapd_is() -> None:
    assert case([run(100), run(1), run(110)], [run(450), run(400), run(9000)]).ratio == 4.5


def test_a_run_is_read_from_the_load_generators_line() -> None:
    line = (
        b'{"label":"","requests":7,"ok":6,"errors":1,"wrong_verdicts":2,"req_s":3.5,"MB_s":1.0,'
        b'"p50_ms":0.5,"p95_ms":1.0,"p99_ms":2.5,"max_ms":4.0,"r204":2,"r200":4,"blocked":3}'
    )
    assert msgspec.json.decode(line, type=Run) == Run(3.5, 7, 6, 1, 2, 2, 4, 3, 0.5, 2.5, 4.0)


def test_no_faults_when_every_answer_was_right() -> None:
    assert faults([case([run(1)], [run(2), run(3)])]) == []


@pytest.mark.parametrize("fault", ["errors", "wrong_verdicts"])
def test_one_fault_of_icapd_is_named_with_its_run(fault: str) -> None:
    bad = msgspec.structs.replace(run(2), **{fault: 1})
    (line,) = faults([case([run(1), run(1)], [run(2), bad])])
    assert line.startswith("icapd, unique, run 2: ")
    assert f"1 {fault.replace('_', ' ')}" in line


def test_faults_of_the_peer_are_no_faults_of_ours_but_the_report_has_them() -> None:
    found = results(case([run(1, errors=2), run(1, wrong_verdicts=3)], [run(2)]))
    assert faults(found.cases) == []
    assert "c-icap's runs had 2 errors and 3 wrong verdicts." in render(found)


def test_a_row_has_medians_spread_ratio_budget_and_latency() -> None:
    text = render(
        results(
            case(
                [run(1000, p99_ms=70), run(1400, p99_ms=80), run(1100, p99_ms=90)],
                [run(5000, p99_ms=20), run(5500, p99_ms=30), run(5100, p99_ms=25)],
            )
        )
    )
    assert (
        "| every body unique | 1,100 (1,000 to 1,400) | 5,100 (5,000 to 5,500) | **4.6** | ≥ 4 | 80 ms | 25 ms |"
    ) in text.splitlines()
    assert "c-icap's runs" not in text


def test_the_report_names_command_machine_and_versions() -> None:
    text = render(results(case([run(1)], [run(2)])))
    assert "`python -m bench` on 2 cores, A Processor; icapd 1, c-icap 2." in text.splitlines()


def test_memory_is_the_largest_process_of_each_role() -> None:
    memory = (
        Memory("scanner", 3, 64 * MB, 24 * MB),
        Memory("front", 2, 55 * MB, 40 * MB),
        Memory("scanner", 4, 60 * MB, 30 * MB),
    )
    lines = render(results(case([run(1)], [run(2)]), memory=memory)).splitlines()
    start = lines.index("| front | 1 | 55 MB | 40 MB |")
    assert lines[start + 1] == "| scanner | 2 | 64 MB | 30 MB |"


def test_only_what_is_between_the_marks_is_replaced() -> None:
    document = f"# Title\n\n{BEGIN}\nold\n\nolder\n{END}\n\nThe rest.\n"
    once = replace_section(document, "| new |")
    assert once == f"# Title\n\n{BEGIN}\n| new |\n{END}\n\nThe rest.\n"
    assert replace_section(once, "| new |") == once


@pytest.mark.parametrize(
    "document",
    ["", f"{BEGIN}\n", f"{END}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}"],
)
def test_a_document_without_one_pair_of_marks_is_refused(document: str) -> None:
    with pytest.raises(ValueError, match="bench: "):
        replace_section(document, "new")
