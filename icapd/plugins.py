"""Finds the installed engines, takes one snapshot of everything they read, and builds them from it.

The supervisor finds and gathers, once a start or reload; scanner nurseries only build. So every process judges by the
same bytes, also one that is started after a rule file changed. The snapshot travels as msgpack, never as code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace
from pydantic import ValidationError

from icapd import __version__
from icapd.errors import ConfigurationError, Problem
from icapd.scan.engine_api import (
    Engine,
    EngineOptions,
    EngineSpec,
    Identifier,
    RemoteEngine,
    RemoteOptions,
    Tables,
    Unpacker,
    UrlEngine,
)
from icapd.scan.ruleset import Part, ruleset_id
from icapd.scan.selection import Selection, SelectionClass, classes_of
from icapd.scan.tree import EngineSet

if TYPE_CHECKING:  # nurseries do without the schema, which takes a tenth of a second
    from icapd.config.schema import SelectionRow

GROUP: Final = "icapd.engines"


class EngineSnapshot(msgspec.Struct, frozen=True):
    """One engine: its version, its options as JSON, and the files it judges by."""

    name: str
    version: str
    options: bytes
    material: dict[str, bytes]
    is_remote: bool = False
    engine: str = ""
    """Which installed engine it is one more of; empty where the name says it."""
    is_compiled: bool = False
    """Whether `material` is what came of compiling."""

    @property
    def installed_as(self) -> str:
        return self.engine or self.name


class RulesetSnapshot(msgspec.Struct, frozen=True):
    """Everything that scanners are built from, and its id; beside it what judges URLs, and the id of that.

    The verdict on a body does not depend on lists of URLs: when these change, scanners and what caches hold stay.
    """

    engines: tuple[EngineSnapshot, ...]
    ruleset: str
    url_engines: tuple[EngineSnapshot, ...] = ()
    url_ruleset: str = ""
    selection: tuple[SelectionClass, ...] = ()

    @property
    def all_engines(self) -> tuple[EngineSnapshot, ...]:
        return (*self.engines, *self.url_engines)

    @property
    def remote(self) -> tuple[EngineSnapshot, ...]:
        """Those that fronts build."""
        return tuple(engine for engine in self.engines if engine.is_remote)


encode_snapshot: Final = msgspec.msgpack.Encoder().encode
decode_snapshot: Final = msgspec.msgpack.Decoder(RulesetSnapshot).decode


def installed_specs(found: Iterable[EntryPoint] | None = None) -> dict[str, EngineSpec]:
    """The engines that installed packages offer, by name.

    Args: `found` stands in for the entry points of this environment.
    Raises: ConfigurationError with every entry point that does not import, is no EngineSpec, or takes a taken name.
    """
    specs: dict[str, EngineSpec] = {}
    problems = []
    for entry in entry_points(group=GROUP) if found is None else found:
        where = f"entry point {entry.name} = {entry.value}"
        try:
            spec = entry.load()
        except Exception as error:  # a package of somebody else may raise anything while it is imported
            problems.append(Problem(where, f"cannot be imported: {type(error).__name__}: {error}"))
            continue
        if not isinstance(spec, EngineSpec):
            problems.append(Problem(where, f"is no EngineSpec but {type(spec).__name__}"))
        elif spec.name != entry.name:
            problems.append(Problem(where, f"holds the spec of another engine, {spec.name}"))
        elif spec.name in specs:
            problems.append(Problem(where, "another package offers an engine of that name"))
        else:
            specs[spec.name] = spec
    if problems:
        raise ConfigurationError(sorted(problems))
    return specs


def gather_snapshot(
    settings_engines: Mapping[str, EngineOptions],
    resolve: Callable[[str], Path],
    specs: Mapping[str, EngineSpec] | None = None,
    selection: Sequence[SelectionRow] = (),
) -> RulesetSnapshot:
    """Reads everything that the enabled engines need.

    Args: `selection` says which of them see what; without rows, all see all.

    Raises: ConfigurationError with the problems of all engines.
    """
    specs = installed_specs() if specs is None else specs
    engines: list[EngineSnapshot] = []
    url_engines: list[EngineSnapshot] = []
    problems: list[Problem] = []
    for name, options in sorted(settings_engines.items()):
        if not options.enabled:
            continue
        more_of = (options.engine if isinstance(options, RemoteOptions) else None) or ""
        spec = specs.get(more_of or name)
        if spec is None:
            problems.append(Problem(f"engines.{name}", "no installed package offers this engine"))
            continue
        try:
            material = dict(spec.gather(options, resolve))
        except ConfigurationError as error:
            problems += error.problems
            continue
        packed = options.model_dump_json().encode()
        snapshot = EngineSnapshot(name, spec.version(), packed, material, spec.is_remote, more_of)
        (engines if spec.build_in_front is None else url_engines).append(snapshot)
    if problems:
        raise ConfigurationError(problems)
    # icapd judges as well: what it walks into, and what it makes of the reports.
    classes = classes_of(selection)
    shown = "\n".join(each.as_text() for each in classes).encode()
    ruleset = ruleset_id([*map(_part, engines), ("icapd", __version__, shown, {})])
    return RulesetSnapshot(tuple(engines), ruleset, tuple(url_engines), ruleset_id(map(_part, url_engines)), classes)


def _part(engine: EngineSnapshot) -> Part:
    return engine.name, engine.version, engine.options, engine.material


def compile_engines(snapshot: RulesetSnapshot, specs: Mapping[str, EngineSpec] | None = None) -> RulesetSnapshot:
    """The same with what takes long to build compiled, where it can be: of the rest, building tells the problems.

    The ids stay those of the files.
    """
    specs = _specs_of([engine for engine in snapshot.engines if not engine.is_remote]) if specs is None else specs
    return replace(snapshot, engines=tuple(_compiled(engine, specs) for engine in snapshot.engines))


def _compiled(engine: EngineSnapshot, specs: Mapping[str, EngineSpec]) -> EngineSnapshot:
    if engine.is_remote or engine.is_compiled:
        return engine
    try:
        spec, options = _spec_and_options(engine, specs)
        if spec.compiling is None:
            return engine
        material = dict(spec.compiling.compile(options, engine.material))
    except ConfigurationError:
        return engine
    return replace(engine, material=material, is_compiled=True)


def build_engines(snapshot: RulesetSnapshot, specs: Mapping[str, EngineSpec] | None = None) -> EngineSet:
    """Builds the engines of a snapshot but the remote ones, which are not even imported.

    Raises: ConfigurationError with the problems of all engines, those in rule files with their lines.
    """
    local = [engine for engine in snapshot.engines if not engine.is_remote]
    specs = _specs_of(local) if specs is None else specs
    built: list[object] = []
    timeouts_s: dict[str, float] = {}
    required: set[str] = set()
    problems: list[Problem] = []
    for engine in local:
        try:
            options, instance = _build(engine, specs)
        except ConfigurationError as error:
            problems += error.problems
            continue
        built.append(instance)
        timeouts_s[engine.name] = options.timeout_s
        if options.required:
            required.add(engine.name)
    identifiers = [instance for instance in built if isinstance(instance, Identifier)]
    if len(identifiers) > 1:
        problems.append(Problem("engines", "more than one engine identifies content; disable all but one"))
    if problems:
        raise ConfigurationError(problems)
    return EngineSet(
        identifier=identifiers[0] if identifiers else None,
        engines=tuple(instance for instance in built if isinstance(instance, Engine)),
        unpackers=tuple(instance for instance in built if isinstance(instance, Unpacker)),
        timeouts_s=timeouts_s,
        required=frozenset(required),
        selection=Selection(snapshot.selection),
    )


def build_remote_engines(
    remote: Sequence[EngineSnapshot], specs: Mapping[str, EngineSpec] | None = None
) -> list[tuple[RemoteEngine, RemoteOptions]]:
    """Builds remote engines; no other is imported.

    Raises: ConfigurationError.
    """
    specs = _specs_of(remote) if specs is None else specs
    built = []
    for engine in remote:
        options, instance = _build(engine, specs)
        if not isinstance(options, RemoteOptions) or not isinstance(instance, RemoteEngine):
            raise ConfigurationError([Problem(f"engines.{engine.name}", "is said to be remote, and is not")])
        instance.name = engine.name
        built.append((instance, options))
    return built


def _specs_of(engines: Sequence[EngineSnapshot]) -> dict[str, EngineSpec]:
    names = {engine.installed_as for engine in engines}
    return installed_specs(entry for entry in entry_points(group=GROUP) if entry.name in names)


def build_url_engine(
    engine: EngineSnapshot, tables: Tables, specs: Mapping[str, EngineSpec] | None = None
) -> UrlEngine:
    """Builds an engine that judges URLs; no other is imported. Raises: ConfigurationError."""
    spec, options = _spec_and_options(engine, _specs_of([engine]) if specs is None else specs)
    if spec.build_in_front is None:
        raise ConfigurationError([Problem(f"engines.{engine.name}", "judges no URLs")])
    return spec.build_in_front(options, tables)


def _build(engine: EngineSnapshot, specs: Mapping[str, EngineSpec]) -> tuple[EngineOptions, object]:
    spec, options = _spec_and_options(engine, specs)
    build = spec.build
    if engine.is_compiled:
        if spec.compiling is None:
            raise ConfigurationError([Problem(f"engines.{engine.name}", "cannot be built from what was compiled")])
        build = spec.compiling.build
    instance = build(options, engine.material)
    if not isinstance(instance, Engine | Identifier | Unpacker | RemoteEngine):
        what = f"builds {type(instance).__name__}, which is no engine"
        raise ConfigurationError([Problem(f"engines.{engine.name}", what)])
    return options, instance


def _spec_and_options(engine: EngineSnapshot, specs: Mapping[str, EngineSpec]) -> tuple[EngineSpec, EngineOptions]:
    """What builds an engine of a snapshot. Raises: ConfigurationError when that is not there any more."""
    where = f"engines.{engine.name}"
    spec = specs.get(engine.installed_as)
    if spec is None:
        raise ConfigurationError([Problem(where, "no installed package offers this engine")])
    if spec.version() != engine.version:
        # Under the old ruleset id, caches would mix what two versions say.
        raise ConfigurationError(
            [Problem(where, f"version {engine.version} was replaced by {spec.version()} on disk; restart icapd")]
        )
    try:
        options = spec.options.model_validate_json(engine.options)
    except ValidationError as error:
        raise ConfigurationError([Problem(where, str(error))]) from error
    return spec, options
