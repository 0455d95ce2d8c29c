"""Synthetic signatures, always the same ones: YARA rules for icapd, a small database for clamd."""

from __future__ import annotations

import hashlib
import random
import string
from pathlib import Path
from typing import Final

from bench.content import seeded
from bench.corpus import EICAR

YARA_RULES: Final = 500
CLAMD_BODY_SIGNATURES: Final = 4000
CLAMD_HASH_SIGNATURES: Final = 2000

_LETTERS: Final = string.ascii_letters + string.digits


def write_yara_rules(path: Path) -> None:
    """Texts, some in any case, bytes with wildcards, and a few regular expressions; none of them is in the corpus."""
    source = seeded(YARA_RULES)
    path.write_text("".join(_yara_rule(source, number) for number in range(YARA_RULES)))


def _yara_rule(source: random.Random, number: int) -> str:
    patterns = " ".join(f"$s{index} = {_yara_pattern(source)}" for index in range(source.randrange(1, 5)))
    condition = source.choice(["any of them", "all of them", "any of them and filesize < 20MB"])
    return f"rule Synthetic_{number} {{ strings: {patterns} condition: {condition} }}\n"


def _yara_pattern(source: random.Random) -> str:
    drawn = source.random()
    if drawn < 0.55:
        modifiers = source.choice(["", " ascii wide", " nocase", ""])
        return f'"{_letters(source, source.randrange(8, 24))}"{modifiers}'
    if drawn < 0.92:
        # Four known bytes first: without them a pattern would be tried at every place.
        start = [f"{source.randrange(1, 255):02X}" for _ in range(4)]
        rest = [
            "??" if source.randrange(13) == 0 else f"{source.randrange(256):02X}"
            for _ in range(source.randrange(6, 24))
        ]
        return f"{{ {' '.join(start + rest)} {source.randrange(256):02X} }}"
    return f"/{_letters(source, 6)}[a-z0-9]{{2,8}}{_letters(source, 4)}/"


def _letters(source: random.Random, count: int) -> str:
    return "".join(source.choice(_LETTERS) for _ in range(count))


def write_clamd_database(folder: Path) -> None:
    """EICAR by digest and by content, and synthetic signatures of both kinds."""
    source = seeded(11)
    eicar_digest = hashlib.md5(EICAR, usedforsecurity=False).hexdigest()
    digests = [f"{eicar_digest}:{len(EICAR)}:Local.Eicar.Hash"]
    digests += [
        f"{source.randbytes(16).hex()}:{source.randrange(500, 900_000)}:Local.Synthetic.Hash.{number}"
        for number in range(CLAMD_HASH_SIGNATURES)
    ]
    bodies = [f"Local.Eicar.Test:0:*:{EICAR.hex()}"]
    for number in range(CLAMD_BODY_SIGNATURES):
        # 0: any file, 1: Windows program, 3: HTML, 6: ELF
        target = source.choice((0, 0, 1, 3, 6))
        offset = "EP+0" if target == 1 and number % 3 == 0 else "*"
        pattern = source.randbytes(source.randrange(14, 30)).hex()
        if number % 4 == 0:
            pattern += "{-40}" + source.randbytes(8).hex()
        bodies.append(f"Local.Synthetic.Body.{number}:{target}:{offset}:{pattern}")
    (folder / "local.hdb").write_text("\n".join(digests) + "\n")
    (folder / "local.ndb").write_text("\n".join(bodies) + "\n")
