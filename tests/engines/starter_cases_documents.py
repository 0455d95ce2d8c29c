"""Cases for office.yar, pdf.yar and rtf.yar."""

from __future__ import annotations

from tests.engines.starter_case import MSHTA, PS, SITE, STREAM, WS_SHELL, XML_HTTP, Case, text

_OLE = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504)
_TYPES = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_EQUATION = "{\\object\\objemb%s{\\*\\objdata 01050000" + b"Equation.3\0".hex() + "}}"


def _macro(*strings: str) -> bytes:
    """An OLE file with a macro project's marks and these strings, as a macro stream shows them uncompressed."""
    return _OLE + "\0".join(("_VBA_PROJECT", *strings)).encode("latin-1")


def _relation(kind: str, target: str) -> str:
    return f'<Relationship Id="rId1" Type="{_TYPES}/{kind}" Target="{target}" TargetMode="External"/>'


def _field(code: str) -> str:
    return f'<w:p><w:r><w:instrText xml:space="preserve"> {code} </w:instrText></w:r></w:p>'


def _pdf(*objects: str) -> str:
    return "%PDF-1.7\n" + "\n".join(f"{number} 0 obj\n{item}\nendobj" for number, item in enumerate(objects, 1))


def _rtf(body: str) -> str:
    return "{\\rtf1\\ansi " + body + "}"


_FETCH = "URLDownload" + "ToFileA"
_OPEN = "Auto" + "_Open"
_DDE = f'DDE{"AUTO"} c:\\windows\\system32\\{"cm" + "d.exe"} "/k dir"'
_MSDT = "ms-" + "msdt:/id PCWDiagnostic /param "
_PACKAGE = "{\\object{\\*\\objdata " + b"Package\0".hex() + "%s}}"

OFFICE = [
    Case("Office_Macro_Downloads", _macro(_OPEN, "urlmon", _FETCH), _macro("Button1_Click", "urlmon", _FETCH)),
    Case("Office_Macro_Downloads", _macro("Document_Open", XML_HTTP, STREAM), _macro("Document_Open", XML_HTTP)),
    Case("Office_Macro_Starts_Shell", _macro(_OPEN, WS_SHELL), _macro(_OPEN, "MsgBox")),
    Case("Office_Macro_Starts_Shell", _macro("Workbook_Open", PS), _macro("Workbook_Open", PS)[8:]),
    text("Office_DDE_Field_Starts_Command", _field(_DDE), _field("DATE \\@ &quot;d MMMM yyyy&quot;")),
    text("Office_DDE_Field_Starts_Command", _field(_DDE), f"<p>{_DDE}</p>"),
    text("Spreadsheet_DDE_Formula_Starts_Command", "name,=cmd|'/c dir'!A1\n", "name,'cmd' is a program!A1\n"),
    text("Spreadsheet_DDE_Formula_Starts_Command", "<f>cmd|'/c dir'!A1</f>", "<f>SUM(B1:B9)</f><f>'my cmd'!A1</f>"),
    text(
        "Office_Remote_Template",
        _relation("attachedTemplate", f"{SITE}/a.dotm"),
        _relation("attachedTemplate", "file:///C:/Templates/letter.dotx"),
    ),
    text("Office_Remote_Template", _relation("attachedTemplate", f"{SITE}/a"), _relation("hyperlink", f"{SITE}/a")),
    text(
        "Office_Remote_Object", _relation("oleObject", f"{SITE}/a.html"), _relation("oleObject", "embeddings/a.bin")
    ),
    text("Office_Remote_Object", _relation("frame", f"{SITE}/a.html"), _relation("image", f"{SITE}/a.png")),
    text(
        "Office_Object_Opens_Browser_Engine",
        _relation("oleObject", f"mhtml:{SITE}/a.html!x-usc:{SITE}/a.html"),
        _relation("oleObject", f"{SITE}/a.html"),
    ),
    text(
        "Office_Object_Opens_Browser_Engine",
        _relation("oleObject", f"{SITE}/a.html!"),
        _relation("hyperlink", f"{SITE}/a.html!"),
    ),
    text(
        "HTML_Starts_Diagnostic_Tool",
        f'<script>location.href = "{_MSDT}IT_BrowseForFile=a"</script>',
        f"<p>The address {_MSDT}IT_BrowseForFile=a starts it.</p>",
    ),
]

PDF = [
    text(
        "PDF_Launches_Command",
        _pdf(f"<< /S /Launch /Win << /F ({'cm' + 'd.exe'}) /P (/c dir) >> >>"),
        _pdf("<< /S /Launch /F (manual.pdf) >>"),
    ),
    text("PDF_Launches_Command", _pdf(f"<</S/Launch/F({MSHTA})>>"), f"<</S/Launch/F({MSHTA})>>"),
    text(
        "PDF_Attaches_Program",
        _pdf("<< /Type /Filespec /F (invoice.exe) /EF << /F 2 0 R >> >>", "<< /Type /EmbeddedFile >>"),
        _pdf("<< /Type /Filespec /F (invoice.xml) /EF << /F 2 0 R >> >>", "<< /Type /EmbeddedFile >>"),
    ),
    text(
        "PDF_Opens_Attachment",
        _pdf('<< /JS (this.exportDataObject\\({ cName: "a", nLaunch: 2 }\\)) >>'),
        _pdf('<< /JS (this.exportDataObject\\({ cName: "a", nLaunch: 0 }\\)) >>'),
    ),
]

RTF = [
    text("RTF_Equation_Object", _rtf(_EQUATION % ""), _rtf("the object Equation.3 of older versions")),
    text("RTF_Equation_Object", _rtf(_EQUATION % ""), _EQUATION % ""),
    text("RTF_Equation_Object_Starts_By_Itself", _rtf(_EQUATION % "\\objupdate"), _rtf(_EQUATION % "\\objw100")),
    text(
        "RTF_Remote_Template",
        _rtf("{\\*\\template " + SITE + "/a}"),
        _rtf("{\\*\\template C:\\\\Templates\\\\letter.dot}"),
    ),
    text("RTF_Packages_Program", _rtf(_PACKAGE % b"a.exe\0".hex()), _rtf(_PACKAGE % b"a.txt\0".hex())),
]

CASES = [*OFFICE, *PDF, *RTF]
