"""What a case for a starter rule is: a body the rule must find, and a near miss it must not.

Commands and addresses are harmless, and telling words are written in two parts so that no scanner takes the
test's own source for what it describes.
"""

from __future__ import annotations

import base64
from typing import NamedTuple

PS = "power" + "shell"
IEX = "I" + "EX"
GET_TEXT = "Download" + "String"
GET_FILE = "Download" + "File"
WEB_CLIENT = "Net.Web" + "Client"
WS_SHELL = "WScript" + ".Shell"
XML_HTTP = "MSXML2" + ".XMLHTTP"
STREAM = "ADODB" + ".Stream"
CERT = "cert" + "util"
BITS = "bits" + "admin"
MSHTA = "ms" + "hta"
REGSVR = "regsvr" + "32"
RUNDLL = "rundll" + "32"
SITE = "http://example.test"
PAGE = "<!DOCTYPE html>\n<html><body><pre>{}</pre></body></html>"


class Case(NamedTuple):
    rule: str
    hit: bytes
    miss: bytes


def text(rule: str, hit: str, miss: str) -> Case:
    return Case(rule, hit.encode(), miss.encode())


def encoded(command: str) -> str:
    """A command as PowerShell's -EncodedCommand wants it."""
    return base64.b64encode(command.encode("utf-16-le")).decode()
