"""Towers that see or hear, and what joins them to the text: their parameters, which stand apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from memcalc.readers.architectures.config import Config


def blocks(
    depth: int, width: int, inner: int, *, attention_bias: bool = True, mlp_bias: bool = True, gated: bool = False,
    norms: int = 4, more: int = 0,
) -> int:  # fmt: skip
    """Parameters of a transformer encoder; `norms` counts vectors of its width a layer (a LayerNorm has two).

    >>> blocks(1, 8, 16)
    600
    """
    attention = 4 * width * width + 4 * width * attention_bias
    ups = 2 if gated else 1
    mlp = (ups + 1) * width * inner + (ups * inner + width) * mlp_bias
    return depth * (attention + mlp + norms * width + more)


def _even(v: Config, name: str, whole: int, part: int) -> int:
    if whole < part:
        raise v.error(name, f"is larger than {whole}")
    return whole // part


def _patches(v: Config, width: int) -> int:
    return v.count("num_channels", "in_channels", "in_chans", default=3) * v.count("patch_size") ** 2 * width


def _positions(v: Config) -> int:
    return _even(v, "patch_size", v.count("image_size"), v.count("patch_size")) ** 2


def siglip(v: Config) -> int:
    """SigLIP: learned positions, a norm behind the encoder, and a pooling head where it is used."""
    v = v.with_defaults({
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "image_size": 224, "patch_size": 16,
    })  # fmt: skip
    return _siglip(v, _positions(v), head=v.flag("vision_use_head", default=True))


def _siglip(v: Config, positions: int, *, head: bool) -> int:
    width, inner = v.count("hidden_size"), v.count("intermediate_size")
    total = _patches(v, width) + width + positions * width + blocks(v.layers(), width, inner) + 2 * width
    if head:
        total += width + 4 * width * width + 4 * width + 2 * width + 2 * width * inner + inner + width
    return total


def clip(v: Config) -> int:
    """CLIP: a class token, learned positions, norms before and behind the encoder."""
    v = v.with_defaults({
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "image_size": 224, "patch_size": 32,
    })  # fmt: skip
    width = v.count("hidden_size")
    total = width + _patches(v, width) + (_positions(v) + 1) * width + 4 * width
    return total + blocks(v.layers(), width, v.count("intermediate_size"))


def pixtral(v: Config) -> int:
    """Pixtral: rotary positions, gated, no biases, one norm before the encoder."""
    v = v.with_defaults({
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "patch_size": 16,
    })  # fmt: skip
    width, inner = v.count("hidden_size"), v.count("intermediate_size")
    encoder = blocks(v.layers(), width, inner, attention_bias=False, mlp_bias=False, gated=True, norms=2)
    return _patches(v, width) + width + encoder


def siglip2(v: Config) -> int:
    """SigLIP 2: SigLIP with a table of positions of its own size."""
    v = v.with_defaults({
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "patch_size": 16, "num_patches": 256,
    })  # fmt: skip
    return _siglip(v, v.count("num_patches"), head=v.flag("vision_use_head", default=True))


def idefics3(v: Config) -> int:
    """Idefics 3 and SmolVLM: SigLIP without a pooling head."""
    v = v.with_defaults({
        "hidden_size": 1152, "intermediate_size": 3072, "num_hidden_layers": 12, "image_size": 224, "patch_size": 32,
    })  # fmt: skip
    return _siglip(v, _positions(v), head=False)


def _pair(v: Config, name: str) -> tuple[int, int]:
    """A size in two directions: a list of two, or one number for both."""
    if not isinstance(v.get(name), list):
        return v.count(name), v.count(name)
    sizes = v.counts(name, 2, least=1) or []
    return sizes[0], sizes[1]


def internvl(v: Config) -> int:
    """InternVL: a class token, learned positions, scales behind both parts, norms of queries and keys on demand."""
    v = v.with_defaults({
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "image_size": 448, "patch_size": 14,
    })  # fmt: skip
    width, (high, wide), (tall, broad) = (
        v.count("hidden_size"),
        _pair(v, "image_size"),
        _pair(v, "patch_size"),
    )
    norm = v.word("norm_type", default="layer_norm")
    if norm not in {"layer_norm", "rms_norm"}:
        raise v.error("norm_type", "must be layer_norm or rms_norm")
    positions = _even(v, "patch_size", high, tall) * _even(v, "patch_size", wide, broad) + 1
    total = (
        width * (1 + v.flag("use_mask_token"))
        + v.count("num_channels", default=3) * tall * broad * width
        + width
    )
    total += positions * width * v.flag("use_absolute_position_embeddings", default=True)
    biases = 3 * width * v.flag("attention_bias") + width
    norms = 2 + (4 if norm == "layer_norm" else 2) + 2 * v.flag("use_qk_norm")
    total += blocks(
        v.layers(),
        width,
        v.count("intermediate_size"),
        attention_bias=False,
        norms=norms,
        more=biases,
    )
    return total + 2 * width * (not v.flag("use_mean_pooling", default=True))


#: Towers by the `model_type` of a vision config.
TOWERS: Mapping[str, Callable[[Config], int]] = {
    "siglip_vision_model": siglip, "siglip2_vision_model": siglip2, "clip_vision_model": clip, "pixtral": pixtral,
    "internvl_vision": internvl, "idefics3_vision": idefics3, "smolvlm_vision": idefics3,
}  # fmt: skip


def tower(v: Config) -> int:
    """The tower that a vision config names; FileError where it is not known."""
    word = v.word("model_type")
    if word not in TOWERS:
        raise v.error("model_type", "is not a vision tower that is known")
    return TOWERS[word](v)


def qwen2_vl(v: Config) -> int:
    """Qwen2-VL: frames in pairs, LayerNorms, a merger of four patches to the width of the text."""
    v = v.with_defaults({
        "depth": 32, "embed_dim": 1280, "hidden_size": 3584, "mlp_ratio": 4, "patch_size": 14,
        "spatial_merge_size": 2, "temporal_patch_size": 2,
    })  # fmt: skip
    width, merged = v.count("embed_dim"), v.count("embed_dim") * v.count("spatial_merge_size") ** 2
    inner = int(width * v.number("mlp_ratio"))
    total = _patches(v, width) * v.count("temporal_patch_size") + blocks(v.layers("depth"), width, inner)
    return (
        total
        + 2 * width
        + merged * merged
        + merged
        + merged * v.count("hidden_size")
        + v.count("hidden_size")
    )


def qwen2_5_vl(v: Config) -> int:
    """Qwen2.5-VL: frames in pairs, RMSNorms, gated with biases, a merger to the width of the text."""
    v = v.with_defaults({
        "depth": 32, "hidden_size": 3584, "intermediate_size": 3420, "out_hidden_size": 3584, "patch_size": 14,
        "spatial_merge_size": 2, "temporal_patch_size": 2,
    })  # fmt: skip
    width, out = v.count("hidden_size"), v.count("out_hidden_size")
    merged = width * v.count("spatial_merge_size") ** 2
    encoder = blocks(v.layers("depth"), width, v.count("intermediate_size"), gated=True, norms=2)
    total = _patches(v, width) * v.count("temporal_patch_size") + encoder
    return total + width + merged * merged + merged + merged * out + out


def qwen3_vl(v: Config) -> int:
    """Qwen3-VL and Qwen3.5: learned positions, a merger, and one more for each layer that is fed deep into the text."""
    v = v.with_defaults({
        "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "out_hidden_size": 3584, "patch_size": 16,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 2304,
    })  # fmt: skip
    width, out = v.count("hidden_size"), v.count("out_hidden_size")
    merged = width * v.count("spatial_merge_size") ** 2
    total = _patches(v, width) * v.count("temporal_patch_size") + width
    total += v.count("num_position_embeddings") * width
    total += blocks(v.layers("depth"), width, v.count("intermediate_size"))
    merger = merged * merged + merged + merged * out + out
    deep = len(v.counts("deepstack_visual_indexes") or ())
    return total + merger + 2 * width + deep * (merger + 2 * merged)


def qwen3_vl_deep(v: Config) -> int:
    """Qwen3-VL where three layers are fed deep into the text unless the file says otherwise."""
    return qwen3_vl(v.with_defaults({"deepstack_visual_indexes": [8, 16, 24]}))


def glm4v(v: Config) -> int:
    """GLM-4V: frames in pairs, learned positions, gated, patches merged by a convolution and a gated part.

    The inner width of its layers is that of the text; the one that is named so is of the merger.
    """
    v = v.with_defaults({
        "depth": 24, "hidden_size": 1536, "intermediate_size": 13696, "out_hidden_size": 4096, "image_size": 336,
        "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
    })  # fmt: skip
    width, out = v.count("hidden_size"), v.count("out_hidden_size")
    total = _patches(v, width) * v.count("temporal_patch_size") + width + _positions(v) * width + 2 * width
    total += blocks(
        v.layers("depth"),
        width,
        out,
        attention_bias=False,
        mlp_bias=False,
        gated=True,
        norms=2,
        more=3 * width * v.flag("attention_bias"),
    )
    merged = width * v.count("spatial_merge_size") ** 2 * out + out
    return total + merged + out * out + 2 * out + 3 * out * v.count("intermediate_size")


def llama4(v: Config) -> int:
    """Llama 4: a class token, learned positions, an adapter behind a pixel shuffle."""
    v = v.with_defaults({
        "hidden_size": 768, "intermediate_size": 5632, "num_hidden_layers": 34, "image_size": 448, "patch_size": 14,
        "projector_input_dim": 4096, "projector_output_dim": 4096,
    })  # fmt: skip
    width, inner = v.count("hidden_size"), v.count("intermediate_size")
    total = width + (_positions(v) + 1) * width + _patches(v, width) + 4 * width
    total += blocks(v.layers(), width, inner)
    # The class takes the inner width for that of four patches side by side.
    return total + inner * v.count("projector_input_dim") + v.count("projector_output_dim") ** 2


def mllama(v: Config) -> int:
    """Llama 3.2 Vision: tiles with positions of their own, a global encoder with gates behind the first."""
    v = v.with_defaults({
        "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_global_layers": 8,
        "image_size": 448, "patch_size": 14, "max_num_tiles": 4,
    })  # fmt: skip
    width, inner = v.count("hidden_size"), v.count("intermediate_size")
    tiles, ratios = v.count("max_num_tiles"), v.get("supported_aspect_ratios")
    known = (len(ratios) if isinstance(ratios, list) else 8) + 1
    positions = _positions(v) + 1
    total = width + _patches(v, width) + 1 + positions * width + known * tiles * positions * width
    total += 2 * (1 + known * tiles * width) + 4 * width
    total += blocks(v.layers(), width, inner, attention_bias=False)
    return total + blocks(v.count("num_global_layers", least=0), width, inner, attention_bias=False, more=2)


def gemma4(v: Config) -> int:
    """Gemma 4: a table of positions each way, norms of queries and keys, gated, four norms a layer."""
    v = v.with_defaults({
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 16, "patch_size": 16, "head_dim": 64,
        "num_attention_heads": 12, "position_embedding_size": 10240,
    })  # fmt: skip
    width, inner, head = v.count("hidden_size"), v.count("intermediate_size"), v.count("head_dim")
    heads = v.count("num_attention_heads")
    shared = v.count("num_key_value_heads", default=heads)
    attention = 2 * width * (heads + shared) * head + 2 * head
    layer = attention + 3 * width * inner + 4 * width
    return 2 * v.count("position_embedding_size") * width + _patches(v, width) + v.layers() * layer


def gemma4_audio(v: Config) -> int:
    """Gemma 4: two convolutions, conformer layers (two dense parts, attention, a convolution), one projection."""
    v = v.with_defaults({
        "hidden_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 8, "conv_kernel_size": 5,
        "output_proj_dims": 1536,
    })  # fmt: skip
    width, heads, out = v.count("hidden_size"), v.count("num_attention_heads"), v.count("output_proj_dims")
    if width % heads:
        raise v.error("num_attention_heads", f"does not divide the width of {width}")
    first, second = (v.counts("subsampling_conv_channels", 2, least=1) or [128, 32])[:2]
    convolutions = 10 * first + 9 * first * second + second + first // 4 * second * width
    layers = v.layers() * _conformer(width, heads, v.count("conv_kernel_size"))
    return convolutions + layers + width * out + out


def _conformer(width: int, heads: int, kernel: int) -> int:
    """A conformer layer of Gemma: two dense parts, attention, a convolution; nine norms, a scale of one head."""
    # Sixteen squares in the dense parts, five in attention (one for distances), three around the convolution.
    return 24 * width**2 + (9 + kernel) * width + width // heads


def gemma3n_audio(v: Config) -> int:
    """Gemma 3n: two convolutions over time and frequency, the conformer layers of Gemma 4."""
    v = v.with_defaults({
        "hidden_size": 1536, "conf_num_hidden_layers": 12, "conf_num_attention_heads": 8, "conf_conv_kernel_size": 5,
        "input_feat_size": 128, "sscp_conv_channel_size": [128, 32], "sscp_conv_kernel_size": [[3, 3], [3, 3]],
        "sscp_conv_stride_size": [[2, 2], [2, 2]],
    })  # fmt: skip
    width, heads = v.count("hidden_size"), v.count("conf_num_attention_heads")
    if width % heads:
        raise v.error("conf_num_attention_heads", f"does not divide the width of {width}")
    channels = (v.counts("sscp_conv_channel_size", 2, least=1) or [])[:2]
    kernels, strides = _pairs(v, "sscp_conv_kernel_size"), _pairs(v, "sscp_conv_stride_size")
    total, seen, bins = 0, 1, v.count("input_feat_size")
    for out, (tall, broad), (_, stride) in zip(channels, kernels, strides, strict=True):
        # A bin of padding on either side.
        bins = (bins + 2 - broad) // stride + 1
        if bins < 1:
            raise v.error("sscp_conv_kernel_size", "is wider than its input")
        total += seen * out * tall * broad + out
        seen = out
    layers = v.layers("conf_num_hidden_layers")
    return total + seen * bins * width + layers * _conformer(width, heads, v.count("conf_conv_kernel_size"))


def _pairs(v: Config, name: str) -> list[tuple[int, int]]:
    """The sizes of two convolutions, each in two directions."""
    pairs = v.get(name)
    if not isinstance(pairs, list) or len(pairs) != 2:
        raise v.error(name, "must be a list of two pairs")
    return [_pair(Config({name: pair}, v.file, {}, v.path), name) for pair in pairs]


#: Towers of timm by name: their layers are not in the config; counted in timm 1.0.31.
TIMM: Mapping[str, int] = {"mobilenetv5_300m_enc": 294_126_912}


def whisper(v: Config) -> int:
    """Whisper's encoder, in Qwen2-Audio and Voxtral: two convolutions, positions, keys without biases."""
    v = v.with_defaults({
        "d_model": 1280, "encoder_ffn_dim": 5120, "encoder_layers": 32, "num_mel_bins": 128, "max_source_positions": 1500,
    })  # fmt: skip
    width, inner = v.count("d_model", "hidden_size"), v.count("encoder_ffn_dim", "intermediate_size")
    convolutions = 3 * width * (v.count("num_mel_bins") + width) + 2 * width
    layers = blocks(v.layers("encoder_layers", "num_hidden_layers"), width, inner, more=-width)
    return convolutions + v.count("max_source_positions") * width + layers + 2 * width


def idefics2(v: Config) -> int:
    """Idefics 2: SigLIP without a pooling head."""
    v = v.with_defaults({
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "image_size": 224, "patch_size": 32,
    })  # fmt: skip
    return _siglip(v, _positions(v), head=False)


def ovis2(v: Config) -> int:
    """Ovis 2: gated layers, RMSNorms, and a head that scores a vocabulary of looks."""
    v = v.with_defaults({
        "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24, "image_size": 224, "patch_size": 14,
        "vocab_size": 16384, "hidden_stride": 1, "num_visual_indicator_tokens": 5,
    })  # fmt: skip
    width, inner = v.count("hidden_size"), v.count("intermediate_size")
    words = v.count("vocab_size") - v.count("num_visual_indicator_tokens", least=0)
    if words < 1:
        raise v.error("num_visual_indicator_tokens", "leaves no word of the vocabulary")
    total = _patches(v, width) + width + _positions(v) * width + 2 * width
    total += blocks(
        v.layers(), width, inner, attention_bias=v.flag("qkv_bias"), mlp_bias=v.flag("mlp_bias"), gated=True, norms=2,
    )  # fmt: skip
    return total + width * v.count("hidden_stride") ** 2 * words + 2 * words


def intern_vit(v: Config) -> int:
    """InternViT as InternVLChatModel has it: InternVL's tower by older names, without a norm behind it."""
    v = v.with_defaults({
        "hidden_size": 3200, "intermediate_size": 12800, "num_hidden_layers": 48, "image_size": 224, "patch_size": 14,
    })  # fmt: skip
    names = {
        "attention_bias": v.flag("qkv_bias"), "use_qk_norm": v.flag("qk_normalization", default=True),
        "norm_type": v.word("norm_type", default="rms_norm"), "num_channels": 3,
    }  # fmt: skip
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "image_size", "patch_size")
    return internvl(Config({**{name: v.get(name) for name in sizes}, **names}, v.file, {}, v.path))


def moonvit(v: Config) -> int:
    """MoonViT of Kimi: learned positions in two dimensions, LayerNorms, biases everywhere."""
    v = v.with_defaults({
        "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "patch_size": 14,
        "init_pos_emb_height": 64, "init_pos_emb_width": 64,
    })  # fmt: skip
    width = v.count("vt_hidden_size", "hidden_size")
    total = _patches(v, width) + width
    total += (
        v.count("init_pos_emb_height", "pos_emb_height")
        * v.count("init_pos_emb_width", "pos_emb_width")
        * width
    )
    depth = v.layers("vt_num_hidden_layers", "num_hidden_layers")
    return total + blocks(depth, width, v.count("vt_intermediate_size", "intermediate_size")) + 2 * width
