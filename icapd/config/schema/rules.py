"""Policy: rules, their conditions, and the pages they show."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from icapd.config.schema.base import MiB, Table, Text


class When(Table):
    """The conditions of a rule; all must hold; a list holds when one of its entries does; unset holds always."""

    verdict: Text | None = Field(
        None,
        examples=["UNSCANNABLE"],
        description="CLEAN SUSPICIOUS MALICIOUS FORBIDDEN UNSCANNABLE ERROR NOT_SCANNED",
    )
    outcome: Text | None = Field(
        None,
        examples=[["encrypted", "corrupt"]],
        description="clean malicious suspicious forbidden too-large limit unsupported encrypted corrupt overloaded "
        "timed-out engine-absent engine-failed not-scanned",
    )
    finding: Text | None = Field(
        None, examples=[["encrypted", "corrupt"]], description="a finding's kind or name; * and ? are wildcards"
    )
    severity: Text | None = Field(
        None, examples=[["high", "critical"]], description="of a finding: info low medium high critical"
    )
    engine: Text | None = Field(None, examples=["yara"], description="the engine that made a finding")
    method: Text | None = Field(None, examples=["RESPMOD"], description="REQMOD or RESPMOD")
    service: Text | None = Field(None, examples=["/respmod"], description="a service's path")
    client: Text | None = Field(
        None,
        examples=[["192.0.2.0/24", "2001:db8::/32"]],
        description="address or network of X-Client-IP, or of the ICAP client without it",
    )
    user: Text | None = Field(
        None,
        examples=["guest*"],
        description="X-Client-Username or X-Authenticated-User; alice is also WinNT://CORP/alice; wildcards * and ?",
    )
    group: Text | None = Field(
        None, examples=["Interns"], description="one of X-Client-Groups or X-Authenticated-Groups, as user"
    )
    host: Text | None = Field(
        None,
        examples=[".example.org"],
        description="host of the request; .example.org also matches names below it; * and ? are wildcards",
    )
    url: Text | None = Field(
        None,
        examples=["*/downloads/*"],
        description="the whole URL without its query, any case; * and ? are wildcards",
    )
    http_method: Text | None = Field(
        None, examples=[["POST", "PUT"]], description="of the HTTP request: GET, POST, CONNECT ..."
    )
    media_type: Text | None = Field(
        None,
        examples=["image/*"],
        description="the real type; for block rules also the declared one; image/* is allowed",
    )
    declared_type: Text | None = Field(
        None, examples=["application/x-shockwave-flash"], description="the media type that the message declares"
    )
    real_type: Text | None = Field(
        None, examples=["application/zip"], description="the media type that the body has, whatever is declared"
    )
    extension: Text | None = Field(
        None, examples=[["exe", "scr"]], description="of the URL's path, without the dot, any case"
    )
    size_over_bytes: int | None = Field(
        None, ge=0, examples=[0], description="of the body; for block rules also of its declared length"
    )
    size_under_bytes: int | None = Field(
        None, ge=0, examples=[100 * MiB], description="of the body; for block rules also of its declared length"
    )
    time: Text | None = Field(
        None, examples=["08:00-18:00"], description="of day in server.time_zone; 22:00-06:00 goes over midnight"
    )
    weekday: Text | None = Field(
        None, examples=["mon-fri"], description="mon tue wed thu fri sat sun; a night belongs to the day it begins on"
    )


class Rule(Table):
    name: str = Field(
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        examples=["encrypted-from-partner"],
        description="shown in headers, pages and logs",
    )
    when: When = Field(When(), description="conditions; all must hold")
    action: Literal["allow", "block", "monitor", "redirect"] = Field(
        examples=["monitor"],
        description="allow; block; monitor = allow, and record that it would have been blocked; redirect = REQMOD "
        "only, to location",
    )
    location: str | None = Field(
        None,
        max_length=1000,
        examples=["https://portal.example.org/blocked?url={url}"],
        description="of a redirect; filled in: {url} {host} {user} {client} {rule} {outcome} {finding} {transaction}",
    )
    status: Literal[302, 303, 307] = Field(302, examples=[307], description="of a redirect")
    add_headers: dict[str, str] = Field(
        {}, examples=[{"X-Scanned": "yes"}], description="added to the HTTP head of what passes by this rule"
    )
    remove_headers: list[str] = Field(
        [], examples=[["Range"]], description="removed from the HTTP head of what passes by this rule"
    )
    page: str | None = Field(
        None, examples=["conf/pages/block.html"], description="a template file for this rule's block page"
    )
    reason: str = Field("", max_length=400, description="shown to the user on the block page")
    override: bool = Field(
        False,
        description="the block page offers its user a link past this rule, for this content alone; needs "
        "pages.override_secret_file; malware only where outcome or verdict names it",
    )


class Pages(Table):
    block: str | None = Field(
        None, examples=["conf/pages/block.html"], description="a Jinja2 template file; unset = the shipped page"
    )
    contact: str = Field("", max_length=200, description="shown on the block page: whom to ask")
    help_url: str = Field(
        "",
        max_length=500,
        pattern=r"^(|(mailto:[^\s\"<>@]+@|https?://)[!-~]+)$",
        examples=["mailto:help@example.org?subject=Blocked:%20{transaction}"],
        description="a link on the block page, mailto: or http(s); {transaction} is filled in",
    )
    languages: str = Field(
        "conf/pages/languages", description="a folder with the words of block pages, one file a language, as de.toml"
    )
    language: str = Field("en", description="of a reader who asks for none of them")
    override_secret_file: str | None = Field(
        None, examples=["override.secret"], description="at least 32 random bytes; the same on every node"
    )
    override_ttl_s: int = Field(600, ge=10, le=86_400, description="how long a link past a rule is good")
