"""The admin HTTP endpoints: /metrics, /livez, /readyz. Served by the supervisor, which sees no client bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from icapd.observe.metrics import Values


class _Text(Resource):
    """Answers with a status and a line of text, asked anew each time."""

    isLeaf = True

    def __init__(self, ask: Callable[[], tuple[int, str]]) -> None:
        Resource.__init__(self)
        self._ask = ask

    def render_GET(self, request: Request) -> bytes:
        status, text = self._ask()
        request.setResponseCode(status)
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        request.setHeader(b"Cache-Control", b"no-store")
        return text.encode() + b"\n"


class _Metrics(Resource):
    """Answers with the sums over all fronts, once they have sent theirs."""

    isLeaf = True

    def __init__(self, collect: Callable[[], Deferred[Values]]) -> None:
        Resource.__init__(self)
        self._collect = collect

    def render_GET(self, request: Request) -> int:
        is_gone: list[Any] = []
        request.notifyFinish().addErrback(is_gone.append)
        self._collect().addCallback(self._answer, request, is_gone)
        return NOT_DONE_YET

    def _answer(self, values: Values, request: Request, is_gone: list[Any]) -> None:
        if is_gone:
            return
        from icapd.observe.exposition import CONTENT_TYPE, exposition  # here: no start waits for it

        request.setHeader(b"Content-Type", CONTENT_TYPE)
        request.write(exposition(values))
        request.finish()


def admin_site(ready: Callable[[], tuple[int, str]], collect: Callable[[], Deferred[Values]]) -> Site:
    """The admin endpoints as a site for a listening port."""
    root = Resource()
    root.putChild(b"livez", cast(IResource, _Text(lambda: (200, "alive"))))
    root.putChild(b"readyz", cast(IResource, _Text(ready)))
    root.putChild(b"metrics", cast(IResource, _Metrics(collect)))
    site = Site(root)
    site.noisy = False
    site.displayTracebacks = False
    return site
