"""Timing: how long one pass through the model takes, term by term.

A pass is a decode step (a token, or a few drafts, of each sequence) or a chunk of prefill. Operator by
operator it takes compute c and memory b, which an engine overlaps as sqrt(c^2 + b^2) (credited c^2 : b^2)
or as the larger of the two. Time-shared chips add up operators, collectives and a floor per layer. On
spatial chips each layer has units of its own: a pass takes the larger of work and floor.

Tiers follow each other, or overlap by a share w: T = (1 - w) * (one after the other) + w * (all at once),
where all at once takes the longest of the streams: compute with the memory near it, and each tier beyond.

Letters: M tokens in a pass, L layers, D model width, t chips that work on a layer at a time, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from memcalc.chip import BEYOND, ON_CHIP, Chip
from memcalc.core.ledger import Ledger, Operator
from memcalc.core.network import NO_NETWORK, network
from memcalc.core.placement import PART_OF, Placement
from memcalc.core.residency import cache_copies
from memcalc.engine import Constants, Engine
from memcalc.precision import CONVERTED, format_named, math_format
from memcalc.workload import Layout

#: The part of a layer that a pool of chips works on, where unlike pools share each layer.
Role = Literal["all", "attention", "feed-forward"]
#: The parts of the weights that go with each.
PARTS_OF: Mapping[Role, tuple[str, ...]] = {
    "all": ("attention", "ffn", "experts"), "attention": ("attention",), "feed-forward": ("ffn", "experts"),
}  # fmt: skip
#: Launches, gaps and floors of a layer that fall to each of two pools. Nobody has published such a share: an assumption.
HALF_LAYER = 0.5
#: Vector operations to use a weight as it is: multiply, add.
PLAIN_OPS = 2.0
#: Stands for a rate that is unknown or beyond measure: its term vanishes.
BOUNDLESS = float("inf")


class Pass(NamedTuple):
    """The time of a pass by term. `terms` add up to `seconds`; they are exposed time."""

    seconds: float
    terms: dict[str, float]


class _Rated(NamedTuple):
    """An operator on the chips that share it: seconds a token, and bytes of one chip."""

    part: str
    token_s: float
    vector_s: float
    bytes: float
    hit: float  # k/E, 0 where all weights are read


class Timer:
    """Times passes of one model on one chip type, engine and layout.

    `formats` maps each tensor class to the format its math runs in; `unknown_compute` names those of
    them that the chip's preset lacks. With a `role` it is the time of attention or of feed-forward alone.
    """

    def __init__(
        self,
        book: Ledger,
        chip: Chip,
        constants: Constants,
        engine: Engine,
        layout: Layout,
        activations: str,
        role: Role = "all",
    ) -> None:
        model = book.model
        self.chip, self.engine, self.constants, self.layout = chip, engine, constants, layout
        self.spatial = chip.execution == "spatial"
        self.depth = model.depth
        # On a spatial chip the layers lie side by side, so each has 1/L of all chips.
        replica = layout.tensor * layout.pipeline
        self.stages = self.depth if self.spatial else layout.pipeline
        self.narrow = replica / self.depth if self.spatial else float(layout.tensor)
        self.wide = self.narrow * layout.attention_data
        self.formats: dict[str, str] = {}
        self.unknown_compute: list[str] = []
        # A spatial stack's share of peak in prefill holds for all passes where layers run in turn.
        in_turn = None if self.spatial else engine.prefill_compute_efficiency
        self.efficiency = in_turn or constants.compute_efficiency
        self._weights = PARTS_OF[role]
        self.operators = tuple(op for op in book.operators if PART_OF[op.tensor] in self._weights)
        self._operators = tuple(self._rate(op, activations) for op in self.operators)
        # The head is the last operator, and goes with attention.
        self._head = None if role == "feed-forward" else self._operators[-1]

        # Scores and values are 16-bit math where the chip has any, whatever the products run in.
        wide = "fp32" if activations == "fp32" else "bf16"
        core = wide if math_format(format_named(wide), wide, chip.compute) else activations
        self.formats["kv"], peak = self._peak(core, core)
        self._core_rate = (
            peak * self.efficiency * constants.attention_efficiency * self.narrow * layout.context
        )
        self.caches = () if role == "feed-forward" else book.caches
        self.core_bytes = [
            c.bytes_per_entry * cache_copies(c, layout, chip, engine) / (self.narrow * layout.context)
            for c in self.caches
        ]

        moe = sum(g.count for g in model.layers if g.feed_forward.experts)
        top_k = max(g.feed_forward.top_k for g in model.layers)
        self.network = NO_NETWORK
        if not engine.ideal:
            self.network = network(
                chip, constants, layout, model.width, self.depth, moe, top_k,
                attention=role != "feed-forward", feed_forward=role != "attention",
            )  # fmt: skip
        floor = None if engine.ideal else chip.layer_floor
        part = 1.0 if role == "all" else HALF_LAYER
        self.floor_s = self.depth * constants.layer_s * part
        if floor:
            self.floor_s += self.depth * floor.seconds(model.width) * part
            self.floor_s += moe * floor.moe_s * (role != "attention")
        self._sequence_s = constants.sequence_s * (role != "feed-forward")
        # A home of unknown size holds nothing.
        self.rates = {
            name: self._tier_rates(name) for name, tier in chip.homes if tier.capacity_bytes is not None
        }
        # Unfused elementwise operators pass through the chip's main memory: the first that is not on the die.
        off_die = [name for name in self.rates if name not in ON_CHIP]
        # A layer of a spatial chip has a part of the die, but all of what lies beyond it while it works.
        self.beyond_die = frozenset(off_die) if self.spatial else frozenset()
        for name in self.beyond_die:
            weights_rate, kv_rate = self.rates[name]
            self.rates[name] = weights_rate * self.depth, kv_rate * self.depth
        # What works at once with compute where tiers overlap; each other tier is a stream of its own.
        self._near = [name for name in self.rates if name in ON_CHIP] or list(self.rates)[:1]
        self._beyond = [name for name in self.rates if name not in self._near]
        self.overlap = 0.0
        if self._beyond:
            self.overlap = 1.0 if engine.ideal else chip.tier_overlap
        self._elementwise = f"memory:{off_die[0]}" if off_die else ""
        self._elementwise_s = 0.0
        if off_die:
            traffic = model.width * self.depth * constants.activation_bytes * part
            self._elementwise_s = traffic / self.rates[off_die[0]][0]

    def _peak(self, weights: str, activations: str, *, kept: bool = False) -> tuple[str, float]:
        """The format that the math runs in and its peak FLOP/s on one chip.

        A class `kept` in its own format by the conversion of the others runs as they do where the
        chip has no arithmetic of its width: an integer machine does not leave the head out.
        """
        name = math_format(format_named(weights), activations, self.chip.compute)
        if name is None and kept and activations in self.chip.compute:
            name = activations
        if name is None:
            if activations not in self.unknown_compute:
                self.unknown_compute.append(activations)
            return activations, BOUNDLESS
        return name, self.chip.compute[name]

    def _rate(self, op: Operator, activations: str) -> _Rated:
        """Seconds and bytes of an operator on one of the chips that share it."""
        part = PART_OF[op.tensor]
        chips = self.narrow if part == "attention" else self.wide
        constants, form = self.constants, op.format
        kept = op.tensor not in CONVERTED
        self.formats[op.tensor], peak = self._peak(form.name, activations, kept=kept)
        efficiency = self.efficiency
        efficiency *= constants.weight_only_efficiency if form.weight_only else 1.0
        efficiency *= constants.expert_efficiency if op.experts else 1.0
        vector_s, vector_peak = 0.0, self.chip.compute.get("fp32")
        if vector_peak and constants.unpack_ops:
            ops = {
                "none": PLAIN_OPS,
                "8-bit": constants.byte_unpack_share * constants.unpack_ops,
                "4-bit": constants.unpack_ops,
                "k-quant": constants.unpack_ops * constants.k_quant_factor,
            }[form.unpacking]
            vector_s = op.elements * ops / vector_peak / chips
        return _Rated(
            part,
            op.flops_per_token / (efficiency * peak * chips),
            vector_s,
            op.stored_bytes / chips,
            op.top_k / op.experts if op.experts else 0.0,
        )

    def _tier_rates(self, name: str) -> tuple[float, float]:
        """Bytes/s that one chip draws from a tier: weights, and KV cache. Unknown ones are boundless."""
        tier = self.chip.memory[name]
        rate = tier.bandwidth_bytes_per_s
        link = self.chip.links.host_bytes_per_s
        if name in BEYOND and link is not None:
            # Host memory is as fast as the link to it; flash by itself is slower.
            rate = min(rate or BOUNDLESS, link) if rate or name == "host" else None
        if not self.engine.ideal:
            if tier.effective_bytes_per_s is not None:
                rate = tier.effective_bytes_per_s
            elif rate is not None:
                rate *= self.constants.memory_efficiency
        if rate is None:
            return BOUNDLESS, BOUNDLESS
        # Over a link kernels do not decide.
        return rate, rate if name in BEYOND else rate * self.constants.kv_efficiency

    def unknown_rates(self, placement: Placement) -> list[str]:
        """Figures of tiers that a pass reads and that are unknown. ROM takes no time of its own.

        The nominal bandwidth of SRAM says nothing on a chip that is built around it: speeds stay 700 to 2,000
        times below. It takes what has been seen to be drawn, or a floor, to time one.
        """
        parts = (*self._weights, "kv") if self.caches else self._weights
        read = {t for part in parts for t, _ in placement.shares[part]}
        found = [
            f"memory.{t}.bandwidth_bytes_per_s"
            for t in self.rates
            if t in read and t != "rom" and self.rates[t][0] == BOUNDLESS
        ]
        seen = self.chip.layer_floor or self.engine.ideal or self.chip.plan != "on-chip"
        if "sram" in read and not seen and self.chip.memory["sram"].effective_bytes_per_s is None:
            found.append("memory.sram.effective_bytes_per_s")
        return found

    def kv_read(self, context: int) -> float:
        """Bytes of one sequence's cache that each of its chips reads in a step, over all layers."""
        read = 0.0
        for cache, size in zip(self.caches, self.core_bytes, strict=True):
            read += size * cache.entries_read(context)
        return read

    def decode(
        self, sequences: int, context: int, new_tokens: int, placement: Placement, flights: int = 1
    ) -> Pass:
        """One step of `sequences` in each attention group, at `context`, `new_tokens` positions each.

        Where `flights` micro-batches are under way on a spatial chip, they share what lies beyond the die.
        """
        kv, pairs = self.kv_read(context), 0.0
        for cache in self.caches:
            pairs += cache.decode_flops * cache.core_entries(context)
        positions = sequences * new_tokens
        return self.time(positions, positions * self.layout.attention_data, positions, sequences,
                         pairs * positions, kv * sequences, placement, flights)  # fmt: skip

    def time(
        self,
        tokens: float,
        wide_tokens: float,
        rows: float,
        sequences: float,
        core_flops: float,
        kv_bytes: float,
        placement: Placement,
        flights: int = 1,
    ) -> Pass:
        """One pass of `tokens` in an attention group and `wide_tokens` over all groups.

        `rows` go through the head, `sequences` take part in the group, `core_flops` are the attention
        core's over the group, `kv_bytes` what the fullest chip reads of the cache.
        """
        constants, rates = self.constants, self.rates
        shares, square = placement.shares, self.engine.combine != "max"
        if self.beyond_die and flights > 1:
            shared = self.beyond_die
            rates = {t: (w / flights, k / flights) if t in shared else (w, k) for t, (w, k) in rates.items()}
        slowness = {part: [(t, f / rates[t][0]) for t, f in shares[part]] for part in self._weights}
        memory = dict.fromkeys(rates, 0.0)
        # The same passes with all streams at once, where tiers overlap.
        at_once = dict.fromkeys(rates, 0.0) if self.overlap else None
        compute = compute_at_once = 0.0
        saturation, least_tile = constants.saturation_tokens, constants.least_tile_tokens
        vector_tokens = constants.vector_tokens
        for op in self._operators:
            part = op.part
            count = rows if op is self._head else tokens if part == "attention" else wide_tokens
            share, tile = 1.0, count
            if op.hit:
                share = 1.0 - (1.0 - op.hit) ** count
                tile = count * op.hit / share if share else 0.0
            c = op.token_s * count * (1.0 + saturation / max(tile, least_tile))
            if count <= vector_tokens and op.vector_s * share > c:
                c = op.vector_s * share
            size = op.bytes * share
            reads = [(tier, size * slow) for tier, slow in slowness[part]]
            compute += _overlapped(c, reads, memory, square=square)
            if at_once is not None:
                compute_at_once += self._at_once(c, reads, at_once, square=square)
        c = core_flops / self._core_rate
        reads = [(t, kv_bytes * f / rates[t][1]) for t, f in shares["kv"]]
        compute += _overlapped(c, reads, memory, square=square)
        if at_once is not None:
            compute_at_once += self._at_once(c, reads, at_once, square=square)
            compute, memory = self._overlap(compute, memory, compute_at_once, at_once)
        return self._add_up(compute, memory, tokens, sequences)

    def _at_once(
        self, c: float, reads: list[tuple[str, float]], memory: dict[str, float], *, square: bool
    ) -> float:
        """Overlap compute with the reads near it alone; those beyond go into streams of their own."""
        for tier, seconds in reads:
            if tier not in self._near:
                memory[tier] += seconds
        return _overlapped(c, [read for read in reads if read[0] in self._near], memory, square=square)

    def _overlap(
        self, compute: float, memory: dict[str, float], compute_at_once: float, at_once: dict[str, float]
    ) -> tuple[float, dict[str, float]]:
        """Mix the exposed times of tiers one after the other with those of the longest stream alone."""
        w = self.overlap
        near = compute_at_once + sum(at_once[tier] for tier in self._near)
        longest = max(self._beyond, key=at_once.__getitem__)
        shown = self._near if near >= at_once[longest] else [longest]
        compute_at_once *= near >= at_once[longest]
        mixed = {t: (1.0 - w) * s + (w * at_once[t] if t in shown else 0.0) for t, s in memory.items()}
        return (1.0 - w) * compute + w * compute_at_once, mixed

    def head(self, rows: float, placement: Placement) -> dict[str, float]:
        """The time of the head alone over `rows`, by term: what a draft adds to its layer."""
        constants, op = self.constants, self._head
        if op is None:
            return {}
        least = max(rows, constants.least_tile_tokens)
        c = op.token_s * rows * (1.0 + constants.saturation_tokens / least)
        memory = dict.fromkeys(self.rates, 0.0)
        reads = [(t, op.bytes * f / self.rates[t][0]) for t, f in placement.shares[op.part]]
        compute = _overlapped(c, reads, memory, square=self.engine.combine != "max")
        return {"compute": compute, **{"memory:" + tier: seconds for tier, seconds in memory.items()}}

    def _add_up(self, compute: float, memory: dict[str, float], tokens: float, sequences: float) -> Pass:
        """Floors and collectives: from work to exposed time."""
        terms = {"compute": compute}
        for tier, seconds in memory.items():
            terms["memory:" + tier] = seconds
        network = self.network.seconds + self.network.per_token_s * tokens
        latency = self.floor_s + self._sequence_s * sequences
        if self.spatial:
            if latency >= sum(terms.values()):
                terms = dict.fromkeys(terms, 0.0)
            else:
                latency = 0.0
        elif self._elementwise_s:
            terms[self._elementwise] += self._elementwise_s * tokens
        terms["network"] = network
        terms["latency"] = latency
        return Pass(sum(terms.values()), terms)


def _overlapped(c: float, reads: list[tuple[str, float]], memory: dict[str, float], *, square: bool) -> float:
    """Overlap compute c with reads; add the exposed reads to `memory` and return the exposed compute."""
    b = 0.0
    for _, seconds in reads:
        b += seconds
    if square and b > 0.0 and c > 0.0:
        whole: float = (c * c + b * b) ** 0.5
        credit = b / whole
        for tier, seconds in reads:
            memory[tier] += seconds * credit
        return c * c / whole
    if c > b:
        return c
    for tier, seconds in reads:
        memory[tier] += seconds
    return 0.0
