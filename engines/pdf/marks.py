"""The marks that a document's objects and streams are found by, as patterns; knows nothing of values."""

from __future__ import annotations

import re
from typing import Final

from icapd.scan.model import Buffer

OBJ = re.compile(rb"obj(?<=[0-9\0\t\n\f\r ]obj)")
HEAD_BYTES: Final = 72
"""So far before `obj` an object's numbers are looked for."""
HEAD = re.compile(rb"(\d{1,10})[\0\t\n\f\r ]{1,32}(\d{1,10})[\0\t\n\f\r ]{0,32}\Z")
STREAM = re.compile(rb"stream(\r\n|\n|\r|[ ]{0,8}\r?\n)?")
_LENGTH = rb"/Length[\0\t\n\f\r ]{1,8}(\d{1,10})"
_FLATE = rb"/Filter[\0\t\n\f\r ]{0,8}/FlateDecode"
_BLANK = rb"[\0\t\n\f\r ]{0,8}"
PLAIN_STREAM = re.compile(
    rb"%(_)b<<%(_)b(?:%(length)b%(_)b%(flate)b|%(flate)b%(_)b%(length)b)%(_)b>>%(_)bstream(?:\r\n|\n)"
    % {b"_": _BLANK, b"length": _LENGTH, b"flate": _FLATE}
)
"""How most streams begin; reading these dictionaries value by value was a fifth of the cost of a whole file."""
END_STREAM = re.compile(rb"[\r\n]{0,2}endstream")
TELLING = re.compile(
    rb"/(?:JS|JavaScript|OpenAction|AA|Launch|EmbeddedFiles?|EF|RichMedia\w{0,16}|XFA|GoToR|GoToE|SubmitForm|ImportData"
    rb"|Rendition|Flash|3D)(?![A-Za-z0-9])|/[^/\s<>\[\]()]{0,64}#[0-9A-Fa-f]{2}"
)


class Next:
    """Finds a mark from ever later places; the whole file is searched once however often it is asked.

    State: the last place found; -1 when there are no more.
    """

    def __init__(self, data: Buffer, mark: bytes) -> None:
        self._data = data
        self._mark = mark
        self._at = data.find(mark)

    def after(self, start: int) -> int:
        if 0 <= self._at < start:
            self._at = self._data.find(self._mark, start)
        return self._at
