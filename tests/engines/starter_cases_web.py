"""Cases for html_smuggling.yar, webshells.yar and packed.yar."""

from __future__ import annotations

import struct

from tests.engines.starter_case import Case, text

_PROGRAM = "TVqQ" + "AAMA" * 60
_ZIP = "UEsDB" + "BQAB" * 60
_DOWNLOAD = (
    "<html><script>var d = '{}'; var b = new Blob([Uint8Array.from(a" + "tob(d), c => c.charCodeAt(0))]);"
    "link.href = URL.createObjectURL(b); link.download = 'report'; link.click();</script></html>"
)
_SVG = '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><script>{}</script></svg>'
_POST = "$_PO" + "ST"
_REQUEST = "Req" + "uest"
_PARAMETER = "request.get" + 'Parameter("{}")'
_RUN = "Runtime.get" + "Runtime().ex" + "ec"
_ASPX = (
    '<%@ Page Language="C#" %><script runat="server">var p = new Process' + 'StartInfo("{}"); p.Arguments = {}["c"];'
)
_LOADER = (
    "<%!class U extends Class" + "Loader{{ Class g(byte[] b){{ return define" + "Class(b,0,b.length); }} }}%>"
    "<% new U().g(decrypt({}.getReader().readLine())).newInstance(); %>"
)


def _program(*sections: bytes, magic: bytes = b"PE\0\0") -> bytes:
    """The headers of a Windows program with sections of these names."""
    table = b"".join(name.ljust(8, b"\0") + bytes(32) for name in sections)
    return b"MZ" + bytes(58) + struct.pack("<I", 128) + bytes(64) + magic + bytes(244) + table + bytes(512)


_DOS_STUB = bytes.fromhex("4d5a90000300000004000000ffff0000") + bytes(48) + b"This program cannot be run in DOS mode"
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)

SMUGGLING = [
    text("HTML_Smuggles_Program", _DOWNLOAD.format(_PROGRAM), _DOWNLOAD.format("iVBORw0KGgo" + "A" * 250)),
    text("HTML_Smuggles_Program", _DOWNLOAD.format(_PROGRAM), f"<script>var d = '{_PROGRAM}';</script>"),
    text("HTML_Smuggles_Archive", _DOWNLOAD.format(_ZIP), _DOWNLOAD.format(_ZIP[:200])),
    text("HTML_Smuggles_Archive", _DOWNLOAD.format("UmFyIRo" + "H" * 200), _DOWNLOAD.format("R0lGODlh" + "H" * 200)),
    text(
        "HTML_Links_To_Embedded_Program",
        f'<a download="a.exe" href="data:application/octet-stream;base64,{_PROGRAM}">open</a>',
        f'<a download="a.png" href="data:image/png;base64,iVBORw0KGgo{"A" * 250}">open</a>',
    ),
    text(
        "SVG_Smuggles_Download",
        _SVG.format("window.location.href = a" + "tob('aHR0cDovL2V4YW1wbGUudGVzdA==')"),
        _SVG.format("document.getElementById('a').textContent = a" + "tob('aGVsbG8=')"),
    ),
]

WEBSHELLS = [
    text(
        "PHP_Evaluates_Request",
        f"<?php @ev{'al'}({_POST}['x']); ?>",
        f"<?php echo htmlspecialchars({_POST}['x']); ?>",
    ),
    text(
        "PHP_Evaluates_Request",
        f"<?php ass{'ert'}(base64_decode({_POST}['x'])); ?>",
        f"&lt;?php ass{'ert'}(base64_decode({_POST}['x'])); ?&gt;",
    ),
    text("PHP_Evaluates_Request", f"<?={_POST}['f']({_POST}['x'])?>", f"<?= $f({_POST}['x'])?>"),
    text("PHP_Runs_Request_As_Command", f"<?php sys{'tem'}({_POST}['c']);", f"<?php curl_ex{'ec'}({_POST}['c']);"),
    text(
        "PHP_Evaluates_Packed_Code",
        "<?php ev" + "al(gzinf" + "late(base64" + "_decode('x')));",
        "<?php echo gzinf" + "late(base64" + "_decode('x'));",
    ),
    text(
        "JSP_Runs_Request_As_Command",
        f"<% {_RUN}({_PARAMETER.format('x')}); %>",
        f'<% {_RUN}("uptime"); out.print({_PARAMETER.format("name")}); %>',
    ),
    text(
        "JSP_Runs_Request_As_Command",
        f"<% String c = {_PARAMETER.format('cmd')}; {_RUN}(c); %>",
        f"String c = {_PARAMETER.format('cmd')}; {_RUN}(c);",
    ),
    text("JSP_Loads_Request_As_Class", _LOADER.format("request"), _LOADER.format("file")),
    text("ASP_Evaluates_Request", f'<%ev{"al"} {_REQUEST}("x")%>', f'<%=Server.HTMLEncode({_REQUEST}("x"))%>'),
    text("ASP_Evaluates_Request", f'<%ex{"ecute"}({_REQUEST}.Form("x"))%>', f'ex{"ecute"}({_REQUEST}.Form("x"))'),
    text(
        "ASP_Evaluates_Request",
        f'<SCRIPT language="jscript" RunAt="Server">ev{"al"} ({_REQUEST}.Form("x"))</SCRIPT>',
        f'<SCRIPT language="jscript">ev{"al"} ({_REQUEST}.Form("x"))</SCRIPT>',
    ),
    text(
        "ASPX_Runs_Request_As_Command",
        _ASPX.format("cmd.exe", _REQUEST),
        _ASPX.format("convert.exe", _REQUEST),
    ),
]

PACKED = [
    Case("Program_Packed_With_UPX", _program(b"UPX0", b"UPX1"), _program(b".text", b".data")),
    Case("Program_Packed_With_UPX", _program(b"UPX0", b"UPX1"), _program(b"UPX0", b"UPX1", magic=b"NE\0\0")),
    Case(
        "Program_Packed_Or_Protected", _program(b".text", b".aspack"), _program(b".text") + bytes(2048) + b".aspack\0"
    ),
    Case("Program_Packed_Or_Protected", _program(b".vmp0"), _program(b".vmpx")),
    Case("Linux_Program_Packed_With_UPX", b"\x7fELF" + bytes(200) + b"UPX!", b"\x7fELF" + bytes(600) + b"UPX!"),
    Case("Picture_Hides_Program", _PNG + _DOS_STUB, _PNG + _DOS_STUB[:64]),
    Case("Picture_Hides_Program", b"GIF89a" + _DOS_STUB, _DOS_STUB),
]

CASES = [*SMUGGLING, *WEBSHELLS, *PACKED]
