"""The estimate: one request in, one report out. Every command asks this."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import inf

from memcalc._version import __version__
from memcalc.core import remarks
from memcalc.core.cost import energy, usd_per_chip_hour, usd_per_hour, usd_per_million
from memcalc.core.job import Job
from memcalc.core.placement import Shares, worst
from memcalc.core.report import (
    SCHEMA_VERSION,
    Change,
    Cost,
    Decode,
    KvCache,
    LayoutFacts,
    Limits,
    ModelFacts,
    PlacementRow,
    Prefill,
    Report,
    RequestTime,
    SystemFacts,
    TierRow,
    WorkloadFacts,
)
from memcalc.core.residency import WEIGHT_PARTS, Residency, largest
from memcalc.core.search import (
    Choice,
    Placed,
    Request,
    choose,
    least_prefill,
    max_batch,
    max_context,
    min_chips,
    nearest,
    place_pools,
)
from memcalc.core.timing import Pass
from memcalc.workload import Layout, Precision, Workload

#: Intervals over which a request's decode steps are integrated along its growing context.
INTERVALS = 16
#: Bytes by role of a pool, tensor and tier.
Resident = Mapping[str, Mapping[str, Mapping[str, int]]]
#: Layouts that are followed in turn to where a verdict changes.
MOST_LAYOUTS = 8


def estimate(request: Request, command: str = "fit", *, limits: bool = True) -> Report:
    """Answer a request: where its bytes live, how fast it runs, what it costs, how far it can grow.

    Without `limits` the last of these, which takes the longest, is left out (all None).

    >>> from memcalc.api import request
    >>> report = estimate(request("llama-3.1-8b", chip="h100-sxm"))
    >>> report.verdict, report.placement[0].bytes
    ('dram', 16060522496)
    """
    work, book, model, system = request.workload, request.book, request.model, request.system
    choice = choose(request)
    held = choice.job.held if choice else nearest(request)
    bounds = Limits(None, None, None)
    if limits:
        bounds = Limits(max_batch(request), max_context(request), min_chips(request))
    placed = place_pools(request, choice) if choice else ()
    resident = {pool.role: _resident(pool) for pool in placed}
    rows = _placement_rows(request, placed, resident, held)
    unknown = remarks.unknown_figures(request, choice, placed) if choice else {}
    decode = prefill = times = cost = None
    if choice:
        if not unknown.get("decode"):
            decode = _decode(request, choice)
        if not unknown.get("prefill"):
            prefill = _prefill(request, placed)
        if decode and prefill:
            times = _request(request, choice, prefill)
        cost = _cost(request, choice, decode, prefill)
    reserved = held.paged_kv(work.context_tokens) if held else 0
    return Report(
        schema_version=SCHEMA_VERSION,
        memcalc_version=__version__,
        command=command,
        model=ModelFacts(
            name=model.name,
            source=model.origin,
            parameters=model.parameters,
            active_parameters=model.active_parameters,
            active_parameters_without_embedding=model.active_parameters_without_embedding,
            parameters_by_class={c: e.total for c, e in model.elements().items() if e.total},
            vision_parameters=model.vision_parameters,
            mtp_parameters=model.mtp_parameters,
            layers=model.depth,
            context_limit_tokens=model.context_limit_tokens,
        ),
        system=SystemFacts(
            name=system.name,
            title=remarks.title(request),
            chip=system.chip.name,
            chips=request.chips,
            source=system.origin,
            hypothetical=any(pool.chip.hypothetical for pool in request.pools),
            pools=remarks.pools(request, placed, resident, bounds if limits else None),
        ),
        workload=WorkloadFacts(
            workflow=work.workflow,
            batch=work.batch,
            context_tokens=work.context_tokens,
            prompt_tokens=work.prompt_tokens,
            output_tokens=work.output_tokens,
            draft_tokens=work.draft_tokens,
            acceptance=work.acceptance if work.draft_tokens else None,
        ),
        precision=Precision(request.precision.weights, request.precision.kv, request.activations),
        engine=request.engine.name,
        prices=remarks.price_name(request.payment),
        layout=_layout(held.layout, request) if held else None,
        fits=choice is not None,
        verdict=worst(pool.placement.verdict for pool in placed),
        reason=remarks.reason(request, choice, held),
        why=remarks.why(request, choice) if choice else "",
        placement=rows,
        kv_cache=KvCache(
            bytes_per_token=book.kv_bytes_per_token(work.context_tokens),
            bytes_per_sequence=book.kv_bytes_per_sequence(work.context_tokens),
            state_bytes_per_sequence=book.state_bytes_per_sequence,
            engine_reserved_bytes_per_sequence=reserved,
            replication=held.resident_kv(1, work.context_tokens) / reserved if held and reserved else 1.0,
            uncompressed_bytes_per_token=book.uncompressed_bytes_per_token(request.precision.kv),
            page_tokens=held.page_tokens if held else request.engine.page_tokens,
            reserved_because=held.reserved_because(work.context_tokens) if held else (),
        ),
        tiers=_tier_rows(request, resident),
        limits=bounds,
        decode=decode,
        prefill=prefill,
        request=times,
        cost=cost,
        evidence=remarks.evidence(request),
        not_modeled=remarks.not_modeled(request),
        warnings=remarks.warnings(request, placed, cost, unknown),
        degrades_at=_degrades(request, choice, bounds) if choice and limits else (),
    )


def _layout(layout: Layout, request: Request) -> LayoutFacts:
    return LayoutFacts(
        tensor_parallel=layout.tensor,
        pipeline_parallel=layout.pipeline,
        expert_parallel=layout.expert,
        data_parallel=layout.data,
        context_parallel=layout.context,
        attention_data_parallel=layout.attention_data,
        spatial=request.chip.execution == "spatial",
    )


def _placement_rows(
    request: Request, placed: tuple[Placed, ...], resident: Resident, held: Residency | None
) -> tuple[PlacementRow, ...]:
    """The tensors with the bytes that the model needs, and where their copies lie over all pools."""
    work, book = request.workload, request.book
    batch, context = work.batch, work.context_tokens
    needed = {
        "weights": book.total_weight_bytes,
        "kv_cache": batch * book.kv_bytes_per_sequence(context),
        "state": batch * book.state_bytes_per_sequence,
        "activations": 0,
        "reserved": 0,
    }
    if held is None:
        return tuple(PlacementRow(tensor, size, {}) for tensor, size in needed.items())
    helds = [(pool.job.held, pool.batch, pool.context) for pool in placed] or [(held, batch, context)]
    needed["activations"] = sum(round(one.activations(n, length) * one.chips) for one, n, length in helds)
    needed["reserved"] = sum(one.reserved * one.chips for one, _, _ in helds)
    tiers: dict[str, dict[str, int]] = {tensor: {} for tensor in needed}
    for by_tensor in resident.values():
        for tensor, where in by_tensor.items():
            for tier, size in where.items():
                tiers[tensor][tier] = tiers[tensor].get(tier, 0) + size
    read: dict[str, int] = {}
    if placed:
        works = [done for _, _, done in placed[0].job.works(work, placed[0].placement)]
        cached = round(sum(done.part_bytes["kv"] for done in works))
        read = {
            "weights": round(sum(sum(done.part_bytes.values()) for done in works)) - cached,
            "kv_cache": cached,
        }
        if needed["state"]:
            # Each sequence's state is read and written, in all its copies.
            read["state"] = 2 * placed[0].job.held.resident_kv(batch, context, state=True)
            read["kv_cache"] = max(0, read["kv_cache"] - read["state"])
    return tuple(
        PlacementRow(tensor, size, tiers[tensor], read.get(tensor)) for tensor, size in needed.items()
    )


def _resident(pool: Placed) -> dict[str, dict[str, int]]:
    """The bytes of each tensor by tier over the chips of a pool, copies included."""
    held, shares = pool.job.held, pool.placement.shares
    tiers: dict[str, dict[str, int]] = {
        tensor: {} for tensor in ("weights", "kv_cache", "state", "activations", "reserved")
    }
    for part in WEIGHT_PARTS:
        _spread(tiers["weights"], held.resident[part], shares[part])
    _spread(tiers["kv_cache"], held.resident_kv(pool.batch, pool.context), shares["kv"])
    if state := held.resident_kv(pool.batch, pool.context, state=True):
        _spread(tiers["state"], state, shares["kv"])
    _spread(
        tiers["activations"],
        round(held.activations(pool.batch, pool.context) * held.chips),
        shares["overhead"],
    )
    _spread(tiers["reserved"], held.reserved * held.chips, shares["overhead"])
    return tiers


def _spread(tiers: dict[str, int], size: int, shares: Shares) -> None:
    """Add whole bytes to the tiers by share; the last tier takes what rounding leaves."""
    left = size
    if not size:
        return
    for tier, share in shares:
        here = left if (tier, share) == shares[-1] else round(size * share)
        left -= here
        tiers[tier] = tiers.get(tier, 0) + here


def _tier_rows(request: Request, resident: Resident) -> tuple[TierRow, ...]:
    """All tiers of the chips, homes or not, with what is used of each over each pool."""
    found = []
    for role, pool in request.roles:
        chips, usable = pool.system.count, {room.tier: room.usable for room in pool.rooms}
        for name, tier in pool.chip.memory.items():
            rate = tier.bandwidth_bytes_per_s
            found.append(
                TierRow(
                    pool=role,
                    chip=pool.chip.name,
                    tier=name,
                    capacity_bytes=None if tier.capacity_bytes is None else tier.capacity_bytes * chips,
                    usable_bytes=int(usable.get(name, 0.0) * chips),
                    used_bytes=sum(where.get(name, 0) for where in resident.get(role, {}).values()),
                    bandwidth_bytes_per_s=None if rate is None else rate * chips,
                    role="home" if tier.home else tier.role,
                )
            )
    return tuple(found)


def _bottleneck(terms: Mapping[str, float]) -> str:
    return max(terms, key=terms.__getitem__)


def _bands(factor: float, figures: Mapping[str, float | None]) -> tuple[dict[str, float], dict[str, float]]:
    """The low and high ends of bands that divide and multiply each known figure by a factor."""
    known = {name: value for name, value in figures.items() if value is not None}
    low = {name: value / factor for name, value in known.items()}
    return low, {name: value * factor for name, value in known.items()}


def _decode(request: Request, choice: Choice) -> Decode:
    work, step = request.workload, choice.step
    speed = work.tokens_per_step / step.seconds
    figures = {
        "step_s": step.seconds,
        "tokens_per_s_per_user": speed,
        "tokens_per_s": speed * work.batch,
        "tokens_per_s_per_chip": speed * work.batch / request.chips,
    }
    low, high = _bands(remarks.decode_band(request), {**figures})
    return Decode(
        **figures, bottleneck=_bottleneck(step.terms), terms_s=dict(step.terms), low=low, high=high
    )  # fmt: skip


def _prefill(request: Request, placed: tuple[Placed, ...]) -> Prefill:
    """Prefill where it happens: on the pool for it, else on the main one; then the cache is handed over."""
    work, pool = request.workload, placed[-1] if request.prefill else placed[0]
    job, placement = pool.job, pool.placement
    one = job.prefill(1, work.prompt_tokens, placement)
    whole = one if work.batch == 1 else job.prefill(work.batch, work.prompt_tokens, placement)
    if request.engine.ideal:
        # A bound holds over all layouts and placements, not only for those that decode fastest.
        asked = request.prompts or request
        one = least_prefill(asked, 1) or one
        whole = least_prefill(asked, work.batch) or whole
    terms, first, last = dict(one.terms), one.seconds, whole.seconds
    cache = seconds = None
    if request.prefill:
        cache = request.book.kv_bytes_per_sequence(work.prompt_tokens) + request.book.state_bytes_per_sequence
        rate, latency = request.link("prefill")
        seconds = cache / (rate or inf)
        layers = request.model.depth

        def handed(computed: float, prompts: int) -> float:
            """Layers leave while the next are computed: the first soon, the last when all is done."""
            return max(computed + seconds / layers, prompts * seconds + one.seconds / layers) + (
                latency or 0.0
            )

        first, last = handed(one.seconds, 1), handed(whole.seconds, work.batch)
        terms["network"] = terms.get("network", 0.0) + first - one.seconds
    figures = {
        "time_to_first_token_s": first,
        "tokens_per_s": work.prompt_tokens / one.seconds,
        "batch_s": last,
    }
    low, high = _bands(remarks.band_of(pool.request, "prefill"), {**figures})
    return Prefill(
        **figures, bottleneck=_bottleneck(terms), terms_s=terms, low=low, high=high,
        kv_transfer_bytes=cache, kv_transfer_s=seconds,
    )  # fmt: skip


def _request(request: Request, choice: Choice, prefill: Prefill) -> RequestTime:
    """The time of a whole request; its band is the wider of its two parts."""
    latency = _latency(request, choice, prefill)
    factor = max(remarks.decode_band(request), remarks.band_of(request.prefill or request, "prefill"))
    return RequestTime(latency, *_bands(factor, {"latency_s": latency}))


def _latency(request: Request, choice: Choice, prefill: Prefill) -> float | None:
    """Prefill and the decode steps over the growing context [s], by Simpson's rule."""
    work = request.workload
    if not work.output_tokens:
        return None

    def step_at(point: int) -> Pass:
        context = work.prompt_tokens + work.output_tokens * point // INTERVALS
        return choice.job.step(work, choice.placement, max(1, context))

    seconds = [step_at(point).seconds for point in range(INTERVALS + 1)]
    mean = (seconds[0] + seconds[-1] + 4 * sum(seconds[1::2]) + 2 * sum(seconds[2:-1:2])) / (3 * INTERVALS)
    # The prefill yields the first token.
    return prefill.time_to_first_token_s + (work.output_tokens - 1) / work.tokens_per_step * mean


def _cost(request: Request, choice: Choice, decode: Decode | None, prefill: Prefill | None) -> Cost | None:
    """Dollars and joules; None where there is no time to charge for."""
    if decode is None:
        return None
    work, payment = request.workload, request.payment
    decoding = [(pool.chip, pool.system.count) for role, pool in request.roles if role != "prefill"]
    filling = [(pool.chip, pool.system.count) for role, pool in request.roles if role == "prefill"]
    out = usd_in = None
    hour = usd_per_hour(payment, decoding)
    if hour is not None:
        out = usd_per_million(hour, decode.tokens_per_s, payment.utilization)
    hour = usd_per_hour(payment, filling or decoding)
    if hour is not None and prefill:
        rate = work.batch * work.prompt_tokens / prefill.batch_s
        usd_in = usd_per_million(hour, rate, payment.utilization)
    spent = energy(choice.job.works(work, choice.placement), decode.step_s)
    tokens = work.batch * work.tokens_per_step
    terms = {term: joules / tokens for term, joules in spent.terms_j.items()}
    joules = sum(terms.values()) if terms else None
    low, high = _bands(
        remarks.decode_band(request),
        {"usd_per_million_output_tokens": out, "joules_per_output_token": joules},
    )
    filled = remarks.band_of(request.prefill or request, "prefill")
    low_in, high_in = _bands(filled, {"usd_per_million_input_tokens": usd_in})
    kind, date = remarks.price_evidence(request)
    return Cost(
        usd_per_chip_hour=usd_per_chip_hour(payment, request.chip) if len(request.pools) == 1 else None,
        usd_per_million_output_tokens=out,
        usd_per_million_input_tokens=usd_in,
        utilization=payment.utilization,
        price_kind=kind,
        price_date=date,
        watts=spent.watts,
        joules_per_output_token=joules,
        energy_terms_j=terms,
        low=low | low_in,
        high=high | high_in,
    )


def _degrades(request: Request, choice: Choice, limits: Limits) -> tuple[Change, ...]:
    """Where a larger batch or a longer context gets a worse verdict, the layout searched again."""
    work = request.workload
    by_batch = _changes(request, choice, "batch", limits.max_batch, lambda n: replace(work, batch=n))
    longer = limits.max_context_tokens
    by_context = _changes(request, choice, "context", longer, lambda n: replace(work, context_tokens=n))
    return (*by_batch, *by_context)


def _changes(
    request: Request, choice: Choice, what: str, limit: int | None, grown: Callable[[int], Workload]
) -> Iterator[Change]:
    """The first value with another verdict, where several tiers allow one, and the first that does not fit."""
    verdict = choice.placement.verdict
    now = request.workload.batch if what == "batch" else request.workload.context_tokens
    for _ in range(MOST_LAYOUTS if len(request.rooms) > 1 else 0):

        def same(more: int, job: Job = choice.job, start: int = now) -> bool:
            work = grown(start + more)
            return job.place(work.batch, work.context_tokens).verdict == verdict

        more = largest(same)
        if more is None:
            return
        now += more + 1
        # On this layout it changes here; another may hold the verdict still.
        found = choose(replace(request, workload=grown(now)))
        if found is None:
            break
        if found.placement.verdict != verdict:
            yield Change(what, now, found.placement.verdict)
            break
        choice = found
    if limit is not None:
        yield Change(what, limit + 1, "does-not-fit")
