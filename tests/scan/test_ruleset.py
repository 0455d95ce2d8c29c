from __future__ import annotations

import re
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from icapd.scan.ruleset import Part, istag, ruleset_id

YARA: Part = ("yara", "4.5", b"{}", {"a.yar": b"rule a", "b.yar": b"rule b"})
HASHES: Part = ("hashes", "1", b'{"lists":[]}', {})
ARCHIVE: Part = ("archive", "1", b"{}", {})


def test_the_order_of_parts_and_files_does_not_matter() -> None:
    turned: Part = ("yara", "4.5", b"{}", {"b.yar": b"rule b", "a.yar": b"rule a"})
    ids = {ruleset_id(parts) for parts in permutations([YARA, HASHES, ARCHIVE])}
    assert ids == {ruleset_id([ARCHIVE, turned, HASHES])}


def test_every_change_gives_another_id() -> None:
    changed: list[list[Part]] = [
        [YARA],
        [],
        [YARA, HASHES],
        [YARA, YARA],
        [("yara2", "4.5", b"{}", YARA[3])],
        [("yara", "4.6", b"{}", YARA[3])],
        [("yara", "4.5", b"{ }", YARA[3])],
        [("yara", "4.5", b"{}", {"a.yar": b"rule a"})],
        [("yara", "4.5", b"{}", {"a.yar": b"rule b", "b.yar": b"rule a"})],
        [("yara", "4.5", b"{}", {"a.yar": b"rule a", "c.yar": b"rule b"})],
        [("yara", "4.5", b"{}a.yar", {})],
    ]
    assert len({ruleset_id(parts) for parts in changed}) == len(changed)


def test_bytes_cannot_move_from_one_field_to_the_next() -> None:
    assert ruleset_id([("ab", "c", b"", {})]) != ruleset_id([("a", "bc", b"", {})])
    assert ruleset_id([("a", "", b"x", {"y": b"z"})]) != ruleset_id([("a", "", b"xy", {"": b"z"})])


def test_the_id_is_the_same_on_every_machine() -> None:
    assert ruleset_id([YARA, HASHES]) == ruleset_id([YARA, HASHES])
    assert re.fullmatch(r"[0-9a-f]{32}", ruleset_id([YARA]))


@given(st.text(), st.binary())
def test_an_istag_fits_its_field_with_quotes(ruleset: str, policy: bytes) -> None:
    assert re.fullmatch(r"[0-9a-f]{1,30}", istag(ruleset, policy))


def test_an_istag_changes_with_ruleset_and_policy() -> None:
    assert len({istag("a", b"b"), istag("a", b"c"), istag("b", b"b"), istag("ab", b""), istag("", b"ab")}) == 5
