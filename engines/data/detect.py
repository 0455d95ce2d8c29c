"""What is looked for in text: each detector yields the values that it is sure of. Pure.

Ordinary pages, scripts and JSON are full of numbers and of random letters. So a number must pass its check digits,
and a card number without separators must also be called one nearby, or be one of several with hardly any that fail.

Patterns begin with what they consume and look behind it then: a search for a first character skips all others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from engines.data.validate import is_iban, is_payment_card, is_varied


class Seen(NamedTuple):
    """One value, and what it is; `name` has the kind of token after a slash."""

    name: str
    value: bytes


_CARD: Final = re.compile(
    rb"[2-6](?<![\w.+/%#&-][2-6])(?<![0-9]{4} [2-6])"
    rb"(?:(?<=[2-6])[0-9]{3}(?P<a>[ -]?)[0-9]{4}(?P=a)[0-9]{4}(?P=a)[0-9]{4}(?:(?P=a)[0-9]{3})?"
    rb"|(?<=3)[47][0-9]{2}(?P<b>[ -]?)[0-9]{6}(?P=b)[0-9]{5}|(?<=4)[0-9]{12}"
    rb"|(?<=3)[068][0-9]{2}(?P<c>[ -]?)[0-9]{6}(?P=c)[0-9]{4})"
    rb"(?![\w+/=%-]|\.[0-9]| [0-9]{4}(?![0-9]))"
)
_CARD_WORD: Final = re.compile(
    rb"(?<![a-z0-9])(?:credit|debit|payment|bank|master)?[ _-]?cards?(?!i)"
    rb"|(?<![a-z0-9])(?:visa|amex|american express|pan|ccn?|cvc2?|cvv2?)(?![a-z0-9])"
    rb"|kredit|kartenn|carte banc|tarjeta|expir",
    re.IGNORECASE,
)
_NEARBY: Final = 80
_UNNAMED_MINIMUM: Final = 3
_UNNAMED_PASSING: Final = 0.8
VALUES_MAX: Final = 1000
"""Values of one kind that are looked at in one text."""

_IBAN: Final = re.compile(
    rb"[A-Z](?<![A-Za-z0-9+/_-][A-Z])[A-Z][0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9+/_-])"
)
_KEY: Final = re.compile(
    rb"-----BEGIN ((?:RSA |EC |DSA |OPENSSH |ENCRYPTED )?PRIVATE KEY|PGP PRIVATE KEY BLOCK)-----"
)
_KEY_BYTES: Final = 8192
_NEWLINES: Final = re.compile(rb"\\[rn]|\s+")
_KEY_BODY: Final = re.compile(rb"(?:[\w-]+:[^\n]*\n)*[A-Za-z0-9+/=]{48}")

_TOKENS: Final[tuple[tuple[str, bytes, re.Pattern[bytes]], ...]] = tuple(
    (name, mark, re.compile(pattern + rb"(?![A-Za-z0-9_-])"))
    for name, mark, pattern in (
        *(("github", mark, mark + rb"[A-Za-z0-9]{36,251}") for mark in (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_")),
        ("github", b"github_pat_", rb"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
        ("gitlab", b"glpat-", rb"glpat-[A-Za-z0-9_-]{20,64}"),
        ("aws", b"AKIA", rb"AKIA[A-Z2-7]{16}"),
        ("aws", b"ASIA", rb"ASIA[A-Z2-7]{16}"),
        ("slack", b"xox", rb"xox[abprs]-[0-9]{8,14}-[A-Za-z0-9-]{20,200}"),
        ("stripe", b"_live_", rb"[rs]k_live_[A-Za-z0-9]{24,200}"),
        ("openai", b"T3BlbkFJ", rb"sk-[A-Za-z0-9_-]{20,100}T3BlbkFJ[A-Za-z0-9_-]{20,100}"),
        ("anthropic", b"sk-ant-", rb"sk-ant-[a-z0-9]{3,10}-[A-Za-z0-9_-]{80,120}"),
        ("npm", b"npm_", rb"npm_[A-Za-z0-9]{36}"),
        ("pypi", b"pypi-", rb"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,300}"),
        ("sendgrid", b"SG.", rb"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
        ("google", b"GOCSPX-", rb"GOCSPX-[A-Za-z0-9_-]{28}"),
        ("huggingface", b"hf_", rb"hf_[A-Za-z]{34}"),
    )
)
"""Whose token, a text in each, and what they look like. Those that pages show to everybody are not among them."""

_NO_START: Final = re.compile(rb"[A-Za-z0-9_-]")

_PHRASES: Final = re.compile(
    rb"(?:ignore|disregard|forget|override|bypass) (?:all |any |everything |of |the |your |my |these |those )*"
    rb"(?:previous|prior|above|earlier|preceding|former|system|safety)"
    rb" (?:instructions?|prompts?|rules|directions|directives|messages|guidelines|context)"
    rb"|(?:reveal|print|show|repeat|output|leak|tell me) (?:me )?(?:your|the) (?:full |entire |exact )?"
    rb"(?:system|hidden|initial|secret) (?:prompt|instructions?|message)"
    rb"|you are now (?:dan\b|in developer mode|jailbroken|unrestricted|an unrestricted)|do anything now"
    rb"|(?:pretend|act as if|imagine) (?:that )?you (?:have no|are not bound by|do not have any|are free of) "
    rb"(?:any )?(?:restrictions|rules|guidelines|filters|limits)"
    rb"|ignorier\w* (?:alle )?(?:vorherigen|bisherigen|obigen|vorigen) (?:anweisungen|regeln|befehle)"
    rb"|ignor\w* (?:toutes )?(?:les |tes |vos )(?:instructions|consignes) (?:pr\xc3\xa9c\xc3\xa9dentes|ci-dessus)"
    rb"|ignora (?:todas )?(?:las |tus )instrucciones (?:anteriores|previas)"
    rb"|<\|im_start\|>\s?system"
)
_PHRASE_WORDS: Final = (
    *(b"ignor", b"disregard", b"forget", b"override", b"bypass", b"system", b"hidden", b"initial", b"secret"),
    *(b"do anything", b"you are now", b"you have no", b"you are not", b"you do not", b"you are free", b"<|im_start"),
)
_BLANKS: Final = re.compile(rb"(?:\\[nrt]|[\s*_\"'`])+")


def payment_cards(text: bytes) -> Iterator[Seen]:
    """Card numbers that are called so nearby, or grouped by spaces or dashes; others if they are many."""
    unnamed: list[bytes] = []
    candidates = 0
    for number, match in enumerate(_CARD.finditer(text)):
        if number >= VALUES_MAX:
            break
        value = match[0]
        is_grouped = not value.isdigit()
        is_card = is_payment_card(value)
        if is_card and (is_grouped or _is_called_card(text, match.start(), match.end())):
            yield Seen("payment-card", value.translate(None, b" -"))
        elif not is_grouped:
            candidates += 1
            unnamed += [value] if is_card else []
    if len(set(unnamed)) >= _UNNAMED_MINIMUM and len(unnamed) >= _UNNAMED_PASSING * candidates:
        yield from (Seen("payment-card", value) for value in unnamed)


def _is_called_card(text: bytes, start: int, end: int) -> bool:
    return _CARD_WORD.search(text, max(start - _NEARBY, 0), end + _NEARBY) is not None


def ibans(text: bytes) -> Iterator[Seen]:
    for number, match in enumerate(_IBAN.finditer(text)):
        if number >= VALUES_MAX:
            return
        if is_iban(match[0]):
            yield Seen("iban", match[0].replace(b" ", b""))


def private_keys(text: bytes) -> Iterator[Seen]:
    """Keys with their content: a header alone is in every manual."""
    for match in islice(_KEY.finditer(text), VALUES_MAX):
        rest = text[match.end() : match.end() + _KEY_BYTES].partition(b"-----END")[0]
        body = _NEWLINES.sub(b"", b"\n".join(line for line in _lines(rest) if b":" not in line))
        if _KEY_BODY.match(body) and is_varied(body[:256]):
            yield Seen("private-key", match[1] + b" " + body[:64])


def _lines(text: bytes) -> list[bytes]:
    return text.replace(b"\\r", b"").replace(b"\\n", b"\n").split(b"\n")


def access_tokens(text: bytes) -> Iterator[Seen]:
    for name, mark, pattern in _TOKENS:
        if mark in text:
            for match in pattern.finditer(text):
                is_whole = _NO_START.fullmatch(text, max(match.start() - 1, 0), match.start()) is None
                if is_whole and is_varied(match[0]) and not match[0].endswith(b"EXAMPLE"):
                    yield Seen(f"access-token/{name}", match[0])


def prompt_injections(text: bytes) -> Iterator[Seen]:
    """Phrases that are meant to turn a language model against its instructions."""
    text = text.lower()
    if any(word in text for word in _PHRASE_WORDS):
        for match in _PHRASES.finditer(_BLANKS.sub(b" ", text)):
            yield Seen("prompt-injection", match[0])


DETECTORS: Final[dict[str, Callable[[bytes], Iterator[Seen]]]] = {
    "payment_card": payment_cards,
    "iban": ibans,
    "private_key": private_keys,
    "access_token": access_tokens,
    "prompt_injection": prompt_injections,
}
"""By the key that sets their severity."""
