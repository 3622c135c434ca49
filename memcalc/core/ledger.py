"""The ledger: which tensors exist, what they weigh, what one step reads of them, what it computes.

Everything here follows from the model and the formats alone; chips enter later. Letters: D model
width, S context length, E experts, k experts per token, M tokens in a pass.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from memcalc.model import Model
from memcalc.precision import (
    CLASSES,
    ClassFormat,
    Format,
    cache_bytes,
    format_named,
    no_wider,
    weight_formats,
)
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
    """What a group of layers keeps of a sequence, and the attention core that reads it.

    `bytes_per_entry` adds up the group's layers; the rest is as in `memcalc.model.Held`: at most `window`
    tokens are kept (None: all), an entry stands for `ratio` of them, at most `reads` entries are read.
    `stored` is False where the bytes are another layer's. A `state` is one entry that each token reads
    and writes. FLOP are per query token and entry read; `expand_flops` are spent per entry where
    prefill expands it.
    """

    bytes_per_entry: int
    window: int | None = None
    ratio: int = 1
    reads: int | None = None
    stored: bool = True
    state: bool = False
    shards: int = 1
    decode_flops: int = 0
    prefill_flops: int = 0
    expand_flops: int = 0

    def entries(self, context: int, slack: int = 0, page: int = 1, share: float = 0.0) -> int:
        """Entries kept of a context, and those that an engine reserves.

        It reserves whole pages of `page` tokens, and for a window `slack` tokens more than it has, or `share`
        of the context if that is more.

        >>> Cache(1024, window=128).entries(1000, page=16), Cache(1024, ratio=4).entries(1000)
        (128, 250)
        >>> Cache(1024, window=128).entries(1000, slack=16, page=16, share=0.8)
        800
        """
        if self.state:
            return 1
        tokens = context
        if self.window is not None:
            tokens = min(context, max(self.window + slack, ceil(context * share)))
        return -(-tokens // page) * page // self.ratio

    def entries_read(self, context: int) -> int:
        """Entries that a step moves: those kept, of which a sparse layer reads a part; a state both ways.

        >>> Cache(1152, reads=2048).entries_read(32768)
        2048
        """
        if self.state:
            return 2
        kept = self.entries(context)
        return kept if self.reads is None else min(kept, self.reads)

    def core_entries(self, context: int) -> int:
        """Entries that the query of one token is multiplied with."""
        return 1 if self.state else self.entries_read(context)

    def pairs(self, tokens: int) -> float:
        """Pairs of query and entry that the prefill of one prompt meets: S^2/2, less outside a window.

        >>> Cache(4096, 1024).pairs(2048)
        1572864.0
        """
        if self.state:
            return tokens
        most = tokens if self.window is None else min(tokens, self.window)
        if self.reads is not None:
            most = min(most, self.reads * self.ratio)
        return (most * most / 2 + (tokens - most) * most) / self.ratio


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
        """Bytes that one more token adds to the cache at this context; full windows add none [B/token].

        Of a compressed cache it is the average.
        """
        growing = (c for c in self.caches if c.stored and not c.state)
        return sum(c.bytes_per_entry // c.ratio for c in growing if c.window is None or context < c.window)

    def kv_bytes_per_sequence(self, context: int) -> int:
        """Bytes of one sequence's KV cache, without paging or copies [B].

        >>> from memcalc.readers.presets import load_model
        >>> ledger(load_model("llama-3.1-70b"), Precision()).kv_bytes_per_sequence(32768)
        10737418240
        """
        return sum(c.bytes_per_entry * c.entries(context) for c in self.caches if c.stored and not c.state)

    def uncompressed_bytes_per_token(self, kv: str) -> int | None:
        """Bytes that a token would add if latent layers kept keys and values of every head; None without such layers.

        A layout of latents stands for the format of its elements.

        >>> from memcalc.readers.presets import load_model
        >>> ledger(load_model("deepseek-v3"), Precision()).uncompressed_bytes_per_token("bf16")
        4997120
        """
        form = format_named(kv)
        form = form if form.size_elements == 1 else format_named(form.element)
        sizes = [
            group.count * form.bytes_of(group.attention.expanded_elements)
            for group in self.model.layers
            if group.attention.kind == "latent"
        ]
        return sum(sizes) if sizes else None

    @property
    def state_bytes_per_sequence(self) -> int:
        """Bytes of one sequence's recurrent and convolution state, whatever the context [B]."""
        return sum(cache.bytes_per_entry for cache in self.caches if cache.state)


def expert_hits(experts: int, top_k: int, tokens: float) -> float:
    """Expected number of distinct experts that `tokens` tokens touch: E * (1 - (1 - k/E)^M).

    >>> [round(expert_hits(256, 8, m), 1) for m in (1, 8, 32, 128)]
    [8.0, 57.4, 163.3, 251.6]

    Reference: Erdil 2025 (arXiv:2506.04645), equation 22; uniform independent routing.
    """
    hits: float = experts * (1.0 - (1.0 - top_k / experts) ** tokens)
    return hits


def ledger(model: Model, precision: Precision, *, mtp: bool = False, widest: str | None = None) -> Ledger:
    """Count a model in the given formats; UsageError for an unknown format.

    With `mtp` the layers for multi-token prediction are loaded too: they draft. `widest` is the widest format
    in which a stack holds the matrices of a quantised model, also those that the checkpoint leaves alone.
    """
    same = precision.weights == model.checkpoint
    value_share = max(group.attention.value_share for group in model.layers)
    own = model.checkpoint_formats if same else None
    formats = weight_formats(precision.weights, model.base_format, own, value_share, model.depth)
    elements = model.elements()
    known = model.checkpoint_bytes if same else {}
    checkpoint = formats
    formats = formats if widest is None else no_wider(formats, widest)
    stored = {c: formats[c].bytes_of(elements[c].matrix, elements[c].vector) for c in CLASSES}
    if known:
        stored = {c: known.get(c, 0) if formats[c] == checkpoint[c] else stored[c] for c in CLASSES}
    elif model.tied_embeddings:
        # One table serves both ends, in the format of the head (llama.cpp gives it more bits).
        table = formats["head"] if formats["head"].main.weight_only else formats["embedding"]
        stored["embedding"] = table.bytes_of(elements["embedding"].matrix, 0)
    drafting = formats["experts" if elements["experts"].total else "dense"]
    mtp_bytes = known.get("mtp", drafting.bytes_of(model.mtp_parameters, 0)) if mtp else 0
    operators = _operators(model, formats, stored)
    return Ledger(model, operators, _caches(model, precision.kv), stored, formats, mtp_bytes)


def _operators(model: Model, formats: dict[str, ClassFormat], stored: dict[str, int]) -> tuple[Operator, ...]:
    elements = model.elements()
    found = [
        Operator(tensor, elements[tensor].matrix, stored[tensor], formats[tensor].main)
        for tensor in ("attention", "recurrent", "dense", "shared", "router")
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
    form, whole = formats["experts"], max(1, elements["experts"].total)
    for (experts, top_k), (matrix, vector) in kinds.items():
        size = stored["experts"] * (matrix + vector) // whole
        found.append(Operator("experts", matrix, size, form.main, experts, top_k))
    size = stored["head"]
    if model.tied_embeddings:
        # Rows that are only looked up lie in the same class.
        table = model.vocabulary * model.width
        rows = stored["embedding"] * table // elements["embedding"].matrix
        # Some checkpoints hold the tied table a second time, as the head: it is read once.
        if size < rows:
            size += rows
    found.append(Operator("head", model.vocabulary * model.width, size, formats["head"].main))
    return tuple(found)


def _caches(model: Model, kv: str) -> tuple[Cache, ...]:
    # Layers that keep and read alike are one row.
    rows: dict[tuple[object, ...], list[int]] = {}
    for group in model.layers:
        for kind, held in ((mixer.kind, held) for mixer in group.mixers for held in mixer.held()):
            if not held.elements:
                continue
            if held.state:
                size = format_named(held.format or "bf16").bytes_of(held.elements)
            else:
                size = cache_bytes(kv, kind, held.elements)
            key = (held.window, held.ratio, held.reads, held.stored, held.state, held.shards)
            row = rows.setdefault(key, [0, 0, 0, 0])
            row[0] += group.count * size
            row[1] += group.count * held.decode_flops
            row[2] += group.count * held.prefill_flops
            row[3] += group.count * held.expand_flops
    return tuple(Cache(row[0], *key, *row[1:]) for key, row in rows.items())  # type: ignore[arg-type]
