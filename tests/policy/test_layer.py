"""Policy is pure: what it imports says so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import icapd.policy

ALLOWED = {
    "__future__",
    "base64",
    "collections.abc",
    "dataclasses",
    "difflib",
    "enum",
    "bisect",
    "functools",
    "operator",
    "posixpath",
    "types",
    "hashlib",
    "hmac",
    "ipaddress",
    "jinja2",
    "jinja2.meta",
    "msgspec",
    "re",
    "typing",
    "urllib.parse",
    "icapd.config.schema",
    "icapd.errors",
    "icapd.scan.model",
}
MODULES = sorted(Path(icapd.policy.__file__).parent.glob("*.py"))


def imported(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_policy_imports_nothing_that_reads_the_world(module: Path) -> None:
    foreign = {name for name in imported(module) if name not in ALLOWED and not name.startswith("icapd.policy.")}
    assert not foreign


def test_policy_opens_nothing() -> None:
    names = {
        node.id
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Name)
    }
    assert not names & {"open", "print", "input", "__import__"}
