/*
    Programs whose code is packed or wrapped in a protector. Honest vendors do it too, so none of this is malware
    by itself. Each rule reads the file's first bytes itself: only then does YARA-X leave its patterns alone in every
    other file.
*/

rule Program_Packed_With_UPX
{
    meta:
        description = "A Windows program packed with UPX"
        author = "icapd"
        severity = "low"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1027/002/"
    strings:
        $first = "UPX0\x00\x00\x00\x00"
        $second = "UPX1\x00\x00\x00\x00"
    condition:
        uint16(0) == 0x5A4D and uint32(uint32(0x3C)) == 0x00004550
        and $first in (0..2048) and $second in (0..2048)
}

rule Program_Packed_Or_Protected
{
    meta:
        description = "A Windows program with the sections of a packer or protector that malware favors"
        author = "icapd"
        severity = "medium"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1027/002/"
    strings:
        $aspack = ".aspack\x00"
        $mpress = "MPRESS1\x00"
        $vmprotect = ".vmp0\x00\x00\x00"
        $themida = ".themida"
        $enigma = ".enigma1"
        $petite = ".petite\x00"
        $nspack = ".nsp0\x00\x00\x00"
    condition:
        uint16(0) == 0x5A4D and uint32(uint32(0x3C)) == 0x00004550
        and for any of them : ($ in (0..2048))
}

rule Linux_Program_Packed_With_UPX
{
    meta:
        description = "A Linux program packed with UPX, which distributions never ship"
        author = "icapd"
        severity = "medium"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1027/002/"
    strings:
        $mark = "UPX!"
    condition:
        uint32(0) == 0x464C457F and $mark in (0..512)
}

rule Picture_Hides_Program
{
    meta:
        description = "A file starts like a picture and carries a Windows program behind it"
        author = "icapd"
        severity = "medium"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1027/003/"
    strings:
        $program = "This program cannot be run in DOS mode"
        $program_start = { 4D 5A 90 00 03 00 00 00 04 00 00 00 FF FF 00 00 }
    condition:
        (uint32be(0) == 0x89504E47 or uint32be(0) == 0x47494638 or uint16be(0) == 0xFFD8) and all of them
}
