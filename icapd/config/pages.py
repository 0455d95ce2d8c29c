"""Reads the block page templates that a configuration names."""

from __future__ import annotations

from pathlib import Path

from icapd.config.schema import Settings
from icapd.config.shipped import resolve, shipped_conf
from icapd.errors import ConfigurationError, Problem
from icapd.policy.page import BlockPage


def read_pages(settings: Settings, base: Path) -> dict[str | None, BlockPage]:
    """Every page a decision may name; None is the one for rules that name none.

    Raises: ConfigurationError with each template that is missing or does not work.
    """
    wanted: dict[str | None, tuple[str, Path]] = {}
    for index, rule in enumerate(settings.policy):
        if rule.page is not None:
            wanted.setdefault(rule.page, (f"policy[{index}].page", resolve(base, rule.page)))
    block = settings.pages.block
    wanted[None] = ("pages.block", resolve(base, block) if block else shipped_conf() / "pages" / "block.html")

    pages: dict[str | None, BlockPage] = {}
    problems: list[Problem] = []
    for name, (where, path) in wanted.items():
        try:
            pages[name] = BlockPage(path.read_text(encoding="utf-8"), where)
        except OSError as error:
            problems.append(Problem(where, f"cannot read {path}: {error.strerror}"))
        except UnicodeDecodeError:
            problems.append(Problem(where, f"{path} is not UTF-8"))
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    return pages
