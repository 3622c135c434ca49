"""Hybrids with mixers of other kinds beside those of `recurrent`: RG-LRU, RWKV, windows between recurrent layers.

What their classes fill in where a file omits it stands before each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from memcalc.model import Attention, FeedForward, GroupedAttention, Layers, Model, RecurrentMixer
from memcalc.readers.architectures.config import Config, model_of
from memcalc.readers.architectures.experts import mixture, sparse_layers
from memcalc.readers.architectures.latent import latent
from memcalc.readers.architectures.parts import grouped, null, window
from memcalc.readers.architectures.recurrent import delta_mixer, kimi_mixer

FULL, LINEAR, SLIDING, CONV = "full_attention", "linear_attention", "sliding_attention", "conv"
_OLDER = {"attention": FULL, "mamba": LINEAR}

OLMO_HYBRID: dict[str, Any] = {
    "vocab_size": 100352, "hidden_size": 3840, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 30, "max_position_embeddings": 65536, "linear_conv_kernel_dim": 4,
}  # fmt: skip
LARA_MINI: dict[str, Any] = {
    "vocab_size": 151936, "hidden_size": 1024, "num_hidden_layers": 34, "num_attention_heads": 16,
    "num_key_value_heads": 4, "head_dim": 128, "max_position_embeddings": 131072, "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_num_key_heads": 8, "linear_num_value_heads": 16,
    "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "num_experts_per_tok": 4,
    "num_experts": 128, "sliding_window": 512,
}  # fmt: skip
BAILING_HYBRID: dict[str, Any] = {
    "vocab_size": 157184, "hidden_size": 2560, "intermediate_size": 6144, "moe_intermediate_size": 768,
    "num_hidden_layers": 42, "num_attention_heads": 32, "n_shared_experts": 1, "kv_lora_rank": 512,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128, "num_experts_per_tok": 8,
    "first_k_dense_replace": 2, "max_position_embeddings": 262144, "num_local_experts": 512, "head_dim": 128,
    "short_conv_kernel_size": 4, "layer_group_size": 6,
}  # fmt: skip
LFM3: dict[str, Any] = {
    "vocab_size": 128000, "hidden_size": 2048, "intermediate_size": 7680, "num_hidden_layers": 24,
    "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 128, "max_position_embeddings": 128000,
    "conv_L_cache": 7, "sliding_window": 256,
}  # fmt: skip
RECURRENT_GEMMA: dict[str, Any] = {
    "vocab_size": 256000, "hidden_size": 2560, "intermediate_size": 7680, "num_hidden_layers": 26,
    "num_attention_heads": 10, "attention_window_size": 2048, "conv1d_width": 4,
    "block_types": ["recurrent", "recurrent", "attention"],
}  # fmt: skip
RWKV: dict[str, Any] = {
    "vocab_size": 50277, "hidden_size": 4096, "num_hidden_layers": 32, "context_length": 1024,
}  # fmt: skip


def layer_words(config: Config, known: Sequence[str], default: Sequence[str]) -> list[str]:
    """What each layer is: by `layer_types`, in which older words stand for newer ones, else by the class's rule."""
    depth = config.layers()
    words = config.words("layer_types", depth)
    if words is None:
        return [default[index % len(default)] for index in range(depth)]
    if len(words) != depth:
        raise config.error("layer_types", f"has {len(words)} entries for {depth} layers")
    words = [_OLDER.get(word, word) for word in words]
    if not set(words) <= set(known):
        raise config.error("layer_types", "has a word that this architecture does not know")
    return words


def _biased(config: Config, **more: Any) -> GroupedAttention:
    """Grouped attention with norms of queries and keys, whose projections have biases where the file says so."""
    bias = config.flag("attention_bias")
    return grouped(config, query_key_norm=True, qkv_bias=bias, output_bias=bias, **more)


def _windowed(config: Config, words: Sequence[str], attention: GroupedAttention) -> GroupedAttention:
    """The layers that slide, which need a window where there are any."""
    width = window(config)
    if width is None and SLIDING in words:
        raise config.error("sliding_window", "is missing: layers slide")
    return replace(attention, window=width)


def olmo_hybrid(config: Config) -> Model:
    """OlmoHybridForCausalLM: the gated delta rule, OLMo's attention with norms over all heads in each fourth layer.

    The sizes of the linear heads follow from the width where they are not given.
    """
    config = config.with_defaults(OLMO_HYBRID)
    heads = config.count("num_attention_heads")
    keys = config.count("linear_num_key_heads", default=heads)
    values = config.count("linear_num_value_heads", default=heads)
    key_dim = config.count("linear_key_head_dim", default=3 * config.count("hidden_size") // 4 // keys)
    if not key_dim:
        raise config.error("linear_num_key_heads", "is too many for the width")
    config = config.with_defaults(
        {
            "linear_num_key_heads": keys,
            "linear_num_value_heads": values,
            "linear_key_head_dim": key_dim,
            "linear_value_head_dim": 2 * key_dim,
        }
    )
    words = layer_words(config, (FULL, LINEAR), (LINEAR, LINEAR, LINEAR, FULL))
    if FULL not in words and not config.given("layer_types"):
        words[-1] = FULL
    if len(set(words)) != 2:
        raise config.error("layer_types", "must have layers of both kinds")
    mixers: dict[str, Attention] = {FULL: _biased(config, norm_all_heads=True), LINEAR: delta_mixer(config)}
    dense = FeedForward(config.count("intermediate_size"))
    return model_of(config, [Layers(1, mixers[word], dense) for word in words])


def lara_mini(config: Config) -> Model:
    """LaraMiniForCausalLM: delta rule, windows and full attention; a shared expert without gate in every layer."""
    config = config.with_defaults(LARA_MINI)
    words = layer_words(config, (FULL, LINEAR, SLIDING), (LINEAR, SLIDING, LINEAR, FULL, SLIDING))
    attention = _biased(config)
    mixers: dict[str, Attention] = {
        FULL: attention, SLIDING: _windowed(config, words, attention), LINEAR: delta_mixer(config),
    }  # fmt: skip
    experts = mixture(
        config, ("num_experts",), width=config.count("moe_intermediate_size"),
        shared_width=config.count("shared_expert_intermediate_size", least=0),
    )  # fmt: skip
    return model_of(config, [Layers(1, mixers[word], experts) for word in words], tied=True)


def bailing_hybrid(config: Config) -> Model:
    """BailingHybridForCausalLM: Kimi delta attention with full-rank gates; gated latent attention ends each group.

    The latent attention has a gate a head, a product of width by heads.
    """
    config = config.with_defaults(BAILING_HYBRID)
    depth, group = config.layers(), config.count("layer_group_size")
    heads, width = config.count("num_attention_heads"), config.count("hidden_size")
    mixer = kimi_mixer(
        config, heads, config.count("head_dim"), config.count("short_conv_kernel_size"), low_rank=False
    )
    attention, inner = latent(config), config.count("moe_intermediate_size")
    experts = mixture(
        config, ("num_experts", "num_local_experts"), ("num_experts_per_token", "num_experts_per_tok"), width=inner,
        shared_width=inner * config.count("num_shared_experts", "n_shared_experts", least=0),
    )  # fmt: skip
    dense = FeedForward(config.count("intermediate_size"))
    default = [FULL if (index + 1) % group == 0 else LINEAR for index in range(depth)]
    words = layer_words(config, (FULL, LINEAR), default)
    layers = [
        Layers(
            1,
            attention if word == FULL else mixer,
            experts if sparse else dense,
            other_matrix=width * heads * (word == FULL),
        )
        for word, sparse in zip(words, sparse_layers(config, depth), strict=True)
    ]
    limit = config.maybe("model_max_length", "max_position_embeddings")
    # The class has no tied head, whatever the file says.
    return model_of(config, layers, context_limit_tokens=limit, tied_embeddings=False)


def lfm3(config: Config) -> Model:
    """Lfm3ForCausalLM: short convolutions, windows and full attention with a gate a head; norms on both sides."""
    config = config.with_defaults(LFM3)
    depth, width = config.layers(), config.count("hidden_size")
    kinds = {0: SLIDING, 2: FULL}
    words = layer_words(
        config,
        (FULL, SLIDING, CONV),
        [kinds.get(index % 4, CONV) if index else CONV for index in range(depth)],
    )
    attention = _biased(config)
    kernel, bias = config.count("conv_L_cache"), config.flag("conv_bias")
    mixers: dict[str, Attention] = {
        FULL: attention, SLIDING: _windowed(config, words, attention),
        CONV: RecurrentMixer(
            "short-conv", 1, 0, 0, 4 * width * width, width * kernel + 5 * width * bias, width, kernel
        ),
    }  # fmt: skip
    gate = width * attention.heads * config.flag("use_attention_gate", default=True)
    norms = 4 if config.flag("use_sandwich_norm", default=True) else 2
    dense = FeedForward(config.count("intermediate_size"))
    layers = [Layers(1, mixers[word], dense, norms, gate * (word != CONV)) for word in words]
    return model_of(config, layers, tied=True)


def recurrent_gemma(config: Config) -> Model:
    """RecurrentGemmaForCausalLM: RG-LRU blocks and attention with a window, in a pattern that repeats.

    Its cache of the convolution keeps one input less than the kernel has; the gates are small blocks, one a
    head, that no conversion touches. The file's inner width is that of both halves of the dense part.
    """
    config = config.with_defaults(RECURRENT_GEMMA)
    depth, width, heads = config.layers(), config.count("hidden_size"), config.count("num_attention_heads")
    lru, kernel = config.count("lru_width", default=width), config.count("conv1d_width")
    if lru % heads:
        raise config.error("lru_width", f"is not divided by the {heads} heads")
    block = lru // heads
    vector = 2 * lru + width + lru * (kernel + 1) + lru + 2 * (lru * block + lru)
    mixer = RecurrentMixer("rg-lru", heads, block, 1, 3 * width * lru, vector, lru, kernel - 1)
    attention = grouped(
        config,
        head_dim=_even(config, width, heads),
        window=None if null(config, "attention_window_size") else config.count("attention_window_size"),
        qkv_bias=config.flag("attention_bias"),
        output_bias=True,
    )
    pattern = config.words("block_types")
    if not pattern or not set(pattern) <= {"recurrent", "attention"}:
        raise config.error("block_types", "must be a list of the words recurrent and attention")
    if depth > 100 * len(pattern):
        raise config.error("block_types", f"is too short for {depth} layers")
    dense = FeedForward(config.count("intermediate_size", least=2) // 2, bias=True)
    kinds: dict[str, Attention] = {"recurrent": mixer, "attention": attention}
    layers = [Layers(1, kinds[pattern[index % len(pattern)]], dense) for index in range(depth)]
    return model_of(config, layers, tied=True)


def _even(config: Config, width: int, heads: int) -> int:
    """The width of a head where heads share the model width."""
    if heads > width:
        raise config.error("num_attention_heads", "is more than hidden_size")
    return width // heads


def rwkv(config: Config) -> Model:
    """RwkvForCausalLM (RWKV-4): three numbers a channel in fp32, and the last input of both parts of a layer.

    The dense part has a gate of its own (a product of width by width); LayerNorms are two vectors each, and
    the first layer has one more.
    """
    config = config.with_defaults(RWKV)
    depth, width = config.layers(), config.count("hidden_size")
    inner = config.count("attention_hidden_size", default=width)
    mixer = RecurrentMixer("rwkv", inner, 3, 1, 4 * width * inner, 2 * inner + 3 * width, width, 2)
    dense = FeedForward(config.count("intermediate_size", default=4 * width), gated=False)
    layer = Layers(1, mixer, dense, 4, width * width, 2 * width)
    layers = [replace(layer, norms=6), *[layer] * (depth - 1)]
    limit = config.maybe("context_length", "max_position_embeddings")
    return model_of(config, layers, final_norms=2, context_limit_tokens=limit)
