"""Reads the block page templates that a configuration names, and the words of each language."""

from __future__ import annotations

import tomllib
from pathlib import Path

from icapd.config.schema import Settings
from icapd.config.shipped import resolve, shipped_conf
from icapd.errors import ConfigurationError, Problem
from icapd.policy.page import BlockPage
from icapd.policy.texts import Languages, wrong_texts

LANGUAGES_MAX = 64


def read_languages(settings: Settings, base: Path) -> Languages:
    """The shipped languages, and those of the configured folder in their place or beside them.

    Raises: ConfigurationError with each file that is no language.
    """
    shipped = shipped_conf() / "pages" / "languages"
    configured = resolve(base, settings.pages.languages)
    problems: list[Problem] = []
    files = {path.stem.lower(): path for folder in (shipped, configured) for path in sorted(folder.glob("*.toml"))}
    if not configured.is_dir():
        problems.append(Problem("pages.languages", f"{configured} is no folder"))
    if len(files) > LANGUAGES_MAX:
        problems.append(Problem("pages.languages", f"{len(files)} languages; at most {LANGUAGES_MAX}"))
        files = {}
    languages: dict[str, dict[str, str]] = {}
    for tag, path in files.items():
        where = f"pages.languages: {path.name}"
        try:
            languages[tag] = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            problems.append(Problem(where, f"cannot be read: {error.strerror}"))
        except ValueError as error:
            problems.append(Problem(where, f"is not TOML in UTF-8: {error}"))
        else:
            problems += wrong_texts(tag, languages[tag], where)
    if not problems and settings.pages.language not in languages:
        known = " ".join(languages)
        problems.append(Problem("pages.language", f"there is no {settings.pages.language}; there are {known}"))
    if problems:
        raise ConfigurationError(problems)
    return languages


def read_pages(settings: Settings, base: Path, languages: Languages) -> dict[str | None, BlockPage]:
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
            pages[name] = BlockPage(path.read_text(encoding="utf-8"), where, languages, settings.pages.language)
        except OSError as error:
            problems.append(Problem(where, f"cannot read {path}: {error.strerror}"))
        except UnicodeDecodeError:
            problems.append(Problem(where, f"{path} is not UTF-8"))
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    return pages
