"""The steps of cost: dollars for a million tokens, joules for one."""

from __future__ import annotations

from collections.abc import Sequence

from memcalc.core.cost import HOURS_PER_YEAR, usd_per_chip_hour
from memcalc.core.job import Work
from memcalc.core.remarks import term_title, tier_title
from memcalc.core.report import Cost, Decode
from memcalc.core.search import Choice, Request
from memcalc.studies.explain.formula import evaluate
from memcalc.studies.explain.steps import (
    GROUPS,
    Numbers,
    Sources,
    Steps,
    cited,
    inner,
    part_name,
    summed,
    term_name,
    terms_of,
)


def cost_steps(steps: Steps, choice: Choice, decode: Decode, cost: Cost) -> None:
    """What a million tokens cost, and what a token takes of energy."""
    request, prefill, work = steps.request, steps.report.prefill, steps.request.workload
    steps.group = GROUPS[4]
    decoding = [(role, pool) for role, pool in request.roles if role != "prefill"]
    filling = [(role, pool) for role, pool in request.roles if role == "prefill"] or decoding
    if cost.usd_per_million_output_tokens is not None:
        hour, values, source = _hour(steps, decoding)
        values |= {"tokens_per_s": decode.tokens_per_s, "utilization": cost.utilization}
        formula = f"{hour} / 3600 / (tokens_per_s * utilization) * 1e6"
        result = cost.usd_per_million_output_tokens
        steps.add("USD per million tokens out", formula, values, "USD", source, result)
    if prefill and cost.usd_per_million_input_tokens is not None:
        hour, values, source = _hour(steps, filling)
        values |= {"batch": work.batch, "prompt_tokens": work.prompt_tokens}
        values |= {"batch_prefill_s": prefill.batch_s, "utilization": cost.utilization}
        formula = f"{hour} / 3600 / (batch * prompt_tokens / batch_prefill_s * utilization) * 1e6"
        result = cost.usd_per_million_input_tokens
        steps.add("USD per million tokens in", formula, values, "USD", source, result)
    if cost.joules_per_output_token is not None:
        _energy(steps, choice, decode, cost)


def _hour(steps: Steps, pools: Sequence[tuple[str, Request]]) -> tuple[str, Numbers, Sources]:
    """The formula of an hour of all chips, its numbers, and what the price rests on."""
    payment = steps.request.payment
    pieces: list[str] = []
    values: Numbers = {}
    source: Sources = ()
    for role, pool in pools:
        before = f"{role.replace('-', '_')}_" if len(pools) > 1 else ""
        hour = usd_per_chip_hour(payment, pool.chip)
        values |= {f"{before}usd_per_chip_hour": hour or 0.0, f"{before}chips": pool.system.count}
        pieces.append(f"{before}usd_per_chip_hour * {before}chips")
        if payment.usd_per_chip_hour is None and payment.usd_per_chip is not None:
            source = (*source, *_owned(steps, pool, hour or 0.0))
    scenario = payment.scenario
    if payment.usd_per_chip_hour is not None:
        source = ("given",)
    elif payment.usd_per_chip is None and scenario:
        source = (f"{scenario.name}: {scenario.source} ({scenario.kind}, {scenario.date})",)
    return inner(pieces), values, source


def _owned(steps: Steps, pool: Request, hour: float) -> Sources:
    """A step for the hour of a chip that is owned, once; what its power rests on."""
    payment, power = steps.request.payment, pool.chip.power
    source = cited(pool.chip.sources, "power.all_in_w" if power.all_in_w else "power.tdp_w")
    name = f"USD per hour of an owned {pool.chip.title}"
    if all(step.name != name for step in steps.found):
        formula = "usd_per_chip / (years * hours_per_year) + chip_w / 1000 * pue * usd_per_kwh"
        values: Numbers = {
            "usd_per_chip": payment.usd_per_chip or 0.0,
            "years": payment.depreciation_years,
            "hours_per_year": HOURS_PER_YEAR,
            "chip_w": power.all_in_w or power.tdp_w or 0.0,
            "pue": payment.pue,
            "usd_per_kwh": payment.usd_per_kwh,
        }
        steps.add(name, formula, values, "USD", source, hour)
    return source


def _energy(steps: Steps, choice: Choice, decode: Decode, cost: Cost) -> None:
    """Joules of an output token: bytes, FLOP, what crosses the links, and what flows whatever is done."""
    work = steps.request.workload
    values: Numbers = {"batch": work.batch, "tokens_per_step": work.tokens_per_step}
    tokens = steps.add("tokens of a step", "batch * tokens_per_step", values, "tokens")
    works = choice.job.works(work, choice.placement)
    if len(works) == 1:
        terms = _energy_terms(steps, choice, decode, cost, tokens, works[0][2])
    else:
        terms = terms_of(cost.energy_terms_j, "j")
    result = cost.joules_per_output_token
    joules = steps.add("joules per token out", summed(list(terms)), terms, "J", (), result)
    values = {"joules_per_token": joules, "tokens": tokens, "step_s": decode.step_s}
    steps.add("draw of all chips", "joules_per_token * tokens / step_s", values, "W", (), cost.watts)


def _energy_terms(
    steps: Steps, choice: Choice, decode: Decode, cost: Cost, tokens: float, done: Work
) -> Numbers:
    """The terms of the energy of a token, scaled down where together they would exceed the rated power."""
    chip, chips = steps.request.chip, steps.request.system.count
    power = chip.power
    found: list[tuple[str, str, Numbers, str]] = []
    for tier, size in done.tier_bytes.items():
        each = chip.memory[tier].energy_j_per_byte
        if size and each:
            read = _read(steps, choice, done, tier)
            figure = f"memory.{tier}.energy_j_per_byte"
            values: Numbers = {"read_bytes": read, "j_per_byte": each}
            found.append((f"memory:{tier}", "read_bytes * j_per_byte", values, figure))
    values, pieces = {}, []
    for form, flops in done.flops.items():
        if flops and power.flop_j.get(form):
            values |= {f"{form}_flop": flops, f"{form}_j": power.flop_j[form]}
            pieces.append(f"{form}_flop * {form}_j")
    if pieces:
        found.append(("compute", inner(pieces), values, "power.flop_j"))
    if done.network_bytes and power.link_j_per_byte:
        values = {"sent_bytes": done.network_bytes, "j_per_byte": power.link_j_per_byte}
        found.append(("network", "sent_bytes * j_per_byte", values, "power.link_j_per_byte"))
    moving = {f"{term_name(term)}_j": evaluate(formula, values) for term, formula, values, _ in found}
    static: Numbers = {"static_w": power.static_w or 0.0, "chips": chips, "step_s": decode.step_s}
    scaled: Numbers = {}
    if power.tdp_w is not None:
        room: Numbers = {**static, "tdp_w": power.tdp_w}
        if sum(moving.values()) > evaluate("max(0, tdp_w - static_w) * chips * step_s", room):
            formula = f"max(0, tdp_w - static_w) * chips * step_s / {inner(list(moving))}"
            source = steps.chip("power.tdp_w")
            name = "scale: together at most the rated power"
            scaled = {"scale": steps.add(name, formula, {**room, **moving}, "", source)}
    terms: Numbers = {}
    for term, formula, values, figure in found:
        whole = f"{formula} * scale / tokens" if scaled else f"{formula} / tokens"
        terms[f"{term_name(term)}_j"] = steps.add(
            f"energy of a token: {term_title(term)}",
            whole,
            {**values, **scaled, "tokens": tokens},
            "J",
            steps.chip(figure),
            cost.energy_terms_j[term],
        )
    formula, values = "static_w * chips * step_s / tokens", {**static, "tokens": tokens}
    source, result = steps.chip("power.static_w"), cost.energy_terms_j["static"]
    terms["static_j"] = steps.add("energy of a token: static", formula, values, "J", source, result)
    return terms


def _read(steps: Steps, choice: Choice, done: Work, tier: str) -> float:
    """Bytes that a step reads from a tier over the system: weights once for each micro-batch."""
    values: Numbers = {}
    pieces = []
    for part, read in done.part_bytes.items():
        share = dict(choice.placement.shares[part]).get(tier, 0.0)
        if read and share:
            name = part_name(part)
            values[f"{name}_read_bytes"] = read
            piece = f"{name}_read_bytes"
            if share != 1.0:
                values[f"{name}_share"] = share
                piece += f" * {name}_share"
            pieces.append(piece)
    name = f"read in a step over the system: {tier_title(tier)}"
    return steps.add(name, summed(pieces), values, "B", (), done.tier_bytes[tier])
