"""What is embedded in text, OneNote sections, shortcuts and TNEF."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from random import Random
from urllib.parse import quote

import pytest

from engines.embedded import EmbeddedOptions, coded
from engines.embedded.text import MAX_MARKS
from engines.embedded.text import unpack as unpack_text
from icapd.scan.model import Budget, Sample
from tests.engines import samples as s
from tests.engines.embedded_probe import FILE, is_cheap, members, names, onenote, shortcut, tnef, unpack

PACKED = base64.b64encode(FILE)


def page(value: bytes) -> bytes:
    return b'<!DOCTYPE html><html><body><img src="' + value + b'"><p>soup for everyone</p></body></html>'


@pytest.mark.parametrize(
    ("url", "content"),
    [
        (b"data:application/x-a;base64," + PACKED, FILE),
        (b"data:application/x-a;name=b;charset=c;base64," + PACKED, FILE),
        (b"data:;base64," + PACKED, FILE),
        (b"DATA:application/x-a;base64," + PACKED, FILE),
        (b"data:application/x-a;base64," + quote(PACKED.decode(), safe="").encode(), FILE),
        (b"data:application/x-a;base64,\n" + base64.encodebytes(FILE), FILE),
        (b"data:application/x-a;base64," + base64.urlsafe_b64encode(FILE), FILE),
        (b"data:text/html," + quote("<script>" + "alert(1);" * 60 + "</script>").encode(), None),
    ],
)
def test_a_data_url_is_decoded(url: bytes, content: bytes | None) -> None:
    [(name, data)] = members(unpack(page(url))).items()
    assert data == (content or b"<script>" + b"alert(1);" * 60 + b"</script>")
    assert name.startswith(("data-1:", "base64-"))


def test_several_urls_and_a_run_beside_them() -> None:
    body = page(b"data:a/b;base64," + PACKED) + b"<script>var a=atob('" + PACKED[::-1] + b"')</script>"
    body += page(b"data:c/d;base64," + PACKED)
    found = members(unpack(body))
    assert [name.partition("-")[0] for name in found] == ["data", "data", "base64"]
    assert list(found.values())[:2] == [FILE, FILE]


@pytest.mark.parametrize(
    "text", [PACKED.decode(), PACKED.decode().replace("/", "\\/"), base64.encodebytes(FILE).decode()]
)
def test_a_member_of_json(text: str) -> None:
    encoded = f'{{"a": 1, "file": "{text}"}}' if "\\/" in text else json.dumps({"a": 1, "file": text})
    [(name, data)] = members(unpack(encoded.encode())).items()
    assert data == FILE
    assert name == f"base64-{encoded.index(text[:20])}"


def test_base64_in_a_script_and_in_plain_text() -> None:
    assert FILE in members(unpack(s.JAVASCRIPT + b"var x='" + PACKED + b"';")).values()
    assert members(unpack(base64.encodebytes(FILE))) == {"base64-0": FILE}


@pytest.mark.parametrize(("length", "count"), [(511, 0), (512, 1)])
def test_a_run_below_the_size_and_at_it(length: int, count: int) -> None:
    for before in range(20):
        body = b'{"' + b"k" * before + b'": "' + (PACKED * 2)[:length] + b'"}'
        assert len(members(unpack(body))) == count


@pytest.mark.parametrize(("length", "count"), [(511, 0), (512, 1)])
def test_a_data_url_below_the_size_and_at_it(length: int, count: int) -> None:
    assert len(members(unpack(page(b"data:a/b;base64," + PACKED[:length])))) == count


def test_ordinary_pages_hold_nothing() -> None:
    for body in (s.HTML, s.JAVASCRIPT, s.CSS, s.JSON, s.SVG, s.XML, s.PLAIN, s.png(), s.pe(), s.ZIP):
        assert unpack(body) == []
    prose = b"<html><body>" + b"soup for everyone and there is plenty of it " * 500
    assert unpack(prose) == []


def test_the_files_of_a_onenote_section() -> None:
    body = onenote(FILE, b"second")
    assert members(unpack(body)) == {"attachment-1": FILE, "attachment-2": b"second"}
    cut = unpack(body[: body.index(b"MZ") + 100])
    assert (members(cut), names(cut)) == ({"attachment-1": FILE[:100]}, ["corrupt:onenote"])
    lying = body.replace(len(FILE).to_bytes(8, "little"), b"\xff" * 8, 1)
    assert members(unpack(lying))["attachment-2"] == b"second"


@pytest.mark.parametrize("is_unicode", [True, False])
def test_the_command_of_a_shortcut(is_unicode: bool) -> None:
    body = shortcut(r"..\cmd.exe", "/c echo soup", FILE, is_unicode)
    assert members(unpack(body)) == {"command": rb"..\cmd.exe /c echo soup", "appended-data": FILE}
    assert members(unpack(shortcut("a", "b"))) == {"command": b"a b"}
    for end in range(20, len(shortcut("a", "b")) - 20):
        unpack(shortcut("a", "b")[:end])
    assert names(unpack(body[:90])) == ["corrupt:lnk"]


def test_the_attachments_of_tnef() -> None:
    body = tnef(("a.exe", FILE), ("", b"second"))
    assert members(unpack(body)) == {"text": b"the text", "a.exe": FILE, "attachment-2": b"second"}
    cut = unpack(body[: body.index(b"MZ") + 100])
    assert members(cut)["a.exe"] == FILE[:100]
    assert names(cut) == ["corrupt:tnef"]


SHAPES: dict[str, Callable[[], bytes]] = {
    "page": lambda: page(b"data:a/b;base64," + PACKED),
    "onenote": lambda: onenote(FILE[:100], b"second"),
    "shortcut": lambda: shortcut("a", "b", b"c"),
    "tnef": lambda: tnef(("a.exe", FILE[:100])),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_random_damage_never_raises(shape: str) -> None:
    data, random = SHAPES[shape](), Random(shape)
    for _ in range(500):
        at = random.randrange(len(data))
        unpack(data[:at] + random.randbytes(random.randrange(1, 5)) + data[at + random.randrange(3) :])


HOSTILE: dict[str, Callable[[], bytes]] = {
    "marks": lambda: b"<html>" + PACKED + b"data:" * 1_000_000,
    "heads": lambda: b"<html>" + PACKED + b"data:a/b;c;d;e;" * 500_000,
    "open urls": lambda: b"<html>" + PACKED + b"data:a/b;base64,A" * 500_000,
    "runs": lambda: b"<html>" + (b"A" * 1100 + b"!") * 9000,
    "short runs": lambda: b"<html>" + (b"A" * 500 + b"!") * 18000,
    "dots": lambda: b"." * 20_000_000,
    "letters among dots": lambda: b"A......." * 2_500_000,
    "one run": lambda: b"<html>" + b"A" * 10_000_000,
    "onenote": lambda: onenote() + bytes.fromhex("e716e3bd65261145a4c48d4d0b7a9eac") * 600_000,
    "tnef": lambda: b"\x78\x9f\x3e\x22\x01\x00" + bytes(11) * 500_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_content_costs_little(kind: str) -> None:
    assert is_cheap(HOSTILE[kind]())


@pytest.mark.parametrize("seed", range(40))
def test_runs_are_found_wherever_they_stand(seed: int) -> None:
    random = Random(seed)
    pieces = [
        random.choice((b"A", b"z/", b"-_", b"=")) * random.choice((1, 63, 250, 511, 512, 4100)) for _ in range(40)
    ]
    body = b"".join(piece + random.choice((b"", b".", b"!" * 9, b". " * 2050, b"." * 4095)) for piece in pieces)
    expected = [match.start() for match in re.finditer(rb"[A-Za-z0-9+/=_-]{512,}", b"text. " + body)]
    options = EmbeddedOptions()
    sample = Sample(b"text. " + body)
    found = [item.name for item in unpack_text(sample, options, Budget(time.monotonic() + 20))]
    # Bytes that are no base64 after all come out empty, and are no member.
    assert set(found) <= {f"base64-{start}" for start in expected}
    assert len(found) == sum(bool(from_run(b"text. " + body, start)) for start in expected)


def from_run(body: bytes, start: int) -> bytes:
    run = re.compile(rb"[A-Za-z0-9+/=_-]*").match(body, start)
    assert run is not None
    return coded.from_base64(run[0])


def test_too_many_data_urls_are_a_limit() -> None:
    assert names(unpack(b"<html>" + PACKED + b"data:" * (MAX_MARKS - 1))) == []
    assert names(unpack(b"<html>" + PACKED + b"data:" * MAX_MARKS)) == ["embedded.max_data_urls"]


def test_members_come_out_of_the_budget() -> None:
    body = page(b"data:a/b;base64," + PACKED) * 2
    assert names(unpack(body, budget=Budget(time.monotonic() + 20, members_left=1))) == ["archive.max_members"]
    few = EmbeddedOptions(min_base64_bytes=64)
    assert len(members(unpack(page(b"data:a/b;base64," + PACKED[:64]), few))) == 1


@pytest.mark.parametrize("window_bytes", [16, 17, 21, 40])
def test_windows_cut_no_escape(monkeypatch: pytest.MonkeyPatch, window_bytes: int) -> None:
    monkeypatch.setattr(coded, "WINDOW_BYTES", window_bytes)
    packed = base64.b64encode(FILE)
    broken = b"\\n".join(packed[at : at + 7] for at in range(0, len(packed), 7))
    spelt = b"".join(b"%%%02X" % byte for byte in packed)
    wide = b"\\u000a".join(packed[at : at + 5] for at in range(0, len(packed), 5))
    for text in (broken, spelt, wide):
        assert list(members(unpack(b'<html><a href="data:a/b;base64,' + text + b'">')).values()) == [FILE]


def test_escapes_at_the_limit_and_past_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coded, "MAX_STEPS", 600)
    for count, expected in ((600, []), (601, ["embedded.max_encoded_lines"])):
        body = b'<html><a href="data:a/b;base64,' + b"%51" * count + b'">'
        assert names(unpack(body)) == expected
