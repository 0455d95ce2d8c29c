"""The lazy look into encapsulated HTTP heads: plain values or their absence, whatever peers put there."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from icapd.icap.http import (
    MALFORMED,
    NO_REQUEST,
    PADDED_BYTES_MAX,
    HttpHead,
    HttpRequest,
    read_request,
    read_status,
)


def request(target: str, *lines: str, method: str = "GET", version: str = " HTTP/1.1") -> HttpRequest:
    return read_request("\r\n".join([f"{method} {target}{version}", *lines, "", ""]).encode())


@pytest.mark.parametrize(
    ("target", "scheme", "host", "path"),
    [
        ("http://www.example.org/a/b.txt", "http", "www.example.org", "/a/b.txt"),
        ("HTTPS://WWW.Example.ORG/A", "https", "www.example.org", "/A"),
        ("http://www.example.org:8080/", "http", "www.example.org", "/"),
        ("http://www.example.org./", "http", "www.example.org", "/"),
        ("http://www.example.org", "http", "www.example.org", "/"),
        ("http://www.example.org?q=/x", "http", "www.example.org", "/"),
        ("http://www.example.org/a?q=/x@y", "http", "www.example.org", "/a"),
        ("http://www.example.org/a#f", "http", "www.example.org", "/a"),
        ("http://user:secret@www.example.org/", "http", "www.example.org", "/"),
        ("http://good.example@bad.example/", "http", "bad.example", "/"),
        ("http://a@b@bad.example/", "http", "bad.example", "/"),
        ("http://www.example.org/a@b", "http", "www.example.org", "/a@b"),
        ("http://[2001:DB8::1]:8080/x", "http", "2001:db8::1", "/x"),
        ("http://user@[::1]/x", "http", "::1", "/x"),
        ("http://192.0.2.1:80/x", "http", "192.0.2.1", "/x"),
        ("ftp://ftp.example.org:21/f", "ftp", "ftp.example.org", "/f"),
        ("www.example.org/x", "", "www.example.org", "/x"),
        ("http://münchen.example/straße", "http", "münchen.example", "/straße"),
        ("http:///x", "http", "", "/x"),
    ],
)
def test_absolute_form(target: str, scheme: str, host: str, path: str) -> None:
    assert replace(request(target, "Host: other.example"), port="") == HttpRequest("GET", scheme, host, path)


@pytest.mark.parametrize(
    ("target", "lines", "host", "path"),
    [
        ("/a/b.txt?q#f", ["Host: www.example.org"], "www.example.org", "/a/b.txt"),
        ("/a#f?q", ["X: y", "HOST:\t Www.Example.Org:8080 "], "www.example.org", "/a"),
        ("/a", ["Host: [2001:DB8::1]:80"], "2001:db8::1", "/a"),
        ("/a", ["Host:", " www.example.org"], "www.example.org", "/a"),
        ("/a", ["Host: first.example", "Host: second.example"], "first.example", "/a"),
        ("/a", ["X-Host: www.example.org"], "", "/a"),
        ("/a", ["Host:"], "", "/a"),
        ("/a", [], "", "/a"),
        ("//b.example/a", ["Host: www.example.org"], "www.example.org", "//b.example/a"),
        ("/a?u=http://x@y/", ["Host: www.example.org"], "www.example.org", "/a"),
        ("*", ["Host: www.example.org"], "www.example.org", ""),
    ],
)
def test_origin_form(target: str, lines: list[str], host: str, path: str) -> None:
    assert replace(request(target, *lines), port="") == HttpRequest("GET", "", host, path)


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("www.example.org:443", "www.example.org"),
        ("WWW.example.org", "www.example.org"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("192.0.2.1:8443", "192.0.2.1"),
        ("user:secret@www.example.org:443", "www.example.org"),
    ],
)
def test_connect(target: str, host: str) -> None:
    read = request(target, "Host: other.example", method="CONNECT")
    assert replace(read, port="") == HttpRequest("CONNECT", "https", host, "")
    port = ":8443" if target.endswith(":8443") else ""
    assert read.url == (f"https://[{host}]" if ":" in host else f"https://{host}{port}")


@pytest.mark.parametrize("version", [" HTTP/1.1", " HTTP/1.0", " HTTP/2", "", " "])
def test_versions(version: str) -> None:
    assert request("/a", version=version).path == "/a"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET \r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"GET /a ICAP/1.0\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\n\n",
        b"\x00\xff\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"M" * 65 + b" / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_request_is_none(head: bytes) -> None:
    assert read_request(head) == NO_REQUEST
    assert (NO_REQUEST.url, NO_REQUEST.extension, NO_REQUEST.file_name) == ("", "", "")


def test_bytes_that_are_no_utf8_are_shown_escaped() -> None:
    read = read_request(b"GET http://h\xff.example/a\xe9b HTTP/1.1\r\n\r\n")
    assert (read.host, read.path) == ("h\\xff.example", "/a\\xe9b")


def test_texts_are_capped_but_a_long_user_part_hides_no_host() -> None:
    assert request("/" + "a" * 2047).path == "/" + "a" * 2047
    assert request("/" + "a" * 2048).path == "/" + "a" * 1020 + "..." + "a" * 1024
    assert len(request("http://" + "h" * 5000 + "/").host) == 2048


@pytest.mark.parametrize("padding", ["./", "/", "x/../", "%2e/", "%78/%2E./"])
def test_no_padding_pushes_what_counts_in_a_path_out_of_sight(padding: str) -> None:
    pad = padding * (1500 // len(padding))
    assert request(f"http://h/{pad}ads/{pad}pa%67e.html").path == "/ads/page.html"
    assert request(f"/{pad}ads/{pad}").path == "/ads/"
    assert request(f"http://h/{pad}a%0A%3f%25%C3%A4/{pad}").path == "/a%0A%3F%25%C3%A4/"
    short = f"/{padding}ads/page"
    assert request(f"http://h{short}").path == short


def test_paths_that_no_server_takes_are_not_read_for_padding() -> None:
    longest = "/" + "./" * ((PADDED_BYTES_MAX - 2) // 2) + "a"
    assert len(longest) == PADDED_BYTES_MAX
    assert request(longest).path == "/a"
    assert len(request("/" + longest).path) == 2048
    assert request("http://" + "u" * 5000 + "@bad.example/").host == "bad.example"
    assert request("http://h/", method="M" * 64).method == "M" * 64


@pytest.mark.parametrize(
    ("path", "name", "extension"),
    [
        ("/a/b.txt", "b.txt", "txt"),
        ("/setup.EXE", "setup.EXE", "exe"),
        ("/a.tar.gz", "a.tar.gz", "gz"),
        ("/setup.exe;v=1", "setup.exe;v=1", "exe"),
        ("/a.b/c", "c", ""),
        ("/.htaccess", ".htaccess", ""),
        ("/a.", "a.", ""),
        ("/a.b/", "", ""),
        ("/", "", ""),
        ("/s.ex%65", "s.ex%65", "exe"),
        ("/s%2Eexe", "s%2Eexe", "exe"),
        ("/s.%65%58%65?", "s.%65%58%65", "exe"),
        ("/s.exe.", "s.exe.", "exe"),
        ("/s.exe%20", "s.exe%20", "exe"),
        ("/s.exe%2e%20..", "s.exe%2e%20..", "exe"),
        ("/s.exe%3Bv=1", "s.exe%3Bv=1", "exe"),
        ("/s.exe.;v=1", "s.exe.;v=1", "exe"),
        ("/s.exe%20;v=1;w=2.", "s.exe%20;v=1;w=2.", "exe"),
        ("/a;x.exe", "a;x.exe", "exe"),
        ("/s.ex%2565", "s.ex%2565", "ex%65"),
        ("/s.ex%zz", "s.ex%zz", "ex%zz"),
        ("/s.%ff", "s.%ff", "\ufffd"),
        ("/a;b", "a;b", ""),
        ("/...", "...", ""),
        ("/a." + "x" * 16, "a." + "x" * 16, "x" * 16),
        ("/a." + "x" * 17, "a." + "x" * 17, ""),
    ],
)
def test_file_names_and_extensions(path: str, name: str, extension: str) -> None:
    read = request(f"http://h{path}?x.pdf")
    assert (read.file_name, read.extension) == (name, extension)


@pytest.mark.parametrize("target", ["/", "http://h/"])
@pytest.mark.parametrize("length", [1000, 2040, 2048, 60_000])
def test_a_long_path_hides_no_extension(target: str, length: int) -> None:
    assert request(target + "a" * length + ".exe").extension == "exe"
    assert unquote(request(target + "a" * length + "/setup.ex%65?x.txt").file_name) == "setup.exe"


@pytest.mark.parametrize(
    ("read", "url"),
    [
        (request("http://u:p@www.example.org:80/a?secret#f"), "http://www.example.org/a"),
        (request("/a?secret", "Host: www.example.org"), "http://www.example.org/a"),
        (request("https://[::1]/a"), "https://[::1]/a"),
        (request("*", "Host: www.example.org"), "http://www.example.org"),
        (request("/a?secret"), "/a"),
    ],
)
def test_a_url_can_be_logged(read: HttpRequest, url: str) -> None:
    assert read.url == url


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"HTTP/1.1 200 OK", 200),
        (b"HTTP/1.0 404", 404),
        (b"HTTP/1.1 304 ", 304),
        (b"HTTP/2 103\tEarly", 103),
        (b"ICY 200 OK", 200),
        (b"HTTP/1.1 2000 OK", 0),
        (b"HTTP/1.1 20 OK", 0),
        (b"HTTP/1.1  200 OK", 0),
        (b"HTTP/1.1 -20 OK", 0),
        (b"http/1.1 200 OK", 0),
        (b"GET / HTTP/1.1", 0),
        (b"", 0),
    ],
)
def test_status(line: bytes, status: int) -> None:
    assert read_status(line + b"\r\n\r\n") == status


def response(*lines: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", b""])


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"Content-Type: text/html"], "text/html"),
        ([b"content-type:Text/HTML ; charset=utf-8"], "text/html"),
        ([b"Content-Type:", b" application/pdf"], "application/pdf"),
        ([b"Content-Type: a/b", b"Content-Type: c/d"], "a/b"),
        ([b"X-Content-Type: a/b"], ""),
        ([b"Content-Type: ;x"], ""),
        ([b"Content-Type: \xff/x"], "\\xff/x"),
        ([b"Content-Type: " + b"a" * 5000], "a" * 2048),
        ([], ""),
    ],
)
def test_media_type(lines: list[bytes], expected: str) -> None:
    assert HttpHead(response(*lines)).media_type == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"Content-Type: Text/HTML; charset=utf-8"], ("text/html",)),
        ([b"Content-Type: text/plain", b"X: y", b"content-type:image/png;a=b"], ("text/plain", "image/png")),
        ([b"Content-Type: text/plain, image/png ;a, text/plain"], ("text/plain", "image/png")),
        ([b"Content-Type:", b" application/pdf", b"\t,a/b", b"X: y"], ("application/pdf", "a/b")),
        ([b"Content-Type: a/b", b"Content-Type : c/d"], ("a/b", "c/d")),
        ([b"Content-Type: a/b\nContent-Type: c/d\rContent-Type: e/f"], ("a/b", "c/d", "e/f")),
        ([b"X-Content-Type: a/b", b"X-Content-Type-Options: nosniff"], ()),
        ([b"Content-Type: " + b"a" * 300, b"Content-Type: c/d"], ("a" * 300, "c/d")),
        ([b"Content-Type: ;x", b"Content-Type:"], ()),
        ([], ()),
    ],
)
def test_all_media_types_are_known(lines: list[bytes], expected: tuple[str, ...]) -> None:
    assert HttpHead(response(*lines)).media_types == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"Content-Encoding: GZIP"], "gzip"),
        ([b"Content-Encoding: gzip, br"], "gzip, br"),
        ([b"Content-Encoding: gzip", b"X: y", b"content-encoding:br"], "gzip, br"),
        ([b"Content-Encoding: , gzip,\t, br,,"], "gzip, br"),
        ([b"Content-Encoding:", b" gzip,", b"\tbr", b"X: y"], "gzip, br"),
        ([b"X: y \t", b"Content-Encoding: br"], "br"),
        ([b"X: \xe9", b"Content-Encoding: br"], "br"),
        ([b"Content-Encoding: Identity"], ""),
        ([b"Content-Encoding: identity, br"], "br"),
        ([b"Content-Encoding:"], ""),
        ([b"X-Content-Encoding: br"], ""),
        ([b"Vary: Content-Encoding", b"X: y"], ""),
        ([b"X-Note: Content-Encoding: br", b"Y: a Content-Encoding : br"], ""),
        ([b"Content-Encoding: " + b"," * 254 + b"br"], "br"),
        ([b"Content-Encoding: " + b"," * 255 + b"br"], MALFORMED),
        ([b"Content-Encoding: " + b"," * 2048 + b"br"], MALFORMED),
        ([b"Content-Encoding: " + b"br," * 8], ", ".join(["br"] * 8)),
        ([b"Content-Encoding: " + b"br," * 9], MALFORMED),
        ([b"Content-Encoding: gzip br"], MALFORMED),
        ([b'Content-Encoding: "br"'], MALFORMED),
        ([b"Content-Encoding: br;q=1"], MALFORMED),
        ([b"Content-Encoding: b\x00r"], MALFORMED),
        ([b"Content-Encoding: \xe9"], MALFORMED),
        ([], ""),
    ],
)
def test_content_coding(lines: list[bytes], expected: str) -> None:
    assert HttpHead(response(*lines)).content_coding == expected


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Encoding : br",
        b"content-encoding \t : br",
        b"Content-Encoding\x00: br",
        b"Content-Encoding\xa0: br",
        b"Content-Encoding\r\n : br",
        b" Content-Encoding: br",
        b"\tContent-Encoding: br",
        b"\x00Content-Encoding: br",
        b" " * 100 + b"Content-Encoding: br",
        b"X: y\nContent-Encoding: br",
        b"X: y\rContent-Encoding: br",
        b"X: y\r\rContent-Encoding: br",
        b"X: y\n\r\nContent-Encoding: br",
        b"X: y\r\n Content-Encoding: br",
        b"X: y\r\n\r\nContent-Encoding: br",
        b"Content-Encoding: br\nX: y",
        b"Content-Encoding: br\rX: y",
    ],
)
@pytest.mark.parametrize("before", [(), (b"Content-Encoding: gzip",), (b"X-Content-Encoding: gzip",)])
def test_a_coding_in_a_broken_line_is_not_overlooked(line: bytes, before: tuple[bytes, ...]) -> None:
    assert HttpHead(response(*before, line, b"Y: z")).content_coding == MALFORMED


def test_a_status_line_ended_by_a_bare_line_feed_hides_no_coding() -> None:
    assert HttpHead(b"HTTP/1.1 200 OK\nContent-Encoding: br\r\n\r\n").content_coding == MALFORMED


def test_content_range() -> None:
    assert HttpHead(response(b"Content-Range: bytes 0-1/2")).content_range == b"bytes 0-1/2"
    assert HttpHead(response(b"X-Content-Range: bytes 0-1/2", b"Accept-Ranges: bytes")).content_range is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0", 0),
        (b" 2250 ", 2250),
        (b"9" * 18, 10**18 - 1),
        (b"9" * 19, None),
        (b"-1", None),
        (b"+1", None),
        (b"1_0", None),
        (b"0x1", None),
        (b"5, 5", None),
        (b"\xb2", None),
        (b"", None),
    ],
)
def test_content_length(value: bytes, expected: int | None) -> None:
    assert HttpHead(response(b"Content-Length: " + value)).content_length == expected
    assert HttpHead(response()).content_length is None


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=60).map(lambda target: b"GET " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n\r\n"),
        st.binary(max_size=60).map(lambda value: response(b"Content-Type: " + value, b"Content-Length:" + value)),
    )
)
def test_no_bytes_raise(head: bytes) -> None:
    read = read_request(head)
    assert "\r" not in read.url
    assert read.extension == read.extension.lower()
    assert 0 <= read_status(head) <= 999
    assert isinstance(HttpHead(head).media_type + HttpHead(head).content_coding, str)
    assert all(HttpHead(head).media_types)
    assert (HttpHead(head).content_length or 0) >= 0


@pytest.mark.parametrize(
    ("target", "lines", "port", "url"),
    [
        ("http://www.example.org:8080/a?q=1", [], "8080", "http://www.example.org:8080/a"),
        ("http://www.example.org:80/a", [], "80", "http://www.example.org/a"),
        ("https://u:p@[2001:db8::1]:8443/a", [], "8443", "https://[2001:db8::1]:8443/a"),
        ("http://www.example.org:123456/", [], "", "http://www.example.org/"),
        ("/a", ["Host: www.example.org:81"], "81", "http://www.example.org:81/a"),
        ("www.example.org:443", [], "443", "https://www.example.org"),
    ],
)
def test_a_port_is_shown_where_it_is_not_the_scheme_s_own(target: str, lines: list[str], port: str, url: str) -> None:
    method = "CONNECT" if target.startswith("www") else "GET"
    read = request(target, *lines, method=method)
    assert (read.port, read.url) == (port, url)
