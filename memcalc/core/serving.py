"""Serving: what batches yield that prefill and decode, whole ones or in steady state.

A static batch is prefilled, then decoded to its last token. Continuous batching decodes all sequences
and takes in new prompts beside them. Where nobody says how many sequences run at once, memory and the
engine's scheduler do.
"""

from __future__ import annotations

from typing import NamedTuple

from memcalc.core.job import Job
from memcalc.core.placement import Placement
from memcalc.core.residency import Residency, largest
from memcalc.core.search import Request, held_by


class Served(NamedTuple):
    """What a layout yields: `batch` sequences at once, output tokens a second over all of them."""

    job: Job
    placement: Placement
    batch: int
    tokens_per_s: float


def static_batch_s(job: Job, placement: Placement, batch: int, prompt: int, output: int) -> float:
    """Time of a batch from its prompts to the last of `output` tokens [s]; the prefill yields the first."""
    prefill = job.prefill(batch, prompt, placement).seconds if prompt else 0.0
    steps = output - 1 if prompt else output
    if not steps:
        return prefill
    return prefill + steps * job.decode(batch, max(1, prompt + output // 2), placement).seconds


def continuous(job: Job, placement: Placement, batch: int, prompt: int, output: int) -> float:
    """Output tokens a second of `batch` sequences that are replaced as they end [tokens/s]."""
    return (
        job.timer.constants.serving_efficiency * batch / job.mixed(batch, prompt, output, placement).seconds
    )


def saturated(
    request: Request, prompt: int, output: int, *, most: int | None = None, step_s: float | None = None
) -> Served | None:
    """The best that continuous batching yields when there is always a request waiting; None where none fits.

    As many sequences run at once as memory and the scheduler hold, at most `most`, and so few that a step
    takes at most `step_s`. Each is given room for its prompt and all of its output.
    """
    best: Served | None = None
    for held in held_by(request, request.system.count):
        limit = request.engine.max_sequences * held.layout.data * held.layout.attention_data
        limit = limit if most is None else min(limit, most)

        def holds(batch: int, held: Residency = held, limit: int = limit) -> bool:
            return batch <= limit and request.fits(held, batch, prompt + output)

        batch = largest(holds)
        if not batch:
            continue
        job = request.job(held.layout)
        placement = job.place(batch, prompt + output)
        if step_s is not None:

            def in_time(n: int, job: Job = job, placement: Placement = placement, batch: int = batch) -> bool:
                return n <= batch and job.mixed(n, prompt, output, placement).seconds <= step_s

            batch = largest(in_time)
            if not batch:
                continue
        speed = continuous(job, placement, batch, prompt, output)
        if best is None or speed > best.tokens_per_s:
            best = Served(job, placement, batch, speed)
    return best
