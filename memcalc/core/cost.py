"""Cost: dollars for a million tokens, joules for one.

An hour of a chip has a price by scenario, a price given, or the price of owning: depreciation and
electricity. Energy is bytes by tier, FLOP by format, bytes on links and a static draw; together they
cannot exceed the rated power, so the terms are scaled down to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from memcalc.chip import Chip
from memcalc.core.job import Work
from memcalc.workload import Payment

HOURS_PER_YEAR = 8766.0


class Energy(NamedTuple):
    """Average draw of all chips [W], and joules of one step by term; None where power is unknown."""

    watts: float | None
    terms_j: dict[str, float]


def usd_per_chip_hour(payment: Payment, chip: Chip) -> float | None:
    """Price of an hour of one chip; None where the scenario has none.

    Owning: usd_per_chip / (years * 8766 h) + all-in watts (else rated) * PUE * USD/kWh. Whether the
    published all-in watts hold the cooling of the building too is not said; then the PUE is 1.

    >>> from memcalc.readers.presets import load_chip
    >>> owned = Payment(usd_per_chip=28000, usd_per_kwh=0.11)
    >>> round(usd_per_chip_hour(owned, load_chip("h100-sxm")), 3)
    0.949
    """
    if payment.usd_per_chip_hour is not None:
        return payment.usd_per_chip_hour
    if payment.usd_per_chip is not None:
        watts = chip.power.all_in_w or chip.power.tdp_w
        if watts is None:
            return None
        capital = payment.usd_per_chip / (payment.depreciation_years * HOURS_PER_YEAR)
        return capital + watts / 1000.0 * payment.pue * payment.usd_per_kwh
    scenario = payment.scenario
    return scenario.usd_per_chip_hour.get(chip.name) if scenario else None


def usd_per_hour(payment: Payment, pools: Iterable[tuple[Chip, int]]) -> float | None:
    """Price of an hour of so many chips of each kind; None where one of them has none."""
    total = 0.0
    for chip, count in pools:
        hour = usd_per_chip_hour(payment, chip)
        if hour is None:
            return None
        total += hour * count
    return total


def usd_per_million(hour: float, tokens_per_s: float, utilization: float) -> float:
    """USD for a million tokens: USD/h of all chips / 3600 / (tokens/s * utilization) * 10^6.

    >>> round(usd_per_million(8 * 1.69, 368.0, 1.0), 1)
    10.2
    """
    return hour / 3600.0 / (tokens_per_s * utilization) * 1e6


def energy(pools: Iterable[tuple[Chip, int, Work]], step_s: float) -> Energy:
    """Joules of one step by term, and the draw of all pools; None where one of them is unknown."""
    watts, terms = 0.0, dict[str, float]()
    for chip, chips, work in pools:
        one = _energy(chip, chips, work, step_s)
        if one.watts is None:
            return one
        watts += one.watts
        for term, joules in one.terms_j.items():
            terms[term] = terms.get(term, 0.0) + joules
    return Energy(watts, terms)


def _energy(chip: Chip, chips: int, work: Work, step_s: float) -> Energy:
    """The same of one pool; at most the rated power of each chip."""
    power = chip.power
    if power.static_w is None or (power.static_w != power.tdp_w and _lacks_energy(chip, work)):
        return Energy(None, {})
    terms = {}
    for tier, size in work.tier_bytes.items():
        terms["memory:" + tier] = size * (chip.memory[tier].energy_j_per_byte or 0.0)
    terms["compute"] = sum(flops * power.flop_j.get(form, 0.0) for form, flops in work.flops.items())
    terms["network"] = work.network_bytes * (power.link_j_per_byte or 0.0)
    static = power.static_w * chips * step_s
    moving = sum(terms.values())
    if power.tdp_w is not None:
        room = max(0.0, power.tdp_w * chips * step_s - static)
        if moving > room:
            terms = {term: joules * room / moving for term, joules in terms.items()}
    terms["static"] = static
    return Energy(sum(terms.values()) / step_s, terms)


def _lacks_energy(chip: Chip, work: Work) -> bool:
    """Whether a memory, a format or a link that the step uses has no energy: then there is no sum."""
    power = chip.power
    tiers = [chip.memory[tier].energy_j_per_byte for tier, size in work.tier_bytes.items() if size]
    formats = [power.flop_j.get(form) for form, flops in work.flops.items() if flops]
    links = [power.link_j_per_byte] if work.network_bytes else []
    return None in (*tiers, *formats, *links)
