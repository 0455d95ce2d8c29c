"""Writes docs/indicators.md from the tables of the engines:  python -m tests.engines.indicators_page"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from engines.office import OfficeOptions
from engines.office import tables as office
from engines.pdf import PdfOptions
from engines.pdf import table as pdf
from icapd.scan.indicators import Combination, Indicator

PAGE = Path(__file__).parents[2] / "docs" / "indicators.md"

_HEAD = """\
# Indicators in documents

What the engines `office` and `pdf` look for, and what each sign weighs. The weights of all signs in one document
are added up: from `suspicious_score` on (office {office[0]}, PDF {pdf[0]}) it is SUSPICIOUS, from `malicious_score`
on (office {office[1]}, PDF {pdf[1]}) MALICIOUS, but only when a sign or combination of severity high or critical
is among them: weak signs alone never make a document malicious. Both thresholds are options of `[engines.office]` and
`[engines.pdf]`. A combination counts when a sign of each of its groups is there.

Every sign is recorded as a finding of its name, so that a rule of yours can name it, whatever the sum is:

```toml
[[policy]]
name = "no macros from outside"
when = {{ finding = "vba:macros" }}
action = "block"
```

The sum is a finding under the name of the heaviest sign. A document is one compound file (with all of its Visual
Basic project), one part of an OOXML package, one RTF or one PDF file. Techniques are those of MITRE ATT&CK.

This page is written by `python -m tests.engines.indicators_page`.
"""


def page() -> str:
    """The whole page."""
    sums = {
        "office": (OfficeOptions().suspicious_score, OfficeOptions().malicious_score),
        "pdf": (PdfOptions().suspicious_score, PdfOptions().malicious_score),
    }
    lines = [_HEAD.format(**sums)]
    tables = {**office.TABLES, "PDF: what objects do": pdf.PROPERTIES, "PDF: what scripts say": pdf.ROWS}
    for title, rows in tables.items():
        lines += [f"## {title}", "", *_signs(rows), ""]
    lines += ["## Combinations", "", *_combinations((*office.COMBINATIONS, *pdf.COMBINATIONS))]
    return "\n".join(lines) + "\n"


def _signs(rows: Iterable[Indicator]) -> Iterator[str]:
    yield "| sign | weight | severity | group | technique | source | meaning |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        cells = (row.technique, _escaped(row.source or f"ATT&CK {row.technique}"), _escaped(row.meaning))
        yield f"| `{row.name}` | {row.weight} | {row.severity.name.lower()} | {row.group} | {' | '.join(cells)} |"


def _combinations(rows: Iterable[Combination]) -> Iterator[str]:
    yield "| combination | weight | severity | groups | technique | meaning |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        cells = (row.severity.name.lower(), ", ".join(sorted(row.needs)), row.technique, _escaped(row.meaning))
        yield f"| `{row.name}` | {row.weight} | {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
