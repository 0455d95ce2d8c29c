"""The text that Prometheus reads: prometheus-client is imported here alone, as it takes a tenth of a second."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from icapd.observe.metrics import BOUNDS, DEFINITIONS, Definition, Labels, Values

CONTENT_TYPE = CONTENT_TYPE_LATEST.encode("ascii")


def exposition(values: Values) -> bytes:
    """The summed values as text."""
    return generate_latest(_Summed(values))


class _Summed(Collector):
    """Summed values as prometheus-client asks for them."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        for name, definition in DEFINITIONS.items():
            if not definition.is_published:
                continue
            samples = self._values.get(name, [])
            if definition.kind == "histogram":
                yield _histogram(name, definition, samples)
                continue
            family = CounterMetricFamily if definition.kind == "counter" else GaugeMetricFamily
            metric = family(name, definition.text, labels=definition.labels)
            if not samples and not definition.labels:
                metric.add_metric((), 0)
            for labels, value in samples:
                metric.add_metric(labels, value)
            yield metric


def _histogram(name: str, definition: Definition, samples: list[tuple[Labels, float]]) -> HistogramMetricFamily:
    metric = HistogramMetricFamily(name, definition.text, labels=definition.labels)
    series: dict[Labels, dict[str, float]] = {}
    for labels, value in samples:
        series.setdefault(tuple(labels[:-1]), {})[labels[-1]] = value
    for labels, by_bound in series.items():
        running = 0.0
        buckets = []
        for bound in BOUNDS:
            running += by_bound.get(bound, 0)
            buckets.append((bound, running))
        metric.add_metric(labels, buckets, by_bound.get("sum", 0.0))
    return metric
