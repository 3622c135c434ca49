"""A job: one model on the chips of one layout, ready to be asked about batches and contexts.

What does not depend on batch and context is worked out once, so that a question costs microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from memcalc.chip import Chip
from memcalc.core.ledger import Ledger, expert_hits
from memcalc.core.placement import (
    HOT_WEIGHTS,
    ORDERS,
    PART_OF,
    PLANS,
    Placement,
    Shares,
    balance,
    place,
    rooms,
)
from memcalc.core.residency import EVERYTHING, Residency
from memcalc.core.timing import BOUNDLESS, Pass, Role, Timer
from memcalc.engine import Constants, Engine
from memcalc.workload import Layout, Workload

#: Steps in which a balance point is narrowed down, by a third each.
REFINEMENTS = 24


class Work(NamedTuple):
    """What one decode step does over the whole system: FLOP by format, bytes by part, tier and on links."""

    flops: Mapping[str, float]
    part_bytes: Mapping[str, float]
    tier_bytes: Mapping[str, float]
    network_bytes: float


class Job:
    """A model in given formats on `layout.chips` chips; with a `role` the part of each layer that is theirs.

    `keeps` are the parts that these chips hold, EVERYTHING where they prefill too.

    >>> from memcalc.readers.presets import load_chip, load_constants, load_engine, load_model
    >>> from memcalc.core.ledger import ledger
    >>> from memcalc.workload import Precision
    >>> chip, engine = load_chip("h100-sxm"), load_engine("ideal")
    >>> book = ledger(load_model("llama-3.1-8b"), Precision())
    >>> job = Job(book, chip, load_constants(chip, engine), engine, Layout(), "bf16")
    >>> placement = job.place(batch=1, context=8192)
    >>> placement.verdict, round(job.decode(1, 8192, placement).seconds * 1e3, 2)
    ('dram', 4.8)
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
        keeps: tuple[str, ...] = EVERYTHING,
    ) -> None:
        self.book, self.chip, self.engine, self.layout = book, chip, engine, layout
        self.held = Residency(book, layout, chip, engine, keeps)
        self.rooms = rooms(chip, engine)
        self._alone = len(self.rooms) == 1
        self.timer = Timer(book, chip, constants, engine, layout, activations, role)

    def micro_batch(self, batch: int) -> tuple[int, int]:
        """Micro-batches in flight in a replica, and the sequences of one in an attention group.

        A pipeline is kept busy by one micro-batch a stage. An engine that splits layers runs one
        batch through them, stage after stage.
        """
        sequences = self.held.sequences(batch)
        most = 1 if self.engine.splits == "layers" else min(self.timer.stages, sequences)
        each = -(-sequences // most)
        return -(-sequences // each), each

    def place(self, batch: int, context: int, new_tokens: int = 1, *, refine: bool = False) -> Placement:
        """The fastest placement: where candidates differ each is timed, and the chip's plan goes first."""
        if self._alone:
            return place(self.held, self.rooms, batch, context, "weights-first")
        first, found = None, []
        for placement in self.placements(batch, context, new_tokens, refine=refine):
            first = first or placement
            if placement.fits:
                planned = self.engine.ideal or placement.verdict in PLANS[self.chip.plan]
                found.append(
                    (not planned, self.decode(batch, context, placement, new_tokens).seconds, placement)
                )
            if placement.verdict == "on-chip" and not self.timer.overlap:
                return placement  # no order is better
        return min(found, key=lambda entry: entry[:2])[2] if found else first  # type: ignore[return-value]

    def placements(
        self, batch: int, context: int, new_tokens: int = 1, *, refine: bool = False
    ) -> Iterator[Placement]:
        """The candidates: each order of the parts, and where tiers overlap also up to the balance point.

        With `refine` that point is narrowed down by the time itself, which takes long.
        """
        seen: list[Mapping[str, Shares]] = []
        for order in ORDERS:
            if order == "kv-before-experts" and not self.held.parts["experts"]:
                continue  # the same as weights first
            caps: list[float | None] = [None]
            if (
                self.timer.overlap
                and (balanced := self._balance(batch, context, order, new_tokens)) is not None
            ):
                caps.append(balanced)
            for cap in caps:
                placement = place(self.held, self.rooms, batch, context, order, cap)
                if placement.shares not in seen:
                    seen.append(placement.shares)
                    yield placement
            if refine and self.timer.overlap == 1.0:
                yield self._refined(batch, context, order, new_tokens)

    def _refined(self, batch: int, context: int, order: str, new_tokens: int) -> Placement:
        """Where all overlaps, compute shifts the balance point: narrow it down by the time itself."""

        def at(cap: float) -> Placement:
            return place(self.held, self.rooms, batch, context, order, cap)

        low, high = 0.0, self.rooms[0].usable
        for _ in range(REFINEMENTS):
            third = (high - low) / 3.0
            near, far = low + third, high - third
            seconds = [self.decode(batch, context, at(cap), new_tokens).seconds for cap in (near, far)]
            low, high = (low, far) if seconds[0] < seconds[1] else (near, high)
        return at((low + high) / 2.0)

    def _balance(self, batch: int, context: int, order: str, new_tokens: int) -> float | None:
        """The balance point of the two fastest tiers; None where it cannot pay.

        With an overlap of w the next byte in the fast tier costs (1 - w) / b_2 less and 1 / b_1 more beyond
        that point; a fast tier that takes no time has none.
        """
        first, second = (self.timer.rates[room.tier] for room in self.rooms[:2])
        slack = 1.0 - self.timer.overlap
        if BOUNDLESS in (*first, *second) or (
            slack * first[0] >= second[0] and slack * first[1] >= second[1]
        ):
            return None
        by_part = [{**dict.fromkeys(HOT_WEIGHTS, weights), "kv": kv} for weights, kv in (first, second)]
        return balance(
            self.held.sizes(batch, context), self.heats(batch, context, new_tokens), by_part, order
        )

    def heats(self, batch: int, context: int, new_tokens: int = 1) -> dict[str, float]:
        """Reads of each stored byte in a pass of one micro-batch, by part.

        A weight is read once, an expert's where a token takes it, and of the cache the part of the
        sequences that are in the pass, as far as attention reads it.
        """
        _, sequences = self.micro_batch(batch)
        stored = self.held.kv(batch, context)
        # A chip holds the layers of its stage, and a pass reads all layers in turn.
        read = self.timer.kv_read(context) / self.timer.stages * sequences
        kv = min(1.0, read / stored) if stored else 0.0
        share = self.expert_share(sequences, new_tokens)
        return {"attention": 1.0, "ffn": 1.0, "experts": share, "kv": kv}

    def expert_share(self, sequences: int, new_tokens: int = 1) -> float:
        """The share of the routed experts that a pass of so many sequences a group touches."""
        op = next((op for op in self.book.operators if op.experts), None)
        if op is None:
            return 0.0
        together = sequences * new_tokens * self.layout.attention_data
        return expert_hits(op.experts, op.top_k, together) / op.experts

    def decode(self, batch: int, context: int, placement: Placement, new_tokens: int = 1) -> Pass:
        """One decode step: the time until each sequence of the batch has its next token."""
        flights, sequences = self.micro_batch(batch)
        return self.timer.decode(sequences, context, new_tokens, placement, flights)

    def step(self, workload: Workload, placement: Placement, context: int | None = None) -> Pass:
        """The decode step of a workload with its drafting, at its context or another."""
        at = workload.context_tokens if context is None else context
        verify = self.decode(workload.batch, at, placement, 1 + workload.draft_tokens)
        if not workload.draft_tokens or not self.book.model.mtp_layers:
            return verify
        # Each draft runs one MTP layer, which is as one of the model's own, and the head.
        one = self.decode(workload.batch, at, placement)
        head = self.timer.head(self.micro_batch(workload.batch)[1], placement)
        drafts, share = workload.draft_tokens, workload.draft_tokens / self.timer.depth
        terms = {
            term: seconds + share * one.terms.get(term, 0.0) + drafts * head.get(term, 0.0)
            for term, seconds in verify.terms.items()
        }
        return Pass(sum(terms.values()), terms)

    def prefill(self, prompts: int, tokens: int, placement: Placement) -> Pass:
        """Prefill of `prompts` prompts of so many tokens, in chunks, spread over replicas and groups."""
        timer, layout = self.timer, self.layout
        per_group = self.held.sequences(prompts)
        groups = min(layout.attention_data, -(-prompts // layout.data))
        total = per_group * tokens
        pairs = absorbed = 0.0
        for cache in timer.caches:
            absorbed += cache.decode_flops * cache.pairs(tokens)
            pairs += cache.prefill_flops * cache.pairs(tokens)
        if timer.spatial:
            return self._streamed_prefill(total, per_group, pairs, placement)
        chunk = self.engine.prefill_chunk_tokens * layout.context
        chunks = -(-total // chunk)
        # A later chunk reads what the earlier ones of its prompt left in the cache.
        earlier = max(0, -(-tokens // chunk) - 1) / 2
        expand = sum(c.expand_flops for c in timer.caches) * tokens * earlier
        kv = timer.kv_read(tokens)
        share = per_group / chunks
        one = timer.time(
            total / chunks / layout.context,
            total / chunks / layout.context * groups,
            share,
            share,
            min(absorbed, pairs + expand) * share,
            kv * share * (1.0 + earlier),
            placement,
        )
        # Chunks follow each other through the stages of a pipeline, which must fill first.
        fill = 0 if self.engine.ideal else layout.pipeline - 1
        passes = (chunks + fill) / layout.pipeline
        terms = {term: seconds * passes for term, seconds in one.terms.items()}
        return Pass(sum(terms.values()), terms)

    def mixed(self, batch: int, prompt: int, output: int, placement: Placement) -> Pass:
        """One pass of continuous batching in steady state: the time until each sequence has its next token.

        Sequences are spread evenly over their `output` tokens, so a pass decodes at the mean context and
        takes in one prompt for every `output` sequences, in chunks beside the decoding.
        """
        timer, layout = self.timer, self.layout
        context = prompt + output // 2
        if timer.spatial:
            decode = self.decode(batch, max(1, context), placement)
            share = batch / output
            prefill = self.prefill(1, prompt, placement) if prompt else Pass(0.0, {})
            terms = {t: s + share * prefill.terms.get(t, 0.0) for t, s in decode.terms.items()}
            return Pass(sum(terms.values()), terms)
        _, sequences = self.micro_batch(batch)
        entering = sequences / output
        decoded = absorbed = pairs = 0.0
        for cache in timer.caches:
            decoded += cache.decode_flops * cache.core_entries(context)
            absorbed += cache.decode_flops * cache.pairs(prompt)
            pairs += cache.prefill_flops * cache.pairs(prompt) + cache.expand_flops * prompt
        core = decoded * sequences + min(absorbed, pairs) * entering
        tokens = sequences + entering * prompt
        return timer.time(
            tokens / layout.context,
            tokens / layout.context * layout.attention_data,
            sequences + entering,
            sequences,
            core,
            timer.kv_read(context) * sequences,
            placement,
        )

    def _streamed_prefill(self, tokens: int, prompts: int, pairs: float, placement: Placement) -> Pass:
        """Prefill on a spatial chip: tokens stream through the layers, all of which work at once."""
        timer, engine = self.timer, self.engine
        rows = {"head": prompts}
        flops = {timer.formats["kv"]: pairs * prompts}
        for op in self.book.operators:
            form = timer.formats[op.tensor]
            flops[form] = flops.get(form, 0.0) + op.flops_per_token * rows.get(op.tensor, tokens)
        chips = self.layout.tensor * self.layout.pipeline
        fill = timer.floor_s
        terms = dict.fromkeys(("compute", *("memory:" + t for t in timer.rates), "network", "latency"), 0.0)
        # Weights beyond the die are streamed through once.
        slowest, streamed = max(
            ((self._streamed_s(tier, placement), tier) for tier in timer.beyond_die), default=(0.0, "")
        )
        known = self.chip.compute
        if all(form in known for form in flops):
            share = engine.prefill_compute_efficiency or timer.constants.compute_efficiency
            efficiency = 1.0 if engine.ideal else share
            terms["compute"] = sum(work / known[form] for form, work in flops.items()) / (chips * efficiency)
            terms["latency"] = fill
        else:
            # No arithmetic rate is published: a token enters whenever a layer is free.
            terms["latency"] = fill * (tokens - 1 + timer.depth) / timer.depth
        if slowest > terms["compute"]:
            terms["compute"], terms["memory:" + streamed] = 0.0, slowest
        return Pass(sum(terms.values()), terms)

    def _streamed_s(self, tier: str, placement: Placement) -> float:
        """Seconds in which a spatial machine takes in the weights that lie in a tier beyond the die."""
        size = sum(
            self.held.parts[part] * share
            for part in HOT_WEIGHTS
            for where, share in placement.shares[part]
            if where == tier
        )
        return size * self.timer.depth / self.timer.rates[tier][0]

    def works(self, workload: Workload, placement: Placement) -> tuple[tuple[Chip, int, Work], ...]:
        """What one decode step does, by pool: the kind of chips, their number, their work."""
        return ((self.chip, self.layout.chips, self.work(workload, placement)),)

    def work(
        self, workload: Workload, placement: Placement, micro_batch: tuple[int, int] | None = None
    ) -> Work:
        """What one decode step does over the system: each micro-batch reads the weights once more."""
        timer, layout, batch = self.timer, self.layout, workload.batch
        context, new = workload.context_tokens, 1 + workload.draft_tokens
        flights, sequences = micro_batch or self.micro_batch(batch)
        # Replicas and attention groups beyond the batch stand idle.
        passes = flights * min(layout.data, batch) * layout.context
        by_group = flights * min(layout.data * layout.attention_data, batch) * layout.context
        flops: dict[str, float] = {}
        parts = dict.fromkeys(("attention", "ffn", "experts", "kv"), 0.0)
        for op in timer.operators:
            form = timer.formats[op.tensor]
            flops[form] = flops.get(form, 0.0) + op.flops_per_token * batch * new
            share = self.expert_share(sequences, new) if op.experts else 1.0
            part = PART_OF[op.tensor]
            parts[part] += op.stored_bytes * share * (by_group if part == "attention" else passes)
        core = sum(cache.decode_flops * cache.core_entries(context) for cache in timer.caches)
        flops[timer.formats["kv"]] = flops.get(timer.formats["kv"], 0.0) + core * batch * new
        parts["kv"] = batch * timer.kv_read(context) * timer.narrow * layout.context
        if workload.draft_tokens and self.book.model.mtp_layers:
            # Each draft runs one layer as the model's own, and the head.
            one = self.work(replace(workload, draft_tokens=0), placement, micro_batch)
            head = next((op for op in timer.operators if op.tensor == "head"), None)
            share = workload.draft_tokens / timer.depth
            for form, count in one.flops.items():
                flops[form] = flops.get(form, 0.0) + share * count
            for part in HOT_WEIGHTS:
                parts[part] += share * one.part_bytes[part]
            if head:
                parts["attention"] += workload.draft_tokens * head.stored_bytes * by_group
                form = timer.formats["head"]
                flops[form] += workload.draft_tokens * head.flops_per_token * batch
        tiers = dict.fromkeys(timer.rates, 0.0)
        for part, size in parts.items():
            for tier, fraction in placement.shares[part]:
                tiers[tier] += size * fraction
        sent = timer.network.per_token_bytes * batch * new * layout.tensor
        return Work(flops, parts, tiers, sent)
