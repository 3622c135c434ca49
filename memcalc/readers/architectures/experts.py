"""Mixtures of experts over grouped attention: Mixtral, Qwen-MoE, gpt-oss, Llama 4 and their relatives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from memcalc.model import Attention, FeedForward, GroupedAttention, Layers, Model
from memcalc.readers.architectures.config import Config, model_of
from memcalc.readers.architectures.parts import grouped, window, windows

#: The spellings that nearly all share.
TOP_K = ("num_experts_per_tok",)
LOCAL = ("num_local_experts", "num_experts")

MIXTRAL = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072,
    "num_experts_per_tok": 2, "num_local_experts": 8,
}  # fmt: skip
PHIMOE = MIXTRAL | {"vocab_size": 32064, "intermediate_size": 6400, "num_local_experts": 16}
QWEN2_MOE = {
    "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 24,
    "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings": 32768,
    "sliding_window": 4096, "max_window_layers": 28, "decoder_sparse_step": 1,
    "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632, "num_experts_per_tok": 4,
    "num_experts": 60, "qkv_bias": True,
}  # fmt: skip
QWEN3_MOE = {
    "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 24,
    "num_attention_heads": 32, "num_key_value_heads": 4, "max_position_embeddings": 32768,
    "sliding_window": 4096, "decoder_sparse_step": 1, "moe_intermediate_size": 768,
    "num_experts_per_tok": 8, "num_experts": 128,
}  # fmt: skip
OLMOE = {
    "vocab_size": 50304, "hidden_size": 2048, "intermediate_size": 2048, "num_hidden_layers": 16,
    "num_attention_heads": 16, "max_position_embeddings": 4096, "num_experts_per_tok": 8,
    "num_experts": 64,
}  # fmt: skip
FLEX_OLMO = {
    "vocab_size": 100352, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "max_position_embeddings": 4096, "num_experts_per_tok": 5,
    "num_experts": 7,
}  # fmt: skip
GRANITEMOE = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "max_position_embeddings": 2048, "num_experts_per_tok": 2,
    "num_local_experts": 8,
}  # fmt: skip
GPT_OSS = {
    "vocab_size": 201088, "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 36,
    "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "sliding_window": 128,
    "max_position_embeddings": 131072, "num_experts_per_tok": 4, "num_local_experts": 128,
    "attention_bias": True,
}  # fmt: skip
LLAMA4 = {
    "vocab_size": 202048, "hidden_size": 5120, "intermediate_size": 8192, "intermediate_size_mlp": 16384,
    "num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128,
    "max_position_embeddings": 131072, "num_experts_per_tok": 1, "num_local_experts": 16,
    "interleave_moe_layer_step": 1, "no_rope_layer_interval": 4, "attention_chunk_size": 8192,
}  # fmt: skip
MINIMAX_M2 = {
    "vocab_size": 200064, "hidden_size": 3072, "intermediate_size": 1536, "num_hidden_layers": 62,
    "num_attention_heads": 48, "num_key_value_heads": 8, "head_dim": 128,
    "max_position_embeddings": 196608, "num_experts_per_tok": 8, "num_local_experts": 256,
}  # fmt: skip
DBRX = {
    "vocab_size": 32000, "d_model": 2048, "n_heads": 16, "n_layers": 24, "max_seq_len": 2048,
    "attn_config": {}, "ffn_config": {},
}  # fmt: skip
DBRX_EXPERTS = {"ffn_hidden_size": 3584, "moe_num_experts": 4, "moe_top_k": 1}
GLM4_MOE = {
    "vocab_size": 151552, "hidden_size": 4096, "intermediate_size": 10944, "num_hidden_layers": 46,
    "num_attention_heads": 96, "num_key_value_heads": 8, "max_position_embeddings": 131072,
    "moe_intermediate_size": 1408, "num_experts_per_tok": 8, "n_shared_experts": 1,
    "n_routed_experts": 128, "first_k_dense_replace": 1,
}  # fmt: skip
SARVAM_MOE = {
    "vocab_size": 262144, "hidden_size": 4096, "intermediate_size": 8192, "num_hidden_layers": 19,
    "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 64, "max_position_embeddings": 131072,
    "moe_intermediate_size": 1024, "num_experts_per_tok": 6, "n_shared_experts": 1,
    "n_routed_experts": 128, "first_k_dense_replace": 1, "use_qk_norm": True,
}  # fmt: skip
HY_V3 = {
    "vocab_size": 120832, "hidden_size": 4096, "intermediate_size": 13312, "num_hidden_layers": 80,
    "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
    "max_position_embeddings": 131072, "moe_intermediate_size": 1536, "num_experts_per_tok": 8,
    "num_shared_experts": 1, "num_experts": 192, "first_k_dense_replace": 1,
}  # fmt: skip
SOLAR_OPEN = {
    "vocab_size": 196608, "hidden_size": 4096, "num_hidden_layers": 48, "num_attention_heads": 64,
    "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072,
    "moe_intermediate_size": 1280, "num_experts_per_tok": 8, "n_shared_experts": 1,
    "n_routed_experts": 128,
}  # fmt: skip
ERNIE = {
    "vocab_size": 103424, "hidden_size": 2560, "intermediate_size": 12288, "num_hidden_layers": 28,
    "num_attention_heads": 20, "num_key_value_heads": 4, "max_position_embeddings": 131072,
    "moe_intermediate_size": 1536, "moe_k": 6, "moe_num_experts": 64, "moe_num_shared_experts": 2,
    "moe_layer_start_index": 1, "moe_layer_end_index": -1, "moe_layer_interval": 1,
}  # fmt: skip
DOTS1 = {
    "vocab_size": 152064, "hidden_size": 4608, "intermediate_size": 10944, "moe_intermediate_size": 1408,
    "num_hidden_layers": 62, "num_attention_heads": 32, "num_key_value_heads": 32,
    "max_position_embeddings": 2048, "sliding_window": 4096, "max_window_layers": 62,
}  # fmt: skip
HUNYUAN = {
    "vocab_size": 290943, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "max_position_embeddings": 2048, "num_experts": 1, "moe_topk": 1,
}  # fmt: skip
AFMOE = {
    "vocab_size": 200192, "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 1408,
    "num_hidden_layers": 32, "num_dense_layers": 1, "num_attention_heads": 16, "head_dim": 128,
    "max_position_embeddings": 16384, "num_experts": 64, "num_experts_per_tok": 6,
    "num_shared_experts": 2, "global_attn_every_n_layers": 4, "sliding_window": 1024,
}  # fmt: skip
EXAONE_MOE = {
    "vocab_size": 102400, "hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 2048,
    "sliding_window": 4096, "sliding_window_pattern": 4, "first_k_dense_replace": 1,
    "moe_intermediate_size": 1024, "num_experts": 64, "num_experts_per_tok": 8, "num_shared_experts": 1,
}  # fmt: skip
MIMO_V2_FLASH = {
    "vocab_size": 152576, "hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 48,
    "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 192, "v_head_dim": 128,
    "max_position_embeddings": 131072, "moe_intermediate_size": 2048, "num_experts_per_tok": 8,
    "n_routed_experts": 256, "sliding_window": 129, "first_k_dense_replace": 1,
}  # fmt: skip
# These are not in Transformers; the defaults are those of the code that their makers publish.
DEEPSEEK = {
    "vocab_size": 102400, "hidden_size": 4096, "intermediate_size": 11008, "moe_intermediate_size": 1407,
    "num_hidden_layers": 30, "num_attention_heads": 32, "max_position_embeddings": 2048,
}  # fmt: skip
BAILING = {
    "vocab_size": 30592, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
    "max_position_embeddings": 16384, "num_experts": 16, "num_experts_per_tok": 2, "use_bias": True,
}  # fmt: skip
BAILING_V2 = {
    "vocab_size": 157184, "hidden_size": 2048, "intermediate_size": 5120, "num_hidden_layers": 20,
    "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 128, "max_position_embeddings": 32768,
    "num_experts": 256, "num_shared_experts": 1, "num_experts_per_tok": 8, "moe_intermediate_size": 512,
    "first_k_dense_replace": 1, "use_qk_norm": True,
}  # fmt: skip
GROK_1 = {
    "vocab_size": 131072, "hidden_size": 6144, "intermediate_size": 32768, "num_hidden_layers": 64,
    "num_attention_heads": 48, "num_key_value_heads": 8, "max_position_embeddings": 8192,
    "num_experts_per_tok": 2, "num_experts": 8,
}  # fmt: skip
ARCTIC = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "max_position_embeddings": 4096, "num_experts_per_tok": 1,
    "num_local_experts": 8, "moe_layer_frequency": 2,
}  # fmt: skip


def mixture(
    config: Config, experts: Sequence[str], top_k: Sequence[str] = TOP_K, **parts: Any
) -> FeedForward:
    """A mixture of experts by the names that its numbers have; `parts` are the other facts of it."""
    count, chosen = config.count(*experts), config.count(*top_k)
    if chosen > count:
        raise config.error(top_k[0], f"is more than the {count} experts")
    return FeedForward(experts=count, top_k=chosen, **parts)


def sparse_layers(config: Config, depth: int) -> list[bool]:
    """Which layers have experts: by a list, else every n-th but for the first k."""
    words = config.words("mlp_layer_types", depth)
    if words is not None:
        known = {"dense": False, "sparse": True}
        if not set(words) <= set(known):
            raise config.error("mlp_layer_types", "has a word that is neither dense nor sparse")
        return [known[word] for word in words[:depth]]
    if isinstance(config.get("moe_layer_freq"), list):
        return [flag > 0 for flag in (config.counts("moe_layer_freq", depth) or ())[:depth]]
    first, every = (
        config.count("first_k_dense_replace", default=0, least=0),
        config.count("moe_layer_freq", default=1),
    )
    return [index >= first and index % every == 0 for index in range(depth)]


def stack(
    attentions: Iterable[Attention], sparse: Iterable[bool], experts: FeedForward, dense: FeedForward
) -> list[Layers]:
    """The layers one by one, each with its attention and either the experts or the dense part."""
    return [
        Layers(1, attention, experts if chosen else dense)
        for attention, chosen in zip(attentions, sparse, strict=True)
    ]


def next_token_layers(config: Config, layer: Layers) -> dict[str, Any]:
    """The MTP layers that a file states: a layer like `layer`, two norms and a product that joins two inputs.

    A norm stands before the head that it shares with the model; the router's correction bias counts, as
    checkpoints store it.
    """
    count = config.maybe("num_nextn_predict_layers", "num_mtp_layers", least=0) or 0
    width = config.count("hidden_size")
    if not count:
        return {}
    bias = layer.feed_forward.experts * (not layer.feed_forward.router_bias)
    alone = Model("mtp", width, 0, (layer,), final_norms=3, other_matrix=2 * width**2, other_vector=bias)
    return {"mtp_layers": count, "mtp_parameters": count * alone.parameters}


def _alike(config: Config, attention: Attention, experts: FeedForward, norms: int = 2) -> list[Layers]:
    """Layers that are all the same."""
    return [Layers(config.layers(), attention, experts, norms)]


def _dense(config: Config, **more: Any) -> FeedForward:
    return FeedForward(config.count("intermediate_size"), **more)


def _shared_width(config: Config, *names: str) -> int:
    """The width of all shared experts together; null or 0 is none."""
    return config.count("moe_intermediate_size") * (config.maybe(*names, least=0) or 0)


def mixtral(config: Config) -> Model:
    """MixtralForCausalLM: every layer is a mixture; a window, where it is given, is of all layers."""
    config = config.with_defaults(MIXTRAL)
    experts = mixture(config, LOCAL, width=config.count("intermediate_size"))
    return model_of(config, _alike(config, grouped(config, window=window(config)), experts))


def phimoe(config: Config) -> Model:
    """PhimoeForCausalLM, PhiMoEForCausalLM: Mixtral with layer norms that have a bias, as the head may."""
    config = config.with_defaults(PHIMOE)
    bias = config.flag("attention_bias")
    attention = grouped(config, window=window(config), qkv_bias=bias, output_bias=bias)
    experts = mixture(config, LOCAL, width=config.count("intermediate_size"))
    layers = _alike(config, attention, experts, norms=4)
    return model_of(config, layers, final_norms=2, head_bias=config.flag("lm_head_bias"))


def minimax_m2(config: Config) -> Model:
    """MiniMaxM2ForCausalLM: norms over all query and all key heads."""
    config = config.with_defaults(MINIMAX_M2)
    attention = grouped(config, query_key_norm=True, norm_all_heads=True, window=window(config))
    experts = mixture(config, LOCAL, width=config.count("intermediate_size"))
    return model_of(config, _alike(config, attention, experts))


def olmoe(config: Config) -> Model:
    """OlmoeForCausalLM: norms over all query and all key heads."""
    return _olmo(config.with_defaults(OLMOE))


def flex_olmo(config: Config) -> Model:
    """FlexOlmoForCausalLM: as OLMoE, its norms behind the parts instead of before them."""
    return _olmo(config.with_defaults(FLEX_OLMO))


def _olmo(config: Config) -> Model:
    bias = config.flag("attention_bias")
    attention = grouped(config, query_key_norm=True, norm_all_heads=True, qkv_bias=bias, output_bias=bias)
    experts = mixture(config, LOCAL[::-1], width=config.count("intermediate_size"))
    return model_of(config, _alike(config, attention, experts))


def granitemoe(config: Config) -> Model:
    """GraniteMoeForCausalLM, and GraniteMoeSharedForCausalLM with a shared part beside the experts."""
    config = config.with_defaults(GRANITEMOE)
    depth = config.layers()
    return _granite(config, [None] * depth)


def granitemoe_swa(config: Config) -> Model:
    """GraniteMoeSWAForCausalLM: the same with sinks, and three windows after each full layer."""
    config = config.with_defaults(GRANITEMOE | {"sliding_window": 128})
    size = window(config)
    return _granite(config, windows(config, lambda index: index % 4 > 0, size), sinks=True)


def _granite(config: Config, found: list[int | None], **more: bool) -> Model:
    bias = config.flag("attention_bias")
    experts = mixture(
        config,
        LOCAL,
        width=config.count("intermediate_size"),
        shared_width=config.count("shared_intermediate_size", default=0, least=0),
    )
    attentions = [grouped(config, qkv_bias=bias, output_bias=bias, window=size, **more) for size in found]
    return model_of(config, [Layers(1, attention, experts) for attention in attentions])


def _stepped(config: Config, depth: int) -> list[bool]:
    """Qwen's rule: every n-th layer has experts, but for those that are listed as dense."""
    every = config.count("decoder_sparse_step")
    dense = set(config.counts("mlp_only_layers") or ())
    return [(index + 1) % every == 0 and index not in dense for index in range(depth)]


def qwen2_moe(config: Config) -> Model:
    """Qwen2MoeForCausalLM: a shared expert with a gate; windows alternate where they are switched on."""
    config = config.with_defaults(QWEN2_MOE)
    depth, most = config.layers(), config.count("max_window_layers", least=0)
    size = window(config) if config.flag("use_sliding_window") else None
    bias = config.flag("qkv_bias")
    attentions = [
        grouped(config, qkv_bias=bias, window=found)
        for found in windows(config, lambda index: index % 2 == 0 and index < most, size)
    ]
    experts = mixture(
        config,
        LOCAL[::-1],
        width=config.count("moe_intermediate_size"),
        shared_width=config.count("shared_expert_intermediate_size", least=0),
        shared_gate=True,
    )
    return model_of(config, stack(attentions, _stepped(config, depth), experts, _dense(config)))


def qwen3_moe(config: Config) -> Model:
    """Qwen3MoeForCausalLM: norms of each head, no shared expert; a window is of all layers."""
    config = config.with_defaults(QWEN3_MOE)
    depth, bias = config.layers(), config.flag("attention_bias")
    size = window(config) if config.flag("use_sliding_window") else None
    attention = grouped(config, query_key_norm=True, qkv_bias=bias, output_bias=bias, window=size)
    experts = mixture(config, LOCAL[::-1], width=config.count("moe_intermediate_size"))
    return model_of(config, stack([attention] * depth, _stepped(config, depth), experts, _dense(config)))


def gpt_oss(config: Config) -> Model:
    """GptOssForCausalLM: every other layer with a window; sinks; biases of all parts."""
    config = config.with_defaults(GPT_OSS)
    bias = config.flag("attention_bias")
    attentions = [
        grouped(config, sinks=True, qkv_bias=bias, output_bias=bias, window=found)
        for found in windows(config, lambda index: index % 2 == 0, window(config))
    ]
    names = (*TOP_K, "experts_per_token")
    experts = mixture(
        config, LOCAL, names, width=config.count("intermediate_size"), bias=True, router_bias=True
    )
    return model_of(config, [Layers(1, attention, experts) for attention in attentions])


def llama4(config: Config) -> Model:
    """Llama4ForCausalLM: experts beside a shared one, in every layer or every other one.

    Layers with rotary positions look back on their chunk alone; norms of queries and keys have no weights.
    """
    config = config.with_defaults(LLAMA4)
    depth, bias = config.layers(), config.flag("attention_bias")
    every = config.count("no_rope_layer_interval")
    rotary = config.counts("no_rope_layers") or [(index + 1) % every for index in range(depth)]
    if len(rotary) < depth:
        raise config.error("no_rope_layers", f"has {len(rotary)} entries for {depth} layers")
    chunk = window(config, "attention_chunk_size")
    attentions = [
        grouped(config, qkv_bias=bias, output_bias=bias, window=found)
        for found in windows(config, lambda index: rotary[index] > 0, chunk, ("chunked_attention",))
    ]
    step, listed = config.count("interleave_moe_layer_step"), config.counts("moe_layers")
    chosen = set(range(step - 1, depth, step) if listed is None else listed)
    sparse = [index in chosen for index in range(depth)]
    width = config.count("intermediate_size")
    experts = mixture(config, LOCAL, width=width, shared_width=width)
    return model_of(
        config, stack(attentions, sparse, experts, FeedForward(config.count("intermediate_size_mlp")))
    )


def dbrx(config: Config) -> Model:
    """DbrxForCausalLM: attention and experts have tables of their own; norms have no bias."""
    config = config.with_defaults(DBRX)
    inner = config.section("attn_config", {"kv_n_heads": 1}) or config
    outer = config.section("ffn_config", DBRX_EXPERTS) or config
    width, heads = config.count("d_model", "hidden_size"), config.count("n_heads", "num_attention_heads")
    if config.flag("tie_word_embeddings"):
        raise config.error("tie_word_embeddings", "this architecture has a head of its own")
    shared = inner.count("kv_n_heads")
    if heads % shared or width % heads:
        raise config.error("n_heads", f"must divide d_model = {width}, and kv_n_heads = {shared} divide it")
    attention = GroupedAttention(heads, shared, width // heads)
    experts = mixture(outer, ("moe_num_experts",), ("moe_top_k",), width=outer.count("ffn_hidden_size"))
    layers = [Layers(config.layers("n_layers", "num_hidden_layers"), attention, experts)]
    limit = config.count("max_seq_len", "max_position_embeddings")
    return model_of(config, layers, width=width, context_limit_tokens=limit)


def glm4_moe(config: Config) -> Model:
    """Glm4MoeForCausalLM: biases of queries, keys and values alone; norms of heads on demand."""
    config = config.with_defaults(GLM4_MOE)
    bias, norm = config.flag("attention_bias"), config.flag("use_qk_norm")
    attention = grouped(config, even=False, qkv_bias=bias, query_key_norm=norm)
    return _shared_experts(config, attention, "n_routed_experts", "n_shared_experts")


def sarvam_moe(config: Config) -> Model:
    """SarvamMoEForCausalLM: GLM-4 MoE with norms of heads, and other names for some of its numbers."""
    config = config.with_defaults(SARVAM_MOE)
    bias = config.flag("attention_bias", "use_qkv_bias")
    attention = grouped(config, qkv_bias=bias, query_key_norm=config.flag("use_qk_norm"))
    return _shared_experts(config, attention, "n_routed_experts", "n_shared_experts", "num_shared_experts")


def _shared_experts(config: Config, attention: Attention, routed: str, *shared: str) -> Model:
    """Dense layers first, then routed experts beside shared ones; MTP layers as the last layer."""
    depth = config.layers()
    experts = mixture(
        config,
        (routed, *LOCAL),
        width=config.count("moe_intermediate_size"),
        shared_width=_shared_width(config, *shared),
    )
    layers = stack([attention] * depth, sparse_layers(config, depth), experts, _dense(config))
    return model_of(config, layers, **next_token_layers(config, Layers(1, attention, experts)))


def solar_open(config: Config) -> Model:
    """SolarOpenForCausalLM: GLM-4 MoE without dense layers."""
    config = config.with_defaults(SOLAR_OPEN)
    if config.count("first_k_dense_replace", default=0, least=0):
        raise config.error("first_k_dense_replace", "this architecture has no dense layers")
    attention = grouped(config, qkv_bias=config.flag("attention_bias"))
    experts = mixture(
        config,
        ("n_routed_experts", *LOCAL),
        width=config.count("moe_intermediate_size"),
        shared_width=_shared_width(config, "n_shared_experts"),
    )
    return model_of(config, _alike(config, attention, experts))


def ernie4_5_moe(config: Config) -> Model:
    """Ernie4_5_MoeForCausalLM: one bias flag for all but the routed experts; the correction bias counts."""
    config = config.with_defaults(ERNIE)
    depth, bias, width = config.layers(), config.flag("use_bias"), config.count("hidden_size")
    attention = grouped(config, qkv_bias=bias, output_bias=bias)
    shared = _shared_width(config, "moe_num_shared_experts")
    experts = mixture(
        config,
        ("moe_num_experts", "num_experts"),
        ("moe_k", *TOP_K),
        width=config.count("moe_intermediate_size"),
        shared_width=shared,
        router_bias=True,
    )
    first, every = config.count("moe_layer_start_index", least=0), config.count("moe_layer_interval")
    last = config.count("moe_layer_end_index", least=-1)
    last = depth - 1 if last == -1 else last
    sparse = Layers(1, attention, experts, other_vector=(2 * shared + width) * (bias and shared > 0))
    dense = Layers(1, attention, _dense(config, bias=bias))
    layers = [
        sparse if first <= index <= last and (index + 1) % every == 0 else dense for index in range(depth)
    ]
    return model_of(config, layers, tied=True, head_bias=bias)


def dots1(config: Config) -> Model:
    """Dots1ForCausalLM: norms of each head; the last layers may have a window."""
    config = config.with_defaults(DOTS1)
    depth, bias = config.layers(), config.flag("attention_bias")
    first = config.count("max_window_layers", least=0)
    attentions = [
        grouped(config, query_key_norm=True, qkv_bias=bias, output_bias=bias, window=found)
        for found in windows(config, lambda index: index >= first, window(config))
    ]
    experts = mixture(
        config,
        ("n_routed_experts", *LOCAL),
        width=config.count("moe_intermediate_size"),
        shared_width=_shared_width(config, "n_shared_experts"),
    )
    return model_of(config, stack(attentions, sparse_layers(config, depth), experts, _dense(config)))


def hunyuan_v1_moe(config: Config) -> Model:
    """HunYuanMoEV1ForCausalLM: a shared part as wide as an expert, norms of heads, top-k by layer."""
    config = config.with_defaults(HUNYUAN)
    depth, bias, width = config.layers(), config.flag("attention_bias"), config.count("intermediate_size")
    _must_be(config, "moe_intermediate_size", width, depth)
    _must_be(config, "num_shared_expert", 1, depth)
    _must_be(config, "moe_layer_num_skipped", 0, depth)
    for name in ("use_cla", "use_mla"):
        if config.flag(name):
            raise config.error(name, "this architecture has no such attention")
    attention = grouped(config, query_key_norm=True, qkv_bias=bias, output_bias=bias)
    experts = config.count(*LOCAL[::-1])
    chosen = _by_layer(config, "moe_topk", depth)
    if not all(1 <= top_k <= experts for top_k in chosen):
        raise config.error("moe_topk", f"must be 1 to {experts}, the number of experts")
    return model_of(
        config,
        [
            Layers(1, attention, FeedForward(width, experts=experts, top_k=top_k, shared_width=width))
            for top_k in chosen
        ],
    )


def _by_layer(config: Config, name: str, depth: int) -> list[int]:
    """A number, or a list with one for each layer."""
    if isinstance(config.get(name), list):
        return (config.counts(name, depth) or [])[:depth]
    return [config.count(name, least=0)] * depth


def _must_be(config: Config, name: str, value: int, depth: int) -> None:
    """Refuse a field of the older code that this architecture reads as fixed."""
    if config.given(name) and set(_by_layer(config, name, depth)) != {value}:
        raise config.error(name, f"this architecture has {value}")


def afmoe(config: Config) -> Model:
    """AfmoeForCausalLM: gated attention, three windows to a full layer, four norms, a counted router bias."""
    config = config.with_defaults(AFMOE)
    depth, bias = config.layers(), config.flag("attention_bias")
    every, first = config.count("global_attn_every_n_layers"), config.count("num_dense_layers", least=0)
    experts = mixture(
        config,
        LOCAL[::-1],
        width=config.count("moe_intermediate_size"),
        shared_width=_shared_width(config, "num_shared_experts"),
        router_bias=True,
    )
    found = windows(config, lambda index: (index + 1) % every > 0, window(config))
    layers = []
    for index in range(depth):
        # The gate has no bias, and the noun would give it one with the queries: so their biases stand apart.
        attention = grouped(config, query_key_norm=True, gate=True, output_bias=bias, window=found[index])
        vector = (attention.heads + 2 * attention.kv_heads) * attention.head_dim * bias
        part = experts if index >= first else _dense(config)
        layers.append(Layers(1, attention, part, norms=4, other_vector=vector))
    return model_of(config, layers)


def exaone_moe(config: Config) -> Model:
    """ExaoneMoeForCausalLM: three windows to a full layer, norms of each head."""
    config = config.with_defaults(EXAONE_MOE)
    depth = config.layers()
    attentions = [
        grouped(config, query_key_norm=True, window=found)
        for found in windows(config, _pattern(config), window(config))
    ]
    experts = mixture(
        config,
        LOCAL[::-1],
        width=config.count("moe_intermediate_size"),
        shared_width=_shared_width(config, "num_shared_experts"),
    )
    return model_of(config, stack(attentions, sparse_layers(config, depth), experts, _dense(config)))


def hy_v3(config: Config) -> Model:
    """HYV3ForCausalLM: norms of each head, a dense layer first; biases spare the routed experts."""
    config = config.with_defaults(HY_V3)
    bias, inner = config.flag("attention_bias"), config.flag("mlp_bias")
    attention = grouped(config, query_key_norm=True, qkv_bias=bias, output_bias=bias)
    shared = _shared_width(config, "num_shared_experts")
    experts = mixture(config, LOCAL[::-1], width=config.count("moe_intermediate_size"), shared_width=shared)
    vector = (2 * shared + config.count("hidden_size")) * (inner and shared > 0)
    sparse = Layers(1, attention, experts, other_vector=vector)
    dense = Layers(1, attention, _dense(config, bias=inner))
    return model_of(config, [sparse if one else dense for one in sparse_layers(config, config.layers())])


def _pattern(config: Config) -> Callable[[int], bool]:
    """Which layers slide by `sliding_window_pattern`: a period, or letters L (local) and G (global)."""
    name = "sliding_window_pattern"
    if not isinstance(config.get(name), str):
        every = config.count(name)
        return lambda index: (index + 1) % every > 0
    letters = config.word(name)
    if not letters or not set(letters) <= {"L", "G"}:
        raise config.error(name, "must be a number or letters L and G")
    return lambda index: letters[index % len(letters)] == "L"


def mimo_v2_flash(config: Config) -> Model:
    """MiMoV2FlashForCausalLM: layers with a window have sinks and twice the key-value heads; short values."""
    config = config.with_defaults(MIMO_V2_FLASH)
    depth, bias = config.layers(), config.flag("attention_bias")
    value = config.count("v_head_dim")
    full = grouped(config, value_dim=value, qkv_bias=bias)
    size = window(config)
    if config.given("sliding_window_size"):
        size = config.count("sliding_window_size") + 1
    if size is None:
        raise config.error("sliding_window", "is not given, and the heads of layers differ by it")
    sliding = grouped(
        config,
        heads=config.count("swa_num_attention_heads", default=full.heads),
        kv_heads=config.count("swa_num_key_value_heads", default=2 * full.kv_heads),
        head_dim=config.count("swa_head_dim", default=full.head_dim),
        value_dim=config.count("swa_v_head_dim", default=value),
        window=size,
        qkv_bias=bias,
        sinks=True,
    )
    if sliding.heads % sliding.kv_heads:
        raise config.error("num_key_value_heads", f"twice as many do not divide the {sliding.heads} heads")
    flags = config.counts("hybrid_layer_pattern", depth)
    found = windows(
        config,
        lambda index: flags[index] > 0 if flags else index > 0 and (index + 1) % 6 > 0,
        size,
    )
    experts = mixture(config, ("n_routed_experts", *LOCAL), width=config.count("moe_intermediate_size"))
    attentions = [full if one is None else sliding for one in found]
    return model_of(config, stack(attentions, sparse_layers(config, depth), experts, _dense(config)))


def deepseek(config: Config) -> Model:
    """DeepseekForCausalLM (DeepSeek MoE): routed and shared experts, or dense where none are given."""
    config = config.with_defaults(DEEPSEEK)
    depth, bias = config.layers(), config.flag("attention_bias")
    attention = grouped(config, qkv_bias=bias, output_bias=bias)
    dense = _dense(config)
    if config.maybe("n_routed_experts", least=0) in (None, 0):
        return model_of(config, [Layers(depth, attention, dense)])
    experts = mixture(
        config,
        ("n_routed_experts",),
        width=config.count("moe_intermediate_size"),
        shared_width=_shared_width(config, "n_shared_experts"),
    )
    return model_of(config, stack([attention] * depth, sparse_layers(config, depth), experts, dense))


def bailing_moe(config: Config) -> Model:
    """BailingMoeForCausalLM (Ling, Ring): one bias flag for queries, keys and values, one for the output."""
    return _bailing(config.with_defaults(BAILING))


def bailing_moe_v2(config: Config) -> Model:
    """BailingMoeV2ForCausalLM: as the first, with norms of heads and MTP layers."""
    return _bailing(config.with_defaults(BAILING_V2))


def _bailing(config: Config) -> Model:
    if config.flag("use_sliding_window"):
        raise config.error("use_sliding_window", "which layers slide is not known for this architecture")
    attention = grouped(
        config,
        qkv_bias=config.flag("use_qkv_bias"),
        output_bias=config.flag("use_bias"),
        query_key_norm=config.flag("use_qk_norm"),
    )
    return _shared_experts(config, attention, "num_experts", "num_shared_experts")


def grok_1(config: Config) -> Model:
    """Grok1ModelForCausalLM: four norms a layer, a tied head."""
    config = config.with_defaults(GROK_1)
    experts = mixture(config, LOCAL[::-1], width=config.count("intermediate_size"))
    return model_of(config, _alike(config, grouped(config), experts, norms=4), tied=True)


def arctic(config: Config) -> Model:
    """ArcticForCausalLM: every n-th layer has experts, beside them a dense part as wide as the model."""
    config = config.with_defaults(ARCTIC)
    depth, every = config.layers(), config.count("moe_layer_frequency")
    width, residual = config.count("hidden_size"), config.flag("use_residual")
    attention = grouped(config, window=window(config))
    experts = mixture(config, LOCAL, width=config.count("intermediate_size"), shared_width=width * residual)
    sparse = Layers(1, attention, experts, norms=2 + residual)
    dense = Layers(1, attention, _dense(config))
    return model_of(config, [dense if (index + 1) % every else sparse for index in range(depth)])
