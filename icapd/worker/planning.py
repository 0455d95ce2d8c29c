"""From a loaded configuration and its rules to what every front is told. The same input gives the same plan."""

from __future__ import annotations

import os

import msgspec
from msgspec import structs

from icapd.cache.secret import load_secret, read_secret
from icapd.config.http_files import read_http_files
from icapd.config.load import Loaded
from icapd.config.schema import Cache, Settings
from icapd.errors import ConfigurationError, Problem
from icapd.plugins import RulesetSnapshot, encode_snapshot, gather_snapshot
from icapd.policy.override import derived_key
from icapd.scan.ruleset import istag
from icapd.worker.plan import Plan, ShadowPlan

_SCANNERS_A_FRONT_MIN = 2


def make_plan(loaded: Loaded, snapshot: RulesetSnapshot) -> Plan:
    """What every front is told."""
    settings = loaded.settings
    spool = settings.spool.model_copy(update={"directory": str(loaded.resolve(settings.spool.directory))})
    disk = settings.cache.disk
    if disk.directory is not None:
        disk = disk.model_copy(update={"directory": str(loaded.resolve(disk.directory))})
    cache = settings.cache.model_copy(update={"disk": disk})
    return Plan(
        settings=settings.model_copy(update={"spool": spool, "cache": cache}).model_dump_json().encode(),
        ruleset=snapshot.ruleset,
        istag=istag(snapshot.ruleset, snapshot.url_ruleset.encode() + _judgement(loaded)),
        required={engine.name: settings.engines[engine.name].required for engine in snapshot.engines},
        pages={name or "": page.source for name, page in loaded.pages.items()},
        languages={tag: dict(texts) for tag, texts in loaded.languages.items()},
        secret=load_secret(settings.cache, loaded.resolve),
        remote=snapshot.remote,
        override_key=_override_key(loaded),
        http=read_http_files(settings.http, loaded.resolve),
        shadow=None if loaded.shadow is None else _shadow_plan(loaded.shadow, snapshot),
    )


def _shadow_plan(tried: Loaded, in_force: RulesetSnapshot) -> ShadowPlan:
    """Raises: ConfigurationError with what is wrong with its rules."""
    try:
        snapshot = gather_snapshot(tried.settings.engines, tried.resolve)
    except ConfigurationError as error:
        problems = [Problem(f"shadow.config: {problem.where}", problem.what) for problem in error.problems]
        raise ConfigurationError(problems) from error
    return ShadowPlan(
        identity=istag(snapshot.ruleset, _judgement(tried)),
        settings=tried.settings.model_dump_json().encode(),
        ruleset=snapshot.ruleset,
        required={engine.name: tried.settings.engines[engine.name].required for engine in snapshot.engines},
        remote=tuple(engine.name for engine in snapshot.remote),
        snapshot=b""
        if snapshot.ruleset == in_force.ruleset
        else encode_snapshot(structs.replace(snapshot, url_engines=())),
    )


def _override_key(loaded: Loaded) -> bytes:
    name = loaded.settings.pages.override_secret_file
    return b"" if name is None else derived_key(read_secret("pages.override_secret_file", loaded.resolve(name)))


def _judgement(loaded: Loaded) -> bytes:
    """What decides on an answer besides the ruleset: what each service does with a body, and by which policy.

    One ISTag stands for all services. In what order the file has them is no matter.
    """
    body_bytes, delivery = loaded.settings.limits.body_bytes, loaded.settings.delivery
    modes = [rule.model_dump() for rule in delivery.rule]
    services = sorted(
        (
            service.path,
            sorted(service.aliases),
            sorted(service.methods),
            loaded.policy_of(service).digest,
            service.scan,
            "all" if service.engines is None else sorted(service.engines),
            min(body_bytes, service.max_body_bytes or body_bytes),
            service.delivery or delivery.mode,
        )
        for service in loaded.settings.service
    )
    return msgspec.msgpack.encode((services, body_bytes, modes))


def process_counts(settings: Settings) -> tuple[int, int]:
    """Fronts, and scanners of each front."""
    cores = len(os.sched_getaffinity(0))
    fronts = max(min(2, cores), cores // 4) if settings.server.fronts == "auto" else settings.server.fronts
    if settings.scanners.count == "auto":
        return fronts, max(_SCANNERS_A_FRONT_MIN, cores // fronts)
    return fronts, max(1, -(-settings.scanners.count // fronts))


def is_same_store(old: Cache, new: Cache) -> bool:
    """Whether what was remembered with one can be used with the other: they differ in lifetimes at the most."""
    return _without_lifetimes(old) == _without_lifetimes(new)


def _without_lifetimes(cache: Cache) -> Cache:
    return cache.model_copy(update={name: 0 for name in type(cache).model_fields if name.startswith("ttl_")})
