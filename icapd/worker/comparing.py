"""What `icapd shadow report` is told, from the numbers of all fronts."""

from __future__ import annotations

from icapd.net.shadow import DIFFERENCES
from icapd.observe.metrics import Values
from icapd.worker.frames import ShadowReport
from icapd.worker.plan import Edition

ROWS_MAX = 500
"""What a packet takes, whatever the names of rules and hosts are."""


def shadow_report(values: Values, edition: Edition) -> ShadowReport:
    """The differences of the configuration that is tried now, the most frequent first."""
    shadow = edition.plan.shadow
    if shadow is None:
        return ShadowReport("", 0.0, {}, [], 0)
    found = [
        (labels[1:], int(times)) for labels, times in values.get(DIFFERENCES, []) if labels[0] == shadow.identity
    ]
    found.sort(key=lambda row: (-row[1], row[0]))
    changes = {labels[0]: int(times) for labels, times in values.get("icapd_shadow_total", [])}
    settings = edition.settings.shadow
    return ShadowReport(
        f"{settings.config} ({shadow.identity})",
        settings.share,
        changes,
        found[:ROWS_MAX],
        max(0, len(found) - ROWS_MAX),
    )
