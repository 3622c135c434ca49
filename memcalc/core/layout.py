"""Layouts: which divisions of the work over chips are possible, and what each chip then holds."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd
from typing import NamedTuple

from memcalc.chip import Chip
from memcalc.core.ledger import Ledger
from memcalc.engine import Engine
from memcalc.errors import UsageError
from memcalc.model import Model
from memcalc.workload import Layout


class Given(NamedTuple):
    """The parts of a layout that the user fixed; None: search."""

    tensor: int | None = None
    pipeline: int | None = None
    expert: int | None = None
    data: int | None = None
    context: int | None = None
    attention_data: int | None = None


def divisors(number: int) -> list[int]:
    """All divisors, ascending.

    >>> divisors(12)
    [1, 2, 3, 4, 6, 12]
    """
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return small + [number // d for d in reversed(small) if d * d != number]


def head_divisor(model: Model) -> int:
    """Tensor parallelism must divide this: the greatest common divisor of all head counts."""
    common = 0
    for group in model.layers:
        common = gcd(common, group.attention.heads)
    return common


def layouts(model: Model, chip: Chip, chips: int, batch: int | None, given: Given) -> Iterator[Layout]:
    """All layouts of `chips` chips that the model and the links allow.

    Tensor parallelism divides the heads and stays within the fast links; a pipeline has at most as
    many stages as layers; replicas and attention groups beyond the batch would stand idle. Spatial
    chips have one layout: the layers laid out over all chips. `batch` None: any.
    """
    if chip.execution == "spatial" and given.tensor is None and given.pipeline is None:
        data = given.data or 1
        if chips % data == 0 and not (given.context or 1) > 1:
            yield Layout(pipeline=chips // data, data=data)
        return
    context = given.context or 1
    if chips % context:
        return
    common, depth = head_divisor(model), model.depth
    fast = chip.links.scale_up_domain_chips or 1
    moe = any(group.feed_forward.experts for group in model.layers)
    free = chips // context
    for tensor in divisors(free) if given.tensor is None else [given.tensor]:
        if free % tensor or (chip.execution == "time-shared" and common % tensor):
            continue
        if given.tensor is None and tensor > fast:
            break
        rest = free // tensor
        for pipeline in divisors(rest) if given.pipeline is None else [given.pipeline]:
            if rest % pipeline:
                continue
            if pipeline > depth and chip.execution == "time-shared":
                break
            left = rest // pipeline
            for groups in divisors(left) if given.attention_data is None else [given.attention_data]:
                if left % groups:
                    continue
                data = left // groups
                if given.data is not None and data != given.data:
                    continue
                if given.attention_data is None and groups > 1:
                    if not moe or tensor * groups > fast or (batch and groups * data > batch):
                        continue
                    if given.expert is not None and given.expert != tensor * groups:
                        continue
                if given.data is None and batch and data > batch:
                    continue
                expert = given.expert or (tensor * groups if groups > 1 and moe else 1)
                if (tensor * groups) % expert:
                    continue
                yield Layout(tensor, pipeline, expert, data, context, groups)


def refuse_impossible(model: Model, chip: Chip, chips: int, given: Given) -> None:
    """UsageError where the given parts of a layout can never be: it says what would be allowed."""
    named = {
        "--tp": given.tensor, "--pp": given.pipeline, "--dp": given.data,
        "--cp": given.context, "--attention-dp": given.attention_data,
    }  # fmt: skip
    product = 1
    for option, value in named.items():
        product *= value or 1
        if value and chips % value:
            allowed = ", ".join(map(str, divisors(chips)))
            raise UsageError(f"{option} {value} does not divide {chips} chips", f"allowed: {allowed}")
    if chips % product:
        raise UsageError(f"the layout needs a multiple of {product} chips, not {chips}", "change --chips")
    common = head_divisor(model)
    if chip.execution == "time-shared" and given.tensor and common % given.tensor:
        allowed = ", ".join(str(d) for d in divisors(common))
        raise UsageError(
            f"--tp {given.tensor} does not divide the {common} attention heads of {model.name}",
            f"allowed: {allowed}",
        )
    if given.pipeline and given.pipeline > model.depth and chip.execution == "time-shared":
        raise UsageError(
            f"--pp {given.pipeline} is more than the {model.depth} layers of {model.name}",
            f"it must be at most {model.depth}",
        )
    if given.expert and given.expert > 1:
        experts = max(group.feed_forward.experts for group in model.layers)
        if not experts:
            raise UsageError(f"--ep {given.expert}: {model.name} has no experts", "leave --ep away")
        if experts % given.expert:
            allowed = ", ".join(str(d) for d in divisors(experts))
            raise UsageError(
                f"--ep {given.expert} does not divide the {experts} experts of {model.name}",
                f"allowed: {allowed}",
            )


class Residency:
    """What each chip holds under a layout, in bytes, on the fullest chip and over the system.

    Weights come in three kinds by how often a step reads them: `dense` (every step), `experts`
    (some) and `cold` (embedding rows and vision). KV bytes are as the engine reserves them: whole
    pages, and windows with their slack.
    """

    __slots__ = (
        "_activation_chunk", "_activation_row", "_caches", "_page", "_slack", "chips", "cold",
        "context_share", "dense", "experts", "groups", "layout", "reserved", "resident_cold",
        "resident_dense", "resident_experts", "spatial", "stage_share",
    )  # fmt: skip

    def __init__(self, book: Ledger, layout: Layout, chip: Chip, engine: Engine) -> None:
        model, stored = book.model, book.weight_bytes
        tensor, stages = layout.tensor, layout.pipeline
        groups = layout.attention_data
        self.layout = layout
        self.chips = layout.chips
        self.spatial = chip.execution == "spatial"
        replicas = layout.data * layout.context
        self.groups = layout.data * groups
        attention, head = stored["attention"], stored["head"]
        feed_forward = stored["dense"] + stored["shared"] + stored["router"]
        cold = stored["embedding"] + stored["vision"]
        tied_copy = stored["embedding"] if model.tied_embeddings and stages > 1 else 0
        self.resident_dense = replicas * (groups * (attention + head) + feed_forward)
        self.resident_experts = replicas * stored["experts"]
        self.resident_cold = replicas * groups * (cold + tied_copy * (not self.spatial))
        if self.spatial:
            share = 1.0 / (stages * tensor)
            self.stage_share = 1.0 / stages
            self.dense = (attention + head + feed_forward) * share
            self.experts = stored["experts"] * share
            self.cold = cold * share
        else:
            # The fullest stage has ceil(L/p) layers; the ends add the embedding or the head.
            self.stage_share = stage = -(-model.depth // stages) / model.depth
            self.dense = stage * attention / tensor + stage * feed_forward / (tensor * groups)
            self.experts = stage * stored["experts"] / (tensor * groups)
            if stages == 1:
                self.dense += head / tensor
                self.cold = cold / tensor
            elif cold >= head + tied_copy:
                self.cold = cold / tensor
            else:
                self.dense += head / tensor
                self.cold = tied_copy / tensor
        linked = engine.reserved_bytes_per_linked_chip
        self.reserved = linked if linked and self.chips > 1 else engine.reserved_bytes_per_chip
        self._page, self._slack = engine.page_tokens, engine.window_slack_tokens
        share = self.stage_share / (tensor * layout.context)
        self._caches = tuple(
            (c.bytes_per_token, c.window, max(1.0, tensor / c.shards) if not self.spatial else 1.0, share)
            for c in book.caches
        )
        inner = 0
        for group in model.layers:
            ff = group.feed_forward
            inner = max(inner, ff.matrices * (ff.width * max(1, ff.top_k) + ff.shared_width))
        # Bytes of bf16 activations alive in one layer for a token, and fp32 logits for a sequence.
        self._activation_row = 4 * model.vocabulary / tensor
        per_token = 2.0 * (2 * model.width + inner / (tensor * groups))
        self._activation_chunk = (engine.prefill_chunk_tokens, per_token)
        self.context_share = share

    def sequences(self, batch: int) -> int:
        """Sequences of the fullest replica and attention group."""
        return -(-batch // self.groups)

    def kv_per_sequence(self, context: int) -> float:
        """Bytes that one sequence's cache takes on the fullest chip, copies and paging included."""
        page, total = self._page, 0.0
        for size, window, copies, share in self._caches:
            tokens = context
            if window is not None:
                tokens = min(context, window + self._slack)
            total += -(-tokens // page) * page * size * copies * share
        return total

    def reserved_kv(self, context: int) -> int:
        """Bytes that the engine reserves for one sequence over all layers, without copies."""
        page, total = self._page, 0
        for size, window, _, _ in self._caches:
            tokens = context if window is None else min(context, window + self._slack)
            total += -(-tokens // page) * page * size
        return total

    def resident_kv(self, batch: int, context: int) -> int:
        """Bytes of all sequences' caches over the system, copies and paging included."""
        page, total = self._page, 0.0
        for size, window, copies, _ in self._caches:
            tokens = context if window is None else min(context, window + self._slack)
            total += -(-tokens // page) * page * size * copies
        return round(total * batch)

    def activations(self, batch: int, context: int) -> float:
        """Bytes of activations on one chip: one prefill chunk in one layer, and the logits."""
        chunk, per_token = self._activation_chunk
        sequences = self.sequences(batch)
        alive = max(min(chunk, context), sequences)
        return alive * per_token + sequences * self._activation_row

    @property
    def fixed(self) -> float:
        """Bytes on the fullest chip that do not depend on batch or context."""
        return self.dense + self.experts + self.cold + self.reserved

    def needed(self, batch: int, context: int) -> float:
        """Bytes that the fullest chip holds."""
        kv = self.sequences(batch) * self.kv_per_sequence(context)
        return self.fixed + kv + self.activations(batch, context)

    def max_batch(self, capacity: float, context: int) -> int:
        """The largest batch whose bytes stay within `capacity` on each chip; 0 where none does.

        Linear in the sequences of a chip, but for activations that grow with the batch beyond a
        prefill chunk: solved for both branches.
        """
        free = capacity - self.fixed
        chunk, per_token = self._activation_chunk
        kv = self.kv_per_sequence(context) + self._activation_row
        alive = min(chunk, context)
        most = (free - alive * per_token) / kv
        if most > alive:
            most = max(alive, free / (kv + per_token))
        return max(0, int(most + 1e-9)) * self.groups

    def max_context(self, capacity: float, batch: int) -> int | None:
        """The longest context whose bytes stay within `capacity`; None where it has no end.

        Bytes grow piecewise linearly: each window stops growing when it is full. Solved piece by
        piece, in whole pages.
        """
        sequences = self.sequences(batch)
        free = capacity - self.fixed - sequences * self._activation_row
        chunk, per_token = self._activation_chunk
        edges = sorted({w + self._slack for _, w, _, _ in self._caches if w is not None} | {chunk})
        low = 0
        for edge in [*edges, None]:
            slope = used = 0.0
            for size, window, copies, share in self._caches:
                step = sequences * size * copies * share
                limit = None if window is None else window + self._slack
                if limit is None or limit > low:
                    slope += step
                else:
                    used += step * (-(-limit // self._page) * self._page)
            if low < chunk:
                slope += per_token
            else:
                used += max(chunk, sequences) * per_token
            if slope <= 0.0:
                if used > free:
                    return low
                if edge is None:
                    return None
                low = edge
                continue
            most = int((free - used) / slope + 1e-9)
            if edge is None or most < edge:
                pages = max(0, most) // self._page * self._page
                return pages if self._page > 1 else max(0, most)
            low = edge
        return None
