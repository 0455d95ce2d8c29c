"""What a document's objects do: walks over what tells something and names the signs. Reads no bytes itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from engines.pdf import table
from engines.pdf.document import Document, Object
from engines.pdf.script import SCRIPT_CHARACTERS_MAX
from engines.pdf.values import DEPTH_MAX, Name, Ref, Value, text_of
from icapd.scan.engine_api import LimitReached
from icapd.scan.indicators import Indicator
from icapd.scan.model import Budget

ACTIONS_MAX: Final = 30_000
ACTIONS_LIMIT: Final = "pdf.max_actions"
SCRIPTS_LIMIT: Final = "pdf.max_script_bytes"
_NEXT_MAX: Final = 32
_TEXTS_MAX: Final = 20_000
_SELF_STARTING: Final = frozenset({"O", "PO", "PV", "PI", "WC", "WS", "DS", "WP", "DP"})
"""Events that need no hand of the user (12.6.3); what fields do with their values (K, F, V, C) needs one."""
_FORM_ACTIONS: Final = frozenset({"SubmitForm", "ImportData"})
_MEDIA: Final = frozenset({"RichMedia", "RichMediaContent", "RichMediaExecute", "Flash"})


@dataclass(slots=True)
class Judgement:
    """State: grows object by object. `attachments` are streams by the name they are attached under."""

    signs: list[Indicator] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    attachments: dict[tuple[int, int], str] = field(default_factory=dict)
    script_characters: int = 0
    is_cut: bool = False


class Judge:
    """Walks over one document. State: the judgement, and which references were followed."""

    def __init__(self, document: Document, budget: Budget) -> None:
        self.found = Judgement()
        self._document = document
        self._budget = budget
        self._seen: set[tuple[object, str]] = set()
        self._known_scripts: set[str] = set()
        self._actions_left = ACTIONS_MAX
        self._texts_left = _TEXTS_MAX

    def run(self) -> Judgement:
        """Raises: LimitReached of the budget; DeadlineReached."""
        try:
            for each in self._document.objects:
                self._budget.check_time()
                self._walk(each, each.value, 0)
        except LimitReached as reached:
            self._document.note(reached)
        if self._document.escaped & table.TELLING_NAMES:
            self.found.signs.append(table.ESCAPED_NAMES)
        if self.found.scripts:
            self.found.signs.append(table.SCRIPT)
        return self.found

    def _walk(self, holder: Object, value: Value, depth: int) -> None:
        if depth > DEPTH_MAX:
            return
        if isinstance(value, list):
            for item in value:
                self._walk(holder, item, depth + 1)
            return
        if not isinstance(value, dict):
            return
        self._look(holder, value)
        for inner in value.values():
            if isinstance(inner, dict | list):
                self._walk(holder, inner, depth + 1)

    def _look(self, holder: Object, entries: dict[str, Value]) -> None:
        """One dictionary: its keys that tell something, also where a key comes twice."""
        for key in [key for key in entries if key.rstrip("\0") in _KEYS]:
            value = entries[key]
            match key.rstrip("\0"):
                case "OpenAction":
                    self._opens(holder, value)
                case "AA":
                    self._events(holder, value)
                case "S":
                    self._action(holder, entries, opens=False)
                case "JS":
                    self._script(holder, value)
                case "JavaScript" if not isinstance(value, bytes):
                    self.found.signs.append(table.DOCUMENT_SCRIPT)
                case "EF":
                    self._attachment(holder, entries)
                case "XFA":
                    self._form(value)
                case "Subtype" | "Type" if isinstance(value, Name) and value in _MEDIA:
                    self.found.signs.append(table.RICH_MEDIA)
                case "Type" if value == "EmbeddedFile":
                    self.found.signs.append(table.ATTACHMENT)

    def _opens(self, holder: Object, value: Value) -> None:
        for each in self._followed(value, "open"):
            action = each.value
            for _ in range(_NEXT_MAX):
                if not isinstance(action, dict):
                    break
                self._action(each if each.number else holder, action, opens=True)
                following = self._document.first(action.get("Next"))
                action = following[0] if isinstance(following, list) and following else following
                action = self._document.first(action)

    def _events(self, holder: Object, value: Value) -> None:
        for each in self._followed(value, "events"):
            for event, action in each.dictionary.items():
                if event.rstrip("\0") in _SELF_STARTING:
                    self._opens(each if each.number else holder, action)

    def _followed(self, value: Value, purpose: str) -> Iterator[Object]:
        """The definitions a value may mean, each reference once for each purpose."""
        if isinstance(value, Ref):
            if (value, purpose) in self._seen:
                return
            self._seen.add((value, purpose))
        yield from self._document.resolve(value)

    def _action(self, holder: Object, action: dict[str, Value], *, opens: bool) -> None:
        kind = self._document.first(action.get("S"))
        self._actions_left -= 1
        if self._actions_left < 0:
            self._document.limits.add(ACTIONS_LIMIT)
            return
        signs = self.found.signs
        if kind == "JavaScript" and opens:
            signs.append(table.OPENS_SCRIPT)
            self._script(holder, action.get("JS"))
        elif kind == "Launch":
            signs.append(table.LAUNCH)
            if any(table.COMMAND.search(text.lower()) for text in self._texts(holder, action, 0)):
                signs.append(table.LAUNCH_COMMAND)
        elif kind == "URI" and opens:
            signs.append(table.OPENS_ADDRESS)
        elif isinstance(kind, Name) and kind in _FORM_ACTIONS:
            signs.append(table.SUBMITS_ON_OPEN if opens else table.SUBMIT)
        elif kind in ("GoToR", "GoToE") and any(map(_is_remote, self._texts(holder, action, 0))):
            signs.append(table.REMOTE_FILE)

    def _texts(self, holder: Object, value: Value, depth: int) -> Iterator[str]:
        """The strings in an action and in the file specifications that it refers to."""
        self._texts_left -= 1
        if self._texts_left < 0:
            self._document.limits.add(ACTIONS_LIMIT)
            return
        if isinstance(value, bytes):
            yield from map(text_of, self._document.readings(holder, value))
        elif isinstance(value, dict) and depth < 4:
            for key, inner in value.items():
                if key.rstrip("\0") in ("F", "UF", "Win", "P", "D", "O", "Unix", "Mac"):
                    yield from self._texts(holder, inner, depth + 1)
        elif isinstance(value, Ref) and depth < 4:
            for each in self._document.resolve(value):
                yield from self._texts(each, each.value, depth + 1)

    def _script(self, holder: Object, value: Value) -> None:
        for each in self._followed(value, "script"):
            if each.stream is not None:
                names, _ = self._document.filters_of(each)
                if len(names) > 1:
                    self.found.signs.append(table.HIDDEN_SCRIPT)
                self.add_script(text_of(self._decoded(each)))
                continue
            for reading in self._document.readings(each if each.number else holder, each.value):
                self.add_script(text_of(reading))

    def _decoded(self, holder: Object) -> bytes:
        """A script's or form's stream. One in a picture's coding is a sign: what comes out of it is not known."""
        decoded = self._document.decoded(holder)
        if decoded.is_picture:
            self.found.signs.append(table.PICTURE_CODING)
        return decoded.data

    def add_script(self, text: str) -> None:
        """Keeps a script, each text once, up to the ceiling for all of a document's scripts together."""
        if not text.strip("\0\t\n\f\r ") or text in self._known_scripts:
            return
        self._known_scripts.add(text)
        left = SCRIPT_CHARACTERS_MAX - self.found.script_characters
        self.found.is_cut |= len(text) > left
        if left > 0:
            self.found.scripts.append(text[:left])
            self.found.script_characters += len(text)

    def _attachment(self, holder: Object, specification: dict[str, Value]) -> None:
        self.found.signs.append(table.ATTACHMENT)
        names, descriptions = (
            [
                text_of(reading)
                for key in keys
                for reading in self._document.readings(holder, self._document.first(specification.get(key)))
            ]
            for keys in (("UF", "F"), ("Desc",))
        )
        name = next((name for name in (*names, *descriptions) if name), "attachment")
        if any(name.rstrip(". \0").rpartition(".")[2].lower() in table.PROGRAM_ENDINGS for name in names if name):
            self.found.signs.append(table.PROGRAM)
        files = self._document.first(specification.get("EF"))
        if isinstance(files, dict):
            for value in files.values():
                for each in self._document.resolve(value):
                    if each.stream is not None:
                        self.found.attachments[each.stream] = name

    def _form(self, value: Value) -> None:
        """An XFA form (12.7.8) is one stream, or an array of names and streams; scripts stand in its XML."""
        self.found.signs.append(table.XFA)
        for each in self._followed(value, "form"):
            parts = each.value if isinstance(each.value, list) else [value]
            for part in parts[:64]:
                for stream in self._followed(part, "form part"):
                    if stream.stream is not None:
                        self._form_scripts(_xml_of(self._decoded(stream)))

    def _form_scripts(self, xml: str) -> None:
        at = 0
        while (tag := _SCRIPT_TAG.search(xml, at)) is not None:
            end = _SCRIPT_END.search(xml, tag.end())
            at = end.end() if end else len(xml)
            if "javascript" in tag[0].lower():
                self.add_script(xml[tag.end() : end.start() if end else len(xml)])


_SCRIPT_TAG = re.compile(r"<(?:[\w.-]{1,64}:)?script\b[^>]{0,4096}>")
_SCRIPT_END = re.compile(r"</(?:[\w.-]{1,64}:)?script\b")


def _xml_of(data: bytes) -> str:
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace").replace("\0", "")


_KEYS: Final = frozenset({"OpenAction", "AA", "S", "JS", "JavaScript", "EF", "XFA", "Subtype", "Type"})


def _is_remote(text: str) -> bool:
    return text.startswith(("\\\\", "//")) or text.lower().startswith(("http:", "https:", "ftp:", "file://"))
