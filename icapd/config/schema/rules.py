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
    method: Text | None = Field(None, examples=["RESPMOD"], description="REQMOD or RESPMOD")
    service: Text | None = Field(None, examples=["/respmod"], description="a service's path")
    client: Text | None = Field(
        None,
        examples=[["192.0.2.0/24", "2001:db8::/32"]],
        description="address or network of X-Client-IP, or of the ICAP client without it",
    )
    user: Text | None = Field(
        None, examples=["guest*"], description="X-Client-Username or X-Authenticated-User; * and ? are wildcards"
    )
    host: Text | None = Field(
        None,
        examples=[".example.org"],
        description="host of the request; .example.org also matches names below it; * and ? are wildcards",
    )
    http_method: Text | None = Field(
        None, examples=[["POST", "PUT"]], description="of the HTTP request: GET, POST, CONNECT ..."
    )
    media_type: Text | None = Field(
        None,
        examples=["image/*"],
        description="the real type; for block rules also the declared one; image/* is allowed",
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


class Rule(Table):
    name: str = Field(
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        examples=["encrypted-from-partner"],
        description="shown in headers, pages and logs",
    )
    when: When = Field(When(), description="conditions; all must hold")
    action: Literal["allow", "block", "monitor"] = Field(
        examples=["monitor"], description="allow; block; monitor = allow, and record that it would have been blocked"
    )
    page: str | None = Field(
        None, examples=["conf/pages/block.html"], description="a template file for this rule's block page"
    )
    reason: str = Field("", max_length=400, description="shown to the user on the block page")


class Pages(Table):
    block: str | None = Field(
        None, examples=["conf/pages/block.html"], description="a Jinja2 template file; unset = the shipped page"
    )
    contact: str = Field("", max_length=200, description="shown on the block page: whom to ask")
