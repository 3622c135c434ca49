"""The matrices of a layer by the names that checkpoints give them: what a conversion may touch, one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from memcalc.model import (
    Attention,
    CompressedAttention,
    FeedForward,
    GroupedAttention,
    LatentAttention,
    Layers,
    RecurrentMixer,
)


class Matrix(NamedTuple):
    """A matrix of a layer: its names inside the layer, tensor class, shape, and how many there are of it.

    The names are those of several families; of experts it is that of the first.
    """

    names: tuple[str, ...]
    tensor: str
    rows: int
    columns: int
    copies: int = 1


def matrices_of(group: Layers, width: int) -> list[Matrix]:
    """The matrices of one layer that a conversion may touch."""
    found = [matrix for mixer in group.mixers for matrix in _of_mixer(mixer, width)]
    return found + _of_feed_forward(group.feed_forward, width)


#: A projection by the names of families, those first that most have. Queries, keys and values may be one matrix.
_FUSED = ("self_attn.qkv_proj", "self_attn.W_pack", "attention.wqkv", "attention.query_key_value",
          "self_attention.query_key_value", "attn.c_attn", "attn.Wqkv")  # fmt: skip
_ATTENTION: Mapping[str, tuple[str, ...]] = {
    "q": ("self_attn.q_proj", "attn.q_proj", "mixer.q_proj", *_FUSED),
    "k": ("self_attn.k_proj", "attn.k_proj", "mixer.k_proj", *_FUSED),
    "v": ("self_attn.v_proj", "attn.v_proj", "mixer.v_proj", *_FUSED),
    "o": ("self_attn.o_proj", "self_attn.out_proj", "self_attn.dense", "attn.out_proj", "mixer.o_proj",
          "attention.wo", "attention.dense", "self_attention.dense", "attn.c_proj"),
}  # fmt: skip


def _projection(name: str, rows: int, columns: int, *more: str) -> Matrix:
    names = _ATTENTION.get(name) or tuple("self_attn." + one for one in (name, *more))
    return Matrix(names, "attention", rows, columns)


def _of_mixer(mixer: Attention, width: int) -> list[Matrix]:
    if isinstance(mixer, GroupedAttention):
        return _of_grouped(mixer, width)
    if isinstance(mixer, LatentAttention):
        return _of_latent(mixer, width)
    if isinstance(mixer, CompressedAttention):
        return _of_compressed(mixer, width)
    if isinstance(mixer, RecurrentMixer) and mixer.matrix:
        return _of_recurrent(mixer, width)
    return []


def _of_grouped(mixer: GroupedAttention, width: int) -> list[Matrix]:
    found = [
        _projection("q", mixer.heads * mixer.head_dim * (1 + mixer.gate), width),
        _projection("o", width, mixer.heads * mixer.value_width),
    ]
    if mixer.projections != "q":
        found.append(_projection("k", mixer.kv_heads * mixer.head_dim, width))
    if mixer.projections == "qkv":
        found.append(_projection("v", mixer.kv_heads * mixer.value_width, width))
    return found


def _of_latent(mixer: LatentAttention, width: int) -> list[Matrix]:
    """The weights that the indexer gives its heads stay as they are."""
    query, rank = mixer.heads * (mixer.nope_dim + mixer.rope_dim), mixer.query_rank
    found = [
        _projection("kv_a_proj_with_mqa", mixer.latent_dim + mixer.rope_dim, width, "kv_a_proj"),
        _projection("kv_b_proj", mixer.heads * (mixer.nope_dim + mixer.value_dim), mixer.latent_dim),
        _projection("o_proj", width, mixer.heads * mixer.value_dim),
    ]
    if rank is None:
        found.append(_projection("q_proj", query, width))
    else:
        found += [_projection("q_a_proj", rank, width), _projection("q_b_proj", query, rank)]
    if mixer.indexer:
        wide = mixer.indexer.heads * mixer.indexer.head_dim
        found.append(_projection("indexer.wq_b", wide, rank or width))
        found.append(_projection("indexer.wk", mixer.indexer.head_dim, width))
    return found


def _of_compressed(mixer: CompressedAttention, width: int) -> list[Matrix]:
    """The compressors and the weights of the indexer's heads stay as they are."""
    inner, output = mixer.heads * mixer.head_dim, mixer.output_groups * mixer.output_rank
    shapes = {
        "wq_a": ("q_a_proj", mixer.query_rank, width), "wq_b": ("q_b_proj", inner, mixer.query_rank),
        "wkv": ("kv_proj", mixer.head_dim, width), "wo_a": ("o_a_proj", output, inner // mixer.output_groups),
        "wo_b": ("o_b_proj", width, output),
    }  # fmt: skip
    if mixer.indexer:
        wide = mixer.indexer.heads * mixer.indexer.head_dim
        shapes["indexer.wq_b"] = ("indexer.q_b_proj", wide, mixer.query_rank)
    return [
        Matrix(("attn." + name, "self_attn." + other), "attention", rows, columns)
        for name, (other, rows, columns) in shapes.items()
    ]


def _of_recurrent(mixer: RecurrentMixer, width: int) -> list[Matrix]:
    """The projections, where the variant tells them; else one of the size of all."""
    inner = mixer.heads * mixer.value_dim
    shapes: dict[str, tuple[int, int]] = {}
    if mixer.variant == "gated-delta-net":
        gates = (mixer.heads, width)
        shapes = {
            "in_proj_qkv in_proj_qkvz": (mixer.conv_channels, width), "in_proj_z in_proj_qkvz": (inner, width),
            "in_proj_b in_proj_ba": gates, "in_proj_a in_proj_ba": gates, "out_proj": (width, inner),
        }  # fmt: skip
    elif mixer.variant == "mamba2":
        projected = inner + mixer.conv_channels + mixer.heads
        shapes = {"in_proj": (projected, width), "out_proj": (width, inner)}
    elif mixer.variant == "mamba":
        # What is left beside three matrices of D x inner are two with the rank of the step and B and C.
        rank, odd = divmod(mixer.matrix - 3 * width * inner - 2 * inner * mixer.key_dim, 2 * inner or 1)
        if rank > 0 and not odd:
            shapes = {
                "in_proj": (2 * inner, width), "x_proj": (rank + 2 * mixer.key_dim, inner),
                "dt_proj": (inner, rank), "out_proj": (width, inner),
            }  # fmt: skip
    elif mixer.variant == "lightning":
        shapes = {"qkv_proj": (3 * inner, width), "output_gate": (inner, width), "out_proj": (width, inner)}
    elif mixer.variant == "short-conv":
        shapes = {"in_proj": (3 * width, width), "out_proj": (width, width)}
    elif mixer.variant == "kimi-delta":
        shapes = {
            "q_proj": (inner, width), "k_proj": (inner, width), "v_proj": (inner, width), "o_proj": (width, inner),
            "b_proj": (mixer.heads, width), "f_a_proj": (mixer.value_dim, width), "g_a_proj": (mixer.value_dim, width),
            "f_b_proj": (inner, mixer.value_dim), "g_b_proj": (inner, mixer.value_dim),
        }  # fmt: skip
    places = _PARENTS.get(mixer.variant, ("linear_attn", "mamba", "mixer"))
    if sum(rows * columns for rows, columns in shapes.values()) != mixer.matrix:
        names = places + tuple(place + ".in_proj" for place in places)
        return [Matrix(names, "recurrent", mixer.matrix // width, width)]
    return [
        Matrix(tuple(f"{place}.{name}" for place in places for name in names.split()), "recurrent", *shape)
        for names, shape in shapes.items()
    ]


#: Where the projections of recurrent layers lie.
_PARENTS: Mapping[str, tuple[str, ...]] = {
    "gated-delta-net": ("linear_attn",), "kimi-delta": ("self_attn",), "lightning": ("self_attn",),
    "short-conv": ("conv",), "mamba": ("mamba", "mixer"), "mamba2": ("mamba", "mixer"),
}  # fmt: skip
#: Where those of feed-forward parts lie, and their names.
_DENSE = ("mlp.", "feed_forward.", "mixer.", "ffn.")
_SHARED = ("mlp.shared_experts.", "mlp.shared_expert.", "mixer.shared_experts.", "ffn.shared_experts.",
           "feed_forward.shared_expert.", "block_sparse_moe.shared_experts.", "shared_mlp.")  # fmt: skip
#: Experts may be one tensor, which has no number.
_EXPERTS = ("mlp.experts.0.", "block_sparse_moe.experts.0.", "mixer.experts.0.", "ffn.experts.0.",
            "feed_forward.experts.0.", "mlp.experts.", "feed_forward.experts.")  # fmt: skip
_ROUTERS = (
    "mlp.gate",
    "mlp.router",
    "block_sparse_moe.gate",
    "feed_forward.router",
    "mixer.gate",
    "ffn.gate",
)
_UP, _GATE, _DOWN = (
    ("up_proj", "w3", "gate_up_proj"),
    ("gate_proj", "w1", "gate_up_proj"),
    ("down_proj", "w2"),
)
_OLD_UP, _OLD_DOWN = ("c_fc", "fc1", "fc_in", "dense_h_to_4h"), ("c_proj", "fc2", "fc_out", "dense_4h_to_h")


def _of_feed_forward(part: FeedForward, width: int) -> list[Matrix]:
    def gated(places: tuple[str, ...], tensor: str, outer: int, inner: int, copies: int = 1) -> list[Matrix]:
        old = tensor == "dense" and not part.gated
        parts = [(_UP + _OLD_UP * old, inner, outer), (_DOWN + _OLD_DOWN * old, outer, inner)]
        parts += [(_GATE, inner, outer)] * part.gated
        return [
            Matrix(tuple(place + name for place in places for name in names), tensor, rows, columns, copies)
            for names, rows, columns in parts
        ]

    if not part.experts:
        return gated(_DENSE, "dense", width, part.width) if part.width else []
    found = gated(_EXPERTS, "experts", part.latent_width or width, part.width, part.experts)
    if part.shared_width:
        found += gated(_SHARED, "shared", width, part.shared_width)
    if part.latent_width:
        found.append(Matrix(("mixer.fc1_latent_proj",), "shared", part.latent_width, width))
        found.append(Matrix(("mixer.fc2_latent_proj",), "shared", width, part.latent_width))
    return [*found, Matrix(_ROUTERS, "router", part.experts, width)]
