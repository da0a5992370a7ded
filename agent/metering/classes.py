"""Call classes: what kind of call some dialled digits are, by the site's dial plan and the numbering plan library.

Laws
- What happened outranks what the digits look like: a call that rang the extension dialled is internal, whatever else the
  digits could mean (an office may well have an extension 112).
- Countries, number types and emergency numbers come from the library (libphonenumber's data), never from lists of ours.
- The same digits and plan give the same class. A lookup is slow: who asks often remembers up to CACHE_ENTRIES answers.
"""

import re

import phonenumbers as pn
from msgspec import Struct
from phonenumbers import PhoneNumberType as Type
from phonenumbers import shortnumberinfo

from agent.metering.pattern import matches
from agent.metering.rules import DialPlan

CACHE_ENTRIES = 16_384
"""About 6 MB. A site of a thousand seats dials a few thousand different numbers a day; the library needs 100 us for one."""

EMERGENCY_MAX_DIGITS = 6
"""The longest emergency number of any country has five digits; the look-up is slow, so longer ones are not asked for."""

NO_COUNTRY = "001"
"""The library's region of numbers that belong to no country: +800 (free), +979 (premium), satellite networks."""

_SEPARATORS = re.compile(r"[\s().\-/]")
_BY_TYPE = {
    Type.TOLL_FREE: "toll_free",
    Type.PREMIUM_RATE: "premium",
    Type.SHARED_COST: "premium",
    Type.MOBILE: "mobile",
    Type.PAGER: "mobile",
}


class Dialled(Struct, frozen=True, gc=False):
    """What digits mean: a class of the catalogue, the country (ISO 3166) for an international call, the number in E.164
    where it is one."""

    call_class: str
    country: str = ""
    e164: str = ""


def classify(digits: str, plan: DialPlan, outward: bool = False) -> Dialled:
    """The class of `digits` dialled by a seat. `outward`: the call is known to have left over a trunk, so that it is no
    extension and no service of the house."""
    number = _SEPARATORS.sub("", digits)
    if not outward:
        if matches(plan.service, number):
            return Dialled("service")
        if _is_emergency(number, plan):
            return Dialled("emergency")
        if matches(plan.extensions, number):
            return Dialled("internal")
    return _outside(number, plan, outward)


def _outside(number: str, plan: DialPlan, outward: bool) -> Dialled:
    if matches(plan.on_net, number):
        return Dialled("on_net")
    if _is_emergency(number, plan):
        return Dialled("emergency")
    number = _without_outside_line(number, plan)
    parsed = _parse(number, plan)
    if parsed is None:
        return Dialled("national" if outward else "service")
    e164 = pn.format_number(parsed, pn.PhoneNumberFormat.E164)
    if matches(plan.on_net, e164):
        return Dialled("on_net", e164=e164)
    return _by_plan(parsed, e164, plan)


def _is_emergency(number: str, plan: DialPlan) -> bool:
    """With or without the outside line's digit: `911` and `9911`."""
    if len(number) > EMERGENCY_MAX_DIGITS + len(plan.outside_line):
        return False
    stripped = _without_outside_line(number, plan)
    return any(shortnumberinfo.is_emergency_number(digits, plan.country) for digits in {number, stripped})


def _without_outside_line(number: str, plan: DialPlan) -> str:
    if plan.outside_line and number.startswith(plan.outside_line) and len(number) > len(plan.outside_line) + 1:
        return number[len(plan.outside_line) :]
    return number


def _parse(number: str, plan: DialPlan) -> pn.PhoneNumber | None:
    if plan.international_prefix and number.startswith(plan.international_prefix):
        number = "+" + number[len(plan.international_prefix) :]
    elif plan.trunk_prefix and number.startswith(plan.trunk_prefix):
        number = f"+{pn.country_code_for_region(plan.country)}{number[len(plan.trunk_prefix) :]}"
    try:
        parsed = pn.parse(number, plan.country)
        if pn.is_possible_number_with_reason(parsed) == pn.ValidationResult.IS_POSSIBLE_LOCAL_ONLY and plan.area:
            parsed = pn.parse(plan.area + number, plan.country)
    except pn.NumberParseException:
        return None
    return parsed if pn.is_possible_number(parsed) else None


def _by_plan(parsed: pn.PhoneNumber, e164: str, plan: DialPlan) -> Dialled:
    region = pn.region_code_for_number(parsed)
    if region not in (plan.country, NO_COUNTRY) and not (region is None and _is_own_code(parsed, plan)):
        country = region or pn.region_code_for_country_code(parsed.country_code or 0)
        return Dialled("international", country=country, e164=e164)
    if region is not None and (by_type := _BY_TYPE.get(pn.number_type(parsed))):
        return Dialled(by_type, e164=e164)
    if region == NO_COUNTRY:
        return Dialled("international", country=region, e164=e164)
    local = plan.area and pn.national_significant_number(parsed).startswith(plan.area)
    return Dialled("local" if local else "national", e164=e164)


def _is_own_code(parsed: pn.PhoneNumber, plan: DialPlan) -> bool:
    """A number of the country's own code that the library knows no owner of, such as one not handed out yet."""
    return parsed.country_code == pn.country_code_for_region(plan.country)
