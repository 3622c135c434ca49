"""The search: the layout of a request, the fewest chips that hold it, how far batch and context can grow.

A request is asked of memory first, which costs little; only layouts that fit are timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from functools import cached_property
from typing import NamedTuple

from memcalc.chip import BEYOND, ON_CHIP, Chip, System
from memcalc.core.job import Job
from memcalc.core.layout import Given, layouts
from memcalc.core.ledger import Ledger, ledger
from memcalc.core.pair import Link, PairJob
from memcalc.core.placement import (
    PLANS,
    Placement,
    Room,
    capacity,
    enough,
    on_chip,
    rooms,
)
from memcalc.core.residency import EVERYTHING, Residency, fewest, largest
from memcalc.core.timing import PARTS_OF, Pass, Role
from memcalc.engine import Constants, Engine
from memcalc.model import Model
from memcalc.noun import noun
from memcalc.precision import default_activations
from memcalc.workload import Layout, Payment, Precision, Workload

#: The search for the fewest chips ends here: no machine for one model is larger.
MOST_CHIPS = 4096


class Stack(NamedTuple):
    """Chips of a pool and the software on them."""

    system: System
    engine: Engine
    constants: Constants


@noun
class Request:
    """One question, all words resolved. `constants` are those of the engine on the chip's family.

    With `auto` the number of chips follows from the job (`sized`). `changed`: a figure was set
    by hand, so that no record speaks for the result. `notes` are warnings from resolving the words.
    `others` are the pools beside the main one, by what they do: `feed-forward` chips take that part of each
    layer in decode, `prefill` chips take the prompts. Each is a request of its own; `role` is the part of
    each layer that the chips of this one have.
    """

    model: Model
    system: System
    engine: Engine
    constants: Constants
    workload: Workload = field(default_factory=Workload)
    precision: Precision = field(default_factory=Precision)
    payment: Payment = field(default_factory=Payment)
    given: Given = field(default_factory=Given)
    auto: bool = False
    changed: bool = False
    notes: tuple[str, ...] = ()
    others: Mapping[str, Stack] = field(default_factory=dict)
    role: Role = "all"

    @cached_property
    def feed_forward(self) -> Request | None:
        """The question of the chips that have the feed-forward part in decode."""
        return self._on_other("feed-forward", "feed-forward")

    @cached_property
    def prefill(self) -> Request | None:
        """The question of the chips that take the prompts."""
        return self._on_other("prefill", "all")

    def _on_other(self, name: str, role: Role) -> Request | None:
        stack = self.others.get(name)
        if stack is None:
            return None
        system, engine, constants = stack
        # Masks fix the format of their weights.
        wired, precision = system.chip.hardwired, self.precision
        if wired:
            precision = Precision(wired.weights, precision.kv)
        return replace(self, system=system, engine=engine, constants=constants, precision=precision,
                       given=Given(), auto=False, notes=(), others={}, role=role)  # fmt: skip

    @property
    def pools(self) -> tuple[Request, ...]:
        """The request of each pool, the main one first."""
        return (self, *(pool for pool in (self.feed_forward, self.prefill) if pool))

    @cached_property
    def prompts(self) -> Request | None:
        """The question of the prefill pool: one prompt at a time."""
        work = self.workload
        alone = replace(work, batch=1, context_tokens=work.prompt_tokens, output_tokens=0)
        return self.prefill and replace(self.prefill, workload=alone)

    @property
    def apart(self) -> tuple[Request, ...]:
        """The pools each by itself, as far as memory goes."""
        if not self.others:
            return (self,)
        alone = replace(self, others={})
        return tuple(pool for pool in (alone, self.feed_forward, self.prompts) if pool)

    @property
    def roles(self) -> tuple[tuple[str, Request], ...]:
        """What each pool does, the main one first."""
        main = "attention" if self.feed_forward else "decode" if self.prefill else "all"
        pairs = ((main, self), ("feed-forward", self.feed_forward), ("prefill", self.prefill))
        return tuple((role, pool) for role, pool in pairs if pool)

    @property
    def chips(self) -> int:
        """The chips of all pools."""
        return sum(pool.system.count for pool in self.pools)

    @property
    def chip(self) -> Chip:
        """The chip of the system."""
        return self.system.chip

    def on(self, chips: int) -> Request:
        """The same question on another number of chips."""
        return replace(self, system=replace(self.system, count=chips))

    @cached_property
    def book(self) -> Ledger:
        """The ledger of the model in the requested formats."""
        drafting = self.workload.draft_tokens > 0 and self.model.mtp_layers > 0
        return ledger(self.model, self.precision, mtp=drafting, widest=self.engine.widest_quantized)

    @cached_property
    def rooms(self) -> tuple[Room, ...]:
        """The tiers where tensors may live."""
        return rooms(self.chip, self.engine)

    @property
    def activations(self) -> str:
        """The format of activations, asked for or usual for such weights on the chip."""
        formats = self.book.formats
        main = formats["experts" if self.book.weight_bytes["experts"] else "dense"].main
        return self.precision.activations or default_activations(main, self.chip.compute)

    def job(self, layout: Layout) -> Job:
        """The model on the chips of a layout, ready to be timed."""
        given = self.book, self.chip, self.constants, self.engine, layout, self.activations
        if self.beside is None:
            return Job(*given, self.role, self.keeps)
        return PairJob(*given, self.beside, self.link("feed-forward"), self.keeps)

    @property
    def keeps(self) -> tuple[str, ...]:
        """The parts that the chips hold: all of them where they prefill too."""
        if self.role == "feed-forward":
            return PARTS_OF[self.role]
        if self.role == "all" and "feed-forward" in self.others and "prefill" in self.others:
            return (*PARTS_OF["attention"], "cold", "kv")
        return EVERYTHING

    def link(self, name: str) -> Link:
        """What connects a pool to the main one: as given, else the slower of both ways out."""
        pool = self.system.feed_forward if name == "feed-forward" else self.system.prefill
        if pool is None:
            return Link(None, None)
        if pool.bytes_per_s is not None:
            return Link(pool.bytes_per_s, pool.latency_s)
        ways = [
            _way_out(chip, count) for chip, count in ((self.chip, self.system.count), (pool.chip, pool.count))
        ]
        return Link(None if None in ways else min(way for way in ways if way), pool.latency_s)

    @cached_property
    def beside(self) -> Job | None:
        """The feed-forward part on its own pool: the layout that is fastest for one token."""
        pool = self.feed_forward
        if pool is None:
            return None
        ways = held_by(pool, pool.system.count)
        jobs = [pool.job(held.layout) for held in ways if held.layout.attention_data == 1]
        timed = [(job.decode(1, 1, placed).seconds, place, job) for place, job in enumerate(jobs)
                 if (placed := job.place(1, 1)).fits]  # fmt: skip
        return min(timed)[2] if timed else None

    def fits(self, held: Residency, batch: int, context: int) -> bool:
        """Whether the tiers of the fullest chip hold its bytes, each where it may live, in all pools."""
        weights = sum(held.parts.values())
        if not enough(self.rooms, weights, held.needed(batch, context) - weights):
            return False
        if self.feed_forward and self.beside is None:
            return False
        pool, prompt = self.prefill, max(1, context - self.workload.output_tokens)
        return pool is None or any(pool.fits(held, 1, prompt) for held in self._prefill_ways)

    @cached_property
    def _prefill_ways(self) -> list[Residency]:
        """What the chips of the prefill pool would hold, for each possible layout."""
        return held_by(self.prefill, self.prefill.system.count) if self.prefill else []

    @cached_property
    def other_masks(self) -> tuple[tuple[Chip, str], ...]:
        """The chips whose masks hold another model, and which."""
        names = self.model.name, *self.model.aliases
        wired = [(pool.chip, pool.chip.hardwired) for pool in self.pools]
        return tuple((chip, masks.model) for chip, masks in wired if masks and masks.model not in names)

    @property
    def other_model(self) -> bool:
        """Whether the masks of a chip hold another model."""
        return bool(self.other_masks)


def _way_out(chip: Chip, count: int) -> float | None:
    """Bytes/s one way out of so many chips: by the scale-out links, else what else is known of them."""
    links = chip.links
    inside = links.scale_up_bytes_per_s if chip.execution == "spatial" else None
    rate = links.scale_out_bytes_per_s or inside or links.host_bytes_per_s
    return rate and rate * count


class Choice(NamedTuple):
    """A layout that was chosen, where its bytes live, and its decode step."""

    job: Job
    placement: Placement
    step: Pass


class Placed(NamedTuple):
    """A pool with its part of the job laid out: its role, and the batch and context that it holds."""

    role: str
    request: Request
    job: Job
    placement: Placement
    batch: int
    context: int


def held_by(request: Request, chips: int) -> list[Residency]:
    """What the chips would hold, for each possible layout."""
    ways = layouts(request.model, request.chip, request.engine, chips, request.given)
    keeps = request.keeps
    return [Residency(request.book, layout, request.chip, request.engine, keeps) for layout in ways]


def in_plan(held: Residency, request: Request) -> bool:
    """Whether the bytes can lie as the chip's plan wants them."""
    batch, context = request.workload.batch, request.workload.context_tokens
    places, plan = request.rooms, request.chip.plan
    if not request.fits(held, batch, context):
        return False
    if plan == "dram":
        # The chip's main memory; a second, slower one of its own is for what is seldom read.
        own = [room for room in places if room.tier not in (*ON_CHIP, *BEYOND)]
        return not own or held.needed(batch, context) <= own[0].usable
    return on_chip(places, plan, held.sizes(batch, context))


def choose(request: Request) -> Choice | None:
    """The fastest layout that fits, in the chip's plan if any is; None where nothing fits."""
    if request.other_model:
        return None
    work, chip = request.workload, request.chip
    batch, context = work.batch, work.context_tokens
    ways = [h for h in held_by(request, request.system.count) if request.fits(h, batch, context)]
    best: tuple[bool, float, bool] | None = None
    choice = None
    for held in ways:
        job = request.job(held.layout)
        placement = job.place(batch, context, 1 + work.draft_tokens)
        step = job.step(work, placement)
        planned = request.engine.ideal or placement.verdict in PLANS[chip.plan]
        # Where a batch is smaller than the system, replicas may stand idle, but not for nothing.
        idle = held.layout.data * held.layout.attention_data > batch
        rank = (not planned, step.seconds, idle)
        if best is None or rank < best:
            best, choice = rank, Choice(job, placement, step)
    if choice and choice.job.timer.overlap == 1.0:
        # A bound is narrowed down where it is likely the least.
        placement = choice.job.place(batch, context, 1 + work.draft_tokens, refine=True)
        choice = Choice(choice.job, placement, choice.job.step(work, placement))
    return choice


def place_pools(request: Request, choice: Choice) -> tuple[Placed, ...]:
    """The pools of a choice, each with its part of the job laid out, the main one first."""
    found, work = [], request.workload
    for role, pool in request.roles:
        if role == "feed-forward":
            job = choice.job
            if isinstance(job, PairJob):
                found.append(
                    Placed(role, pool, job.beside, job.placed_beside, work.batch, work.context_tokens)
                )
        elif role == "prefill":
            prompts = request.prompts
            chosen = prompts and choose_prefill(prompts)
            if chosen:
                found.append(Placed(role, pool, *chosen, 1, work.prompt_tokens))
        else:
            found.append(Placed(role, pool, choice.job, choice.placement, work.batch, work.context_tokens))
    return tuple(found)


def choose_prefill(request: Request) -> tuple[Job, Placement] | None:
    """The layout of chips that only prefill: the one that is fastest for one prompt; None where none fits."""
    work = request.workload
    batch, context = work.batch, work.context_tokens
    found: list[tuple[float, Job, Placement]] = []
    for held in held_by(request, request.system.count):
        if request.fits(held, batch, context):
            job = request.job(held.layout)
            placement = job.place(batch, context)
            found.append((job.prefill(1, context, placement).seconds, job, placement))
    return min(found, key=lambda entry: entry[0])[1:] if found else None


def least_prefill(request: Request, prompts: int) -> Pass | None:
    """The fastest prefill over all layouts and placements that fit: the bound that `ideal` is; None: none fits."""
    work = request.workload
    batch, context = work.batch, work.context_tokens
    ways = [h for h in held_by(request, request.system.count) if request.fits(h, batch, context)]
    jobs = [request.job(held.layout) for held in ways]
    passes = [
        job.prefill(prompts, work.prompt_tokens, placement)
        for job in jobs
        for placement in job.placements(batch, context)
        if placement.fits
    ]
    return min(passes, key=lambda one: one.seconds, default=None)


def nearest(request: Request) -> Residency | None:
    """The layout that needs the least of each chip: what a request that does not fit is measured by."""
    batch, context = request.workload.batch, request.workload.context_tokens
    ways = held_by(request, request.system.count)
    return min(ways, key=lambda held: held.needed(batch, context), default=None)


def max_batch(request: Request) -> int | None:
    """The largest batch that memory holds at this context, over all layouts; None where endless."""
    context = request.workload.context_tokens
    return _largest(request, lambda held, n: request.fits(held, n, context))


def max_context(request: Request) -> int | None:
    """The longest context that memory holds at this batch, over all layouts; None where endless."""
    batch = request.workload.batch
    return _largest(request, lambda held, n: request.fits(held, batch, n))


def _largest(request: Request, holds: Callable[[Residency, int], bool]) -> int | None:
    if request.other_model:
        return 0
    ways = held_by(request, request.system.count)

    def any_holds(number: int) -> bool:
        for place, held in enumerate(ways):
            if holds(held, number):
                ways.insert(0, ways.pop(place))  # it will likely hold the next number too
                return True
        return False

    return largest(any_holds)


def min_chips(request: Request, *, planned: bool = False) -> int | None:
    """The fewest chips that hold the request; None where no number does.

    With `planned`: the fewest that hold it in the chip's plan, up to its largest system. Of several pools
    each has as many as it needs.
    """
    if request.other_model:
        return None
    if len(request.pools) > 1:
        found = [min_chips(pool, planned=planned) for pool in request.apart]
        return None if None in found else sum(count for count in found if count)
    batch, context, chip = request.workload.batch, request.workload.context_tokens, request.chip
    most = (chip.largest_system_chips if planned else None) or MOST_CHIPS

    def holds(chips: int) -> bool:
        ways = held_by(request, chips)
        if planned:
            return any(in_plan(held, request) for held in ways)
        return any(request.fits(held, batch, context) for held in ways)

    if chip.execution == "spatial" and not request.given.data:
        # All chips are one pool, so more always hold more.
        if not holds(most):
            return None
        return most - (largest(lambda fewer: fewer < most and holds(most - fewer)) or 0)
    if request.role == "feed-forward":
        return next((chips for chips in range(1, most + 1) if holds(chips)), None)
    bytes_at_least = request.book.total_weight_bytes
    bytes_at_least += batch * request.book.kv_bytes_per_sequence(context)
    start = fewest(bytes_at_least, capacity(request.rooms, bytes_at_least))
    if planned and chip.plan != "dram":
        # What must lie on the die for the plan, without copies.
        hot = request.book.total_weight_bytes - request.book.weight_bytes["vision"]
        hot -= 0 if request.model.tied_embeddings else request.book.weight_bytes["embedding"]
        hot += batch * request.book.kv_bytes_per_sequence(context) if chip.plan == "on-chip" else 0
        start = max(start, fewest(hot, capacity(request.rooms, hot, ON_CHIP)))
    return next((chips for chips in range(start, most + 1) if holds(chips)), None)


def sized(request: Request) -> Request:
    """The request on as many chips as it needs, where that is to be found.

    The fewest that hold it in the chip's plan; else that hold it at all; else its largest system.
    """
    if not request.auto:
        return request
    main = request.apart[0]
    count = min_chips(main, planned=True)
    if count:
        return request.on(count)
    count = min_chips(main)
    if count is None:
        return request.on(1 if request.other_model else request.chip.largest_system_chips or 1)
    plan = f"no number of {request.chip.label} holds the job as the chip is meant to ({request.chip.plan})"
    note = f"{plan}, so this is the fewest that hold it at all"
    return replace(request.on(count), notes=(*request.notes, note))
