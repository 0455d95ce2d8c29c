"""The services clients ask for: path to policy, engines, limits and constant replies. Made once; swapped whole."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from msgspec import structs

from icapd.config.schema import Client, Service, Settings
from icapd.icap import Reply
from icapd.net.accounts import Naming
from icapd.net.answers import options_fields
from icapd.net.delivery import DeliveryPlan, plan_delivery
from icapd.net.link import LOCAL
from icapd.net.profiles import PROFILES, Profile
from icapd.policy.decide import Decides, Policy
from icapd.policy.facts import Action, Decision, Facts
from icapd.scan.engine_api import UrlEngine
from icapd.scan.model import Verdict
from icapd.scan.pipeline import Judging
from icapd.scan.ruleset import with_versions

_OTHERS = -1
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """One service, ready to serve, for the clients of one row of [[client]] or, as `client` -1, for all others.

    `unscanned` is its one answer where it does not scan, if there is one.

    One whose rules edit the heads of responses does not drip: a head that is out cannot be edited any more.
    """

    name: str
    methods: frozenset[str]
    scans: bool
    policy: Decides
    unscanned: Decision | None
    judging: Judging
    istag: bytes
    max_body_bytes: int
    drips: bool
    strips_range: bool
    profile: Profile
    naming: Naming
    delivery: DeliveryPlan
    url_engines: tuple[UrlEngine, ...]
    options: Reply
    client: int = _OTHERS


class ServiceTable:
    """Looks services up by path; aliases are further paths of the same entry."""

    def __init__(
        self,
        settings: Settings,
        policies: Mapping[str, Policy],
        ruleset: str,
        required: Mapping[str, bool],
        istag: bytes,
        remote: Mapping[str, str] = NOTHING,
        url_engines: Iterable[UrlEngine] = (),
    ) -> None:
        """Args: `remote` are the versions of the remote engines, by name."""
        self._by_client: dict[int, dict[str, ServiceEntry]] = {_OTHERS: {}}
        self._by_client |= {row: {} for row in range(len(settings.client))}
        self._by_path = self._by_client[_OTHERS]
        self.istag = istag
        self.judging = _judging(None, ruleset, required, remote)
        for service in settings.service:
            judging = _judging(service.engines, ruleset, required, remote)
            asked = tuple(
                each
                for each in url_engines
                if service.scan and (service.engines is None or each.name in service.engines)
            )
            for row, entries in self._by_client.items():
                kind = service if row == _OTHERS else _asked_by(settings.client[row], service)
                entry = _entry(kind, settings, policies, judging, istag, asked, row)
                entries |= dict.fromkeys((service.path, *service.aliases), entry)
        self._networks = [
            (ipaddress.ip_network(network, strict=False), row)
            for row, client in enumerate(settings.client)
            for network in client.networks
        ]
        self._row_of = lru_cache(maxsize=4096)(self._read_row)
        self.http: ServiceEntry | None = None
        """What the HTTP listener serves, where there is one."""
        if settings.http.listen:
            judging = _judging(settings.http.engines, ruleset, required, remote)
            self.http = _entry(settings.http.service, settings, policies, judging, istag, (), _OTHERS)

    @property
    def rulesets(self) -> frozenset[str]:
        """Under which ids any service asks for verdicts."""
        entries = [*self._by_path.values(), *([] if self.http is None else [self.http])]
        return frozenset(entry.judging.ruleset for entry in entries)

    def find(self, path: str, peer: str = LOCAL) -> ServiceEntry | None:
        """What this client gets under this path. Args: `peer` is the address it connects from."""
        if not self._networks or peer == LOCAL:
            return self._by_path.get(path)
        return self._by_client[self._row_of(peer)].get(path)

    def counterpart(self, entry: ServiceEntry) -> ServiceEntry | None:
        """The service of this name here; what kind of client asks is of no weight for what is judged."""
        return self._by_client.get(entry.client, self._by_path).get(entry.name)

    def _read_row(self, peer: str) -> int:
        address = ipaddress.ip_address(peer.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return next((row for network, row in self._networks if (mapped or address) in network), _OTHERS)


def _asked_by(client: Client, service: Service) -> Service:
    encoding = client.user_encoding or service.user_encoding
    return service.model_copy(update={"profile": client.profile, "user_encoding": encoding})


def _drips(service: Service, settings: Settings) -> bool:
    if service.drip_on_stall is not None:
        return service.drip_on_stall
    return settings.delivery.drip_on_stall and PROFILES[service.profile].drips


def _strips_range(service: Service, settings: Settings) -> bool:
    if service.strip_range is not None:
        return service.strip_range
    return (service.policy or settings.server.policy) == "strict"


def _entry(
    service: Service,
    settings: Settings,
    policies: Mapping[str, Policy],
    judging: Judging,
    istag: bytes,
    url_engines: tuple[UrlEngine, ...],
    client: int,
) -> ServiceEntry:
    profile = PROFILES[service.profile]
    body_bytes = settings.limits.body_bytes
    policy = policies[service.policy or settings.server.policy]
    drips = _drips(service, settings)
    preview_bytes = service.preview_bytes if profile.takes_preview else None
    fields = options_fields(
        tuple(service.methods), preview_bytes, service.options_ttl_s, settings.server.max_connections
    )
    encoding = service.user_encoding or settings.server.user_encoding
    may_begin = "RESPMOD" in service.methods and not policy.edits_responses
    return ServiceEntry(
        name=service.path,
        methods=frozenset(service.methods),
        scans=service.scan,
        policy=policy,
        unscanned=None if service.scan else _constant(policy),
        judging=judging,
        istag=istag,
        max_body_bytes=min(body_bytes, service.max_body_bytes or body_bytes),
        drips=drips and may_begin,
        strips_range=service.scan and _strips_range(service, settings),
        profile=profile,
        naming=Naming(profile.user_headers, encoding == "base64"),
        delivery=plan_delivery(service, settings.delivery, drips=drips and may_begin, may_begin=may_begin),
        url_engines=url_engines,
        options=Reply(200, istag, fields),
        client=client,
    )


_DOES_NOT_SCAN = Decision(Action.ALLOW, "service-does-not-scan")


def unscanned(policy: Decides, facts: Facts) -> Decision:
    """What is done with a message on a service that does not scan. Nothing is kept, so no head can be edited."""
    return _plain(policy.decide(facts))


def _constant(policy: Policy) -> Decision | None:
    """The same, where it is the same for every message."""
    decision = policy.constant(Verdict.NOT_SCANNED)
    return None if decision is None else _plain(decision)


def _plain(decision: Decision) -> Decision:
    return _DOES_NOT_SCAN if decision.action is Action.ALLOW else structs.replace(decision, edits=None)


def _judging(
    engines: Sequence[str] | None, ruleset: str, required: Mapping[str, bool], remote: Mapping[str, str]
) -> Judging:
    """A service with fewer engines judges by another ruleset, so that it never takes a fuller one's verdicts.

    What remote engines it asks, and in which versions, is part of that as well.
    """
    needed = frozenset(name for name, is_required in required.items() if is_required)
    if engines is None:
        return Judging(with_versions(ruleset, remote), None, needed, tuple(sorted(remote)))
    chosen = tuple(sorted(engines))
    versions = {name: version for name, version in remote.items() if name in chosen}
    digest = hashlib.blake2b("\n".join((ruleset, *chosen)).encode(), digest_size=14).hexdigest()
    return Judging(with_versions(digest, versions), chosen, needed & frozenset(chosen), tuple(sorted(versions)))
