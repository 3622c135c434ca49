"""Remarks: what a report says in words, and what its figures are worth."""

from __future__ import annotations

from memcalc.chip import ON_CHIP, TIER_TITLES
from memcalc.core.placement import HOT_WEIGHTS
from memcalc.core.report import Cost
from memcalc.core.residency import Residency
from memcalc.core.search import Choice, Request
from memcalc.model import KINDS, source_of
from memcalc.precision import MATH
from memcalc.units import format_bytes
from memcalc.workload import Payment

#: The band around a speed where engine and chip family have no record together.
UNCALIBRATED_BAND = 2.0


def calibrated(request: Request) -> bool:
    """Whether the engine's constants rest on measurements of this chip family.

    A chip that is only announced has no record, whatever family it will belong to.
    """
    engine, chip = request.engine, request.chip
    if request.changed or chip.status.startswith("announced"):
        return False
    return engine.evidence == "calibrated" and engine.points.get(chip.family, 0) > 0


def band_of(request: Request, task: str) -> float:
    """The factor around a figure of a task that holds 80 % of measurements.

    The record of engine and chip family, else of the engine; at least x/÷ 2 where they have none together.
    Tasks are those of `memcalc.engine.BAND_TASKS`.
    """
    engine = request.engine
    if engine.ideal:
        return engine.band  # a bound, whatever is set
    own = engine.bands.get(request.chip.family, {})
    factor = own.get(task) or engine.bands.get("any", {}).get(task) or engine.band
    if request.changed or (engine.evidence == "calibrated" and not calibrated(request)):
        return max(factor, UNCALIBRATED_BAND)
    return factor


def decode_band(request: Request) -> float:
    """The band of a decode step: of one sequence, or of several."""
    return band_of(request, "decode" if request.workload.batch == 1 else "batch")


def evidence(request: Request) -> dict[str, str]:
    """What the result and the chip's figures are worth."""
    chip, engine = request.chip, request.engine
    if chip.hypothetical:
        result = "hypothetical"
    elif (
        not engine.ideal and (request.changed or engine.evidence == "calibrated") and not calibrated(request)
    ):
        result = "estimate"
    else:
        result = engine.evidence
    kinds = []
    figures = [
        f"memory.{name}.{key}"
        for name, _ in chip.homes
        for key in ("capacity_bytes", "bandwidth_bytes_per_s")
    ]
    for figure in (*figures, "compute", "layer_floor"):
        found = source_of(chip.sources, figure)
        if found:
            kinds.append(found.kind)
    weakest = max(kinds, key=KINDS.index, default="estimate")
    worth = {"decode": result, "chip": "estimate" if chip.hypothetical or request.changed else weakest}
    if calibrated(request):
        worth["rests_on"] = f"{engine.points[chip.family]} rows of {engine.name} on {chip.family}"
    elif engine.inherits and not engine.ideal:
        rows = engine.points.get(chip.family, 0)
        why = f"{rows or 'no'} rows of {engine.name} on {chip.family}"
        worth["rests_on"] = "uncalibrated: " + ("figures were set by hand" if request.changed else why)
    return worth


def not_modeled(request: Request) -> tuple[str, ...]:
    """What the time leaves out."""
    left = ["queueing", "prefix cache"]
    if any(group.feed_forward.experts for group in request.model.layers):
        left.append("expert imbalance")
    if request.workload.draft_tokens and not request.model.mtp_layers:
        left.append("the draft model's own time and memory")
    if request.chip.execution == "spatial" and request.system.count > 1:
        left.append("latency between chips beyond the layer floor")
    if request.engine.ideal:
        left += ["network", "latency", "reserved memory"]
    return tuple(left)


def price_name(payment: Payment) -> str:
    """The name of the price scenario, or how else the price was found."""
    if payment.usd_per_chip_hour is not None:
        return "given"
    if payment.usd_per_chip is not None:
        return "owned"
    return payment.scenario.name if payment.scenario else "none"


def price_evidence(request: Request) -> tuple[str | None, str | None]:
    """Kind and date of the price; None where it was given or there is none."""
    scenario = request.payment.scenario
    if scenario is None or price_name(request.payment) != scenario.name:
        return None, None
    if request.chip.name not in scenario.usd_per_chip_hour:
        return None, None
    return scenario.kind, scenario.date


def unknown_figures(request: Request, choice: Choice) -> tuple[str, ...]:
    """Figures without which no time can be given.

    The layer floor of a spatial chip holds without those of the die; memory beyond it is not in the floor.
    """
    found = _unknown(choice)
    if choice.job.timer.spatial and request.chip.layer_floor and not request.engine.ideal:
        on_die = tuple(f"memory.{tier}." for tier in ON_CHIP)
        found = [f for f in found if f.startswith("memory.") and not f.startswith(on_die)]
    return tuple(found) or (() if choice.step.seconds > 0.0 else ("layer_floor",))


def _unknown(choice: Choice) -> list[str]:
    timer = choice.job.timer
    found = [f"compute.{form}" for form in timer.unknown_compute]
    found += [f"memory.{tier}.bandwidth_bytes_per_s" for tier in timer.unknown_tiers(choice.placement)]
    if timer.network.missing:
        found.append(timer.network.missing)
    return found


def tier_title(tier: str) -> str:
    """How a person reads the name of a tier."""
    return TIER_TITLES.get(tier, tier)


def term_title(term: str) -> str:
    """How a person reads the name of a term of time or energy.

    >>> term_title("memory:hbm"), term_title("network")
    ('HBM', 'network')
    """
    return tier_title(term.removeprefix("memory:"))


def chips_title(request: Request) -> str:
    """The system in words.

    >>> from memcalc.api import request
    >>> chips_title(request("llama-3.1-8b", chip="h100-sxm", chips=8))
    '8 × H100 SXM'
    """
    return f"{request.system.count} × {request.chip.title}"


def reason(request: Request, choice: Choice | None, held: Residency | None) -> str:
    """Why the verdict is what it is, with the bytes that decide it."""
    work, book = request.workload, request.book
    weights = format_bytes(book.total_weight_bytes)
    kv = format_bytes(work.batch * book.kv_bytes_per_sequence(work.context_tokens))
    if choice:
        tiers = [room for room in request.rooms if choice.placement.used.get(room.tier)]
        usable = " and ".join(
            f"{format_bytes(room.usable * request.system.count)} usable in {tier_title(room.tier)}"
            for room in tiers
        )
        return f"weights {weights} and KV cache {kv}; {usable}"
    chip = request.chip
    if request.other_model and chip.hardwired:
        return f"the masks of {chip.title} hold {chip.hardwired.model}, not {request.model.name}"
    if held is None:
        return f"no layout divides {request.model.name} over {chips_title(request)}"
    need = held.needed(work.batch, work.context_tokens) * held.chips
    usable_bytes = sum(room.usable for room in request.rooms) * held.chips
    where = " and ".join(tier_title(room.tier) for room in request.rooms) or "memory"
    have = "has" if held.chips == 1 else "have"
    return (
        f"needs {format_bytes(need)} (weights {weights}, KV cache {kv}), "
        f"{chips_title(request)} {have} {format_bytes(usable_bytes)} usable in {where}"
    )


def why(request: Request, choice: Choice) -> str:
    """Why the bytes lie where they lie, by reads per stored byte; empty with a single tier."""
    hot = {tier for part in (*HOT_WEIGHTS, "kv") for tier, _ in choice.placement.shares[part]}
    places = [room for room in request.rooms if room.tier in hot]
    if len(places) < 2:
        return ""
    if places[0].tier == "rom":
        return f"the masks hold the weights; {tier_title(places[1].tier)} takes the KV cache"
    job, work = choice.job, request.workload
    flights, sequences = job.micro_batch(work.batch)
    order = choice.placement.order
    fast = tier_title(places[0].tier)
    hit = [op for op in request.book.operators if op.experts]
    text = {
        "weights-first": f"{fast} takes weights first: each byte is read {flights} times a step, the KV cache once",
        "kv-first": f"{fast} takes the KV cache first",
        "kv-before-experts": f"{fast} takes the KV cache before experts",
    }[order]
    if flights == 1 and order == "weights-first":
        text = f"{fast} takes weights first: a byte of either is read once a step, but weights do not grow"
    if hit and order == "kv-before-experts":
        share = 1.0 - (1.0 - hit[0].top_k / hit[0].experts) ** sequences
        text += f": a byte of it is read once a step, an expert's {flights * share:.2f} times"
    return text


def warnings(
    request: Request, choice: Choice | None, cost: Cost | None, unknown: tuple[str, ...]
) -> tuple[str, ...]:
    """All that a reader should know before he trusts the figures."""
    chip, work, model = request.chip, request.workload, request.model
    said = list(request.notes)
    if chip.hypothetical:
        said.append(f"hypothetical: {chip.name}'s maker has published no figure; all are an archetype's")
    limit = model.context_limit_tokens
    if limit and work.context_tokens > limit:
        context = work.context_tokens
        said.append(f"context {context} is beyond the {limit} tokens that {model.name} was made for")
    if choice:
        if unknown:
            known = ", ".join(chip.compute)
            rest = f"; its arithmetic runs in {known}" if known and "compute." in unknown[0] else ""
            said.append(f"no times: {', '.join(unknown)} of {chip.name} is unknown{rest}")
        else:
            left_out = _unknown(choice)
            said += [f"{figure} of {chip.name} is unknown: its term is left out" for figure in left_out]
            said += _assumptions(request)
        said += _format_warnings(request, choice.job.timer.formats)
        said += _cost_warnings(request, cost)
    return tuple(dict.fromkeys(said))


def _assumptions(request: Request) -> list[str]:
    """What the times and sizes of a chip or a stack without a record rest on."""
    chip, engine = request.chip, request.engine
    said = []
    if chip.layer_floor and not engine.ideal:
        said.append(f"the layer floor of {chip.name} rests on {chip.layer_floor.rests_on}")
        if request.workload.batch > 1:
            said.append("throughput assumes that micro-batches fill the machine (batch / step), unvalidated")
    share = engine.prefill_compute_efficiency or engine.constants.get("compute_efficiency")
    for figure in ("prefill_compute_efficiency", "constants.compute_efficiency"):
        source = engine.sources.get(figure)
        if source and source.kind == "estimate" and chip.compute:
            said.append(f"prefill on {chip.name} assumes {share:.0%} of peak, unvalidated: {source.source}")
    for name, tier in chip.memory.items():
        source = source_of(chip.sources, f"memory.{name}.capacity_bytes")
        if tier.home and source and source.kind == "estimate" and not chip.hypothetical:
            said.append(f"capacity of the {tier_title(name)} of {chip.name}: {source.source}")
    return said


def _cost_warnings(request: Request, cost: Cost | None) -> list[str]:
    """Why a price or an energy is missing, or weaker than it looks."""
    if cost is None:
        return []
    chip, payment = request.chip, request.payment
    said = []
    scenario = payment.scenario
    if scenario and price_name(payment) == scenario.name and chip.name in scenario.placeholders:
        said.append(f"the price of {chip.name} in {scenario.name} is a placeholder of its source")
    if cost.usd_per_chip_hour is None and payment.usd_per_chip is not None:
        said.append(f"no cost of owning: the power of {chip.name} is unknown")
    if cost.watts is None:
        said.append(f"no energy: power of {chip.name}, or a figure that it needs, is unknown")
    return said


def _format_warnings(request: Request, formats: dict[str, str]) -> list[str]:
    """Say where weights of one format meet math in a wider one."""
    book = request.book
    said = []
    for tensor in ("attention", "dense", "experts", "head"):
        stored = book.formats[tensor].main
        if tensor != "head" and not book.weight_bytes[tensor]:
            continue
        ran = formats[tensor]
        if stored.weight_only and tensor != "head":
            said.append(f"{stored.name} weights are expanded for {ran} math on {request.chip.name}")
        elif (
            not stored.weight_only and ran in request.chip.compute and MATH[ran][0] != MATH[stored.element][0]
        ):
            what = "head weights" if tensor == "head" else "weights"
            said.append(f"{stored.name} {what} meet {ran} math on {request.chip.name}")
    return said
