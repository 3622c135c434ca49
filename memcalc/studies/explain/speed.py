"""The steps of speed: the decode step and what follows from it, and prefill."""

from __future__ import annotations

from memcalc.core import remarks
from memcalc.core.ledger import Operator
from memcalc.core.remarks import term_title
from memcalc.core.report import Decode, Prefill
from memcalc.core.residency import cache_copies
from memcalc.core.search import Choice, Request
from memcalc.studies.explain.passes import Load, PassSteps
from memcalc.studies.explain.steps import (
    GROUPS,
    Numbers,
    Pieces,
    Steps,
    caches_named,
    cited,
    entries_read,
    inner,
    summed,
    terms_of,
)

_HALF = "half of the square: a token attends to those before it"
_CORE = "4 * heads * head_dim a token read; absorbed latents 2 * heads * (2 * latent_dim + rope_dim)"
_POOLS = "pools of unlike chips are not taken apart here; Step-3 (arXiv:2507.19427) for the division"


def decode_steps(steps: Steps, passes: PassSteps, choice: Choice, decode: Decode) -> None:
    """The decode step, and the speeds that follow."""
    request, job, work = steps.request, choice.job, steps.request.workload
    steps.group = GROUPS[2]
    if work.draft_tokens:
        values: Numbers = {"acceptance": work.acceptance, "draft_tokens": work.draft_tokens}
        formula = "(1 - acceptance**(draft_tokens + 1)) / (1 - acceptance)"
        formula = "draft_tokens + 1" if work.acceptance >= 1.0 else formula
        source = "Leviathan 2022 (arXiv:2211.17192), equation 1"
        steps.add("tokens per step", formula, values, "tokens", source, work.tokens_per_step)
    if request.feed_forward:
        values = terms_of(decode.terms_s, "s")
        steps.add("decode step", summed(list(values)), values, "s", _POOLS, decode.step_s)
    else:
        load = _decode_load(steps, choice)
        passes.bandwidths(load.flights)
        drafting = bool(work.draft_tokens and request.model.mtp_layers)
        verify = job.decode(work.batch, work.context_tokens, choice.placement, 1 + work.draft_tokens)
        name = "verifying step" if drafting else "decode step"
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
    """What a decode step takes in: sequences, the cache that a chip reads, the attention core's FLOP."""
    request, job, timer = steps.request, choice.job, choice.job.timer
    work = request.workload
    context = work.context_tokens
    flights, sequences = job.micro_batch(work.batch)
    if timer.stages > 1:
        whole = job.held.sequences(work.batch)
        most = 1 if request.engine.splits == "layers" else min(timer.stages, whole)
        values: Numbers = {"sequences": whole, "micro_batches": most}
        formula, source = "ceil(sequences / micro_batches)", "one micro-batch a stage keeps a pipeline busy"
        steps.add("sequences of a micro-batch", formula, values, "sequences", source, sequences)
    positions = sequences * (1 + work.draft_tokens)
    kv = timer.kv_read(context)
    if kv:
        _cache_read(steps, choice, context, "context_tokens")
        values = {"sequences": sequences, "sequence_read_bytes": kv}
        name, formula = f"{steps.kept} that a chip reads in a pass", "sequences * sequence_read_bytes"
        steps.add(name, formula, values, "B", (), kv * sequences)
    pieces: list[str] = []
    values = {"positions": positions}
    for one in caches_named(timer.caches):
        if one.cache.decode_flops:
            values[f"{one.name}_flop"] = one.cache.decode_flops
            pieces.append(f"{one.name}_flop * {entries_read(one, context, values)}")
    flops = 0.0
    if pieces:
        name, formula = "FLOP of the attention core in a pass", f"{inner(pieces)} * positions"
        flops = steps.add(name, formula, values, "FLOP", _CORE)
    wide = positions * job.layout.attention_data
    return Load(positions, wide, positions, sequences, flops, kv * sequences, flights)


def _cache_read(steps: Steps, choice: Choice, context: int, tokens: str) -> None:
    """Bytes that a chip reads of the cache of one sequence; `tokens` is what the context is called."""
    request, job, timer = steps.request, choice.job, choice.job.timer
    values: Numbers = {steps.chips: timer.narrow * job.layout.context}
    pieces = []
    for one in caches_named(timer.caches):
        values[f"{one.name}_bytes"] = one.cache.bytes_per_entry
        entries = "2" if one.cache.state else entries_read(one, context, values, tokens)
        piece = f"{one.name}_bytes * {entries}"
        copies = cache_copies(one.cache, job.layout, request.chip, request.engine)
        if copies != 1.0:
            values[f"{one.name}_copies"] = copies
            piece += f" * {one.name}_copies"
        pieces.append(piece)
    source = ("a state is read and written",) if any(c.state for c in timer.caches) else ()
    name, formula = f"{steps.kept} that a chip reads of a sequence", f"{inner(pieces)} / {steps.chips}"
    steps.add(name, formula, values, "B", source, timer.kv_read(context))


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
                "plain_step_s": one.terms[term],
            }
            formula = "verify_s + draft_tokens / layers * plain_step_s"
            if head.get(term):
                values["head_s"] = head[term]
                formula += " + draft_tokens * head_s"
            steps.add(f"with drafting: {term_title(term)}", formula, values, "s", (), seconds)
    values = terms_of(decode.terms_s, "s")
    steps.add("decode step", summed(list(values)), values, "s", (), decode.step_s)


def prefill_steps(steps: Steps, passes: PassSteps, choice: Choice, prefill: Prefill) -> None:
    """The time to the first token of one prompt, and of all prompts of the batch."""
    request, job = steps.request, choice.job
    pool, tokens, batch = request.prefill or request, request.workload.prompt_tokens, request.workload.batch
    steps.group = GROUPS[3]
    first = prefill.time_to_first_token_s
    if request.engine.ideal or request.prefill:
        # A bound holds over all layouts, of which another may be fastest; and other chips have layouts of their own.
        values = terms_of(prefill.terms_s, "s")
        source = _POOLS if request.prefill else "the fastest of all layouts and placements"
        steps.add("time to first token", summed(list(values)), values, "s", source, first)
    elif job.timer.spatial:
        _streamed(steps, choice, prefill)
    else:
        _chunked(steps, passes, choice, prefill)
    values = {"prompt_tokens": tokens, "time_to_first_token_s": first}
    formula = "prompt_tokens / time_to_first_token_s"
    if not request.prefill:
        steps.add("prompt tokens/s", formula, values, "tokens/s", (), prefill.tokens_per_s)
    values = {"time_to_first_token_s": first, "band": remarks.band_of(pool, "prefill")}
    figure = "time_to_first_token_s"
    _band(steps, pool, "time to first token", values, "s", (prefill.low[figure], prefill.high[figure]))
    if batch > 1 and not request.engine.ideal and not request.prefill:
        values = terms_of(job.prefill(batch, tokens, choice.placement).terms, "s")
        steps.add("prefill of the whole batch", summed(list(values)), values, "s", (), prefill.batch_s)


def _pairs(choice: Choice, tokens: int, which: str, end: str) -> Pieces:
    """FLOP of the attention core over a prompt: pairs of a query and an entry, half of the square."""
    values: Numbers = {"prompt_tokens": tokens}
    pieces = []
    for one in caches_named(choice.job.timer.caches):
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


def _chunked(steps: Steps, passes: PassSteps, choice: Choice, prefill: Prefill) -> None:
    """A prompt in chunks: one chunk as a pass, then all of them."""
    request, job, timer = steps.request, choice.job, choice.job.timer
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
    flops = _core_of_chunk(steps, choice, tokens, chunks, earlier)
    kv, read = timer.kv_read(tokens), 0.0
    if kv:
        _cache_read(steps, choice, tokens, "prompt_tokens")
        values = {"sequence_read_bytes": kv, "chunks": chunks, "earlier": earlier}
        formula = "sequence_read_bytes / chunks * (1 + earlier)"
        read = steps.add(f"{steps.kept} that a chip reads in a chunk", formula, values, "B")
    if not steps.report.decode:
        passes.bandwidths(1)
    chunk = passes.total("one chunk", Load(each, each, 1 / chunks, 1 / chunks, flops, read), {}, None)
    values, formula = {"chunks": chunks, "chunk_s": chunk}, "chunks * chunk_s"
    if layout.pipeline > 1:
        # Chunks follow each other through the stages, which must fill first.
        values["pipeline"] = layout.pipeline
        formula = "(chunks + pipeline - 1) / pipeline * chunk_s"
    steps.add("time to first token", formula, values, "s", (), prefill.time_to_first_token_s)


def _core_of_chunk(steps: Steps, choice: Choice, tokens: int, chunks: float, earlier: float) -> float:
    """FLOP of the attention core in a chunk; latents are expanded, or absorbed where that is less."""
    pieces, values = _pairs(choice, tokens, "prefill_flops", "flop")
    if not pieces:
        return 0.0
    core = inner(pieces)
    expanding = [one for one in caches_named(choice.job.timer.caches) if one.cache.expand_flops]
    if expanding:
        names = {f"{one.name}_expand_flop": one.cache.expand_flops for one in expanding}
        absorbed, numbers = _pairs(choice, tokens, "decode_flops", "absorbed_flop")
        values |= {**names, **numbers, "earlier": earlier}
        core = f"min({summed(absorbed)}, {core} + {inner(list(names))} * prompt_tokens * earlier)"
    values["chunks"] = chunks
    return steps.add("FLOP of the attention core in a chunk", f"{core} / chunks", values, "FLOP", _HALF)


def _streamed(steps: Steps, choice: Choice, prefill: Prefill) -> None:
    """A spatial chip: the tokens of a prompt stream through the layers, all of which work at once."""
    job, timer, chip = choice.job, choice.job.timer, steps.request.chip
    engine, tokens, first = steps.request.engine, steps.request.workload.prompt_tokens, "time to first token"
    values: Numbers = {"floor_s": timer.floor_s}
    if not prefill.terms_s["compute"]:
        values |= {"prompt_tokens": tokens, "layers": timer.depth}
        formula, why = (
            "floor_s * (prompt_tokens - 1 + layers) / layers",
            "a token enters whenever a layer is free",
        )
        steps.add(first, formula, values, "s", why, prefill.time_to_first_token_s)
        return
    forms: Numbers = {}
    pieces, values = _pairs(choice, tokens, "prefill_flops", "flop")
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
            name = f"{op.tensor}_{place}_flop" if again else f"{op.tensor}_flop"
            values[name] = op.flops_per_token
            pieces.append(name if op.tensor == "head" else f"{name} * prompt_tokens")
        name = f"FLOP of the products in {form}"
        flop = steps.add(name, summed(pieces), values, "FLOP", "2 a weight and token; the head once")
        forms[form] = forms.get(form, 0.0) + flop
    pieces = [f"{form}_flop / {form}_flop_per_s" for form in forms]
    values = {f"{form}_flop": flop for form, flop in forms.items()}
    values |= {f"{form}_flop_per_s": chip.compute[form] for form in forms}
    values["chips"] = job.layout.tensor * job.layout.pipeline
    values["compute_efficiency"] = engine.prefill_compute_efficiency or timer.constants.compute_efficiency
    figures = steps.engine("prefill_compute_efficiency") or steps.engine("constants")
    source = (*steps.chip(*(f"compute.{form}" for form in forms)), *figures)
    formula = f"{inner(pieces)} / (chips * compute_efficiency)"
    compute = steps.add("compute of a prompt", formula, values, "s", source, prefill.terms_s["compute"])
    values, why = {"compute_s": compute, "floor_s": timer.floor_s}, "the last token goes through all layers"
    steps.add(first, "compute_s + floor_s", values, "s", why, prefill.time_to_first_token_s)
