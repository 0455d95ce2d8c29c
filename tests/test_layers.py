"""Who may import whom. The tables are the architecture: a new edge is a decision, made here."""

from __future__ import annotations

import ast
from collections.abc import Collection
from functools import lru_cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "icapd").rglob("*.py"), *(ROOT / "engines").rglob("*.py")])
LINES_MAX = 400

LAYERS: dict[str, tuple[str, ...]] = {
    "icapd": (),
    "icapd.errors": (),
    "icapd.reactor": (),
    "icapd.breaker": (),
    # The contracts: values and interfaces that layers on both sides speak.
    "icapd.config.address": (),
    "icapd.config.schema": ("icapd.config.address",),
    "icapd.scan.model": ("icapd.errors",),
    "icapd.scan.engine_api": ("icapd.errors", "icapd.scan.model"),
    "icapd.scan.indicators": ("icapd.scan.model",),
    # The pure core.
    "icapd.icap": ("icapd.errors",),
    "icapd.policy": ("icapd.errors", "icapd.config.schema", "icapd.scan.model"),
    # What serves the way of one request.
    "icapd.observe": ("icapd.errors",),
    "icapd.cache": ("icapd.breaker", "icapd.errors", "icapd.reactor", "icapd.config.schema", "icapd.scan.model"),
    "icapd.scan": (
        "icapd.breaker",
        "icapd.errors",
        "icapd.reactor",
        "icapd.config.address",
        "icapd.config.schema",
        "icapd.observe",
        "icapd.scan.engine_api",
        "icapd.scan.model",
    ),
    "icapd.plugins": ("icapd", "icapd.errors", "icapd.config.schema", "icapd.scan", "icapd.scan.engine_api"),
    "icapd.config": (
        "icapd",
        "icapd.errors",
        "icapd.config.address",
        "icapd.config.schema",
        "icapd.plugins",
        "icapd.policy",
        "icapd.scan.engine_api",
        "icapd.scan.model",
    ),
    "icapd.net": (
        "icapd",
        "icapd.errors",
        "icapd.reactor",
        "icapd.config.address",
        "icapd.config.schema",
        "icapd.icap",
        "icapd.observe",
        "icapd.policy",
        "icapd.scan",
        "icapd.scan.engine_api",
        "icapd.scan.model",
    ),
    # The processes, and what puts them together.
    "icapd.worker": (
        "icapd",
        "icapd.errors",
        "icapd.reactor",
        "icapd.cache",
        "icapd.config",
        "icapd.config.address",
        "icapd.config.schema",
        "icapd.net",
        "icapd.observe",
        "icapd.plugins",
        "icapd.policy",
        "icapd.scan",
        "icapd.scan.engine_api",
        "icapd.scan.model",
    ),
    "icapd.service": (
        "icapd",
        "icapd.errors",
        "icapd.reactor",
        "icapd.cache",
        "icapd.config",
        "icapd.config.address",
        "icapd.config.schema",
        "icapd.observe",
        "icapd.plugins",
        "icapd.scan",
        "icapd.worker",
    ),
    "icapd.cli": (
        "icapd",
        "icapd.errors",
        "icapd.reactor",
        "icapd.cache",
        "icapd.config",
        "icapd.config.address",
        "icapd.config.schema",
        "icapd.icap",
        "icapd.observe",
        "icapd.plugins",
        "icapd.policy",
        "icapd.scan",
        "icapd.scan.model",
        "icapd.service",
        "icapd.worker",
    ),
    "icapd.__main__": ("icapd.cli",),
}

ENGINES_MAY_IMPORT = {"icapd.scan.engine_api", "icapd.scan.indicators", "icapd.scan.model"}

INFLATE = "engines.inflate"
"""Part of what engines stand on: it alone says which library undoes deflate."""

TESTKIT = "engines.testkit"
TESTKIT_MAY_IMPORT = {"icapd.scan.tree"}
"""It walks over bodies as a scanner does, for the tests of engines; no engine imports it."""

REMOTE_ENGINES = ("engines.clamd", "engines.icap_upstream")
REMOTE_ENGINES_MAY_IMPORT = {"icapd.config.address", "icapd.errors", "icapd.icap", "icapd.scan.connections"}
"""They speak with servers: addresses as the configuration writes them, ICAP as the server itself reads it."""

PURE = (
    "icapd.icap",
    "icapd.policy",
    "icapd.scan.indicators",
    "icapd.scan.inert",
    "icapd.scan.merge",
    "icapd.scan.selection",
    "icapd.worker.frames",
)
"""These read no clock, disk, network, environment or logger, so a test needs nothing but values."""

IMPURE = {
    "asyncio",
    "datetime",
    "io",
    "logging",
    "mmap",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "twisted",
    "urllib.request",
    "uuid",
}
IMPURE_BUILTINS = {"open", "print", "input", "eval", "exec", "__import__"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


@lru_cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@lru_cache
def imports_of(module: str) -> frozenset[str]:
    """Full names of the modules that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            source = node.module or ""
            found |= {name if (name := f"{source}.{alias.name}") in MODULES else source for alias in node.names}
    return frozenset(found)


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def is_any_of(name: str, packages: Collection[str]) -> bool:
    return any(is_within(name, package) for package in packages)


def layer_of(module: str) -> str:
    """The longest entry of the table that holds the module."""
    if module == "icapd":
        return module
    layers = [layer for layer in LAYERS if layer != "icapd" and is_within(module, layer)]
    assert layers, f"{module} is in no layer"
    return max(layers, key=len)


@pytest.mark.parametrize("module", [name for name in MODULES if is_within(name, "icapd")])
def test_icapd_imports_only_layers_below(module: str) -> None:
    layer = layer_of(module)
    imported = {layer_of(name) for name in imports_of(module) if is_within(name, "icapd")}
    assert imported <= {layer, *LAYERS[layer]}
    assert not any(is_within(name, "engines") or is_within(name, "tests") for name in imports_of(module))


@pytest.mark.parametrize("module", [name for name in MODULES if is_within(name, "engines")])
def test_engines_know_only_their_contract_and_themselves(module: str) -> None:
    imported = {name for name in imports_of(module) if is_within(name, "icapd")}
    is_remote = is_any_of(module, REMOTE_ENGINES)
    further = {name for name in imported if is_remote and is_any_of(name, REMOTE_ENGINES_MAY_IMPORT)}
    further |= TESTKIT_MAY_IMPORT if module == TESTKIT else set()
    assert imported <= ENGINES_MAY_IMPORT | further
    engine = ".".join(module.split(".")[:2])
    assert all(
        is_within(name, engine) or name == INFLATE for name in imports_of(module) if is_within(name, "engines")
    )


def test_layers_have_no_cycle() -> None:
    assert {below for layer in LAYERS.values() for below in layer} <= set(LAYERS)
    assert set(TopologicalSorter(LAYERS).static_order()) == set(LAYERS)


def test_every_layer_has_modules() -> None:
    assert {layer_of(module) for module in MODULES if is_within(module, "icapd")} == set(LAYERS)


@pytest.mark.parametrize("package", PURE)
def test_the_pure_core_reads_nothing_of_the_world(package: str) -> None:
    modules = [module for module in MODULES if is_within(module, package)]
    assert modules
    for module in modules:
        impure = {name for name in imports_of(module) for wrong in IMPURE if is_within(name, wrong)}
        assert not impure, module
        names = {node.id for node in ast.walk(tree_of(module)) if isinstance(node, ast.Name)}
        assert not names & IMPURE_BUILTINS, module


def test_templates_are_drawn_in_one_place() -> None:
    users = {module for module in MODULES if any(is_within(name, "jinja2") for name in imports_of(module))}
    assert users == {"icapd.policy.page"}


def test_deflate_is_undone_in_one_place() -> None:
    users = {module for module in MODULES if any(is_within(name, "zlib_ng") for name in imports_of(module))}
    assert users == {INFLATE}
    engines = {module for module in MODULES if is_within(module, "engines") and "zlib" in imports_of(module)}
    assert all(is_within(module, "engines.urls") for module in engines)  # its tables are read in fronts, not bodies


def test_nothing_is_unpickled() -> None:
    serialisers = ("pickle", "marshal", "shelve", "dill", "cloudpickle")
    for module in MODULES:
        assert not any(is_within(name, wrong) for name in imports_of(module) for wrong in serialisers), module


def test_no_file_is_too_long() -> None:
    files = [*SOURCES, *(ROOT / "tests").rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > LINES_MAX} == {}
