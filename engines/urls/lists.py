"""Reads the operator's lists into one table. Each file is read in blocks; most blocks need no look at single lines.

Lists come from everywhere and have a wrong line now and then: few are passed over, but a file of which more than one
line in a hundred cannot be read is none, and refused with those lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, NamedTuple

from engines.urls.engine import HAS_URLS, Kind, ListedAs, encode_lists
from engines.urls.names import CONTROLS, PLAIN, canonical_host, is_address, path_and_query, url_base, url_keys
from icapd.scan.engine_api import ConfigurationError, Material, Problem, open_regular

if TYPE_CHECKING:
    from engines.urls.building import TableBuilder

Format = Literal["hosts", "domains", "urls"]

BLOCK_BYTES = 1 << 18
LINE_BYTES = 8 * 1024
BAD_ONE_IN = 100
PROBLEMS_PER_FILE = 5
FOLDERS_MAX = 4
"""Levels of a folder of categories."""
_GUESS_BYTES = 64 * 1024

_COMMENT = re.compile(rb"^[#!;][^\n]*|(?<=[ \t])#[^\n]*", re.MULTILINE)
_URL = re.compile(
    rb"(?:[A-Za-z][A-Za-z0-9+.-]*://)?(?:[^/?#@\s]*@)?(\[[^\]\s]*\]|[^/?#:\s]+)(?::([0-9]*))?([/?][^\s]*)?"
)
_NO_NAME = re.compile(rb"[\x00-\x20\x7f<>\"'{}|\\^`/?#@,=()]")
_PLAIN = PLAIN + b" "
_A, _X = b"ax"
_LOCAL_ADDRESSES: Final = frozenset({b"0.0.0.0", b"127.0.0.1", b"::1", b"::", b"255.255.255.255", b"fe80::1%lo0"})
_LOCAL_NAMES: Final = frozenset(
    {
        *(b"localhost", b"localhost.localdomain", b"local", b"broadcasthost", b"0.0.0.0"),
        *(b"ip6-localhost", b"ip6-loopback", b"ip6-localnet", b"ip6-mcastprefix", b"ip6-allnodes", b"ip6-allrouters"),
        b"ip6-allhosts",
    }
)
"""What hosts files say of the machine they are on."""


class Source(NamedTuple):
    """One list of the operator's: `category` names a file's, `categories` picks from a folder's; empty for all."""

    path: Path
    name: str
    category: str
    categories: frozenset[str]
    format: Format | Literal["auto", "squidguard"]
    kind: Kind


class _File(NamedTuple):
    path: Path
    format: Format | Literal["auto"]
    listed_as: ListedAs


def read_lists(sources: Sequence[Source]) -> Material:
    """A table in blocks, what its numbers mean under `lists`, and which `formats` there are.

    Raises: ConfigurationError with every file that cannot be read, or is no list.
    """
    from engines.urls.building import LISTS_MAX, RECORDS_BYTES_MAX, TableBuilder  # brings numpy along

    builder = TableBuilder()
    numbers: dict[ListedAs, int] = {}
    formats: set[Format] = set()
    problems: list[Problem] = []
    for source in sources:
        try:
            for file in _files(source):
                number = numbers.setdefault(file.listed_as, len(numbers) + 1)
                reader = _FileReader(file, number, builder)
                problems += reader.read()
                formats.add(reader.known)
        except OSError as error:
            problems.append(Problem(str(error.filename or source.path), error.strerror or "cannot be read"))
        if len(numbers) >= LISTS_MAX or builder.size_bytes > RECORDS_BYTES_MAX:
            raise ConfigurationError([Problem(str(source.path), "is more than there is room for")])
    if problems:
        raise ConfigurationError(problems)
    if not numbers:
        return {}
    told = " ".join(sorted(formats)).encode()
    return {**builder.build(), "lists": encode_lists(list(numbers)), "formats": told}


def _files(source: Source) -> Iterator[_File]:
    """The files of a list. Raises: OSError."""
    if not source.path.is_dir():
        name = f"{source.name}/{source.category}" if source.category else source.name
        if source.format == "squidguard":
            raise NotADirectoryError(0, "is no folder of categories", str(source.path))
        yield _File(source.path, source.format, ListedAs(name, source.kind))
        return
    found = False
    for path in _walk(source.path, FOLDERS_MAX):
        category = source.category or path.parent.relative_to(source.path).as_posix().lstrip(".")
        if source.categories and category not in source.categories:
            continue
        found = True
        name = f"{source.name}/{category}" if category else source.name
        yield _File(path, "urls" if path.name == "urls" else "domains", ListedAs(name, source.kind))
    if not found:
        raise FileNotFoundError(0, "has no category folders with a file `domains` or `urls`", str(source.path))


def _walk(folder: Path, levels: int) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in ("domains", "urls") and path.is_file():
            yield path
        elif levels > 1 and path.is_dir():
            yield from _walk(path, levels - 1)


class _FileReader:
    """State: lines seen, and those that cannot be read; the first of them are told."""

    def __init__(self, file: _File, number: int, builder: TableBuilder) -> None:
        self._file = file
        self.known: Format = "domains" if file.format == "auto" else file.format
        self._number = number
        self._builder = builder
        self._lines = 0
        self._bad = 0
        self._told: list[Problem] = []

    def read(self) -> list[Problem]:
        """Raises: OSError."""
        with open_regular(self._file.path) as stream:
            start = stream.read(_GUESS_BYTES)
            if self._file.format == "auto":
                self.known = _guess(start)
            stream.seek(3 if start.startswith(b"\xef\xbb\xbf") else 0)
            self._read(stream, self.known)
        return self._told if self._bad * BAD_ONE_IN > self._lines else []

    def _read(self, stream: BinaryIO, known: Format) -> None:
        rest = b""
        while (block := stream.read(BLOCK_BYTES)) or rest:
            block = rest + block if block else rest + b"\n"
            whole = block.rfind(b"\n") + 1
            rest = block[whole:]
            if len(rest) > LINE_BYTES:
                self._told.append(Problem(str(self._file.path), f"has a line of more than {LINE_BYTES} bytes"))
                self._bad = self._lines = self._lines + 1
                return
            self._take(block[:whole].replace(b"\r", b""), known)

    def _take(self, block: bytes, known: Format) -> None:
        if b"#" in block or b"!" in block or b";" in block:
            block = _COMMENT.sub(b"", block)
        names = _plain_names(block.lower(), known) if known != "urls" else None
        if names is None:
            read = _READERS[known]
            names = []
            for place, line in enumerate(block.split(b"\n")[:-1], self._lines + 1):
                if line := line.strip():
                    found = read(line)
                    if found is None:
                        self._refuse(place, line, known)
                    else:
                        names += found
        self._lines += block.count(b"\n")
        if known == "urls":
            hosts = {name.partition(b"/")[0].partition(b"|")[0] for name in names}
            self._builder.add(sorted(hosts), HAS_URLS)
        self._builder.add(names, self._number, is_for_all_below=known == "domains")

    def _refuse(self, place: int, line: bytes, known: Format) -> None:
        self._bad += 1
        if len(self._told) < PROBLEMS_PER_FILE:
            shown = line[:80].decode("ascii", "backslashreplace")
            self._told.append(Problem(f"{self._file.path}:{place}", f"cannot be in a list of {known}: {shown!r}"))


def _guess(start: bytes) -> Format:
    """What a file of unknown format is, by its first line that says something."""
    for line in _COMMENT.sub(b"", start.removeprefix(b"\xef\xbb\xbf")).split(b"\n"):
        words = line.split()
        if len(words) > 1 and _is_address(words[0]):
            return "hosts"
        if words:
            return "urls" if b"/" in words[0] else "domains"
    return "domains"


def _plain_names(block: bytes, known: Format) -> list[bytes] | None:
    """The keys of a block without anything unusual in it; None when its lines must be looked at."""
    words = block.split()
    if known == "hosts":
        if not _LOCAL_ADDRESSES.issuperset(words[0::2]) or len(words) % 2:
            return None
        words = words[1::2]
        if not _LOCAL_NAMES.isdisjoint(words):
            return None
    elif b" " in block or b"\t" in block:
        return None
    joined = b" ".join(words)
    if joined.translate(None, _PLAIN) or b" ." in joined or joined.startswith(b"."):
        return None
    # Nearly all names end in a letter; addresses, and dots at the end, want another form.
    names = [
        word if word[-1] > _X or (word[-1] >= _A and word.find(b"0x") < 0) else canonical_host(word.decode()).encode()
        for word in words
    ]
    return [name for name in names if name] if b"" in names else names


def _name(word: bytes) -> bytes:
    """The key of a host; empty for what is none."""
    if _NO_NAME.search(word):
        return b""
    host = canonical_host(word.decode("utf-8", "surrogateescape"))
    return host.encode("utf-8", "surrogateescape").translate(None, CONTROLS)


def _is_address(word: bytes) -> bool:
    return is_address(word.partition(b"%")[0].decode("ascii", "replace"))


def _read_hosts(line: bytes) -> list[bytes] | None:
    """An address, then names that mean nothing but themselves."""
    address, *words = line.split()
    if not words or not _is_address(address):
        return None
    names = [_name(word) for word in words if word.lower() not in _LOCAL_NAMES]
    return names if all(names) else None


def _read_domain(line: bytes) -> list[bytes] | None:
    """A name that also means all below it, with or without `*.` or a dot before it; or an address."""
    name = _name(line.removeprefix(b"*").lstrip(b"."))
    return [name] if name else None


def _read_url(line: bytes) -> list[bytes] | None:
    """The beginning of URLs, with or without a scheme."""
    match = _URL.fullmatch(line)
    if match is None:
        return None
    host, port, target = match.groups()
    name = _name(host.strip(b"[]"))
    if not name:
        return None
    base = url_base(name.removeprefix(b"www."), (port or b"").decode())
    *_, key = url_keys(base, *path_and_query(target or b"/"))
    return [key]


_READERS: Final[dict[Format, Callable[[bytes], list[bytes] | None]]] = {
    "hosts": _read_hosts,
    "domains": _read_domain,
    "urls": _read_url,
}
