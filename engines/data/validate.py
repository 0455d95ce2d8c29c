"""Says whether digits and letters that look like a number of some kind are one. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_BRAND: Final = re.compile(
    rb"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})"  # Visa
    rb"|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}"  # Mastercard
    rb"|3[47][0-9]{13}"  # American Express
    rb"|6(?:011|5[0-9]{2}|4[4-9][0-9])[0-9]{12}"  # Discover
    rb"|35(?:2[89]|[3-8][0-9])[0-9]{12}"  # JCB
    rb"|62[0-9]{14}(?:[0-9]{3})?"  # UnionPay
    rb"|3(?:0[0-5]|[68][0-9])[0-9]{11}"  # Diners Club
)
_IBAN_LENGTHS: Final = {
    b"NO": 15,
    b"BE": 16,
    b"DK": 18,
    b"FI": 18,
    b"FO": 18,
    b"GL": 18,
    b"NL": 18,
    b"MK": 19,
    b"SI": 19,
    b"AT": 20,
    b"BA": 20,
    b"EE": 20,
    b"KZ": 20,
    b"LT": 20,
    b"LU": 20,
    b"CR": 22,
    b"BG": 22,
    b"BH": 22,
    b"DE": 22,
    b"GB": 22,
    b"GE": 22,
    b"IE": 22,
    b"ME": 22,
    b"RS": 22,
    b"VA": 22,
    b"AE": 23,
    b"GI": 23,
    b"IL": 23,
    b"TL": 23,
    b"AD": 24,
    b"CZ": 24,
    b"ES": 24,
    b"MD": 24,
    b"PK": 24,
    b"RO": 24,
    b"SA": 24,
    b"SE": 24,
    b"SK": 24,
    b"TN": 24,
    b"VG": 24,
    b"PT": 25,
    b"IS": 26,
    b"TR": 26,
    b"FR": 27,
    b"GR": 27,
    b"IT": 27,
    b"MC": 27,
    b"SM": 27,
    b"AL": 28,
    b"AZ": 28,
    b"CY": 28,
    b"DO": 28,
    b"GT": 28,
    b"HU": 28,
    b"LB": 28,
    b"PL": 28,
    b"BR": 29,
    b"PS": 29,
    b"QA": 29,
    b"UA": 29,
    b"JO": 30,
    b"KW": 30,
    b"MU": 30,
    b"MT": 31,
    b"LC": 32,
    b"XK": 20,
    b"LV": 21,
    b"CH": 21,
    b"LI": 21,
    b"HR": 21,
}
"""By country, as ISO 13616 registers them."""
_SEPARATORS: Final = b" -.\t\xa0"


def passes_luhn(value: bytes) -> bool:
    """ISO/IEC 7812-1, annex B. One digit over and over passes as well, and is none."""
    digits = value.translate(None, _SEPARATORS)
    if not digits.isdigit() or len(set(digits)) < 2:
        return False
    return sum(_DOUBLED[d - 48] if place % 2 else d - 48 for place, d in enumerate(reversed(digits))) % 10 == 0


def is_payment_card(value: bytes) -> bool:
    """A number that some brand of cards gives out."""
    return _BRAND.fullmatch(value.translate(None, _SEPARATORS)) is not None and passes_luhn(value)


def is_iban(value: bytes) -> bool:
    """ISO 13616: the country's length, and 1 as the rest by 97."""
    compact = value.translate(None, _SEPARATORS).upper()
    if _IBAN_LENGTHS.get(compact[:2]) != len(compact) or not compact.isalnum():
        return False
    return int("".join(str(int(chr(c), 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def is_varied(value: bytes) -> bool:
    """Whether something is no placeholder: those repeat few characters."""
    return len(set(value)) >= 10


VALIDATORS: Final[Mapping[str, Callable[[bytes], bool]]] = {
    "none": lambda value: True,
    "luhn": passes_luhn,
    "payment-card": is_payment_card,
    "iban": is_iban,
    "varied": is_varied,
}
