"""The command line: `icapd serve | config | send | scan`.

main        parses, loads the command's module, turns its errors into messages and exit statuses
arguments   what each command takes, and its examples; light, as every start reads it
serve       the server                        config   checks and shows the configuration
policy      which rule answers
send        one file to a server, over a real connection: reply (pure), exchange (sockets)
scan        files without a server: files (what is read), offline (the scanners)
"""

from icapd.cli.main import main

__all__ = ["main"]
