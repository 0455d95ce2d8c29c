"""Lists of URLs: what a request is found on, and what files are lists."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engines.urls import SPEC, UrlOptions
from engines.urls.building import TableBuilder
from engines.urls.engine import UrlLists
from engines.urls.lists import BAD_ONE_IN, BLOCK_BYTES, LINE_BYTES
from engines.urls.names import SEGMENTS_MAX, canonical_host
from engines.urls.table import NAME_BYTES_MAX, Table, decode_values
from icapd.errors import ConfigurationError
from icapd.scan.engine_api import UrlEngine
from icapd.scan.model import FindingKind, Severity


def made(folder: Path, *lists: Mapping[str, Any]) -> UrlLists:
    options = UrlOptions.model_validate({"lists": lists})
    engine = SPEC.build(options, SPEC.gather(options, lambda text: folder / text))
    assert isinstance(engine, UrlLists)
    assert isinstance(engine, UrlEngine)
    return engine


def listing(folder: Path, text: str | bytes, **keys: Any) -> UrlLists:
    """An engine with one list of this text, named `it`."""
    (folder / "it.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return made(folder, {"path": "it.txt", **keys})


def names(engine: UrlLists, url: str) -> list[str]:
    """The names of what is found for `host:port/path?query`."""
    authority, slash, rest = url.partition("/")
    host, port = (
        (authority, "") if authority.startswith("[") else (authority.partition(":")[0], authority.partition(":")[2])
    )
    found = engine.look_up(host.strip("[]").lower(), port, f"http://{authority}{slash}{rest}".encode())
    return [finding.name for finding in found]


def refused(folder: Path, text: str | bytes, **keys: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as told:
        listing(folder, text, **keys)
    return [str(problem) for problem in told.value.problems]


def test_a_domain_means_all_below_it(tmp_path: Path) -> None:
    engine = listing(tmp_path, "# ads\nexample.org\r\n*.wild.example\n.dotted.example # why\nUPPER.example.\n\n")
    for host in (
        "example.org",
        "www.example.org",
        "a.b.example.org",
        "example.org.",
        "wild.example",
        "x.wild.example",
    ):
        assert names(engine, f"{host}/x") == ["it"], host
    assert names(engine, "dotted.example/") == names(engine, "www.upper.example/") == ["it"]
    for host in ("org", "notexample.org", "example.org.evil.test", "xample.org", "example.or"):
        assert names(engine, f"{host}/") == [], host


def test_a_hosts_file_means_its_names_alone(tmp_path: Path) -> None:
    engine = listing(
        tmp_path,
        "127.0.0.1 localhost\n::1 ip6-localhost\n0.0.0.0 0.0.0.0\n"
        "0.0.0.0 ads.example other.example # both\n::\tthird.example\n10.1.2.3 intranet.example\n",
    )
    for host in ("ads.example", "other.example", "third.example", "intranet.example"):
        assert names(engine, host) == ["it"], host
    for host in ("www.ads.example", "example", "localhost", "0.0.0.0", "127.0.0.1"):
        assert names(engine, host) == [], host


def test_a_url_means_what_begins_with_it(tmp_path: Path) -> None:
    engine = listing(
        tmp_path,
        "http://www.example.org/bad/\nexample.net/a/b.html?id=5\nhttps://user:pw@ports.example:8443/x\n"
        "whole.example/\n[2001:db8::1]/six\n",
        format="urls",
    )
    for url in (
        *(
            "example.org/bad",
            "www.example.org/bad/",
            "example.org:80/bad/x/y",
            "example.org:443/bad?q",
            "example.org/BAD/X",
        ),
        *("example.org/b%61d/x", "example.org/x/../bad", "example.org//bad//x", "example.org/./bad"),
        *("example.net/a/b.html?id=5", "example.net/a/b.html?id=5&more=1", "ports.example:8443/x/y", "whole.example"),
        *("whole.example/anything", "[2001:db8:0::1]/six"),
    ):
        assert names(engine, url) == ["it"], url
    for url in (
        *("example.org", "example.org/", "example.org/badly", "example.org/x/bad", "sub.example.org/bad"),
        *(
            "example.net/a/b.html",
            "example.net/a/b.html?id=55",
            "example.net/a",
            "ports.example/x",
            "example.org:81/bad",
        ),
        "sub.whole.example/",
    ):
        assert names(engine, url) == [], url


def test_a_tunnel_is_on_the_list_of_its_host_alone(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("domain.example\n")
    (tmp_path / "u").write_text("urls.example/path\nall.example/\n")
    engine = made(tmp_path, {"path": "d"}, {"path": "u"})
    assert [f.name for f in engine.look_up("a.domain.example", "443", b"a.domain.example:443")] == ["d"]
    assert [f.name for f in engine.look_up("all.example", "443", b"all.example:443")] == ["u"]
    assert engine.look_up("urls.example", "443", b"urls.example:443") == ()


@pytest.mark.parametrize("depth", [SEGMENTS_MAX - 1, SEGMENTS_MAX])
def test_folders_are_looked_up_to_a_depth(tmp_path: Path, depth: int) -> None:
    listed = "/".join(f"f{level}" for level in range(depth))
    engine = listing(tmp_path, f"deep.example/{listed}\n", format="urls")
    assert names(engine, f"deep.example/{listed}") == ["it"]
    assert names(engine, f"deep.example/{listed}/x") == ["it"]


def test_a_folder_past_the_depth_is_found_as_a_whole_only(tmp_path: Path) -> None:
    listed = "/".join(f"f{level}" for level in range(SEGMENTS_MAX + 1))
    engine = listing(tmp_path, f"deep.example/{listed}\n", format="urls")
    assert names(engine, f"deep.example/{listed}") == ["it"]
    assert names(engine, f"deep.example/{listed}/x") == []


SAME_HOSTS = [
    ("bücher.example", "xn--bcher-kva.example"),
    ("BÜCHER.example", "xn--bcher-kva.example"),
    ("bu\u0308cher.example", "xn--bcher-kva.example"),
    ("faß.example", "xn--fa-hia.example"),
    ("пример.испытание", "xn--e1afmkfd.xn--80akhbyknj4f"),
    ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
    ("ｅｘａｍｐｌｅ．org", "example.org"),
    ("☃.example", "xn--n3h.example"),
    ("b%C3%BCcher.example", "xn--bcher-kva.example"),
    ("ex%61mple.org", "example.org"),
    ("Example.ORG..", "example.org"),
    ("0x7f.1", "127.0.0.1"),
    ("0x7F000001", "127.0.0.1"),
    ("2130706433", "127.0.0.1"),
    ("0177.0.0.01", "127.0.0.1"),
    ("127.1", "127.0.0.1"),
    ("127.0.0.1.", "127.0.0.1"),
    ("１２７.0.0.1", "127.0.0.1"),
    ("2001:DB8:0:0::1", "2001:db8::1"),
    ("::ffff:7f00:1", "127.0.0.1"),
    ("fe80::1%eth0", "fe80::1"),
]


@pytest.mark.parametrize(("written", "canonical"), SAME_HOSTS)
def test_a_host_has_one_form(tmp_path: Path, written: str, canonical: str) -> None:
    assert canonical_host(written) == canonical
    assert canonical_host(canonical) == canonical
    for entry, asked in ((written, canonical), (canonical, written)):
        engine = listing(tmp_path, entry + "\n", format="domains")
        assert [f.name for f in engine.look_up(asked.lower(), "", b"/")] == ["it"], (entry, asked)


@pytest.mark.parametrize(
    "host",
    [
        "256.0.0.1",
        "1.2.3.4.5",
        "0x100000000",
        "09.0.0.1",
        "1..2",
        "0x.x",
        "1" * 400,
        "é" * 2000,
        "\udcff.x",
        "::g",
        "",
    ],
)
def test_what_is_no_address_stays_what_it_is(tmp_path: Path, host: str) -> None:
    canonical_host(host)
    assert listing(tmp_path, "example.org\n").look_up(host, "", b"\xff http\x00://") == ()


def test_addresses_have_no_parents(tmp_path: Path) -> None:
    engine = listing(tmp_path, "0.0.1\n10.0.0.1\n", format="domains")
    assert names(engine, "10.0.0.1") == ["it"]
    assert names(engine, "1.10.0.0.1") == []
    assert names(engine, "192.0.0.1") == []


def test_folders_are_categories(tmp_path: Path) -> None:
    for category in ("adult", "social/chat", "empty"):
        (tmp_path / "lists" / category).mkdir(parents=True)
    (tmp_path / "lists/adult/domains").write_text("adult.example\n192.0.2.1\n")
    (tmp_path / "lists/adult/urls").write_text("mixed.example/adult\n")
    (tmp_path / "lists/adult/usage").write_text("black\n")
    (tmp_path / "lists/social/chat/domains").write_text("chat.example\nadult.example\n")
    engine = made(tmp_path, {"path": "lists", "name": "ut"})
    assert names(engine, "www.adult.example/") == ["ut/adult", "ut/social/chat"]
    assert names(engine, "mixed.example/adult/1") == names(engine, "192.0.2.1/") == ["ut/adult"]
    assert names(engine, "chat.example") == ["ut/social/chat"]
    some = made(tmp_path, {"path": "lists", "categories": ["social/chat"], "format": "squidguard"})
    assert names(some, "adult.example/") == ["lists/social/chat"]
    with pytest.raises(ConfigurationError, match="no category folders"):
        made(tmp_path, {"path": "lists", "categories": ["none"]})
    with pytest.raises(ConfigurationError, match="no folder of categories"):
        made(tmp_path, {"path": "lists/adult/domains", "format": "squidguard"})


def test_a_list_says_what_being_on_it_means(tmp_path: Path) -> None:
    for kind in ("forbidden", "suspicious", "info"):
        (tmp_path / f"{kind}.txt").write_text(f"{kind}.example\nall.example\n")
    engine = made(
        tmp_path,
        *({"path": f"{kind}.txt", "kind": kind, "category": "c"} for kind in ("forbidden", "suspicious", "info")),
    )
    found = engine.look_up("all.example", "", b"/")
    assert [(f.name, f.kind, f.severity, f.certain, f.engine) for f in found] == [
        ("forbidden/c", FindingKind.FORBIDDEN, Severity.HIGH, True, "urls"),
        ("suspicious/c", FindingKind.SUSPICIOUS, Severity.MEDIUM, False, "urls"),
        ("info/c", FindingKind.INFO, Severity.INFO, False, "urls"),
    ]


def test_what_is_exempt_is_on_no_other_list(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("example.org\n")
    (tmp_path / "ours").write_text("good.example.org\n")
    engine = made(tmp_path, {"path": "bad"}, {"path": "ours", "kind": "exempt"})
    assert [(f.name, f.kind) for f in engine.look_up("x.good.example.org", "", b"/")] == [("ours", FindingKind.INFO)]
    assert names(engine, "example.org") == ["bad"]


def test_a_wrong_line_in_a_hundred_is_passed_over(tmp_path: Path) -> None:
    lines = [f"n{number}.example" for number in range(BAD_ONE_IN - 1)]
    engine = listing(tmp_path, "\n".join(["not a name", *lines, ""]))
    assert names(engine, "n7.example") == ["it"]
    told = refused(tmp_path, "\n".join(["not a name", *lines[1:], ""]), format="domains")
    assert told == [f"{tmp_path}/it.txt:1: cannot be in a list of domains: 'not a name'"]


@pytest.mark.parametrize("known", ["hosts", "domains", "urls"])
def test_a_page_in_place_of_a_list_is_refused(tmp_path: Path, known: str) -> None:
    page = "<html>\n<body class=x>\n<p>Not found, sorry\n" * 5
    told = refused(tmp_path, page, format=known)
    assert len(told) == 5
    assert told[0].startswith(f"{tmp_path}/it.txt:1: cannot be in a list of {known}")


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as told:
        made(tmp_path, {"path": "gone"}, {"path": "lost"})
    assert [str(problem) for problem in told.value.problems] == [
        f"{tmp_path}/gone: No such file or directory",
        f"{tmp_path}/lost: No such file or directory",
    ]


@pytest.mark.parametrize("more", [0, 1])
def test_lines_have_a_length(tmp_path: Path, more: int) -> None:
    path = "a" * (LINE_BYTES - len("example.org/") + more)
    text = f"example.org/{path}".encode()
    if more:
        assert "line of more than" in refused(tmp_path, text, format="urls")[0]
    else:
        assert names(listing(tmp_path, text, format="urls"), f"example.org/{path}") == ["it"]


@pytest.mark.parametrize("known", ["hosts", "domains", "urls"])
def test_lists_of_several_blocks_are_whole(tmp_path: Path, known: str) -> None:
    before, after = {"hosts": ("0.0.0.0 ", ""), "domains": ("", ""), "urls": ("http://", "/p")}[known]
    count = 2 * BLOCK_BYTES // 16
    text = "\n".join(f"{before}n{number}.example{after}" for number in range(count)).encode()  # no newline at the end
    engine = listing(tmp_path, text, format=known)
    assert all(names(engine, f"n{number}.example/p") == ["it"] for number in [*range(0, count, 97), count - 1])
    assert names(engine, f"n{count}.example/p") == []


def test_an_empty_list_lists_nothing(tmp_path: Path) -> None:
    assert names(listing(tmp_path, ""), "example.org") == []
    assert names(listing(tmp_path, "# nothing\n\n"), "example.org") == []
    assert names(made(tmp_path), "example.org") == []


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("\ufeffexample.org\n", "www.example.org/"),
        ("# hosts\n0.0.0.0 example.org\n", "example.org/"),
        ("! urls\nexample.org/x\n", "example.org/x/y"),
        ("http://example.org\n", "example.org/x/y"),
    ],
)
def test_a_format_is_known_by_its_first_line(tmp_path: Path, text: str, url: str) -> None:
    assert names(listing(tmp_path, text), url) == ["it"]


def test_hostile_paths_find_nothing_that_is_not_listed(tmp_path: Path) -> None:
    engine = listing(tmp_path, "example.org/a\nexample.org/b\n", format="urls")
    tail = "%09%80%81%0Aexample.org/b"
    assert names(engine, f"example.org/a{tail}") == []
    assert names(engine, f"example.org/{'/' * 5000}a") == ["it"]


def test_what_is_listed_twice_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "again.txt").write_text("example.org\nother.example\n")
    engine = made(
        tmp_path,
        {"path": "again.txt", "name": "it"},
        {"path": "again.txt", "name": "it"},
        {"path": "again.txt", "kind": "info"},
    )
    assert names(engine, "www.example.org/x") == ["it", "again"]


def test_what_is_above_a_name_is_as_long_as_a_name_may_be(tmp_path: Path) -> None:
    longest = ".".join(["a" * 62] * 3 + ["b" * (NAME_BYTES_MAX - 3 * 63)])
    assert len(longest) == NAME_BYTES_MAX
    engine = listing(tmp_path, f"{longest}\nc{longest}\nexample.org\n", format="domains")
    assert names(engine, f"x.{longest}") == names(engine, f"c{longest}") == ["it"]
    assert names(engine, f"x.c{longest}") == []
    assert names(engine, "x." * 5000 + "example.org") == ["it"]


def test_hosts_with_slashes_are_no_urls(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("0.0.0.0 example.org\n")
    (tmp_path / "urls").write_text("example.org/bad\n")
    engine = made(tmp_path, {"path": "hosts"}, {"path": "urls"})
    assert names(engine, "example.org/bad") == ["hosts", "urls"]
    assert engine.look_up("example.org%2Fbad", "", b"/") == engine.look_up("example.org/bad", "", b"/") == ()


def test_each_of_two_lists_means_what_it_means_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("0.0.0.0 example.org\n")
    (tmp_path / "domains").write_text("example.org\n")
    (tmp_path / "urls").write_text("example.org/x\nwww.www.example.org/y\n")
    engine = made(tmp_path, {"path": "hosts"}, {"path": "domains"}, {"path": "urls"})
    assert names(engine, "example.org/x") == ["hosts", "domains", "urls"]
    assert names(engine, "www.example.org/x") == ["domains", "urls"]
    assert names(engine, "www.example.org/y") == names(engine, "www.www.example.org/x") == ["domains"]
    assert names(engine, "www.www.example.org/y") == ["domains", "urls"]


def table_of(blocks: Mapping[str, bytes]) -> Table:
    return Table(blocks["records"], blocks["index"], blocks["filter"])


class TestTable:
    def test_the_filter_is_for_names_that_are_not_there_and_lets_those_pass_that_are(self) -> None:
        listed = [b"n%d.example" % number for number in range(20_000)]
        builder = TableBuilder()
        builder.add(listed, 5)
        blocks = builder.build()
        table = table_of(blocks)
        assert all([*decode_values(table.find(name))] == [(5, False)] for name in listed)
        assert not any(table.find(b"m%d.example" % number) for number in range(20_000))
        bits_set = sum(value.bit_count() for value in blocks["filter"])
        assert bits_set < 8 * len(blocks["filter"]) / 12  # of names that are not there so many are looked for

    def test_lists_of_one_name_in_two_lists_are_both_there(self) -> None:
        builder = TableBuilder()
        for number in (7, 300, 7):
            builder.add([b"a.example", b"b.example"], number, is_for_all_below=number == 300)
        blocks = builder.build()
        found = table_of(blocks).find_all([b"a.example", b"c.example"])
        assert {*decode_values(found)} == {(7, False), (300, True)}
        assert blocks["records"].count(b"\n") <= 6

    def test_building_takes_little_more_than_what_is_built(self) -> None:
        """A million domains are to stay below 100 MB at the worst moment, and are 28 MB in the end."""
        listed = [b"%08x.list-%d.example" % (number * 2654435761 % 2**32, number) for number in range(50_000)]
        tracemalloc.start()
        try:
            builder = TableBuilder()
            for at in range(0, len(listed), 5_000):
                builder.add(listed[at : at + 5_000], 1)
            size_bytes = builder.size_bytes
            builder.build()
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak_bytes < 5 * size_bytes
