"""The table of signs in OLE objects, whether they stand in a compound file or in RTF."""

from __future__ import annotations

from typing import Final

from icapd.scan.indicators import Combination, Indicator
from icapd.scan.model import Severity

# fmt: off
INFO, LOW, MEDIUM, HIGH, CRITICAL = Severity.INFO, Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL

PACKAGE: Final = Indicator("ole:package", "package", 10, LOW, "T1027.009", "[MS-OLEDS] 2.3.6",
                           "Holds a packaged file")
PROGRAM: Final = Indicator("ole:packaged-program", "packaged-program", 70, HIGH, "T1204.002", "[MS-OLEDS] 2.3.6",
                           "Holds a packaged program, script or shortcut")
EXECUTABLE: Final = Indicator("ole:embedded-executable", "embedded-program", 50, HIGH, "T1027.009", "PE/COFF 2",
                              "An embedded stream is a Windows program")
LINK: Final = Indicator("ole:linked-address", "remote-object", 70, HIGH, "T1221", "[MS-OSHARED] 2.3.7.6",
                        "An object is loaded from an address (CVE-2017-0199)")
SCRIPT_LINK: Final = Indicator("ole:linked-script", "remote-script", 100, CRITICAL, "T1221", "CVE-2017-8570",
                               "An object is a script or scriptlet that is run when it loads")
EQUATION: Final = Indicator("ole:equation", "equation", 25, MEDIUM, "T1203", "CVE-2017-11882",
                            "Holds an object for the retired equation editor")
EQUATION_OVERFLOW: Final = Indicator("ole:equation-overflow", "exploit", 100, CRITICAL, "T1203", "CVE-2017-11882",
                                     "A font name in an equation is longer than its buffer")
ACTIVEX: Final = Indicator("ole:activex", "activex", 10, LOW, "T1559.001", "[MS-OCXPERSIST]",
                           "Holds an ActiveX control")
FLASH: Final = Indicator("ole:flash", "flash", 50, HIGH, "T1203", "CVE-2018-4878", "Holds a Flash control")
BROWSER: Final = Indicator("ole:browser-control", "browser", 60, HIGH, "T1559.001", "Shell.Explorer.1, htmlfile",
                           "Holds a control that opens web pages or files")
OLD_CONTROL: Final = Indicator("ole:vulnerable-control", "vulnerable", 50, HIGH, "T1203", "CVE-2012-0158",
                               "Holds a control known for its errors")
DDE: Final = Indicator("ole:dde", "dde", 40, MEDIUM, "T1559.002", "[MS-DOC] 2.9.90; [MS-XLS] 2.4.271",
                       "A field or link uses DDE")
DDE_COMMAND: Final = Indicator("ole:dde-command", "dde-command", 100, HIGH, "T1559.002", "Microsoft advisory 4053440",
                               "A DDE field or link names a command interpreter or script host")
UNLINKED: Final = Indicator("ole:unlinked-stream", "malformed", 5, INFO, "T1564", "[MS-CFB] 2.6.4",
                            "A stream that no storage names")

DEFAULT_KEY: Final = Indicator("ole:default-password", "hidden", 20, MEDIUM, "T1027.013", "[MS-OFFCRYPTO] 2.3.4",
                               "Encrypted with the password that Office tries by itself")

ALL: Final = (
    PACKAGE, PROGRAM, EXECUTABLE, LINK, SCRIPT_LINK, EQUATION, EQUATION_OVERFLOW, ACTIVEX, FLASH, BROWSER,
    OLD_CONTROL, DDE, DDE_COMMAND, UNLINKED, DEFAULT_KEY,
)

CLASSES: Final[dict[str, Indicator]] = {
    "0002ce02-0000-0000-c000-000000000046": EQUATION,
    "0002ce03-0000-0000-c000-000000000046": EQUATION,
    "d27cdb6e-ae6d-11cf-96b8-444553540000": FLASH,
    "d27cdb70-ae6d-11cf-96b8-444553540000": FLASH,
    "eab22ac3-30c1-11cf-a7eb-0000c05bae0b": BROWSER,
    "8856f961-340a-11d0-a96b-00c04fd705a2": BROWSER,
    "25336920-03f9-11cf-8fd0-00aa00686f13": BROWSER,
    "3050f4d8-98b5-11cf-bb82-00aa00bdce0b": SCRIPT_LINK,
    "06290bd2-48aa-11d2-8432-006008c3fbfc": SCRIPT_LINK,
    "06290bd3-48aa-11d2-8432-006008c3fbfc": SCRIPT_LINK,
    "bdd1f04b-858b-11d1-b16a-00c0f0283628": OLD_CONTROL,
    "996bf5e0-8044-4650-adeb-0b013914e99c": OLD_CONTROL,
    "c74190b6-8589-11d1-b16a-00c0f0283628": OLD_CONTROL,
    "a08a033d-1a75-4ab6-a166-ead02f547959": OLD_CONTROL,
    "f20da720-c02f-11ce-927b-0800095ae340": PACKAGE,
    "0003000c-0000-0000-c000-000000000046": PACKAGE,
}
"""Class ids of objects and controls, as storages carry them ([MS-CFB] 2.6.1)."""

URL_MONIKER: Final = bytes.fromhex("e0c9ea79f9bace118c8200aa004ba90b")
SCRIPT_MONIKERS: Final = (
    bytes.fromhex("d8f45030b598cf11bb8200aa00bdce0b"),  # HTML application
    bytes.fromhex("d22b2906aa48d2118432006008c3fbfc"),  # scriptlet file
    bytes.fromhex("e2afbe5a0f6dd511b7c800aa00b6a9f1"),  # SOAP moniker
)

PROGRAM_ENDINGS: Final = frozenset((
    "exe", "scr", "pif", "com", "dll", "cpl", "msi", "bat", "cmd", "ps1", "psm1", "vbs", "vbe", "js", "jse", "wsf",
    "wsh", "hta", "sct", "lnk", "url", "scf", "jar", "reg", "inf", "chm", "hlp", "iso", "img", "vhd",
    "settingcontent-ms", "appref-ms", "application", "library-ms", "search-ms", "iqy", "slk",
))
COMMANDS: Final = (
    "cmd", "powershell", "pwsh", "mshta", "rundll32", "regsvr32", "wscript", "cscript", "msiexec", "certutil",
    "bitsadmin",
)

COMBINATIONS: Final = (
    Combination("ole:equation-starts-by-itself", frozenset({"equation", "updates"}), 100, HIGH, "T1203",
                "CVE-2017-11882",
                "The retired equation editor loads an object when the document opens"),
    Combination("ole:program-starts-by-itself", frozenset({"packaged-program", "updates"}), 60, HIGH, "T1204.002", "",
                "A packaged program is loaded when the document opens"),
    Combination("ole:macro-with-program", frozenset({"auto", "packaged-program"}), 100, HIGH, "T1204.002", "",
                "A macro that starts by itself, and a packaged program"),
    Combination("ole:macro-with-executable", frozenset({"auto", "embedded-program"}), 60, HIGH, "T1204.002", "",
                "A macro that starts by itself, and an embedded program"),
)
