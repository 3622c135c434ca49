"""State-space and linear-attention layers, and the models that are made of them, alone or with attention between.

The recurrent state keeps its own precision, fp32 unless the config says otherwise; the convolution keeps
as many inputs as its kernel is wide, as Transformers' cache does.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from memcalc.model import Attention, FeedForward, GroupedAttention, Layers, Model, NoMixer, RecurrentMixer
from memcalc.readers.architectures.config import Config, model_of
from memcalc.readers.architectures.experts import mixture, sparse_layers
from memcalc.readers.architectures.latent import latent
from memcalc.readers.architectures.parts import grouped, null

#: What the classes fill in where a file omits it (Transformers 5).
MAMBA: Mapping[str, Any] = {
    "vocab_size": 50280, "hidden_size": 768, "state_size": 16, "num_hidden_layers": 32, "expand": 2,
    "conv_kernel": 4,
}  # fmt: skip
MAMBA2: Mapping[str, Any] = {
    "vocab_size": 32768, "hidden_size": 4096, "state_size": 128, "num_hidden_layers": 64, "expand": 2,
    "conv_kernel": 4, "n_groups": 8, "num_heads": 128, "head_dim": 64,
}  # fmt: skip
JAMBA: Mapping[str, Any] = {
    "vocab_size": 65536, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 262144,
    "num_experts_per_tok": 2, "num_experts": 16, "expert_layer_period": 2, "expert_layer_offset": 1,
    "attn_layer_period": 8, "attn_layer_offset": 4, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2,
}  # fmt: skip
BAMBA: Mapping[str, Any] = {
    "vocab_size": 128000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 262144, "mamba_n_heads": 128,
    "mamba_n_groups": 1, "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_expand": 2,
}  # fmt: skip
GRANITE_HYBRID: Mapping[str, Any] = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "max_position_embeddings": 2048, "num_local_experts": 8, "num_experts_per_tok": 2,
    "shared_intermediate_size": 1024, "mamba_n_heads": 128, "mamba_n_groups": 1, "mamba_d_state": 256,
    "mamba_d_conv": 4, "mamba_expand": 2,
}  # fmt: skip
NEMOTRON_H: Mapping[str, Any] = {
    "vocab_size": 131072, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "max_position_embeddings": 4096, "intermediate_size": 21504, "ssm_state_size": 128, "mamba_num_heads": 128,
    "mamba_head_dim": 64, "n_groups": 8, "conv_kernel": 4, "n_routed_experts": 8, "n_shared_experts": 1,
    "moe_intermediate_size": 7688, "moe_shared_expert_intermediate_size": 7688, "num_experts_per_tok": 2,
}  # fmt: skip
FALCON_H1: Mapping[str, Any] = {
    "vocab_size": 128000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192, "mamba_d_ssm": 1024,
    "mamba_n_heads": 128, "mamba_n_groups": 1, "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_expand": 2,
}  # fmt: skip
_DELTA: Mapping[str, Any] = {
    "num_hidden_layers": 32, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256,
    "max_position_embeddings": 32768, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128,
    "linear_value_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
    "full_attention_interval": 4,
}  # fmt: skip
QWEN3_NEXT = {
    **_DELTA, "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 48,
    "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "num_experts_per_tok": 10,
    "num_experts": 512,
}  # fmt: skip
QWEN3_5 = {
    **_DELTA, "vocab_size": 248320, "hidden_size": 4096, "intermediate_size": 12288, "num_key_value_heads": 4,
}  # fmt: skip
QWEN3_5_MOE = {
    **_DELTA, "vocab_size": 248320, "hidden_size": 2048, "num_hidden_layers": 40, "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512, "num_experts_per_tok": 8, "num_experts": 256,
}  # fmt: skip
MINIMAX: Mapping[str, Any] = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072,
    "num_experts_per_tok": 2, "num_local_experts": 8,
}  # fmt: skip
LFM2: Mapping[str, Any] = {
    "vocab_size": 65536, "hidden_size": 2560, "intermediate_size": 12288, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 128000, "conv_L_cache": 3,
    "block_multiple_of": 256, "block_ffn_dim_multiplier": 1.0,
}  # fmt: skip
LFM2_MOE: Mapping[str, Any] = {
    "vocab_size": 65536, "hidden_size": 2048, "intermediate_size": 7168, "moe_intermediate_size": 1792,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 128000,
    "conv_L_cache": 3, "num_dense_layers": 2, "num_experts_per_tok": 4, "num_experts": 32,
}  # fmt: skip
KIMI_LINEAR: Mapping[str, Any] = {
    "vocab_size": 163840, "hidden_size": 2304, "intermediate_size": 9216, "moe_intermediate_size": 1024,
    "num_hidden_layers": 27, "num_attention_heads": 32, "num_shared_experts": 1, "kv_lora_rank": 512,
    "v_head_dim": 128, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "num_experts_per_token": 8,
    "num_experts": 256, "first_k_dense_replace": 1, "max_position_embeddings": 1048576,
}  # fmt: skip

_WORDS = {
    "mamba": True,
    "linear_attention": True,
    "attention": False,
    "full_attention": False,
}
_STATE_FORMATS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


def state_format(config: Config) -> str:
    """The precision of the recurrent state: fp32 unless the config says otherwise."""
    word = config.word("mamba_ssm_dtype", "mamba_ssm_cache_dtype", "ssm_cache_dtype", default="float32")
    if word.removeprefix("torch.") not in _STATE_FORMATS:
        raise config.error("mamba_ssm_dtype", "must be one of " + ", ".join(_STATE_FORMATS))
    return _STATE_FORMATS[word.removeprefix("torch.")]


def mamba_mixer(config: Config, prefix: str = "", *, norms: bool = False) -> RecurrentMixer:
    """Mamba-1: every channel of the inner width has a state of its own; `norms` of step, B and C are Jamba's."""
    width = config.count("hidden_size")
    if prefix:
        inner = config.count("mamba_expand") * width
        state, kernel = config.count("mamba_d_state"), config.count("mamba_d_conv")
        conv_bias, bias = config.flag("mamba_conv_bias", default=True), config.flag("mamba_proj_bias")
        rank: Any = config.get("mamba_dt_rank")
    else:
        inner = config.count("intermediate_size", default=config.count("expand") * width)
        state, kernel = config.count("state_size"), config.count("conv_kernel")
        conv_bias, bias = config.flag("use_conv_bias", default=True), config.flag("use_bias")
        rank = config.get("time_step_rank")
    if rank is None or rank == "auto":
        rank = ceil(width / 16)
    elif isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= 2**30:
        raise config.error(
            prefix + "dt_rank" if prefix else "time_step_rank", 'must be a whole number or "auto"'
        )
    matrix = 3 * width * inner + inner * (rank + 2 * state) + rank * inner
    vector = inner * (state + 1 + kernel + conv_bias + 1) + (2 * inner + width) * bias
    vector += (rank + 2 * state) * norms
    return RecurrentMixer(
        "mamba", inner, state, 1, matrix, vector, inner, kernel, state_format=state_format(config)
    )


def mamba2_mixer(
    config: Config,
    heads: int,
    head_dim: int,
    groups: int,
    state: int,
    kernel: int,
    *,
    conv_bias: bool,
    bias: bool,
    out_bias: bool | None = None,
    norm: bool = True,
) -> RecurrentMixer:
    """Mamba-2: heads with a scalar decay each; B and C are shared by groups; one projection for all inputs."""
    width, inner = config.count("hidden_size"), heads * head_dim
    channels = inner + 2 * groups * state
    projected = inner + channels + heads
    matrix = width * projected + inner * width
    vector = 3 * heads + channels * (kernel + conv_bias) + inner * norm + projected * bias
    vector += width * (bias if out_bias is None else out_bias)
    return RecurrentMixer(
        "mamba2", heads, state, head_dim, matrix, vector, channels, kernel, state_format=state_format(config)
    )


def _prefixed_mamba2(
    config: Config, *, inner: int | None = None, norm: bool = True, out_bias: bool | None = None
) -> RecurrentMixer:
    """Mamba-2 by the names of Bamba, Granite and Falcon-H1."""
    heads = config.count("mamba_n_heads")
    inner = config.count("mamba_expand") * config.count("hidden_size") if inner is None else inner
    given = config.get("mamba_d_head")
    head_dim = inner // heads if given in (None, "auto") else config.count("mamba_d_head")
    if heads * head_dim != inner:
        raise config.error("mamba_d_head", f"times the {heads} heads is not the inner width of {inner}")
    return mamba2_mixer(
        config, heads, head_dim, config.count("mamba_n_groups"), config.count("mamba_d_state"),
        config.count("mamba_d_conv"), conv_bias=config.flag("mamba_conv_bias", default=True),
        bias=config.flag("mamba_proj_bias"), norm=norm, out_bias=out_bias,
    )  # fmt: skip


def delta_mixer(config: Config) -> RecurrentMixer:
    """The gated delta rule of Qwen3-Next: value heads share key heads; a gate, a decay and a rate for each."""
    width = config.count("hidden_size")
    keys, values = config.count("linear_num_key_heads"), config.count("linear_num_value_heads")
    key_dim, value_dim = config.count("linear_key_head_dim"), config.count("linear_value_head_dim")
    kernel = config.count("linear_conv_kernel_dim")
    if values % keys:
        raise config.error("linear_num_key_heads", f"does not divide the {values} value heads")
    channels = 2 * keys * key_dim + values * value_dim
    matrix = width * (channels + values * value_dim + 2 * values) + values * value_dim * width
    vector = 2 * values + channels * kernel + value_dim
    return RecurrentMixer(
        "gated-delta-net", values, key_dim, value_dim, matrix, vector, channels, kernel,
        state_format=state_format(config),
    )  # fmt: skip


def recurrent_layers(config: Config, depth: int, default: list[bool]) -> list[bool]:
    """Which layers are recurrent: by `layer_types` or `layers_block_type`, else the rule of the class."""
    for name in ("layer_types", "layers_block_type"):
        words = config.words(name, depth)
        if words is not None:
            if not set(words) <= set(_WORDS):
                raise config.error(name, "has a word that this architecture does not know")
            if len(words) != depth:
                raise config.error(name, f"has {len(words)} entries for {depth} layers")
            return [_WORDS[word] for word in words]
    return default


def mamba(config: Config) -> Model:
    """MambaForCausalLM and FalconMambaForCausalLM: Mamba-1 alone, a norm and a mixer a layer."""
    config = config.with_defaults(MAMBA)
    layer = Layers(config.layers(), mamba_mixer(config), FeedForward(0), 1)
    return model_of(config, [layer], tied=True)


def mamba2(config: Config) -> Model:
    """Mamba2ForCausalLM: Mamba-2 alone."""
    config = config.with_defaults(MAMBA2)
    heads, head_dim = config.count("num_heads"), config.count("head_dim")
    if heads * head_dim != config.count("expand") * config.count("hidden_size"):
        raise config.error("num_heads", "times head_dim is not the inner width, expand times hidden_size")
    mixer = mamba2_mixer(
        config, heads, head_dim, config.count("n_groups"), config.count("state_size"), config.count("conv_kernel"),
        conv_bias=config.flag("use_conv_bias", default=True), bias=config.flag("use_bias"),
    )  # fmt: skip
    return model_of(config, [Layers(config.layers(), mixer, FeedForward(0), 1)])


def jamba(config: Config) -> Model:
    """JambaForCausalLM: Mamba-1 with norms; attention and experts each in every n-th layer."""
    config = config.with_defaults(JAMBA)
    depth = config.layers()
    attention, mixer = grouped(config), mamba_mixer(config, "mamba_", norms=True)
    dense = FeedForward(config.count("intermediate_size"))
    experts = dense
    if config.count("num_experts", "num_local_experts") > 1:
        experts = mixture(
            config, ("num_experts", "num_local_experts"), width=config.count("intermediate_size")
        )
    period, offset = config.count("attn_layer_period"), config.count("attn_layer_offset", least=0)
    each, first = config.count("expert_layer_period"), config.count("expert_layer_offset", least=0)
    for name, of, within in (("attn", offset, period), ("expert", first, each)):
        if of >= within:
            raise config.error(f"{name}_layer_offset", f"must be less than the period of {within}")
    recurrent = recurrent_layers(config, depth, [index % period != offset for index in range(depth)])
    return model_of(
        config,
        [
            Layers(1, mixer if recurrent[index] else attention, experts if index % each == first else dense)
            for index in range(depth)
        ],
    )


def bamba(config: Config) -> Model:
    """BambaForCausalLM: Mamba-2 with attention in the layers that are listed."""
    config = config.with_defaults(BAMBA)
    depth, bias = config.layers(), config.flag("attention_bias")
    chosen = config.counts("attn_layer_indices") or []
    attention = grouped(config, qkv_bias=bias, output_bias=bias)
    mixer = _prefixed_mamba2(config)
    dense = FeedForward(config.count("intermediate_size"), bias=config.flag("mlp_bias"))
    recurrent = recurrent_layers(config, depth, [index not in chosen for index in range(depth)])
    return model_of(config, [Layers(1, mixer if r else attention, dense) for r in recurrent])


def granitemoehybrid(config: Config) -> Model:
    """GraniteMoeHybridForCausalLM: a shared part in every layer, experts beside it where there are any."""
    config = config.with_defaults(GRANITE_HYBRID)
    depth, bias = config.layers(), config.flag("attention_bias")
    attention = grouped(config, qkv_bias=bias, output_bias=bias)
    mixer = _prefixed_mamba2(config)
    shared = config.count("shared_intermediate_size")
    feed_forward = FeedForward(shared)
    if config.count("num_local_experts", least=0):
        feed_forward = mixture(
            config, ("num_local_experts",), width=config.count("intermediate_size"), shared_width=shared
        )
    recurrent = recurrent_layers(config, depth, [True] * depth)
    return model_of(config, [Layers(1, mixer if r else attention, feed_forward) for r in recurrent])


_BLOCKS = {
    "M": "mamba", "*": "attention", "-": "mlp", "E": "moe", "mamba": "mamba", "linear_attention": "mamba",
    "attention": "attention", "full_attention": "attention", "mlp": "mlp", "moe": "moe",
}  # fmt: skip


def _nemotron_experts(config: Config) -> Layers:
    """Experts beside one shared expert, which alone has biases, as have the projections to the latent width."""
    shared, latent_width = (
        config.count("moe_shared_expert_intermediate_size"),
        config.maybe("moe_latent_size"),
    )
    experts = mixture(
        config, ("n_routed_experts", "num_local_experts"), width=config.count("moe_intermediate_size"), gated=False,
        shared_width=shared, latent_width=latent_width,
    )  # fmt: skip
    width = config.count("hidden_size")
    biases = shared + width + (latent_width + width if latent_width else 0)
    return Layers(1, NoMixer(), experts, 1, other_vector=biases * config.flag("mlp_bias"))


def nemotron_h(config: Config) -> Model:
    """NemotronHForCausalLM: a layer is one block: Mamba-2, attention, a dense part or experts, behind one norm."""
    config = config.with_defaults(NEMOTRON_H)
    name = "layer_types" if config.given("layer_types") else "layers_block_type"
    words = config.words(name)
    if words is None:
        name = "hybrid_override_pattern"
        words = list(config.word(name))
    if not words:
        raise config.error(name, "is missing: it says what each layer is")
    if len(words) > 10_000 or not set(words) <= set(_BLOCKS):
        raise config.error(name, "has a layer that this architecture does not know")
    if config.given("num_hidden_layers") and config.layers() != len(words):
        raise config.error("num_hidden_layers", f"is not the length of {name}, {len(words)}")
    # The first release of the class has another word for the width of a head.
    head_dim = config.count("head_dim", "attention_head_dim")
    mlp_bias = config.flag("mlp_bias")
    blocks: dict[str, Layers] = {}
    kinds = {_BLOCKS[word] for word in words}
    if "mamba" in kinds:
        mixer = mamba2_mixer(
            config, config.count("mamba_num_heads"), config.count("mamba_head_dim"),
            config.count("mamba_n_groups", "n_groups"), config.count("ssm_state_size"),
            config.count("mamba_d_conv", "conv_kernel"),
            conv_bias=config.flag("mamba_conv_bias", "use_conv_bias", default=True), bias=config.flag("use_bias"),
        )  # fmt: skip
        blocks["mamba"] = Layers(1, mixer, FeedForward(0), 1)
    if "attention" in kinds:
        attention = grouped(config, head_dim=head_dim)
        blocks["attention"] = Layers(1, attention, FeedForward(0), 1)
    if "mlp" in kinds:
        dense = FeedForward(config.count("intermediate_size"), gated=False, bias=mlp_bias)
        blocks["mlp"] = Layers(1, NoMixer(), dense, 1)
    if "moe" in kinds:
        blocks["moe"] = _nemotron_experts(config)
    # The class has no attention bias and no tied head, whatever the file says.
    return model_of(config, [blocks[_BLOCKS[word]] for word in words], tied_embeddings=False)


def falcon_h1(config: Config) -> Model:
    """FalconH1ForCausalLM: attention and Mamba-2 side by side in each layer."""
    config = config.with_defaults(FALCON_H1)
    bias = config.flag("attention_bias")
    inner = config.count("mamba_expand") * config.count("hidden_size")
    if not null(config, "mamba_d_ssm"):
        inner = config.count("mamba_d_ssm")
    mixer = _prefixed_mamba2(
        config, inner=inner, norm=config.flag("mamba_rms_norm"), out_bias=config.flag("projectors_bias")
    )
    layer = Layers(
        config.layers(),
        grouped(config, qkv_bias=bias, output_bias=bias),
        FeedForward(config.count("intermediate_size"), bias=config.flag("mlp_bias")),
        beside=mixer,
    )
    return model_of(config, [layer])


def _gated(config: Config) -> GroupedAttention:
    """Qwen3-Next's full attention: an output gate as wide as the queries, norms of queries and keys."""
    bias = config.flag("attention_bias")
    gate = config.flag("attn_output_gate", default=True)
    return grouped(config, query_key_norm=True, gate=gate, qkv_bias=bias, output_bias=bias)


def _every_nth(config: Config, depth: int) -> list[bool]:
    """All layers are recurrent but each n-th."""
    interval = config.count("full_attention_interval")
    return [(index + 1) % interval != 0 for index in range(depth)]


def _with_delta(config: Config, feed_forwards: list[FeedForward], **more: Any) -> Model:
    depth = config.layers()
    attention, mixer = _gated(config), delta_mixer(config)
    mixers: list[Attention] = [
        mixer if r else attention for r in recurrent_layers(config, depth, _every_nth(config, depth))
    ]
    layers = [Layers(1, one, part) for one, part in zip(mixers, feed_forwards, strict=True)]
    return model_of(config, layers, **more)


def _shared_mixture(config: Config) -> FeedForward:
    return mixture(
        config, ("num_experts",), width=config.count("moe_intermediate_size"),
        shared_width=config.count("shared_expert_intermediate_size", least=0), shared_gate=True,
    )  # fmt: skip


def qwen3_next(config: Config) -> Model:
    """Qwen3NextForCausalLM: gated delta rule, each fourth layer gated attention; a shared expert with a gate.

    Its checkpoints have an MTP layer that the config does not mention.
    """
    config = config.with_defaults(QWEN3_NEXT)
    depth, dense = config.layers(), FeedForward(config.count("intermediate_size"))
    experts = _shared_mixture(config) if config.count("num_experts", least=0) else dense
    step, plain = config.count("decoder_sparse_step", default=1), config.counts("mlp_only_layers") or []
    parts = [experts if index not in plain and (index + 1) % step == 0 else dense for index in range(depth)]
    return _with_delta(config, parts)


def _next_token(config: Config, part: FeedForward) -> dict[str, int]:
    """The MTP layers of Qwen3.5: full attention, a product that joins two inputs, three norms."""
    count = config.count("mtp_num_hidden_layers", default=0, least=0)
    width = config.count("hidden_size")
    layer = Layers(1, _gated(config), part)
    one = Model("mtp", width, 0, (layer,), final_norms=0).parameters
    joined = 2 * width * width + 3 * width
    return {"mtp_layers": count, "mtp_parameters": count * one + joined * (count > 0)}


def qwen3_5(config: Config) -> Model:
    """Qwen3_5ForCausalLM, the text part of Qwen3.5: as Qwen3-Next with dense parts."""
    config = config.with_defaults(QWEN3_5)
    dense = FeedForward(config.count("intermediate_size"))
    return _with_delta(config, [dense] * config.layers(), **_next_token(config, dense))


def qwen3_5_moe(config: Config) -> Model:
    """Qwen3_5MoeForCausalLM: as Qwen3-Next with experts in every layer."""
    config = config.with_defaults(QWEN3_5_MOE)
    experts = _shared_mixture(config)
    return _with_delta(config, [experts] * config.layers(), **_next_token(config, experts))


def minimax(config: Config) -> Model:
    """MiniMaxForCausalLM, MiniMaxM1ForCausalLM: lightning attention, softmax attention in the layers listed.

    The state of lightning attention is in the format of the activations.
    """
    config = config.with_defaults(MINIMAX)
    depth, width = config.layers(), config.count("hidden_size")
    attention = grouped(config)
    heads, head_dim = attention.heads, attention.head_dim
    inner = heads * head_dim
    mixer = RecurrentMixer(
        "lightning",
        heads,
        head_dim,
        head_dim,
        width * 3 * inner + 2 * width * inner,
        inner,
        state_format="bf16",
    )
    shared = config.count("shared_intermediate_size", default=0, least=0)
    experts = mixture(
        config, ("num_local_experts",), width=config.count("intermediate_size"), shared_width=shared
    )
    if shared and config.word("shared_moe_mode") == "sigmoid":
        raise config.error("shared_intermediate_size", "a gated shared expert is not understood")
    flags = config.counts("attn_type_list", depth)
    if flags is not None:
        recurrent = [flag == 0 for flag in flags[:depth]]
    else:
        recurrent = recurrent_layers(config, depth, [index % 2 == 1 for index in range(depth)])
    return model_of(config, [Layers(1, mixer if r else attention, experts) for r in recurrent])


def _short_conv(config: Config) -> RecurrentMixer:
    """LFM2's gated short convolution: its last inputs are all that it keeps."""
    width, kernel, bias = config.count("hidden_size"), config.count("conv_L_cache"), config.flag("conv_bias")
    vector = width * kernel + 5 * width * bias
    return RecurrentMixer("short-conv", 1, 0, 0, 4 * width * width, vector, width, kernel)


def _lfm2_mixers(config: Config, depth: int) -> list[Attention]:
    attention, conv = grouped(config, query_key_norm=True), _short_conv(config)
    words = config.words("layer_types", depth)
    if words is None:
        full = config.counts("full_attn_idxs")
        words = ["full_attention" if full is None or i in full else "conv" for i in range(depth)]
    if not set(words) <= {"full_attention", "conv"}:
        raise config.error("layer_types", "has a word that this architecture does not know")
    if len(words) != depth:
        raise config.error("layer_types", f"has {len(words)} entries for {depth} layers")
    return [attention if word == "full_attention" else conv for word in words]


def _lfm2_tied(config: Config) -> bool:
    """LFM2's own word goes before the usual one."""
    return config.flag("tie_embedding", "tie_word_embeddings", default=True)


def lfm2(config: Config) -> Model:
    """Lfm2ForCausalLM: short convolutions with attention between; two thirds of the inner width, rounded up."""
    config = config.with_defaults(LFM2)
    inner = config.count("block_ff_dim", "intermediate_size")
    if config.flag("block_auto_adjust_ff_dim", default=True):
        inner = 2 * inner // 3
        if not null(config, "block_ffn_dim_multiplier"):
            inner = int(config.number("block_ffn_dim_multiplier") * inner)
            multiple = config.count("block_multiple_of")
            inner = -(-inner // multiple) * multiple
    layers = [Layers(1, mixer, FeedForward(inner)) for mixer in _lfm2_mixers(config, config.layers())]
    return model_of(config, layers, tied_embeddings=_lfm2_tied(config))


def lfm2_moe(config: Config) -> Model:
    """Lfm2MoeForCausalLM: as LFM2, experts behind the first dense layers; the correction bias is a buffer."""
    config = config.with_defaults(LFM2_MOE)
    depth, first = config.layers(), config.count("num_dense_layers", least=0)
    dense = FeedForward(config.count("intermediate_size"))
    experts = mixture(config, ("num_experts",), width=config.count("moe_intermediate_size"))
    mixers = _lfm2_mixers(config, depth)
    layers = [Layers(1, mixer, dense if i < first else experts) for i, mixer in enumerate(mixers)]
    return model_of(config, layers, tied_embeddings=_lfm2_tied(config))


def kimi_mixer(config: Config, heads: int, dim: int, kernel: int, *, low_rank: bool = True) -> RecurrentMixer:
    """Kimi delta attention: a decay for each channel; gate and decay go through a head's width if `low_rank`."""
    width, inner = config.count("hidden_size"), heads * dim
    side = width * dim + dim * inner if low_rank else width * inner
    matrix = 3 * width * inner + 2 * side + width * heads + inner * width
    vector = 3 * inner * kernel + heads + inner + dim
    return RecurrentMixer(
        "kimi-delta", heads, dim, dim, matrix, vector, 3 * inner, kernel, state_format=state_format(config)
    )


def _kimi_delta(config: Config) -> RecurrentMixer:
    """Kimi's mixer by the table inside that its files have, or by the names of the class."""
    inside = config.section("linear_attn_config")
    facts = {}
    for name, within, default in (
        ("linear_num_heads", "num_heads", 32), ("linear_head_dim", "head_dim", 128),
        ("linear_conv_kernel_dim", "short_conv_kernel_size", 4),
    ):  # fmt: skip
        facts[within] = config.count(name, default=default)
        if inside is not None:
            facts[within] = inside.count(within, default=facts[within])
    return kimi_mixer(config, facts["num_heads"], facts["head_dim"], facts["short_conv_kernel_size"])


def _kimi_recurrent(config: Config, depth: int) -> list[bool]:
    """Which layers are recurrent where `layer_types` does not say so: by two lists that count from one."""
    inside = config.section("linear_attn_config")
    if inside is None or not (inside.given("full_attn_layers") or inside.given("kda_layers")):
        return [index == 0 or index % 4 != 0 for index in range(depth)]
    full, delta = set(inside.counts("full_attn_layers") or ()), set(inside.counts("kda_layers") or ())
    if full & delta or full | delta != set(range(1, depth + 1)):
        raise inside.error("kda_layers", f"and full_attn_layers do not share out the {depth} layers")
    return [index + 1 in delta for index in range(depth)]


def kimi_linear(config: Config) -> Model:
    """KimiLinearForCausalLM: Kimi delta attention, latent attention without rotary part in some layers."""
    config = config.with_defaults(KIMI_LINEAR)
    depth = config.layers()
    mixer = _kimi_delta(config)
    recurrent = recurrent_layers(config, depth, _kimi_recurrent(config, depth))
    dense = FeedForward(config.count("intermediate_size"))
    experts = mixture(
        config, ("num_experts", "num_local_experts"), ("num_experts_per_token", "num_experts_per_tok"),
        width=config.count("moe_intermediate_size"),
        shared_width=config.count("moe_intermediate_size")
        * config.count("num_shared_experts", "n_shared_experts", least=0),
    )  # fmt: skip
    attention = latent(config)
    parts = sparse_layers(config, depth)
    return model_of(
        config,
        [
            Layers(1, mixer if r else attention, experts if s else dense)
            for r, s in zip(recurrent, parts, strict=True)
        ],
        context_limit_tokens=config.maybe("model_max_length", "max_position_embeddings"),
        tied_embeddings=False,
    )
