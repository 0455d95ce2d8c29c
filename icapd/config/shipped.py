"""Where the files that come with icapd are: the policies, the starter rules, the block page."""

from __future__ import annotations

from pathlib import Path

import icapd


def shipped_conf() -> Path:
    """The shipped conf tree: inside the package when installed from a wheel, beside it in a source checkout."""
    package = Path(icapd.__file__).parent
    installed = package / "_conf"
    return installed if installed.is_dir() else package.parent / "conf"


def resolve(base: Path, text: str) -> Path:
    """The file that a configured path means.

    Relative paths start at `base`, the configuration file's folder. What is not there and begins with conf/ is the
    shipped file, so that the defaults work wherever the configuration lies.
    """
    path = base / text
    if not Path(text).is_absolute() and text.startswith("conf/") and not path.exists():
        return shipped_conf() / text.removeprefix("conf/")
    return path
