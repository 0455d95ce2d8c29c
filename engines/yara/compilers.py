"""Compiles rule files, each file in a namespace of its own, and says of every refused one where and why.

Includes are refused: an included file would be read past `gather`, and processes started later might judge by others.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

import yara
import yara_x

from engines.yara.rulesets import Ruleset, YaraRuleset, YaraXRuleset
from icapd.scan.engine_api import Material, Problem

Backend = Literal["auto", "yara", "yara-x"]
Refused = dict[str, list[Problem]]

NO_INCLUDE = "include is not supported: list the file or its folder under engines.yara.rules"
PROBLEMS_PER_FILE = 20
_YARA_X = ""
"""What no file is called."""
_YARA_MESSAGE = re.compile(r"line (\d+): (.*)", re.DOTALL)


class Compiled(NamedTuple):
    """What YARA-X has made of the files that it takes, if there are any; and the sources of those for yara-python.

    The latter says nothing of a compiled rule's file, so that its files are compiled wherever they are used.
    """

    yara_x: yara_x.Rules | None
    sources: dict[str, str]

    def rulesets(self) -> list[Ruleset]:
        rulesets: list[Ruleset] = []
        if self.yara_x is not None:
            rulesets.append(YaraXRuleset(self.yara_x))
        if self.sources:
            rulesets.append(YaraRuleset(self.sources))
        return rulesets

    def pack(self) -> Material:
        packed = {path: source.encode() for path, source in self.sources.items()}
        if self.yara_x is not None:
            written = io.BytesIO()
            self.yara_x.serialize_into(written)
            packed[_YARA_X] = written.getvalue()
        return packed

    @classmethod
    def unpack(cls, packed: Material) -> Compiled:
        """Of what this version of YARA-X has packed."""
        rules = yara_x.Rules.deserialize_from(io.BytesIO(packed[_YARA_X])) if _YARA_X in packed else None
        return cls(rules, {path: source.decode() for path, source in packed.items() if path != _YARA_X})


def compile_rules(material: Material, backend: Backend) -> tuple[Compiled, list[Problem]]:
    """All rule files, compiled; and all that is wrong with the files that no allowed compiler takes."""
    sources, problems = _decode(material)
    refused: Refused = {path: [] for path in sources}
    rules: yara_x.Rules | None = None
    fit: dict[str, str] = {}
    if backend != "yara":
        rules, refused = _compile_yara_x(sources)
    if backend != "yara-x":
        left = {path: sources[path] for path in refused}
        unfit = _refused(left, _yara_problems)
        fit = {path: source for path, source in left.items() if path not in unfit}
        refused = {path: refused[path] + found for path, found in unfit.items()}
    for found in refused.values():
        problems += list(dict.fromkeys(found))[:PROBLEMS_PER_FILE]
    return Compiled(rules, fit), problems


def _refused(sources: dict[str, str], compile_alone: Callable[[str, str], list[Problem]]) -> Refused:
    return {path: found for path, source in sources.items() if (found := compile_alone(path, source))}


def _decode(material: Material) -> tuple[dict[str, str], list[Problem]]:
    sources: dict[str, str] = {}
    problems: list[Problem] = []
    for path, content in material.items():
        try:
            sources[path] = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            problems.append(Problem(f"{path}:{line}", "not UTF-8"))
    return sources, problems


def _compile_yara_x(sources: dict[str, str]) -> tuple[yara_x.Rules | None, Refused]:
    """The files that YARA-X takes, compiled, if there are any; and the others. All are tried at once before each one
    alone, as compiling is most of what a start costs and most sets are sound."""
    refused: Refused = {}
    try:
        return _build_yara_x(sources), refused
    except yara_x.CompileError:
        refused = _refused(sources, _yara_x_problems)
    return _build_yara_x({path: source for path, source in sources.items() if path not in refused}), refused


def _build_yara_x(sources: dict[str, str]) -> yara_x.Rules | None:
    """Raises: yara_x.CompileError."""
    if not sources:
        return None
    compiler = _yara_x_compiler()
    for path, source in sources.items():
        compiler.new_namespace(path)
        compiler.add_source(source, origin=path)
    return compiler.build()


def _yara_x_compiler() -> yara_x.Compiler:
    # Relaxed: YARA takes `\y` or a lone `{` in a regular expression for the character, and public rules rely on it.
    return yara_x.Compiler(relaxed_re_syntax=True, includes_enabled=False)


def _yara_x_problems(path: str, source: str) -> list[Problem]:
    """What YARA-X has against one file.

    Each file gets a compiler of its own: a compiler that saw an error keeps the sound rules of that file,
    and they would be judged a second time by yara-python.
    """
    compiler = _yara_x_compiler()
    try:
        compiler.add_source(source, origin=path)
    except yara_x.CompileError:
        return [_yara_x_problem(path, error) for error in compiler.errors()]
    return []


def _yara_x_problem(path: str, error: dict[str, object]) -> Problem:
    where = f"{path}:{error.get('line', 1)}"
    if error["type"] == "IncludeNotAllowed":
        return Problem(where, NO_INCLUDE)
    labels = error.get("labels")
    details = [str(label["text"]) for label in labels] if isinstance(labels, list) else []
    return Problem(where, f"yara-x: {': '.join([str(error['title']), *details])}")


def _yara_problems(path: str, source: str) -> list[Problem]:
    """What yara-python has against one file: it tells the first error only."""
    try:
        yara.compile(source=source, includes=False)
    except yara.Error as error:
        told = _YARA_MESSAGE.fullmatch(str(error))
        line, text = (int(told[1]), told[2]) if told else (1, str(error))
        text = NO_INCLUDE if text == "includes are disabled" else f"yara: {text}"
        # libyara says line 0 when the file ends too early.
        return [Problem(f"{path}:{line or source.count(chr(10)) + 1}", text)]
    return []
