"""Which class a sample gets, what it is made of, and that nothing is lost by it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from bench.content import executable, seeded
from icapd.config.schema import INERT_ALONE, SelectionRow
from icapd.plugins import gather_snapshot
from icapd.scan.model import Budget, FindingKind, Identity, Outcome, Sample
from icapd.scan.selection import EVERYTHING, WEIGHTS, Selection, classes_of, profile
from icapd.scan.tree import EngineSet, examine
from tests.benign.test_no_false_alarms import made
from tests.engines.samples import zip_of
from tests.scan.test_inert import INERT, ODD
from tests.scan.walking import FAR, Brackets, ByFirstByte, Finder, reports
from tests.support.eicar import EICAR
from tests.support.judging import default_engines, judge
from tests.worker.test_sandboxed_engines import CORPUS

PICTURE = INERT["drawing.png"][0]


def sample(data: bytes, media_type: str, family: str, name: str = "", trail: tuple[str, ...] = ()) -> Sample:
    return Sample(data, name=name, trail=trail, identity=Identity(media_type, family))


def selection(*rows: dict[str, Any]) -> Selection:
    return Selection(classes_of([SelectionRow(**row) for row in rows]))


@pytest.mark.parametrize(
    ("case", "traits"),
    [
        (sample(PICTURE, "image/png", "image"), ("inert",)),
        (sample(PICTURE + b"x", "image/png", "image"), ("image, font, audio or video",)),
        (sample(b"soup", "text/plain", "text"), ("text or data",)),
        (sample(b"<p>", "text/html", "markup"), ("markup",)),
        (sample(b"%PDF-", "application/pdf", "document"), ("document",)),
        (sample(b"x", "application/x-ole-storage", "office"), ("office",)),
        (sample(b"x", "application/zip", "archive"), ("archive, mail or unknown",)),
        (sample(b"x", "text/vbscript", "script"), ("script or shortcut", "below 64 KiB and can run")),
        (sample(bytes(65_536), "text/vbscript", "script"), ("script or shortcut",)),
        (
            sample(seeded(1).randbytes(9000), "application/x-elf", "executable", trail=("a",)),
            ("executable", "found inside", "below 64 KiB and can run", "dense"),
        ),
        (
            sample(b"x" * 70_000, "application/x-elf", "executable", name="a/b.png", trail=("a", "b", "c", "d")),
            ("executable", "found inside", "found below three levels", "another type than the name says"),
        ),
    ],
)
def test_traits_add_up(case: Sample, traits: tuple[str, ...]) -> None:
    found = profile(case)
    assert found.traits == traits
    assert found.risk == min(100, sum(WEIGHTS[trait] for trait in traits))


def test_risk_ends_at_a_hundred() -> None:
    worst = sample(seeded(1).randbytes(9000), "application/x-elf", "executable", "b.png", ("a", "b", "c", "d"))
    assert sum(WEIGHTS[trait] for trait in profile(worst).traits) > 100
    assert profile(worst).risk == 100


def test_the_first_row_that_a_sample_does_not_pass_holds() -> None:
    table = selection(
        {"max_risk": 30, "max_depth": 3}, {"max_risk": 10, "max_depth": 2}, {"max_risk": 9, "max_depth": 1}
    )
    assert table.choose(sample(PICTURE, "image/png", "image")).max_depth == 1
    assert table.choose(sample(b"soup", "text/plain", "text")).max_depth == 2
    assert table.choose(sample(b"<p>", "text/html", "markup")).max_depth == 3
    assert table.choose(sample(b"x", "text/vbscript", "script")) is EVERYTHING


def test_only_what_is_inert_is_ever_skipped() -> None:
    table = selection({"max_risk": 100, "skips": ["yara"], "time_share": 0.5})
    assert table.choose(sample(PICTURE, "image/png", "image")).skips == {"yara"}
    assert table.choose(sample(PICTURE + b"x", "image/png", "image")).skips == frozenset()
    chosen = table.choose(sample(b"soup", "text/plain", "text"))
    assert (chosen.skips, chosen.time_share) == (frozenset(), 0.5)


def test_a_body_in_a_coding_is_never_inert() -> None:
    table = selection({"max_risk": 0, "skips": ["yara"]})
    body = sample(PICTURE, "image/png", "image")
    body.coding = "gzip"
    assert table.choose(body) is EVERYTHING
    body.coding = "Identity"
    assert table.choose(body).skips == {"yara"}


def test_digests_and_types_are_always_asked() -> None:
    assert classes_of([SelectionRow(skips=["hashes", "identify", "pdf"])])[0].skips == {"pdf"}


class Pictures(ByFirstByte):
    def identify(self, sample: Sample) -> Identity:
        if sample.head(4) == b"\x89PNG":
            return Identity("image/png", "image")
        return super().identify(sample)


def walk(body: bytes, **row: Any) -> dict[str, Any]:
    engines = EngineSet(
        Pictures(), (Finder(), Finder("other")), (Brackets(),), {"finder": 10.0}, selection=selection(row)
    )
    return reports(examine(Sample(body), engines, Budget(time.monotonic() + FAR)))


def test_what_was_not_shown_is_skipped_and_said() -> None:
    got = walk(PICTURE, skips=["finder"])
    assert (got["finder"].outcome, got["finder"].reason) == (Outcome.SKIPPED, "1 inert, not shown to it")
    assert (got["other"].outcome, got["other"].reason) == (Outcome.NOTHING_FOUND, "")
    inside = zip_of({"a.png": PICTURE, "b.png": PICTURE, "c.txt": b"soup"})
    report = {each.engine: each for each in judge(inside).reports}
    assert (report["pdf"].outcome, report["pdf"].reason) == (Outcome.NOTHING_FOUND, "2 inert, not shown to it")


def test_depth_ends_where_the_row_says() -> None:
    assert walk(b"[a,[b]]", max_risk=100, max_depth=2)["brackets"].findings == ()
    [limit] = walk(b"[a,[b,[c]]]", max_risk=100, max_depth=2)["brackets"].findings
    assert (limit.kind, limit.name, limit.trail) == (FindingKind.LIMIT, "archive.max_depth", ("m2", "m1"))
    assert len(walk(b"[[a],[b]]", max_risk=100, max_depth=1)["brackets"].findings) == 2


def test_time_is_shared_out_as_the_row_says() -> None:
    left: list[float] = []
    finder = Finder(act=lambda sample, budget: left.append(budget.remaining_s))
    engines = EngineSet(
        Pictures(), (finder,), (), {"finder": 10.0}, selection=selection({"max_risk": 100, "time_share": 0.5})
    )
    examine(Sample(b"soup"), engines, Budget(time.monotonic() + FAR))
    assert 3 < left[0] <= 5


def test_the_table_is_part_of_the_ruleset() -> None:
    rows = [
        [],
        [INERT_ALONE],
        [SelectionRow(skips=["pdf"])],
        [SelectionRow(max_risk=5)],
        [SelectionRow(time_share=0.5)],
        [SelectionRow(max_depth=3)],
        [SelectionRow(max_risk=5), SelectionRow()],
    ]
    ids = [gather_snapshot({}, lambda name: None, {}, table).ruleset for table in rows]  # type: ignore[arg-type, return-value]
    assert len(set(ids)) == len(rows)
    turned = gather_snapshot({}, lambda name: None, {}, list(reversed(rows[-1])))  # type: ignore[arg-type, return-value]
    assert turned.ruleset == ids[-1]


POLYGLOTS = {
    **{f"odd {name}": data for name, (data, _) in ODD.items()},
    **{f"picture and {name}": PICTURE + data for name, data in {"eicar": EICAR, "zip": zip_of({"a": EICAR})}.items()},
    "picture and program": PICTURE + executable(seeded(2), 9000),
    "pictures in an archive": zip_of({name.replace(" ", "-"): data for name, (data, _) in ODD.items()}),
}


def test_nothing_is_lost_by_the_default_table() -> None:
    shown_everything = replace(default_engines(), selection=Selection())
    for name, data in {**CORPUS, **made(), **POLYGLOTS}.items():
        whole, selected = judge(data, engines=shown_everything), judge(data)
        assert (selected.verdict, selected.findings) == (whole.verdict, whole.findings), name
