"""The ledger: which tensors exist, what they weigh, what one step reads of them, what it computes.

Everything here follows from the model and the formats alone; chips enter later. Letters: D model
width, S context length, E experts, k experts per token, M tokens in a pass.
"""

from __future__ import annotations

from typing import NamedTuple

from memcalc.model import Model
from memcalc.precision import CLASSES, ClassFormat, Format, format_named, weight_formats
from memcalc.workload import Precision


class Operator(NamedTuple):
    """A product with weights, summed over the layers that are alike.

    `tensor` is its class, `elements` its matrix elements (all experts), `stored_bytes` what it
    reads when all of it is read. With `experts` E, a token uses `top_k` of them.
    """

    tensor: str
    elements: int
    stored_bytes: int
    format: Format
    experts: int = 0
    top_k: int = 0

    @property
    def flops_per_token(self) -> float:
        """FLOP for one token: 2 per element used."""
        return 2.0 * self.elements * (self.top_k / self.experts if self.experts else 1.0)


class Cache(NamedTuple):
    """The KV cache of a group of layers, and the attention core that reads it.

    `bytes_per_token` adds up the group's layers; at most `window` tokens are kept and read (None:
    all). `shards` chips can divide it without copies. FLOP are per query token and token of context;
    `expand_flops` are spent per token of context where prefill expands a compressed cache.
    """

    bytes_per_token: int
    window: int | None
    shards: int
    decode_flops: int
    prefill_flops: int
    expand_flops: int

    def tokens(self, context: int) -> int:
        """Tokens kept of a context."""
        return context if self.window is None else min(context, self.window)

    def pairs(self, tokens: int) -> float:
        """Pairs of query and key that the prefill of one prompt meets: S^2/2, less outside a window.

        >>> Cache(4096, 1024, 8, 0, 0, 0).pairs(2048)
        1572864.0
        """
        inside = self.tokens(tokens)
        return inside * inside / 2 + (tokens - inside) * inside


class Ledger(NamedTuple):
    """All of a model in given formats. `weight_bytes` is by tensor class, `mtp_bytes` apart."""

    model: Model
    operators: tuple[Operator, ...]
    caches: tuple[Cache, ...]
    weight_bytes: dict[str, int]
    formats: dict[str, ClassFormat]
    mtp_bytes: int

    @property
    def total_weight_bytes(self) -> int:
        """Bytes of all weights, with the MTP layers where they are loaded.

        >>> from memcalc.readers.presets import load_model
        >>> ledger(load_model("llama-3.1-8b"), Precision()).total_weight_bytes
        16060522496
        """
        return sum(self.weight_bytes.values()) + self.mtp_bytes

    def kv_bytes_per_token(self, context: int) -> int:
        """Bytes that one more token adds to the cache at this context; full windows add none [B/token]."""
        return sum(c.bytes_per_token for c in self.caches if c.window is None or context < c.window)

    def kv_bytes_per_sequence(self, context: int) -> int:
        """Bytes of one sequence's KV cache, without paging or copies [B].

        >>> from memcalc.readers.presets import load_model
        >>> ledger(load_model("llama-3.1-70b"), Precision()).kv_bytes_per_sequence(32768)
        10737418240
        """
        return sum(cache.bytes_per_token * cache.tokens(context) for cache in self.caches)


def expert_hits(experts: int, top_k: int, tokens: float) -> float:
    """Expected number of distinct experts that `tokens` tokens touch: E * (1 - (1 - k/E)^M).

    >>> [round(expert_hits(256, 8, m), 1) for m in (1, 8, 32, 128)]
    [8.0, 57.4, 163.3, 251.6]

    Reference: Erdil 2025 (arXiv:2506.04645), equation 22; uniform independent routing.
    """
    hits: float = experts * (1.0 - (1.0 - top_k / experts) ** tokens)
    return hits


def ledger(model: Model, precision: Precision, *, mtp: bool = False) -> Ledger:
    """Count a model in the given formats; UsageError for an unknown format.

    With `mtp` the layers for multi-token prediction are loaded too: they draft.
    """
    same = precision.weights == model.checkpoint
    classes = model.checkpoint_classes if same else None
    value_share = model.layers[0].attention.value_share
    formats = weight_formats(precision.weights, model.base_format, classes, value_share)
    elements = model.elements()
    stored = {c: formats[c].bytes_of(elements[c].matrix, elements[c].vector) for c in CLASSES}
    if model.tied_embeddings:
        # One table serves both ends, in the format of the head (llama.cpp gives it more bits).
        table = formats["head"] if formats["head"].main.weight_only else formats["embedding"]
        stored["embedding"] = table.bytes_of(elements["embedding"].matrix, 0)
    kv = format_named(precision.kv)
    drafting = formats["experts" if elements["experts"].total else "dense"]
    mtp_bytes = drafting.bytes_of(model.mtp_parameters, 0) if mtp else 0
    return Ledger(model, _operators(model, formats, stored), _caches(model, kv), stored, formats, mtp_bytes)


def _operators(model: Model, formats: dict[str, ClassFormat], stored: dict[str, int]) -> tuple[Operator, ...]:
    elements = model.elements()
    found = [
        Operator(tensor, elements[tensor].matrix, stored[tensor], formats[tensor].main)
        for tensor in ("attention", "dense", "shared", "router")
        if elements[tensor].total
    ]
    # Experts of unlike number or width keep rows of their own: their hits differ.
    kinds: dict[tuple[int, int], list[int]] = {}
    for group in model.layers:
        ff = group.feed_forward
        if ff.experts:
            one = ff.expert_elements(model.width)
            sums = kinds.setdefault((ff.experts, ff.top_k), [0, 0])
            sums[0] += group.count * ff.experts * one.matrix
            sums[1] += group.count * ff.experts * one.vector
    form = formats["experts"]
    for (experts, top_k), (matrix, vector) in kinds.items():
        size = form.bytes_of(matrix, vector)
        found.append(Operator("experts", matrix, size, form.main, experts, top_k))
    size = stored["embedding"] if model.tied_embeddings else stored["head"]
    found.append(Operator("head", model.vocabulary * model.width, size, formats["head"].main))
    return tuple(found)


def _caches(model: Model, kv: Format) -> tuple[Cache, ...]:
    sums: dict[tuple[int | None, int], list[int]] = {}
    for group in model.layers:
        attention = group.attention
        row = sums.setdefault((attention.window, attention.shards), [0, 0, 0, 0])
        row[0] += group.count * kv.bytes_of(attention.kv_elements)
        row[1] += group.count * attention.decode_flops
        row[2] += group.count * attention.prefill_flops
        row[3] += group.count * attention.expand_flops
    return tuple(Cache(row[0], window, shards, *row[1:]) for (window, shards), row in sums.items())
