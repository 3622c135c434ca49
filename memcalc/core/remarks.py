"""Remarks: what a report says in words, and what its figures are worth."""

from __future__ import annotations

from collections.abc import Mapping

from memcalc.chip import ON_CHIP, TIER_TITLES, Chip
from memcalc.core.cost import usd_per_chip_hour
from memcalc.core.placement import HOT_WEIGHTS
from memcalc.core.report import Cost, Limits, PoolFacts
from memcalc.core.residency import Residency
from memcalc.core.search import Choice, Placed, Request, choose, min_chips, nearest
from memcalc.model import KINDS, source_of
from memcalc.precision import MATH
from memcalc.units import format_bytes, format_seconds
from memcalc.workload import Payment

#: What a result may be worth, strongest first.
RESULTS = ("calibrated", "roofline", "vendor-claim", "estimate", "hypothetical")
#: The band around a speed where engine and chip family have no record together.
UNCALIBRATED_BAND = 2.0


def calibrated(request: Request) -> bool:
    """Whether the engine's constants rest on measurements of this chip family.

    A chip that is only announced, or described in a file, has no record, whatever family it belongs to.
    """
    engine, chip = request.engine, request.chip
    if request.changed or chip.origin == "file" or chip.status.startswith("announced"):
        return False
    return engine.evidence == "calibrated" and engine.points.get(chip.family, 0) > 0


def foreign(request: Request) -> bool:
    """Whether the stack is one of other chips, whose floors are theirs: a what-if."""
    engine, chip = request.engine, request.chip
    return (
        not engine.ideal and not engine.inherits and engine.origin == "preset" and engine.name != chip.engine
    )


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
    if request.changed or foreign(request) or (engine.evidence == "calibrated" and not calibrated(request)):
        return max(factor, UNCALIBRATED_BAND)
    return factor


def decode_band(request: Request) -> float:
    """The band of a decode step, of one sequence or of several: of two pools the wider."""
    task = "decode" if request.workload.batch == 1 else "batch"
    return max(band_of(pool, task) for role, pool in request.roles if role != "prefill")


def evidence(request: Request) -> dict[str, str]:
    """What the result and the figures of the chips are worth: of several pools the weakest."""
    worths = [_evidence(pool) for pool in request.pools]
    decoding = [worth for (role, _), worth in zip(request.roles, worths, strict=True) if role != "prefill"]
    weakest = max(decoding, key=lambda worth: RESULTS.index(worth["decode"]))
    if len(decoding) > 1 and weakest["decode"] == "calibrated":
        # No record is of a pair.
        weakest = {**weakest, "decode": "estimate"}
    chip = max((worth["chip"] for worth in worths), key=KINDS.index)
    found = {**weakest, "chip": chip}
    if request.prefill:
        found["prefill"] = worths[-1]["decode"]
    return found


def _evidence(request: Request) -> dict[str, str]:
    chip, engine = request.chip, request.engine
    if chip.hypothetical:
        result = "hypothetical"
    elif (
        not engine.ideal and (request.changed or engine.evidence == "calibrated") and not calibrated(request)
    ):
        result = "estimate"
    else:
        result = engine.evidence
        if foreign(request):
            result = "estimate"  # a stack of other chips: nothing of it was seen on this one
        floor = source_of(chip.sources, "layer_floor") if chip.layer_floor and not engine.ideal else None
        if floor and floor.kind == "estimate" and RESULTS.index(result) < RESULTS.index("estimate"):
            result = "estimate"  # the floor decides, and rests on no point of this chip
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
        if request.changed:
            why = "figures were set by hand"
        elif chip.origin == "file":
            why = f"a chip from a file, taken to be like {chip.family}"
        worth["rests_on"] = "uncalibrated: " + why
    return worth


def not_modeled(request: Request) -> tuple[str, ...]:
    """What the time leaves out."""
    left = ["queueing", "prefix cache"]
    if any(group.feed_forward.experts for group in request.model.layers):
        left.append("expert imbalance")
    if request.workload.draft_tokens and not request.model.mtp_layers:
        left.append("the draft model's own time and memory")
    if any(pool.chip.execution == "spatial" and pool.system.count > 1 for pool in request.pools):
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
    if not any(pool.chip.name in scenario.usd_per_chip_hour for pool in request.pools):
        return None, None
    return scenario.kind, scenario.date


def unknown_figures(
    request: Request, choice: Choice, placed: tuple[Placed, ...]
) -> dict[str, tuple[str, ...]]:
    """Figures without which no time of `decode` or of `prefill` can be given, with the chip that lacks them."""
    found: dict[str, list[str]] = {"decode": [], "prefill": []}
    for pool in placed:
        tasks = {"prefill": ("prefill",), "decode": ("decode",), "feed-forward": ("decode",)}
        timer = pool.job.timer
        missing = _unknown(pool)
        chip, prefills = pool.request.chip, missing
        if timer.spatial and chip.layer_floor and not request.engine.ideal:
            # The layer floor of a spatial chip holds without those of the die; memory beyond it is not in the floor,
            # nor what drafts cost to verify, nor a stream of prompts where the chip has other arithmetic.
            on_die = tuple(f"memory.{tier}." for tier in ON_CHIP)
            arithmetic = [f for f in missing if f.startswith("compute.")]
            beyond = [f for f in missing if f.startswith("memory.") and not f.startswith(on_die)]
            missing = beyond + (arithmetic if request.workload.draft_tokens else [])
            prefills = beyond + (arithmetic if chip.compute else [])
        for task in tasks.get(pool.role, ("decode", "prefill")):
            lacking = prefills if task == "prefill" else missing
            found[task] += [f"{figure} of {chip.label}" for figure in lacking]
    if not choice.step.seconds:
        found["decode"].append(f"layer_floor of {request.chip.label}")
    for role, task, figures in (
        ("feed-forward", "decode", ("bytes_per_s", "latency_s")),
        ("prefill", "prefill", ("bytes_per_s",)),
    ):
        other, link = dict(request.roles).get(role), request.link(role)
        found[task] += [
            f"{role.replace('-', '_')}.{figure} (between {request.chip.label} and {other.chip.label})"
            for figure in figures
            if other and getattr(link, figure) is None
        ]
    return {task: tuple(dict.fromkeys(figures)) for task, figures in found.items()}


def _unknown(pool: Placed) -> list[str]:
    """Figures that the times of a pool would need and its chip lacks."""
    timer = pool.job.timer
    found = [f"compute.{form}" for form in timer.unknown_compute]
    found += timer.unknown_rates(pool.placement)
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
    """The main pool in words.

    >>> from memcalc.api import request
    >>> chips_title(request("llama-3.1-8b", chip="h100-sxm", chips=8))
    '8 × H100 SXM'
    """
    return f"{request.system.count} × {request.chip.title}"


def title(request: Request) -> str:
    """The system in words; prefill that was put on another one is said."""
    text = request.system.title
    if request.prefill and "prefill on" not in text:
        if request.system.name == request.chip.name:
            text = chips_title(request)
        text += f", prefill on {chips_title(request.prefill)}"
    if any(pool.chip.hypothetical for pool in request.pools) and "hypothetical" not in text:
        text = f"hypothetical {text}"
    return text


def pools(
    request: Request,
    placed: tuple[Placed, ...],
    resident: Mapping[str, Mapping[str, Mapping[str, int]]],
    bounds: Limits | None,
) -> tuple[PoolFacts, ...]:
    """The chips of each kind, with the verdict of their part of the job."""
    found = []
    laid = {pool.role: pool for pool in placed}
    for (role, pool), alone in zip(request.roles, request.apart, strict=True):
        # Where another pool lacks room, this one may have it all the same.
        here = laid.get(role)
        verdict = (
            here.placement.verdict if here else "does-not-fit" if alone is request else _verdict_alone(alone)
        )
        found.append(
            PoolFacts(
                role=role,
                chip=pool.chip.name,
                title=pool.chip.title,
                chips=pool.system.count,
                engine=pool.engine.name,
                hypothetical=pool.chip.hypothetical,
                verdict=verdict,
                reason=_pool_reason(alone, role),
                min_chips=None
                if bounds is None
                else bounds.min_chips
                if alone is request
                else min_chips(alone),
                usd_per_chip_hour=usd_per_chip_hour(request.payment, pool.chip),
                placement=resident.get(role, {}),
            )
        )
    return tuple(found)


def _verdict_alone(request: Request) -> str:
    choice = choose(request)
    return choice.placement.verdict if choice else "does-not-fit"


def _pool_reason(request: Request, role: str) -> str:
    """The bytes that decide over a pool: what it needs, and what of it is usable."""
    if request.other_model:
        return _masks(request)
    held = nearest(request)
    if held is None:
        return f"no layout divides {request.model.name} over {chips_title(request)}"
    work = request.workload
    need = held.needed(work.batch, work.context_tokens) * held.chips
    usable = sum(room.usable for room in request.rooms) * held.chips
    what = {
        "feed-forward": "feed-forward weights",
        "prefill": "weights and the KV cache of one prompt",
    }.get(role, "weights and KV cache")
    return f"{what} need {format_bytes(need)} of {format_bytes(usable)} usable"


def _masks(request: Request) -> str:
    """Which masks hold another model than the one that was asked for."""
    return " and ".join(
        f"the masks of {chip.title} hold {held}, not {request.model.name}"
        for chip, held in request.other_masks
    )


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
    if request.other_model:
        return _masks(request)
    for role, pool in request.roles[1:]:
        alone = dict(zip((r for r, _ in request.roles), request.apart, strict=True))[role]
        if choose(alone) is None:
            count = min_chips(alone)
            enough = f"; {count} would do" if count else ""
            return f"{role} on {chips_title(pool)}: {_pool_reason(alone, role)}{enough}"
    if held is None:
        return f"no layout divides {request.model.name} over {chips_title(request)}"
    need = held.needed(work.batch, work.context_tokens) * held.chips
    usable_bytes = sum(room.usable for room in request.rooms) * held.chips
    if need <= usable_bytes:
        return _one_kind(request, held)
    where = " and ".join(tier_title(room.tier) for room in request.rooms) or "memory"
    have = "has" if held.chips == 1 else "have"
    return (
        f"needs {format_bytes(need)} (weights {weights}, KV cache {kv}), "
        f"{chips_title(request)} {have} {format_bytes(usable_bytes)} usable in {where}"
    )


def _one_kind(request: Request, held: Residency) -> str:
    """What lacks room where tiers are kept for weights, or for the cache."""
    work, weights = request.workload, sum(held.parts.values()) * held.chips
    rest = held.needed(work.batch, work.context_tokens) * held.chips - weights
    found = []
    for what, size, other in (("weights", weights, "cache"), ("KV cache and activations", rest, "weights")):
        rooms = [room for room in request.rooms if room.holds != other]
        usable = sum(room.usable for room in rooms) * held.chips
        if size > usable:
            where = " and ".join(tier_title(room.tier) for room in rooms) or "memory"
            found.append(f"{what} need {format_bytes(size)}, {format_bytes(usable)} usable in {where}")
    return f"{chips_title(request)}: " + "; ".join(found or ["no layout gives each stage its room"])


def why(request: Request, choice: Choice) -> str:
    """Why the bytes lie where they lie, by reads per stored byte; empty with a single tier."""
    hot = {tier for part in (*HOT_WEIGHTS, "kv") for tier, _ in choice.placement.shares[part]}
    places = [room for room in request.rooms if room.tier in hot]
    if len(places) < 2:
        return ""
    fast = tier_title(places[0].tier)
    if places[0].tier == "rom":
        return f"the masks hold the weights; {tier_title(places[1].tier)} takes the KV cache"
    if places[0].holds == "cache":
        return f"{fast} takes the KV cache; weights stream in from {tier_title(places[1].tier)} in every step"
    job, work, held = choice.job, request.workload, choice.job.held
    done, order = job.works(work, choice.placement)[0][2], choice.placement.order
    cached = sum(held.resident_kv(work.batch, work.context_tokens, state=state) for state in (False, True))
    reads = [
        f"each byte of weights is read {done.part_bytes['attention'] / held.resident['attention']:.1f} times a step"
    ]
    if done.part_bytes["experts"]:
        reads.append(f"an expert's {done.part_bytes['experts'] / held.resident['experts']:.2f}")
    reads.append(f"the KV cache's {done.part_bytes['kv'] / cached if cached else 0.0:.1f}")
    text = {
        "weights-first": f"{fast} takes weights first",
        "kv-first": f"{fast} takes the KV cache first",
        "kv-before-experts": f"{fast} takes the KV cache before cold experts",
    }[order]
    return f"{text}: " + ", ".join(reads)


def warnings(
    request: Request,
    placed: tuple[Placed, ...],
    cost: Cost | None,
    unknown: Mapping[str, tuple[str, ...]],
) -> tuple[str, ...]:
    """All that a reader should know before he trusts the figures."""
    work, model = request.workload, request.model
    said = list(request.notes)
    said += [
        f"{pool.chip.label}: its maker has published no figure; all are an archetype's"
        for pool in request.pools
        if pool.chip.hypothetical
    ]
    for pool in request.pools:
        said += [] if request.other_model else _capacities(pool.chip)
    limit = model.context_limit_tokens
    if limit and work.context_tokens > limit:
        context = work.context_tokens
        said.append(f"context {context} is beyond the {limit} tokens that {model.name} was made for")
    both = unknown.get("decode") == unknown.get("prefill")
    for task in ("decode",) if both else ("decode", "prefill"):
        if missing := unknown.get(task):
            known = ", ".join(request.chip.compute)
            rest = f"; its arithmetic runs in {known}" if known and "compute." in missing[0] else ""
            said.append(
                f"no times{'' if both else f' of {task}'}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} unknown{rest}"
            )
    named = " ".join(figure for figures in unknown.values() for figure in figures)
    for laid in placed:
        chip = laid.request.chip.label
        if not unknown.get("decode"):
            left_out = [f"{figure} of {chip}" for figure in _unknown(laid)]
            said += [
                f"{figure} is unknown: its term is left out" for figure in left_out if figure not in named
            ]
            said += [
                f"{figure} is unknown: its term of decode is left out"
                for figure in left_out
                if figure in named
            ]
            said += _assumptions(laid.request, prefills=not unknown.get("prefill"))
        said += _format_warnings(laid.request, laid.job.timer.formats)
    if placed:
        layout = placed[0].job.layout
        sharing = layout.data * layout.attention_data
        if sharing > work.batch and sharing > 1 and not request.chip.hardwired:
            busy = layout.chips // sharing * work.batch
            said.append(
                f"batch {work.batch} keeps {busy} of {layout.chips} chips busy; more would make it slower"
            )
        if request.feed_forward and not unknown.get("decode"):
            said.append(_pair_assumption(request))
        said += _cost_warnings(request, cost)
    return tuple(dict.fromkeys(said))


def _pair_assumption(request: Request) -> str:
    """What the time of a layer that is shared between pools rests on."""
    each = format_seconds(request.link("feed-forward").latency_s or 0.0)
    return f"attention and feed-forward on unlike chips assume {each} a hand-over and half of each chip's layer floor, unvalidated"


def _assumptions(request: Request, *, prefills: bool) -> list[str]:
    """What the times and sizes of a chip or a stack without a record rest on."""
    chip, engine = request.chip, request.engine
    said = []
    floor = chip.layer_floor
    if foreign(request):
        said.append(
            f"{engine.name} is a stack of other chips: none of its constants was seen on {chip.label}"
        )
    if floor and not engine.ideal:
        source = source_of(chip.sources, "layer_floor")
        grade = f" (grade {source.grade})" if source and source.grade else ""
        said.append(f"the layer floor of {chip.label} rests on {floor.rests_on}{grade}")
        if not floor.throughput_rests_on:
            said.append(
                f"throughput and USD/Mtok of {chip.label} assume batch / step, unvalidated: none is published"
            )
    for name, tier in chip.homes:
        nominal = tier.effective_bytes_per_s is None or engine.ideal
        # On a spatial chip the floor decides; an archetype's figure is no maker's claim.
        decides = engine.ideal or not floor or (chip.execution == "time-shared" and not chip.hypothetical)
        if name == "sram" and nominal and tier.bandwidth_bytes_per_s and decides:
            said.append(
                f"nominal SRAM bandwidth of {chip.label}: published speeds of SRAM-first chips stay hundreds of times below it"
            )
    share = engine.prefill_compute_efficiency or engine.constants.get("compute_efficiency")
    for figure in ("prefill_compute_efficiency", "constants.compute_efficiency"):
        source = engine.sources.get(figure)
        if source and source.kind == "estimate" and chip.compute and request.role == "all" and prefills:
            said.append(f"prefill on {chip.label} assumes {share:.0%} of peak, unvalidated: {source.source}")
    return said


def _capacities(chip: Chip) -> list[str]:
    """Capacities of homes that nobody has published: whether a job fits hangs on them."""
    said = []
    for name, tier in chip.memory.items():
        source = source_of(chip.sources, f"memory.{name}.capacity_bytes")
        if tier.home and source and source.kind == "estimate" and not chip.hypothetical:
            grade = f" (grade {source.grade})" if source.grade else ""
            said.append(f"capacity of the {tier_title(name)} of {chip.name}: {source.source}{grade}")
    return said


def _cost_warnings(request: Request, cost: Cost | None) -> list[str]:
    """Why a price or an energy is missing, or weaker than it looks."""
    if cost is None:
        return []
    payment = request.payment
    said = []
    scenario = payment.scenario
    for chip in (pool.chip for pool in request.pools):
        if scenario and price_name(payment) == scenario.name and chip.name in scenario.placeholders:
            said.append(f"the price of {chip.label} in {scenario.name} is a placeholder of its source")
        if payment.usd_per_chip is not None and usd_per_chip_hour(payment, chip) is None:
            said.append(f"no cost of owning: the power of {chip.label} is unknown")
    if cost.watts is None:
        chips = " or ".join(pool.chip.label for role, pool in request.roles if role != "prefill")
        said.append(f"no energy: power of {chips}, or a figure that it needs, is unknown")
    return said


def _format_warnings(request: Request, formats: dict[str, str]) -> list[str]:
    """Say where weights of one format meet math in a wider one."""
    book, said = request.book, []
    widest = request.engine.widest_quantized
    if widest and book.formats["head"].main.name == widest:
        said.append(f"{request.engine.name} holds embedding and head of a quantised model in {widest} too")
    for tensor in ("attention", "dense", "experts", "head"):
        stored = book.formats[tensor].main
        if tensor not in formats or (tensor != "head" and not book.weight_bytes[tensor]):
            continue
        ran = formats[tensor]
        if stored.weight_only and tensor != "head":
            said.append(f"{stored.name} weights are expanded for {ran} math on {request.chip.label}")
        elif (
            not stored.weight_only and ran in request.chip.compute and MATH[ran][0] != MATH[stored.element][0]
        ):
            what = "head weights" if tensor == "head" else "weights"
            said.append(f"{stored.name} {what} meet {ran} math on {request.chip.label}")
    return said
