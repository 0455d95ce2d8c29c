"""YARA rules as an engine: the operator's rule files, compiled by YARA-X, or by yara-python where YARA-X refuses one.

Owns the options, the rule files' way into memory, and the spec. Knows nothing of processes or policy.

Rules say what a match means in their metadata: `kind` (malware, suspicious, forbidden, info) and `severity` (info,
low, medium, high, critical, or a number from 0 to 100). See `classify`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from pydantic import Field

from engines.yara.classify import classify
from engines.yara.compilers import Backend, Compiled, compile_rules
from engines.yara.engine import YaraEngine
from engines.yara.rulefiles import read_rule_files
from icapd.scan.engine_api import Compiling, ConfigurationError, EngineOptions, EngineSpec, Material, Problem


class YaraOptions(EngineOptions):
    rules: list[str] = Field(
        ["conf/rules"],
        description="rule files, or folders searched for *.yar and *.yara; each file stands alone, no `include`",
    )
    timeout_s: float = Field(20.0, ge=2, le=600, description="for one body or member; may end a second or two early")
    backend: Backend = Field(
        "auto",
        description="auto = YARA-X, and yara-python for the files YARA-X refuses; yara-x or yara = that one alone",
    )


def _gather(options: EngineOptions, resolve: Callable[[str], Path]) -> Material:
    assert isinstance(options, YaraOptions)
    return read_rule_files({entry: resolve(entry) for entry in options.rules})


def _build(options: EngineOptions, material: Material) -> YaraEngine:
    assert isinstance(options, YaraOptions)
    compiled, problems = compile_rules(material, options.backend)
    return _engine_of(compiled, options, problems, material)


def _compile(options: EngineOptions, material: Material) -> Material:
    assert isinstance(options, YaraOptions)
    compiled, problems = compile_rules(material, options.backend)
    _engine_of(compiled, options, problems, material)
    return compiled.pack()


def _build_compiled(options: EngineOptions, material: Material) -> YaraEngine:
    assert isinstance(options, YaraOptions)
    return _engine_of(Compiled.unpack(material), options, [], material)


def _engine_of(compiled: Compiled, options: YaraOptions, problems: list[Problem], material: Material) -> YaraEngine:
    """Raises: ConfigurationError with these problems, and with what rules say of themselves that is unclear."""
    rulesets = compiled.rulesets()
    templates, unclear = classify(rulesets, material)
    if problems or unclear:
        raise ConfigurationError(sorted(problems + unclear))
    return YaraEngine(rulesets, templates, options.timeout_s)


def _version() -> str:
    return f"1 yara-x {version('yara-x')} yara-python {version('yara-python')}"


SPEC = EngineSpec(
    name="yara",
    options=YaraOptions,
    gather=_gather,
    build=_build,
    version=_version,
    compiling=Compiling(_compile, _build_compiled),
)
