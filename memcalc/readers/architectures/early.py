"""Decoders of the first years, GPT-2 and its descendants, and dense ones whose code is not in Transformers.

The former have mostly as many key-value heads as query heads, two matrices in the dense part, and
LayerNorm, which counts as two norms.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from memcalc.model import FeedForward, GroupedAttention, Layers, Model, NoMixer
from memcalc.readers.architectures.config import Config, model_of
from memcalc.readers.architectures.dense import (
    LLAMA,
    alike_layers,
    biased,
    llama_with,
    plain,
    qwen2,
    sizes,
)
from memcalc.readers.architectures.parts import even_head_dim, grouped, heads_of, width_of


def multi_head(config: Config, *, kv_heads: int | None = None, **more: Any) -> GroupedAttention:
    """Heads that share the width D; as many for keys and values unless `kv_heads` says else."""
    return grouped(config, head_dim=even_head_dim(config), kv_heads=kv_heads or heads_of(config), **more)


def four_fold(config: Config, *names: str, bias: bool = True) -> FeedForward:
    """Two matrices, of four times the width D unless the file has a width under one of `names`."""
    inner = config.maybe(*names) if names else None
    return FeedForward(inner or 4 * width_of(config), gated=False, bias=bias)


def _positions(config: Config, *, offset: int = 0) -> int:
    """Elements of the table of learned positions."""
    return (config.count("max_position_embeddings", "n_positions") + offset) * width_of(config)


def _self_attention_alone(config: Config) -> None:
    if config.flag("add_cross_attention"):
        raise config.error("add_cross_attention", "a decoder that attends to an encoder is not supported")


#: `sizes` of GPT-2 without an inner width: it is four times the width.
GPT2 = {
    "vocab_size": 50257, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "max_position_embeddings": 1024, "tie_word_embeddings": True,
}  # fmt: skip


def gpt2(config: Config) -> Model:
    """GPT2LMHeadModel: learned positions, biases everywhere, tied embeddings."""
    config = config.with_defaults(GPT2)
    _self_attention_alone(config)
    return _gpt(config, multi_head(config, qkv_bias=True, output_bias=True), "n_inner")


def gpt_bigcode(config: Config) -> Model:
    """GPTBigCodeForCausalLM (SantaCoder, StarCoder): GPT-2 with one key-value head under `multi_query`."""
    config = config.with_defaults(GPT2)
    _self_attention_alone(config)
    kv_heads = 1 if config.flag("multi_query", default=True) else None
    return _gpt(config, multi_head(config, kv_heads=kv_heads, qkv_bias=True, output_bias=True), "n_inner")


def gpt_neo(config: Config) -> Model:
    """GPTNeoForCausalLM: a bias of the output alone. Local layers mask, yet their cache keeps all tokens."""
    defaults = {"hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 16}
    config = config.with_defaults(GPT2 | defaults | {"max_position_embeddings": 2048})
    return _gpt(config, multi_head(config, output_bias=True), "intermediate_size")


def openai_gpt(config: Config) -> Model:
    """OpenAIGPTLMHeadModel: the first GPT, with norms after the parts and none at the end."""
    config = config.with_defaults(GPT2 | {"vocab_size": 40478, "max_position_embeddings": 512})
    return replace(_gpt(config, multi_head(config, qkv_bias=True, output_bias=True)), final_norms=0)


def _gpt(config: Config, attention: GroupedAttention, *inner: str) -> Model:
    layers = alike_layers(config, attention, four_fold(config, *inner), norms=4)
    return model_of(config, layers, final_norms=2, lookup_parameters=_positions(config))


def gptj(config: Config) -> Model:
    """GPTJForCausalLM and CodeGen: both parts side by side behind one norm; a bias of the head."""
    defaults = {"vocab_size": 50400, "hidden_size": 4096, "num_hidden_layers": 28, "num_attention_heads": 16}
    config = config.with_defaults({**defaults, "max_position_embeddings": 2048})
    layers = alike_layers(config, multi_head(config), four_fold(config, "n_inner"))
    return model_of(config, layers, final_norms=2, head_bias=True)


def gpt_neox(config: Config) -> Model:
    """GPTNeoXForCausalLM (Pythia): two norms whether the parts stand side by side or not."""
    config = config.with_defaults(sizes(50432, 6144, 24576, 44, 64, 2048, attention_bias=True))
    bias = config.flag("attention_bias")
    attention = multi_head(config, qkv_bias=bias, output_bias=bias)
    feed_forward = FeedForward(config.count("intermediate_size"), gated=False, bias=True)
    return model_of(config, alike_layers(config, attention, feed_forward, norms=4), final_norms=2)


def gpt_neox_japanese(config: Config) -> Model:
    """GPTNeoXJapaneseForCausalLM: no biases but that of the output in the last layer."""
    defaults = {"vocab_size": 32000, "hidden_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 32}
    more = {"max_position_embeddings": 2048, "intermediate_multiple_size": 4, "tie_word_embeddings": True}
    config = config.with_defaults(defaults | more)
    inner = config.count("intermediate_multiple_size") * width_of(config)
    feed_forward = FeedForward(inner, gated=False)
    first = Layers(config.layers() - 1, multi_head(config), feed_forward, norms=4)
    last = Layers(1, multi_head(config, output_bias=True), feed_forward, norms=4)
    return model_of(config, [first, last] if first.count else [last], final_norms=2)


def opt(config: Config) -> Model:
    """OPTForCausalLM: learned positions of two rows more; norms may be after the parts or without weights."""
    defaults = {
        "vocab_size": 50272, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "ffn_dim": 3072, "max_position_embeddings": 2048, "tie_word_embeddings": True,
    }  # fmt: skip
    config = config.with_defaults(defaults)
    if config.count("word_embed_proj_dim", default=width_of(config)) != width_of(config):
        raise config.error(
            "word_embed_proj_dim", "embeddings of another width than the layers' are not supported"
        )
    bias = config.flag("enable_bias", default=True)
    norms = 2 * config.flag("layer_norm_elementwise_affine", default=True)
    last = config.flag("do_layer_norm_before", default=True) and not config.flag("_remove_final_layer_norm")
    attention = multi_head(config, qkv_bias=bias, output_bias=bias)
    layers = alike_layers(config, attention, four_fold(config, "ffn_dim", bias=bias), norms=2 * norms)
    lookup = _positions(config, offset=2)
    return model_of(config, layers, final_norms=norms * last, lookup_parameters=lookup)


def biogpt(config: Config) -> Model:
    """BioGptForCausalLM: GPT-2 with learned positions of two rows more."""
    defaults = sizes(42384, 1024, 4096, 24, 16, 1024, tie_word_embeddings=True)
    config = config.with_defaults(defaults)
    model = _gpt(config, multi_head(config, qkv_bias=True, output_bias=True), "intermediate_size")
    return replace(model, lookup_parameters=_positions(config, offset=2))


def xglm(config: Config) -> Model:
    """XGLMForCausalLM: positions are computed, not learned; biases everywhere."""
    defaults = {
        "vocab_size": 256008, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
        "ffn_dim": 4096, "max_position_embeddings": 2048, "tie_word_embeddings": True,
    }  # fmt: skip
    config = config.with_defaults(defaults)
    _self_attention_alone(config)
    attention = multi_head(config, qkv_bias=True, output_bias=True)
    layers = alike_layers(config, attention, four_fold(config, "ffn_dim"), norms=4)
    return model_of(config, layers, final_norms=2)


def bloom(config: Config) -> Model:
    """BloomForCausalLM: a norm behind the embeddings; `n_embed` is an older word for the width."""
    defaults = {"vocab_size": 250880, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8}
    config = _old_width(config).with_defaults({**defaults, "tie_word_embeddings": True})
    attention = multi_head(config, qkv_bias=True, output_bias=True)
    layers = alike_layers(config, attention, four_fold(config), norms=4)
    return model_of(config, layers, final_norms=2, other_vector=2 * width_of(config))


def _old_width(config: Config) -> Config:
    if not config.given("n_embed"):
        return config
    table = {**config.table, "hidden_size": config.count("n_embed")}
    return Config(table, config.file, config.defaults, config.path)


def mpt(config: Config) -> Model:
    """MptForCausalLM: no biases, norms of one vector, positions by ALiBi."""
    defaults = {"vocab_size": 50368, "hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 16}
    config = config.with_defaults({**defaults, "max_seq_len": 2048, "tie_word_embeddings": True})
    attention = config.section("attn_config")
    if attention and attention.word("attn_type", default="multihead_attention") != "multihead_attention":
        raise attention.error("attn_type", "is not supported")
    if attention and not attention.flag("alibi", default=True):
        raise attention.error("alibi", "learned positions are not supported")
    if attention and attention.flag("qk_ln"):
        raise attention.error("qk_ln", "is not supported")
    if not config.flag("no_bias", default=True):
        raise config.error("no_bias", "biases are not supported")
    if config.count("expansion_ratio", default=4) != 4:
        raise config.error("expansion_ratio", "must be 4")
    layers = alike_layers(config, multi_head(config), four_fold(config, bias=False))
    return model_of(config, layers, context_limit_tokens=config.maybe("max_seq_len"))


def falcon(config: Config) -> Model:
    """FalconForCausalLM: one key-value head, or `num_kv_heads` in the newer form; one norm where parts are parallel.

    A layer has two norms where its parts follow each other, or as `num_ln_in_parallel_attn` says: the newer
    form has two unless it says one.
    """
    defaults = {"vocab_size": 65024, "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71}
    config = _old_width(config).with_defaults(
        {**defaults, "max_position_embeddings": 2048, "tie_word_embeddings": True}
    )
    # The first release of the 40B model has its key-value heads under a word of its own, and no flag.
    heads = heads_of(config)
    newer = config.flag("new_decoder_architecture") or config.given("n_head_kv")
    kv_heads = 1 if config.flag("multi_query", default=True) else heads
    if newer:
        kv_heads = config.count("num_kv_heads", "n_head_kv", default=heads)
    norms = config.count("num_ln_in_parallel_attn", default=2 if newer else 1, least=0)
    if not config.flag("parallel_attn", default=True):
        norms = 2
    bias = config.flag("bias")
    attention = multi_head(config, kv_heads=kv_heads, qkv_bias=bias, output_bias=bias)
    feed_forward = four_fold(config, "ffn_hidden_size", bias=bias)
    layers = alike_layers(config, attention, feed_forward, norms=4 if norms == 2 else 2)
    return model_of(config, layers, final_norms=2)


def persimmon(config: Config) -> Model:
    """PersimmonForCausalLM: biases everywhere; query and key norms are LayerNorms of a head's width."""
    config = config.with_defaults(sizes(262144, 4096, 16384, 36, 64, 16384, qk_layernorm=True))
    return model_of(config, _head_norms(config, multi_head(config), norms=4), final_norms=2)


def phi(config: Config) -> Model:
    """PhiForCausalLM (Phi-1, Phi-2): both parts side by side behind one norm; biases everywhere, of the head too."""
    config = config.with_defaults(sizes(51200, 2048, 8192, 24, 32, 2048))
    return model_of(config, _head_norms(config, grouped(config)), final_norms=2, head_bias=True)


def _head_norms(config: Config, attention: GroupedAttention, **layer: int) -> list[Layers]:
    """Layers with biases everywhere; under `qk_layernorm` a LayerNorm each for queries and keys."""
    norm = config.flag("qk_layernorm")
    attention = replace(attention, qkv_bias=True, output_bias=True, query_key_norm=norm)
    feed_forward = FeedForward(config.count("intermediate_size"), gated=False, bias=True)
    # Of a LayerNorm the attention counts the weights alone.
    return alike_layers(config, attention, feed_forward, other_vector=2 * attention.head_dim * norm, **layer)


def phi3small(config: Config) -> Model:
    """Phi3SmallForCausalLM: gated, biases everywhere, LayerNorm. Sparse layers read blocks, and keep all tokens."""
    more = {"num_key_value_heads": 8, "tie_word_embeddings": True}
    config = config.with_defaults(sizes(100352, 4096, 14336, 32, 32, 8192, **more))
    if config.given("ff_dim_multiplier"):
        raise config.error("ff_dim_multiplier", "is not supported; ff_intermediate_size is")
    attention = grouped(config, head_dim=even_head_dim(config), qkv_bias=True, output_bias=True)
    inner = config.count("ff_intermediate_size", "intermediate_size")
    layers = alike_layers(config, attention, FeedForward(inner, bias=True), norms=4)
    return model_of(config, layers, final_norms=2)


def starcoder2(config: Config) -> Model:
    """Starcoder2ForCausalLM: grouped attention, two matrices, one flag for all biases; a window where it has one."""
    more = {"num_key_value_heads": 2, "use_bias": True, "tie_word_embeddings": True}
    config = config.with_defaults(sizes(49152, 3072, 12288, 30, 24, 4096, **more))
    bias = config.flag("use_bias")
    attention = grouped(
        config, qkv_bias=bias, output_bias=bias, window=config.maybe("sliding_window", least=0) or None
    )
    layers = alike_layers(config, attention, plain(config, "use_bias", gated=False), norms=4)
    return model_of(config, layers, final_norms=2)


def stablelm(config: Config) -> Model:
    """StableLmForCausalLM: SwiGLU with LayerNorm, one where the parts are parallel; a norm a head where it is set."""
    more = {"num_key_value_heads": 32}
    config = config.with_defaults(sizes(50304, 2560, 6912, 32, 32, 4096, **more))
    norm = config.flag("qk_layernorm")
    attention = multi_head(
        config,
        kv_heads=config.count("num_key_value_heads"),
        qkv_bias=config.flag("use_qkv_bias"),
        query_key_norm=norm,
        norm_all_heads=norm,
    )
    norms = 2 if config.flag("use_parallel_residual") else 4
    return model_of(config, alike_layers(config, attention, plain(config), norms=norms), final_norms=2)


def qwen(config: Config) -> Model:
    """QWenLMHeadModel (Qwen 1): each of the gated matrices has half of `intermediate_size`; `no_bias` spares QKV."""
    more = {"kv_channels": 128, "no_bias": True}
    config = config.with_defaults(sizes(151936, 4096, 22016, 32, 32, 8192, **more))
    inner = config.count("intermediate_size")
    if inner % 2:
        raise config.error("intermediate_size", "must be even")
    bias, heads = not config.flag("no_bias"), heads_of(config)
    attention = grouped(
        config, head_dim=config.count("kv_channels"), kv_heads=heads, qkv_bias=True, output_bias=bias
    )
    return model_of(config, alike_layers(config, attention, FeedForward(inner // 2, bias=bias)))


def baichuan(config: Config) -> Model:
    """BaichuanForCausalLM, both sizes: Llama with query, key and value in one matrix, for all heads."""
    config = config.with_defaults(sizes(64000, 4096, 11008, 32, 32, 4096))
    limit = config.maybe("model_max_length", "max_position_embeddings")
    layers = alike_layers(config, multi_head(config), plain(config))
    return model_of(config, layers, context_limit_tokens=limit)


def internlm(config: Config) -> Model:
    """InternLMForCausalLM: Llama with biases of all projections of the attention."""
    config = config.with_defaults(sizes(103168, 4096, 11008, 32, 32, 2048))
    bias = config.flag("bias", default=True)
    attention = multi_head(config, qkv_bias=bias, output_bias=bias)
    return model_of(config, alike_layers(config, attention, plain(config)))


def internlm2(config: Config) -> Model:
    """InternLM2ForCausalLM: query, key and value in one matrix; one flag for the biases of the attention."""
    config = config.with_defaults(sizes(103168, 4096, 11008, 32, 32, 2048))
    bias = config.flag("bias", default=True)
    attention = grouped(config, qkv_bias=bias, output_bias=bias)
    return model_of(config, alike_layers(config, attention, plain(config)))


def chatglm(config: Config) -> Model:
    """ChatGLMModel from the second generation on: few key-value heads, its own words for sizes, its own head."""
    defaults = sizes(65024, 4096, 13696, 28, 32, 2048, kv_channels=128, multi_query_group_num=1)
    if config.given("inner_hidden_size"):
        raise config.error("inner_hidden_size", "the first ChatGLM is not supported")
    config = config.with_defaults(defaults)
    heads, bias = heads_of(config), config.flag("add_bias_linear")
    group = config.count("multi_query_group_num") if config.flag("multi_query_attention") else heads
    attention = grouped(
        config,
        head_dim=config.count("kv_channels"),
        kv_heads=group,
        qkv_bias=bias or config.flag("add_qkv_bias"),
        output_bias=bias,
    )
    feed_forward = FeedForward(config.count("ffn_hidden_size", "intermediate_size"), bias=bias)
    vectors = 1 if config.flag("rmsnorm", default=True) else 2
    return model_of(
        config,
        alike_layers(config, attention, feed_forward, norms=2 * vectors),
        vocabulary=config.count("padded_vocab_size", "vocab_size"),
        final_norms=vectors * config.flag("post_layer_norm", default=True),
        context_limit_tokens=config.maybe("seq_length", "max_position_embeddings"),
        tied_embeddings=False,
    )


def orion(config: Config) -> Model:
    """OrionForCausalLM: Llama with LayerNorm."""
    config = config.with_defaults(sizes(84608, 4096, 15360, 40, 40, 4096, num_key_value_heads=40))
    bias = config.flag("attention_bias")
    attention = grouped(config, head_dim=even_head_dim(config), qkv_bias=bias, output_bias=bias)
    return model_of(config, alike_layers(config, attention, plain(config), norms=4), final_norms=2)


def xverse(config: Config) -> Model:
    """XverseForCausalLM: Llama with 100,000 words."""
    return llama_with(config, sizes(100278, 5120, 13824, 40, 40, 8192))


def yi(config: Config) -> Model:
    """YiForCausalLM, the first release: Llama with 64,000 words and few key-value heads."""
    return llama_with(config, sizes(64000, 4096, 11008, 32, 32, 4096, num_key_value_heads=4))


def aquila(config: Config) -> Model:
    """AquilaForCausalLM: Llama with 100,008 words."""
    return llama_with(config, LLAMA | {"vocab_size": 100008})


def minicpm(config: Config) -> Model:
    """MiniCPMForCausalLM (1, 2 and 4; dense): Llama with factors that are not learned, tied embeddings."""
    if config.given("num_experts"):
        raise config.error("num_experts", "the mixture of experts is not supported")
    return llama_with(config, LLAMA | {"tie_word_embeddings": True})


def mobilellm(config: Config) -> Model:
    """MobileLLMForCausalLM: Llama whose embeddings are tied by `share_embedding`."""
    if config.flag("layer_sharing"):
        raise config.error("layer_sharing", "layers that run twice are not supported")
    tied = config.flag("share_embedding") or config.flag("tie_word_embeddings")
    return replace(llama_with(config, LLAMA), tied_embeddings=tied)


def openelm(config: Config) -> Model:
    """OpenELMForCausalLM: heads and inner width differ from layer to layer, in lists of their own."""
    count = config.layers("num_transformer_layers")
    config = config.with_defaults({"hidden_size": config.count("model_dim"), "head_dim": 128})
    queries, keys = (_each(config, name, count) for name in ("num_query_heads", "num_kv_heads"))
    norm = config.flag("normalize_qk_projections")
    layers = []
    for query, key, wide in zip(queries, keys, _inner_widths(config, count), strict=True):
        if query % key:
            raise config.error("num_kv_heads", f"{key} does not divide {query} query heads")
        attention = GroupedAttention(query, key, config.count("head_dim"), query_key_norm=norm)
        layers.append(
            Layers(1, attention, FeedForward(wide, gated=config.flag("ffn_with_glu", default=True)))
        )
    return model_of(
        config,
        layers,
        tied_embeddings=config.flag("share_input_output_layers"),
        context_limit_tokens=config.maybe("max_context_length"),
    )


def _each(config: Config, name: str, count: int) -> list[int]:
    values = config.counts(name, count, least=1)
    if values is None or len(values) != count:
        raise config.error(name, f"must be a list of {count} whole numbers")
    return values


def _inner_widths(config: Config, count: int) -> list[int]:
    """Multiples of the width, each brought to the nearest multiple of the divisor."""
    factors, divisor = config.get("ffn_multipliers"), config.count("ffn_dim_divisor", default=256)
    if not isinstance(factors, list) or len(factors) != count:
        raise config.error("ffn_multipliers", f"must be a list of {count} numbers")
    one_each = (Config({"ffn_multipliers": factor}, config.file, path=config.path) for factor in factors)
    exact = [one.number("ffn_multipliers") * width_of(config) for one in one_each]
    return [max(divisor, int(value + divisor / 2) // divisor * divisor) for value in exact]


def mimo(config: Config) -> Model:
    """MiMoForCausalLM: Qwen2 and layers for multi-token prediction: one of its own, a projection, three norms."""
    model = qwen2(config)
    count = config.count("num_nextn_predict_layers", default=0, least=0)
    layer, width = replace(model.layers[0], count=1), model.width
    one = layer.attention.elements(width).total + layer.feed_forward.expert_elements(width).total
    one += (layer.norms + 3) * width + 2 * width * width
    return replace(model, mtp_layers=count, mtp_parameters=count * one)


def decilm(config: Config) -> Model:
    """DeciLMForCausalLM: Llama whose layers were searched one by one (Llama-Nemotron, DeciLM-7B)."""
    config = config.with_defaults(LLAMA)
    blocks = config.get("block_configs")
    if blocks is not None:
        return model_of(config, _searched(config, blocks))
    count = config.layers()
    kv_heads = config.counts("num_key_value_heads_per_layer", count, least=1)
    if kv_heads is None:
        return llama_with(config, LLAMA)
    if len(kv_heads) != count:
        raise config.error("num_key_value_heads_per_layer", f"has {len(kv_heads)} entries for {count} layers")
    return model_of(
        config,
        [Layers(1, biased(config, kv_heads=each), plain(config, "mlp_bias")) for each in kv_heads],
    )


def _searched(config: Config, blocks: Any) -> list[Layers]:
    count = config.layers()
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise config.error("block_configs", "must be a list of tables")
    if len(blocks) != count:
        raise config.error("block_configs", f"has {len(blocks)} entries for {count} layers")
    tables = (Config(block, config.file, path=f"block_configs[{at}].") for at, block in enumerate(blocks))
    return [_block(config, block) for block in tables]


def _block(config: Config, block: Config) -> Layers:
    """One layer: either part may be left out with its norm, or be one matrix of D x D."""
    attention, feed_forward = block.section("attention"), block.section("ffn")
    if attention is None or feed_forward is None:
        raise block.error("ffn" if attention else "attention", "is missing")
    for part, odd in (
        (attention, "mamba"),
        (attention, "llama4"),
        (attention, "num_sink_tokens"),
        (feed_forward, "moe"),
    ):
        if part.given(odd):
            raise part.error(odd, "is not supported")
    parts = (attention, feed_forward)
    square = sum(part.flag("replace_with_linear") and not part.flag("no_op") for part in parts)
    return Layers(
        1,
        NoMixer() if _gone(attention) else _block_attention(config, attention),
        FeedForward(0) if _gone(feed_forward) else _block_feed_forward(config, feed_forward),
        norms=sum(not part.flag("no_op") for part in parts),
        other_matrix=square * width_of(config) ** 2,
    )


def _gone(part: Config) -> bool:
    return part.flag("no_op") or part.flag("replace_with_linear")


def _block_attention(config: Config, part: Config) -> GroupedAttention:
    heads, group = heads_of(config), part.count("n_heads_in_group")
    if heads % group:
        raise part.error("n_heads_in_group", f"does not divide the {heads} heads")
    return biased(config, kv_heads=heads // group, window=part.maybe("window_length"))


def _block_feed_forward(config: Config, part: Config) -> FeedForward:
    """`ffn_mult` is of two thirds of the width, in whole multiples of 256."""
    wide = int(2 * round(part.number("ffn_mult"), 6) * width_of(config) / 3)
    return FeedForward(-(-wide // 256) * 256, bias=config.flag("mlp_bias"))
