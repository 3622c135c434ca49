"""Several requests side by side: the reports, who leads, and what would turn the order over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from memcalc._version import __version__
from memcalc.core.estimate import estimate
from memcalc.core.remarks import term_title
from memcalc.core.report import SCHEMA_VERSION, Decode, Report
from memcalc.core.search import Request, sized
from memcalc.noun import noun
from memcalc.studies.whatif import with_remedies
from memcalc.units import format_tokens
from memcalc.workload import Workload

#: Inputs that are changed to see whether another system then leads, as factors.
TURNS = (("batch", 8), ("batch", 64), ("context", 4), ("context", 16))


@noun
class Comparison:
    """Reports side by side. `why` says in words who leads and what would turn that over."""

    results: tuple[Report, ...]
    why: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def reports(self) -> tuple[Report, ...]:
        """The reports, a line each where a format is one of lines."""
        return self.results

    def to_dict(self) -> dict[str, Any]:
        """The comparison as the JSON contract has it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "memcalc_version": __version__,
            "command": "compare",
            "results": [report.to_dict() for report in self.results],
            "why": list(self.why),
            "warnings": list(self.warnings),
        }


def compare(requests: Sequence[Request], others: Callable[[Request], Iterable[Request]]) -> Comparison:
    """Answer the requests side by side, then again for larger batches and longer contexts.

    `others` yields a request on other chips, to be tried where it does not fit.
    """
    reports = tuple(with_remedies(request, estimate(request, "compare"), others) for request in requests)
    shared = [w for w in reports[0].warnings if all(w in report.warnings for report in reports)]
    return Comparison(reports, (*_bounds(reports), *_turns(requests, reports)), tuple(shared))


def label(report: Report, reports: Sequence[Report]) -> str:
    """The name of a row: chips and title, with model, formats or engine where these differ.

    A preset that is a system of its own keeps its name.
    """
    parts = [f"{report.system.chips} × {report.system.title}" if _is_chip(report) else report.system.title]
    if len({other.model.name for other in reports}) > 1:
        parts.insert(0, report.model.name)
    formats = [(other.precision.weights, other.precision.kv) for other in reports]
    usual = max(dict.fromkeys(formats), key=formats.count)
    mine = report.precision.weights, report.precision.kv
    # One that its chip fixes stands out; formats that were asked for side by side stand in each row.
    asked = (
        len({f for f, other in zip(formats, reports, strict=True) if other.system.chip == report.system.chip})
        > 1
    )
    if mine != usual or asked:
        parts.append(f"{mine[0]} weights, {mine[1]} cache")
    if len({other.engine for other in reports if other.system.chip == report.system.chip}) > 1:
        parts.append(report.engine)
    return ", ".join(parts)


def _is_chip(report: Report) -> bool:
    """Whether a row is a number of chips; the title of unlike pools has its numbers already."""
    return report.system.name == report.system.chip and len(report.system.pools) == 1


def speed(report: Report) -> float | None:
    """Tokens per second of one user."""
    return report.decode.tokens_per_s_per_user if report.decode else None


def price(report: Report) -> float | None:
    """Dollars for a million output tokens."""
    return report.cost.usd_per_million_output_tokens if report.cost else None


def best(reports: Sequence[Report], figure: Callable[[Report], float | None], *, most: bool) -> int | None:
    """The place of the report with the largest (or smallest) figure; None where fewer than two have one."""
    known = [(value, place) for place, r in enumerate(reports) if (value := figure(r)) is not None]
    if len(known) < 2:
        return None
    return (max if most else min)(known)[1]


def _bounds(reports: Sequence[Report]) -> list[str]:
    """Who is fastest and cheapest, by how much, and what binds the fastest and the next."""
    said = []
    timed = [(report.decode, report) for report in reports if report.decode]
    if len(timed) > 1:
        timed.sort(key=lambda entry: entry[0].step_s)
        (decode, first), (behind, second) = timed[:2]
        ratio = decode.tokens_per_s_per_user / behind.tokens_per_s_per_user
        said.append(
            f"fastest per user: {label(first, reports)}, {ratio:.1f} times {label(second, reports)}; "
            f"the first is {_bound(decode)}, the second {_bound(behind)}"
        )
    cheap = best(reports, price, most=False)
    if cheap is not None:
        said.append(f"cheapest per token: {label(reports[cheap], reports)}")
    return said


def _bound(decode: Decode) -> str:
    """What binds a step, and for how much of it."""
    term = decode.bottleneck
    return f"bound by {term_title(term)} ({decode.terms_s[term] / decode.step_s:.0%} of its step)"


def _turns(requests: Sequence[Request], reports: Sequence[Report]) -> list[str]:
    """The first larger batch or longer context at which another system leads, its chips sized anew."""
    said: dict[str, str] = {}
    figures = {"fastest per user": (speed, True), "cheapest per token": (price, False)}
    leaders = {title: best(reports, figure, most=most) for title, (figure, most) in figures.items()}
    if set(leaders.values()) == {None}:
        return []
    for what, factor in TURNS:
        more = [sized(replace(r, workload=_grown(r.workload, what, factor))) for r in requests]
        then = [estimate(request, "compare", limits=False) for request in more]
        for title, (figure, most) in figures.items():
            other = best(then, figure, most=most)
            if title not in said and None not in (other, leaders[title]) and other != leaders[title]:
                grown, name = more[other or 0].workload, label(then[other or 0], then)
                value = str(grown.batch) if what == "batch" else format_tokens(grown.context_tokens)
                said[title] = f"at {what} {value} another is {title}: {name}"
    return list(said.values())


def _grown(workload: Workload, what: str, factor: int) -> Workload:
    """The workload with a larger batch or a longer context."""
    if what == "batch":
        return replace(workload, batch=workload.batch * factor)
    return replace(workload, context_tokens=workload.context_tokens * factor)
