"""Counting in each process, adding up in the supervisor, and the text that Prometheus reads."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from icapd.observe.exposition import exposition
from icapd.observe.metrics import (
    DEFINITIONS,
    DURATION_BUCKETS_S,
    Counters,
    Labels,
    Values,
    add_up,
    without_gauges,
)

SCANS = "icapd_scan_seconds"
COUNTERS = [name for name, definition in DEFINITIONS.items() if definition.kind == "counter"]


def exposed(values: Values) -> list[Metric]:
    """What a scrape shows, read back by Prometheus's own parser."""
    return list(text_string_to_metric_families(exposition(values).decode()))


def sample(families: list[Metric], name: str, **labels: str) -> float:
    [value] = [s.value for f in families for s in f.samples if s.name == name and s.labels == labels]
    return value


def as_table(values: Values) -> dict[tuple[str, Labels], float]:
    return {(name, tuple(labels)): value for name, samples in values.items() for labels, value in samples}


def test_all_definitions_are_shown_even_before_anything_is_counted() -> None:
    families = exposed({})
    shown = {(family.name, family.type, family.documentation) for family in families}
    assert len(families) == sum(definition.is_published for definition in DEFINITIONS.values())
    assert shown == {
        (name.removesuffix("_total"), kind, text)
        for name, (kind, text, _, is_published) in DEFINITIONS.items()
        if is_published
    }
    assert sample(families, "icapd_abandoned_total") == 0


def test_names_are_what_prometheus_expects() -> None:
    for name, definition in DEFINITIONS.items():
        assert name.startswith("icapd_")
        assert name.endswith("_total") is (definition.kind == "counter")
        assert not set(definition.labels) & {"le", "quantile", "job", "instance"}
        assert definition.text.endswith(".")


def test_counting() -> None:
    counters = Counters()
    counters.add("icapd_drips_total")
    counters.add("icapd_drips_total", (), 4)
    counters.add("icapd_timeouts_total", ("idle",))
    counters.set("icapd_open_connections", 7)
    counters.set("icapd_open_connections", 6)
    families = exposed(counters.values())
    assert sample(families, "icapd_drips_total") == 5
    assert sample(families, "icapd_timeouts_total", phase="idle") == 1
    assert sample(families, "icapd_open_connections") == 6


def test_what_is_not_defined_cannot_be_counted() -> None:
    with pytest.raises(KeyError):
        Counters().add("icapd_nothing_total")


@pytest.mark.parametrize("bound", DURATION_BUCKETS_S)
def test_a_duration_at_a_bound_belongs_to_its_bucket_and_one_past_it_to_the_next(bound: float) -> None:
    counters = Counters()
    counters.observe(SCANS, ("CLEAN",), bound)
    counters.observe(SCANS, ("CLEAN",), math.nextafter(bound, math.inf))
    families = exposed(counters.values())
    assert sample(families, f"{SCANS}_bucket", outcome="CLEAN", le=str(bound)) == 1
    assert sample(families, f"{SCANS}_bucket", outcome="CLEAN", le="+Inf") == 2


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_buckets_are_cumulative_and_agree_with_count_and_sum(durations: list[float]) -> None:
    counters = Counters()
    for duration in durations:
        counters.observe(SCANS, ("CLEAN",), duration)
    families = exposed(counters.values())
    buckets = [s.value for f in families for s in f.samples if s.name == f"{SCANS}_bucket"]
    assert buckets == [sum(d <= bound for d in durations) for bound in (*DURATION_BUCKETS_S, math.inf)]
    assert sample(families, f"{SCANS}_count", outcome="CLEAN") == len(durations)
    assert sample(families, f"{SCANS}_sum", outcome="CLEAN") == pytest.approx(sum(durations))


def test_a_transaction_is_counted_by_its_labels_and_timed_by_its_service() -> None:
    counters = Counters()
    counters.transaction(("/scan", "RESPMOD", "204", "CLEAN", "allow", "clean"), 0.002)
    counters.transaction(("/scan", "RESPMOD", "200", "MALICIOUS", "block", "malicious"), 0.2)
    counters.transaction(("/scan", "RESPMOD", "200", "MALICIOUS", "block", "malicious"), 40.0)
    counters.transaction(("/echo", "REQMOD", "200", "NOT_SCANNED", "allow", "not-scanned"), 0.01)
    counters.transaction(("/scan", "REQMOD", "204", "CLEAN", "allow", "clean"), 0.001)
    counters.transaction(("/late", "RESPMOD", "200", "", "", ""), 0.001)
    for _ in range(2):  # asking changes nothing
        families = exposed(counters.values())
        blocked = {
            "service": "/scan",
            "method": "RESPMOD",
            "status": "200",
            "verdict": "MALICIOUS",
            "action": "block",
        }
        assert sample(families, "icapd_transactions_total", **blocked) == 2
        assert sample(families, "icapd_transaction_seconds_count", service="/scan") == 4
        assert sample(families, "icapd_transaction_seconds_bucket", service="/scan", le="30.0") == 3
        assert sample(families, "icapd_transaction_seconds_sum", service="/scan") == pytest.approx(40.203)
        assert sample(families, "icapd_transaction_seconds_count", service="/echo") == 1
        assert sample(families, "icapd_outcomes_total", service="/scan", outcome="clean") == 2
        assert sample(families, "icapd_outcomes_total", service="/scan", outcome="malicious") == 2
        (outcomes,) = [family for family in families if family.name == "icapd_outcomes"]
        assert len([s for s in outcomes.samples if s.name == "icapd_outcomes_total"]) == 3


def counted(drips: int, connections: int, duration: float) -> Values:
    counters = Counters()
    counters.add("icapd_drips_total", (), drips)
    counters.set("icapd_open_connections", connections)
    counters.observe(SCANS, ("CLEAN",), duration)
    counters.transaction(("/scan", "RESPMOD", "204", "CLEAN", "allow", "clean"), duration)
    return counters.values()


def test_sums_over_processes() -> None:
    families = exposed(add_up([counted(1, 10, 0.5), counted(2, 20, 3.0), {}]))
    assert sample(families, "icapd_drips_total") == 3
    assert sample(families, "icapd_open_connections") == 30
    assert sample(families, f"{SCANS}_count", outcome="CLEAN") == 2
    assert sample(families, f"{SCANS}_bucket", outcome="CLEAN", le="0.5") == 1
    assert sample(families, f"{SCANS}_sum", outcome="CLEAN") == 3.5


def test_a_process_that_ended_keeps_its_counters_and_loses_its_gauges() -> None:
    left = without_gauges(counted(5, 10, 1.0))
    families = exposed(add_up([left, counted(1, 2, 1.0)]))
    assert sample(families, "icapd_drips_total") == 6
    assert sample(families, f"{SCANS}_count", outcome="CLEAN") == 2
    assert sample(families, "icapd_open_connections") == 2


parts = st.lists(
    st.dictionaries(
        st.sampled_from(COUNTERS),
        st.lists(st.tuples(st.tuples(st.sampled_from("ab")), st.integers(0, 9).map(float)), max_size=4),
    ),
    max_size=4,
)


@given(parts)
def test_nothing_is_lost_or_made_up_in_adding(values: list[Values]) -> None:
    total = add_up(values)
    assert sum(as_table(total).values()) == sum(value for part in values for s in part.values() for _, value in s)
    assert as_table(add_up([total])) == as_table(total)
    assert as_table(add_up(reversed(values))) == as_table(total)


def test_label_values_of_any_kind_survive() -> None:
    counters = Counters()
    odd = 'quote " backslash \\ line\nend \u00e9'
    counters.add("icapd_findings_total", (odd,))
    assert sample(exposed(counters.values()), "icapd_findings_total", kind=odd) == 1
