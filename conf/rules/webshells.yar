/*
    Server pages that run what a visitor sends. Each needs its language's opening mark, which web pages about
    programming write as an entity.

    Alternatives like (\(|\s\() have the search begin at a word rarer than "(req".

    `<%` is read in conditions, after the patterns that are rare, and `<?=` takes the character behind it along:
    a pattern of less than four bytes makes the search slower for all rules.
*/

rule PHP_Evaluates_Request
{
    meta:
        description = "A PHP page evaluates what a visitor sends"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1505/003/"
    strings:
        $php = "<?php" nocase
        $php_echo = /<\?=[\t\n\r -~\x80-\xff]/
        $direct = /(eval|assert|create_function)\s{0,8}\(\s{0,8}@?((base64_decode|gzinflate|gzuncompress|str_rot13|stripslashes|urldecode)\s{0,4}\(\s{0,4}){0,3}\$_(GET|POST|REQUEST|COOKIE|SERVER)\s{0,4}\[/ nocase
        $callback = /(call_user_func|array_map|usort)\s{0,4}\(\s{0,4}\$_(GET|POST|REQUEST|COOKIE)\s{0,4}\[/ nocase
        $function = /\$_(GET|POST|REQUEST|COOKIE)\s{0,4}\[[^\]]{1,40}\]\s{0,4}\(\s{0,4}\$_(GET|POST|REQUEST|COOKIE)\s{0,4}\[/ nocase
    condition:
        any of ($php*) and any of ($direct, $callback, $function)
}

rule PHP_Runs_Request_As_Command
{
    meta:
        description = "A PHP page hands what a visitor sends to the shell"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1505/003/"
    strings:
        $php = "<?php" nocase
        $php_echo = /<\?=[\t\n\r -~\x80-\xff]/
        $command = /[^a-z0-9_](system|shell_exec|passthru|exec|popen|proc_open|pcntl_exec)\s{0,8}\(\s{0,8}@?((base64_decode|urldecode|trim)\s{0,4}\(\s{0,4})?["']?\$_(GET|POST|REQUEST|COOKIE|SERVER)\s{0,4}\[/ nocase
    condition:
        any of ($php*) and $command
}

rule PHP_Evaluates_Packed_Code
{
    meta:
        description = "A PHP page unpacks and evaluates code that it carries"
        author = "icapd"
        severity = "medium"
        kind = "suspicious"
        reference = "https://attack.mitre.org/techniques/T1027/013/"
    strings:
        $php = "<?php" nocase
        $php_echo = /<\?=[\t\n\r -~\x80-\xff]/
        $unpack = /eval\s{0,8}\(\s{0,8}["'?>.\s]{0,8}(gzinflate|gzuncompress|gzdecode|str_rot13)\s{0,4}\(\s{0,4}(base64_decode|str_rot13|strrev)\s{0,4}\(/ nocase
    condition:
        any of ($php*) and $unpack
}

rule JSP_Runs_Request_As_Command
{
    meta:
        description = "A JSP page runs what a visitor sends as a command"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1505/003/"
    strings:
        $direct = /getRuntime\s{0,4}\(\s{0,4}\)\s{0,4}\.\s{0,4}exec\s{0,4}\([^;]{0,80}request\s{0,4}\.\s{0,4}getParameter\s{0,4}\(/
        $builder = /new\s{1,4}ProcessBuilder\s{0,4}\([^;]{0,80}request\s{0,4}\.\s{0,4}getParameter\s{0,4}\(/
        $parameter = /request\s{0,4}\.\s{0,4}getParameter\s{0,4}\(\s{0,4}"(cmd|command|exec|shell)"/
        $runtime = /getRuntime\s{0,4}\(\s{0,4}\)\s{0,4}\.\s{0,4}exec\s{0,4}\(/
    condition:
        ($direct or $builder or ($parameter and $runtime))
        and for any start in (0..filesize) : (uint16be(start) == 0x3C25)
}

rule JSP_Loads_Request_As_Class
{
    meta:
        description = "A JSP page decrypts what a visitor sends and loads it as a class"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1505/003/"
    strings:
        $loader = /extends\s{1,4}ClassLoader/
        $define = "defineClass("
        $reader = /request\s{0,4}\.\s{0,4}(getReader|getInputStream|getParameter)\s{0,4}\(/
        $instance = "newInstance("
    condition:
        all of them
        and for any start in (0..filesize) : (uint16be(start) == 0x3C25)
}

rule ASP_Evaluates_Request
{
    meta:
        description = "An ASP page evaluates what a visitor sends"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1505/003/"
    strings:
        // A script element, in a way that has the search begin at "runat" and not at every script of every page.
        $language = /<[a-z]{6}\s[^>]{0,80}runat\s{0,4}=\s{0,4}["']?server/ nocase
        $eval_call = /[^a-z.]eval(\(|\s\()request[\.\[\(]/ nocase
        $eval_statement = /<%\s{0,4}eval\s{1,4}request[\.\[\(]/ nocase
        $eval_decoded = /[^a-z.]eval\s?\(system\.text\.encoding\.[^;]{0,100}request[\.\[\(]/ nocase
        $execute_call = /[^a-z.]execute(global)?(\(|\s\()request[\.\[\(]/ nocase
        $execute_statement = /<%\s{0,4}execute(global)?\s{1,4}request[\.\[\(]/ nocase
    condition:
        any of ($eval*, $execute*) and ($language or for any start in (0..filesize) : (uint16be(start) == 0x3C25))
}

rule ASPX_Runs_Request_As_Command
{
    meta:
        description = "An ASP.NET page starts the command interpreter with what a visitor sends"
        author = "icapd"
        severity = "high"
        kind = "malware"
        reference = "https://attack.mitre.org/techniques/T1505/003/"
    strings:
        $page = /<%@\s{0,8}(page|webhandler)\s/ nocase
        $start = /(ProcessStartInfo|Process\.Start\s{0,4}\()/
        $interpreter = /(cmd|powershell)(\.exe)?"/ nocase
        $request = /Request(\.(Item|Form|QueryString|Params))?\s{0,4}\[/ nocase
        $input = /<asp:textbox\s/ nocase
        $read = /StandardOutput\s{0,4}\.\s{0,4}ReadToEnd/
    condition:
        $page and $start and $interpreter and ($request or ($input and $read))
}
