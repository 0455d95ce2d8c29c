"""Tells the kinds of text apart: markup, JSON, scripts, style sheets, mail, plain. Knows nothing of binary formats.

A gateway's text is mostly HTML, JavaScript, JSON and CSS; one look at the first bytes that are not space decides
nearly all of it.
"""

from __future__ import annotations

import re
from typing import Final

from icapd.scan.model import Identity

HTML: Final = Identity("text/html", "markup", "HTML")
HTA: Final = Identity("application/hta", "script", "HTML application")
XML: Final = Identity("application/xml", "markup", "XML")
SVG: Final = Identity("image/svg+xml", "image", "SVG")
JSON: Final = Identity("application/json", "data", "JSON")
JAVASCRIPT: Final = Identity("text/javascript", "script", "JavaScript")
CSS: Final = Identity("text/css", "text", "CSS")
PLAIN: Final = Identity("text/plain", "text", "text")
MAIL: Final = Identity("message/rfc822", "mail", "mail message")
POWERSHELL: Final = Identity("text/x-powershell", "script", "PowerShell")
SHELL: Final = Identity("text/x-shellscript", "script", "shell script")
PYTHON: Final = Identity("text/x-python", "script", "Python")
PERL: Final = Identity("text/x-perl", "script", "Perl")
PHP: Final = Identity("text/x-php", "script", "PHP")
VBSCRIPT: Final = Identity("text/vbscript", "script", "VBScript")
BATCH: Final = Identity("text/x-msdos-batch", "script", "batch file")
URL_SHORTCUT: Final = Identity("application/x-mswinurl", "shortcut", "Internet shortcut")
DESKTOP_ENTRY: Final = Identity("application/x-desktop", "shortcut", "desktop entry")

_CONTROL: Final = bytes(set(range(32)) - set(b"\t\n\r\f\b\x1b")) + b"\x7f"
_HIGH: Final = bytes(range(128, 256))
_SPACE: Final = b" \t\r\n\f"

_SHEBANG = re.compile(rb"#![^\n]{0,120}?(?:(pwsh)|(python)|(perl)|(node|deno|bun)|(php)|sh\b)")
_SHEBANGS: Final = (POWERSHELL, PYTHON, PERL, JAVASCRIPT, PHP)
_HTML = re.compile(
    rb"<(?:!doctype\s+html|html|head|body|script|iframe|meta|title|link|style|table|div|span|p|a|h[1-6]|br|font|img"
    rb"|form|noscript|b|center|ul|template)[\s>/]",
    re.IGNORECASE,
)
_ROOT = re.compile(rb"<(?:[A-Za-z_][\w.-]*:)?(svg|html)[\s>]", re.IGNORECASE)
_ELEMENT = re.compile(rb"<(?:[A-Za-z_][\w.:-]*[\s>/]|[?!])")
_JSON = re.compile(rb'(?:\{\s*(?:"(?:[^"\\]|\\.)*"\s*(?::|\Z)|\}\s*\Z)|\[\s*(?:[{\["\]\d-]|true|false|null))')
_CSS = re.compile(
    rb"@(?:charset|import|media|font-face|keyframes|-webkit-|supports|namespace|layer|property)\b"
    rb"|[\w.#:*\[\]\"'=>~+,() \t\r\n-]{1,400}\{\s*(?:--)?[a-zA-Z-]{2,40}\s*:(?!:)[^{}]{0,400}[;}]"
)
_JAVASCRIPT = re.compile(
    rb"[\"']use strict[\"']|\)\]\}'|[!(;+~]{0,8}(?:"
    rb"(?:async )?function\b[\s\w$*]*\(|\([\w$, ]{0,80}\)\s*=>"
    rb"|(?:var|let|const)\s+(?:[\[{]|[\w$]+\s*[=;,])|import\s*(?:[{(*\"']|[\w$]+\s*(?:,|from\b))"
    rb"|export\s*(?:[{*]|(?:default|const|let|var|function|class|async)\b)|(?:window|document|self|globalThis|module|define"
    rb"|jQuery|webpackJsonp|Object|exports|require|\$)\s*[.(\[=]|if\s*\(\s*(?:!|typeof|window|document|require)|try\s*\{"
    rb"|class\s+[\w$]+\s+extends\b|(?:class|new|return|throw|typeof|void)\s+[\w$]+\s*[.({;])"
)
_COMMENT_ENDS: Final = ((b"/*", b"*/"), (b"//", b"\n"), (b"<!--", b"-->"))
_COMMENT_STARTS: Final = tuple(start for start, _ in _COMMENT_ENDS)
_MAIL = re.compile(
    rb"(?:(?:return-path|received|from|to|subject|date|message-id|mime-version|delivered-to|x-[\w-]+|dkim-signature|"
    rb"content-type|reply-to|arc-seal|authentication-results):[^\n]*\n(?:[ \t][^\n]*\n)*){3,}",
    re.IGNORECASE,
)
_VBSCRIPT_WORDS: Final = (b"createobject", b"wscript.", b"vb_name", b"option explicit", b"on error resume next")
_VBSCRIPT = re.compile(
    rb"(?:^|[\n:])[ \t]*(?:option\s+explicit|on\s+error\s+resume\s+next|wscript\.\w+|attribute\s+vb_name"
    rb"|(?:(?:dim|set|private|public)\s[^\n;]{0,80})?createobject\s*\()"
)
_POWERSHELL_WORDS: Final = (
    b"new-object",
    b"invoke-",
    b"write-",
    b"get-",
    b"set-",
    b"start-",
    b"import-module",
    b"cmdletbinding",
    b"$env:",
    b"param(",
    b"iex",
    b"]::",
)
_POWERSHELL = re.compile(
    rb"(?:^|[\n;])[ \t]*(?:param\s*\(|\[cmdletbinding|\$\w+\s*=\s*(?:new-object|get-\w|\[[\w.]+\]::|@\(|\$env:)"
    rb"|function\s+\w+-\w|(?:set|get|new|import|invoke|add|start|write)-[a-z]{3,}\s+[-\w\"'$(@]|iex\s*\(|\[[\w.]+\]::)"
)
_BATCH = re.compile(
    rb"(?:@?echo\s+off\b|@?rem\s[^\n]*\n\s*@?(?:echo|set)\b|@?setlocal\b|@powershell\b)", re.IGNORECASE
)


def is_text(head: bytes) -> bool:
    """True for bytes without binary control characters, mostly ASCII or valid UTF-8 (cut anywhere)."""
    if head.translate(None, _CONTROL) != head:
        return False
    if head.isascii() or len(head.translate(None, _HIGH)) * 2 > len(head):
        return True
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3 and error.reason == "unexpected end of data"
    return True


def from_utf16(head: bytes) -> bytes:
    """Text behind a UTF-16 byte order mark, as UTF-8 as far as it goes; nothing when there is no mark."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head[: len(head) & ~1].decode("utf-16", "replace").encode("utf-8", "replace")
    return b""


def text_identity(head: bytes) -> Identity | None:
    """The kind of text, or nothing when the bytes are not text."""
    body = head.removeprefix(b"\xef\xbb\xbf").lstrip(_SPACE)
    first = body[:1]
    if first == b"<":
        return _markup(body) if is_text(head) else None
    if not is_text(head):
        return None
    if first in (b"{", b"[") and _JSON.match(body):
        return JSON
    if body.startswith(b"#!"):
        found = _SHEBANG.match(body)
        return _SHEBANGS[found.lastindex - 1] if found and found.lastindex else SHELL
    if body.startswith((b"[InternetShortcut]", b"[Desktop Entry]")):
        return URL_SHORTCUT if body.startswith(b"[I") else DESKTOP_ENTRY
    return _source(body)


def _behind_comments(body: bytes) -> bytes:
    """What follows the comments and space that a text begins with; nothing when a comment has no end here."""
    rest = body
    while rest.startswith(_COMMENT_STARTS):
        end = next(end for start, end in _COMMENT_ENDS if rest.startswith(start))
        rest = rest.partition(end)[2].lstrip()
    return rest


def _markup(body: bytes) -> Identity:
    if b"<hta:application" in body.lower():
        return HTA
    if _HTML.match(body):
        return HTML
    if body.startswith((b"<?php", b"<?=")):
        return PHP
    inner = _behind_comments(body)
    if not inner or _HTML.match(inner):
        return HTML
    root = _ROOT.search(inner)
    if root:
        return SVG if root[1].lower() == b"svg" else HTML
    return XML if _ELEMENT.match(inner) else PLAIN


def _source(body: bytes) -> Identity:
    """Programs and style sheets by how they begin after comments; anything else is plain text."""
    code = _behind_comments(body) if body.startswith((b"/*", b"//")) else body
    if _JAVASCRIPT.match(code):
        return JAVASCRIPT
    if _CSS.match(code):
        return CSS
    if _MAIL.match(body):
        return MAIL
    if _BATCH.match(body):
        return BATCH
    lower = body.lower()
    if any(map(lower.__contains__, _VBSCRIPT_WORDS)) and _VBSCRIPT.search(lower):
        return VBSCRIPT
    if any(map(lower.__contains__, _POWERSHELL_WORDS)) and _POWERSHELL.search(lower):
        return POWERSHELL
    return PLAIN
