"""The table of signs in Visual Basic source. Words and patterns meet lower-case text without comments.

[MS-VBAL] is the language, [MS-OVBA] the file; a technique is MITRE ATT&CK's number.
"""

from __future__ import annotations

import re
from typing import Final

from icapd.scan.indicators import Combination, Indicator
from icapd.scan.model import Severity

INFO, LOW, MEDIUM, HIGH = Severity.INFO, Severity.LOW, Severity.MEDIUM, Severity.HIGH

_AUTO = re.compile(
    r"\b(?:sub|function)[ \t]+(?:auto_?(?:open|close|exec|exit|new)|document_?(?:open|close|new|beforeclose)"
    r"|document_beforesave|workbook_(?:open|activate|close|beforeclose|beforesave|deactivate|windowactivate)"
    r"|auto_(?:activate|add|remove)"
    r"|(?:presentation|slideshow)_?(?:open|begin|close)|onslideshow(?:pagechange|terminate)|app(?:lication)?_startup)\b"
    r"|\battribute vb_name = \"auto(?:open|close|exec|exit|new)\""
)
_EVENT = re.compile(
    r"\bsub[ \t]+\w{1,80}_(?:painted|painting|layout|beforenavigate2?|navigatecomplete2?|documentcomplete"
    r"|downloadcomplete|titlechange|progresschange|statustextchange|onconnect(?:ing|ed)|mousehover)\b"
)
_SHELL = re.compile(
    r"(?:^|[\n:=(,]|\bthen|\bcall|\bvba\.|\binteraction\.)[ \t]*shell[ \t]{0,8}(?:\(|[ \t][ \t]*[\"a-z](?!s\b))"
)
_COMMAND = re.compile(r"(?<![a-z0-9_.])cmd(?:\.exe)?[ \t\"]{0,8}\^?/\^?[ckrvq]\b|%comspec%|\\cmd\.exe")
_OPEN_BINARY = re.compile(r"\bfor[ \t]+(?:binary|output)\b")
_PROGRAM_NAME = re.compile(r"\.(?:exe|scr|dll|hta|vbs|vbe|jse?|wsf|ps1|bat|cmd|pif|jar|lnk|cpl|msi)[\"' )]")
_DECLARED_RUN = re.compile(r"\bdeclare[ \t][^\n]{0,200}(?:createprocess|shellexecute|winexec)")
_NOT_LITERAL = re.compile(r"\b(?:create|get)object[ \t]*\([ \t]*[a-z]")
_ENVIRONMENT = re.compile(r"\benviron\$?[ \t]*\(")

# fmt: off
ROWS: Final = (
    Indicator("vba:macros", "macros", 10, INFO, "T1059.005", "[MS-OVBA] 2.3.4.3",
              "The document holds Visual Basic code",
              ("sub ", "function ", "property ")),
    # What starts by itself.
    Indicator("vba:auto-exec", "auto", 20, MEDIUM, "T1204.002", "[MS-VBAL]; Office's names for automatic macros",
              "A procedure runs when the document is opened, closed or made",
              ("auto", "open", "close", "slideshow", "startup"), _AUTO),
    Indicator("vba:control-event", "auto", 20, MEDIUM, "T1204.002", "[MS-OFORMS] 2.1",
              "A procedure runs when a control on the page is drawn or loads something",
              ("_",), _EVENT),
    # What starts programs.
    Indicator("vba:shell", "run", 30, HIGH, "T1059.005", "[MS-VBAL]", "Starts a program through Shell",
              ("shell",), _SHELL),
    Indicator("vba:wscript-shell", "run", 30, HIGH, "T1059.005", "Windows Script Host",
              "Makes a WScript.Shell object",
              ("wscript.shell", "72c24dd5-d70a-438b-8a42-98424b88afb8", "wshshell", "iwshruntimelibrary")),
    Indicator("vba:shell-application", "run", 30, HIGH, "T1059.005", "Windows Shell, Shell.Application",
              "Makes an object that can open programs",
              ("shell.application", "13709620-c279-11ce-a49e-444553540000", "shellexecute", "mmc20.application",
               "c08afd90-f2a1-11d1-8455-00a0c91f3880")),
    Indicator("vba:command-interpreter", "run", 30, HIGH, "T1059.003", "cmd.exe", "Names the command interpreter",
              ("cmd", "%comspec%"), _COMMAND),
    Indicator("vba:powershell", "run", 30, HIGH, "T1059.001", "powershell.exe", "Names PowerShell",
              ("powershell", "pwsh", "system.management.automation")),
    Indicator("vba:system-tool", "run", 30, HIGH, "T1218", "LOLBAS",
              "Names a tool of Windows that runs or fetches programs",
              ("mshta", "regsvr32", "rundll32", "wscript.exe", "cscript", "certutil", "bitsadmin", "msiexec",
               "installutil", "wmic ", "schtasks", "forfiles")),
    Indicator("vba:wmi-process", "run", 30, HIGH, "T1047", "WMI, Win32_Process.Create",
              "Starts a process through WMI",
              ("win32_process",)),
    Indicator("vba:declared-run", "run", 30, HIGH, "T1106", "[MS-VBAL]",
              "Declares a system call that starts programs",
              ("declare ",), _DECLARED_RUN),
    Indicator("vba:scheduled-task", "run", 30, HIGH, "T1053.005", "Task Scheduler, Schedule.Service",
              "Makes a scheduled task",
              ("schedule.service",)),
    Indicator("vba:memory-injection", "inject", 50, HIGH, "T1055", "[MS-VBAL]",
              "Declares system calls that put machine code into memory and run it",
              ("virtualalloc", "createthread", "createremotethread", "writeprocessmemory", "queueuserapc",
               "ntallocatevirtualmemory", "heapcreate", "zwallocate")),
    # What fetches.
    Indicator("vba:url-download", "download", 40, HIGH, "T1105", "urlmon.dll, wininet.dll",
              "Fetches a file by a system call",
              ("urldownloadto", "internetreadfile", "httpsendrequest")),
    Indicator("vba:script-download", "download", 40, HIGH, "T1105", ".NET, System.Net.WebClient",
              "Has a script fetch a file",
              ("downloadfile", "downloadstring", "downloaddata", "invoke-webrequest", "net.webclient",
               "start-bitstransfer")),
    Indicator("vba:http-request", "network", 20, MEDIUM, "T1071.001", "MSXML, WinHTTP", "Makes an HTTP request",
              ("xmlhttp", "winhttprequest", "internetexplorer.application", "microsoft.xmldom")),
    # What it leaves.
    Indicator("vba:binary-stream", "write", 20, MEDIUM, "T1105", "ADO, Stream.SaveToFile",
              "Writes a binary stream to a file",
              ("adodb.stream", "savetofile", "write responsebody")),
    Indicator("vba:writes-file", "write", 10, LOW, "T1105", "[MS-VBAL]", "Opens a file to write into it",
              ("for binary", "for output"), _OPEN_BINARY),
    Indicator("vba:program-name", "payload", 15, MEDIUM, "T1204.002", "", "Names a program or script file",
              (".exe", ".scr", ".dll", ".hta", ".vb", ".js", ".wsf", ".ps1", ".bat", ".cmd", ".pif", ".jar", ".lnk",
               ".cpl", ".msi"), _PROGRAM_NAME),
    Indicator("vba:environment", "environment", 5, LOW, "T1082", "[MS-VBAL]",
              "Asks for a folder by an environment variable",
              ("environ", "%temp%", "%appdata%")),
    Indicator("vba:run-key", "persist", 25, HIGH, "T1547.001", "Windows registry", "Names what runs at every logon",
              ("currentversion\\run", "\\start menu\\programs\\startup")),
    Indicator("vba:trusts-macros", "protection", 40, HIGH, "T1112", "Office's Trust Center",
              "Changes how Office guards against macros",
              ("accessvbom", "vbawarnings", "blockcontentexecutionfrominternet")),
    Indicator("vba:writes-macros", "replicate", 25, MEDIUM, "T1137.001", "Office, VBProject",
              "Changes the code of documents",
              ("vbcomponents", "codemodule", "organizercopy", "insertlines", "addfromstring")),
    # What hides.
    Indicator("vba:call-by-name", "obfuscation", 10, LOW, "T1027", "[MS-VBAL]",
              "Calls a method whose name is computed",
              ("callbyname",)),
    Indicator("vba:computed-object", "obfuscation", 10, LOW, "T1027", "[MS-VBAL]",
              "Makes an object whose name is no literal",
              ("createobject", "getobject"), _NOT_LITERAL),
    Indicator("vba:hidden-window", "obfuscation", 10, LOW, "T1564.003", "[MS-VBAL]",
              "Starts something without a window",
              ("vbhide", "-windowstyle hidden", "-w hidden", "-w 1 ")),
    Indicator("vba:looks-around", "evasion", 15, MEDIUM, "T1497", "", "Asks whether it runs on a real user's machine",
              ("recentfiles.count", "win32_computersystem", "win32_bios", "vmware", "virtualbox", "sandbox",
               "application.recentfiles")),
)

NO_SOURCE: Final = Indicator("vba:source-removed", "obfuscation", 60, HIGH, "T1564.007", "[MS-OVBA] 2.3.4.3",
                             "A module's source was taken away or replaced, and its compiled code kept")
HIDDEN_WORDS: Final = Indicator("vba:hidden-words", "obfuscation", 40, HIGH, "T1027.013", "",
                                "A telling word shows only after strings are decoded")
MANY_TRICKS: Final = {
    "char-codes": Indicator("vba:char-codes", "obfuscation", 15, MEDIUM, "T1027.013", "[MS-VBAL]",
                            "Writes strings as numbers of characters"),
    "reversed-strings": Indicator("vba:reversed-strings", "obfuscation", 15, MEDIUM, "T1027.013", "[MS-VBAL]",
                                  "Writes strings backwards"),
    "split-strings": Indicator("vba:split-strings", "obfuscation", 10, LOW, "T1027.013", "[MS-VBAL]",
                               "Puts strings together from many pieces"),
    "hex-strings": Indicator("vba:hex-strings", "obfuscation", 10, LOW, "T1027.013", "",
                             "Holds text in hexadecimal digits"),
    "base64-strings": Indicator("vba:base64-strings", "obfuscation", 10, LOW, "T1132.001", "RFC 4648 section 4",
                                "Holds text in base64"),
    "number-arrays": Indicator("vba:number-arrays", "obfuscation", 10, LOW, "T1027.013", "",
                               "Holds long lists of numbers as an array"),
}

COMBINATIONS: Final = (
    Combination("vba:runs-program-by-itself", frozenset({"auto", "run"}), 100, HIGH, "T1204.002", "",
                "Starts by itself and starts a program"),
    Combination("vba:downloads-by-itself", frozenset({"auto", "download"}), 100, HIGH, "T1105", "",
                "Starts by itself and fetches a file"),
    Combination("vba:saves-download-by-itself", frozenset({"auto", "network", "write"}), 100, HIGH, "T1105", "",
                "Starts by itself, makes a request and writes a file"),
    Combination("vba:injects-by-itself", frozenset({"auto", "inject"}), 100, HIGH, "T1055", "",
                "Starts by itself and runs machine code"),
    Combination("vba:weakens-protection", frozenset({"auto", "protection"}), 60, HIGH, "T1562.001", "",
                "Starts by itself and weakens what guards against macros"),
)

# fmt: on

ALL: Final = (*ROWS, NO_SOURCE, HIDDEN_WORDS, *MANY_TRICKS.values())
