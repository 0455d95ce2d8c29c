"""What `test_archive_bombs` tries at every eleventh byte, at every byte."""

from __future__ import annotations

import gzip

import pytest

from tests.engines.archive_probe import TEXT
from tests.engines.samples import zip_of
from tests.engines.test_archive_bombs import scan_damaged


@pytest.mark.parametrize("data", [zip_of({"a.txt": TEXT, "b/": b""}), gzip.compress(TEXT)], ids=["zip", "gzip"])
def test_damage_at_any_byte_never_raises(data: bytes) -> None:
    scan_damaged(data, 1)
