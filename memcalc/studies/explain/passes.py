"""The steps of one pass: operators, tiers, how they overlap, the links and the floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from memcalc.chip import BEYOND, ON_CHIP
from memcalc.core.job import Job
from memcalc.core.ledger import Operator, expert_hits
from memcalc.core.network import ACTIVATION, DISPATCH_AND_COMBINE
from memcalc.core.placement import PART_OF, Placement
from memcalc.core.remarks import term_title, tier_title
from memcalc.core.residency import cache_copies
from memcalc.core.timing import BOUNDLESS, HALF_LAYER, PLAIN_OPS, Role
from memcalc.studies.explain.formula import evaluate
from memcalc.studies.explain.steps import (
    Numbers,
    Pieces,
    Sources,
    Steps,
    caches_named,
    entries_read,
    inner,
    summed,
    term_name,
)

_ROOFLINE = "roofline: Williams 2009 (doi:10.1145/1498765.1498785)"
_HITS = "Erdil 2025 (arXiv:2506.04645), equation 22: uniform independent routing"
_SQUARES = "root of the squares: it fits measurements better than the larger of the two (docs/cost-model.md)"
_HALF = "half of a layer's floor falls to each of two pools: an assumption (docs/cost-model.md)"
_CORE = "4 * heads * head_dim a token read; absorbed latents 2 * heads * (2 * latent_dim + rope_dim)"
_RING = "ring: Thakur 2005; growth of the latency fitted (memcalc/core/network.py)"


class Load(NamedTuple):
    """What one pass takes in, as `Timer.time` does."""

    tokens: float
    wide_tokens: float
    rows: float
    sequences: float
    core_flops: float
    kv_bytes: float
    flights: int = 1


class _Timed(NamedTuple):
    """An operator of a pass: seconds of compute, and of each tier that it reads."""

    name: str
    compute_s: float
    tiers: dict[str, float]


class PassSteps:
    """The steps of one pass through the model, or the part of it that is theirs, on the chips of a layout."""

    def __init__(self, steps: Steps, job: Job, placement: Placement, role: Role = "all") -> None:
        self.steps, self.request = steps, steps.request
        self.job, self.timer, self.placement, self.role = job, job.timer, placement, role
        self.rates = dict(job.timer.rates)
        self.square = steps.request.engine.combine != "max"

    def terms(self, load: Load, expected: Mapping[str, float] | None) -> Numbers:
        """Add the steps of a pass; its terms by name, the work of a spatial chip before its floor.

        `expected` are the terms where the report has them.
        """
        operators = self._operators(load)
        compute, memory = self._in_turn(operators, list(self.timer.rates), "")
        if not self.timer.spatial:
            self._unfused(load, memory)
        pieces = {"compute": compute, **{f"memory:{tier}": found for tier, found in memory.items()}}
        if self.timer.overlap:
            return self._at_once(operators, pieces, expected)
        terms = {}
        for term, (formula, values) in pieces.items():
            if formula:
                terms[term] = self._term(term, summed(formula), values, expected)
        return terms

    def _term(self, term: str, formula: str, values: Numbers, expected: Mapping[str, float] | None) -> float:
        what = "work" if self.timer.spatial else "exposed"
        result = expected.get(term) if expected and not self.timer.spatial else None
        source = self.steps.chip("tier_overlap") if "overlap" in values else ()
        return self.steps.add(f"{what}: {term_title(term)}", formula, values, "s", source, result)

    def bandwidths(self, flights: int, *, add: bool = True) -> None:
        """What one chip draws from each tier that is read, for weights and for the KV cache.

        Without `add` they are known to the steps of the pass, but not shown again.
        """
        steps, chip = self.steps, self.request.chip
        engine, constants = self.request.engine, self.timer.constants
        parts = {PART_OF[op.tensor] for op in self.timer.operators} | ({"kv"} if self.timer.caches else set())
        read = {t for part in parts for t, _ in self.placement.shares[part]}
        for name, (weights, kv) in self.timer.rates.items():
            far = self.timer.spatial and name not in ON_CHIP
            share = flights if far and flights > 1 else 1
            self.rates[name] = weights / share, kv / share
            if not add or name not in read or weights == BOUNDLESS:
                continue
            tier, link = chip.memory[name], chip.links.host_bytes_per_s
            figures = [f"memory.{name}.bandwidth_bytes_per_s"]
            values: Numbers = {}
            source: Sources = ()
            if tier.effective_bytes_per_s is not None and not engine.ideal:
                values["effective_bytes_per_s"], formula = tier.effective_bytes_per_s, "effective_bytes_per_s"
                figures = [f"memory.{name}.effective_bytes_per_s"]
            else:
                nominal, formula = tier.bandwidth_bytes_per_s, "bandwidth_bytes_per_s"
                if nominal is not None:
                    values["bandwidth_bytes_per_s"] = nominal
                if name in BEYOND and link is not None:
                    values["link_bytes_per_s"] = link
                    formula = (
                        f"min({formula}, link_bytes_per_s)" if nominal is not None else "link_bytes_per_s"
                    )
                    figures.append("links.host_bytes_per_s")
                if not engine.ideal:
                    values["memory_efficiency"] = constants.memory_efficiency
                    formula += " * memory_efficiency"
                    source = steps.engine("constants")
            if far:
                values |= {"layers": self.timer.depth}
                formula += " * layers"
                if share > 1:
                    values["micro_batches"] = share
                    formula += " / micro_batches"
            source = (*steps.chip(*figures), *source)
            steps.add(
                f"bandwidth: {tier_title(name)} of a chip", formula, values, "B/s", source, weights / share
            )
            if kv != weights:
                steps.add(f"bandwidth: {tier_title(name)} of a chip, KV cache", "bytes_per_s * kv_efficiency",
                          {"bytes_per_s": weights / share, "kv_efficiency": constants.kv_efficiency}, "B/s",
                          steps.engine("constants"), kv / share)  # fmt: skip

    def _operators(self, load: Load) -> list[_Timed]:
        """Seconds of compute and memory of each operator: the memory first, then the arithmetic."""
        found: list[_Timed] = []
        names: list[str] = []
        hits: Numbers = {}
        for op in self.timer.operators:
            count = sum(name.split("__")[0] == op.tensor for name in names)
            names.append(op.tensor + (f"__{count + 1}" if count else ""))
        operators = list(zip(names, self.timer.operators, strict=True))
        for name, op in operators:
            if op.experts:
                hits[name] = self.steps.add(
                    f"experts touched in a pass{' (' + name.split('__')[1] + ')' if '__' in name else ''}",
                    "experts * (1 - (1 - top_k / experts)**tokens)",
                    {"experts": op.experts, "top_k": op.top_k, "tokens": load.wide_tokens}, "experts", _HITS,
                    expert_hits(op.experts, op.top_k, load.wide_tokens),
                )  # fmt: skip
        tiers = {name: self._weights(name, op, hits.get(name)) for name, op in operators}
        core = self._cache(load)
        for name, op in operators:
            found.append(_Timed(name, self._compute(name, op, load, hits.get(name)), tiers[name]))
        found.append(_Timed("core", self._core(load), core))
        return found

    def _count(self, op: Operator, load: Load) -> float:
        head = self.job.book.operators[-1]
        return (
            load.rows
            if op is head
            else load.tokens
            if PART_OF[op.tensor] == "attention"
            else load.wide_tokens
        )

    def _chips(self, op: Operator) -> float:
        return self.timer.narrow if PART_OF[op.tensor] == "attention" else self.timer.wide

    def _weights(self, name: str, op: Operator, hits: float | None) -> dict[str, float]:
        seconds = {}
        shares = self.placement.shares[PART_OF[op.tensor]]
        for tier, share in shares:
            rate = self.rates[tier][0]
            if rate == BOUNDLESS:
                continue
            values: Numbers = {"stored_bytes": op.stored_bytes}
            formula = "stored_bytes"
            if hits is not None:
                values |= {"touched": hits, "experts": op.experts}
                formula += " * touched / experts"
            if share != 1.0:
                values[f"{tier}_share"] = share
                formula += f" * {tier}_share"
            values |= {self.steps.chips: self._chips(op), f"{tier}_bytes_per_s": rate}
            formula += f" / ({self.steps.chips} * {tier}_bytes_per_s)"
            seconds[tier] = self.steps.add(
                f"memory time: {_title(name)} from {tier_title(tier)}", formula, values, "s", _ROOFLINE
            )
        return seconds

    def _cache(self, load: Load) -> dict[str, float]:
        seconds = {}
        for tier, share in self.placement.shares["kv"] if load.kv_bytes else ():
            rate = self.rates[tier][1]
            if rate == BOUNDLESS:
                continue
            values: Numbers = {"read_bytes": load.kv_bytes, f"{tier}_kv_bytes_per_s": rate}
            formula = f"read_bytes / {tier}_kv_bytes_per_s"
            if share != 1.0:
                values[f"{tier}_share"] = share
                formula = f"read_bytes * {tier}_share / {tier}_kv_bytes_per_s"
            seconds[tier] = self.steps.add(
                f"memory time: {self.steps.kept} from {tier_title(tier)}", formula, values, "s", _ROOFLINE
            )
        return seconds

    def _compute(self, name: str, op: Operator, load: Load, hits: float | None) -> float:
        constants, chip = self.timer.constants, self.request.chip
        peak, count = chip.compute.get(self.timer.formats[op.tensor]), self._count(op, load)
        seconds = 0.0
        values: Numbers = {}
        formula = ""
        if peak is not None:
            values = {
                "flop_per_token": op.flops_per_token, "tokens": count, self.steps.chips: self._chips(op),
                "peak_flop_per_s": peak, "compute_efficiency": self.timer.efficiency,
            }  # fmt: skip
            efficiency = "compute_efficiency"
            if op.format.weight_only:
                values["weight_only_efficiency"] = constants.weight_only_efficiency
                efficiency += " * weight_only_efficiency"
            if op.experts:
                values["expert_efficiency"] = constants.expert_efficiency
                efficiency += " * expert_efficiency"
            formula = f"flop_per_token * tokens / ({self.steps.chips} * peak_flop_per_s * {efficiency})"
            if constants.saturation_tokens:
                tile = "tokens"
                if hits is not None:
                    # Each expert that is touched sees so many of the tokens.
                    values |= {"top_k": op.top_k, "touched": hits}
                    tile = "tokens * top_k / touched"
                values["saturation_tokens"] = constants.saturation_tokens
                if constants.least_tile_tokens > evaluate(tile, values):
                    values["least_tile_tokens"], tile = constants.least_tile_tokens, "least_tile_tokens"
                tile = f"({tile})" if " " in tile else tile
                formula += f" * (1 + saturation_tokens / {tile})"
            values = {name: value for name, value in values.items() if name in formula}
            seconds = evaluate(formula, values)
        vector = self._vector(op, count, hits)
        if vector and evaluate(*vector) > seconds:
            formula, values = vector
            figure, what = "compute.fp32", " on the vector units"
        else:
            figure, what = f"compute.{self.timer.formats[op.tensor]}", ""
        if not formula:
            return 0.0
        source = (*self.steps.chip(figure), *(() if what else self._efficiency_sources()))
        title = f"compute time: {_title(name)} in {figure.removeprefix('compute.')}{what}"
        return self.steps.add(title, formula, values, "s", source)

    def _efficiency_sources(self) -> Sources:
        """Where the shares of peak come from."""
        own = self.timer.efficiency != self.timer.constants.compute_efficiency
        return self.steps.engine(*(("prefill_compute_efficiency",) if own else ()), "constants")

    def _vector(self, op: Operator, count: float, hits: float | None) -> tuple[str, Numbers] | None:
        """Few tokens make a product of matrix and vector, on the vector units, which expand the weights too."""
        constants, peak = self.timer.constants, self.request.chip.compute.get("fp32")
        if not peak or not constants.unpack_ops or count > constants.vector_tokens:
            return None
        values: Numbers = {"elements": op.elements}
        formula = "elements"
        if hits is not None:
            values |= {"touched": hits, "experts": op.experts}
            formula += " * touched / experts"
        kind = op.format.unpacking
        if kind == "none":
            values["ops"], formula = PLAIN_OPS, formula + " * ops"
        else:
            values["unpack_ops"], formula = constants.unpack_ops, formula + " * unpack_ops"
        if kind == "8-bit":
            values["byte_unpack_share"], formula = (
                constants.byte_unpack_share,
                formula + " * byte_unpack_share",
            )
        if kind == "k-quant":
            values["k_quant_factor"], formula = constants.k_quant_factor, formula + " * k_quant_factor"
        values |= {self.steps.chips: self._chips(op), "vector_flop_per_s": peak}
        return f"{formula} / ({self.steps.chips} * vector_flop_per_s)", values

    def _core(self, load: Load) -> float:
        """The attention core: scores and values."""
        constants, form = self.timer.constants, self.timer.formats["kv"]
        peak = self.request.chip.compute.get(form)
        if not load.core_flops or peak is None:
            return 0.0
        values: Numbers = {
            "core_flop": load.core_flops, self.steps.chips: self.timer.narrow * self.job.layout.context,
            "peak_flop_per_s": peak, "compute_efficiency": self.timer.efficiency,
            "attention_efficiency": constants.attention_efficiency,
        }  # fmt: skip
        return self.steps.add(
            f"compute time: attention core in {form}",
            f"core_flop / ({self.steps.chips} * peak_flop_per_s * compute_efficiency * attention_efficiency)", values, "s",
            (*self.steps.chip(f"compute.{form}"), *self._efficiency_sources()),
        )  # fmt: skip

    def _in_turn(
        self, operators: Sequence[_Timed], tiers: Sequence[str], end: str
    ) -> tuple[Pieces, dict[str, Pieces]]:
        """How compute overlaps with the reads of these tiers, operator by operator; the exposed pieces.

        What is credited to whom: both by their squares, or all to the larger.
        """
        compute: Pieces = [], {}
        memory: dict[str, Pieces] = {tier: ([], {}) for tier in tiers}
        for op in operators:
            reads = {tier: op.tiers[tier] for tier in tiers if op.tiers.get(tier)}
            name, c, b = op.name, op.compute_s, sum(reads.values())
            named: Numbers = {f"{name}_{tier}_s": seconds for tier, seconds in reads.items()}
            both = inner(list(named))
            whole = f"{name}{end}_s"
            if c and b:
                # One tier is called memory, so that operators share the formula.
                shown = {"memory_s": b} if len(named) == 1 else {f"{tier}_s": reads[tier] for tier in reads}
                formula = f"sqrt(compute_s**2 + {inner(list(shown))}**2)"
                if not self.square:
                    formula = f"max(compute_s, {summed(list(shown))})"
                what = f"overlapped{' at once' if end else ''}: {_title(name)}"
                source = _SQUARES if self.square else _ROOFLINE
                taken = self.steps.add(what, formula, {"compute_s": c, **shown}, "s", source)
            if c and b and self.square:
                compute[0].append(f"{name}_compute_s**2 / {whole}")
                compute[1].update({f"{name}_compute_s": c, whole: taken})
                for tier in reads:
                    own = f"{name}_{tier}_s"
                    piece = f"{own}**2 / {whole}" if len(named) == 1 else f"{own} * {both} / {whole}"
                    memory[tier][0].append(piece)
                    memory[tier][1].update({**named, whole: taken})
            elif c > b:
                compute[0].append(f"{name}_compute_s")
                compute[1][f"{name}_compute_s"] = c
            else:
                for tier, seconds in reads.items():
                    memory[tier][0].append(f"{name}_{tier}_s")
                    memory[tier][1][f"{name}_{tier}_s"] = seconds
        return compute, memory

    def _unfused(self, load: Load, memory: dict[str, Pieces]) -> None:
        """Elementwise operators that are not fused pass through the chip's main memory."""
        tier = next((name for name in self.rates if name not in ON_CHIP), None)
        constants = self.timer.constants
        if tier is None or not constants.activation_bytes or self.rates[tier][0] == BOUNDLESS:
            return
        values: Numbers = {
            "width": self.request.model.width, "layers": self.timer.depth,
            "bytes_per_activation": constants.activation_bytes, "tokens": load.tokens,
            f"{tier}_bytes_per_s": self.rates[tier][0],
        }  # fmt: skip
        formula = f"width * layers * bytes_per_activation * tokens / {tier}_bytes_per_s"
        source = self.steps.engine("constants")
        if self.role != "all":
            values["part_of_layer"], source = HALF_LAYER, (*source, _HALF)
            formula = f"part_of_layer * {formula}"
        seconds = self.steps.add("unfused elementwise operators", formula, values, "s", source)
        memory[tier][0].append("unfused_s")
        memory[tier][1]["unfused_s"] = seconds

    def _at_once(
        self, operators: Sequence[_Timed], in_turn: Mapping[str, Pieces], expected: Mapping[str, float] | None
    ) -> Numbers:
        """Tiers that overlap by a share: a mix of one after the other with all of them at once."""
        steps, w = self.steps, self.timer.overlap
        near = [tier for tier in self.timer.rates if tier in ON_CHIP] or list(self.timer.rates)[:1]
        beyond = [tier for tier in self.timer.rates if tier not in near]
        turn: Numbers = {}
        unfused: Numbers = {}
        for term, (whole, numbers) in in_turn.items():
            if "unfused_s" in numbers:
                unfused[term] = numbers["unfused_s"]
            formula = [piece for piece in whole if piece != "unfused_s"]
            values = {name: value for name, value in numbers.items() if name != "unfused_s"}
            if formula:
                name = f"one after the other: {term_title(term)}"
                turn[term] = steps.add(name, summed(formula), values, "s")
        compute, memory = self._in_turn(operators, near, "_near")
        once: Numbers = {}
        for term, (formula, values) in {
            "compute": compute,
            **{f"memory:{t}": memory[t] for t in near},
        }.items():
            if formula:
                name = f"on the die at once: {term_title(term)}"
                once[term] = steps.add(name, summed(formula), values, "s")
        streams: Numbers = {}
        for tier in beyond:
            values = {f"{op.name}_{tier}_s": op.tiers[tier] for op in operators if op.tiers.get(tier)}
            if values:
                name = f"its own stream: {tier_title(tier)}"
                streams[tier] = steps.add(name, summed(list(values)), values, "s")
        longest = max(streams, key=streams.__getitem__, default=None)
        if longest is not None and streams[longest] > sum(once.values()):
            once = {f"memory:{longest}": streams[longest]}
        terms: Numbers = {}
        for term in in_turn:
            pieces: list[str] = []
            values = {}
            if term in turn and w < 1.0:
                values |= {"overlap": w, "in_turn_s": turn[term]}
                pieces.append("(1 - overlap) * in_turn_s")
            if term in once:
                values |= {"overlap": w, "at_once_s": once[term]}
                pieces.append("overlap * at_once_s")
            if term in unfused:
                values["unfused_s"] = unfused[term]
                pieces.append("unfused_s")
            if pieces:
                terms[term] = self._term(term, summed(pieces), values, expected)
        return terms

    def network(self, load: Load, expected: float | None) -> float:
        """The collectives of a pass: their latencies, and what a token sends."""
        network, steps = self.timer.network, self.steps
        if not network.seconds and not network.per_token_s:
            return 0.0
        source: Sources = (_RING, *steps.engine("constants"))
        latency = steps.add("collectives: latencies", *self._latencies(), "s", source, network.seconds)
        near = self._ranks() <= self.request.chip.links.scale_up_domain_chips
        link = steps.chip(f"links.scale_{'up' if near else 'out'}_bytes_per_s")
        source = (*link, *steps.engine("constants"))
        rate = steps.add("collectives: one token", *self._sent(), "s", source, network.per_token_s)
        values = {"latencies_s": latency, "tokens": load.tokens, "token_s": rate}
        formula = "latencies_s + tokens * token_s"
        return steps.add("exposed: network", formula, values, "s", (), expected)

    def _ranks(self) -> int:
        layout = self.job.layout
        return layout.tensor * layout.attention_data * layout.context

    def _over(self) -> tuple[int, int, int]:
        layout, model = self.job.layout, self.request.model
        moe = sum(group.count for group in model.layers if group.feed_forward.experts)
        return layout.tensor * layout.attention_data, self.timer.depth, moe

    def _latencies(self) -> tuple[str, Numbers]:
        """All-reduces and all-to-alls of a pass, each with a latency that grows with its ranks."""
        layout, constants, links = self.job.layout, self.timer.constants, self.request.chip.links
        over, depth, moe = self._over()
        factor = constants.pcie_collective_factor if links.scale_up_kind == "pcie" else 1.0
        values: Numbers = {"collective_s": constants.collective_s, "growth": constants.collective_growth}
        counts: list[tuple[str, str, int]] = []
        attention, feed_forward = self.role != "feed-forward", self.role != "attention"
        if layout.attention_data == 1:
            counts.append(("2 * layers" if self.role == "all" else "layers", "tensor", layout.tensor))
        elif attention:
            counts.append(("layers", "tensor", layout.tensor))
        if layout.attention_data > 1 and feed_forward:
            # Layers with experts: out to them and back.
            counts.append(("(layers - moe_layers + 2 * moe_layers)", "wide", over))
            values["moe_layers"] = moe
        if attention:
            counts.append(("layers", "context_chips", layout.context))
        values["layers"] = depth
        pieces = []
        for count, name, ranks in counts:
            if ranks > 1:
                values[name] = ranks
                pieces.append(f"{count} * (1 + growth * (log2({name}) - 1))")
        if layout.pipeline > 1:
            values["pipeline"] = layout.pipeline
            pieces.append("(pipeline - 1)")
        formula = f"collective_s * {inner(pieces)}"
        if factor != 1.0:
            values["pcie_factor"] = factor
            formula = f"pcie_factor * {formula}"
        return formula, {name: value for name, value in values.items() if name in formula}

    def _sent(self) -> tuple[str, Numbers]:
        """Seconds in which one token's activations cross the links."""
        layout, links, constants = self.job.layout, self.request.chip.links, self.timer.constants
        over, depth, moe = self._over()
        top_k = max(group.feed_forward.top_k for group in self.request.model.layers)
        near = self._ranks() <= links.scale_up_domain_chips
        values: Numbers = {
            "width": self.request.model.width,
            "layers": depth,
            "bytes_per_element": ACTIVATION,
        }
        pieces = []
        reduced = "layers * 2 * ({0} - 1) / {0} * width * bytes_per_element"
        attention, feed_forward = self.role != "feed-forward", self.role != "attention"
        if layout.tensor > 1 and (attention or layout.attention_data == 1):
            values["tensor"] = layout.tensor
            twice = "2 * " if layout.attention_data == 1 and self.role == "all" else ""
            pieces.append(twice + reduced.format("tensor"))
        if layout.context > 1 and attention:
            values["context_chips"] = layout.context
            pieces.append(reduced.format("context_chips"))
        if layout.attention_data > 1 and feed_forward:
            values |= {"wide": over, "moe_layers": moe, "tensor": layout.tensor, "top_k": top_k,
                       "bytes_per_expert_element": DISPATCH_AND_COMBINE}  # fmt: skip
            if depth > moe:
                pieces.append(reduced.format("wide").replace("layers", "(layers - moe_layers)", 1))
            sent = "moe_layers / tensor * width * bytes_per_expert_element"
            if near or links.scale_up_bytes_per_s is None:
                pieces.append(f"(wide - 1) / wide * min(top_k, wide) * {sent}")
            else:
                values["nodes"] = over / links.scale_up_domain_chips
                pieces.append(f"(nodes - 1) * (1 - (1 - 1 / nodes)**top_k) * {sent}")
        link = links.scale_up_bytes_per_s if near else links.scale_out_bytes_per_s
        values |= {"link_bytes_per_s": link or 0.0, "link_efficiency": constants.link_efficiency}
        formula = f"{inner(pieces)} / (link_bytes_per_s * link_efficiency)" if pieces else ""
        if layout.pipeline > 1:
            inside = self._ranks() * layout.pipeline <= links.scale_up_domain_chips
            hop = links.scale_up_bytes_per_s if inside else links.scale_out_bytes_per_s
            values |= {"pipeline": layout.pipeline, "tensor": layout.tensor, "hop_bytes_per_s": hop or 0.0}
            handed = (
                "(pipeline - 1) * width * bytes_per_element / tensor / (hop_bytes_per_s * link_efficiency)"
            )
            formula = f"{formula} + {handed}" if formula else handed
        return formula, {name: value for name, value in values.items() if name in formula}

    def floor(self, load: Load, expected: float | None) -> float:
        """What a pass takes whatever it holds: launches, control, and the host's work for each sequence."""
        constants, chip, engine = self.timer.constants, self.request.chip, self.request.engine
        floor = None if engine.ideal else chip.layer_floor
        values: Numbers = {}
        each: list[str] = []
        pieces: list[str] = []
        if constants.layer_s:
            values["layer_s"] = constants.layer_s
            each.append("layer_s")
        if floor:
            values |= {"base_s": floor.base_s}
            each.append("base_s")
            if floor.per_1024_width_s:
                values |= {"per_1024_width_s": floor.per_1024_width_s, "width": self.request.model.width}
                each.append("per_1024_width_s * width / 1024")
        if each:
            values["layers"] = self.timer.depth
            pieces.append("layers * " + inner(each))
            if self.role != "all":
                values["part_of_layer"] = HALF_LAYER
                pieces[0] = f"part_of_layer * {pieces[0]}"
        _, _, moe = self._over()
        if floor and moe and floor.moe_s and self.role != "attention":
            values |= {"moe_layers": moe, "moe_s": floor.moe_s}
            pieces.append("moe_layers * moe_s")
        if constants.sequence_s and self.role != "feed-forward":
            values |= {"sequence_s": constants.sequence_s, "sequences": load.sequences}
            pieces.append("sequence_s * sequences")
        if not pieces:
            return 0.0
        source: Sources = self.steps.chip("layer_floor") if floor else ()
        if constants.layer_s or constants.sequence_s:
            source = (*source, *self.steps.engine("constants"))
        if "part_of_layer" in values:
            source = (*source, _HALF)
        name = "floor of all layers" if self.timer.spatial else "exposed: latency"
        return self.steps.add(name, summed(pieces), values, "s", source, expected)

    def total(self, name: str, load: Load, expected: Mapping[str, float], seconds: float | None) -> float:
        """The whole of a pass: `seconds` where the report has it."""
        own = expected if seconds is not None else {}
        terms = self.terms(load, own)
        if self.timer.spatial:
            floor = self.floor(load, None)
            network = self.network(load, own.get("network"))
            values = {"floor_s": floor} | {f"{term_name(term)}_s": taken for term, taken in terms.items()}
            formula = f"max(floor_s, {summed(list(values)[1:])})" if len(values) > 1 else "floor_s"
        else:
            network = self.network(load, own.get("network"))
            latency = self.floor(load, own.get("latency"))
            values = {f"{term_name(term)}_s": taken for term, taken in terms.items()}
            values |= {"latency_s": latency} if latency else {}
            formula = summed(list(values)) or "0"
        if network:
            values["network_s"], formula = network, f"{formula} + network_s"
        source = "layers side by side: the larger of work and floor" if self.timer.spatial else ()
        return self.steps.add(name, formula, values, "s", source, seconds)


def decode_load(steps: Steps, job: Job, sequences: int, flights: int) -> Load:
    """What a decode step takes in: sequences, the cache that a chip reads, the attention core's FLOP."""
    timer, work = job.timer, steps.request.workload
    context = work.context_tokens
    positions = sequences * (1 + work.draft_tokens)
    kv = timer.kv_read(context)
    if kv:
        cache_read(steps, job, context, "context_tokens")
        values: Numbers = {"sequences": sequences, "sequence_read_bytes": kv}
        name = f"{steps.kept} that a chip reads in a pass"
        if timer.spatial:
            name = f"{steps.kept} of a micro-batch over the chips of one layer, all layers in turn"
        steps.add(name, "sequences * sequence_read_bytes", values, "B", (), kv * sequences)
    pieces: list[str] = []
    values = {"positions": positions}
    for one in caches_named(timer.caches):
        if one.cache.decode_flops:
            values[f"{one.name}_flop"] = one.cache.decode_flops
            pieces.append(f"{one.name}_flop * {entries_read(one, context, values)}")
    flops = 0.0
    if pieces:
        name, formula = "FLOP of the attention core in a pass", f"{inner(pieces)} * positions"
        flops = steps.add(name, formula, values, "FLOP", _CORE)
    wide = positions * job.layout.attention_data
    return Load(positions, wide, positions, sequences, flops, kv * sequences, flights)


def cache_read(steps: Steps, job: Job, context: int, tokens: str) -> None:
    """Bytes that a chip reads of the cache of one sequence; `tokens` is what the context is called."""
    request, timer = steps.request, job.timer
    values: Numbers = {steps.chips: timer.narrow * job.layout.context}
    pieces = []
    for one in caches_named(timer.caches):
        values[f"{one.name}_bytes"] = one.cache.bytes_per_entry
        entries = "2" if one.cache.state else entries_read(one, context, values, tokens)
        piece = f"{one.name}_bytes * {entries}"
        copies = cache_copies(one.cache, job.layout, request.chip, request.engine)
        if copies != 1.0:
            values[f"{one.name}_copies"] = copies
            piece += f" * {one.name}_copies"
        pieces.append(piece)
    source = ("a state is read and written",) if any(c.state for c in timer.caches) else ()
    name, formula = f"{steps.kept} that a chip reads of a sequence", f"{inner(pieces)} / {steps.chips}"
    if timer.spatial:
        # Each layer has a part of the chips, which read its part of the cache.
        name = f"{steps.kept} of a sequence over the chips of one layer, all layers in turn"
    steps.add(name, formula, values, "B", source, timer.kv_read(context))


def _title(name: str) -> str:
    tensor, _, count = name.partition("__")
    titles = {"core": "attention core", "dense": "dense feed-forward", "shared": "shared experts"}
    return titles.get(tensor, tensor) + (f" ({count})" if count else "")
