"""What the tests of nginx send through it, and the ICAP servers behind it."""

from __future__ import annotations

import contextlib
import io
import random
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.eicar import EICAR
from tests.support.fetch import Answer, fetch
from tests.support.icap_stub import OPTIONS, UNCHANGED, Exchange, IcapStub, Request, answer_with
from tests.support.nginx import Nginx
from tests.support.origin import Origin, Page

StartNginx = Callable[..., Nginx]
PIECE_BYTES = 16 * 1024


def clean_bytes(size_bytes: int, seed: str = "") -> bytes:
    """Bytes that no scanner knows and no cache has seen; the same on every run."""
    return random.Random(f"nginx/{size_bytes}/{seed}").randbytes(size_bytes)


def with_marker_at_end(size_bytes: int) -> bytes:
    """Behind so many bytes of noise, in a ZIP: what stands before it in the body is not the test file."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("noise.bin", clean_bytes(size_bytes, "zip"))
        archive.writestr("eicar.com", EICAR)
    return packed.getvalue()


def pieces(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), PIECE_BYTES):
        yield body[at : at + PIECE_BYTES]


@contextlib.contextmanager
def stub(exchange: Exchange, options: bytes = OPTIONS) -> Iterator[IcapStub]:
    with IcapStub(exchange, options) as running:
        yield running


def download(nginx: Nginx, origin: Origin, size_bytes: int, path: str = "/down/file") -> tuple[Answer, bytes]:
    body = clean_bytes(size_bytes, path)
    origin.serve(path, Page(body))
    return fetch(nginx.port, nginx.url(path)), body


def upload(nginx: Nginx, size_bytes: int, path: str = "/up/file") -> Answer:
    return fetch(nginx.port, nginx.url(path), method="POST", body=clean_bytes(size_bytes, path))


def allow(request: Request) -> None:
    request.body()
    request.send(UNCHANGED)


def curl(directory: Path, *arguments: str) -> tuple[str, bytes]:
    """Status and protocol version, and the body."""
    output = directory / "output"
    command = ["curl", "--silent", "--max-time", "60", "--output", str(output)]
    run = subprocess.run(
        [*command, "--write-out", "%{http_code} %{http_version}", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout, output.read_bytes()


def wrong_downloads(nginx: Nginx, body: bytes, count: int, at_once: int) -> list[str]:
    """Fetch the body so often, so many at a time; what was wrong with those that were not whole and identical."""
    (nginx.files / "large").write_bytes(body)

    def one(number: int) -> str:
        answer = fetch(nginx.port, nginx.url("/files/large"))
        if (answer.status, answer.is_whole) == (200, True) and answer.body == body:
            return ""
        return f"{number}: {answer.status}, {len(answer.body)} bytes, whole: {answer.is_whole}"

    with ThreadPoolExecutor(at_once) as browsers:
        return [wrong for wrong in browsers.map(one, range(count)) if wrong]


def echo(request: Request) -> None:
    request.send(answer_with(request.heads[-1], request.body(), kind=kind(request)))


def kind(request: Request) -> str:
    return "res" if len(request.heads) == 2 else "req"
