"""The OpenAPI 3.1 description of the HTTP interface, made of the same words the answers are made of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from icapd import __version__
from icapd.config.schema import SCAN_PATH
from icapd.net.http_answers import JSON, NOTHING, PROBLEM_JSON
from icapd.net.http_form import FIELD_NAME
from icapd.net.http_request import DESCRIPTION_PATH, NAME_CHARACTERS_MAX
from icapd.policy.facts import Action
from icapd.policy.outcomes import Result
from icapd.scan.model import FindingKind, Severity, Verdict
from icapd.scan.pipeline import Source

_TEXT: Final = {"type": "string"}
_MS: Final = {"type": "number", "minimum": 0}
_VERDICT_SCHEMA: Final = {"anyOf": [{"$ref": "#/components/schemas/File"}, {"$ref": "#/components/schemas/Upload"}]}
_NO_CONTENT: Final = {NOTHING: {"schema": {"type": "string", "maxLength": 0}}}
_ABOUT: Final = (
    "Scans what is sent to it with the engines, the cache and the policy of an ICAP service. The status says whether "
    "there is a verdict; `action` says what the policy makes of it. A file may pass only where `action` is allow or "
    "monitor: ask for that, and never for the absence of a finding."
)


@lru_cache(maxsize=2)
def description(*, needs_token: bool, files_max: int) -> bytes:
    """The description as JSON, of a server with this configuration."""
    security: list[dict[str, list[str]]] = [{"token": []}] if needs_token else []
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "icapd", "version": __version__, "description": _ABOUT},
            "paths": {
                SCAN_PATH: {"post": {**_SCAN, "requestBody": _body(files_max), "security": security}},
                DESCRIPTION_PATH: {"get": _DESCRIBE},
            },
            "components": {
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
                "schemas": _SCHEMAS,
            },
        }
    )


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Of which every property is always there, and none besides."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _words(words: Any) -> dict[str, Any]:
    return {"type": "string", "enum": [str(word) for word in words]}


def _response(about: str, media_type: str = "", schema: Any = None, **headers: str) -> dict[str, Any]:
    content = {media_type: {"schema": schema}} if media_type else {}
    return {
        "description": about,
        **({"content": content} if content else {}),
        **(
            {
                "headers": {
                    name.replace("_", "-"): {"description": text, "schema": _TEXT} for name, text in headers.items()
                }
            }
            if headers
            else {}
        ),
    }


def _problem(about: str, **headers: str) -> dict[str, Any]:
    return _response(about, PROBLEM_JSON, {"$ref": "#/components/schemas/Problem"}, **headers)


def _verdict(about: str, **headers: str) -> dict[str, Any]:
    """A verdict as JSON; or nothing, with answer=status."""
    answer = _response(about, JSON, _VERDICT_SCHEMA, **headers)
    answer["content"] |= _NO_CONTENT
    return answer


def _unjudged(about: str, **headers: str) -> dict[str, Any]:
    """A verdict without a scan; or a problem, where there is no file to speak of."""
    answer = _verdict(about, **headers)
    answer["content"][PROBLEM_JSON] = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return answer


def _body(files_max: int) -> dict[str, Any]:
    """What may be sent."""
    return {
        "description": "The file itself, of any Content-Type, which is taken for what it is declared to be; its "
        "Content-Encoding is undone. Or a form, each part of which is judged on its own.",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "description": "any number of files, in fields of any name",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "minProperties": 1,
                    "maxProperties": files_max,
                    "propertyNames": {"pattern": FIELD_NAME},
                }
            },
        },
    }


_FINDING: Final = _object(
    {
        "kind": _words(FindingKind),
        "name": _TEXT,
        "engine": _TEXT,
        "severity": _words(severity.name.lower() for severity in Severity),
        "trail": {
            "type": "array",
            "items": _TEXT,
            "description": "the members it was found in, from the outermost container inwards",
        },
    }
)
_FILE: Final = _object(
    {
        "name": {**_TEXT, "description": "as the client named it; empty where it did not"},
        "verdict": _words(Verdict),
        "outcome": _words(Result),
        "action": _words(Action),
        "rule": {**_TEXT, "description": "the rule of the policy that decided"},
        "findings": {"type": "array", "items": _FINDING},
        "sha256": {"type": ["string", "null"], "description": "null for a file that did not come whole"},
        "size_bytes": {"type": "integer", "minimum": 0},
        "media_type": {**_TEXT, "description": "what the file really is"},
        "cache": _words(value for key, value in vars(Source).items() if key.isupper()),
        "elapsed_ms": _MS,
        "transaction": {**_TEXT, "description": "names the file's line in the access log"},
    }
)
_SCHEMAS: Final = {
    "File": _FILE,
    "Upload": _object(
        {
            "verdict": _words(Verdict),
            "outcome": _words(Result),
            "action": _words(Action),
            "rule": _TEXT,
            "elapsed_ms": _MS,
            "files": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/File"}},
        }
    ),
    "Problem": _object({"status": {"type": "integer"}, "title": _TEXT, "detail": _TEXT}),
}
_SCAN: Final[dict[str, Any]] = {
    "operationId": "scan",
    "summary": "Scan one file, or the files of a form",
    "parameters": [
        {
            "name": "answer",
            "in": "query",
            "description": "status: no body; 200 for what the policy lets pass, 403 for what it blocks",
            "schema": {"type": "string", "enum": ["json", "status"], "default": "json"},
        },
        {
            "name": "filename",
            "in": "query",
            "description": "the file's name; rules on extensions and types read its end",
            "schema": {"type": "string", "maxLength": NAME_CHARACTERS_MAX},
        },
        {
            "name": "X-Filename",
            "in": "header",
            "description": "the same where the query has none; percent-encoded UTF-8",
            "schema": {"type": "string", "maxLength": NAME_CHARACTERS_MAX},
        },
    ],
    "responses": {
        "200": _verdict("The verdict. With answer=status: it may pass."),
        "400": _problem("The request cannot be read"),
        "401": _problem("No bearer token, or a wrong one", WWW_Authenticate="Bearer"),
        "403": {"description": "Only with answer=status: the policy blocks it", "content": _NO_CONTENT},
        "408": _unjudged("It came too slowly"),
        "413": _unjudged(
            "A file is larger than max_body_bytes; it was not scanned, and `action` says what that means"
        ),
        "415": _problem("A multipart type other than form-data, or a form with Content-Encoding"),
        "431": _problem("The head is too large"),
        "503": _unjudged("No room to keep or scan it now; ask again", Retry_After="seconds"),
    },
}
_DESCRIBE: Final = {
    "operationId": "describe",
    "summary": "This description; needs no token",
    "responses": {"200": _response("OpenAPI 3.1", JSON, {"type": "object"})},
}
