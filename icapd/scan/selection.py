"""Says by a sample's profile which engines see it, how long and how deep. Pure: values in, values out.

A profile adds up to a risk from 0 to 100 (`WEIGHTS`); the first class of the table whose `max_risk` is not below it
holds. What no class restricts costs one look into a set. Skipping is for what is proven (`icapd.scan.inert`), never
for what is only likely: a class that skips engines holds for inert samples alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from icapd.scan.engine_api import ALWAYS_ASKED
from icapd.scan.inert import INERT_TYPES, is_inert
from icapd.scan.mismatch import type_mismatch
from icapd.scan.model import NO_CODING, Sample

if TYPE_CHECKING:
    from icapd.config.schema import SelectionRow

OPENERS: Final = frozenset({"archive", "embedded", "office", "pdf"})
"""Engines that look for something to open: they have no use for what is inert. Others want a thorough proof."""

RISK_MAX: Final = 100
WEIGHTS: Final = {
    "inert": 0,
    "image, font, audio or video": 5,
    "text or data": 10,
    "markup": 20,
    "document": 30,
    "archive, mail or unknown": 30,
    "office": 35,
    "script or shortcut": 45,
    "executable": 45,
    "another type than the name says": 40,
    "dense": 10,
    "below 64 KiB and can run": 5,
    "found inside": 5,
    "found below three levels": 10,
}
"""What each trait adds; docs/selection.md says why. The first ten are what a sample is: one of them holds."""
_OF_FAMILY: Final = {
    **dict.fromkeys(("image", "font", "audio", "video"), "image, font, audio or video"),
    **dict.fromkeys(("text", "data", "empty"), "text or data"),
    "markup": "markup",
    "document": "document",
    "office": "office",
    **dict.fromkeys(("script", "shortcut"), "script or shortcut"),
    "executable": "executable",
}
_RUNS: Final = frozenset({"executable", "script", "shortcut"})
_SMALL_BYTES: Final = 64 * 1024
_DEEP: Final = 3
_DENSITY_BYTES: Final = 256
_DENSE: Final = 150
"""Different values among 256 bytes: noise has 162 on average, code and text below 110."""


class SelectionClass(msgspec.Struct, frozen=True):
    """What is done with samples up to a risk. `time_share` is of each engine's own time."""

    max_risk: int = RISK_MAX
    skips: frozenset[str] = frozenset()
    time_share: float = 1.0
    max_depth: int = 64

    def as_text(self) -> str:
        """The same for the same class, for the ruleset id."""
        return f"{self.max_risk} {sorted(self.skips)} {self.time_share} {self.max_depth}"

    @property
    def is_neutral(self) -> bool:
        return not self.skips and self.time_share == 1.0 and self.max_depth >= 64


def classes_of(rows: Sequence[SelectionRow]) -> tuple[SelectionClass, ...]:
    """The configured table, the lowest risk first."""
    classes = (
        SelectionClass(row.max_risk, frozenset(row.skips) - ALWAYS_ASKED, row.time_share, row.max_depth)
        for row in rows
    )
    return tuple(sorted(classes, key=lambda each: each.max_risk))


class Profile(msgspec.Struct, frozen=True):
    """A sample's risk, and what it is made of."""

    risk: int
    traits: tuple[str, ...]


EVERYTHING: Final = SelectionClass()


def profile(sample: Sample, *, is_thorough: bool = True) -> Profile:
    """What speaks for a closer look at a sample that was identified."""
    return _profile(sample, is_inert(sample.data, sample.identity.media_type, is_thorough=is_thorough))


def _profile(sample: Sample, is_proven_inert: bool) -> Profile:
    family = sample.identity.family
    if is_proven_inert:
        traits = ["inert"]
    else:
        traits = [_OF_FAMILY.get(family, "archive, mail or unknown")]
        if sample.trail:
            traits.append("found inside")
        if family in _RUNS and sample.size_bytes < _SMALL_BYTES:
            traits.append("below 64 KiB and can run")
        if family in ("executable", "unknown", "data") and _is_dense(sample):
            traits.append("dense")
    if len(sample.trail) > _DEEP:
        traits.append("found below three levels")
    name = sample.name.rpartition("/")[2]
    extension = name.rpartition(".")[2] if "." in name else ""
    if type_mismatch(sample.declared_type, extension, sample.identity):
        traits.append("another type than the name says")
    return Profile(min(RISK_MAX, sum(WEIGHTS[trait] for trait in traits)), tuple(traits))


def _is_dense(sample: Sample) -> bool:
    """Packed or encrypted, by the number of different values in the middle of the sample."""
    middle = sample.size_bytes // 2
    return len(set(sample.data[middle : middle + _DENSITY_BYTES])) > _DENSE


class Selection:
    """The table, ready for use. Keeps nothing between samples."""

    def __init__(self, classes: Sequence[SelectionClass] = ()) -> None:
        self._classes = tuple(classes)
        self._is_idle = all(each.is_neutral for each in self._classes)
        self._is_thorough = any(each.skips - OPENERS for each in self._classes)
        # Only what is inert falls below every other weight; all else is neutral as long as no class says more.
        self._concerns_inert_alone = all(
            each.is_neutral for each in self._classes if each.max_risk >= WEIGHTS["image, font, audio or video"]
        )

    def choose(self, sample: Sample) -> SelectionClass:
        """The class that holds for a sample that was identified."""
        media_type = sample.identity.media_type
        if self._is_idle or (self._concerns_inert_alone and media_type not in INERT_TYPES):
            return EVERYTHING
        if sample.coding and sample.coding.lower() not in NO_CODING:
            return EVERYTHING  # receivers see other bytes than these
        is_proven_inert = is_inert(sample.data, media_type, is_thorough=self._is_thorough)
        if self._concerns_inert_alone and not is_proven_inert:
            return EVERYTHING
        found = _profile(sample, is_proven_inert)
        for each in self._classes:
            if found.risk <= each.max_risk:
                if each.skips and found.traits[0] != "inert":
                    return msgspec.structs.replace(each, skips=frozenset())
                return each
        return EVERYTHING
