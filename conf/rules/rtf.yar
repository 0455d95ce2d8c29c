/*
    RTF documents that carry or fetch something. Word accepts a header cut down to its first four characters.
    Each rule reads them itself: only then does YARA-X leave its patterns alone in every other file.
*/

private rule rtf_equation
{
    strings:
        $object = /\\obj(data|class)/
        $name_hex = "4571756174696f6e2e" nocase
        $name = "Equation.3" nocase
        $class = "02ce020000000000c000000000000046" nocase
    condition:
        uint32be(0) == 0x7B5C7274 and $object and any of ($name*, $class)
}

rule RTF_Equation_Object
{
    meta:
        description = "An RTF document holds an object for the retired equation editor (CVE-2017-11882)"
        author = "icapd"
        severity = "high"
        kind = "suspicious"
        reference = "https://nvd.nist.gov/vuln/detail/CVE-2017-11882"
    condition:
        rtf_equation
}

rule RTF_Equation_Object_Starts_By_Itself
{
    meta:
        description = "An RTF document has the retired equation editor load an object on opening (CVE-2017-11882)"
        author = "icapd"
        severity = "critical"
        kind = "malware"
        reference = "https://nvd.nist.gov/vuln/detail/CVE-2017-11882"
    strings:
        $update = /\\objupdate[^a-z]/
    condition:
        uint32be(0) == 0x7B5C7274 and rtf_equation and $update
}

rule RTF_Remote_Template
{
    meta:
        description = "An RTF document takes its template from a web address on opening"
        author = "icapd"
        severity = "high"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1221/"
    strings:
        $template = /\{\\\*\\template\s{1,8}(https?:|\\u-)/ nocase
    condition:
        uint32be(0) == 0x7B5C7274 and $template
}

rule RTF_Packages_Program
{
    meta:
        description = "An RTF document packages a program or script"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1027/009/"
    strings:
        $object = "\\objdata"
        $package = "5061636b61676500" nocase
        $name = /2e(657865|736372|766273|6a73|687461|626174|636d64|707331|6c6e6b)00/ nocase
    condition:
        uint32be(0) == 0x7B5C7274 and all of them
}
