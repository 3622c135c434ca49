"""The model: an architecture as plain facts, and what follows from it alone.

A model is a list of layer groups. Each group names its attention (what a token adds to the KV cache)
and its feed-forward part (dense or a mixture of experts). Letters in formulas: D model width, N query
heads, K key-value heads, H head width, E experts, k experts per token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal, NamedTuple

from memcalc.noun import noun


class Elements(NamedTuple):
    """Elements of one tensor class: matrices, which a format may convert, and vectors."""

    matrix: int
    vector: int = 0

    @property
    def total(self) -> int:
        """All elements."""
        return self.matrix + self.vector


@noun
class GroupedAttention:
    """Multi-head, grouped or multi-query attention, over the whole context or a sliding window.

    N = `heads`, K = `kv_heads`, H = `head_dim`. `window` is the number of tokens a layer looks back
    on, None for all. `query_key_norm` adds a norm of H elements each to queries and keys; `sinks`
    one learned logit a head.

    References: Ainslie 2023 (arXiv:2305.13245); Beltagy 2020 (arXiv:2004.05150) for windows.
    """

    heads: int
    kv_heads: int
    head_dim: int
    kind: Literal["grouped"] = "grouped"
    window: int | None = None
    qkv_bias: bool = False
    output_bias: bool = False
    query_key_norm: bool = False
    sinks: bool = False

    def elements(self, width: int) -> Elements:
        """Weights of one layer: D*(N + 2K)*H + N*H*D, biases, norms and sinks.

        >>> GroupedAttention(heads=32, kv_heads=8, head_dim=128).elements(4096)
        Elements(matrix=41943040, vector=0)
        """
        projected = (self.heads + 2 * self.kv_heads) * self.head_dim
        matrix = width * projected + self.heads * self.head_dim * width
        vector = projected * self.qkv_bias + width * self.output_bias
        vector += 2 * self.head_dim * self.query_key_norm + self.heads * self.sinks
        return Elements(matrix, vector)

    @property
    def kv_elements(self) -> int:
        """Elements that one token adds to the KV cache of one layer: 2*K*H.

        >>> GroupedAttention(heads=32, kv_heads=8, head_dim=128).kv_elements
        2048
        """
        return 2 * self.kv_heads * self.head_dim

    @property
    def shards(self) -> int:
        """Over how many chips tensor parallelism can divide the cache without copies: K."""
        return self.kv_heads

    @property
    def decode_flops(self) -> int:
        """FLOP per query token and token of context, scores and values: 4*N*H."""
        return 4 * self.heads * self.head_dim

    @property
    def prefill_flops(self) -> int:
        """The same in prefill."""
        return self.decode_flops

    @property
    def expand_flops(self) -> int:
        """FLOP per token of context to expand the cache before prefill reads it: none."""
        return 0

    @property
    def value_share(self) -> float:
        """The value projection's share of the matrices of the layer: K / (2N + 2K)."""
        return self.kv_heads / (2 * self.heads + 2 * self.kv_heads)


@noun
class LatentAttention:
    """Multi-head latent attention (MLA): keys and values compressed to one latent vector.

    c = `latent_dim`, r = `rope_dim`: the cache holds c + r elements a token and layer, whatever the
    number of heads. `query_rank` is the width of the compressed query, None where it is not
    compressed.

    Reference: DeepSeek-V2 (arXiv:2405.04434), section 2.1.
    """

    heads: int
    latent_dim: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    query_rank: int | None
    kind: Literal["latent"] = "latent"
    window: int | None = None

    def elements(self, width: int) -> Elements:
        """Weights of one layer, as stored (keys and values not absorbed).

        >>> LatentAttention(128, 512, 64, 128, 128, 1536).elements(7168)
        Elements(matrix=187105280, vector=2048)
        """
        query = self.heads * (self.nope_dim + self.rope_dim)
        latent = width * (self.latent_dim + self.rope_dim)
        up = self.latent_dim * self.heads * (self.nope_dim + self.value_dim)
        output = self.heads * self.value_dim * width
        if self.query_rank is None:
            return Elements(width * query + latent + up + output, self.latent_dim)
        matrix = width * self.query_rank + self.query_rank * query + latent + up + output
        return Elements(matrix, self.query_rank + self.latent_dim)

    @property
    def kv_elements(self) -> int:
        """Elements that one token adds to the cache of one layer: c + r.

        >>> LatentAttention(128, 512, 64, 128, 128, 1536).kv_elements
        576
        """
        return self.latent_dim + self.rope_dim

    @property
    def shards(self) -> int:
        """One latent serves all heads, so tensor parallelism copies it to every chip: 1."""
        return 1

    @property
    def decode_flops(self) -> int:
        """FLOP per query token and token of context with absorbed up-projections: 2*N*(2c + r)."""
        return 2 * self.heads * (2 * self.latent_dim + self.rope_dim)

    @property
    def prefill_flops(self) -> int:
        """The same in prefill, where keys and values are expanded: 2*N*(nope + r + value)."""
        return 2 * self.heads * (self.nope_dim + self.rope_dim + self.value_dim)

    @property
    def expand_flops(self) -> int:
        """FLOP per token of context to expand latents to keys and values: 2*c*N*(nope + value)."""
        return 2 * self.latent_dim * self.heads * (self.nope_dim + self.value_dim)

    @property
    def value_share(self) -> float:
        """MLA has no value projection of its own."""
        return 0.0


Attention = GroupedAttention | LatentAttention


@noun
class FeedForward:
    """The feed-forward part of a layer: dense, or a mixture of experts where `experts` > 0.

    `width` is the inner width of the dense part or of one expert; `gated` means three matrices
    (SwiGLU, GeGLU) instead of two. `shared_width` is the inner width of all shared experts
    together, `top_k` how many routed experts a token uses.
    """

    width: int
    gated: bool = True
    experts: int = 0
    top_k: int = 0
    shared_width: int = 0
    router_bias: bool = False
    bias: bool = False

    @property
    def matrices(self) -> int:
        """Matrices of D x width in one expert or in the dense part."""
        return 3 if self.gated else 2

    def expert_elements(self, width: int) -> Elements:
        """Weights of one expert, or of the dense part, for model width D = `width`."""
        biases = ((self.matrices - 1) * self.width + width) * self.bias
        return Elements(self.matrices * width * self.width, biases)


@noun
class Layers:
    """`count` layers alike. `norms` counts the norm vectors of width D in each."""

    count: int
    attention: Attention
    feed_forward: FeedForward
    norms: int = 2


@noun
class Source:
    """Where a figure comes from and what it is worth."""

    kind: Literal["vendor", "independent", "derived", "estimate"]
    source: str


#: Kinds of evidence, strongest first.
KINDS = ("independent", "vendor", "derived", "estimate")


def source_of(sources: Mapping[str, Source], figure: str) -> Source | None:
    """The source of a figure by its dotted path: its own, else that of the nearest group above it.

    >>> source_of({"memory.hbm": Source("vendor", "datasheet")}, "memory.hbm.capacity_bytes").kind
    'vendor'
    """
    while figure:
        if figure in sources:
            return sources[figure]
        figure = figure.rpartition(".")[0]
    return None


@noun
class Model:
    """A language model. `width` is D, `vocabulary` the rows of the embedding table.

    `checkpoint` is the format of the published weights, `checkpoint_classes` the tensor classes it
    covers (None: attention, dense, shared and routed experts); the rest is in `base_format`.
    """

    name: str
    width: int
    vocabulary: int
    layers: tuple[Layers, ...]
    context_limit_tokens: int | None = None
    tied_embeddings: bool = False
    checkpoint: str = "bf16"
    checkpoint_classes: tuple[str, ...] | None = None
    base_format: str = "bf16"
    kv_format: str = "bf16"
    vision_parameters: int = 0
    mtp_layers: int = 0
    mtp_parameters: int = 0
    published_parameters: int | None = None
    aliases: tuple[str, ...] = ()
    assumption: str | None = None
    origin: Literal["preset", "file", "assumed"] = "preset"
    sources: Mapping[str, Source] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """Number of layers."""
        return sum(group.count for group in self.layers)

    def elements(self) -> dict[str, Elements]:
        """Elements by tensor class over the whole model; MTP layers are not among them.

        The classes are those of `memcalc.precision.CLASSES`; the norms between layers belong to the
        class `attention` (two vectors a layer), the last one to `head`.
        """
        matrix = dict.fromkeys(("attention", "dense", "shared", "router", "experts"), 0)
        vector = dict(matrix)
        for group in self.layers:
            count, ff = group.count, group.feed_forward
            attention = group.attention.elements(self.width)
            matrix["attention"] += count * attention.matrix
            vector["attention"] += count * (attention.vector + group.norms * self.width)
            one = ff.expert_elements(self.width)
            if not ff.experts:
                matrix["dense"] += count * one.matrix
                vector["dense"] += count * one.vector
                continue
            matrix["experts"] += count * ff.experts * one.matrix
            vector["experts"] += count * ff.experts * one.vector
            matrix["shared"] += count * ff.matrices * self.width * ff.shared_width
            matrix["router"] += count * self.width * ff.experts
            vector["router"] += count * ff.experts * ff.router_bias
        table = self.vocabulary * self.width
        found = {name: Elements(matrix[name], vector[name]) for name in matrix}
        found["embedding"] = Elements(table)
        found["head"] = Elements(0 if self.tied_embeddings else table, self.width)
        found["vision"] = Elements(self.vision_parameters)
        return found

    @property
    def parameters(self) -> int:
        """All parameters but those of the MTP layers."""
        return sum(elements.total for elements in self.elements().values())

    @property
    def active_parameters(self) -> int:
        """Parameters that one text token uses, with the input embedding, without vision."""
        total = self.parameters - self.vision_parameters
        for group in self.layers:
            ff = group.feed_forward
            idle = ff.experts - ff.top_k
            if ff.experts:
                total -= group.count * idle * ff.expert_elements(self.width).total
        return total
