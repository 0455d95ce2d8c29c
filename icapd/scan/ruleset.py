"""Names a set of engines, rules and options by a digest. Pure.

The same configuration gives the same id in every process and on every node, in whatever order its parts come; any
change of a version, a rule file, a list or an option gives another. Caches and ISTag rest on that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from icapd.scan.engine_api import Material

Part = tuple[str, str, bytes, Material]
"""The name of what judges (an engine, or icapd), its version, its options as JSON, and what it read from outside."""

_ID_BYTES = 16
_ISTAG_BYTES = 14


def ruleset_id(parts: Iterable[Part]) -> str:
    """Names the rules that judge content: 32 hexadecimal digits."""
    return _digest(sorted(_part_digest(*part) for part in parts), _ID_BYTES).hex()


def istag(ruleset: str, judgement: bytes) -> str:
    """The ISTag for a ruleset and what answers are made by besides: 28 hexadecimal digits, and room for the quotes.

    Spec: RFC 3507 §4.7, at most 32 bytes; it changes whenever an old answer may no longer hold.
    """
    return _digest([ruleset.encode(), judgement], _ISTAG_BYTES).hex()


def with_versions(identity: str, versions: Mapping[str, str]) -> str:
    """A ruleset id or ISTag as it is with these versions of remote engines; without any, itself.

    Args: `versions` are by engine; "" while a server has not been reached yet.
    """
    if not versions:
        return identity
    fields = [field.encode("utf-8", "surrogateescape") for pair in sorted(versions.items()) for field in pair]
    return _digest([identity.encode(), *fields], len(identity) // 2).hex()


def _part_digest(name: str, version: str, options: bytes, material: Material) -> bytes:
    files = [
        field for path in sorted(material) for field in (path.encode("utf-8", "surrogateescape"), material[path])
    ]
    return _digest([name.encode(), version.encode(), options, *files], 32)


def _digest(fields: Iterable[bytes], size_bytes: int) -> bytes:
    """A digest over fields, each with its length before it, so that no two lists of fields look alike."""
    digest = hashlib.blake2b(digest_size=size_bytes)
    for field in fields:
        digest.update(len(field).to_bytes(8, "big"))
        digest.update(field)
    return digest.digest()
