"""The decode step of a pair: a micro-batch on each pool, the hand-overs, and how many are in flight."""

from __future__ import annotations

from memcalc.core.pair import HANDED_OVER, MOST_FLIGHTS, Flights, PairJob
from memcalc.core.placement import Placement
from memcalc.core.remarks import term_title
from memcalc.core.timing import Pass, Timer
from memcalc.studies.explain.passes import PassSteps, decode_load
from memcalc.studies.explain.steps import GROUPS, Numbers, Steps, summed, term_name

_STEP_3 = (
    "Step-3 (arXiv:2507.19427) for the division; stages of a pool work side by side (docs/cost-model.md)"
)
_TRIED = "of the numbers tried the one whose step is shortest"
#: The pools as a formula names them.
_NEAR, _FAR = "attention", "feed_forward"


def pair_steps(steps: Steps, job: PairJob, placement: Placement, name: str) -> None:
    """One decode step shared by two pools, each in a group of its own, then together; `name` is that of the step."""
    work = steps.request.workload
    new = 1 + work.draft_tokens
    asked = work.batch, work.context_tokens, placement, new
    best = job.flights(*asked)
    _attention(steps, job, placement, best)
    tokens = _feed_forward(steps, job, best)
    together = steps.on(steps.request, GROUPS[2])
    hand_over = _hand_over(together, job, tokens)
    sequences = job.held.sequences(work.batch)
    values: Numbers = {"sequences": sequences, "most": MOST_FLIGHTS}
    tried = together.add("micro-batches tried, up to", "min(sequences, most)", values, "micro-batches")
    for count in range(1, int(tried) + 1):
        one = job.in_flight(work.batch, count, work.context_tokens, placement, new)
        formula, values = _whole(job, one, one.hand_over_s)
        title = f"step with micro-batches in flight: {count} in flight"
        together.add(title, formula, values, "s", _STEP_3, one.step.seconds)
    values = {"micro_batches": best.flights}
    together.add("micro-batches in flight", "micro_batches", values, "micro-batches", _TRIED)
    _terms(together, job, best)
    formula, values = _whole(job, best, hand_over)
    together.add(name, formula, values, "s", _STEP_3, best.step.seconds)


def _attention(steps: Steps, job: PairJob, placement: Placement, best: Flights) -> None:
    """A micro-batch on the pool of attention."""
    own = steps.on(steps.request, f"{GROUPS[2]}: attention")
    values: Numbers = {
        "sequences": job.held.sequences(steps.request.workload.batch),
        "micro_batches": best.flights,
    }
    source = f"{_TRIED}, below"
    own.add(
        "sequences of a micro-batch",
        "ceil(sequences / micro_batches)",
        values,
        "sequences",
        source,
        best.sequences,
    )
    load = decode_load(own, job.attention, best.sequences, best.flights)
    passes = PassSteps(own, job.attention, placement, "attention")
    passes.bandwidths(best.flights)
    done = best.attention
    passes.total("a micro-batch on attention", load, done.terms, done.seconds)


def _feed_forward(steps: Steps, job: PairJob, best: Flights) -> float:
    """A micro-batch on the pool of feed-forward; returns its tokens over all groups."""
    pool = steps.request.feed_forward or steps.request
    own, layout, work = steps.on(pool, f"{GROUPS[2]}: feed-forward"), job.layout, pool.workload
    values: Numbers = {"sequences": best.sequences, "groups": layout.attention_data, "replicas": layout.data,
                       "batch": work.batch, "micro_batches": best.flights}  # fmt: skip
    name, formula = (
        "sequences of a micro-batch, of all groups and replicas of attention",
        "min(sequences * groups * replicas, ceil(batch / micro_batches))",
    )
    together = own.add(name, formula, values, "sequences", (), best.together)
    values = {"sequences": together, "replicas": job.beside.layout.data}
    name, formula = "sequences of a micro-batch in a replica of feed-forward", "ceil(sequences / replicas)"
    shared = int(own.add(name, formula, values, "sequences"))
    load = decode_load(own, job.beside, shared, best.flights)
    passes = PassSteps(own, job.beside, job.placed_beside, "feed-forward")
    passes.bandwidths(best.flights)
    done = best.feed_forward
    passes.total("a micro-batch on feed-forward", load, done.terms, done.seconds)
    return together * (1 + work.draft_tokens)


def _hand_over(steps: Steps, job: PairJob, tokens: float) -> float:
    """A token's way out and back in each layer."""
    rate, latency = job.link
    each: list[str] = []
    values: Numbers = {"layers": job.timer.depth}
    if latency:
        values["latency_s"] = latency
        each.append("latency_s")
    if rate:
        values |= {"bytes_per_element": HANDED_OVER, "tokens": tokens, "width": job.book.model.width,
                   "link_bytes_per_s": rate}  # fmt: skip
        each.append("bytes_per_element * tokens * width / link_bytes_per_s")
    if not each:
        return 0.0
    formula, source = f"2 * layers * ({summed(each)})", "out and back in each layer, activations in bf16"
    return steps.add("hand-overs of a micro-batch", formula, values, "s", source, job.hand_over_s(tokens))


def _pools(job: PairJob, one: Flights) -> tuple[tuple[str, Timer, Pass], ...]:
    return (_NEAR, job.attention.timer, one.attention), (_FAR, job.beside.timer, one.feed_forward)


def _beyond(timer: Timer, done: Pass) -> float:
    """Seconds of a pass that stages cannot take side by side: all share what lies beyond the die."""
    return sum(done.terms[f"memory:{tier}"] for tier in timer.beyond_die)


def _whole(job: PairJob, one: Flights, hand_over: float) -> tuple[str, Numbers]:
    """The longer of a micro-batch's way and of what the busier pool does for all of them."""
    values: Numbers = {f"{_NEAR}_s": one.attention.seconds, f"{_FAR}_s": one.feed_forward.seconds}
    if hand_over:
        values["hand_over_s"] = hand_over
    pieces = [summed(list(values))]
    values["micro_batches"] = one.flights
    for pool, timer, done in _pools(job, one):
        values[f"{pool}_stages"] = timer.stages
        beyond = _beyond(timer, done)
        if beyond:
            shared = f"{pool}_beyond_die_s"
            values[shared] = beyond
            pieces.append(f"micro_batches * ({pool}_s - {shared}) / {pool}_stages + {shared}")
        else:
            pieces.append(f"micro_batches * {pool}_s / {pool}_stages")
    return f"max({', '.join(pieces)})", values


def _terms(steps: Steps, job: PairJob, best: Flights) -> None:
    """The terms of the step: those of a micro-batch's way, or of the busier pool where that takes longer."""
    way = best.attention.seconds + best.feed_forward.seconds + best.hand_over_s
    busy = {
        pool: best.flights * (done.seconds - _beyond(timer, done)) / timer.stages + _beyond(timer, done)
        for pool, timer, done in _pools(job, best)
    }
    busiest = max(busy, key=busy.__getitem__)
    for term, seconds in best.step.terms.items():
        if not seconds:
            continue
        values: Numbers = {}
        pieces = []
        for pool, timer, done in _pools(job, best):
            taken, figure = done.terms.get(term, 0.0), f"{pool}_{term_name(term)}_s"
            if not taken or (busy[busiest] > way and pool != busiest):
                continue
            values[figure] = taken
            if busy[busiest] > way and term_name(term) not in timer.beyond_die:
                values |= {"micro_batches": best.flights, f"{pool}_stages": timer.stages}
                figure = f"micro_batches * {figure} / {pool}_stages"
            pieces.append(figure)
        if term == "network" and busy[busiest] <= way and best.hand_over_s:
            values["hand_over_s"] = best.hand_over_s
            pieces.append("hand_over_s")
        steps.add(f"exposed: {term_title(term)}", summed(pieces), values, "s", (), seconds)
