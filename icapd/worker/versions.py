"""What answers where remote engines ask: the supervisor has the servers probed, and tells all fronts the same.

So all fronts change their ISTag and their ruleset ids at the same time, and two that see a server at different
moments never alternate. A server that is gone keeps its last version: what it said of bodies is as true as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from icapd.observe.log import EventLog, EventName
from icapd.observe.metrics import Labels
from icapd.plugins import EngineSnapshot, build_remote_engines
from icapd.reactor import DelayedCall, Reactor
from icapd.scan.engine_api import RemoteEngine, RemoteOptions
from icapd.scan.remote import probe


class _Probed:
    """One engine's server, probed again and again. State: `is_up` as of the last probe; None before the first."""

    def __init__(
        self,
        engine: RemoteEngine,
        options: RemoteOptions,
        reactor: Reactor,
        log: EventLog,
        on_version: Callable[[str, str], None],
    ) -> None:
        self.name = engine.name
        self.is_up: bool | None = None
        self._engine = engine
        self._options = options
        self._reactor = reactor
        self._log = log
        self._on_version = on_version
        self._next: DelayedCall | None = None
        self._is_stopped = False
        engine.start(reactor)

    def probe(self) -> Deferred[None]:
        """Probes now, and from then on. Returns: the end of this one; never fails."""
        self._next = None
        probing = Deferred.fromCoroutine(probe(self._engine, self._options, self._reactor))
        return probing.addCallbacks(self._on_answer, self._on_silence)

    def stop(self) -> None:
        self._is_stopped = True
        if self._next is not None:
            self._next.cancel()
        self._engine.stop()

    def _on_answer(self, version: str) -> None:
        self._note(True, version)
        if not self._is_stopped:
            self._on_version(self.name, version)
            self._next = self._reactor.callLater(self._options.probe_s, self.probe)

    def _on_silence(self, failure: Failure) -> None:
        self._note(False, failure.getErrorMessage())
        if not self._is_stopped:
            self._next = self._reactor.callLater(self._options.retry_s, self.probe)

    def _note(self, is_up: bool, detail: str) -> None:
        if is_up is not self.is_up and not self._is_stopped:
            state = "answers" if is_up else "does not answer"
            self._log.event(EventName.REMOTE_ENGINE_STATE, engine=self.name, state=state, detail=detail)
        self.is_up = is_up


class VersionWatch:
    """State: `versions`, by engine, of each that has answered once; `_probed`, those that are watched now."""

    def __init__(self, reactor: Reactor, log: EventLog, on_change: Callable[[Mapping[str, str]], None]) -> None:
        self._reactor = reactor
        self._log = log
        self._on_change = on_change
        self._remote: Sequence[EngineSnapshot] = ()
        self._probed: list[_Probed] = []
        self.versions: dict[str, str] = {}

    def follow(self, remote: Sequence[EngineSnapshot]) -> Deferred[None]:
        """Watches these engines. Returns: when each of them was probed once."""
        if remote != self._remote:
            self.stop()
            self._remote = remote
            self._probed = [
                _Probed(engine, options, self._reactor, self._log, self._take)
                for engine, options in build_remote_engines(remote)
            ]
        first = [probed.probe() for probed in self._probed if probed.is_up is None]
        return DeferredList(first).addCallback(lambda _: None)

    def stop(self) -> None:
        while self._probed:
            self._probed.pop().stop()

    def gauges(self) -> list[tuple[Labels, float]]:
        return [((probed.name,), float(bool(probed.is_up))) for probed in self._probed]

    def _take(self, name: str, version: str) -> None:
        if self.versions.get(name) != version:
            self.versions = {**self.versions, name: version}
            self._log.event(EventName.REMOTE_ENGINE_VERSION, engine=name, version=version)
            self._on_change(self.versions)
