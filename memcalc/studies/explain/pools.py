"""The pools of an answer: what each is asked to hold, in which layout, and where that lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from memcalc.core.placement import Placement
from memcalc.core.report import Report
from memcalc.core.residency import Residency
from memcalc.core.search import Choice, Placed, Request, choose, nearest, place_pools

#: What the layout of a pool was chosen for.
_FASTEST: Mapping[str, str] = {
    "feed-forward": "the layout that is fastest for one token of those that fit",
    "prefill": "the layout that is fastest for one prompt of those that fit",
}
_DECODES = "the layout that decodes fastest of those that fit"
_NEAREST = "the layout that needs least of a chip"


class Laid(NamedTuple):
    """A pool with its part of the job: the question that its memory answers, and the answer.

    `placement` is None where it does not fit, `held` where no layout divides the job; `why` says how the layout
    was chosen.
    """

    role: str
    request: Request
    held: Residency | None
    placement: Placement | None
    verdict: str
    why: str

    @property
    def name(self) -> str:
        """What the pool is called in a formula."""
        return self.role.replace("-", "_")


def pools_of(
    request: Request, report: Report, choice: Choice | None, placed: Mapping[str, Placed]
) -> tuple[Laid, ...]:
    """The pools of a request, the main one first, as the report judges them."""
    if len(request.pools) == 1:
        held = choice.job.held if choice else nearest(request)
        placement = choice.placement if choice else None
        why = _DECODES if choice else _NEAREST
        return (Laid("all", request, held, placement, report.verdict, why),)
    found = []
    for (role, _), alone, facts in zip(request.roles, request.apart, report.system.pools, strict=True):
        here = placed.get(role)
        if here:
            asked = alone
            if role == "feed-forward":
                # Its weights lie where they lie, whatever batch and context are.
                work = replace(alone.workload, batch=1, context_tokens=1, output_tokens=0)
                asked = replace(alone, workload=work)
            why = _FASTEST.get(role, _DECODES)
            found.append(Laid(role, asked, here.job.held, here.placement, facts.verdict, why))
            continue
        # Where another pool lacks room, this one may have it all the same.
        own = choose(alone) if facts.verdict != "does-not-fit" else None
        held = own.job.held if own else nearest(alone)
        why = _DECODES if own else _NEAREST
        found.append(Laid(role, alone, held, own.placement if own else None, facts.verdict, why))
    return tuple(found)


def placed_by_role(request: Request, choice: Choice | None) -> dict[str, Placed]:
    """The pools of a choice by what they do."""
    return {pool.role: pool for pool in place_pools(request, choice)} if choice else {}
