"""What would change the answer: the pull of each figure, and where nothing fits the nearest changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from memcalc.chip import BEYOND
from memcalc.core.estimate import estimate
from memcalc.core.job import Job
from memcalc.core.pair import PairJob
from memcalc.core.placement import Placement
from memcalc.core.report import Remedy, Report, Sensitivity
from memcalc.core.search import Choice, Request, choose, max_batch, max_context, min_chips
from memcalc.errors import MemcalcError
from memcalc.figures import get_figure, set_figure
from memcalc.precision import format_named, weight_formats
from memcalc.units import format_bytes, format_tokens

#: The change of a figure whose effect is reported.
CHANGE = 0.1
#: Formats to try for weights and cache where a request does not fit, from the mildest on.
NARROWER_WEIGHTS = ("fp8", "int4-g128")
NARROWER_CACHE = "fp8"
MOST_REMEDIES = 6


def answer(
    request: Request, command: str = "fit", others: Callable[[Request], Iterable[Request]] | None = None
) -> Report:
    """The estimate with what would change it: sensitivities where it fits, remedies where it does not.

    `others` yields the same request on other chips, to be tried where this one does not fit.
    """
    report = estimate(request, command)
    if report.fits:
        return replace(report, sensitivity=sensitivity(request, report))
    return with_remedies(request, report, others)


def with_remedies(
    request: Request, report: Report, others: Callable[[Request], Iterable[Request]] | None = None
) -> Report:
    """The report of a request that does not fit, with what would make it fit."""
    return report if report.fits else replace(report, remedies=tuple(remedies(request, others)))


def sensitivity(request: Request, report: Report) -> tuple[Sensitivity, ...]:
    """What +10 % of each figure that a decode step may hang on does to the speed, layout held."""
    if report.decode is None or report.layout is None:
        return ()
    work, layout = request.workload, report.layout.layout
    job = request.job(layout)
    placement = job.place(work.batch, work.context_tokens)
    now = job.step(work, placement).seconds
    found = []
    for figure in _figures(request, job, placement):
        changed = _scaled(request, figure)
        seconds = changed.job(layout).step(work, placement).seconds
        found.append(Sensitivity(figure, CHANGE, now / seconds - 1.0))
    return tuple(sorted(found, key=lambda entry: -abs(entry.tokens_per_s_per_user)))


def _figures(request: Request, job: Job, placement: Placement) -> Iterator[str]:
    """The figures that the step of a job may hang on."""
    chip, timer = request.chip, job.timer
    for name, tier in chip.homes:
        seen = tier.effective_bytes_per_s is not None and not request.engine.ideal
        if placement.used.get(name) and (seen or tier.bandwidth_bytes_per_s is not None):
            yield f"memory.{name}.{'effective' if seen else 'bandwidth'}_bytes_per_s"
        if name in BEYOND and placement.used.get(name) and not seen and chip.links.host_bytes_per_s:
            yield "links.host_bytes_per_s"
    for form in dict.fromkeys(timer.formats.values()):
        if form in chip.compute:
            yield f"compute.{form}"
    if timer.network.per_token_s and chip.links.scale_up_bytes_per_s:
        yield "links.scale_up_bytes_per_s"
    if request.engine.ideal:
        return
    if chip.layer_floor:
        yield "layer_floor.base_s"
    if request.constants.layer_s:
        yield "engine.layer_s"
    if timer.network.seconds and request.constants.collective_s:
        yield "engine.collective_s"
    if isinstance(job, PairJob):
        yield from _figures_beside(request, job)


def _figures_beside(request: Request, job: PairJob) -> Iterator[str]:
    """The figures of the feed-forward pool and its link that a step may hang on."""
    pool, chip = request.system.feed_forward, job.beside.chip
    for name, tier in chip.homes:
        if job.placed_beside.used.get(name):
            seen = tier.effective_bytes_per_s is not None
            if seen or tier.bandwidth_bytes_per_s is not None:
                yield f"feed_forward.memory.{name}.{'effective' if seen else 'bandwidth'}_bytes_per_s"
    if chip.layer_floor:
        yield "feed_forward.layer_floor.base_s"
    if pool:
        yield from (f"feed_forward.{name}" for name in ("bytes_per_s", "latency_s") if getattr(pool, name))


def _scaled(request: Request, figure: str) -> Request:
    """The request with one figure of its chip, or one resolved constant of its engine, 10 % larger."""
    if figure.startswith("engine."):
        name = figure.removeprefix("engine.")
        value = getattr(request.constants, name) * (1.0 + CHANGE)
        return replace(request, constants=replace(request.constants, **{name: value}))
    if figure.startswith("feed_forward."):
        return _scaled_beside(request, figure.removeprefix("feed_forward."))
    chip = set_figure(request.chip, figure, get_figure(request.chip, figure) * (1.0 + CHANGE))
    return replace(request, system=replace(request.system, chip=chip))


def _scaled_beside(request: Request, figure: str) -> Request:
    """The request with one figure of its feed-forward pool or of the link to it 10 % larger."""
    pool, stack = request.system.feed_forward, request.others["feed-forward"]
    if pool and figure in ("bytes_per_s", "latency_s"):
        larger = replace(pool, **{figure: getattr(pool, figure) * (1.0 + CHANGE)})
        return replace(request, system=replace(request.system, feed_forward=larger))
    chip = stack.system.chip
    chip = set_figure(chip, figure, get_figure(chip, figure) * (1.0 + CHANGE))
    stack = stack._replace(system=replace(stack.system, chip=chip))
    return replace(request, others={**request.others, "feed-forward": stack})


def remedies(
    request: Request, others: Callable[[Request], Iterable[Request]] | None = None
) -> Iterator[Remedy]:
    """The nearest changes with which the request fits: more chips, narrower formats, less context, batch."""
    if request.other_model:
        return
    found = 0
    for options, changed in _changes(request, others):
        choice = choose(changed)
        if choice is None:
            continue
        yield Remedy(options, _outcome(changed, choice))
        found += 1
        if found == MOST_REMEDIES:
            return


def _changes(
    request: Request, others: Callable[[Request], Iterable[Request]] | None
) -> Iterator[tuple[str, Request]]:
    """Changes that may help, as options, from the one that keeps most of what was asked."""
    # A system has its own number of chips: another number, or another chip, is another system. Of several
    # pools no one number would say it.
    system = request.system.name != request.chip.name
    several = len(request.pools) > 1
    # What was set for a system, or let spill, another one by name has not.
    beyond = system and any(room.tier in BEYOND for room in request.rooms)
    chips = None if several or beyond else min_chips(request)
    if chips and chips != request.system.count:
        yield (f"--system {request.chip.name}-x{chips}" if system else f"--chips {chips}"), request.on(chips)
    precision = request.precision
    weights = [
        (f"-w {name}", replace(precision, weights=name, activations=None))
        for name in NARROWER_WEIGHTS
        if _narrower(name, request)
    ]
    cache = []
    if format_named(precision.kv).bits > format_named(NARROWER_CACHE).bits:
        cache.append((f"--kv {NARROWER_CACHE}", replace(precision, kv=NARROWER_CACHE)))
    helping = [entry for entry in (*weights, *cache) if choose(replace(request, precision=entry[1]))]
    if not helping:
        helping = [
            (f"{option} {more}", replace(small, kv=smaller.kv))
            for option, small in weights
            for more, smaller in cache
        ]
    for option, small in helping[:2]:
        yield option, replace(request, precision=small)
    yield from _shorter("", request)
    for option, small in cache:
        yield from _shorter(f"{option} ", replace(request, precision=small))
    most = max_batch(request)
    if most and most < request.workload.batch:
        yield f"-b {most}", replace(request, workload=replace(request.workload, batch=most))
    for other in others(request) if others and not (several or beyond) else ():
        if choose(other):
            count = request.system.count
            yield (f"--system {other.chip.name}-x{count}" if system else f"--chip {other.chip.name}"), other
            return


def _shorter(option: str, request: Request) -> Iterator[tuple[str, Request]]:
    """The longest context that fits, in whole thousands where it has any."""
    work, longest = request.workload, max_context(request)
    if longest is None or not work.output_tokens < longest < work.context_tokens:
        return
    tokens = max(longest // 1024 * 1024, work.output_tokens + 1) if longest > 1024 else longest
    shorter = replace(work, context_tokens=tokens)
    yield f"{option}-c {format_tokens(tokens)}", replace(request, workload=shorter)


def _narrower(name: str, request: Request) -> bool:
    """Whether weights in that format are smaller than those that were asked for."""
    try:
        asked = weight_formats(request.precision.weights, request.model.base_format, None)["dense"].main
    except MemcalcError:
        return False
    return format_named(name).bits < asked.bits - 0.01


def _outcome(request: Request, choice: Choice) -> str:
    work, held = request.workload, choice.job.held
    used = held.needed(work.batch, work.context_tokens)
    usable = sum(room.usable for room in request.rooms)
    text = f"fits, {format_bytes(used)} of {format_bytes(usable)} a chip"
    most = max_batch(request)
    return text + (f", room for batch {most:,}" if most and most > work.batch else "")
