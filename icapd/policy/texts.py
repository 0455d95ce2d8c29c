"""The words of block pages, one table for each language: what they must have, and which of them a page shows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from icapd.errors import Problem
from icapd.policy.outcomes import Result
from icapd.scan.model import Verdict

Texts = Mapping[str, str]
Languages = Mapping[str, Texts]
"""Texts by language tag, in lower case."""

TEXT_CHARACTERS = 500
LABELS: Final = (
    *("found", "todo", "contact", "address", "site", "outcome", "rule", "reference", "ask"),
    *("override", "override_note", "override_refused"),
)
SHOWN: Final = ("title", "what", "unsure", "advice")
"""What a page says of one transaction, chosen from the table by its outcome."""

_TAG = re.compile(r"[a-z]{2,3}(?:-[a-z0-9]{1,8}){0,3}")
_UNCHECKED: Final = frozenset(
    {
        Result.TOO_LARGE,
        Result.LIMIT,
        Result.UNSUPPORTED,
        Result.ENCRYPTED,
        Result.CORRUPT,
        Result.OVERLOADED,
        Result.TIMED_OUT,
        Result.ENGINE_ABSENT,
        Result.ENGINE_FAILED,
    }
)
_ADVICE: Final = MappingProxyType(
    {
        Result.MALICIOUS: "malicious",
        Result.LIMIT: "unpack",
        Result.UNSUPPORTED: "unpack",
        Result.ENCRYPTED: "unpack",
        Result.CORRUPT: "again",
        Result.OVERLOADED: "retry",
        Result.TIMED_OUT: "retry",
        Result.ENGINE_ABSENT: "retry",
        Result.ENGINE_FAILED: "retry",
    }
)
"""What a reader may do; of all other outcomes they can only ask."""
_NAMED: Final = _UNCHECKED | {Result.MALICIOUS, Result.SUSPICIOUS}
_OPTIONAL: Final = MappingProxyType({"direction": "ltr"})

KEYS: Final = (
    *("title_malicious", "title_suspicious", "title_forbidden", "title_unchecked"),
    *(f"what_{result.replace('-', '_')}" for result in Result if result in _NAMED),
    *("what_listed", "what_forbidden", "what_partial", "unsure"),
    *("advice_malicious", "advice_retry", "advice_again", "advice_unpack", "advice_ask"),
    *LABELS,
)
"""Every text that a language must have. `direction` may be there as well: ltr, or rtl."""

NO_TEXTS: Languages = MappingProxyType({"en": MappingProxyType(dict.fromkeys(KEYS, ""))})
"""For templates that bring their own words."""


def wrong_texts(tag: str, table: Mapping[str, object], where: str) -> Iterable[Problem]:
    """Everything that keeps a table from being a language."""
    if _TAG.fullmatch(tag) is None:
        yield Problem(where, f'"{tag}" is no language tag, as de or pt-br')
    missing = [key for key in KEYS if key not in table]
    if missing:
        yield Problem(where, f"has no {', '.join(missing)}")
    for key, text in table.items():
        if key not in KEYS and key not in _OPTIONAL:
            yield Problem(where, f"{key} is no text of a page")
        elif not isinstance(text, str) or not 0 < len(text) <= TEXT_CHARACTERS:
            yield Problem(where, f"{key} must be a text of 1 to {TEXT_CHARACTERS} characters")
        elif key == "direction" and text not in ("ltr", "rtl"):
            yield Problem(where, "direction must be ltr or rtl")


def shown_texts(texts: Texts, outcome: Result, verdict: Verdict, *, is_part: bool = False) -> dict[str, str]:
    """The texts of one page: its labels, and what is said of this outcome, or of a part of a file."""
    shown = {f"label_{key}": texts[key] for key in LABELS}
    shown["direction"] = texts.get("direction", _OPTIONAL["direction"])
    is_unchecked = outcome in _UNCHECKED
    what = outcome.replace("-", "_") if outcome in _NAMED else "forbidden"
    if verdict is Verdict.FORBIDDEN:
        what = "listed"
    elif is_part:
        what = "partial"
    title = "unchecked" if is_unchecked else outcome.value if outcome in _NAMED else "forbidden"
    shown["title"] = texts[f"title_{title}"]
    shown["what"] = texts[f"what_{what}"]
    shown["unsure"] = texts["unsure"] if is_unchecked else ""
    shown["advice"] = texts["advice_again" if is_part else f"advice_{_ADVICE.get(outcome, 'ask')}"]
    return shown
