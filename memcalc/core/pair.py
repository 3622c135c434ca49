"""A pair: attention and the KV cache on one pool of chips, the feed-forward part of each layer on another.

A token goes back and forth in every layer. With one micro-batch in flight each pool waits for the other;
with more of them both work, and a step takes the longer of a micro-batch's way and of what the busier pool
has to do for all of them.

Letters: L layers, D model width, x latency of a hand-over, b tokens of a micro-batch, m micro-batches.
Reference: Step-3 (arXiv:2507.19427) for the division; the step is T = max(T_att + T_ffn + 2 L (x + 2 b D / bw),
m * max(T_att / p_att, T_ffn / p_ffn)).
"""

from __future__ import annotations

from typing import NamedTuple

from memcalc.chip import Chip
from memcalc.core.job import Job, Work
from memcalc.core.ledger import Ledger
from memcalc.core.placement import Placement
from memcalc.core.residency import EVERYTHING
from memcalc.core.timing import PARTS_OF, Pass, Timer
from memcalc.engine import Constants, Engine
from memcalc.workload import Layout, Workload

#: Bytes of an activation that is handed over (bf16).
HANDED_OVER = 2.0
#: More micro-batches than this are not tried: two or three keep both pools busy, and each reads the weights again.
MOST_FLIGHTS = 8


class Link(NamedTuple):
    """What connects the pools: all links one way [B/s], and the time of one hand-over [s]. None: unknown."""

    bytes_per_s: float | None
    latency_s: float | None


class Flights(NamedTuple):
    """A decode step with so many micro-batches in flight, of each pool's pass and of the hand-overs [s].

    `sequences` are those of a micro-batch in an attention group, `together` over all groups.
    """

    flights: int
    sequences: int
    together: int
    attention: Pass
    feed_forward: Pass
    hand_over_s: float
    step: Pass


class PairJob(Job):
    """A job whose decode steps share each layer with `beside`, the feed-forward part on other chips.

    Residency, placement and prefill are those of the main pool.
    """

    def __init__(
        self,
        book: Ledger,
        chip: Chip,
        constants: Constants,
        engine: Engine,
        layout: Layout,
        activations: str,
        beside: Job,
        link: Link,
        keeps: tuple[str, ...] = EVERYTHING,
    ) -> None:
        super().__init__(book, chip, constants, engine, layout, activations, keeps=keeps)
        self.attention = Job(book, chip, constants, engine, layout, activations, "attention", keeps)
        self.beside, self.link = beside, link
        # What the other pool does in decode lies here for prefill alone.
        self.held.idle = PARTS_OF["feed-forward"]
        #: Where the feed-forward weights lie in their pool, whatever batch and context are.
        self.placed_beside = beside.place(1, 1)

    def hand_over_s(self, tokens: float) -> float:
        """Seconds of all hand-overs of one pass of so many tokens: two a layer. What is unknown takes none."""
        sent = tokens * self.book.model.width * HANDED_OVER
        rate, latency = self.link
        each = (latency or 0.0) + (sent / rate if rate else 0.0)
        return 2.0 * self.timer.depth * each

    def decode(self, batch: int, context: int, placement: Placement, new_tokens: int = 1) -> Pass:
        """One decode step, with as many micro-batches in flight as make it shortest."""
        return self.flights(batch, context, placement, new_tokens).step

    def flights(self, batch: int, context: int, placement: Placement, new_tokens: int = 1) -> Flights:
        """The micro-batches in flight that make a decode step shortest, and what each pool does then."""
        best = self.in_flight(batch, 1, context, placement, new_tokens)
        for flights in range(2, min(self.held.sequences(batch), MOST_FLIGHTS) + 1):
            found = self.in_flight(batch, flights, context, placement, new_tokens)
            if found.step.seconds < best.step.seconds:
                best = found
            elif found.step.seconds > 1.2 * best.step.seconds:
                break  # each more reads the weights once more
        return best

    def in_flight(
        self, batch: int, flights: int, context: int, placement: Placement, new_tokens: int = 1
    ) -> Flights:
        """One decode step with so many micro-batches in flight."""
        near, far, layout = self.attention.timer, self.beside.timer, self.layout
        sequences = -(-self.held.sequences(batch) // flights)
        together = min(sequences * layout.attention_data * layout.data, -(-batch // flights))
        shared = -(-together // self.beside.layout.data)
        one = near.decode(sequences, context, new_tokens, placement, flights)
        other = far.decode(shared, 1, new_tokens, self.placed_beside, flights)
        handed = self.hand_over_s(together * new_tokens)
        # Whichever pool is the busier, a step names the terms of both.
        terms = dict.fromkeys((*one.terms, *other.terms), 0.0)
        busy = [_busy(timer, work, flights) for timer, work in ((near, one), (far, other))]
        busiest = max(busy, key=lambda of: sum(of.values()))
        if sum(busiest.values()) > one.seconds + other.seconds + handed:
            terms |= busiest
        else:
            for work in (one, other):
                for term, seconds in work.terms.items():
                    terms[term] += seconds
            terms["network"] += handed
        step = Pass(sum(terms.values()), terms)
        return Flights(flights, sequences, together, one, other, handed, step)

    def works(self, workload: Workload, placement: Placement) -> tuple[tuple[Chip, int, Work], ...]:
        """What one decode step does, by pool, with the micro-batches of the step."""
        new = 1 + workload.draft_tokens
        found = self.flights(workload.batch, workload.context_tokens, placement, new)
        main = self.attention.work(workload, placement, (found.flights, found.sequences))
        shared = -(-found.together // self.beside.layout.data)
        other = self.beside.work(workload, self.placed_beside, (found.flights, shared))
        handed = 2.0 * workload.batch * new * self.book.model.width * HANDED_OVER * self.timer.depth
        return (
            (self.chip, self.layout.chips, main._replace(network_bytes=main.network_bytes + handed)),
            (self.beside.chip, self.beside.layout.chips, other),
        )


def _busy(timer: Timer, work: Pass, flights: int) -> dict[str, float]:
    """Seconds, by term, in which a pool works for all micro-batches.

    Stages work side by side, but all share what lies beyond the die, whose time holds all micro-batches.
    """
    return {
        term: seconds
        if term.removeprefix("memory:") in timer.beyond_die
        else flights * seconds / timer.stages
        for term, seconds in work.terms.items()
    }
