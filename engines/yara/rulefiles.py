"""Finds and reads rule files. Knows no rule syntax."""

from __future__ import annotations

from pathlib import Path

from icapd.scan.engine_api import ConfigurationError, Material, Problem

SUFFIXES = frozenset({".yar", ".yara"})


def read_rule_files(entries: list[Path]) -> Material:
    """The content of every rule file, by its absolute path, in the order of the paths.

    A file named by itself may have any suffix. A folder without a rule file is refused: a mount that failed looks
    the same, and would leave everything unscanned without a word.

    Raises: ConfigurationError with every path that is missing, empty or unreadable.
    """
    found: set[Path] = set()
    problems: list[Problem] = []
    for entry in entries:
        files = _rule_files(entry)
        if not files:
            problems.append(
                Problem(str(entry), "no rule file here (*.yar, *.yara)" if entry.is_dir() else "no such file")
            )
        found.update(files)
    material: dict[str, bytes] = {}
    for path in sorted(found):
        try:
            material[str(path)] = path.read_bytes()
        except OSError as error:
            problems.append(Problem(str(path), error.strerror or "cannot be read"))
    if problems:
        raise ConfigurationError(problems)
    return material


def _rule_files(entry: Path) -> list[Path]:
    if entry.is_dir():
        return [path for path in entry.rglob("*") if path.suffix in SUFFIXES and path.is_file()]
    return [entry] if entry.exists() else []
