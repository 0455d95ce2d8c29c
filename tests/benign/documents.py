"""Office files, PDF and books, most of them written by the libraries that people write them with."""

from __future__ import annotations

import datetime
import io
import zipfile
from collections.abc import Iterator

import docx
import openpyxl
from docx.opc.constants import RELATIONSHIP_TYPE
from openpyxl.chart import BarChart, Reference
from openpyxl.worksheet.datavalidation import DataValidation
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from bench import content
from bench.content import seeded, text
from tests.benign import pictures
from tests.engines.office_writing import compound, native_package, vba_project
from tests.engines.samples import zip_of

_DATE = datetime.datetime(2025, 1, 1)
_MACROS = {
    "total": 'Sub Total()\n  Range("A1").Value = WorksheetFunction.Sum(Range("B1:B9"))\nEnd Sub\n',
    "format": 'Sub Tidy()\n  Selection.Font.Bold = True\n  Columns("A:C").AutoFit\nEnd Sub\n',
    "function": "Function Tax(net As Double) As Double\n  Tax = net * 0.19\nEnd Function\n",
    "opening": 'Private Sub Workbook_Open()\n  Sheets("Start").Activate\nEnd Sub\n',
    "button": 'Private Sub Button1_Click()\n  MsgBox "Saved"\n  ActiveDocument.Save\nEnd Sub\n',
}


def bodies() -> Iterator[tuple[str, bytes]]:
    yield from _word()
    yield from _sheets()
    yield from _with_macros()
    yield from _pdf()
    yield from _open_formats()
    yield from _rich_text()


def _word() -> Iterator[tuple[str, bytes]]:
    for name, pages in (("letter", 1), ("report", 40)):
        document = docx.Document()
        document.add_heading("Opening hours", 0)
        for number in range(pages):
            document.add_paragraph(text(seeded(number), 900), style="List Bullet")
            document.add_table(rows=3, cols=3).cell(0, 0).text = "Monday"
        yield f"{name}.docx", _saved(document)
    document = docx.Document()
    document.add_picture(io.BytesIO(pictures.photograph("PNG", 90)))
    document.add_picture(io.BytesIO(pictures.photograph("JPEG", 90)))
    yield "pictures.docx", _saved(document)
    document = docx.Document()
    for target in ("https://www.example.test/setup.exe", "mailto:a@example.test", "file:///S:/shared/list.xlsx"):
        document.part.relate_to(target, RELATIONSHIP_TYPE.HYPERLINK, is_external=True)
    yield "links.docx", _saved(document)
    document = docx.Document()
    document.core_properties.author, document.core_properties.comments = "A Cook", "third draft"
    document.sections[0].header.paragraphs[0].text = "Page"
    yield "header.docx", _saved(document)
    yield "made.docx", content.docx(seeded(2), 30_000)


def _saved(document: docx.document.Document) -> bytes:
    packed = io.BytesIO()
    document.save(packed)
    return packed.getvalue()


def _sheets() -> Iterator[tuple[str, bytes]]:
    for name, rows in (("list", 9), ("data", 900)):
        book = openpyxl.Workbook()
        sheet = book.worksheets[0]
        for number in range(rows):
            sheet.append([number, text(seeded(number), 20), number * 1.5, _DATE, f"=SUM(A1:A{number + 1})"])
        yield f"{name}.xlsx", _packed(book)
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append([1, 2, 3])
    chart = BarChart()
    chart.add_data(Reference(sheet, min_col=1, max_col=3, min_row=1))
    sheet.add_chart(chart, "E1")
    sheet.add_data_validation(DataValidation(type="list", formula1='"soup,bread"'))
    yield "chart.xlsx", _packed(book)
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet["A1"] = "the site"
    sheet["A1"].hyperlink = "https://www.example.test/"
    sheet["A2"] = '=HYPERLINK("https://www.example.test/a", "more")'
    sheet["A3"] = "=VLOOKUP(A1, '[prices.xlsx]Sheet1'!A:B, 2, FALSE)"
    book.create_sheet("Hidden").sheet_state = "hidden"
    yield "links.xlsx", _packed(book)


def _packed(book: openpyxl.Workbook) -> bytes:
    packed = io.BytesIO()
    book.properties.created = _DATE
    book.save(packed)
    return packed.getvalue()


def _with_macros() -> Iterator[tuple[str, bytes]]:
    for name, code in _MACROS.items():
        project = vba_project(ThisDocument="Option Explicit\n", Module1=code)
        plain = docx.Document()
        plain.add_paragraph(text(seeded(11), 900))
        with zipfile.ZipFile(io.BytesIO(_saved(plain))) as archive:
            parts = {item.filename: archive.read(item) for item in archive.infolist()}
        yield f"macro-{name}.docm", zip_of({**parts, "word/vbaProject.bin": project})
    words = {"WordDocument": text(seeded(12), 9_000).encode(), "1Table": bytes(4_096)}
    yield "letter.doc", compound({**words, "\5SummaryInformation": bytes(400)})
    yield "book.xls", compound({"Workbook": b"\x09\x08\x10\0\0\x06\x05\0" + bytes(9_000)})
    yield "attached.doc", compound({**words, "\1Ole10Native": native_package("notes.txt", b"soup\n" * 90)})


def _pdf() -> Iterator[tuple[str, bytes]]:
    for name, pages in (("page", 1), ("book", 30)):
        packed, canvas = _canvas()
        for number in range(pages):
            canvas.drawString(72, 700, text(seeded(number), 60))
            canvas.bookmarkPage(str(number))
            canvas.addOutlineEntry(f"Chapter {number}", str(number))
            canvas.showPage()
        yield f"{name}.pdf", _ended(packed, canvas)
    packed, canvas = _canvas()
    canvas.acroForm.textfield(name="name", tooltip="Name", x=72, y=700, value="")
    canvas.acroForm.checkbox(name="agree", x=72, y=650)
    canvas.acroForm.choice(name="dish", x=72, y=600, options=["soup", "bread"], value="soup")
    for y, day in ((500, "Monday"), (450, "Tuesday")):
        canvas.acroForm.radio(name="day", value=day, selected=day == "Monday", x=72, y=y)
    yield "form.pdf", _ended(packed, canvas)
    packed, canvas = _canvas()
    canvas.linkURL("https://www.example.test/setup.exe", (72, 700, 200, 720))
    canvas.drawInlineImage(pictures.picture(60), 72, 500)
    canvas.drawImage(ImageReader(io.BytesIO(pictures.photograph("JPEG", 90))), 72, 300)
    yield "pictures.pdf", _ended(packed, canvas)
    packed = io.BytesIO()
    locked = Canvas(packed, invariant=1, encrypt=StandardEncryption("", "owner", canPrint=0))
    locked.drawString(72, 700, "not to be printed")
    yield "not-to-be-printed.pdf", _ended(packed, locked)
    yield "made.pdf", content.pdf(seeded(3), 60_000)


def _canvas() -> tuple[io.BytesIO, Canvas]:
    packed = io.BytesIO()
    return packed, Canvas(packed, invariant=1, pageCompression=1)


def _ended(packed: io.BytesIO, canvas: Canvas) -> bytes:
    canvas.showPage()
    canvas.save()
    return packed.getvalue()


def _open_formats() -> Iterator[tuple[str, bytes]]:
    xml = b'<?xml version="1.0" encoding="UTF-8"?><office:document-content><office:body>soup</office:body></office:document-content>'
    manifest = (
        b'<?xml version="1.0"?><manifest:manifest><manifest:file-entry manifest:full-path="/"/></manifest:manifest>'
    )
    picture = pictures.photograph("PNG", 60)
    for extension, kind in (("odt", "text"), ("ods", "spreadsheet"), ("odp", "presentation"), ("odg", "graphics")):
        members = {
            "mimetype": f"application/vnd.oasis.opendocument.{kind}".encode(),
            "content.xml": xml,
            "styles.xml": xml,
            "Pictures/1.png": picture,
            "META-INF/manifest.xml": manifest,
        }
        yield f"paper.{extension}", zip_of(members, zipfile.ZIP_STORED)
    chapter = b'<?xml version="1.0"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><body><p>soup</p></body></html>'
    book = {
        "mimetype": b"application/epub+zip",
        "META-INF/container.xml": b'<?xml version="1.0"?><container/>',
        **{f"OEBPS/{number}.xhtml": chapter * 30 for number in range(12)},
        "OEBPS/cover.jpg": pictures.photograph("JPEG", 120),
    }
    yield "book.epub", zip_of(book, zipfile.ZIP_STORED)
    for extension, folder in (
        ("pptx", "ppt/presentation.xml"),
        ("vsdx", "visio/document.xml"),
        ("xps", "FixedDocSeq.fdseq"),
    ):
        parts = {
            "[Content_Types].xml": b'<?xml version="1.0"?><Types/>',
            "_rels/.rels": b'<?xml version="1.0"?><Relationships/>',
            folder: b'<?xml version="1.0"?><p:presentation/>',
            "docProps/thumbnail.jpeg": pictures.photograph("JPEG", 60),
        }
        yield f"slides.{extension}", zip_of(parts)


def _rich_text() -> Iterator[tuple[str, bytes]]:
    head = b"{\\rtf1\\ansi\\deff0{\\fonttbl{\\f0\\fswiss Arial;}}{\\colortbl;\\red0\\green0\\blue255;}\\f0\\fs24 "
    yield "letter.rtf", head + b"Dear all,\\par the soup is \\b warm\\b0 .\\par " * 60 + b"}"
    link = b'{\\field{\\*\\fldinst{HYPERLINK "https://www.example.test/"}}{\\fldrslt{the site}}}'
    yield "link.rtf", head + link + b"}"
    picture = pictures.photograph("PNG", 60).hex().encode()
    yield "picture.rtf", head + b"{\\pict\\pngblip\\picw60\\pich60 " + picture + b"}}"
    yield "plain.ps", b"%!PS-Adobe-3.0\n/Helvetica findfont 12 scalefont setfont 72 700 moveto (soup) show showpage\n"
