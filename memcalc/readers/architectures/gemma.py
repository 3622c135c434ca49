"""Gemma 3n and Gemma 4: shared caches, embeddings a layer, side branches."""

from __future__ import annotations

from typing import Any

from memcalc.model import FeedForward, GroupedAttention, Layers, Model
from memcalc.readers.architectures.config import Config, model_of
from memcalc.readers.architectures.experts import mixture

#: What the classes fill in where a file omits it (Transformers 5).
GEMMA_3N: dict[str, Any] = {
    "vocab_size": 262400, "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 35,
    "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256, "max_position_embeddings": 32768,
    "sliding_window": 512, "vocab_size_per_layer_input": 262144, "hidden_size_per_layer_input": 256,
    "altup_num_inputs": 4, "num_kv_shared_layers": 15, "laurel_rank": 64,
}  # fmt: skip
GEMMA_4: dict[str, Any] = {
    "vocab_size": 262144, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 30,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "global_head_dim": 512,
    "max_position_embeddings": 131072, "sliding_window": 512, "vocab_size_per_layer_input": 262144,
    "hidden_size_per_layer_input": 256, "num_kv_shared_layers": 0,
}  # fmt: skip


def full_layers(config: Config, depth: int, spacing: int) -> list[bool]:
    """Which layers attend to the whole context: by `layer_types`, else each n-th."""
    words = config.words("layer_types", depth)
    if words is None:
        return [(index + 1) % spacing == 0 for index in range(depth)]
    if not set(words) <= {"full_attention", "sliding_attention"}:
        raise config.error("layer_types", "has a word that this architecture does not know")
    return [word == "full_attention" for word in words[:depth]]


def first_shared(config: Config, full: list[bool]) -> int:
    """The layer from which on caches of earlier layers of the same kind are read."""
    depth, shared = len(full), config.count("num_kv_shared_layers", default=0, least=0)
    if shared >= depth:
        raise config.error("num_kv_shared_layers", f"leaves none of the {depth} layers a cache of its own")
    if not set(full[depth - shared :]) <= set(full[: depth - shared]):
        raise config.error("num_kv_shared_layers", "leaves no layer of a kind that shares its cache")
    return depth - shared


def lookup(config: Config, depth: int) -> tuple[int, int]:
    """Rows of the embeddings a layer, and their width in all layers; 0 where there are none."""
    inner = config.count("hidden_size_per_layer_input", default=0, least=0)
    return config.count("vocab_size_per_layer_input", default=0, least=0), inner * depth


def gemma3n(config: Config) -> Model:
    """Gemma3nForCausalLM: AltUp keeps several streams, LAUREL adds a low-rank branch, embeddings a layer."""
    config = config.with_defaults(GEMMA_3N)
    depth, width = config.layers(), config.count("hidden_size")
    heads, inputs = config.count("num_attention_heads"), config.count("altup_num_inputs")
    rank, inner = config.count("laurel_rank"), config.count("hidden_size_per_layer_input", least=0)
    full = full_layers(config, depth, 5)
    first = first_shared(config, full)
    widths = _widths(config, depth)
    matrix = 2 * rank * width + 2 * inner * width
    # Coefficients of AltUp, its router and the norms behind the branches.
    vector = inputs**2 + inputs**3 + inputs * width + width + width + width + width
    layers = [
        Layers(
            1,
            _attention(config, heads, config.count("num_key_value_heads"), config.count("head_dim"),
                       None if full[index] else config.count("sliding_window"), own=index < first),
            FeedForward(widths[index]),
            4,
            matrix,
            vector,
        )
        for index in range(depth)
    ]  # fmt: skip
    rows, columns = lookup(config, depth)
    return model_of(
        config, layers, tied=True, lookup_parameters=rows * columns,
        other_matrix=columns * width + 2 * (inputs - 1) * width**2, other_vector=inner,
    )  # fmt: skip


def _widths(config: Config, depth: int) -> list[int]:
    """Inner widths by layer: one number for all, or a list."""
    if isinstance(config.get("intermediate_size"), list):
        return (config.counts("intermediate_size", depth, least=1) or [])[:depth]
    return [config.count("intermediate_size")] * depth


def _attention(
    config: Config,
    heads: int,
    kv_heads: int,
    head_dim: int,
    window: int | None,
    *,
    own: bool,
    values: bool = True,
) -> GroupedAttention:
    if heads % kv_heads:
        raise config.error("num_key_value_heads", f"does not divide the {heads} heads")
    bias = config.flag("attention_bias")
    return GroupedAttention(
        heads=heads, kv_heads=kv_heads, head_dim=head_dim, window=window, query_key_norm=True,
        projections="q" if not own else "qkv" if values else "qk", cache="own" if own else "shared",
        qkv_bias=bias, output_bias=bias,
    )  # fmt: skip


def _shapes(config: Config, full: list[bool]) -> list[tuple[int, int]]:
    """Key-value heads and their width by layer: newer files list the layers that differ, older ones state the full."""
    kv_heads, head_dim = config.count("num_key_value_heads"), config.count("head_dim")
    stated = config.section("per_layer_config")
    if stated is None:
        # Full layers have key-value heads of their own number only where keys serve as values.
        same = config.flag("attention_k_eq_v")
        wide = (
            config.count("num_global_key_value_heads", default=kv_heads) if same else kv_heads,
            config.count("global_head_dim"),
        )
        return [wide if whole else (kv_heads, head_dim) for whole in full]
    # The numbers of layers are padded with zeros to the same length.
    named = {int(key) if key.isdecimal() and len(key) < 6 else -1: key for key in stated.table}
    if not named.keys() <= set(range(len(full))):
        raise config.error("per_layer_config", f"names a layer beyond the {len(full)} layers")
    layers = [stated.section(named.get(index, "")) or Config({}, config.file) for index in range(len(full))]
    for layer in layers:
        if not layer.table.keys() <= {"num_key_value_heads", "head_dim"}:
            raise config.error("per_layer_config", "changes more of a layer than its key-value heads")
    return [
        (layer.count("num_key_value_heads", default=kv_heads), layer.count("head_dim", default=head_dim))
        for layer in layers
    ]


def _window(config: Config) -> int:
    """The window; half of it lies ahead where a model looks both ways."""
    window = config.count("sliding_window")
    return window // 2 + 1 if config.get("use_bidirectional_attention") == "all" else window


def gemma4(config: Config) -> Model:
    """Gemma4ForCausalLM: wider heads in full layers, whose keys may serve as values; experts beside the dense part."""
    config = config.with_defaults(GEMMA_4)
    depth, width = config.layers(), config.count("hidden_size")
    heads = config.count("num_attention_heads")
    full = full_layers(config, depth, 6)
    # The class makes the last layer a full one, whatever the file says.
    full[-1] = True
    first, shapes, window = first_shared(config, full), _shapes(config, full), _window(config)
    same = config.flag("attention_k_eq_v")
    inner, wide = config.count("hidden_size_per_layer_input", least=0), config.count("intermediate_size")
    moe = config.flag("enable_moe_block")
    layers = []
    for index in range(depth):
        attention = _attention(
            config, heads, *shapes[index], None if full[index] else window, own=index < first,
            values=not (same and full[index]),
        )  # fmt: skip
        part = FeedForward(wide * (2 if config.flag("use_double_wide_mlp") and index >= first else 1))
        vector = width * (inner > 0)
        if moe:
            part = mixture(
                config, ("num_experts",), ("top_k_experts",), width=config.count("moe_intermediate_size"),
                shared_width=part.width,
            )  # fmt: skip
            # A scale of the router's input, one an expert, and three norms more.
            vector += 4 * width + part.experts
        layers.append(Layers(1, attention, part, 4, 2 * inner * width, vector))
    rows, columns = lookup(config, depth)
    return model_of(
        config,
        layers,
        tied=True,
        lookup_parameters=rows * columns,
        other_matrix=columns * width,
        other_vector=inner,
    )
