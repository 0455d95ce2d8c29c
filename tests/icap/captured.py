"""What each captured conversation holds: a line of facts for every file of tests/captures.

A request is `METHOD PATH PREVIEW ALLOW REQ+RES ENDING BODY`: the sizes in bytes of its HTTP heads and of its body,
and how the body ends: `no-body`; `whole` without a preview; `ieof`; `continued` after 100; `answered` in its preview;
`cut` by the capture after its preview. The second text is the statuses that the server answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path(__file__).parent.parent / "captures"

CONVERSATIONS: dict[str, tuple[str, str]] = {
    "echo-00-first-get-text-with-options.conn001": (
        "OPTIONS /reqecho - 206,trailers 0+0 no-body 0; REQMOD /reqecho 0 204,trailers 105+0 no-body 0",
        "200 204",
    ),
    "echo-00-first-get-text-with-options.conn002": (
        "OPTIONS /respecho - 206,trailers 0+0 no-body 0; RESPMOD /respecho 1024 204,trailers 105+198 continued 2250",
        "200 100 200",
    ),
    "echo-01-get-small.conn001": ("REQMOD /reqecho 0 204,trailers 106+0 no-body 0", "204"),
    "echo-01-get-small.conn002": ("RESPMOD /respecho 3 204,trailers 106+195 ieof 3", "204"),
    "echo-02-get-empty-0byte.conn001": ("REQMOD /reqecho 0 204,trailers 106+0 no-body 0", "204"),
    "echo-02-get-empty-0byte.conn002": ("RESPMOD /respecho 0 204,trailers 106+195 no-body 0", "204"),
    "echo-03-head.conn001": ("REQMOD /reqecho 0 204,trailers 106+0 no-body 0", "204"),
    "echo-03-head.conn002": ("RESPMOD /respecho 0 204,trailers 106+198 no-body 0", "204"),
    "echo-04-get-304.conn001": ("REQMOD /reqecho 0 204,trailers 125+0 no-body 0", "204"),
    "echo-04-get-304.conn002": ("RESPMOD /respecho 0 204,trailers 125+114 no-body 0", "204"),
    "echo-05-get-204.conn001": ("REQMOD /reqecho 0 204,trailers 104+0 no-body 0", "204"),
    "echo-05-get-204.conn002": ("RESPMOD /respecho 0 204,trailers 104+100 no-body 0", "204"),
    "echo-06-get-chunked-origin.conn001": ("REQMOD /reqecho 0 204,trailers 108+0 no-body 0", "204"),
    "echo-06-get-chunked-origin.conn002": ("RESPMOD /respecho 1024 trailers 108+118 ieof 24", "200"),
    "echo-07-get-trailer-origin.conn001": ("REQMOD /reqecho 0 204,trailers 108+0 no-body 0", "204"),
    "echo-07-get-trailer-origin.conn002": ("RESPMOD /respecho 1024 trailers 108+118 ieof 5", "204"),
    "echo-08-get-gzip.conn001": ("REQMOD /reqecho 0 204,trailers 128+0 no-body 0", "204"),
    "echo-08-get-gzip.conn002": ("RESPMOD /respecho 84 204,trailers 128+220 ieof 84", "200"),
    "echo-09-get-range-206.conn001": ("REQMOD /reqecho 0 204,trailers 129+0 no-body 0", "204"),
    "echo-09-get-range-206.conn002": ("RESPMOD /respecho 1024 204,trailers 129+269 answered 1024", "204"),
    "echo-10-get-until-close.conn001": ("REQMOD /reqecho 0 204,trailers 106+0 no-body 0", "204"),
    "echo-10-get-until-close.conn002": ("RESPMOD /respecho 1024 trailers 106+118 continued 2250", "100 200"),
    "echo-11-get-redirect-302.conn001": ("REQMOD /reqecho 0 204,trailers 109+0 no-body 0", "204"),
    "echo-11-get-redirect-302.conn002": ("RESPMOD /respecho 6 204,trailers 109+157 ieof 6", "204"),
    "echo-12-get-404.conn001": ("REQMOD /reqecho 0 204,trailers 104+0 no-body 0", "204"),
    "echo-12-get-404.conn002": ("RESPMOD /respecho 5 204,trailers 104+202 ieof 5", "200"),
    "echo-13-post-small.conn001": ("REQMOD /reqecho 7 204,trailers 171+0 ieof 7", "204"),
    "echo-13-post-small.conn002": ("RESPMOD /respecho 52 204,trailers 171+138 ieof 52", "200"),
    "echo-14-post-empty-cl0.conn001": ("REQMOD /reqecho 0 204,trailers 122+0 no-body 0", "204"),
    "echo-14-post-empty-cl0.conn002": ("RESPMOD /respecho 52 204,trailers 122+138 ieof 52", "204"),
    "echo-15-post-chunked.conn001": ("REQMOD /reqecho 1024 trailers 174+0 continued 3000", "100 200"),
    "echo-15-post-chunked.conn002": ("RESPMOD /respecho 55 204,trailers 227+138 ieof 55", "204"),
    "echo-16-put-multipart-over-preview.conn001": (
        "REQMOD /reqecho 1024 204,trailers 211+0 continued 5197",
        "100 200",
    ),
    "echo-16-put-multipart-over-preview.conn002": ("RESPMOD /respecho 55 204,trailers 264+138 ieof 55", "204"),
    "echo-17-post-exact-preview-1024.conn001": ("REQMOD /reqecho 1024 204,trailers 174+0 ieof 1024", "200"),
    "echo-17-post-exact-preview-1024.conn002": ("RESPMOD /respecho 55 204,trailers 227+138 ieof 55", "204"),
    "echo-18-post-expect-100.conn001": ("REQMOD /reqecho 1024 204,trailers 196+0 continued 5000", "100 200"),
    "echo-18-post-expect-100.conn002": ("RESPMOD /respecho 55 204,trailers 249+138 ieof 55", "204"),
    "echo-19-delete.conn001": ("REQMOD /reqecho 0 204,trailers 107+0 no-body 0", "204"),
    "echo-19-delete.conn002": ("RESPMOD /respecho 5 204,trailers 107+202 ieof 5", "200"),
    "echo-20-get-utf8-query.conn001": ("REQMOD /reqecho 0 204,trailers 122+0 no-body 0", "204"),
    "echo-20-get-utf8-query.conn002": ("RESPMOD /respecho 1024 204,trailers 122+198 answered 1024", "204"),
    "echo-21-get-300k-head-and-preview-only.conn002": ("RESPMOD /respecho 1024 trailers 111+200 cut 1024", ""),
    "ex206-00-first-get-text-with-options.conn001": (
        "OPTIONS /ex206 - 206,trailers 0+0 no-body 0; REQMOD /ex206 0 204,trailers 105+0 no-body 0",
        "200 204",
    ),
    "ex206-00-first-get-text-with-options.conn002": (
        "OPTIONS /ex206 - 206,trailers 0+0 no-body 0; RESPMOD /ex206 1024 204,206,trailers 105+198 answered 1024",
        "200 206",
    ),
    "ex206-06-get-chunked-origin.conn001": ("REQMOD /ex206 0 204,trailers 108+0 no-body 0", "204"),
    "ex206-06-get-chunked-origin.conn002": ("RESPMOD /ex206 1024 206,trailers 108+118 ieof 24", "206"),
    "ex206-08-get-gzip.conn001": ("REQMOD /ex206 0 204,trailers 128+0 no-body 0", "204"),
    "ex206-08-get-gzip.conn003": ("RESPMOD /ex206 84 204,206,trailers 128+220 ieof 84", "206"),
    "ex206-13-post-small.conn001": ("REQMOD /ex206 7 204,206,trailers 171+0 ieof 7", "206"),
    "ex206-13-post-small.conn003": ("RESPMOD /ex206 52 204,206,trailers 254+138 ieof 52", "206"),
    "ex206-21-get-big-200k.conn001": ("REQMOD /ex206 0 204,trailers 111+0 no-body 0", "204"),
    "ex206-21-get-big-200k.conn003": ("RESPMOD /ex206 1024 206,trailers 111+200 answered 1024", "206"),
    "sslbump-connect-then-post": (
        "REQMOD /ex206 0 204,trailers 84+0 no-body 0; REQMOD /ex206 8 204,206,trailers 172+0 ieof 8",
        "",
    ),
    "synthetic-nextcloud-reqmod-emptyfile-double-terminator": ("REQMOD /avscan - 204 50+0 whole 0", ""),
    "synthetic-nextcloud-reqmod": ("REQMOD /avscan - 204 50+0 whole 6", ""),
    "synthetic-nextcloud-respmod": ("RESPMOD /avscan - 204 46+38 whole 6", ""),
    "synthetic-rspamd-options-respmod": ("OPTIONS /scan - - 0+0 no-body 0; RESPMOD /scan - 204 101+115 whole 6", ""),
}


@dataclass(frozen=True)
class Facts:
    """What one captured request must be read as."""

    method: str
    path: str
    preview_bytes: int | None
    allow: frozenset[str]
    request_head_bytes: int
    response_head_bytes: int
    ending: str
    body_bytes: int


def facts(name: str) -> list[Facts]:
    """The requests of a conversation, in order."""
    result = []
    for line in CONVERSATIONS[name][0].split("; "):
        method, path, preview, allow, heads, ending, body = line.split(" ")
        request_head, _, response_head = heads.partition("+")
        result.append(
            Facts(
                method,
                path,
                None if preview == "-" else int(preview),
                frozenset(allow.split(",")) - {"-"},
                int(request_head),
                int(response_head),
                ending,
                int(body),
            )
        )
    return result


def statuses(name: str) -> list[int]:
    """What the captured server answered, in order; empty where only the client was captured."""
    return [int(status) for status in CONVERSATIONS[name][1].split()]


def client_bytes(name: str) -> bytes:
    return (DIRECTORY / f"{name}.c2s").read_bytes()


def server_bytes(name: str) -> bytes:
    return (DIRECTORY / f"{name}.s2c").read_bytes()
