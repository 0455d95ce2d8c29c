"""Loads the configuration: defaults, file, environment, command line, in rising order. All of it or nothing."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from icapd.config.address import Endpoint, parse_admin
from icapd.config.checks import check
from icapd.config.keys import did_you_mean, key_path, plain_keys
from icapd.config.layers import Override, apply, from_command_line, from_environment
from icapd.config.pages import read_languages, read_pages
from icapd.config.policies import compile_policies
from icapd.config.problems import problems_of, unusable
from icapd.config.schema import Server, Service, Settings
from icapd.config.shipped import resolve
from icapd.errors import ConfigurationError, Problem
from icapd.policy.decide import Policy
from icapd.policy.facts import Decision
from icapd.policy.modes import compile_modes
from icapd.policy.page import BlockPage
from icapd.policy.texts import Languages
from icapd.scan.engine_api import EngineOptions, EngineSpec

T = TypeVar("T")

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Loaded:
    """A whole, checked configuration. `base` is where relative paths start."""

    settings: Settings
    base: Path
    policies: Mapping[str, Policy]
    pages: Mapping[str | None, BlockPage]
    languages: Languages
    shadow: Loaded | None = None
    """The configuration that `shadow.config` names."""

    def resolve(self, text: str) -> Path:
        """The file that a configured path means."""
        return resolve(self.base, text)

    def policy_of(self, service: Service) -> Policy:
        """The policy that judges what this service receives."""
        return self.policies[service.policy or self.settings.server.policy]

    def page_of(self, decision: Decision) -> BlockPage:
        """The page for a blocked transaction."""
        return self.pages[decision.page]


def load(
    path: Path | None,
    specs: Mapping[str, EngineSpec],
    overrides: Mapping[str, str] = NOTHING,
    environ: Mapping[str, str] = os.environ,
) -> Loaded:
    """Reads and checks everything.

    Args: `overrides` maps dotted keys to values in the form of layers.py; `specs` are the installed engines.
    Raises: ConfigurationError with every problem found, not the first.
    """
    loaded = _load(path, specs, overrides, environ)
    name = loaded.settings.shadow.config
    if name is None:
        return loaded
    try:
        return replace(loaded, shadow=_load(loaded.resolve(name), specs, overrides, environ))
    except ConfigurationError as error:
        problems = [Problem(f"shadow.config: {problem.where}", problem.what) for problem in error.problems]
        raise ConfigurationError(problems) from error


def _load(
    path: Path | None, specs: Mapping[str, EngineSpec], overrides: Mapping[str, str], environ: Mapping[str, str]
) -> Loaded:
    """One file; that it names another one to be tried is no matter here."""
    data = _read(path) if path else {}
    specs = _with_more(data.get("engines"), specs)
    base = path.absolute().parent if path else Path.cwd()
    problems: list[Problem] = []
    known = plain_keys(specs)
    layers = [*from_environment(environ, known), *from_command_line(overrides)]
    for override in layers:
        problems += apply(data, override, known)
    problems += unusable(data)

    engines = _engine_options(data.pop("engines", {}), specs, problems)
    settings = _settings(data, engines, problems)
    wrong = {_section(problem) for problem in problems}
    problems += check(settings, base, wrong)
    policies = (
        None if wrong & {"server", "service", "policy"} else _tried(problems, lambda: compile_policies(settings))
    )
    if "delivery" not in wrong:
        _tried(problems, lambda: compile_modes(settings.delivery))
    languages = None if "pages" in wrong else _tried(problems, lambda: read_languages(settings, base))
    pages = (
        None
        if languages is None or "policy" in wrong
        else _tried(problems, lambda: read_pages(settings, base, languages))
    )
    if problems or policies is None or pages is None or languages is None:
        problems += _engine_problems(engines, specs, base, problems)
        raise ConfigurationError(list(_with_sources(problems, layers)))
    return Loaded(settings, base, policies, pages, languages)


def read_admin(
    path: Path | None, overrides: Mapping[str, str] = NOTHING, environ: Mapping[str, str] = os.environ
) -> Endpoint:
    """Where a server of this configuration has its admin endpoints, whatever else is wrong with it by now.

    Raises: ConfigurationError when the file cannot be read or is not TOML, or when the address is none.
    """
    data = _read(path) if path else {}
    known = plain_keys({})
    for override in [*from_environment(environ, known), *from_command_line(overrides)]:
        list(apply(data, override, known))  # an unknown key is for the server to tell of
    section = data.get("server")
    text = section.get("admin") if isinstance(section, dict) else None
    try:
        return parse_admin(str(text or Server().admin))
    except ValueError as error:
        raise ConfigurationError([Problem("server.admin", str(error))]) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        problem = Problem(str(path), f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        problem = Problem(str(path), f"is not UTF-8 at byte {error.start}")
    except tomllib.TOMLDecodeError as error:
        what, _, place = str(error).rstrip(")").partition(" (at ")
        line = re.match(r"line \d+", place)
        problem = Problem(f"{path}, {line[0] if line else place}", f"is not TOML: {what}")
    raise ConfigurationError([problem])


def _engine_options(
    tables: object, specs: Mapping[str, EngineSpec], problems: list[Problem]
) -> dict[str, EngineOptions]:
    """One options model for each installed engine. For one that is wrong, its defaults stand in."""
    if not isinstance(tables, dict):
        problems.append(Problem("engines", "must be a table with one table for each engine"))
        tables = {}
    for name, table in tables.items():
        more_of = table.get("engine") if isinstance(table, dict) else None
        if name not in specs and more_of is None:
            problems.append(Problem(f"engines.{name}", "no such engine is installed" + did_you_mean(name, specs)))
        elif name not in specs:
            problems.append(Problem(*_not_one_more(name, more_of, specs)))
        elif more_of is not None and specs[name].is_remote and specs[name].name == name:
            problems.append(Problem(f"engines.{name}.engine", "is for a table with a name of its own"))
    options: dict[str, EngineOptions] = {}
    for name, spec in specs.items():
        table = tables.get(name, {})
        try:
            options[name] = spec.options.model_validate(table)
        except ValidationError as error:
            problems += problems_of(error, spec.options, table, ("engines", name))
            options[name] = spec.options.model_construct()
    return options


def _not_one_more(name: str, more_of: object, specs: Mapping[str, EngineSpec]) -> tuple[str, str]:
    """Where, and why, a table is not one more of a remote engine."""
    if isinstance(more_of, str) and more_of in specs and specs[more_of].is_remote:
        return f"engines.{name}", "wants a name of small letters, digits, - and _, at most 32, the first a letter"
    return f"engines.{name}.engine", f"there is no remote engine {more_of!r} to be one more of"


def _with_more(tables: object, specs: Mapping[str, EngineSpec]) -> dict[str, EngineSpec]:
    """The installed engines, and the same remote ones under the names of tables that say `engine`."""
    more = {
        name: specs[table["engine"]]
        for name, table in (tables.items() if isinstance(tables, dict) else ())
        if isinstance(table, dict) and isinstance(table.get("engine"), str) and _NAME.fullmatch(name)
        if table["engine"] in specs and specs[table["engine"]].is_remote
    }
    return {**more, **specs}


def _engine_problems(
    engines: Mapping[str, EngineOptions], specs: Mapping[str, EngineSpec], base: Path, known: Iterable[Problem]
) -> list[Problem]:
    """What is wrong with rule files and lists, for a start that fails anyway: so that all is told at once.

    An engine whose options are wrong themselves is passed over, as nobody knows which files it was to read.
    """
    wrong = {problem.where.split(".")[1] for problem in known if problem.where.startswith("engines.")}
    problems: list[Problem] = []
    for name, options in engines.items():
        if options.enabled and name not in wrong:
            try:
                spec = specs[name]
                spec.build(options, spec.gather(options, lambda text: resolve(base, text)))
            except ConfigurationError as error:
                problems += error.problems
    return problems


def _settings(data: dict[str, Any], engines: Mapping[str, EngineOptions], problems: list[Problem]) -> Settings:
    """The settings. For a section that is wrong, its defaults stand in, so that the others can be checked further."""
    try:
        return Settings.model_validate({**data, "engines": engines})
    except ValidationError as error:
        problems += problems_of(error, Settings, data)
        wrong = {detail["loc"][0] for detail in error.errors()}
        sound = {section: value for section, value in data.items() if section not in wrong}
        return Settings.model_validate({**sound, "engines": engines})


def _tried(problems: list[Problem], make: Callable[[], T]) -> T | None:
    try:
        return make()
    except ConfigurationError as error:
        problems += error.problems
        return None


def _section(problem: Problem) -> str:
    return re.split(r"[.\[]", problem.where, maxsplit=1)[0]


def _with_sources(problems: Iterable[Problem], layers: Iterable[Override]) -> Iterator[Problem]:
    """Says with a key that was set outside the file where it was set."""
    sources = {key_path(layer.keys): layer.source for layer in layers}
    for problem in dict.fromkeys(problems):
        key = next((key for key in sources if re.match(rf"{re.escape(key)}($|[.\[])", problem.where)), "")
        is_named = not key or sources[key] == key
        yield problem if is_named else Problem(f"{problem.where} ({sources[key]})", problem.what)
