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


class Held(NamedTuple):
    """What one layer keeps of a sequence for later tokens, and what a step reads of it.

    `elements` make one entry. An entry stands for `ratio` tokens, at most `window` of them are kept
    (None: all) and at most `reads` of them read (None: all). `stored` is False where another layer
    keeps what this one reads. A `state` has a single entry in the format `format` (None: bf16), read and written by each token. `shards` chips can divide it without copies. FLOP are per
    query token and entry read; `expand_flops` are spent per entry where prefill expands it.
    """

    elements: int
    window: int | None = None
    ratio: int = 1
    reads: int | None = None
    stored: bool = True
    state: bool = False
    format: str | None = None
    shards: int = 1
    decode_flops: int = 0
    prefill_flops: int = 0
    expand_flops: int = 0


@noun
class GroupedAttention:
    """Multi-head, grouped or multi-query attention, over the whole context or a sliding window.

    N = `heads`, K = `kv_heads`, H = `head_dim`, V = `value_dim` (None: H). `window` is the number of
    tokens a layer looks back on, None for all. `projections` "qk" means that keys serve as values too,
    "q" that a layer projects queries alone. `cache` "shared" means that it reads what an earlier layer
    keeps, "none" that it attends to something else than the text (an image). `query_key_norm` adds a
    norm of H elements each to queries and keys, `norm_all_heads` one over all heads; `gate` doubles
    the query projection; `sinks` adds one learned logit a head.

    References: Ainslie 2023 (arXiv:2305.13245); Beltagy 2020 (arXiv:2004.05150) for windows.
    """

    heads: int
    kv_heads: int
    head_dim: int
    kind: Literal["grouped"] = "grouped"
    window: int | None = None
    value_dim: int | None = None
    projections: Literal["qkv", "qk", "q"] = "qkv"
    cache: Literal["own", "shared", "none"] = "own"
    qkv_bias: bool = False
    output_bias: bool = False
    query_key_norm: bool = False
    norm_all_heads: bool = False
    gate: bool = False
    sinks: bool = False

    @property
    def value_width(self) -> int:
        """Width of one value head, V."""
        return self.head_dim if self.value_dim is None else self.value_dim

    def elements(self, width: int) -> Elements:
        """Weights of one layer: D*(N*H + K*H + K*V) + N*V*D, biases, norms and sinks.

        >>> GroupedAttention(heads=32, kv_heads=8, head_dim=128).elements(4096)
        Elements(matrix=41943040, vector=0)
        """
        query = self.heads * self.head_dim * (1 + self.gate)
        key = self.kv_heads * self.head_dim * (self.projections != "q")
        value = self.kv_heads * self.value_width * (self.projections == "qkv")
        matrix = width * (query + key + value) + self.heads * self.value_width * width
        vector = (query + key + value) * self.qkv_bias + width * self.output_bias
        if self.query_key_norm and self.norm_all_heads:
            vector += self.heads * self.head_dim + key
        elif self.query_key_norm:
            vector += self.head_dim * (1 + (self.projections != "q"))
        return Elements(matrix, vector + self.heads * self.sinks)

    @property
    def kv_elements(self) -> int:
        """Elements that one token adds to the KV cache of one layer: K*(H + V).

        >>> GroupedAttention(heads=32, kv_heads=8, head_dim=128).kv_elements
        2048
        """
        return self.kv_heads * (self.head_dim + self.value_width) * (self.cache == "own")

    def held(self) -> tuple[Held, ...]:
        """The cache of one layer: keys and values of each token (of the window).

        >>> GroupedAttention(heads=32, kv_heads=8, head_dim=128).held()[0].decode_flops
        16384
        """
        if self.cache == "none":
            return ()
        elements = self.kv_heads * (self.head_dim + self.value_width)
        flops = 2 * self.heads * (self.head_dim + self.value_width)
        own = self.cache == "own"
        return (Held(elements, self.window, stored=own, shards=self.kv_heads,
                     decode_flops=flops, prefill_flops=flops),)  # fmt: skip

    @property
    def value_share(self) -> float:
        """The value projection's share of the matrices of the layer: K*V over all."""
        if self.projections != "qkv":
            return 0.0
        value = self.kv_heads * self.value_width
        whole = self.elements(1).matrix
        return value / whole if whole else 0.0


@noun
class Indexer:
    """The lightning indexer of sparse attention: `heads` queries of `head_dim` score every token.

    It keeps one key of `head_dim` elements a token.

    Reference: DeepSeek-V3.2 (arXiv:2512.02556), section 2.1.
    """

    heads: int
    head_dim: int

    def elements(self, width: int, query_rank: int) -> Elements:
        """Weights of one layer: queries from the compressed query, a key, a weight a head; key norm with bias.

        >>> Indexer(64, 128).elements(7168, 1536)
        Elements(matrix=13959168, vector=256)
        """
        query = query_rank * self.heads * self.head_dim
        return Elements(query + width * (self.head_dim + self.heads), 2 * self.head_dim)

    @property
    def flops(self) -> int:
        """FLOP per query token and token scored: 2*heads*head_dim."""
        return 2 * self.heads * self.head_dim


@noun
class LatentAttention:
    """Multi-head latent attention (MLA): keys and values compressed to one latent vector.

    c = `latent_dim`, r = `rope_dim`: the cache holds c + r elements a token and layer, whatever the
    number of heads. `query_rank` is the width of the compressed query, None where it is not
    compressed. With `top_k` a query reads so many tokens, which the `indexer` of this layer or an
    earlier one selects. `bias` is of the projections to the latents and of the output.

    Reference: DeepSeek-V2 (arXiv:2405.04434), section 2.1.
    """

    heads: int
    latent_dim: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    query_rank: int | None = None
    kind: Literal["latent"] = "latent"
    window: int | None = None
    bias: bool = False
    top_k: int | None = None
    indexer: Indexer | None = None

    def elements(self, width: int) -> Elements:
        """Weights of one layer, as stored (keys and values not absorbed).

        >>> LatentAttention(128, 512, 64, 128, 128, 1536).elements(7168)
        Elements(matrix=187105280, vector=2048)
        """
        query = self.heads * (self.nope_dim + self.rope_dim)
        latent = width * (self.latent_dim + self.rope_dim)
        up = self.latent_dim * self.heads * (self.nope_dim + self.value_dim)
        output = self.heads * self.value_dim * width
        matrix, vector = latent + up + output, self.latent_dim
        vector += (self.latent_dim + self.rope_dim + width) * self.bias
        if self.query_rank is None:
            matrix += width * query
        else:
            matrix += width * self.query_rank + self.query_rank * query
            vector += self.query_rank * (1 + self.bias)
        if self.indexer:
            more = self.indexer.elements(width, self.query_rank or width)
            matrix, vector = matrix + more.matrix, vector + more.vector
        return Elements(matrix, vector)

    @property
    def kv_elements(self) -> int:
        """Elements that one token adds to the caches of one layer: c + r, and the indexer's key.

        >>> LatentAttention(128, 512, 64, 128, 128, 1536).kv_elements
        576
        """
        return self.latent_dim + self.rope_dim + (self.indexer.head_dim if self.indexer else 0)

    @property
    def expanded_elements(self) -> int:
        """Elements a token would add uncompressed: keys and values of every head.

        >>> LatentAttention(128, 512, 64, 128, 128, 1536).expanded_elements
        40960
        """
        return self.heads * (self.nope_dim + self.rope_dim + self.value_dim)

    def held(self) -> tuple[Held, ...]:
        """The latent of each token, which serves all heads, and the indexer's key.

        Decode absorbs the up-projections: 2*N*(2c + r) FLOP per token read. Prefill expands the latents
        (2*c*N*(nope + value) each) and computes 2*N*(nope + r + value).
        """
        latent = Held(
            self.latent_dim + self.rope_dim,
            self.window,
            reads=self.top_k,
            decode_flops=2 * self.heads * (2 * self.latent_dim + self.rope_dim),
            prefill_flops=2 * self.heads * (self.nope_dim + self.rope_dim + self.value_dim),
            expand_flops=2 * self.latent_dim * self.heads * (self.nope_dim + self.value_dim),
        )
        if self.indexer is None:
            return (latent,)
        flops = self.indexer.flops
        return (latent, Held(self.indexer.head_dim, self.window, decode_flops=flops, prefill_flops=flops))

    @property
    def value_share(self) -> float:
        """MLA has no value projection of its own."""
        return 0.0


@noun
class CompressedAttention:
    """A window of full tokens beside a cache in which one entry stands for `ratio` tokens.

    One vector of `head_dim` serves all `heads` as key and value. `ratio` 0 is the window alone. Where
    an `indexer` selects `top_k` entries, entries overlap: two projections each, and `ratio` raw
    tokens wait for the next entry. Queries come from a compressed vector of `query_rank`; the
    output goes through `output_groups` groups to `output_rank` each.

    Reference: DeepSeek-V4 (arXiv:2606.19348), section 2.3.
    """

    heads: int
    head_dim: int
    query_rank: int
    output_groups: int
    output_rank: int
    window: int
    ratio: int = 0
    kind: Literal["compressed"] = "compressed"
    top_k: int | None = None
    indexer: Indexer | None = None

    def elements(self, width: int) -> Elements:
        """Weights of one layer: query, key-value and output, compressor, and the indexer's compressor.

        >>> CompressedAttention(64, 512, 1024, 8, 1024, 128).elements(4096)
        Elements(matrix=106954752, vector=1600)
        """
        query = width * self.query_rank + self.query_rank * self.heads * self.head_dim
        output = self.heads * self.head_dim * self.output_rank + self.output_groups * self.output_rank * width
        matrix = query + width * self.head_dim + output
        vector = self.query_rank + self.head_dim + self.heads
        if self.ratio:
            wide = self.head_dim * (2 if self.indexer else 1)
            matrix += 2 * width * wide
            vector += self.ratio * wide + self.head_dim
        if self.indexer:
            wide = 2 * self.indexer.head_dim
            matrix += 2 * width * wide + width * self.indexer.heads
            matrix += self.query_rank * self.indexer.heads * self.indexer.head_dim
            vector += self.ratio * wide + self.indexer.head_dim
        return Elements(matrix, vector)

    @property
    def kv_elements(self) -> int:
        """Elements that a token adds on average once the window is full; windows alone add none."""
        if not self.ratio:
            return 0
        return (self.head_dim + (self.indexer.head_dim if self.indexer else 0)) // self.ratio

    def held(self) -> tuple[Held, ...]:
        """The window, the compressed entries, the indexer's keys, and the tokens that wait to be compressed.

        A layer with the window alone keeps key and value apart, as Transformers' cache does.
        """
        flops = 4 * self.heads * self.head_dim
        one = Held(
            self.head_dim * (1 if self.ratio else 2), self.window, decode_flops=flops, prefill_flops=flops
        )
        if not self.ratio:
            return (one,)
        found = [
            one,
            Held(self.head_dim, None, self.ratio, self.top_k, decode_flops=flops, prefill_flops=flops),
        ]
        if self.indexer:
            score = self.indexer.flops
            found.append(
                Held(self.indexer.head_dim, None, self.ratio, decode_flops=score, prefill_flops=score)
            )
            waiting = self.ratio * 2 * (self.head_dim + self.indexer.head_dim)
            found.append(Held(waiting, state=True))
        return tuple(found)

    @property
    def value_share(self) -> float:
        """No value projection of its own."""
        return 0.0


@noun
class RecurrentMixer:
    """A layer with a state of fixed size in place of a cache: Mamba, gated delta-net, linear attention.

    Each of `heads` heads keeps a matrix of `key_dim` x `value_dim` in `state_format`; a causal convolution
    keeps its last `conv_kernel` inputs in each of `conv_channels` channels (as Transformers stores them;
    engines that keep one less save that). `matrix` and `vector` are the weights of one layer, which differ
    by `variant`: projections, and what no conversion touches (convolution, decay, norms).

    References: Gu 2023 (arXiv:2312.00752), Dao 2024 (arXiv:2405.21060), Yang 2024 (arXiv:2412.06464).
    """

    variant: str
    heads: int
    key_dim: int
    value_dim: int
    matrix: int
    vector: int = 0
    conv_channels: int = 0
    conv_kernel: int = 0
    kind: Literal["recurrent"] = "recurrent"
    state_format: str = "fp32"

    def elements(self, width: int) -> Elements:  # noqa: ARG002 - as its siblings
        """Weights of one layer."""
        return Elements(self.matrix, self.vector)

    @property
    def kv_elements(self) -> int:
        """No token adds to the state: 0."""
        return 0

    def held(self) -> tuple[Held, ...]:
        """The recurrent state and the inputs of the convolution.

        A token decays the state, adds a product of two vectors and reads it out: about 6 FLOP an element
        (cost model of linear attention: 4 to 6).
        """
        found, state = [], self.heads * self.key_dim * self.value_dim
        if state:
            found.append(Held(state, state=True, format=self.state_format, shards=self.heads,
                              decode_flops=6 * state, prefill_flops=6 * state))  # fmt: skip
        conv = self.conv_channels * self.conv_kernel
        if conv:
            found.append(
                Held(conv, state=True, shards=self.heads, decode_flops=2 * conv, prefill_flops=2 * conv)
            )
        return tuple(found)

    @property
    def value_share(self) -> float:
        """Nothing here is a value projection."""
        return 0.0


@noun
class NoMixer:
    """A layer that mixes no tokens: a feed-forward part alone, or a layer that was pruned away."""

    kind: Literal["none"] = "none"

    @property
    def heads(self) -> int:
        """No head: tensor parallelism is not bound by it."""
        return 0

    def elements(self, width: int) -> Elements:  # noqa: ARG002 - as its siblings
        """No weights."""
        return Elements(0)

    @property
    def kv_elements(self) -> int:
        """Nothing is kept: 0."""
        return 0

    def held(self) -> tuple[Held, ...]:
        """Nothing."""
        return ()

    @property
    def value_share(self) -> float:
        """No value projection."""
        return 0.0


Attention = GroupedAttention | LatentAttention | CompressedAttention | RecurrentMixer | NoMixer
#: The nouns of attention by the word that a preset has in `kind`.
MIXERS: Mapping[str, type] = {
    "grouped": GroupedAttention, "latent": LatentAttention, "compressed": CompressedAttention,
    "recurrent": RecurrentMixer, "none": NoMixer,
}  # fmt: skip


@noun
class FeedForward:
    """The feed-forward part of a layer: dense, or a mixture of experts where `experts` > 0.

    `width` is the inner width of the dense part or of one expert (0: no such part); `gated` means three
    matrices (SwiGLU, GeGLU) instead of two. `shared_width` is the inner width of all shared experts
    together (or of a dense part beside the experts), `top_k` how many routed experts a token uses.
    `shared_gate` scales the shared part by a learned vector. With `latent_width` the experts work in that
    width, behind one projection down and one up.
    """

    width: int
    gated: bool = True
    experts: int = 0
    top_k: int = 0
    shared_width: int = 0
    shared_gate: bool = False
    latent_width: int | None = None
    router_bias: bool = False
    bias: bool = False

    @property
    def matrices(self) -> int:
        """Matrices of D x width in one expert or in the dense part."""
        return 3 if self.gated else 2

    def expert_elements(self, width: int) -> Elements:
        """Weights of one expert, or of the dense part, for model width D = `width`."""
        if self.experts and self.latent_width:
            width = self.latent_width
        biases = ((self.matrices - 1) * self.width + width) * (self.bias and self.width > 0)
        return Elements(self.matrices * width * self.width, biases)

    def shared_elements(self, width: int) -> Elements:
        """Weights of the shared experts, and of the projections to and from the latent width."""
        latent = 2 * width * (self.latent_width or 0)
        return Elements(self.matrices * width * self.shared_width + latent, width * self.shared_gate)


@noun
class Layers:
    """`count` layers alike. `norms` counts the norm vectors of width D in each.

    `other_matrix` and `other_vector` are elements of one layer beside its two parts: hyper-connections,
    low-rank side branches, gates. `beside` is a second mixer on the same input, where a layer has two.
    """

    count: int
    attention: Attention
    feed_forward: FeedForward
    norms: int = 2
    other_matrix: int = 0
    other_vector: int = 0
    beside: RecurrentMixer | None = None

    @property
    def mixers(self) -> tuple[Attention, ...]:
        """The one mixer of a layer, or the two."""
        return (self.attention, self.beside) if self.beside else (self.attention,)


@noun
class Source:
    """Where a figure comes from and what it is worth; `conflicts` says what other sources have instead.

    `grade` is for figures that a result hangs on: A several independent points, B a peer-reviewed text of
    the vendor or a measurement at second hand, C a claim of the vendor or a fit to one point, D an assumption.
    """

    kind: Literal["vendor", "independent", "derived", "estimate"]
    source: str
    grade: Literal["A", "B", "C", "D"] | None = None
    conflicts: str = ""


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
    """A language model. `width` is D, `vocabulary` the rows of the embedding table and of the head.

    `checkpoint` is the format of the published weights; `checkpoint_formats` names it by tensor class
    where classes differ or some are left alone (empty: attention, recurrent, dense, shared and routed
    experts), the rest is in `base_format`. `checkpoint_bytes` are the bytes by class where they are known
    better than formats tell: summed over the tensors, or read from the files.
    `lookup_parameters` are tables of which a token reads a row (positions, embeddings per layer, rows that
    the head lacks); `other_matrix` and `other_vector` stand outside the layers.
    """

    name: str
    width: int
    vocabulary: int
    layers: tuple[Layers, ...]
    context_limit_tokens: int | None = None
    tied_embeddings: bool = False
    head_bias: bool = False
    final_norms: int = 1
    lookup_parameters: int = 0
    other_matrix: int = 0
    other_vector: int = 0
    checkpoint: str = "bf16"
    checkpoint_formats: Mapping[str, str] = field(default_factory=dict)
    checkpoint_bytes: Mapping[str, int] = field(default_factory=dict)
    base_format: str = "bf16"
    kv_format: str = "bf16"
    vision_parameters: int = 0
    mtp_layers: int = 0
    mtp_parameters: int = 0
    published_parameters: int | None = None
    aliases: tuple[str, ...] = ()
    assumption: str | None = None
    notes: tuple[str, ...] = ()
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
        matrix = dict.fromkeys(("attention", "recurrent", "dense", "shared", "router", "experts"), 0)
        vector = dict(matrix)
        matrix["attention"], vector["attention"] = self.other_matrix, self.other_vector
        for group in self.layers:
            count, ff = group.count, group.feed_forward
            for mixer in group.mixers:
                found_in = mixer.elements(self.width)
                tensor = "recurrent" if mixer.kind == "recurrent" else "attention"
                matrix[tensor] += count * found_in.matrix
                vector[tensor] += count * found_in.vector
            matrix["attention"] += count * group.other_matrix
            vector["attention"] += count * (group.norms * self.width + group.other_vector)
            one = ff.expert_elements(self.width)
            if not ff.experts:
                matrix["dense"] += count * one.matrix
                vector["dense"] += count * one.vector
                continue
            matrix["experts"] += count * ff.experts * one.matrix
            vector["experts"] += count * ff.experts * one.vector
            shared = ff.shared_elements(self.width)
            matrix["shared"] += count * shared.matrix
            vector["shared"] += count * shared.vector
            matrix["router"] += count * self.width * ff.experts
            vector["router"] += count * ff.experts * ff.router_bias
        table = self.vocabulary * self.width
        found = {name: Elements(matrix[name], vector[name]) for name in matrix}
        found["embedding"] = Elements(table + self.lookup_parameters)
        last = self.width * self.final_norms + self.vocabulary * self.head_bias
        found["head"] = Elements(0 if self.tied_embeddings else table, last)
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

    @property
    def active_parameters_without_embedding(self) -> int:
        """The active parameters without tables that are only looked up: what a token multiplies with.

        A tied table stays: it is the head too.
        """
        table = 0 if self.tied_embeddings else self.vocabulary * self.width
        return self.active_parameters - table - self.lookup_parameters
