/*
    PDF files that act. Readers accept a header anywhere in the first kilobyte, so these rules do too.

    What runs on opening, and whether it is more than a form's own arithmetic, is the PDF engine's to say: it reads
    the scripts, which a pattern cannot.
*/

private rule pdf_file
{
    strings:
        $header = "%PDF-"
    condition:
        $header in (0..1024)
}

rule PDF_Launches_Command
{
    meta:
        description = "A PDF file launches a command interpreter or a program"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1204/002/"
    strings:
        $launch = /\/S\s{0,4}\/Launch[\s\/>][^%]{0,300}(cmd(\.exe)?[\s\)\/]|powershell|mshta|wscript|cscript|rundll32|\.exe\s{0,4}\))/ nocase
        $windows = /\/Win\s{0,4}<<[^>]{0,300}\/F\s{0,4}\([^)]{0,200}(cmd(\.exe)?\)|powershell|mshta|wscript|cscript|rundll32|\.exe\s{0,4}\))/ nocase
    condition:
        pdf_file and any of them
}

rule PDF_Attaches_Program
{
    meta:
        description = "A PDF file carries a program, script or macro document as an attachment"
        author = "icapd"
        severity = "high"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1566/001/"
    strings:
        $attachment = "/EmbeddedFile"
        $name = /\/U?F\s{0,4}\([^()\/\r\n]{1,120}\.(exe|scr|pif|jse|vbs|vbe|wsf|hta|bat|cmd|ps1|lnk|jar|iso|img|docm|xlsm|settingcontent-ms)\)/ nocase
    condition:
        pdf_file and all of them
}

rule PDF_Opens_Attachment
{
    meta:
        description = "A PDF file's script saves and opens an attachment"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1204/002/"
    strings:
        $call = /exportDataObject\s{0,4}\(?\\?\([^)]{0,200}nLaunch\s{0,4}:\s{0,4}[12]/
    condition:
        pdf_file and $call
}
