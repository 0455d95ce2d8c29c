"""`icapd serve`: the server in the foreground."""

from __future__ import annotations

import argparse
import json

from icapd.cli.config import load_configuration
from icapd.service import serve
from icapd.worker.plan import Origin


def run(options: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT. Raises: ConfigurationError."""
    flags = {}
    if options.listen:
        flags["server.listen"] = json.dumps(options.listen)  # an array in TOML, too
    if options.admin:
        flags["server.admin"] = options.admin
    path = None if options.config is None else str(options.config)
    return serve(load_configuration(options, flags), Origin(path, {**dict(options.set), **flags}))
