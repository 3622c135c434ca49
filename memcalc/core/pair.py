"""A pair: attention and the KV cache on one pool of chips, the feed-forward part of each layer on another.

A token goes back and forth in every layer. With one micro-batch in flight each pool waits for the other;
with more of them both work, and a step takes the longer of a micro-batch's way and of what the busier pool
has to do for all of them.

Letters: L layers, D model width, x latency of a hand-over, b tokens of a micro-batch, m micro-batches.
Reference: Step-3 (arXiv:2507.19427) for the division; the step is T = max(T_att + T_ffn + 2 L (x + 2 b D / bw),
m * max(T_att / p_att, T_ffn / p_ffn)).
"""

from __future__ import annotations

from memcalc.chip import Between, Chip
from memcalc.core.job import Job, Work
from memcalc.core.ledger import Ledger
from memcalc.core.placement import Placement
from memcalc.core.timing import Pass
from memcalc.engine import Constants, Engine
from memcalc.workload import Layout, Workload

#: Bytes of an activation that is handed over (bf16).
HANDED_OVER = 2.0
#: More micro-batches than this are not tried: each pool is busy with two or three, and the next reads its weights again.
MOST_FLIGHTS = 8


class PairJob(Job):
    """A job whose decode steps share each layer with `beside`, the feed-forward part on other chips.

    Residency, placement and prefill are those of the main pool, which holds all weights.
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
        between: Between,
    ) -> None:
        super().__init__(book, chip, constants, engine, layout, activations)
        self.attention = Job(book, chip, constants, engine, layout, activations, "attention")
        self.beside, self.between = beside, between
        #: Where the feed-forward weights lie in their pool, whatever batch and context are.
        self.placed_beside = beside.place(1, 1)

    def hand_over_s(self, tokens: float) -> float:
        """Seconds of all hand-overs of one pass of so many tokens: two a layer."""
        sent = tokens * self.book.model.width * HANDED_OVER
        rate = self.between.bytes_per_s
        each = self.between.latency_s + (sent / rate if rate else 0.0)
        return 2.0 * self.timer.depth * each

    def decode(self, batch: int, context: int, placement: Placement, new_tokens: int = 1) -> Pass:
        """One decode step, with as many micro-batches in flight as make it shortest."""
        sequences = self.held.sequences(batch)
        flights = range(1, min(sequences, MOST_FLIGHTS) + 1)
        steps = [self._step(sequences, m, context, placement, new_tokens) for m in flights]
        return min(steps, key=lambda step: step.seconds)

    def _step(
        self, sequences: int, flights: int, context: int, placement: Placement, new_tokens: int
    ) -> Pass:
        """One decode step with so many micro-batches in flight."""
        near, far, layout = self.attention.timer, self.beside.timer, self.layout
        each = -(-sequences // flights)
        together = each * layout.attention_data * layout.data
        one = near.decode(each, context, new_tokens, placement)
        other = far.decode(-(-together // self.beside.layout.data), 1, new_tokens, self.placed_beside)
        handed = self.hand_over_s(together * new_tokens)
        alone = one.seconds + other.seconds + handed
        busy = [(flights * work.seconds / timer.stages, work, timer.stages)
                for work, timer in ((one, near), (other, far))]  # fmt: skip
        busiest, work, stages = max(busy, key=lambda entry: entry[0])
        if busiest > alone:
            return Pass(busiest, {term: flights * s / stages for term, s in work.terms.items()})
        terms = dict(one.terms)
        for term, seconds in other.terms.items():
            terms[term] = terms.get(term, 0.0) + seconds
        terms["network"] += handed
        return Pass(sum(terms.values()), terms)

    def works(self, workload: Workload, placement: Placement) -> tuple[tuple[Chip, int, Work], ...]:
        """What one decode step does, by pool."""
        main = self.attention.work(workload, placement)
        other = self.beside.work(workload, self.placed_beside)
        handed = 4.0 * workload.batch * self.book.model.width * HANDED_OVER * self.timer.depth / 2.0
        return (
            (self.chip, self.layout.chips, main._replace(network_bytes=main.network_bytes + handed)),
            (self.beside.chip, self.beside.layout.chips, other),
        )
