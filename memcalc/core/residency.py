"""Residency: the bytes that each chip holds under a layout, and how far batch and context can grow.

Weights come in four parts by how often a step reads them: `attention` (with the head) and `ffn` (dense,
shared, router) in every step, `experts` in part, `cold` (embedding rows, vision) hardly at all. KV
bytes are as the engine reserves them: whole pages, and windows with their slack.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from memcalc.chip import Chip
from memcalc.core.ledger import Cache, Ledger
from memcalc.engine import Engine
from memcalc.workload import Layout

#: The parts of the weights, in the order in which they are placed where nothing else decides.
WEIGHT_PARTS = ("attention", "ffn", "experts", "cold")
#: All that a chip may keep; of unlike pools one keeps some parts only.
EVERYTHING = (*WEIGHT_PARTS, "kv")
#: No context or batch in use comes near: a search that passes it has no end.
ENDLESS = 2**40


def cache_copies(cache: Cache, layout: Layout, chip: Chip, engine: Engine) -> float:
    """How often a cache is held: tensor parallelism beyond its shards copies it, max(1, t/K).

    Spatial chips keep it with the layer. What no software can beat (`ideal`) divides it by sequences
    and tokens instead (Pope 2022, arXiv:2211.05102).
    """
    if chip.execution == "spatial" or engine.ideal:
        return 1.0
    return max(1.0, layout.tensor / cache.shards)


class Residency:
    """What the fullest chip holds (`parts`), and what the whole system holds (`resident`).

    On a spatial chip all is pooled: layers, and the caches that belong to them, are spread evenly. `keeps`
    names the parts that these chips hold at all.
    """

    __slots__ = ("_caches", "_chunk", "_groups", "_row", "_share", "_slack", "_token", "chips", "fixed", "head", "idle",
                 "layout", "page_tokens", "parts", "reserved", "resident")  # fmt: skip

    def __init__(
        self, book: Ledger, layout: Layout, chip: Chip, engine: Engine, keeps: tuple[str, ...] = EVERYTHING
    ) -> None:
        model, stored = book.model, book.weight_bytes
        stages, tensor, groups = layout.pipeline, layout.tensor, layout.attention_data
        table, tied = stored["embedding"], model.tied_embeddings
        attention, head = stored["attention"] + stored["recurrent"], stored["head"]
        ffn = stored["dense"] + stored["shared"] + stored["router"] + book.mtp_bytes
        cold = stored["vision"] + table
        if tied:
            # One table is the head too; rows that are only looked up stay cold.
            rows = table * (model.vocabulary * model.width) // model.elements()["embedding"].matrix
            head, cold = head + rows, cold - rows
        spatial = chip.execution == "spatial"
        # A tied table is the head, read in every step; the other end of a pipeline has a copy for its rows.
        if tied and stages > 1 and not spatial:
            cold += rows
        self.layout, self.chips = layout, layout.chips
        replicas = layout.data * layout.context
        self.resident = {
            "attention": replicas * groups * (attention + head),
            "ffn": replicas * ffn,
            "experts": replicas * stored["experts"],
            "cold": replicas * groups * cold,
        }
        self.resident = {part: size * (part in keeps) for part, size in self.resident.items()}
        if spatial:
            share = 1.0 / (stages * tensor)
            self.parts = {part: size / self.chips for part, size in self.resident.items()}
        else:
            # The fullest stage has ceil(L/p) layers and the fuller end: head or embedding. Counted as the
            # head as far as that goes, since what a step reads must find room first.
            stage = -(-model.depth // stages) / model.depth
            share = stage / (tensor * layout.context)
            self.parts = {
                "attention": (stage * attention + head) / tensor,
                "ffn": stage * ffn / (tensor * groups),
                "experts": stage * stored["experts"] / (tensor * groups),
                "cold": (cold if stages == 1 else max(0, cold - head)) / tensor,
            }
            self.parts = {part: size * (part in keeps) for part, size in self.parts.items()}
        # What the fullest stage holds beside layers; the others have that room for more of theirs.
        self.idle: tuple[str, ...] = ()
        self.head = head * ("attention" in keeps) / tensor if stages > 1 and not spatial else 0.0
        linked = engine.reserved_bytes_per_linked_chip
        self.reserved = linked if linked and self.chips > layout.data else engine.reserved_bytes_per_chip
        self.page_tokens = engine.page_tokens
        if engine.latent_page_tokens and any(g.attention.kind == "latent" for g in model.layers):
            self.page_tokens = engine.latent_page_tokens
        self._slack = engine.window_slack_tokens
        # A pool of windows is tied to the context only beside layers that keep all of it.
        whole = any(c.window is None and c.ratio == 1 and not c.state for c in book.caches)
        self._share = engine.window_share if whole else 0.0
        self._groups = layout.data * groups
        self._caches = [
            (c, c.bytes_per_entry * cache_copies(c, layout, chip, engine), share)
            for c in book.caches
            if c.stored and "kv" in keeps
        ]
        # Alive in one layer: bf16 activations of a chunk of prefill, fp32 logits of each sequence.
        widest = max(
            f.matrices * (f.width * max(1, f.top_k) + f.shared_width)
            for f in (group.feed_forward for group in model.layers)
        )
        self._chunk = engine.prefill_chunk_tokens
        self._token = 2.0 * (2 * model.width + widest / (tensor * groups))
        self._row = 4 * model.vocabulary / tensor
        if spatial or engine.ideal:
            # On a spatial chip they are in flight between layers; its usable share leaves them room.
            self._token = self._row = 0.0
        self.fixed = sum(self.parts.values()) + self.reserved

    def sequences(self, batch: int) -> int:
        """Sequences of the fullest attention group."""
        return -(-batch // self._groups)

    def paged_kv(self, context: int) -> int:
        """Bytes of caches that the engine reserves for one sequence over all layers, without copies."""
        page, slack, share = self.page_tokens, self._slack, self._share
        return sum(
            c.entries(context, slack, page, share) * c.bytes_per_entry
            for c, _, _ in self._caches
            if not c.state
        )

    def reserved_because(self, context: int) -> tuple[str, ...]:
        """Why more is reserved for a sequence than it needs, in words; nothing where no more is."""
        found, kept = [], [c for c, _, _ in self._caches if not c.state]
        windows = [c.window for c in kept if c.window is not None and c.window < context]
        if windows and context * self._share > min(windows) + self._slack:
            found.append(f"windowed layers for {self._share:.0%} of the context")
        elif windows and self._slack:
            found.append(f"windows with {self._slack:,} tokens more")
        reserve = self._slack, self.page_tokens, self._share
        if any(c.entries(context, *reserve) > c.entries(context, self._slack, 1, self._share) for c in kept):
            found.append(f"pages of {self.page_tokens:,} tokens")
        copies = max((size / c.bytes_per_entry for c, size, _ in self._caches if not c.state), default=1.0)
        if copies > 1.0:
            found.append(f"{copies:g} copies over {self.layout.tensor} chips")
        return tuple(found)

    def kv(self, batch: int, context: int) -> float:
        """Bytes of caches and states on the fullest chip, copies and paging included."""
        total, page, slack, least = 0.0, self.page_tokens, self._slack, self._share
        for cache, size, share in self._caches:
            total += cache.entries(context, slack, page, least) * size * share
        return self.sequences(batch) * total

    def resident_kv(self, batch: int, context: int, *, state: bool = False) -> int:
        """Bytes of all caches (or states) over the system, copies and paging included."""
        total, page, slack, least = 0.0, self.page_tokens, self._slack, self._share
        for cache, size, _ in self._caches:
            if cache.state == state:
                total += cache.entries(context, slack, page, least) * size
        return round(batch * total)

    def activations(self, batch: int, context: int) -> float:
        """Bytes of activations on one chip: a prefill chunk (or the batch) in one layer, and logits."""
        sequences = self.sequences(batch)
        return max(min(self._chunk, context), sequences) * self._token + sequences * self._row

    def sizes(self, batch: int, context: int) -> dict[str, float]:
        """Bytes of each part on the fullest chip; `overhead` is the runtime and activations."""
        overhead = self.reserved + self.activations(batch, context)
        sizes = {**self.parts, "kv": self.kv(batch, context), "overhead": overhead}
        for part in self.idle:
            # Weights that no decode step reads here are as cold as rows that are looked up.
            sizes["cold"] += sizes[part]
            sizes[part] = 0.0
        return sizes

    def between_ends(self, sizes: dict[str, float]) -> dict[str, float]:
        """The same sizes on a stage that holds layers alone, as all but the ends of a pipeline do."""
        cold = sum(self.parts[part] for part in self.idle)
        return {**sizes, "attention": sizes["attention"] - self.head, "cold": cold}

    def needed(self, batch: int, context: int) -> float:
        """Bytes that the fullest chip holds."""
        return self.fixed + self.kv(batch, context) + self.activations(batch, context)


def largest(fits: Callable[[int], bool]) -> int | None:
    """The largest n that fits, for a condition that holds up to a point; 0 if none, None if endless.

    >>> largest(lambda n: n * n <= 50)
    7
    """
    if not fits(1):
        return 0
    low, high = 1, 2
    while fits(high):
        low, high = high, high * 2
        if high > ENDLESS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def fewest(bytes_needed: float, bytes_per_chip: float) -> int:
    """A lower bound of the chips that hold so many bytes."""
    return max(1, ceil(bytes_needed / bytes_per_chip)) if bytes_per_chip else ENDLESS
