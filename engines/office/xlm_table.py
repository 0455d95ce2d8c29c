"""The table of signs in Excel 4 macros, and in workbooks around them. Words meet lower-case formulas."""

from __future__ import annotations

import re
from typing import Final

from engines.office import ole_table
from icapd.scan.indicators import Combination, Indicator
from icapd.scan.model import Severity

# fmt: off
INFO, LOW, MEDIUM, HIGH = Severity.INFO, Severity.LOW, Severity.MEDIUM, Severity.HIGH

MACRO_SHEET: Final = Indicator("xlm:macro-sheet", "xlm", 20, MEDIUM, "T1137", "[MS-XLS] 2.4.28; [MS-XLSB] 2.1.7.25",
                               "The workbook holds Excel 4 macros")
HIDDEN_SHEET: Final = Indicator("xlm:hidden-macro-sheet", "xlm-hidden", 20, MEDIUM, "T1564", "[MS-XLS] 2.4.28",
                                "A sheet of macros is hidden")
AUTO_OPEN: Final = Indicator("xlm:auto-open", "xlm-auto", 20, MEDIUM, "T1204.002", "[MS-XLS] 2.4.150",
                             "A name has a macro run when the workbook opens or closes")

_COMMAND = re.compile(r"\b(?:exec|execute)\(")
_CALL = re.compile(r"\b(?:call|register|register\.id)\(")
_FILES = re.compile(r"\b(?:fopen|fwrite|fwriteln|file\.delete)\(")
_BUILDS = re.compile(r"\b(?:formula|formula\.fill|set\.value|set\.name|evaluate)\(")
_LOOKS = re.compile(r"\b(?:get\.workspace|get\.window|get\.document|app\.maximize)\(")

ROWS: Final = (
    Indicator("xlm:exec", "xlm-run", 60, HIGH, "T1059", "[MS-XLS] 2.5.198.17, EXEC", "Starts a program",
              ("exec(", "execute("), _COMMAND),
    Indicator("xlm:call", "xlm-run", 60, HIGH, "T1106", "[MS-XLS] 2.5.198.17, CALL and REGISTER",
              "Calls a system library",
              ("call(", "register"), _CALL),
    Indicator("xlm:download", "xlm-download", 60, HIGH, "T1105", "urlmon.dll", "Fetches a file",
              ("urldownloadto", "urlmon", "wininet")),
    Indicator("xlm:command", "xlm-command", 40, HIGH, "T1059", "cmd.exe and others",
              "Names a command interpreter, script host or system tool",
              ("powershell", "cmd.exe", "cmd /", "mshta", "rundll32", "regsvr32", "wscript", "cscript", "certutil",
               "wmic ")),
    Indicator("xlm:writes-file", "xlm-write", 20, MEDIUM, "T1105", "[MS-XLS] 2.5.198.17, FOPEN",
              "Writes or deletes files",
              ("fopen(", "fwrite", "file.delete("), _FILES),
    Indicator("xlm:builds-formulas", "xlm-hides", 15, MEDIUM, "T1027", "[MS-XLS] 2.5.198.4, FORMULA",
              "Puts formulas together while it runs",
              ("formula", "set.", "evaluate("), _BUILDS),
    Indicator("xlm:looks-around", "xlm-hides", 15, MEDIUM, "T1497", "[MS-XLS] 2.5.198.17, GET.WORKSPACE",
              "Asks where it runs",
              ("get.", "app."), _LOOKS),
)
CHAR_CODES: Final = Indicator("xlm:char-codes", "xlm-hides", 15, MEDIUM, "T1027.013", "[MS-XLS] 2.5.198.17, CHAR",
                              "Writes strings as numbers of characters")

COMBINATIONS: Final = (
    Combination("xlm:runs-program", frozenset({"xlm", "xlm-run"}), 40, HIGH, "T1204.002", "",
                "A macro sheet starts programs or calls system libraries"),
    Combination("xlm:builds-by-itself", frozenset({"xlm-auto", "xlm-hides", "xlm-hidden"}), 40, HIGH, "T1027", "",
                "A hidden sheet starts by itself and puts its macros together while it runs"),
    Combination("xlm:fetches-by-itself", frozenset({"xlm-auto", "xlm-download"}), 60, HIGH, "T1105", "",
                "Starts by itself and fetches a file"),
)

REMOTE_TEMPLATE: Final = Indicator("ooxml:remote-template", "remote-template", 70, HIGH, "T1221", "ECMA-376-1 15.2.1",
                                   "Takes its template from another machine")
REMOTE_OBJECT: Final = Indicator("ooxml:remote-object", "remote-object", 50, MEDIUM, "T1221", "ECMA-376-1 15.2.9",
                                 "Takes an object, frame or document from another machine")
BROWSER_OBJECT: Final = Indicator("ooxml:object-opens-browser", "exploit", 100, HIGH, "T1203",
                                  "CVE-2021-40444; CVE-2022-30190",
                                  "An object is a web page that the browser engine opens")
REMOTE_SHARE: Final = Indicator("ooxml:remote-share", "remote-share", 40, MEDIUM, "T1187", "ECMA-376-2 8.5.3",
                                "Refers to a file on another machine, to which Windows would log on")
REMOTE_PICTURE: Final = Indicator("ooxml:remote-picture", "remote-picture", 5, INFO, "T1221", "ECMA-376-1 15.2.14",
                                  "Takes a picture from another machine")
DANGEROUS_LINK: Final = Indicator("ooxml:dangerous-link", "dangerous-link", 50, HIGH, "T1204.001",
                                  "ECMA-376-1 17.16.22",
                                  "A link has another program than the browser act")
REMOTE_FIELD: Final = Indicator("ooxml:remote-field", "remote-field", 15, LOW, "T1221", "ECMA-376-1 17.16.5",
                                "A field takes text or a picture from another machine")
DOCTYPE: Final = Indicator("ooxml:doctype", "malformed", 30, MEDIUM, "T1027", "ECMA-376-2 6.2.5",
                           "A part declares a document type, which the format forbids")
# fmt: on

OOXML: Final = (
    REMOTE_TEMPLATE,
    REMOTE_OBJECT,
    BROWSER_OBJECT,
    REMOTE_SHARE,
    REMOTE_PICTURE,
    DANGEROUS_LINK,
    REMOTE_FIELD,
    DOCTYPE,
)
ALL: Final = (MACRO_SHEET, HIDDEN_SHEET, AUTO_OPEN, *ROWS, CHAR_CODES)
DDE: Final = (ole_table.DDE, ole_table.DDE_COMMAND)
