"""What operators count. Each front counts for itself in plain numbers; the supervisor adds them up when scraped.

A counter of a front that died is kept by the supervisor, so that sums never fall.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Literal, NamedTuple

Labels = tuple[str, ...]
Values = dict[str, list[tuple[Labels, float]]]
"""Metric name to its samples. A histogram's samples have the bucket's bound, or "sum", as their last label."""

DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BOUNDS = (*(str(bound) for bound in DURATION_BUCKETS_S), "+Inf")


class Definition(NamedTuple):
    """A metric: its kind, its help text, its labels; whether /metrics shows it."""

    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: Labels = ()
    is_published: bool = True


DEFINITIONS: dict[str, Definition] = {
    "icapd_transactions_total": Definition(
        "counter", "Finished transactions.", ("service", "method", "status", "verdict", "action")
    ),
    "icapd_outcomes_total": Definition(
        "counter", "Finished transactions by what they came to.", ("outcome", "service")
    ),
    "icapd_transaction_seconds": Definition(
        "histogram", "From the first byte of a request to the last of its answer.", ("service",)
    ),
    "icapd_scan_seconds": Definition("histogram", "Time of a scan, with its wait for a scanner.", ("outcome",)),
    "icapd_remote_scan_seconds": Definition(
        "histogram", "Time of a remote engine's scan, with its wait for a connection.", ("engine", "outcome")
    ),
    "icapd_remote_engine_up": Definition(
        "gauge", "1 when the last probe of a remote engine's server was answered.", ("engine",)
    ),
    "icapd_remote_engine_left_alone": Definition(
        "gauge", "Fronts that do not ask a remote engine's server at the moment.", ("engine",)
    ),
    "icapd_findings_total": Definition("counter", "Findings in finished transactions.", ("kind",)),
    "icapd_body_bytes_total": Definition("counter", "Body bytes received."),
    "icapd_open_connections": Definition("gauge", "Open client connections."),
    "icapd_connections_total": Definition("counter", "Accepted client connections."),
    "icapd_connections_refused_total": Definition("counter", "Client connections closed at once.", ("reason",)),
    "icapd_protocol_errors_total": Definition("counter", "Requests that broke the protocol.", ("status",)),
    "icapd_timeouts_total": Definition("counter", "Client connections ended by a time-out.", ("phase",)),
    "icapd_abandoned_total": Definition("counter", "Requests the client gave up before the answer."),
    "icapd_drips_total": Definition("counter", "Body bytes sent before the verdict because the client stalled."),
    "icapd_transfers_broken_total": Definition(
        "counter", "Answers cut off because a hit came after their beginning."
    ),
    "icapd_cache_lookups_total": Definition("counter", "Verdict cache look-ups.", ("tier", "result")),
    "icapd_cache_stores_total": Definition("counter", "Verdicts stored, and dropped again.", ("tier", "result")),
    "icapd_cache_lookup_seconds_total": Definition("counter", "Time of verdict cache look-ups.", ("tier",)),
    "icapd_cache_entries": Definition("gauge", "Verdicts remembered.", ("tier",)),
    "icapd_cache_bytes": Definition("gauge", "Bytes of remembered verdicts.", ("tier",)),
    "icapd_cache_servers_left_alone": Definition("gauge", "memcached servers not asked at the moment."),
    "icapd_scans_shared_total": Definition("counter", "Transactions that waited for another one's scan."),
    "icapd_scanners": Definition("gauge", "Scanner processes.", ("state",)),
    "icapd_scan_queue": Definition("gauge", "Bodies that wait for a scanner."),
    "icapd_scan_queue_limit": Definition("gauge", "How much may wait, in units of 1 MiB begun.", ("size",)),
    "icapd_scans_refused_total": Definition("counter", "Bodies that could not wait for a scanner.", ("size",)),
    "icapd_scan_retries_total": Definition("counter", "Scans begun again because their scanner died."),
    "icapd_scanner_deaths_total": Definition("counter", "Scanners that crashed or were killed.", ("cause",)),
    "icapd_sandbox": Definition("gauge", "1 when this step of the scanners' sandbox is in force in all.", ("step",)),
    "icapd_spool_bytes": Definition("gauge", "Bodies held.", ("place",)),
    "icapd_fronts": Definition("gauge", "Front processes that run."),
    "icapd_front_deaths_total": Definition("counter", "Fronts that ended unasked."),
    "icapd_reloads_total": Definition("counter", "Reloads that ended.", ("result",)),
    "icapd_last_reload_successful": Definition("gauge", "1 unless the last reload failed."),
    "icapd_last_reload_success_timestamp_seconds": Definition(
        "gauge", "When the configuration in force was last found to be that of the files."
    ),
    "icapd_ready": Definition("gauge", "1 when every front has scanners with their rules and nothing drains."),
    "icapd_build_info": Definition("gauge", "Always 1.", ("version", "ruleset", "istag")),
    "icapd_spool_refused_total": Definition("counter", "Bodies that could not be kept.", ("reason",)),
    "icapd_overrides_total": Definition("counter", "Links past a rule: offered, used, refused and why.", ("result",)),
    "icapd_shadow_total": Definition("counter", "Transactions tried by another configuration.", ("change",)),
    "icapd_shadow_differences_total": Definition(
        "counter",
        "What that would have answered otherwise, for icapd shadow report.",
        ("configuration", "change", "rule", "action", "shadow_rule", "shadow_action", "host"),
        is_published=False,
    ),
    "icapd_internal_errors_total": Definition("counter", "Errors of icapd itself."),
    "icapd_access_lines_dropped_total": Definition("counter", "Access lines nobody took in time."),
}


class _Histogram:
    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BUCKETS_S) + 1)
        self.total_s = 0.0


class Counters:
    """The numbers of one process. Adding is a dictionary step; nothing is locked, as one thread counts."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[Labels, float]] = {name: {} for name in DEFINITIONS}
        self._histograms: dict[str, dict[Labels, _Histogram]] = {
            name: {} for name, definition in DEFINITIONS.items() if definition.kind == "histogram"
        }
        self._transactions: dict[Labels, _Histogram] = {}
        self._body_bytes = 0

    def add(self, name: str, labels: Labels = (), amount: float = 1) -> None:
        """Adds to a counter."""
        counts = self._counts[name]
        counts[labels] = counts.get(labels, 0) + amount

    def set(self, name: str, value: float, labels: Labels = ()) -> None:
        """Sets a gauge, or a counter that is counted elsewhere."""
        self._counts[name][labels] = value

    def transaction(self, labels: Labels, seconds: float, body_bytes: int = 0) -> None:
        """Counts a finished transaction, its duration and its body in one step.

        `labels` are those of icapd_transactions_total and the outcome: one look-up serves three metrics.
        """
        self._body_bytes += body_bytes
        histogram = self._transactions.get(labels)
        if histogram is None:
            histogram = self._transactions[labels] = _Histogram()
        histogram.counts[bisect_left(DURATION_BUCKETS_S, seconds)] += 1
        histogram.total_s += seconds

    def forget(self, name: str) -> None:
        """Begins a counter anew, with all its labels."""
        self._counts[name].clear()

    def observe(self, name: str, labels: Labels, seconds: float) -> None:
        """Adds a duration to a histogram."""
        histograms = self._histograms[name]
        histogram = histograms.get(labels)
        if histogram is None:
            histogram = histograms[labels] = _Histogram()
        histogram.counts[bisect_left(DURATION_BUCKETS_S, seconds)] += 1
        histogram.total_s += seconds

    def values(self) -> Values:
        """All numbers, to be sent to the supervisor."""
        values: Values = {name: list(counts.items()) for name, counts in self._counts.items() if counts}
        self._histograms["icapd_transaction_seconds"] = self._by_service()
        if self._body_bytes:
            values["icapd_body_bytes_total"] = [((), float(self._body_bytes))]
        if self._transactions:
            counts = [(labels, float(sum(h.counts))) for labels, h in self._transactions.items()]
            values["icapd_transactions_total"] = _summed((labels[:-1], count) for labels, count in counts)
            values["icapd_outcomes_total"] = _summed(
                ((labels[-1], labels[0]), count) for labels, count in counts if labels[-1]
            )
        for name, histograms in self._histograms.items():
            samples = values.setdefault(name, [])
            for labels, histogram in histograms.items():
                samples += [((*labels, bound), n) for bound, n in zip(BOUNDS, histogram.counts, strict=True)]
                samples.append(((*labels, "sum"), histogram.total_s))
        return values

    def _by_service(self) -> dict[Labels, _Histogram]:
        sums: dict[Labels, _Histogram] = {}
        for labels, histogram in self._transactions.items():
            into = sums.setdefault(labels[:1], _Histogram())
            into.counts = [a + b for a, b in zip(into.counts, histogram.counts, strict=True)]
            into.total_s += histogram.total_s
        return sums


def _summed(samples: Iterable[tuple[Labels, float]]) -> list[tuple[Labels, float]]:
    sums: dict[Labels, float] = {}
    for labels, value in samples:
        sums[labels] = sums.get(labels, 0.0) + value
    return list(sums.items())


def add_up(parts: Iterable[Values]) -> Values:
    """The sums over several processes, sample by sample."""
    sums: dict[str, dict[Labels, float]] = {}
    for part in parts:
        for name, samples in part.items():
            into = sums.setdefault(name, {})
            for labels, value in samples:
                key = tuple(labels)
                into[key] = into.get(key, 0) + value
    return {name: list(samples.items()) for name, samples in sums.items()}


def without_gauges(values: Values) -> Values:
    """What is left of a process that has ended: its counters and histograms."""
    return {name: samples for name, samples in values.items() if DEFINITIONS[name].kind != "gauge"}
