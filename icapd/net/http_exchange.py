"""One `POST /scan` from its head to its answer: one file, or the files of a multipart upload.

Each file is judged as soon as it is whole, while the next one still comes.
"""

from __future__ import annotations

from typing import Final, Protocol

from twisted.python.failure import Failure

from icapd.errors import PeerProtocolError
from icapd.net.accounts import PLAIN
from icapd.net.gateway import Gateway
from icapd.net.http_answers import JSON, NOTHING, bare_status_of, encode, status_of, upload_answer
from icapd.net.http_file import FileScan, Sender
from icapd.net.http_form import FormSplitter, PartHead
from icapd.net.http_request import NAME_CHARACTERS_MAX, Refusal, ScanRequest, head_of

_RETRY_AFTER: Final = (("Retry-After", "1"),)


class HttpLink(Protocol):
    """The connection as an exchange sees it."""

    def judging(self) -> None:
        """The body is whole; the time for verdicts begins."""

    def answer(self, status: int, media_type: str, body: bytes, fields: tuple[tuple[str, str], ...] = ()) -> None:
        """The whole answer. What still comes of the body is read on for a while, then the connection ends."""

    def refuse(self, refusal: Refusal) -> None:
        """The same for an answer without a verdict."""


class Exchange:
    """State: `_files` in the order they came, the last of which may still come; `_is_whole` once the body is;
    `_is_over` with the answer."""

    def __init__(self, gateway: Gateway, link: HttpLink, request: ScanRequest, peer: str, started: float) -> None:
        self._gateway = gateway
        self._link = link
        self._request = request
        self._started = started
        service = gateway.services.http
        self._sender = Sender(peer, request.values, PLAIN if service is None else service.naming)
        self._files: list[FileScan] = []
        self._is_whole = False
        self._is_over = False
        self._dropped_bytes = 0
        self._form: FormSplitter | None = None

    def begin(self) -> None:
        """The head is in."""
        request = self._request
        if request.boundary is None:
            file = FileScan(
                self._gateway,
                self._sender,
                request.head,
                request.name,
                request.length_bytes,
                self._started,
                self._on_decided,
            )
            self._files.append(file)
            file.check_length()
            return
        self._form = FormSplitter(request.boundary, self._gateway.http_files_max)

    # What comes

    def on_data(self, data: bytes) -> None:
        """A piece of the request's body."""
        if self._is_over:
            return
        if self._form is None:
            self._files[-1].feed(data)
            return
        try:
            for event in self._form.feed(data):
                self._on_part(event)
                if self._is_over:
                    return
        except PeerProtocolError as error:
            self._refuse(error.status_hint, str(error))

    def _on_part(self, event: PartHead | bytes | None) -> None:
        if event is None:
            self._files[-1].finish()
        elif isinstance(event, PartHead):
            self._begin_part(event)
        else:
            file = self._files[-1]
            if file.is_decided:
                self._dropped_bytes += len(event)
                if self._dropped_bytes > self._gateway.discard_bytes:
                    # No verdict on the others: the parts that did not come could be anything.
                    self._refuse(413, "a part is too large, and the form goes on behind it for too long")
                    return
            file.feed(event)

    def _begin_part(self, part: PartHead) -> None:
        """A part is scanned whether it calls itself a file or a field: an application may take it for either."""
        if len(part.name) > NAME_CHARACTERS_MAX:
            self._refuse(400, f"a file's name has more than {NAME_CHARACTERS_MAX} characters")
            return
        head = head_of(list(part.values.items()))
        self._files.append(
            FileScan(self._gateway, self._sender, head, part.name, None, self._started, self._on_decided)
        )

    def on_end(self) -> None:
        """The request is whole."""
        if self._is_over:
            return
        if self._form is not None:
            try:
                self._form.finish()
            except PeerProtocolError as error:
                self._refuse(error.status_hint, str(error))
                return
        self._is_whole = True
        self._link.judging()
        if self._form is None:
            self._files[-1].finish()
        else:
            self._on_decided()

    def on_late_body(self) -> None:
        """Nothing came for too long, or all of it takes too long: what is judged already is told."""
        if not self._files or (self._form is not None and self._files[-1].is_decided):
            self._refuse(408, "the upload came too slowly")
        else:
            self._is_whole = True
            self._link.judging()
            self._files[-1].give_up("body-timed-out")

    def on_deadline(self) -> None:
        """The time for verdicts is over, whoever should have kept it."""
        for file in list(self._files):
            file.give_up("scan-timed-out")

    def on_broken(self, status: int, error: str) -> None:
        """The connection cannot go on."""
        if not self._is_over:
            self._end(status, error)

    # The answer

    def _on_decided(self) -> None:
        """A file has its verdict. One that is all there is, is told at once, though more of it may come."""
        is_ready = self._is_whole or self._form is None
        if is_ready and not self._is_over and all(file.is_decided for file in self._files):
            self._answer()

    def _answer(self) -> None:
        for file in self._files:
            file.give_up("scan-timed-out")
        answers = [file.answer() for file in self._files]
        is_upload = self._form is not None
        if self._request.status_only:
            status, media_type, body = bare_status_of(answers), NOTHING, b""
        else:
            status, media_type = status_of(answers), JSON
            body = encode(upload_answer(answers)) if is_upload else encode(answers[0])
        self._end(status)
        self._link.answer(status, media_type, body, _RETRY_AFTER if status == 503 else ())

    def _refuse(self, status: int, detail: str) -> None:
        self._end(status, detail)
        self._link.refuse(Refusal(status, detail))

    def _end(self, status: int, error: str = "") -> None:
        self._is_over = True
        for file in self._files:
            try:
                file.record(status, error)
            except Exception:  # the border: one line is lost, nothing else
                self._gateway.internal_error(Failure())
