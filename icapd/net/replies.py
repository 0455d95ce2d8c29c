"""What goes back in place of a message that a rule refuses: a block page, or a redirect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from icapd.icap import Reply
from icapd.net.answers import block_reply, error_reply, leading_finding, redirect_reply
from icapd.net.override import Offer, Overrides
from icapd.net.record import Claims
from icapd.net.services import ServiceEntry
from icapd.policy.actions import location
from icapd.policy.facts import Decision, Redirect
from icapd.policy.outcomes import Result, finding_result, result_of
from icapd.policy.page import BlockPage, PageFacts
from icapd.scan.mismatch import PARTIAL
from icapd.scan.model import ScanReport, Verdict

_HITS = frozenset({Result.MALICIOUS, Result.FORBIDDEN, Result.SUSPICIOUS})


@dataclass(frozen=True, slots=True)
class Refusal:
    """One transaction that was refused, and the ICAP part of its answer."""

    decision: Decision
    report: ScanReport
    claims: Claims
    service: ServiceEntry
    transaction: str
    fields: bytes
    close: bool


@dataclass(frozen=True, slots=True)
class Pages:
    """Block pages by template name; None is the configured one. `help_url` has the field {transaction}; `overrides`
    is None where no secret is configured."""

    by_name: Mapping[str | None, BlockPage]
    contact: str
    help_url: str = ""
    overrides: Overrides | None = None

    def met_by(self, service: ServiceEntry, claims: Claims, transaction: str) -> ServiceEntry:
        """The service as a request meets it: one with a link past a rule may meet another policy."""
        return service if self.overrides is None else self.overrides.applied(service, claims, transaction)

    def refuse(self, refusal: Refusal) -> Reply:
        """The whole answer, in the form that this client understands."""
        redirect, profile = refusal.decision.redirect, refusal.service.profile
        if redirect is not None and profile.follows_redirects:
            return _redirect(refusal, redirect)
        code = _error_code(refusal)
        if code is not None:
            return error_reply(refusal.service.istag, refusal.fields, code, close=refusal.close)
        return self._block(refusal)

    def _block(self, refusal: Refusal) -> Reply:
        decision, report, http = refusal.decision, refusal.report, refusal.claims.http
        page = self.by_name.get(decision.page) or self.by_name[None]
        offer = Offer()
        if self.overrides is not None:
            offer = self.overrides.offer(decision, refusal.claims, refusal.transaction)
        drawn = page.draw(
            PageFacts(
                verdict=report.verdict,
                rule=decision.rule,
                reason="" if decision.is_shipped else decision.reason,
                findings=tuple(finding.name for finding in report.findings),
                url=http.url,
                host=http.host,
                transaction=refusal.transaction,
                outcome=result_of(report, decision),
                contact=self.contact,
                help_url=self.help_url,
                override_url=offer.url,
                override_refused=offer.was_refused,
                is_part=_is_for_being_a_part(decision, report),
            ),
            *refusal.claims.wishes,
        )
        has_body = http.method != "HEAD"
        return block_reply(
            refusal.service.istag,
            refusal.fields,
            drawn,
            has_http_body=has_body,
            has_override=bool(offer.url),
            close=refusal.close,
        )


def _is_for_being_a_part(decision: Decision, report: ScanReport) -> bool:
    """Whether a shipped rule refused what nothing else was found in. A rule of one's own has its own reason."""
    is_clean = report.verdict is Verdict.CLEAN
    return decision.is_shipped and is_clean and any(finding.name == PARTIAL for finding in report.findings)


def _error_code(refusal: Refusal) -> str | None:
    """What could not be judged, for a client that reads no page; None when a page says it, as for a hit beside it."""
    report = refusal.report
    if any(finding_result(finding) in _HITS for finding in report.findings):
        return None
    return refusal.service.profile.error_codes.get(result_of(report, refusal.decision))


def _redirect(refusal: Refusal, redirect: Redirect) -> Reply:
    decision, report, http = refusal.decision, refusal.report, refusal.claims.http
    finding = leading_finding(report)
    values = {
        "url": http.url,
        "host": http.host,
        "user": refusal.claims.user,
        "client": refusal.claims.client,
        "rule": decision.rule,
        "outcome": result_of(report, decision),
        "finding": "" if finding is None else finding.name,
        "transaction": refusal.transaction,
    }
    place = location(redirect, values)
    return redirect_reply(refusal.service.istag, refusal.fields, redirect.status, place, close=refusal.close)
