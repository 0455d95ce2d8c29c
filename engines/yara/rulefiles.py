"""Finds and reads rule files. Knows no rule syntax."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from icapd.scan.engine_api import ConfigurationError, Material, Problem, open_regular

SUFFIXES = frozenset({".yar", ".yara"})


def read_rule_files(entries: Mapping[str, Path]) -> Material:
    """The content of every rule file by its name, in the order of the names.

    A name is an entry as configured, with the path inside it for a folder: rulesets are told apart by these names,
    and nodes whose configuration lies in different folders must agree.

    A file named by itself may have any suffix. A folder without a rule file is refused: a mount that failed looks
    the same, and would leave everything unscanned without a word.

    Args: `entries` are the paths that are meant, by the texts that mean them.
    Raises: ConfigurationError with every path that is missing, empty or unreadable.
    """
    names: dict[Path, str] = {}
    problems: list[Problem] = []
    for text, entry in entries.items():
        files = _rule_files(entry)
        if not files:
            problems.append(
                Problem(str(entry), "no rule file here (*.yar, *.yara)" if entry.is_dir() else "no such file")
            )
        for path in files:
            names.setdefault(path, str(Path(text) / path.relative_to(entry)))
    material: dict[str, bytes] = {}
    for path, name in sorted(names.items(), key=lambda item: item[1]):
        try:
            with open_regular(path) as file:
                material[name] = file.read()
        except OSError as error:
            problems.append(Problem(str(path), error.strerror or "cannot be read"))
    if problems:
        raise ConfigurationError(problems)
    return material


def _rule_files(entry: Path) -> list[Path]:
    if entry.is_dir():
        return [path for path in entry.rglob("*") if path.suffix in SUFFIXES and path.is_file()]
    return [entry] if entry.exists() else []
