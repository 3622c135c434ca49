"""The ledger: which tensors exist, what they weigh, what one step reads of them, what it computes.

Everything here follows from the model and the formats alone; chips enter later. Letters: D model
width, S context length, E experts, k experts per token, M tokens in a pass.
"""

from __future__ import annotations

from typing import NamedTuple

from memcalc.model import Attention, Model
from memcalc.precision import CLASSES, ClassFormat, Format, format_named, weight_formats
from memcalc.workload import Precision


class Operator(NamedTuple):
    """A product with weights, summed over the layers that are alike.

    `tensor` is its class, `elements` its matrix elements (all experts), `stored_bytes` what it
    reads when all of it is read. With `experts` E, a token uses `top_k` of them.
    """

    tensor: str
    layers: int
    elements: int
    stored_bytes: int
    format: Format
    experts: int = 0
    top_k: int = 0

    @property
    def flops_per_token(self) -> float:
        """FLOP for one token: 2 per element used."""
        used = self.elements * self.top_k / self.experts if self.experts else self.elements
        return 2.0 * used


class Cache(NamedTuple):
    """The KV cache of a group of layers, and the attention core that reads it.

    `bytes_per_token` adds up the `layers`; at most `window` tokens are kept and read (None: all).
    `shards` chips can divide it without copies. The FLOP are per query token and token of context.
    """

    layers: int
    bytes_per_token: int
    window: int | None
    shards: int
    decode_flops: int
    prefill_flops: int

    def tokens(self, context: int) -> int:
        """Tokens kept of a context."""
        return context if self.window is None else min(context, self.window)


class Ledger(NamedTuple):
    """All of a model in given formats. `weight_bytes` by tensor class; `shortfall` names nothing."""

    model: Model
    operators: tuple[Operator, ...]
    caches: tuple[Cache, ...]
    weight_bytes: dict[str, int]
    formats: dict[str, ClassFormat]
    kv_format: Format

    @property
    def total_weight_bytes(self) -> int:
        """Bytes of all weights, MTP layers apart."""
        return sum(self.weight_bytes.values())

    def kv_bytes_per_token(self, context: int) -> int:
        """Bytes that one more token adds to the cache at this context (full windows add none)."""
        return sum(
            c.bytes_per_token for c in self.caches if c.window is None or context <= c.window
        )

    def kv_bytes_per_sequence(self, context: int) -> int:
        """Bytes of one sequence's KV cache, without paging or copies [B].

        >>> from memcalc.readers.presets import load_model
        >>> ledger(load_model("llama-3.1-70b"), Precision()).kv_bytes_per_sequence(32768)
        10737418240
        """
        return sum(c.bytes_per_token * c.tokens(context) for c in self.caches)

    def kv_read_bytes(self, context: int) -> int:
        """Bytes of one sequence's KV cache that one decode step reads [B].

        Dense and windowed attention read all that is stored, once for all query heads of a group.
        """
        return self.kv_bytes_per_sequence(context)

    def weight_read_bytes(self, tokens: int) -> float:
        """Expected bytes of weights that a pass over `tokens` tokens reads [B].

        Routed experts count by the expected share touched; of the embedding only the rows.
        """
        read = 0.0
        for op in self.operators:
            share = expert_hits(op.experts, op.top_k, tokens) / op.experts if op.experts else 1.0
            read += op.stored_bytes * share
        rows = self.weight_bytes["embedding"] / self.model.vocabulary
        return read + rows * tokens


def expert_hits(experts: int, top_k: int, tokens: float) -> float:
    """Expected number of distinct experts that `tokens` tokens touch: E * (1 - (1 - k/E)^M).

    >>> [round(expert_hits(256, 8, m), 1) for m in (1, 8, 32, 128)]
    [8.0, 57.4, 163.3, 251.6]

    Reference: Erdil 2025 (arXiv:2506.04645), equation 22; uniform independent routing.
    """
    hits: float = experts * (1.0 - (1.0 - top_k / experts) ** tokens)
    return hits


def ledger(model: Model, precision: Precision) -> Ledger:
    """Count a model in the given formats; UsageError for an unknown format."""
    same = precision.weights == model.checkpoint
    classes = model.checkpoint_classes if same else None
    first = model.layers[0].attention
    formats = weight_formats(precision.weights, model.base_format, classes, first.value_share)
    elements = model.elements()
    stored = {c: formats[c].bytes_of(elements[c].matrix, elements[c].vector) for c in CLASSES}
    if model.tied_embeddings:
        # One table serves both ends, in the format of the head (llama.cpp gives it more bits).
        table = formats["head"] if formats["head"].main.weight_only else formats["embedding"]
        stored["embedding"] = table.bytes_of(elements["embedding"].matrix, 0)
    kv = format_named(precision.kv)
    return Ledger(
        model=model,
        operators=_operators(model, formats, stored),
        caches=_caches(model, kv),
        weight_bytes=stored,
        formats=formats,
        kv_format=kv,
    )


def _operators(
    model: Model, formats: dict[str, ClassFormat], stored: dict[str, int]
) -> tuple[Operator, ...]:
    found = []
    elements = model.elements()
    dense_layers = sum(g.count for g in model.layers if not g.feed_forward.experts)
    moe_layers = model.depth - dense_layers
    layers = {"attention": model.depth, "dense": dense_layers, "shared": moe_layers, "router": moe_layers}
    for tensor, count in layers.items():
        if elements[tensor].total:
            matrix = elements[tensor].matrix
            found.append(Operator(tensor, count, matrix, stored[tensor], formats[tensor].main))
    # Experts of unlike number or width keep rows of their own: their hits differ.
    kinds: dict[tuple[int, int], list[int]] = {}
    for group in model.layers:
        ff = group.feed_forward
        if ff.experts:
            one = ff.expert_elements(model.width)
            sums = kinds.setdefault((ff.experts, ff.top_k), [0, 0, 0])
            sums[0] += group.count
            sums[1] += group.count * ff.experts * one.matrix
            sums[2] += group.count * ff.experts * one.vector
    form = formats["experts"]
    for (experts, top_k), (count, matrix, vector) in kinds.items():
        size = form.bytes_of(matrix, vector)
        found.append(Operator("experts", count, matrix, size, form.main, experts, top_k))
    table = model.vocabulary * model.width
    size = stored["embedding"] if model.tied_embeddings else stored["head"]
    found.append(Operator("head", 1, table, size, formats["head"].main))
    return tuple(found)


def _caches(model: Model, kv: Format) -> tuple[Cache, ...]:
    sums: dict[tuple[int | None, int], list[int]] = {}
    for group in model.layers:
        attention: Attention = group.attention
        row = sums.setdefault((attention.window, attention.shards), [0, 0, 0, 0])
        row[0] += group.count
        row[1] += group.count * kv.bytes_of(attention.kv_elements)
        row[2] += group.count * attention.decode_flops
        row[3] += group.count * attention.prefill_flops
    return tuple(
        Cache(layers, size, window, shards, decode, prefill)
        for (window, shards), (layers, size, decode, prefill) in sums.items()
    )
