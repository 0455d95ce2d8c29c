"""`icapd policy explain`: which rule answers a request that need not be sent."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

import msgspec

from icapd.cli.config import load_configuration
from icapd.cli.exits import Exit
from icapd.config.load import Loaded
from icapd.config.schema import Service, time_zone, week_minute
from icapd.config.warnings import warnings
from icapd.errors import ConfigurationError, Problem
from icapd.icap.http import read_request
from icapd.policy.explain import Explanation, explain
from icapd.policy.facts import Facts
from icapd.policy.outcomes import Result, report_result, result_of, sample_report
from icapd.policy.times import DAY_MINUTES, DAYS
from icapd.scan.merge import with_findings
from icapd.scan.model import Finding, FindingKind, Identity, ScanReport, Severity, Verdict

_INDENT = "  "


def run(options: argparse.Namespace) -> int:
    """Raises: ConfigurationError for a wrong configuration, or a service that it does not have."""
    loaded = load_configuration(options)
    service = _service(loaded, options.service)
    facts = _facts(options, loaded, service)
    policy = loaded.policy_of(service)
    explained = []
    for report in _reports(options) if service.scan else [sample_report(Result.NOT_SCANNED)]:
        facts.report = report
        explained.append((report, explain(policy, facts)))
    if options.json:
        answers = [_as_object(policy.name, report, explanation) for report, explanation in explained]
        told = [str(problem) for problem in warnings(loaded)]
        print(msgspec.json.encode({"service": service.path, "answers": answers, "warnings": told}).decode())
        return Exit.OK
    print(f"service   {service.path}, policy {policy.name}")
    lines = _in_full(policy.name, *explained[0]) if len(explained) == 1 else _as_table(policy.name, explained)
    for line in lines:
        print(line)
    for problem in warnings(loaded):
        print(f"warning: {problem}", file=sys.stderr)
    return Exit.OK


def _service(loaded: Loaded, path: str) -> Service:
    for service in loaded.settings.service:
        if path == service.path or path in service.aliases:
            return service
    known = " ".join(service.path for service in loaded.settings.service)
    raise ConfigurationError([Problem("--service", f"there is no service {path}; there are {known}")])


def _facts(options: argparse.Namespace, loaded: Loaded, service: Service) -> Facts:
    method = options.method or ("RESPMOD" if "RESPMOD" in service.methods else "REQMOD")
    if method not in service.methods:
        raise ConfigurationError([Problem("--method", f"{service.path} takes {' and '.join(service.methods)}")])
    line = f"{options.http_method} {options.url} HTTP/1.1\r\n\r\n" if options.url else ""
    http = read_request(line.encode())
    return Facts(
        method=method,
        service=service.path,
        client=options.client,
        user=options.user,
        host=options.host or http.host or None,
        http_method=options.http_method,
        media_type=options.media_type,
        extension=options.extension or http.extension or None,
        size_bytes=options.size,
        groups=tuple(options.group),
        url=http.url or None,
        week_minute=_week_minute(options, loaded),
    )


def _week_minute(options: argparse.Namespace, loaded: Loaded) -> int:
    """The time that was named; where none was, now."""
    today, now = divmod(week_minute(time.time(), time_zone(loaded.settings.server.time_zone)), DAY_MINUTES)
    day = today if options.weekday is None else DAYS.index(options.weekday)
    minute: int = now if options.time is None else options.time
    return day * DAY_MINUTES + minute


def _reports(options: argparse.Namespace) -> Iterator[ScanReport]:
    """The report that was described; where none was, one for each outcome."""
    findings = tuple(_finding(text, options) for text in options.finding)
    if options.outcome is None and options.verdict is None and not findings:
        described = [sample_report(result) for result in Result]
    elif options.outcome is not None:
        sample = sample_report(Result(options.outcome))
        described = [ScanReport(sample.verdict, findings or sample.findings)]
    elif options.verdict is not None:
        described = [ScanReport(Verdict(options.verdict), findings)]
    else:
        described = [with_findings(ScanReport(Verdict.CLEAN), findings)]
    identity = Identity(options.real_type, "data") if options.real_type else ScanReport(Verdict.CLEAN).identity
    for report in described:
        yield msgspec.structs.replace(report, identity=identity, size_bytes=options.size or 0)


def _finding(text: str, options: argparse.Namespace) -> Finding:
    """`encrypted`, or with a name `encrypted=encrypted:zip`; a name alone is malware, or of the outcome's kind."""
    severity = Severity[options.severity.upper()]
    kind, equals, name = text.partition("=")
    if kind in list(FindingKind):
        return Finding(FindingKind(kind), name if equals else kind, options.engine, severity)
    of_outcome = sample_report(Result(options.outcome)).findings if options.outcome else ()
    return Finding(of_outcome[0].kind if of_outcome else FindingKind.MALWARE, text, options.engine, severity)


# What is said


def _place(policy: str, explanation: Explanation) -> str:
    rule = explanation.rule
    if rule is None:
        return "no rule: what is not covered is blocked"
    return f"{rule.where}" if rule.where.startswith("policy[") else f"{rule.where} (shipped policy {policy})"


def _shown_result(report: ScanReport, explanation: Explanation) -> str:
    if explanation.is_early:
        return str(result_of(ScanReport(Verdict.NOT_SCANNED), explanation.decision))
    return str(result_of(report, explanation.decision))


def _in_full(policy: str, report: ScanReport, explanation: Explanation) -> Iterator[str]:
    decision = explanation.decision
    yield f"described {report.verdict}, outcome {report_result(report)}"
    yield f"answer    {decision.action} by the rule {decision.rule}"
    yield f"place     {_place(policy, explanation)}"
    yield f"decided   {'by the heads, before the scan' if explanation.is_early else 'after the scan'}"
    yield f"outcome   {_shown_result(report, explanation)}, as logs, headers and pages show it"
    if decision.reason:
        yield f"reason    {decision.reason}"
    if decision.redirect is not None:
        yield f"redirect  {decision.redirect.status} {decision.redirect.location}"
    if explanation.passed:
        yield "before it, and what did not hold:"
    for rule, unmet in explanation.passed:
        yield f"{_INDENT}{rule.where} {rule.decision.rule} ({rule.decision.action}): {', '.join(unmet)}"


def _as_table(policy: str, explained: list[tuple[ScanReport, Explanation]]) -> Iterator[str]:
    for report, explanation in explained:
        decision = explanation.decision
        yield (
            f"{report_result(report):<14} {decision.action:<9} {decision.rule:<24} {_place(policy, explanation)}"
        ).rstrip()


def _as_object(policy: str, report: ScanReport, explanation: Explanation) -> dict[str, object]:
    decision = explanation.decision
    return {
        "described": report_result(report),
        "verdict": report.verdict,
        "outcome": _shown_result(report, explanation),
        "policy": policy,
        "rule": decision.rule,
        "place": "" if explanation.rule is None else explanation.rule.where,
        "action": decision.action,
        "reason": decision.reason,
        "early": explanation.is_early,
        "passed": [
            {"rule": rule.decision.rule, "place": rule.where, "unmet": unmet} for rule, unmet in explanation.passed
        ],
    }
