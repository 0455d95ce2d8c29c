"""The table of signs in PDF files: what their objects do, and what their scripts say.

Section numbers are of ISO 32000-2; a technique is MITRE ATT&CK's number. Rows with words are for scripts, whose text
is lower case and has its strings put together.
"""

from __future__ import annotations

import re
from typing import Final

from icapd.scan.indicators import Combination, Indicator
from icapd.scan.model import Severity

# fmt: off
INFO, LOW, MEDIUM, HIGH, CRITICAL = Severity.INFO, Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL

SCRIPT: Final = Indicator("pdf:javascript", "script", 5, INFO, "T1059.007", "12.6.4.17", "Holds JavaScript")
OPENS_SCRIPT: Final = Indicator("pdf:script-on-open", "opens", 15, MEDIUM, "T1204.002", "12.6.4.17, 7.7.2",
                                "Runs JavaScript when it is opened or a page is shown")
DOCUMENT_SCRIPT: Final = Indicator("pdf:document-script", "document-script", 5, LOW, "T1059.007", "12.6.4.17",
                                   "Holds scripts for the whole document, as forms do")
LAUNCH: Final = Indicator("pdf:launch", "launch", 40, MEDIUM, "T1204.002", "12.6.4.6", "Launches a file or program")
LAUNCH_COMMAND: Final = Indicator("pdf:launch-command", "command", 100, HIGH, "T1204.002", "12.6.4.6",
                                  "Launches a command interpreter, script host or program")
OPENS_ADDRESS: Final = Indicator("pdf:address-on-open", "opens-address", 25, MEDIUM, "T1204.001", "12.6.4.8",
                                 "Opens a web address when it is opened")
SUBMITS_ON_OPEN: Final = Indicator("pdf:submit-on-open", "opens-submit", 40, MEDIUM, "T1041", "12.7.6.2",
                                   "Sends or fetches form data when it is opened")
SUBMIT: Final = Indicator("pdf:submit-form", "submit", 2, INFO, "", "12.7.6.2", "A form can be sent")
REMOTE_FILE: Final = Indicator("pdf:remote-file", "remote", 60, HIGH, "T1187", "12.6.4.3, 12.6.4.4",
                               "Refers to a file on another machine, to which Windows would log on")
ATTACHMENT: Final = Indicator("pdf:attachment", "attachment", 2, INFO, "", "7.11.4", "Holds an attached file")
PROGRAM: Final = Indicator("pdf:attached-program", "attached-program", 50, HIGH, "T1566.001", "7.11.4",
                           "An attached file is a program, script or document with macros")
RICH_MEDIA: Final = Indicator("pdf:rich-media", "media", 40, MEDIUM, "T1203", "13.7.2",
                              "Holds rich media, in the past Flash")
XFA: Final = Indicator("pdf:xfa", "xfa", 2, INFO, "", "12.7.8", "Holds an XFA form")
ESCAPED_NAMES: Final = Indicator("pdf:escaped-names", "hidden", 40, HIGH, "T1027", "7.3.5",
                                 "Writes telling names with escapes that letters do not need")
FILTER_CHAIN: Final = Indicator("pdf:filter-chain", "hidden", 15, MEDIUM, "T1027", "7.4",
                                "A stream went through more than two filters")
HIDDEN_SCRIPT: Final = Indicator("pdf:hidden-script", "hidden", 15, MEDIUM, "T1027", "7.4",
                                 "A script stands behind a chain of filters")
PICTURE_CODING: Final = Indicator("pdf:script-as-picture", "hidden", 60, HIGH, "T1027", "7.4.8",
                                  "A script or form stands in the coding of a picture")
LATE_HEADER: Final = Indicator("pdf:late-header", "malformed", 5, LOW, "T1036.008", "7.5.2; PDF 1.7 Appendix H",
                               "Something stands before the header")
NO_END: Final = Indicator("pdf:no-end", "malformed", 5, LOW, "", "7.5.5", "The end is missing")
DAMAGED: Final = Indicator("pdf:damaged", "malformed", 5, LOW, "", "7.5", "Structure or streams are damaged")

PROPERTIES: Final = (
    SCRIPT, OPENS_SCRIPT, DOCUMENT_SCRIPT, LAUNCH, LAUNCH_COMMAND, OPENS_ADDRESS, SUBMITS_ON_OPEN, SUBMIT,
    REMOTE_FILE, ATTACHMENT, PROGRAM, RICH_MEDIA, XFA, ESCAPED_NAMES, FILTER_CHAIN, HIDDEN_SCRIPT,
    PICTURE_CODING, LATE_HEADER, NO_END, DAMAGED,
)

_EVAL = re.compile(r"(?<![\w.])eval[ \t]*\(|\[\"eval\"\]|\.eval[ \t]*\(|(?<!\w)new[ \t]+function[ \t]*\(")
_CODES = re.compile(r"fromcharcode[ \t]*\(")
_SHELLCODE = re.compile(r"(?:%u[0-9a-f]{4}){8}|(?:\\u[0-9a-f]{4}){32}|(?:%[0-9a-f]{2}){64}")
_SPRAY = re.compile(
    r"(?:%u|\\u)(?:9090|0c0c|0d0d|0a0a|4141)(?:%u|\\u)?(?:9090|0c0c|0d0d|0a0a|4141)"
    r"|\.length[ \t]*<[ \t]*0x[0-9a-f]{4,6}"
)
_VULNERABLE = re.compile(
    r"collab\.(?:collectemailinfo|geticon)|util\.printf[ \t]*\([^)\n]{0,40}%[0-9]{4}|\.printseps[ \t]*\("
    r"|media\.newplayer[ \t]*\([ \t]*null|spell\.customdictionaryopen"
)
_LAUNCHES = re.compile(r"nlaunch[\"']?[ \t]*:[ \t]*[12]")

ROWS: Final = (
    Indicator("pdf:eval", "dynamic", 25, MEDIUM, "T1059.007", "ECMA-262 19.2.1", "A script runs text as a script",
              ("eval", "function"), _EVAL),
    Indicator("pdf:unescape", "encoded", 20, MEDIUM, "T1027.013", "ECMA-262 B.2.1.2", "A script decodes escaped text",
              ("unescape",)),
    Indicator("pdf:char-codes", "codes", 10, LOW, "T1027.013", "ECMA-262 22.1.2.1",
              "A script puts text together from character codes",
              ("fromcharcode",), _CODES),
    Indicator("pdf:hidden-text", "hidden-text", 15, MEDIUM, "T1027", "Acrobat JavaScript API",
              "A script reads its text from the document's own properties or annotations",
              ("getannots", "getpagenthword", "this.info.", "syncannotscan")),
    Indicator("pdf:shellcode", "shellcode", 60, HIGH, "T1203", "", "A script holds a long run of escaped bytes",
              ("%u", "\\u", "%"), _SHELLCODE),
    Indicator("pdf:heap-spray", "shellcode", 60, HIGH, "T1203", "", "A script fills memory with a repeated value",
              ("9090", "0c0c", "0d0d", "0a0a", "4141", ".length"), _SPRAY),
    Indicator("pdf:vulnerable-call", "exploit", 60, HIGH, "T1203", "CVE-2007-5659; CVE-2008-2992; CVE-2009-4324",
              "A script calls what old readers broke on",
              ("collab.", "util.printf", "media.newplayer", "printseps", "spell."), _VULNERABLE),
    Indicator("pdf:script-opens-attachment", "opens-attachment", 100, HIGH, "T1204.002", "Acrobat, exportDataObject",
              "A script saves and opens an attached file",
              ("exportdataobject",), _LAUNCHES),
    Indicator("pdf:script-opens-address", "script-address", 10, LOW, "T1204.001", "Acrobat, app.launchURL",
              "A script opens a web address",
              ("launchurl", "geturl(")),
    Indicator("pdf:script-requests", "script-request", 15, MEDIUM, "T1071.001", "Acrobat, SOAP and Net.HTTP",
              "A script makes requests",
              ("soap.request", "net.http", "soap.connect")),
)

COMBINATIONS: Final = (
    Combination("pdf:decodes-and-runs-on-open", frozenset({"opens", "dynamic"}), 100, HIGH, "T1059.007", "",
                "Runs decoded text as a script when it is opened"),
    Combination("pdf:unpacks-on-open", frozenset({"opens", "encoded", "hidden"}), 60, HIGH, "T1027", "",
                "A hidden script decodes text when the file is opened"),
    Combination("pdf:unescapes-on-open", frozenset({"opens", "encoded"}), 70, HIGH, "T1027.013", "",
                "A script decodes text when the file is opened"),
    Combination("pdf:attack-on-open", frozenset({"opens", "exploit"}), 100, HIGH, "T1203", "",
                "Calls what old readers broke on when it is opened"),
    Combination("pdf:shellcode-on-open", frozenset({"opens", "shellcode"}), 100, HIGH, "T1203", "",
                "Holds machine code in a script that runs when the file is opened"),
    Combination("pdf:document-attack", frozenset({"document-script", "exploit", "shellcode"}), 100, HIGH, "T1203", "",
                "A script for the whole document holds machine code and calls what old readers broke on"),
    Combination("pdf:document-shellcode", frozenset({"document-script", "shellcode", "encoded"}), 60, HIGH, "T1203",
                "",
                "A script for the whole document decodes machine code"),
    Combination("pdf:document-unpacks", frozenset({"document-script", "dynamic", "encoded"}), 60, HIGH, "T1027", "",
                "A script for the whole document decodes text and runs it"),
    Combination("pdf:launches-attachment", frozenset({"launch", "attached-program"}), 60, HIGH, "T1204.002", "",
                "Launches a file and carries a program"),
)
# fmt: on

ALL: Final = (*PROPERTIES, *ROWS)

PROGRAM_ENDINGS: Final = frozenset(
    {
        *("exe", "scr", "pif", "com", "dll", "cpl", "msi", "bat", "cmd", "ps1", "vbs", "vbe", "js", "jse", "wsf"),
        *("wsh", "hta", "sct", "lnk", "url", "jar", "iso", "img", "vhd", "chm", "docm", "dotm", "xlsm", "xlam"),
        *("xltm", "pptm", "settingcontent-ms", "appref-ms", "application", "library-ms", "search-ms", "iqy", "one"),
    }
)
COMMAND: Final = re.compile(
    r"(?:^|[\\/ \"'(])(?:cmd|powershell|pwsh|mshta|rundll32|regsvr32|wscript|cscript|msiexec|certutil|bitsadmin"
    r"|command|bash|sh|osascript)(?:\.exe)?(?:$|[ \"')])"
    r"|\.(?:exe|scr|bat|cmd|com|pif|vbs|js|hta|ps1|lnk|jar|msi|app)(?:$|[ \"')])"
)
TELLING_NAMES: Final = frozenset(
    {"JS", "JavaScript", "OpenAction", "AA", "Launch", "EmbeddedFile", "EmbeddedFiles", "RichMedia", "XFA", "ObjStm"}
)
