"""Dense decoders: Llama and its many relatives.

They differ in biases, norms, windows and in what their classes fill in where a file omits it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from memcalc.model import FeedForward, GroupedAttention, Layers, Model
from memcalc.readers.architectures.config import Config, model_of
from memcalc.readers.architectures.parts import grouped, width_of, window, windows

#: The sizes that every class fills in where a file omits them, in the order of `sizes`.
SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)


def sizes(*values: int, **more: Any) -> dict[str, Any]:
    """The defaults of a class: vocabulary, width, inner width, layers, heads, positions, and what it adds.

    >>> sizes(32000, 4096, 11008, 32, 32, 2048, mlp_bias=True)["intermediate_size"]
    11008
    """
    return {**dict(zip(SIZES, values, strict=True)), **more}


def biased(config: Config, **more: Any) -> GroupedAttention:
    """Grouped attention whose projections all have a bias where `attention_bias` says so."""
    bias = config.flag("attention_bias")
    return grouped(config, qkv_bias=bias, output_bias=bias, **more)


def plain(config: Config, bias: str | None = None, *, gated: bool = True) -> FeedForward:
    """A dense part of `intermediate_size`, with biases where the flag `bias` says so."""
    with_bias = bias is not None and config.flag(bias)
    return FeedForward(config.count("intermediate_size"), gated=gated, bias=with_bias)


def sliding(config: Config, slides: Callable[[int], bool], size: int | None) -> list[int | None]:
    """The window of each layer; these classes read a window that is null or 0 as none."""
    return windows(config, slides, size, on=size is not None)


def all_but_last(period: int) -> Callable[[int], bool]:
    """Every layer slides but the last of each `period`."""
    return lambda layer: (layer + 1) % period != 0


def all_but_first(period: int) -> Callable[[int], bool]:
    """Every layer slides but the first of each `period`."""
    return lambda layer: layer % period != 0


def windowed(
    attention: GroupedAttention, feed_forward: FeedForward, each: Iterable[int | None], **layer: Any
) -> list[Layers]:
    """Layers that differ in nothing but their windows."""
    return [Layers(1, replace(attention, window=window), feed_forward, **layer) for window in each]


def alike_layers(
    config: Config, attention: GroupedAttention, feed_forward: FeedForward, **layer: Any
) -> list[Layers]:
    """All layers of a model in which they do not differ."""
    return [Layers(config.layers(), attention, feed_forward, **layer)]


def llama_with(config: Config, defaults: Mapping[str, Any]) -> Model:
    """Llama's rules with the defaults of another class."""
    config = config.with_defaults(defaults)
    return model_of(config, alike_layers(config, biased(config), plain(config, "mlp_bias")))


LLAMA = sizes(32000, 4096, 11008, 32, 32, 2048)


def llama(config: Config) -> Model:
    """LlamaForCausalLM: grouped attention and SwiGLU; one bias flag each for attention and feed-forward part."""
    return llama_with(config, LLAMA)


def exaone(config: Config) -> Model:
    """ExaoneForCausalLM (EXAONE 3): Llama under other names."""
    return llama_with(config, sizes(102400, 4096, 14336, 32, 32, 4096, num_key_value_heads=8))


def iquestcoder(config: Config) -> Model:
    """IQuestCoder: Llama with heads of 128."""
    more = {"num_key_value_heads": 8, "head_dim": 128}
    return llama_with(config, sizes(76800, 5120, 27648, 80, 40, 131072, **more))


def internlm3(config: Config) -> Model:
    """InternLM3ForCausalLM: Llama with a flag for query, key and value and one for all other biases."""
    more = {"num_key_value_heads": 2, "head_dim": 128}
    config = config.with_defaults(sizes(128512, 4096, 10240, 48, 32, 32768, **more))
    attention = grouped(config, qkv_bias=config.flag("qkv_bias"), output_bias=config.flag("bias"))
    return model_of(config, alike_layers(config, attention, plain(config, "bias")))


def arcee(config: Config) -> Model:
    """ArceeForCausalLM: Llama with two matrices (squared ReLU)."""
    config = config.with_defaults(sizes(32000, 2560, 18432, 32, 32, 4096))
    feed_forward = plain(config, "mlp_bias", gated=False)
    return model_of(config, alike_layers(config, biased(config), feed_forward))


def jais2(config: Config) -> Model:
    """Jais2ForCausalLM: two matrices, biases everywhere and LayerNorm."""
    more = {"attention_bias": True, "mlp_bias": True}
    config = config.with_defaults(sizes(150272, 3328, 26624, 32, 26, 8192, **more))
    feed_forward = plain(config, "mlp_bias", gated=False)
    layers = alike_layers(config, biased(config), feed_forward, norms=4)
    return model_of(config, layers, final_norms=2)


def nemotron(config: Config) -> Model:
    """NemotronForCausalLM: two matrices (squared ReLU) and LayerNorm."""
    config = config.with_defaults(sizes(256000, 6144, 24576, 32, 48, 4096))
    feed_forward = plain(config, "mlp_bias", gated=False)
    layers = alike_layers(config, biased(config), feed_forward, norms=4)
    return model_of(config, layers, final_norms=2)


def granite(config: Config) -> Model:
    """GraniteForCausalLM: Llama with factors that are not learned."""
    return llama_with(config, LLAMA)


def granite_swa(config: Config) -> Model:
    """GraniteSWAForCausalLM: Granite with attention sinks; all but the first of four layers slide."""
    more = {"num_key_value_heads": 4, "tie_word_embeddings": True, "sliding_window": 128}
    config = config.with_defaults(sizes(100352, 2560, 8192, 24, 20, 8192, **more))
    each = sliding(config, all_but_first(4), window(config))
    return model_of(config, windowed(biased(config, sinks=True), plain(config, "mlp_bias"), each))


def hyperclovax(config: Config) -> Model:
    """HyperCLOVAXForCausalLM: Granite with two norms more, of what a layer adds, where `use_post_norm`."""
    config = config.with_defaults(LLAMA)
    norms = 4 if config.flag("use_post_norm", default=True) else 2
    layers = alike_layers(config, biased(config), plain(config, "mlp_bias"), norms=norms)
    return model_of(config, layers)


def diffllama(config: Config) -> Model:
    """DiffLlamaForCausalLM: two attention maps a head, balanced by four learned vectors of a head's width."""
    config = config.with_defaults(sizes(32000, 2048, 8192, 16, 32, 2048))
    attention = biased(config)
    if attention.kv_heads % 2:
        raise config.error("num_key_value_heads", "must be even: values are split in two")
    layers = alike_layers(config, attention, plain(config), other_vector=4 * attention.head_dim)
    return model_of(config, layers)


def bitnet(config: Config) -> Model:
    """BitNetForCausalLM: one norm more before the output projection, one before the down projection."""
    config = config.with_defaults(sizes(128256, 2560, 6912, 30, 20, 2048, num_key_value_heads=5))
    feed_forward = plain(config)
    layers = alike_layers(config, biased(config), feed_forward, norms=3, other_vector=feed_forward.width)
    return model_of(config, layers)


MISTRAL = sizes(32000, 4096, 14336, 32, 32, 131072, num_key_value_heads=8, sliding_window=4096)


def mistral(config: Config) -> Model:
    """MistralForCausalLM and Ministral: every layer slides unless `layer_types` says else."""
    config = config.with_defaults(MISTRAL)
    return _sliding(config)


def ministral3(config: Config) -> Model:
    """Ministral3ForCausalLM: Mistral with heads of 128 and no window unless the file has one."""
    more = {"num_key_value_heads": 8, "head_dim": 128}
    return _sliding(config.with_defaults(sizes(131072, 4096, 14336, 34, 32, 262144, **more)))


def phi3(config: Config) -> Model:
    """Phi3ForCausalLM (Phi-3 and Phi-4): fused projections of the same sizes; a window where the file has one."""
    return _sliding(config.with_defaults(sizes(32064, 3072, 8192, 32, 32, 4096)))


def _sliding(config: Config) -> Model:
    each = sliding(config, lambda _: True, window(config))
    return model_of(config, windowed(grouped(config), plain(config), each))


def cwm(config: Config) -> Model:
    """CwmForCausalLM: all but the first of four layers slide."""
    more = {"num_key_value_heads": 8, "head_dim": 128, "sliding_window": 8192}
    config = config.with_defaults(sizes(128256, 6144, 21504, 64, 48, 131072, **more))
    each = sliding(config, all_but_first(4), window(config))
    return model_of(config, windowed(grouped(config), plain(config, "mlp_bias"), each))


QWEN = sizes(
    151936, 4096, 22016, 32, 32, 32768, num_key_value_heads=32, sliding_window=4096, max_window_layers=28
)


def _qwen_windows(config: Config) -> list[int | None]:
    """Layers from `max_window_layers` on slide, and only where `use_sliding_window` is set."""
    first = config.count("max_window_layers", least=0)
    return sliding(
        config, lambda layer: layer >= first, window(config) if config.flag("use_sliding_window") else None
    )


def qwen2(config: Config) -> Model:
    """Qwen2ForCausalLM: query, key and value always have biases, the output has none."""
    config = config.with_defaults(QWEN)
    attention = grouped(config, qkv_bias=True)
    return model_of(config, windowed(attention, plain(config), _qwen_windows(config)))


def qwen3(config: Config) -> Model:
    """Qwen3ForCausalLM: heads of 128 unless the file says else, with query and key norms."""
    config = config.with_defaults({**QWEN, "head_dim": 128})
    attention = biased(config, query_key_norm=True)
    return model_of(config, windowed(attention, plain(config), _qwen_windows(config)))


GEMMA = sizes(
    256000, 2304, 9216, 26, 8, 8192,
    num_key_value_heads=4, head_dim=256, sliding_window=4096, tie_word_embeddings=True,
)  # fmt: skip


def gemma(config: Config) -> Model:
    """GemmaForCausalLM: heads of 256 whatever the width, tied embeddings."""
    more = {"num_key_value_heads": 16, "head_dim": 256, "tie_word_embeddings": True}
    config = config.with_defaults(sizes(256000, 3072, 24576, 28, 16, 8192, **more))
    return model_of(config, alike_layers(config, biased(config), plain(config)))


def gemma2(config: Config) -> Model:
    """Gemma2ForCausalLM: four norms a layer; every other layer slides, from the first on."""
    config = config.with_defaults(GEMMA)
    each = sliding(config, all_but_last(2), window(config))
    return model_of(config, windowed(biased(config), plain(config), each, norms=4))


def vaultgemma(config: Config) -> Model:
    """VaultGemmaForCausalLM: Gemma 2 with the two norms before the parts alone."""
    config = config.with_defaults(GEMMA)
    each = sliding(config, all_but_last(2), window(config))
    return model_of(config, windowed(biased(config), plain(config), each))


def gemma3(config: Config) -> Model:
    """Gemma3ForCausalLM, the text part of Gemma 3: query and key norms; five layers of six slide."""
    defaults = {"vocab_size": 262208, "max_position_embeddings": 131072, "sliding_window_pattern": 6}
    config = config.with_defaults(GEMMA | defaults)
    size = window(config)
    if size and config.flag("use_bidirectional_attention"):
        # Half of the window lies ahead of the token.
        size = size // 2 + 1
    each = sliding(config, all_but_last(config.count("sliding_window_pattern")), size)
    return model_of(config, windowed(biased(config, query_key_norm=True), plain(config), each, norms=4))


COHERE = sizes(256000, 8192, 22528, 40, 64, 8192, tie_word_embeddings=True)


def cohere(config: Config) -> Model:
    """CohereForCausalLM (Command R): both parts side by side behind one norm; a norm a head where it is set."""
    config = config.with_defaults(COHERE)
    norm = config.flag("use_qk_norm")
    attention = biased(config, query_key_norm=norm, norm_all_heads=norm)
    return model_of(config, alike_layers(config, attention, plain(config), norms=1))


def cohere2(config: Config) -> Model:
    """Cohere2ForCausalLM (Command R7B, Command A): one norm; the last of four layers does not slide."""
    config = config.with_defaults({**COHERE, "sliding_window": 4096, "sliding_window_pattern": 4})
    each = sliding(config, all_but_last(config.count("sliding_window_pattern")), window(config))
    return model_of(config, windowed(biased(config), plain(config), each, norms=1))


OLMO = sizes(50304, 4096, 11008, 32, 32, 2048)


def olmo(config: Config) -> Model:
    """OlmoForCausalLM: norms without weights."""
    config = config.with_defaults(OLMO)
    layers = alike_layers(config, biased(config), plain(config), norms=0)
    return model_of(config, layers, final_norms=0)


def olmo2(config: Config) -> Model:
    """Olmo2ForCausalLM: norms after the parts, and over all heads of queries and keys."""
    config = config.with_defaults(OLMO)
    attention = biased(config, query_key_norm=True, norm_all_heads=True)
    return model_of(config, alike_layers(config, attention, plain(config)))


def olmo3(config: Config) -> Model:
    """Olmo3ForCausalLM: OLMo 2 of which the last of four layers does not slide."""
    config = config.with_defaults({**OLMO, "sliding_window": 4096})
    attention = biased(config, query_key_norm=True, norm_all_heads=True)
    return model_of(
        config, windowed(attention, plain(config), sliding(config, all_but_last(4), window(config)))
    )


def exaone4(config: Config) -> Model:
    """Exaone4ForCausalLM: query and key norms, norms after the parts; a pattern may be a word (LLLG)."""
    more = {"num_key_value_heads": 32, "sliding_window": 4096, "sliding_window_pattern": 4}
    config = config.with_defaults(sizes(102400, 4096, 16384, 32, 32, 2048, **more))
    each = sliding(config, _exaone_pattern(config), window(config))
    return model_of(config, windowed(grouped(config, query_key_norm=True), plain(config), each))


def _exaone_pattern(config: Config) -> Callable[[int], bool]:
    pattern = config.get("sliding_window_pattern")
    if not isinstance(pattern, str):
        # 0 comes with a window of none.
        period = config.count("sliding_window_pattern", least=0)
        return all_but_last(period) if period else lambda _: False
    if not pattern or set(pattern) - {"L", "G"}:
        raise config.error("sliding_window_pattern", "must be of letters L (local) and G (global)")
    return lambda layer: pattern[layer % len(pattern)] == "L"


def smollm3(config: Config) -> Model:
    """SmolLM3ForCausalLM: with `use_sliding_window`, the layers without rotary embedding slide."""
    more = {"num_key_value_heads": 4, "tie_word_embeddings": True, "no_rope_layer_interval": 4}
    config = config.with_defaults(sizes(128256, 2048, 11008, 36, 16, 32768, **more))
    rotary = config.counts("no_rope_layers", config.layers())
    period = config.count("no_rope_layer_interval")
    on = config.flag("use_sliding_window")

    def slides(layer: int) -> bool:
        without = (layer + 1) % period == 0 if rotary is None else not rotary[layer]
        return on and without

    return model_of(
        config, windowed(biased(config), plain(config, "mlp_bias"), sliding(config, slides, window(config)))
    )


GLM = sizes(
    151552, 4096, 13696, 40, 32, 131072, num_key_value_heads=2, head_dim=128, attention_bias=True
)  # fmt: skip


def glm(config: Config) -> Model:
    """GlmForCausalLM (GLM-4-9B): biases of query, key and value alone."""
    return _glm(config, norms=2)


def glm4(config: Config) -> Model:
    """Glm4ForCausalLM (GLM-4-0414): GLM with norms before and after the parts."""
    return _glm(config, norms=4)


def _glm(config: Config, norms: int) -> Model:
    config = config.with_defaults(GLM)
    attention = grouped(config, qkv_bias=config.flag("attention_bias"))
    return model_of(config, alike_layers(config, attention, plain(config), norms=norms))


def seed_oss(config: Config) -> Model:
    """SeedOssForCausalLM: a bias flag for query, key and value, one for the output."""
    more = {"num_key_value_heads": 8, "head_dim": 128, "attention_bias": True}
    config = config.with_defaults(sizes(155136, 4096, 27648, 64, 80, 524288, **more))
    attention = grouped(
        config, qkv_bias=config.flag("attention_bias"), output_bias=config.flag("attention_out_bias")
    )
    return model_of(config, alike_layers(config, attention, plain(config, "mlp_bias")))


def ernie4_5(config: Config) -> Model:
    """Ernie4_5ForCausalLM: one flag for all biases."""
    more = {"num_key_value_heads": 2, "head_dim": 128, "tie_word_embeddings": True}
    config = config.with_defaults(sizes(103424, 1024, 3072, 18, 16, 131072, **more))
    bias = config.flag("use_bias")
    attention = grouped(config, qkv_bias=bias, output_bias=bias)
    return model_of(config, alike_layers(config, attention, plain(config, "use_bias")))


def helium(config: Config) -> Model:
    """HeliumForCausalLM: Llama without a bias of the output."""
    more = {"num_key_value_heads": 20, "head_dim": 128}
    config = config.with_defaults(sizes(48000, 2560, 7040, 24, 20, 4096, **more))
    attention = grouped(config, qkv_bias=config.flag("attention_bias"))
    if attention.heads * attention.head_dim != width_of(config):
        raise config.error("head_dim", f"of all heads does not make the width {width_of(config)}")
    return model_of(config, alike_layers(config, attention, plain(config, "mlp_bias")))


def apertus(config: Config) -> Model:
    """ApertusForCausalLM: query and key norms, two matrices; xIELU learns two factors a layer."""
    config = config.with_defaults(sizes(131072, 4096, 14336, 32, 32, 65536, hidden_act="xielu"))
    factors = 2 if config.word("hidden_act") == "xielu" else 0
    attention, feed_forward = biased(config, query_key_norm=True), plain(config, gated=False)
    return model_of(config, alike_layers(config, attention, feed_forward, other_vector=factors))


def hunyuan_v1_dense(config: Config) -> Model:
    """HunYuanDenseV1ForCausalLM: Llama with query and key norms."""
    config = config.with_defaults(sizes(290943, 4096, 11008, 32, 32, 2048))
    attention = biased(config, query_key_norm=True)
    return model_of(config, alike_layers(config, attention, plain(config)))


def nanochat(config: Config) -> Model:
    """NanoChatForCausalLM: two matrices (squared ReLU), norms without weights."""
    config = config.with_defaults(sizes(50304, 768, 8192, 12, 6, 2048))
    layers = alike_layers(config, biased(config), plain(config, gated=False), norms=0)
    return model_of(config, layers, final_norms=0)


def doge(config: Config) -> Model:
    """DogeForCausalLM: a projection of the values weighs tokens a key-value head; residuals are scaled."""
    config = config.with_defaults(sizes(32768, 1024, 2048, 32, 8, 2048))
    if config.flag("is_moe"):
        raise config.error("is_moe", "experts of single vectors are not supported")
    attention = biased(config, query_key_norm=True)
    kv = attention.kv_heads
    layer = {
        "norms": 4,
        "other_matrix": kv * kv * attention.head_dim,
        "other_vector": kv * (1 + attention.qkv_bias),
    }
    return model_of(config, alike_layers(config, attention, plain(config, "mlp_bias"), **layer))
