"""What the supervisor tells a front arrives as it was, also in the front that comes after a dead one."""

from __future__ import annotations

import os

import msgspec
import pytest

from icapd.config.schema import Server, Settings
from icapd.worker.memfd import make_memfd, read_memfd
from icapd.worker.plan import Place, Plan, decode_place, decode_plan, encode_place, encode_plan

PLAN = Plan(
    settings=Settings(server=Server(policy="strict")).model_dump_json().encode(),
    ruleset="12ab",
    istag="34cd",
    required={"yara": True, "hashes": False},
    pages={"": "<p>{{ rule }}</p>", "a.html": "<p>ä</p>"},
    secret=b"\x00\xff" * 16,
)


def test_plan() -> None:
    again = decode_plan(encode_plan(PLAN))

    assert again == PLAN
    assert again.read_settings() == Settings(server=Server(policy="strict"))


def test_place() -> None:
    place = Place(
        index=1,
        of=2,
        scanners=3,
        control_fd=3,
        plan_fd=4,
        snapshot_fd=5,
        shared_fd=6,
        access_fd=-1,
        listen=[(6, False), (7, True)],
    )

    assert decode_place(encode_place(place).decode("ascii")) == place


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"index": "one"}', "\x00"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_place(text)


@pytest.mark.parametrize("content", [b"", b"x", os.urandom(3 * 1024 * 1024)], ids=["empty", "one byte", "3 MiB"])
def test_memfd_is_read_whole_by_everyone(content: bytes) -> None:
    descriptor = make_memfd("icapd-test", content)
    shared = os.dup(descriptor)
    try:
        assert [read_memfd(descriptor), read_memfd(shared), read_memfd(descriptor)] == [content] * 3
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)
        os.close(shared)
