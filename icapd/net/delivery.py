"""How a body goes back while it is judged: not at all, all but its end, a little at times, or without being judged.

| mode | before the verdict | a hit |
|---|---|---|
| hold | nothing; a byte where the client would hang (the drip) | the page; behind a drip the transfer breaks |
| trickle | after a while the head and a few bytes at intervals | the page; behind the head the transfer breaks |
| stream | everything but the last bytes | the transfer breaks, and its end never comes |
| skip | everything: nobody looks at it | what policy says of NOT_SCANNED |

Whatever goes early, `hold_back_bytes` at the end never do, but for the few of a drip, and the last byte never does:
no body arrives whole before its verdict.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from icapd.config.schema import Delivery, Service
from icapd.net.echo import Echo
from icapd.net.record import Claims
from icapd.net.stall import Stall
from icapd.observe.metrics import Counters
from icapd.policy.modes import Mode, compile_modes
from icapd.policy.names import Names
from icapd.policy.rules import CompiledRule, Match
from icapd.reactor import DelayedCall, Reactor
from icapd.scan.spool import Body

_BYTES_A_DRIP: Final = 1024 * 1024
"""A body may have one more drip for each of these: Squid 5.7 was seen to stall after every three."""


@dataclass(frozen=True, slots=True)
class DeliveryPlan:
    """How one service gives bodies back. `from_bytes`: below it nothing of a body can go early."""

    settings: Delivery
    mode: Mode
    rules: tuple[tuple[CompiledRule, Mode], ...]
    stream_types: Names
    drips: bool
    is_auto: bool
    """Whether `auto` means more than `hold` here: the client's profile says that it takes bodies that come slowly."""
    from_bytes: int

    @property
    def may_skip(self) -> bool:
        """Whether the mode must be known with the heads."""
        return self.mode is Mode.SKIP or bool(self.rules)

    def choose(self, claims: Claims) -> Mode:
        """The mode of one message; requests are held, as their end decides what is sent at all."""
        mode = self.mode
        for rule, then in self.rules:
            if rule.early(claims.facts) is Match.YES:
                mode = then
                break
        if not claims.is_response and mode is not Mode.SKIP:
            return Mode.HOLD
        if mode is not Mode.AUTO:
            return mode
        if self.is_auto and claims.facts.size_bytes is None and claims.inner.media_type in self.stream_types:
            return Mode.STREAM
        return Mode.AUTO if self.is_auto else Mode.HOLD


def plan_delivery(service: Service, settings: Delivery, *, drips: bool, may_begin: bool) -> DeliveryPlan:
    """The plan of a service. Args: `may_begin` is False where no head may go before the verdict."""
    mode = Mode(service.delivery or settings.mode)
    rules = compile_modes(settings)
    from_bytes = settings.stall_after_bytes
    if mode is Mode.TRICKLE or rules:
        from_bytes = 0
    elif mode is Mode.STREAM:  # what is held back may be more than what Squid stalls after
        from_bytes = min(from_bytes, settings.hold_back_bytes)
    return DeliveryPlan(
        settings=settings,
        mode=mode,
        rules=rules,
        stream_types=Names(settings.stream_types),
        drips=drips,
        is_auto=service.profile == "squid",
        from_bytes=from_bytes if may_begin else sys.maxsize,
    )


class Early:
    """What goes back of one body before its verdict.

    State: `_echo` once the answer has begun; `_body` as far as it has come; the clocks that are running.
    """

    def __init__(
        self, plan: DeliveryPlan, mode: Mode, reactor: Reactor, counters: Counters, begin: Callable[[], Echo | None]
    ) -> None:
        settings = plan.settings
        self._settings = settings
        self._mode = mode
        self._reactor = reactor
        self._counters = counters
        self._begin = begin
        self._body: Body | None = None
        self._echo: Echo | None = None
        self._is_over = False
        self._timer: DelayedCall | None = None
        self._stall: Stall | None = None
        if plan.drips:
            self._stall = Stall(reactor, settings.stall_s, settings.drip_bytes, self._drip)
        self._trickle_from_bytes = {Mode.TRICKLE: 0, Mode.AUTO: settings.trickle_over_bytes}.get(mode, sys.maxsize)

    def on_body(self, body: Body) -> None:
        """More of the body is there."""
        self._body = body
        if self._mode is Mode.STREAM:
            self._grant(body.size_bytes - self._settings.hold_back_bytes)
        elif self._timer is None and body.size_bytes >= self._trickle_from_bytes:
            self._timer = self._reactor.callLater(self._settings.trickle_after_s, self._trickle)
        if self._stall is not None and body.size_bytes >= self._settings.stall_after_bytes:
            self._stall.restart(more=body.size_bytes // _BYTES_A_DRIP)

    def on_whole(self) -> None:
        """All of the body is there: nobody stalls any more. A trickle goes on while it is judged."""
        if self._stall is not None:
            self._stall.end()

    def end(self) -> None:
        """Nothing more goes early."""
        self._is_over = True
        self.on_whole()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _grant(self, first_bytes: int) -> None:
        if first_bytes <= 0:
            return
        self._echo = self._echo or self._begin()
        if self._echo is not None:
            self._echo.grant(first_bytes)

    def _drip(self) -> bool:
        """The client stopped in mid-body: one byte back wakes Squid before 6.14 (its bug 5352)."""
        self._echo = self._echo or self._begin()
        if self._echo is None or not self._echo.drip():
            return False
        self._counters.add("icapd_drips_total")
        return True

    def _trickle(self) -> None:
        """The client has waited long: the head, or a few more bytes."""
        settings, body = self._settings, self._body
        if self._is_over or body is None:
            return
        self._timer = self._reactor.callLater(settings.trickle_interval_s, self._trickle)
        self._echo = self._echo or self._begin()
        if self._echo is not None:
            most = body.size_bytes - settings.hold_back_bytes
            self._echo.grant(min(self._echo.sent_bytes + settings.trickle_bytes, most))
