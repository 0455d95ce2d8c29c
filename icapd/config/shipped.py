"""Where the files that come with icapd are: the policies, the starter rules, the block page."""

from __future__ import annotations

from pathlib import Path

import icapd


def shipped_conf() -> Path:
    """The shipped conf tree: inside the package when installed from a wheel, beside it in a source checkout."""
    package = Path(icapd.__file__).parent
    installed = package / "_conf"
    return installed if installed.is_dir() else package.parent / "conf"
