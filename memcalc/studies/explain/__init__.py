"""Explaining: how a report comes about, formula by formula, with the numbers filled in.

Each step is a formula over named numbers. Where the report has the result, the step shows the report's
number; tests hold every formula against it. What lies between is worked out from the formula itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from memcalc._version import __version__
from memcalc.core.estimate import estimate
from memcalc.core.report import SCHEMA_VERSION, Report
from memcalc.core.search import Request, choose
from memcalc.noun import noun
from memcalc.studies.explain.cost import cost_steps
from memcalc.studies.explain.memory import (
    memory_steps,
    placement_steps,
    pool_verdict_step,
    system_steps,
    verdict_steps,
)
from memcalc.studies.explain.pools import placed_by_role, pools_of
from memcalc.studies.explain.speed import decode_steps, prefill_steps
from memcalc.studies.explain.steps import GROUPS, Step, Steps
from memcalc.studies.serve import Serve, serve
from memcalc.studies.whatif import with_remedies

#: What was asked, as the blocks of the report have it.
INPUTS = ("model", "system", "workload", "precision", "engine", "prices", "layout")


@noun
class Explanation:
    """The steps to a report, and how its layout is started where the engine's command line is known."""

    report: Report
    steps: tuple[Step, ...]
    serve: Serve | None

    @property
    def fits(self) -> bool:
        """Whether the job fits."""
        return self.report.fits

    def to_dict(self) -> dict[str, Any]:
        """The explanation as the JSON contract has it."""
        plain = self.report.to_dict()
        return {
            "schema_version": SCHEMA_VERSION,
            "memcalc_version": __version__,
            "command": self.report.command,
            "inputs": {name: plain[name] for name in INPUTS},
            "fits": self.report.fits,
            "verdict": self.report.verdict,
            "reason": self.report.reason,
            "remedies": plain["remedies"],
            "steps": self.lines(),
            "serve": self.serve.command if self.serve else None,
            "serve_notes": list(self.serve.notes) if self.serve else [],
            "warnings": list(self.report.warnings),
        }

    def lines(self) -> list[dict[str, Any]]:
        """A line for each step."""
        return [step.to_dict() for step in self.steps]

    def rows(self) -> list[dict[str, object]]:
        """A row for each step; its values are one cell of JSON."""
        return [{**step.to_dict(), "values": json.dumps(dict(step.values))} for step in self.steps]


def explain(request: Request, others: Callable[[Request], Iterable[Request]] | None = None) -> Explanation:
    """Answer a request and say how the answer comes about.

    `others` yields the same request on other chips, to be tried where this one does not fit. Of several
    pools each is taken apart under headings of its own, then what they do together.

    >>> from memcalc.api import request
    >>> found = explain(request("llama-3.1-8b", chip="h100-sxm"))
    >>> next(step.result for step in found.steps if step.name == "weights") == found.report.placement[0].bytes
    True
    """
    report = with_remedies(request, estimate(request, "explain"), others)
    choice = choose(request)
    placed = placed_by_role(request, choice)
    pools = pools_of(request, report, choice, placed)
    steps = Steps(request, report)
    main = pools[0].held
    memory_steps(steps, main)
    if main is not None:
        system_steps(steps, main)
    for pool in pools:
        alone = len(pools) == 1
        own = steps.on(pool.request, GROUPS[1] if alone else f"{GROUPS[1]}: {pool.role}")
        if pool.held is not None:
            if pool is not pools[0]:
                system_steps(own, pool.held)
            placement_steps(own, pool, pool.held)
        if not alone:
            pool_verdict_step(own, pool)
    verdict_steps(steps.on(request, GROUPS[1]), pools)
    if choice:
        if report.decode:
            decode_steps(steps, choice, report.decode)
        if report.prefill:
            prefill_steps(steps, choice, placed, report.prefill)
        if report.decode and report.cost:
            cost_steps(steps, choice, report.decode, report.cost)
    return Explanation(report, tuple(steps.found), serve(request, choice))
