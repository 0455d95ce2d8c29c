/*
    Pages that carry a program or an archive inside themselves and hand it to the browser as a download.
    What a page carries decides: building a download out of data is ordinary work for a web application.
    Where a name is cut (createObjectURL), the search begins at its rare part.
*/

private rule builds_a_download
{
    strings:
        $page = "<script" nocase
        $blob = /new\s{1,4}(window\.)?(Blob|File)\s{0,4}\(/
        $decode = "atob("
        $bytes = "Uint8Array("
        $save_ie = "msSaveOrOpenBlob"
        $save_url = "eObjectURL"
    condition:
        $page and $blob and ($decode or $bytes) and any of ($save*)
}

rule HTML_Smuggles_Program
{
    meta:
        description = "A page builds a Windows program out of its own script and saves it as a download"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1027/006/"
    strings:
        $program = /["'`]TV[opqr][A-Za-z0-9+\/]{200}/
    condition:
        builds_a_download and $program
}

rule HTML_Smuggles_Archive
{
    meta:
        description = "A page builds an archive or disk image out of its own script and saves it as a download"
        author = "icapd"
        severity = "medium"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1027/006/"
    strings:
        $zip = /["'`]UEsDB[A-Za-z0-9+\/]{200}/
        $rar = /["'`]UmFyIRo[A-Za-z0-9+\/]{200}/
        $seven_zip = /["'`]N3q8ry[A-Za-z0-9+\/]{200}/
    condition:
        builds_a_download and any of them
}

rule HTML_Links_To_Embedded_Program
{
    meta:
        description = "A page holds a Windows program in a data address that the browser saves"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1027/006/"
    strings:
        $link = /["'=]\s{0,4}data:[a-z0-9.+\/-]{0,80};base64,TV[opqr][A-Za-z0-9+\/]{200}/ nocase
        $save = "download" fullword nocase
    condition:
        all of them
}

rule SVG_Smuggles_Download
{
    meta:
        description = "A picture in SVG holds a script that decodes data and saves it or opens an address"
        author = "icapd"
        severity = "high"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1027/017/"
    strings:
        $picture = /(\xef\xbb\xbf)?\s{0,64}(<\?xml[^>]{0,200}>\s{0,64})?(<!--[^>]{0,400}-->\s{0,64})?(<!doctype[^>]{0,300}>\s{0,64})?<svg[\s>]/ nocase
        $script = "<script" nocase
        $decode = "atob("
        $save_url = "eObjectURL"
        $save_location = /(window|document|top|parent)\.location(\.href)?\s{0,4}=[^=]/
    condition:
        $picture at 0 and $script and $decode and any of ($save*)
}
