/*
    Windows shortcuts that start more than a program. Their strings are UTF-16 in most files, eight-bit in some.

    Rules for one kind of file read its first bytes themselves, not through a private rule: only then does YARA-X
    leave their patterns alone in every other file. No pattern may begin its search with less than four bytes or with
    a blank, here or in any rule file: a single such pattern makes all rules slower by a third and more. What is
    repeated once or twice and stands there once (cs{1,2}cript) has the search begin behind it, at rarer letters.
*/

rule Shortcut_PowerShell_Payload
{
    meta:
        description = "A shortcut has PowerShell hide its window, decode a command or fetch something"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1204/002/"
    strings:
        $shell = "powershell" nocase ascii wide
        $hidden = /-w[a-z]{0,12}\s{1,4}hidden\s/ nocase ascii wide
        $hidden_number = /-w(\s1|\s\s{1,3}1|i\s{1,4}1|in[a-z]{0,10}\s{1,4}1)\s/ nocase ascii wide
        $encoded_wide = /-e\s{1,4}["']?[A-Za-z0-9+\/]{40}/ nocase wide
        $encoded = /-e(c\s|n\s|nc\s|nco[a-z]{0,11}\s)\s{0,3}["']?[A-Za-z0-9+\/]{40}/ nocase ascii wide
        $fetch_string = "DownloadString" nocase ascii wide
        $fetch_file = "DownloadFile" nocase ascii wide
        $fetch_request = /(Invoke-WebRequest|Invoke-RestMethod|iwr|irm|curl)\s[^\r\n]{0,200}h\w{3,4}:\/\// nocase ascii wide
    condition:
        uint32be(0) == 0x4C000000 and uint32be(4) == 0x01140200 and uint32be(12) == 0xC0000000
        and $shell and (
            any of ($hidden*, $encoded*) or any of ($fetch*)
            // In eight bits, "-e" and white space are too short for a pattern; base64 follows within five characters.
            or for any start in (76..filesize) : (
                uint16be(start) | 0x0020 == 0x2D65
                and (uint8(start + 2) == 0x20 or (uint8(start + 2) >= 0x09 and uint8(start + 2) <= 0x0D))
                and for all place in (start + 7..start + 42) : (
                    (uint8(place) | 0x20 >= 0x61 and uint8(place) | 0x20 <= 0x7A)
                    or (uint8(place) >= 0x2F and uint8(place) <= 0x39)
                    or uint8(place) == 0x2B
                )
            )
        )
}

rule Shortcut_Fetches_Through_System_Tool
{
    meta:
        description = "A shortcut has a Windows tool fetch or run something from an address"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1218/"
    strings:
        $command = /(mshta|certutil|bitsadmin|regsvr32|msiexec|wscript|cs{1,2}cript|curl)(\.exe)?[^\r\n]{0,300}h\w{3,4}:\/\// nocase ascii wide
        $split_tool = /(mshta|certutil|bitsadmin|regsvr32|msiexec)\.exe/ nocase ascii wide
        $split_address = "http" nocase wide
    condition:
        uint32be(0) == 0x4C000000 and uint32be(4) == 0x01140200 and uint32be(12) == 0xC0000000
        and ($command or all of ($split*))
}

rule Shortcut_Command_Arguments
{
    meta:
        description = "A shortcut hands a command to the command interpreter or to a script host"
        author = "icapd"
        severity = "medium"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1059/003/"
    strings:
        $interpreter = "cmd.exe" nocase ascii wide
        $argument_c = "/c " nocase wide
        $argument_k = "/k " nocase wide
        $argument_r = "/r " nocase wide
        $host = /(wscript|cscript)\.exe/ nocase ascii wide
        $script = /\.(vbs|vbe|js|jse|wsf)["\s\x00]/ nocase wide
    condition:
        uint32be(0) == 0x4C000000 and uint32be(4) == 0x01140200 and uint32be(12) == 0xC0000000
        and (($interpreter and any of ($argument*)) or ($host and $script))
}

rule Internet_Shortcut_To_Remote_Program
{
    meta:
        description = "An internet shortcut opens a program or script on a file share or WebDAV server"
        author = "icapd"
        severity = "high"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1204/001/"
    strings:
        $section = "[InternetShortcut]" nocase
        $target = /\nURL\s{0,4}=\s{0,4}(file:)?[\/\\]{2,5}[a-z0-9][^\r\n]{1,300}\.(exe|scr|com|pif|js|jse|vbs|vbe|wsf|hta|lnk|bat|cmd|ps1|msi|cpl|zip)\s/ nocase
    condition:
        $section in (0..512) and $target
}
