"""What a policy may look at, and what it answers. Values only."""

from __future__ import annotations

import enum

import msgspec

from icapd.scan.model import ScanReport


class Action(enum.StrEnum):
    """What is done with a transaction."""

    ALLOW = "allow"
    BLOCK = "block"
    MONITOR = "monitor"
    """Allowed, but recorded as what another policy would have blocked."""
    OVERRIDE = "override"
    """Allowed, as its user took it on themselves: what the rule would have blocked."""
    REDIRECT = "redirect"
    """The client is sent elsewhere; for requests only."""


class Redirect(msgspec.Struct, frozen=True):
    """An HTTP redirect. `location` has fields in braces, as `actions.LOCATION_FIELDS` names them."""

    status: int
    location: str


class HeaderEdits(msgspec.Struct, frozen=True):
    """What changes in the head of a message that passes: `removed`, in lower case, before `added`, whole lines.

    `line` takes the place of its first line, unless it is empty.
    """

    added: bytes
    removed: tuple[bytes, ...]
    line: bytes = b""


class Decision(msgspec.Struct, frozen=True):
    """The answer of one rule. `page` is the template the rule names, None for the configured one.

    `is_shipped` says that pages give its reason in the reader's language; `override`, that its block may be
    overridden, and `names_malware` that this goes for malware as well.
    """

    action: Action
    rule: str
    reason: str = ""
    page: str | None = None
    redirect: Redirect | None = None
    edits: HeaderEdits | None = None
    is_shipped: bool = False
    override: bool = False
    names_malware: bool = False

    @property
    def refuses(self) -> bool:
        """Whether something else goes back in place of the message."""
        return self.action is Action.BLOCK or self.action is Action.REDIRECT


class Facts(msgspec.Struct):
    """One transaction as policy sees it.

    Everything but `report` comes from the client and is complete once the encapsulated heads are in: None is what the
    client did not say, and will not say later. `media_type` and `size_bytes` are claims about the body (Content-Type
    and Content-Length); the truth about both is in `report`. `host` has no port, `media_type` may have parameters,
    `extension` has no dot, `url` no query. `media_types` are all that were declared, without parameters, where a
    message declares several. `client` is as the gateway wrote it. `week_minute` is when the request began, in minutes
    since Monday 00:00 in the configured time zone.

    State: the transaction sets `report` once, when the body has been judged or passed by, and `sha256` when it is
    whole.
    """

    method: str | None = None
    service: str | None = None
    client: str | None = None
    user: str | None = None
    host: str | None = None
    http_method: str | None = None
    media_type: str | None = None
    extension: str | None = None
    size_bytes: int | None = None
    report: ScanReport | None = None
    media_types: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    url: str | None = None
    week_minute: int | None = None
    sha256: bytes = b""
