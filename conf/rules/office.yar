/*
    Documents that start something. Parts of a document in a ZIP container are scanned as members, so these rules
    see plain XML and the OLE files inside.

    Rules for one kind of file read its first bytes themselves, not through a private rule: only then does YARA-X
    leave their patterns alone in every other file.
*/

private rule ole_starts_by_itself
{
    strings:
        $open_auto = /auto(_?open|_?close|exec)/ nocase ascii wide
        $open_document = /document_(open|close)/ nocase ascii wide
        $open_workbook = /workbook_(open|activate)/ nocase ascii wide
        $project = /(_VBA_PROJECT|VBAProject|Attribut.{0,2}e VB_)/ ascii wide
    condition:
        uint32be(0) == 0xD0CF11E0 and uint32be(4) == 0xA1B11AE1
        and any of ($open*) and $project
}

rule Office_Macro_Downloads
{
    meta:
        description = "A macro that runs on opening downloads a file"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1204/002/"
    strings:
        $download = "URLDownloadToFile" nocase ascii wide
        $stream = "ADODB.Stream" nocase ascii wide
        $http = /(MSXML2\.(Server)?XMLHTTP|Microsoft\.XMLHTTP|WinHttp\.WinHttpRequest)/ nocase ascii wide
    condition:
        uint32be(0) == 0xD0CF11E0 and uint32be(4) == 0xA1B11AE1
        and ole_starts_by_itself and ($download or ($stream and $http))
}

rule Office_Macro_Starts_Shell
{
    meta:
        description = "A macro that runs on opening starts a shell"
        author = "icapd"
        severity = "high"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1059/005/"
    strings:
        $shell = "WScript.Shell" nocase ascii wide
        $shell_application = "Shell.Application" nocase ascii wide
        $powershell = "powershell" nocase ascii wide
        $command = /cmd(\.exe)?\s{1,4}\/c\s/ nocase ascii wide
        $process = "Win32_Process" nocase ascii wide
        $mshta = "mshta" nocase ascii wide
    condition:
        uint32be(0) == 0xD0CF11E0 and uint32be(4) == 0xA1B11AE1
        and ole_starts_by_itself and any of them
}

rule Office_DDE_Field_Starts_Command
{
    meta:
        description = "A field of a document starts a command through DDE"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1559/002/"
    strings:
        $field = /<w:instrText[^>]{0,80}>[^<]{0,40}DDE(AUTO)?\s[^<]{0,200}(cmd|powershell|mshta|rundll32|regsvr32|wscript|cscript)/ nocase
        $simple = /w:instr\s{0,2}=\s{0,2}"[^"]{0,40}DDE(AUTO)?\s[^"]{0,200}(cmd|powershell|mshta|rundll32|regsvr32|wscript|cscript)/ nocase
    condition:
        any of them
}

rule Spreadsheet_DDE_Formula_Starts_Command
{
    meta:
        description = "A cell of a spreadsheet or CSV file starts a command through DDE"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1559/002/"
    strings:
        $cell = /(^|[\n,;\t"]|<f>)\s{0,4}[=+@-]{0,4}(cmd|powershell|mshta|rundll32|regsvr32|wscript|msexcel)(\.exe)?\|\s{0,4}('|&apos;|&#39;)[^\r\n<]{1,300}('|&apos;|&#39;)![a-z_]/ nocase
    condition:
        $cell
}

rule Office_Remote_Template
{
    meta:
        description = "A document takes its template from a web address on opening"
        author = "icapd"
        severity = "high"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1221/"
    strings:
        $type_first = /relationships\/attachedTemplate"[^>]{0,100}Target\s{0,2}=\s{0,2}"h\w{3,4}:\/\//
        $target_first = /Target\s{0,2}=\s{0,2}"h\w{3,4}:\/\/[^">]{1,400}"[^>]{0,200}relationships\/attachedTemplate"/
    condition:
        any of them
}

rule Office_Remote_Object
{
    meta:
        description = "A document takes an embedded object or frame from a web address on opening"
        author = "icapd"
        severity = "medium"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1221/"
    strings:
        $type_first = /relationships\/(oleObject|frame|subDocument)"[^>]{0,100}Target\s{0,2}=\s{0,2}"h\w{3,4}:\/\//
        $target_first = /Target\s{0,2}=\s{0,2}"h\w{3,4}:\/\/[^">]{1,400}"[^>]{0,200}relationships\/(oleObject|frame|subDocument)"/
    condition:
        any of them
}

rule Office_Object_Opens_Browser_Engine
{
    meta:
        description = "A document's object points at a web page that the browser engine opens (CVE-2021-40444, CVE-2022-30190)"
        author = "icapd"
        severity = "critical"
        kind = "malware"
        reference = "https://nvd.nist.gov/vuln/detail/CVE-2021-40444"
    strings:
        $object = "relationships/oleObject\""
        $archive = /Target\s{0,2}=\s{0,2}"mhtml:[^">]{0,300}h\w{3,4}:/
        $page = /Target\s{0,2}=\s{0,2}"h\w{3,4}:\/\/[^">]{1,400}!"/
    condition:
        $object and ($archive or $page)
}

rule HTML_Starts_Diagnostic_Tool
{
    meta:
        description = "A page opens the support diagnostic tool with a command in its arguments (CVE-2022-30190)"
        author = "icapd"
        severity = "critical"
        kind = "malware"
        reference = "https://nvd.nist.gov/vuln/detail/CVE-2022-30190"
    strings:
        $open = /location(\.href)?\s{0,4}=\s{0,4}["'`]ms-msdt:/ nocase
        $argument = /IT_(BrowseForFile|RebrowseForFile|LaunchMethod)\s{0,4}=/ nocase
    condition:
        all of them
}
