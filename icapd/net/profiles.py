"""What kinds of ICAP clients there are, and what each of them reads, sends and misunderstands: a table, no code path.

Everything here is what a client does by its source or as measured; docs/clients.md says it in full. What is the same
for all of them is not here: `Transfer-Encoding: chunked` in the ICAP head (Nextcloud), an empty X-Client-IP, a host
without its port and a second end behind an empty body change no framing and are taken from anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from icapd.config.schema import ProfileName
from icapd.policy.outcomes import Result

UserHeaders = tuple[tuple[bytes, bool | None], ...]
"""Names of headers, the first that is there counts; True is base64, False plain, None as `user_encoding` says."""

_USERNAME_FIRST: Final[UserHeaders] = ((b"x-client-username", None), (b"x-authenticated-user", None))
_LOCAL_FIRST: Final[UserHeaders] = ((b"x-authenticated-user", True), (b"x-client-username", False))
_PAGES_FOR_ALL: Final[Mapping[Result, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Profile:
    """The traits of one kind of client; the defaults are those of one that nothing is known of."""

    reads_folds: bool = False
    """A header may go on over further lines, as X-Violations-Found does by its definition."""
    drips: bool = False
    """A byte before the verdict does more good than harm when it stalls: a transfer may be cut in place of a page."""
    takes_preview: bool = True
    """OPTIONS may offer a preview."""
    follows_redirects: bool = True
    """A redirect is shown to somebody; False: it would be taken for clean, and becomes a block page."""
    notes_unjudged: bool = False
    """X-Infection-Found of Type=2 also where policy lets pass what could not be judged: it is no hit there."""
    user_headers: UserHeaders = _USERNAME_FIRST
    error_codes: Mapping[Result, str] = field(default_factory=lambda: _PAGES_FOR_ALL)
    """What is refused with ICAP 500 and this X-Error-Code, as a page would be read as an infection."""


PROFILES: Final[Mapping[ProfileName, Profile]] = MappingProxyType(
    {
        # Nobody knows what asks, so it may be an old Squid at a path of another product: it drips.
        "generic": Profile(drips=True),
        # Before 6.14 it stops reading at 64 KiB until something comes back (bug 5352).
        "squid": Profile(reads_folds=True, drips=True),
        # Shows our page as long as nothing of the download is out; it never stalls by itself.
        "nginx": Profile(),
        # lualib/lua_scanners/icap.lua: Type=2 becomes its symbol for a failed scan and is not cached as clean.
        "rspamd": Profile(follows_redirects=False, notes_unjudged=True),
        # lib/Scanner/ICAP.php: any 403 page is an infection, and a file gets deleted for that. ICAP 500 is an error,
        # and with one of three codes "cannot be scanned". Its own settings say what becomes of either.
        "nextcloud": Profile(
            follows_redirects=False,
            error_codes=MappingProxyType(
                {
                    Result.TOO_LARGE: "max_archive_layers_exceeded",
                    Result.LIMIT: "max_archive_layers_exceeded",
                    Result.UNSUPPORTED: "decode_error",
                    Result.ENCRYPTED: "password_protected",
                    Result.CORRUPT: "decode_error",
                    Result.OVERLOADED: "overloaded",
                    Result.TIMED_OUT: "timed_out",
                    Result.ENGINE_ABSENT: "engine_absent",
                    Result.ENGINE_FAILED: "engine_failed",
                }
            ),
        ),
        # lib/g3-icap-client: refuses folded headers; allows 204 only where it sends no preview; names the user twice,
        # as it is and as base64 of Local://NAME.
        "g3proxy": Profile(takes_preview=False, user_headers=_LOCAL_FIRST),
    }
)
