"""The steps of speed: the decode step and what follows from it, and prefill."""

from __future__ import annotations

from collections.abc import Mapping

from memcalc.core import remarks
from memcalc.core.job import Job
from memcalc.core.ledger import Operator
from memcalc.core.pair import PairJob
from memcalc.core.placement import HOT_WEIGHTS, Placement
from memcalc.core.remarks import term_title, tier_title
from memcalc.core.report import Decode, Prefill
from memcalc.core.search import Choice, Placed, Request, least_prefill
from memcalc.core.timing import Pass
from memcalc.studies.explain.pair import pair_steps
from memcalc.studies.explain.passes import Load, PassSteps, cache_read, decode_load
from memcalc.studies.explain.steps import (
    GROUPS,
    Numbers,
    Pieces,
    Steps,
    caches_named,
    cited,
    entries_kept,
    inner,
    part_name,
    summed,
    terms_of,
)

_HALF = "half of the square: a token attends to those before it"
_LEAVING = "layers leave while the next are computed, and the last leaves at the end (docs/cost-model.md)"


def decode_steps(steps: Steps, choice: Choice, decode: Decode) -> None:
    """The decode step, and the speeds that follow."""
    request, job, work = steps.request, choice.job, steps.request.workload
    steps.group = GROUPS[2]
    if work.draft_tokens:
        values: Numbers = {"acceptance": work.acceptance, "draft_tokens": work.draft_tokens}
        formula = "(1 - acceptance**(draft_tokens + 1)) / (1 - acceptance)"
        formula = "draft_tokens + 1" if work.acceptance >= 1.0 else formula
        source = "Leviathan 2022 (arXiv:2211.17192), equation 1"
        steps.add("tokens per step", formula, values, "tokens", source, work.tokens_per_step)
    drafting = bool(work.draft_tokens and request.model.mtp_layers)
    name = "verifying step" if drafting else "decode step"
    if isinstance(job, PairJob):
        pair_steps(steps, job, choice.placement, name)
    else:
        load = _decode_load(steps, choice)
        passes = PassSteps(steps, job, choice.placement)
        passes.bandwidths(load.flights)
        verify = job.decode(work.batch, work.context_tokens, choice.placement, 1 + work.draft_tokens)
        passes.total(name, load, verify.terms, verify.seconds)
    if drafting:
        _drafts(steps, choice, decode)
    speed, whole = decode.tokens_per_s_per_user, decode.tokens_per_s
    values = {"tokens_per_step": work.tokens_per_step, "step_s": decode.step_s}
    steps.add("tokens/s per user", "tokens_per_step / step_s", values, "tokens/s", (), speed)
    values = {"batch": work.batch, "user_tokens_per_s": speed}
    steps.add("tokens/s, whole system", "batch * user_tokens_per_s", values, "tokens/s", (), whole)
    values = {"tokens_per_s": whole, "chips": request.chips}
    result = decode.tokens_per_s_per_chip
    steps.add("tokens/s per chip", "tokens_per_s / chips", values, "tokens/s", (), result)
    values = {"user_tokens_per_s": speed, "band": remarks.decode_band(request)}
    figure = "tokens_per_s_per_user"
    _band(steps, request, "tokens/s per user", values, "tokens/s", (decode.low[figure], decode.high[figure]))


def _band(
    steps: Steps, pool: Request, title: str, values: Numbers, unit: str, ends: tuple[float, float]
) -> None:
    """The ends of the band around a figure."""
    if values["band"] == 1.0:
        return  # a bound
    rests = steps.report.evidence.get("rests_on")
    source = (*cited(pool.engine.sources, "bands"), *((rests,) if rests else ()))
    figure = next(iter(values))
    for which, sign, result in (("low", "/", ends[0]), ("high", "*", ends[1])):
        steps.add(f"80 % band of {title}, {which}", f"{figure} {sign} band", values, unit, source, result)


def _decode_load(steps: Steps, choice: Choice) -> Load:
    """What a decode step takes in, after how many sequences a micro-batch has."""
    request, job, timer = steps.request, choice.job, choice.job.timer
    work = request.workload
    flights, sequences = job.micro_batch(work.batch)
    if timer.stages > 1:
        whole = job.held.sequences(work.batch)
        most = 1 if request.engine.splits == "layers" else min(timer.stages, whole)
        values: Numbers = {"sequences": whole, "micro_batches": most}
        formula, source = "ceil(sequences / micro_batches)", "one micro-batch a stage keeps a pipeline busy"
        steps.add("sequences of a micro-batch", formula, values, "sequences", source, sequences)
    return decode_load(steps, job, sequences, flights)


def _drafts(steps: Steps, choice: Choice, decode: Decode) -> None:
    """What drafting adds: a layer of its own and the head for each draft."""
    work, job, placement = steps.request.workload, choice.job, choice.placement
    verify = job.decode(work.batch, work.context_tokens, placement, 1 + work.draft_tokens)
    one = job.decode(work.batch, work.context_tokens, placement)
    head = job.timer.head(job.micro_batch(work.batch)[1], placement)
    for term, seconds in decode.terms_s.items():
        if seconds:
            values: Numbers = {
                "verify_s": verify.terms[term],
                "draft_tokens": work.draft_tokens,
                "layers": job.timer.depth,
                "plain_step_s": one.terms.get(term, 0.0),
            }
            formula = "verify_s + draft_tokens / layers * plain_step_s"
            if head.get(term):
                values["head_s"] = head[term]
                formula += " + draft_tokens * head_s"
            steps.add(f"with drafting: {term_title(term)}", formula, values, "s", (), seconds)
    values = terms_of(decode.terms_s, "s")
    steps.add("decode step", summed(list(values)), values, "s", (), decode.step_s)


def prefill_steps(steps: Steps, choice: Choice, placed: Mapping[str, Placed], prefill: Prefill) -> None:
    """The time to the first token of one prompt, and of all prompts of the batch."""
    request = steps.request
    tokens, batch = request.workload.prompt_tokens, request.workload.batch
    first, name = prefill.time_to_first_token_s, "time to first token"
    asked, job, placement, group = request, choice.job, choice.placement, GROUPS[3]
    if request.prefill and request.prompts:
        laid = placed["prefill"]
        asked, job, placement = request.prompts, laid.job, laid.placement
        group, name = f"{GROUPS[3]}: prefill", "prefill of the prompt"
    own = steps.on(asked, group)
    alone = job.prefill(1, tokens, placement)
    if request.engine.ideal:
        # A bound holds over all layouts, of which another may be fastest.
        alone = least_prefill(asked, 1) or alone
        values = terms_of(alone.terms, "s")
        source = "the fastest of all layouts and placements"
        own.add(name, summed(list(values)), values, "s", source, alone.seconds)
    elif job.timer.spatial:
        _streamed(own, job, placement, alone, name)
    else:
        _chunked(own, job, placement, alone, name)
    steps = steps.on(request, GROUPS[3])
    taken = "prefill_s" if request.prefill else "time_to_first_token_s"
    values = {"prompt_tokens": tokens, taken: alone.seconds}
    steps.add("prompt tokens/s", f"prompt_tokens / {taken}", values, "tokens/s", (), prefill.tokens_per_s)
    if request.prefill:
        _handed_over(steps, alone, prefill)
    values = {"time_to_first_token_s": first, "band": remarks.band_of(asked, "prefill")}
    figure = "time_to_first_token_s"
    _band(steps, asked, "time to first token", values, "s", (prefill.low[figure], prefill.high[figure]))
    if batch > 1 and not request.engine.ideal:
        whole = job.prefill(batch, tokens, placement)
        name = "computing the prompts of the whole batch" if request.prefill else "prefill of the whole batch"
        values = terms_of(whole.terms, "s")
        result = whole.seconds if request.prefill else prefill.batch_s
        steps.add(name, summed(list(values)), values, "s", (), result)
        if request.prefill:
            _batch_handed_over(steps, alone, whole, prefill)


def _handed_over(steps: Steps, alone: Pass, prefill: Prefill) -> None:
    """The cache of the prompt on its way to the pool that decodes, as far as it is not hidden."""
    request, book = steps.request, steps.request.book
    tokens, kept = request.workload.prompt_tokens, steps.kept
    rate, latency = request.link("prefill")
    values: Numbers = {}
    pieces = []
    for one in caches_named(book.caches):
        if one.cache.stored:
            values[f"{one.name}_bytes"] = one.cache.bytes_per_entry
            entries = entries_kept(one, tokens, values, "prompt_tokens")
            pieces.append(f"{one.name}_bytes" + ("" if entries == "1" else f" * {entries}"))
    size = steps.add(
        f"{kept} of the prompt", summed(pieces) or "0", values, "B", (), prefill.kv_transfer_bytes
    )
    if prefill.kv_transfer_s is None or not rate:
        return
    values = {"sent_bytes": size, "link_bytes_per_s": rate}
    name = f"{kept} over the link"
    kv = steps.add(name, "sent_bytes / link_bytes_per_s", values, "s", (), prefill.kv_transfer_s)
    values = {"transfer_s": kv, "layers": request.model.depth, "prefill_s": alone.seconds}
    formula = "max(transfer_s / layers, transfer_s - prefill_s * (1 - 1 / layers))"
    if latency:
        values["latency_s"], formula = latency, f"{formula} + latency_s"
    shown = steps.add("exposed: hand-over", formula, values, "s", _LEAVING)
    values = {"prefill_s": alone.seconds, "hand_over_s": shown}
    result = prefill.time_to_first_token_s
    steps.add("time to first token", "prefill_s + hand_over_s", values, "s", (), result)


def _batch_handed_over(steps: Steps, alone: Pass, whole: Pass, prefill: Prefill) -> None:
    """All prompts: computed one after the other, their caches sent as they come."""
    work = steps.request.workload
    values: Numbers = {
        "batch": work.batch, "transfer_s": prefill.kv_transfer_s or 0.0, "layers": steps.request.model.depth,
        "whole_s": whole.seconds, "prefill_s": alone.seconds,
    }  # fmt: skip
    formula = "max(whole_s + transfer_s / layers, batch * transfer_s + prefill_s / layers)"
    latency = steps.request.link("prefill").latency_s
    if latency:
        values["latency_s"], formula = latency, f"{formula} + latency_s"
    steps.add("prefill of the whole batch", formula, values, "s", _LEAVING, prefill.batch_s)


def _pairs(job: Job, tokens: int, which: str, end: str) -> Pieces:
    """FLOP of the attention core over a prompt: pairs of a query and an entry, half of the square."""
    values: Numbers = {"prompt_tokens": tokens}
    pieces = []
    for one in caches_named(job.timer.caches):
        flops = getattr(one.cache, which)
        if not flops:
            continue
        values[f"{one.name}_{end}"] = flops
        most = tokens if one.cache.window is None else min(tokens, one.cache.window)
        if one.cache.reads is not None:
            most = min(most, one.cache.reads * one.cache.ratio)
        seen = "prompt_tokens**2 / 2"
        if one.cache.state:
            seen = "prompt_tokens"
        elif most < tokens:
            name = f"{one.name}_tokens"
            values[name] = most
            seen = f"({name}**2 / 2 + (prompt_tokens - {name}) * {name})"
        if one.cache.ratio > 1:
            values[f"{one.name}_ratio"] = one.cache.ratio
            seen += f" / {one.name}_ratio"
        pieces.append(f"{one.name}_{end} * {seen}")
    return pieces, values


def _chunked(steps: Steps, job: Job, placement: Placement, alone: Pass, name: str) -> None:
    """A prompt in chunks: one chunk as a pass, then all of them."""
    request, timer, passes = steps.request, job.timer, PassSteps(steps, job, placement)
    engine, layout, tokens = request.engine, job.layout, request.workload.prompt_tokens
    values: Numbers = {"prompt_tokens": tokens, "chunk_tokens": engine.prefill_chunk_tokens}
    shared, over = "chunk_tokens", ""
    if layout.context > 1:
        values["context_chips"] = layout.context
        shared, over = "(chunk_tokens * context_chips)", " / context_chips"
    source = steps.engine("prefill_chunk_tokens")
    chunks = steps.add("chunks of a prompt", f"ceil(prompt_tokens / {shared})", values, "chunks", source)
    values = {"chunks": chunks}
    earlier = steps.add("earlier chunks that a chunk reads, on average", "(chunks - 1) / 2", values, "chunks")
    values = {"prompt_tokens": tokens, "chunks": chunks}
    if over:
        values["context_chips"] = layout.context
    each = steps.add("tokens of a chunk on a chip", f"prompt_tokens / chunks{over}", values, "tokens")
    flops = _core_of_chunk(steps, job, tokens, chunks, earlier)
    kv, read = timer.kv_read(tokens), 0.0
    if kv:
        cache_read(steps, job, tokens, "prompt_tokens")
        values = {"sequence_read_bytes": kv, "chunks": chunks, "earlier": earlier}
        formula = "sequence_read_bytes / chunks * (1 + earlier)"
        read = steps.add(f"{steps.kept} that a chip reads in a chunk", formula, values, "B")
    # Where the same chips decode, what they draw has been shown.
    shown = steps.report.decode and len(request.pools) == 1 and steps.group == GROUPS[3]
    passes.bandwidths(1, add=not shown)
    chunk = passes.total("one chunk", Load(each, each, 1 / chunks, 1 / chunks, flops, read), {}, None)
    values, formula = {"chunks": chunks, "chunk_s": chunk}, "chunks * chunk_s"
    if layout.pipeline > 1:
        # Chunks follow each other through the stages, which must fill first.
        values["pipeline"] = layout.pipeline
        formula = "(chunks + pipeline - 1) / pipeline * chunk_s"
    steps.add(name, formula, values, "s", (), alone.seconds)


def _core_of_chunk(steps: Steps, job: Job, tokens: int, chunks: float, earlier: float) -> float:
    """FLOP of the attention core in a chunk; latents are expanded, or absorbed where that is less."""
    pieces, values = _pairs(job, tokens, "prefill_flops", "flop")
    if not pieces:
        return 0.0
    core = inner(pieces)
    expanding = [one for one in caches_named(job.timer.caches) if one.cache.expand_flops]
    if expanding:
        names = {f"{one.name}_expand_flop": one.cache.expand_flops for one in expanding}
        absorbed, numbers = _pairs(job, tokens, "decode_flops", "absorbed_flop")
        values |= {**names, **numbers, "earlier": earlier}
        core = f"min({summed(absorbed)}, {core} + {inner(list(names))} * prompt_tokens * earlier)"
    values["chunks"] = chunks
    return steps.add("FLOP of the attention core in a chunk", f"{core} / chunks", values, "FLOP", _HALF)


def _streamed(steps: Steps, job: Job, placement: Placement, alone: Pass, name: str) -> None:
    """A spatial chip: the tokens of a prompt stream through the layers, all of which work at once."""
    timer, chip = job.timer, steps.request.chip
    engine, tokens = steps.request.engine, steps.request.workload.prompt_tokens
    values: Numbers = {"floor_s": timer.floor_s}
    streamed = next((term for term, s in alone.terms.items() if term.startswith("memory:") and s), None)
    if streamed:
        _streamed_weights(steps, job, placement, alone, streamed, name)
        return
    if not alone.terms["compute"]:
        values |= {"prompt_tokens": tokens, "layers": timer.depth}
        formula, why = (
            "floor_s * (prompt_tokens - 1 + layers) / layers",
            "a token enters whenever a layer is free",
        )
        steps.add(name, formula, values, "s", why, alone.seconds)
        return
    forms: Numbers = {}
    pieces, values = _pairs(job, tokens, "prefill_flops", "flop")
    if pieces:
        forms[timer.formats["kv"]] = steps.add(
            "FLOP of the attention core", summed(pieces), values, "FLOP", _HALF
        )
    by_form: dict[str, list[Operator]] = {}
    for op in steps.request.book.operators:
        by_form.setdefault(timer.formats[op.tensor], []).append(op)
    for form, operators in by_form.items():
        values, pieces = {"prompt_tokens": tokens}, []
        for place, op in enumerate(operators):
            again = any(other.tensor == op.tensor for other in operators[:place])
            figure = f"{op.tensor}_{place}_flop" if again else f"{op.tensor}_flop"
            values[figure] = op.flops_per_token
            pieces.append(figure if op.tensor == "head" else f"{figure} * prompt_tokens")
        what = f"FLOP of the products in {form}"
        flop = steps.add(what, summed(pieces), values, "FLOP", "2 a weight and token; the head once")
        forms[form] = forms.get(form, 0.0) + flop
    pieces = [f"{form}_flop / {form}_flop_per_s" for form in forms]
    values = {f"{form}_flop": flop for form, flop in forms.items()}
    values |= {f"{form}_flop_per_s": chip.compute[form] for form in forms}
    values["chips"] = job.layout.tensor * job.layout.pipeline
    values["compute_efficiency"] = engine.prefill_compute_efficiency or timer.constants.compute_efficiency
    figures = steps.engine("prefill_compute_efficiency") or steps.engine("constants")
    source = (*steps.chip(*(f"compute.{form}" for form in forms)), *figures)
    formula = f"{inner(pieces)} / (chips * compute_efficiency)"
    compute = steps.add("compute of a prompt", formula, values, "s", source, alone.terms["compute"])
    values, why = {"compute_s": compute, "floor_s": timer.floor_s}, "the last token goes through all layers"
    steps.add(name, "compute_s + floor_s", values, "s", why, alone.seconds)


def _streamed_weights(
    steps: Steps, job: Job, placement: Placement, alone: Pass, streamed: str, name: str
) -> None:
    """Weights beyond the die are streamed through once, where that takes longer than the arithmetic."""
    timer, tier = job.timer, streamed.removeprefix("memory:")
    passes = PassSteps(steps, job, placement)
    passes.bandwidths(1)
    values: Numbers = {}
    pieces = []
    for part in HOT_WEIGHTS:
        share = dict(placement.shares[part]).get(tier, 0.0)
        if job.held.parts[part] and share:
            own = part_name(part)
            values |= {f"{own}_bytes": job.held.parts[part], f"{own}_share": share}
            pieces.append(f"{own}_bytes * {own}_share")
    values |= {"layers": timer.depth, f"{tier}_bytes_per_s": timer.rates[tier][0]}
    formula = f"{inner(pieces)} * layers / {tier}_bytes_per_s"
    what = f"weights streamed in from {tier_title(tier)}"
    taken = steps.add(what, formula, values, "s", "once for all tokens of the prompt", alone.terms[streamed])
    values = {"streamed_s": taken}
    if alone.terms["latency"]:
        values["latency_s"] = alone.terms["latency"]
    steps.add(name, summed(list(values)), values, "s", (), alone.seconds)
