"""What takes more than one key to judge: keys against each other, and against the files and folders they name."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Set
from pathlib import Path

from icapd.config.address import parse_admin, parse_http, parse_listen
from icapd.config.http_files import wrong_http
from icapd.config.keys import did_you_mean
from icapd.config.schema import INERT_ALONE, Service, Settings
from icapd.config.shipped import resolve
from icapd.errors import Problem
from icapd.scan.engine_api import ALWAYS_ASKED, EngineOptions, open_regular

SECRET_BYTES = 32


def _addresses(settings: Settings, base: Path) -> Iterator[Problem]:
    seen = {str(parse_admin(settings.server.admin)): "server.admin"}
    for index, text in enumerate(settings.server.listen):
        endpoint, where = parse_listen(text), f"server.listen[{index}]"
        if str(endpoint) in seen and (endpoint.is_unix or endpoint.port):
            yield Problem(where, f"{endpoint} is taken by {seen[str(endpoint)]} already")
        seen.setdefault(str(endpoint), where)
    for index, text in enumerate(settings.http.listen):
        endpoint, where = parse_http(text)[0], f"http.listen[{index}]"
        if str(endpoint) in seen and endpoint.port:
            yield Problem(where, f"{endpoint} is taken by {seen[str(endpoint)]} already")
        seen.setdefault(str(endpoint), where)


def _services(settings: Settings, base: Path) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for index, service in enumerate(settings.service):
        names = [("path", service.path), *((f"aliases[{i}]", alias) for i, alias in enumerate(service.aliases))]
        for key, path in names:
            where = f"service[{index}].{key}"
            if path in seen:
                yield Problem(where, f"{path} is taken by {seen[path]} already")
            seen.setdefault(path, where)
        yield from _service_sizes(f"service[{index}]", service, settings.limits.body_bytes)


def _service_sizes(where: str, service: Service, body_bytes: int) -> Iterator[Problem]:
    if service.max_body_bytes is not None and service.max_body_bytes > body_bytes:
        yield Problem(f"{where}.max_body_bytes", f"{service.max_body_bytes} is past limits.body_bytes, {body_bytes}")
    ceiling_bytes = service.max_body_bytes or body_bytes
    if service.preview_bytes is not None and service.preview_bytes > ceiling_bytes:
        yield Problem(
            f"{where}.preview_bytes", f"{service.preview_bytes} is more than a whole body may have, {ceiling_bytes}"
        )


def _engines(settings: Settings, base: Path) -> Iterator[Problem]:
    engines: dict[str, EngineOptions] = settings.engines
    enabled = {name for name, options in engines.items() if options.enabled}
    if engines and not enabled and any(service.scan for service in settings.service):
        yield Problem(
            "engines", "all are switched off, so nothing would be scanned; say so with scan = false in services"
        )
    services = [(f"service[{index}].engines", service) for index, service in enumerate(settings.service)]
    for where, service in (*services, ("http.engines", settings.http.service)):
        if service.engines == [] and service.scan:
            what = "say so with scan = false" if service in settings.service else "name one, or leave it out"
            yield Problem(where, f"is empty, so nothing would be scanned; {what}")
        for name in service.engines or []:
            if name not in engines:
                yield Problem(where, f'no engine "{name}" is installed' + did_you_mean(name, engines))
            elif name not in enabled:
                yield Problem(where, f'"{name}" is switched off by engines.{name}.enabled')


def _selection(settings: Settings, base: Path) -> Iterator[Problem]:
    seen: set[int] = set()
    for index, row in enumerate(settings.selection):
        where = f"selection[{index}]"
        if row.max_risk in seen:
            yield Problem(f"{where}.max_risk", f"another row has {row.max_risk}, too")
        seen.add(row.max_risk)
        for name in row.skips:
            if name in ALWAYS_ASKED:
                yield Problem(f"{where}.skips", f'"{name}" sees every sample')
            elif row != INERT_ALONE and name not in settings.engines:
                yield Problem(
                    f"{where}.skips", f'no engine "{name}" is installed' + did_you_mean(name, settings.engines)
                )


def _scanner_memory(settings: Settings, base: Path) -> Iterator[Problem]:
    archive = settings.engines.get("archive")
    unpacked_bytes = getattr(archive, "max_unpacked_bytes", 0)
    if archive is not None and archive.enabled and settings.scanners.memory_bytes < unpacked_bytes:
        yield Problem(
            "scanners.memory_bytes",
            f"{settings.scanners.memory_bytes} is less than engines.archive.max_unpacked_bytes, {unpacked_bytes}, "
            "which a scanner must hold",
        )


def _rule_services(settings: Settings, base: Path) -> Iterator[Problem]:
    paths = {service.path for service in settings.service}
    aliases = {alias: service.path for service in settings.service for alias in service.aliases}
    whens = [(f"policy[{index}]", rule.when) for index, rule in enumerate(settings.policy)]
    whens += [(f"delivery.rule[{index}]", rule.when) for index, rule in enumerate(settings.delivery.rule)]
    for rule_key, when in whens:
        named = when.service or []
        for path in [named] if isinstance(named, str) else named:
            where = f"{rule_key}.when.service"
            if path in aliases:
                yield Problem(where, f"{path} is an alias; name the service by its path, {aliases[path]}")
            elif path not in paths:
                yield Problem(where, f"there is no service {path}" + did_you_mean(path, paths))


def _spool(settings: Settings, base: Path) -> Iterator[Problem]:
    spool = settings.spool
    if spool.total_memory_bytes < spool.memory_bytes:
        yield Problem(
            "spool.total_memory_bytes", f"{spool.total_memory_bytes} is less than memory_bytes of a single body"
        )
    directory = resolve(base, spool.directory)
    try:
        # Made for real: permission bits do not tell of read-only mounts, quotas and sandboxes.
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        yield Problem("spool.directory", f"cannot make a file in {directory}: {error.strerror}")


def _secret(settings: Settings, base: Path) -> Iterator[Problem]:
    if settings.cache.secret_file is None:
        if settings.cache.memcached.servers:
            yield Problem(
                "cache.memcached.servers", "needs cache.secret_file: records in a shared store must be signed"
            )
        return
    yield from _secret_file("cache.secret_file", resolve(base, settings.cache.secret_file))


def _overrides(settings: Settings, base: Path) -> Iterator[Problem]:
    if settings.pages.override_secret_file is not None:
        yield from _secret_file("pages.override_secret_file", resolve(base, settings.pages.override_secret_file))
        return
    for index, rule in enumerate(settings.policy):
        if rule.override and rule.action == "block":
            yield Problem(f"policy[{index}].override", "needs pages.override_secret_file: links must be signed")


def _secret_file(key: str, path: Path) -> Iterator[Problem]:
    try:
        with open_regular(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            size_bytes = len(file.read(SECRET_BYTES))
    except OSError as error:
        yield Problem(key, f"cannot read {path}: {error.strerror}")
        return
    if size_bytes < SECRET_BYTES:
        yield Problem(key, f"{path} has {size_bytes} bytes; at least {SECRET_BYTES} are needed")
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        yield Problem(key, f"{path} is open to every user of this machine; use chmod 0640")


def _disk_cache(settings: Settings, base: Path) -> Iterator[Problem]:
    if settings.cache.disk.directory is None:
        return
    directory = resolve(base, settings.cache.disk.directory)
    # What is missing is made at the start; here nothing is, as who checks may be another user than who serves.
    nearest = next(path for path in (directory, *directory.parents) if os.path.exists(path))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        yield Problem("cache.disk.directory", f"cannot write to {nearest}")


def _http(settings: Settings, base: Path) -> Iterator[Problem]:
    yield from wrong_http(settings, lambda text: resolve(base, text))


def _access_log(settings: Settings, base: Path) -> Iterator[Problem]:
    if settings.log.access not in ("-", "off"):
        path = resolve(base, settings.log.access)
        if not path.parent.is_dir():
            yield Problem("log.access", f"the folder {path.parent} does not exist")
        elif path.is_dir():
            yield Problem("log.access", f"{path} is a folder")


_CHECKS: tuple[tuple[Callable[[Settings, Path], Iterator[Problem]], frozenset[str]], ...] = (
    (_addresses, frozenset({"server", "http"})),
    (_http, frozenset({"http", "limits"})),
    (_services, frozenset({"service", "limits"})),
    (_engines, frozenset({"service", "http", "engines"})),
    (_selection, frozenset({"selection", "engines"})),
    (_scanner_memory, frozenset({"scanners", "engines"})),
    (_rule_services, frozenset({"service", "policy", "delivery"})),
    (_spool, frozenset({"spool"})),
    (_secret, frozenset({"cache"})),
    (_overrides, frozenset({"pages", "policy"})),
    (_disk_cache, frozenset({"cache"})),
    (_access_log, frozenset({"log"})),
)
"""Each check with the sections it reads."""


def check(settings: Settings, base: Path, wrong_sections: Set[str]) -> Iterator[Problem]:
    """Every combination that cannot be meant.

    In a section with a wrong key the defaults stand in for what the operator wrote. A check that reads one is left
    out: what it found would not be about the operator's file.
    """
    for find, sections in _CHECKS:
        if not sections & wrong_sections:
            yield from find(settings, base)
