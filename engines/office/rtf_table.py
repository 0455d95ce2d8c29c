"""The table of signs in RTF documents. What stands in their objects has its rows in `ole_table`."""

from __future__ import annotations

from typing import Final

from icapd.scan.indicators import Indicator
from icapd.scan.model import Severity

# fmt: off
INFO, LOW, MEDIUM, HIGH = Severity.INFO, Severity.LOW, Severity.MEDIUM, Severity.HIGH

OBJECT: Final = Indicator("rtf:object", "object", 2, INFO, "", "RTF 1.9.1, Objects", "Holds an embedded object")
UPDATES: Final = Indicator("rtf:updates", "updates", 20, MEDIUM, "T1559.001", "RTF 1.9.1, \\objupdate",
                           "An object is loaded when the document opens")
TEMPLATE: Final = Indicator("rtf:remote-template", "remote-template", 70, HIGH, "T1221", "RTF 1.9.1, \\template",
                            "Takes its template from another machine")
DDE: Final = Indicator("rtf:dde", "dde", 40, MEDIUM, "T1559.002", "RTF 1.9.1, \\fldinst", "A field uses DDE")
DDE_COMMAND: Final = Indicator("rtf:dde-command", "dde-command", 100, HIGH, "T1559.002", "Microsoft advisory 4053440",
                               "A DDE field names a command interpreter or script host")
REMOTE_FIELD: Final = Indicator("rtf:remote-field", "remote-field", 15, LOW, "T1221", "RTF 1.9.1, \\fldinst",
                                "A field takes text or a picture from another machine")
LINKED: Final = Indicator("rtf:linked-object", "linked-object", 30, MEDIUM, "T1221", "RTF 1.9.1, \\objautlink",
                          "An object is a link that is followed when the document opens")
ODD_HEADER: Final = Indicator("rtf:odd-header", "hidden", 15, MEDIUM, "T1027", "RTF 1.9.1, \\rtf1",
                              "The header is not the one that programs write")
NOISE: Final = Indicator("rtf:noise-in-object", "hidden", 30, MEDIUM, "T1027", "RTF 1.9.1, \\objdata",
                         "An object's digits are broken up by groups or control words")
# fmt: on

ALL: Final = (OBJECT, UPDATES, TEMPLATE, DDE, DDE_COMMAND, REMOTE_FIELD, LINKED, ODD_HEADER, NOISE)
