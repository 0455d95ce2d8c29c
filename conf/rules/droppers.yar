/*
    Commands and scripts that fetch a program and run it.

    Web pages are left out where a command line alone decides: documentation quotes such commands. An HTML
    application is no web page.

    Some patterns repeat a slash once or twice that stands there once: the search then begins at the rare name of
    the program, not at "/tra" or "/dec", which every page has.

    What is escaped without need keeps this file from being found by its own rules: it is downloaded, too.
*/

private rule web_page
{
    strings:
        $start = /(\xef\xbb\xbf)?\s{0,64}<(!doctype\s{1,8}html|html)/ nocase
        $application = /<hta\:application/ nocase
    condition:
        $start at 0 and not $application
}

/*
    Text with blocks of code between its paragraphs, also inside JSON: how to install a program is often one such
    command. A script could pose as this, so that only a rule of medium weight asks for it.

    A fence is looked for with the character behind it: three bytes are too few to begin a search with, and so is a
    blank before them. One that ends the file is read in the condition.
*/
private rule documentation
{
    strings:
        $fence = /(\n|\\n)[ \t]{0,8}```[\t\n\r -~]/
        $block = ".. code::"
        $block_named = ".. code-block::"
    condition:
        #fence > 1 or (#fence == 1 and uint32be(filesize - 4) == 0x0A606060) or any of ($block*)
}

rule PowerShell_Hidden_Download
{
    meta:
        description = "A command line starts PowerShell without a window to download or unpack something"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1059/001/"
    strings:
        $command = /powershell[^\r\n]{1,200}-w[a-z]{0,12}\s{1,4}(hidden|1)\s[^\r\n]{0,400}(downloadstring|downloadfile|downloaddata|invoke-webrequest|start-bitstransfer|frombase64string)/ nocase ascii wide
    condition:
        $command and not web_page
}

rule PowerShell_Encoded_Download
{
    meta:
        description = "PowerShell's encoded command holds a download, an injection or a second decoding"
        author = "icapd"
        severity = "critical"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1027/010/"
    strings:
        $command = /powershell(\.exe)?["']?\s[^\r\n]{0,200}[-\/]e(c|n|nc|nco[a-z]{0,11})?\s{1,4}["']?[A-Za-z0-9+\/]{100}/ nocase
        $download_string = "DownloadString" wide base64
        $download_file = "DownloadFile" wide base64
        $web_client = "Net.WebClient" wide base64
        $web_request = "Invoke-WebRequest" wide base64
        $from_base64 = "FromBase64String" wide base64
        $allocate = "VirtualAlloc" wide base64
    condition:
        $command and any of ($download*, $web*, $from*, $allocate) and not web_page
}

rule PowerShell_Encoded_Command
{
    meta:
        description = "PowerShell is given a long encoded command"
        author = "icapd"
        severity = "medium"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1027/010/"
    strings:
        $command = /powershell(\.exe)?["']?\s[^\r\n]{0,200}[-\/]e(c|n|nc|nco[a-z]{0,11})?\s{1,4}["']?[A-Za-z0-9+\/]{200}/ nocase ascii wide
    condition:
        $command and not web_page
}

rule PowerShell_Download_And_Run
{
    meta:
        description = "A PowerShell script evaluates what it downloads"
        author = "icapd"
        severity = "medium"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1105/"
    strings:
        $run_download = /(iex|invoke-expression)[\s\(&]{1,8}[^\r\n]{0,100}downloadstring\s{0,4}\(/ nocase ascii wide
        $run_request = /(iex|invoke-expression)[\s\(&]{1,8}[^\r\n]{0,40}invoke-(webrequest|restmethod)\s[^\r\n]{0,100}h\w{3,4}:\/\// nocase ascii wide
        $pipe = /(invoke-webrequest\s|invoke-restmethod\s|downloadstring\s{0,4}\()[^\r\n]{1,400}\|\s{0,4}(iex|invoke-expression)/ nocase ascii wide
        $pipe_short = /(irm|iwr)\s{1,4}["']?h\w{3,4}:\/\/[^\r\n|]{1,300}\|\s{0,4}iex/ nocase ascii wide
    condition:
        any of them and not web_page and not documentation
}

rule PowerShell_Loads_Decoded_Assembly
{
    meta:
        description = "A script loads a .NET assembly out of base64 text and calls into it"
        author = "icapd"
        severity = "high"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1620/"
    strings:
        $load = /Reflection\.Assembly\]{1,2}::Load\s{0,4}\(/ nocase ascii wide
        $decode = "FromBase64String(" nocase ascii wide
        $call = ".Invoke(" nocase ascii wide
    condition:
        all of them and not web_page
}

rule Certutil_Download
{
    meta:
        description = "A command line downloads through certutil's URL cache"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1105/"
    strings:
        $command = /certutil(\.exe)?["']?\s[^\r\n]{0,60}[-\/]urlcache\s[^\r\n]{0,60}h\w{3,4}:\/\/[^\s"']{4,300}["']?\s{1,4}[^\s&|]{1,200}/ nocase ascii wide
    condition:
        $command and not web_page
}

rule Certutil_Decodes_Program
{
    meta:
        description = "A batch file carries a program as a certificate's text and decodes it"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1140/"
    strings:
        $program = /-----BEGIN CERTIFICATE-----\s{1,4}TV[opqr][A-Za-z0-9+\/]{40}/
        $decode = /certutil(\.exe)?["']?\s[^\r\n]{0,60}[-\/]{1,2}decode(hex)?\s/ nocase
    condition:
        all of them
}

rule Bitsadmin_Download
{
    meta:
        description = "A command line downloads a program or script through bitsadmin"
        author = "icapd"
        severity = "medium"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1197/"
    strings:
        $command = /bitsadmin(\.exe)?["']?\s[^\r\n]{0,60}\/{1,2}transfer\s[^\r\n]{1,200}h\w{3,4}:\/\/[^\s"']{1,300}\.(exe|dll|scr|bat|cmd|ps1|vbs|js|hta|msi)/ nocase ascii wide
    condition:
        $command and not web_page
}

rule Mshta_Remote_Script
{
    meta:
        description = "A command line has mshta run a script from an address or from the command itself"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1218/005/"
    strings:
        $command = /mshta(\.exe)?["']?\s{1,4}["']?(h\w{3,4}:\/\/|\w{2,4}script:)/ nocase ascii wide
    condition:
        $command and not web_page
}

rule Regsvr32_Remote_Scriptlet
{
    meta:
        description = "A command line has regsvr32 run a scriptlet from an address"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1218/010/"
    strings:
        $command = /regsvr32(\.exe)?["']?\s[^\r\n]{0,60}[-\/]i:["']?h\w{3,4}:\/\/[^\r\n]{1,300}scrobj/ nocase ascii wide
    condition:
        $command and not web_page
}

rule Rundll32_Script
{
    meta:
        description = "A command line has rundll32 run JavaScript"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1218/011/"
    strings:
        $command = /rundll32(\.exe)?["']?\s{1,4}["']?\w{2,4}script:/ nocase ascii wide
    condition:
        $command and not web_page
}

rule Script_Downloads_To_Disk
{
    meta:
        description = "A Windows script fetches a file over HTTP, saves it and has a shell to run it"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1059/005/"
    strings:
        $shell = "WScript.Shell" nocase ascii wide
        $shell_application = "Shell.Application" nocase ascii wide
        $http_msxml = "MSXML2.XMLHTTP" nocase ascii wide
        $http_server = "MSXML2.ServerXMLHTTP" nocase ascii wide
        $http_microsoft = "Microsoft.XMLHTTP" nocase ascii wide
        $http_winhttp = "WinHttp.WinHttpRequest" nocase ascii wide
        $stream = /ADODB\.Stream/ nocase ascii wide
        $save = ".SaveToFile" nocase ascii wide
    condition:
        any of ($shell*) and any of ($http*) and $stream and $save and not web_page
}

rule Script_Shell_Starts_Command
{
    meta:
        description = "A Windows script starts a command interpreter through WScript.Shell"
        author = "icapd"
        severity = "medium"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1059/007/"
    strings:
        $shell = /(CreateObject|ActiveXObject)\s{0,4}\(\s{0,4}["']WScript\.Shell["']/ nocase ascii wide
        $run = /\.(run|exec)[\s\(]{1,4}["'](%comspec%|cmd|powershell|mshta|wscript|cscript|rundll32)/ nocase ascii wide
    condition:
        all of them and not web_page
}

rule HTML_Application_Starts_Command
{
    meta:
        description = "An HTML application starts a command interpreter or fetches a file"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1218/005/"
    strings:
        $application = /<hta\:application/ nocase ascii wide
        $shell = "WScript.Shell" nocase ascii wide
        $shell_application = "Shell.Application" nocase ascii wide
        $command_powershell = "powershell" nocase ascii wide
        $command_cmd = /cmd(\.exe)?\s{1,4}\/c\s/ nocase ascii wide
        $command_certutil = "certutil" nocase ascii wide
        $command_bits = "bitsadmin" nocase ascii wide
    condition:
        $application and any of ($shell*) and any of ($command*)
}

rule Script_Switches_Protection_Off
{
    meta:
        description = "A script switches Microsoft Defender off or exempts a whole drive from it"
        author = "icapd"
        severity = "high"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1562/001/"
    strings:
        $off = /Set-MpPreference\s[^\r\n]{0,200}-Disable(RealtimeMonitoring|IOAVProtection|ScriptScanning)\s{1,4}(\$true|1)/ nocase ascii wide
        $exempt = /Add-MpPreference\s[^\r\n]{0,100}-ExclusionPath\s{1,4}["']?(c:\\?|\$env:systemdrive)["']?[\s;"']/ nocase ascii wide
    condition:
        any of them and not web_page
}

rule Deletes_Shadow_Copies
{
    meta:
        description = "A command line deletes every shadow copy without a question, as ransomware does"
        author = "icapd"
        severity = "high"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1490/"
    strings:
        $vssadmin = /vssadmin(\.exe)?["']?\s{1,4}delete\s{1,4}shadows\s{1,4}\/all\s{1,4}\/quiet/ nocase ascii wide
        $wmic = /wmic(\.exe)?["']?\s{1,4}shadowcopy\s{1,4}delete\s{1,4}\/nointeractive/ nocase ascii wide
    condition:
        any of them and not web_page
}
