"""Models with towers beside the text: the text by its own rules, the towers counted apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from memcalc.model import FeedForward, Layers, Model
from memcalc.readers import architectures
from memcalc.readers.architectures import dense, experts, vision
from memcalc.readers.architectures.config import Config, model_of
from memcalc.readers.architectures.parts import grouped

MLLAMA = {
    "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 40,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072,
}  # fmt: skip
GLM4V = {
    "vocab_size": 151552, "hidden_size": 4096, "intermediate_size": 13696, "num_hidden_layers": 40,
    "num_attention_heads": 32, "num_key_value_heads": 2, "max_position_embeddings": 32768,
}  # fmt: skip
GLM4V_MOE = {"vocab_size": 151424, "max_position_embeddings": 65536, "attention_bias": True}
QWEN2_VL = {
    "vocab_size": 152064, "hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80,
    "num_attention_heads": 64, "num_key_value_heads": 8, "max_position_embeddings": 32768, "max_window_layers": 80,
}  # fmt: skip
QWEN3_VL_MOE = {
    "num_attention_heads": 16, "num_key_value_heads": 16, "intermediate_size": 5632, "max_position_embeddings": 128000,
    "moe_intermediate_size": 1408, "num_experts_per_tok": 4, "num_experts": 60,
}  # fmt: skip
VOXTRAL = {
    "vocab_size": 131072, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 30,
    "num_key_value_heads": 8, "max_position_embeddings": 131072, "head_dim": 128,
}  # fmt: skip
#: The tower of LLaVA where a file has none: CLIP's large one.
CLIP_LARGE = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "image_size": 336, "patch_size": 14,
}  # fmt: skip


def text_of(config: Config, default: str, *, either: bool = False, tied: bool | None = None) -> Model:
    """The text part: in a table of its own, or at the top level in older files; tied as the whole says.

    `default` is the type of the text where the file does not name it. Where the whole says nothing, the
    text does; with `either` it is enough that one of them says so. Where neither does, the class of the
    whole decides if it says so in `tied`, else that of the text.
    """
    inner = next(
        (part for part in ("text_config", "llm_config", "language_config") if config.given(part)), None
    )
    section = config.section(inner) if inner else config
    if section is None:
        section = config
    table = dict(section.table)
    if config.given("tie_word_embeddings") and not (either and not config.flag("tie_word_embeddings")):
        table["tie_word_embeddings"] = config.get("tie_word_embeddings")
    elif tied is not None and table.get("tie_word_embeddings") is None:
        table["tie_word_embeddings"] = tied
    part = Config(table, config.file, {}, section.path)
    word = (part.word("model_type") if section is not config else "") or default
    rules = architectures.rules(word, "")
    classes = part.words("architectures")
    if rules is None and classes and classes[0]:
        rules = architectures.rules("", classes[0])
    # A whole inside a whole has no end.
    whole = rules is not None and rules.__module__ == __name__ and not rules.__name__.endswith("_text")
    if rules is None or whole:
        raise part.error("model_type", "is not a text model that is known")
    return rules(part)


def _vision(config: Config, defaults: dict[str, Any] | None = None) -> Config | None:
    return config.section("vision_config", defaults)


def _tower(config: Config, kind: str, whole: dict[str, Any]) -> Config:
    """The vision config; `kind` is its type where it names none, `whole` stands for it where it is absent."""
    v = _vision(config, {"model_type": kind})
    return v or Config(whole, config.file, {"model_type": kind}, "vision_config.")


def _width(v: Config) -> int:
    """The width of a tower by the default of its class."""
    return v.count("hidden_size", default=1024 if v.word("model_type") == "pixtral" else 768)


def _projected(seen: int, width: int, *, bias: bool) -> int:
    """A projector of two linear layers."""
    return seen * width + width * width + 2 * width * bias


def _features(config: Config) -> int:
    """How many layers of the tower are read together."""
    layers = config.get("vision_feature_layer")
    return len(layers) if isinstance(layers, list) and layers else 1


def llava(config: Config) -> Model:
    """LlavaForConditionalGeneration: a tower and two linear layers."""
    return _llava(config, text_of(config, "llama", either=True))


def _llava(config: Config, text: Model) -> Model:
    tower = _tower(config, "clip_vision_model", CLIP_LARGE)
    bias = config.flag("multimodal_projector_bias", default=True)
    seen = vision.tower(tower) + _projected(_width(tower) * _features(config), text.width, bias=bias)
    return replace(text, vision_parameters=seen)


def llava_next(config: Config) -> Model:
    """LlavaNextForConditionalGeneration: LLaVA with a learned end of line."""
    model = _llava(config, text_of(config, "llama"))
    return replace(model, vision_parameters=model.vision_parameters + model.width)


def mistral3(config: Config) -> Model:
    """Mistral3ForConditionalGeneration: Pixtral, a merger of patches, two linear layers."""
    text = text_of(config, "mistral")
    v = _tower(config, "pixtral", {"patch_size": 14})
    width = _width(v)
    merged = width * config.count("spatial_merge_size", default=2) ** 2
    seen = vision.tower(v) + width + merged * width
    features = width * _features(config)
    seen += _projected(features, text.width, bias=config.flag("multimodal_projector_bias"))
    return replace(text, vision_parameters=seen)


def gemma3(config: Config) -> Model:
    """Gemma3ForConditionalGeneration: SigLIP, one projection and a norm."""
    text, v = text_of(config, "gemma3_text"), _vision(config)
    if v is None:
        return text
    width = v.count("hidden_size", default=768)
    return replace(text, vision_parameters=vision.siglip(v) + width * text.width + width)


def gemma3n(config: Config) -> Model:
    """Gemma3nForConditionalGeneration: MobileNet, an audio tower, and behind each tokens of its own and a projection."""
    text, v, a = text_of(config, "gemma3n_text"), _vision(config), config.section("audio_config")
    seen, notes = 0, text.notes
    if a is not None:
        seen += vision.gemma3n_audio(a) + _embedded(a, 1536, text.width)
    if v is not None:
        seen += _embedded(v, 2048, text.width)
        name = v.word("architecture", default="mobilenetv5_300m_enc")
        if name in vision.TIMM and not v.table_at("model_args"):
            seen += vision.TIMM[name]
        else:
            notes = (*notes, "the vision tower is not counted: its layers are not in the config")
    return replace(text, vision_parameters=seen, notes=notes)


def _embedded(part: Config, default: int, width: int) -> int:
    """What joins a tower of Gemma 3n to the text: a table of tokens, two norms, a projection."""
    seen = part.count("hidden_size", default=default)
    return part.count("vocab_size", default=128) * seen + 2 * seen + seen * width


def gemma4(config: Config) -> Model:
    """Gemma4ForConditionalGeneration: a tower that sees and one that hears, a projection behind each."""
    text, v, a = text_of(config, "gemma4_text"), _vision(config), config.section("audio_config")
    seen = 0 if v is None else vision.gemma4(v) + _width(v) * text.width
    if a is not None:
        seen += vision.gemma4_audio(a) + a.count("output_proj_dims", default=1536) * text.width
    return replace(text, vision_parameters=seen)


def llama4(config: Config) -> Model:
    """Llama4ForConditionalGeneration: a tower with its adapter, one projection."""
    text, v = text_of(config, "llama4_text"), _vision(config)
    # Its head belongs to the text part, which alone says whether it is tied.
    inner = config.section("text_config")
    text = replace(text, tied_embeddings=inner is not None and inner.flag("tie_word_embeddings"))
    if v is None:
        return text
    out = v.count("vision_output_dim", default=7680)
    return replace(text, vision_parameters=vision.llama4(v) + out * text.width)


def mllama_text(config: Config) -> Model:
    """The text part of Llama 3.2 Vision: some layers attend to the image alone and keep nothing of the text."""
    config = config.with_defaults(MLLAMA)
    depth, width = config.layers(), config.count("hidden_size")
    crossing = config.counts("cross_attention_layers")
    crossing = [3, 8, 13, 18, 23, 28, 33, 38] if crossing is None else crossing
    attention = grouped(config)
    cross = replace(attention, cache="none", query_key_norm=True)
    part = FeedForward(config.count("intermediate_size"))
    layers = [
        Layers(1, cross if index in crossing else attention, part, other_vector=2 * (index in crossing))
        for index in range(depth)
    ]
    # Eight rows more, for images and the like, which the head lacks.
    return model_of(config, layers, lookup_parameters=8 * width, tied_embeddings=False)


def mllama(config: Config) -> Model:
    """MllamaForConditionalGeneration: its tower joins the outputs of several layers; the head is never tied."""
    text, v = text_of(config, "mllama_text_model"), _vision(config)
    if v is None:
        return text
    out = v.count("vision_output_dim", default=7680)
    return replace(text, vision_parameters=vision.mllama(v) + out * text.width + text.width)


#: The towers that stand for one which a file omits.
_ONEVISION = {
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 26, "image_size": 384, "patch_size": 14,
    "vision_use_head": False,
}  # fmt: skip
_PALIGEMMA = {
    "hidden_size": 1152, "intermediate_size": 4096, "num_hidden_layers": 27, "image_size": 224, "patch_size": 14,
    "vision_use_head": False,
}  # fmt: skip
_COHERE2 = {
    "hidden_size": 1152, "intermediate_size": 3072, "num_hidden_layers": 27, "image_size": 512, "patch_size": 16,
}  # fmt: skip


def llava_onevision(config: Config) -> Model:
    """LlavaOnevisionForConditionalGeneration: LLaVA-NeXT with SigLIP."""
    text = text_of(config, "qwen2", either=True)
    tower = _tower(config, "siglip_vision_model", _ONEVISION)
    bias = config.flag("multimodal_projector_bias", default=True)
    seen = vision.tower(tower) + _projected(_width(tower) * _features(config), text.width, bias=bias)
    return replace(text, vision_parameters=seen + text.width)


def paligemma(config: Config) -> Model:
    """PaliGemmaForConditionalGeneration: SigLIP and one linear layer, whose width the file states."""
    text = text_of(config, "gemma")
    tower = _tower(config, "siglip_vision_model", _PALIGEMMA)
    out = config.count("projection_dim", default=2048)
    return replace(text, vision_parameters=vision.tower(tower) + _width(tower) * out + out)


def internvl(config: Config) -> Model:
    """InternVLForConditionalGeneration: patches side by side, a norm, two linear layers."""
    text, v = text_of(config, "qwen2", tied=True), _tower(config, "internvl_vision", {})
    projector = _shuffled(config, v.count("hidden_size", default=1024), text.width)
    return replace(text, vision_parameters=vision.tower(v) + projector)


def _shuffled(config: Config, seen: int, width: int) -> int:
    """Patches side by side: a norm and two linear layers."""
    ratio = config.number("downsample_ratio", default=0.5)
    if not 2**-10 <= ratio <= 1:
        raise config.error("downsample_ratio", "must be from 1/1024 to 1")
    merged = seen * int(1 / ratio) ** 2
    return 2 * merged + _projected(merged, width, bias=True)


def idefics3(config: Config) -> Model:
    """Idefics3ForConditionalGeneration and SmolVLM: patches side by side through one matrix."""
    text, v = text_of(config, "llama"), _tower(config, "idefics3_vision", {})
    merged = v.count("hidden_size", default=1152) * config.count("scale_factor", default=2) ** 2
    return replace(text, vision_parameters=vision.idefics3(v) + merged * text.width)


def aya_vision(config: Config) -> Model:
    """AyaVisionForConditionalGeneration: patches side by side, a norm, a gated part."""
    text = text_of(config, "cohere2")
    tower = _tower(config, "siglip_vision_model", _ONEVISION)
    merged = _width(tower) * config.count("downsample_factor", default=2) ** 2
    inner = config.count("alignment_intermediate_size", default=text.width)
    return replace(
        text, vision_parameters=vision.tower(tower) + 2 * merged + _aligned(merged, inner, text.width)
    )


def cohere2_vision(config: Config) -> Model:
    """Cohere2VisionForConditionalGeneration: as Aya Vision without the norm."""
    text = text_of(config, "cohere2")
    tower = _tower(config, "siglip_vision_model", _COHERE2)
    merged = _width(tower) * config.count("downsample_factor", default=2) ** 2
    inner = config.count("alignment_intermediate_size", default=36864)
    return replace(text, vision_parameters=vision.tower(tower) + _aligned(merged, inner, text.width))


def _aligned(merged: int, inner: int, width: int) -> int:
    """A gated part, half of whose first layer is the gate."""
    return merged * inner + inner + inner // 2 * width + width


def lfm2_vl(config: Config) -> Model:
    """Lfm2VlForConditionalGeneration: SigLIP 2, patches side by side, a norm, two linear layers."""
    text, v = text_of(config, "lfm2"), _tower(config, "siglip2_vision_model", {})
    merged = _width(v) * config.count("downsample_factor", default=2) ** 2
    inner, bias = (
        config.count("projector_hidden_size", default=2560),
        config.flag("projector_bias", default=True),
    )
    projector = 2 * merged * config.flag("projector_use_layernorm", default=True)
    projector += merged * inner + inner * text.width + (inner + text.width) * bias
    return replace(text, vision_parameters=vision.tower(v) + projector)


def glm4v_text(config: Config) -> Model:
    """The text part of GLM-4V: GLM-4 with biases of queries, keys and values and even heads."""
    config = config.with_defaults(GLM4V)
    even = config.count("hidden_size") // config.count("num_attention_heads")
    if not even:
        raise config.error("num_attention_heads", "is more than hidden_size")
    attention = grouped(config, head_dim=even, qkv_bias=True)
    return model_of(
        config, [Layers(config.layers(), attention, FeedForward(config.count("intermediate_size")), 4)]
    )


def glm4v_moe_text(config: Config) -> Model:
    """The text part of GLM-4.5V: GLM-4 MoE whose queries, keys and values have biases unless stated."""
    table = {**GLM4V_MOE, **config.table}
    return experts.glm4_moe(
        Config({**table, "use_qk_norm": False}, config.file, config.defaults, config.path)
    )


def _filled(config: Config, defaults: dict[str, Any]) -> Config:
    """The config with the defaults of a text class that differ from those of the family whose rules it shares."""
    table = defaults | {name: value for name, value in config.table.items() if value is not None}
    if "num_key_value_heads" in config.table and not config.given("num_key_value_heads"):
        # Null means as many as there are heads.
        table["num_key_value_heads"] = table["num_attention_heads"]
    return Config(table, config.file, config.defaults, config.path)


def qwen2_vl_text(config: Config) -> Model:
    """The text part of Qwen2-VL and Qwen2.5-VL: Qwen2, as large as its largest unless stated."""
    return dense.qwen2(_filled(config, QWEN2_VL))


def qwen3_vl_moe_text(config: Config) -> Model:
    """The text part of Qwen3-VL-MoE: Qwen3-MoE with other sizes unless stated."""
    return experts.qwen3_moe(_filled(config, QWEN3_VL_MOE))


def _with_tower(
    count: Callable[[Config], int], default: str, *, either: bool = False
) -> Callable[[Config], Model]:
    def rules(config: Config) -> Model:
        text, v = text_of(config, default, either=either), _vision(config)
        return text if v is None else replace(text, vision_parameters=count(v))

    return rules


qwen2_vl = _with_tower(vision.qwen2_vl, "qwen2_vl_text", either=True)
qwen2_5_vl = _with_tower(vision.qwen2_5_vl, "qwen2_vl_text", either=True)
qwen3_vl = _with_tower(vision.qwen3_vl_deep, "qwen3")
qwen3_vl_moe = _with_tower(vision.qwen3_vl_deep, "qwen3_vl_moe_text")
qwen3_5 = _with_tower(vision.qwen3_vl, "qwen3_5_text")
qwen3_5_moe = _with_tower(vision.qwen3_vl, "qwen3_5_moe_text")

glm4v = _with_tower(vision.glm4v, "glm4v_text", either=True)
glm46v = _with_tower(vision.glm4v, "glm4v_text")
glm4v_moe = _with_tower(vision.glm4v, "glm4v_moe_text", either=True)


def kimi(config: Config) -> Model:
    """KimiK25ForConditionalGeneration, KimiVLForConditionalGeneration: MoonViT and a merger of patches."""
    text, v = text_of(config, "deepseek_v3"), _vision(config)
    if v is None:
        return text
    if v.word("mm_projector_type", default="patchmerger") != "patchmerger":
        raise v.error("mm_projector_type", "is not a projector that is known")
    width = v.count("vt_hidden_size", "hidden_size", default=1152)
    sizes = v.counts("merge_kernel_size", 2, least=1) or [2, 2]
    merged = width * sizes[0] * sizes[1]
    projector = 2 * width + merged * merged + merged + merged * text.width + text.width
    return replace(text, vision_parameters=vision.moonvit(v) + projector)


def internvl_chat(config: Config) -> Model:
    """InternVLChatModel: InternVL as published with its own code, the text under `llm_config`."""
    for name in ("use_backbone_lora", "use_llm_lora"):
        if config.get(name):
            raise config.error(name, "adds adapters, which are not known")
    text, v = text_of(config, ""), _vision(config)
    if v is None:
        return text
    projector = _shuffled(config, v.count("hidden_size", default=3200), text.width)
    return replace(text, vision_parameters=vision.intern_vit(v) + projector)


def deepseek_vl(config: Config) -> Model:
    """DeepseekVLForConditionalGeneration: SigLIP and two linear layers."""
    text, v = text_of(config, "llama"), _tower(config, "siglip_vision_model", {})
    projector = _projected(_width(v), text.width, bias=True)
    return replace(text, vision_parameters=vision.tower(v) + projector)


def idefics2(config: Config) -> Model:
    """Idefics2ForConditionalGeneration: a gated part as wide as that of the text, and a perceiver."""
    text, v = text_of(config, "mistral"), _vision(config)
    if v is None:
        return text
    width, inner = text.width, text.layers[0].feed_forward.width
    connector = 2 * v.count("hidden_size", default=768) * inner + inner * width
    p = config.section("perceiver_config") or Config({}, config.file, {}, "perceiver_config.")
    heads, shared = p.count("resampler_n_heads", default=16), p.count("num_key_value_heads", default=4)
    # The class gives the perceiver the width of the text, whatever the file says.
    attention = 2 * width * (heads + shared) * p.count("resampler_head_dim", default=96)
    layers = p.count("resampler_depth", default=3) * (attention + 12 * width**2 + 3 * width)
    perceiver = layers + (p.count("resampler_n_latents", default=64) + 1) * width
    return replace(text, vision_parameters=vision.idefics2(v) + connector + perceiver)


def ovis2(config: Config) -> Model:
    """Ovis2ForConditionalGeneration: a tower that picks words, and a table of what they look like."""
    text, v = text_of(config, "qwen2"), _vision(config)
    if config.count("hidden_size", default=text.width) != text.width:
        raise config.error("hidden_size", f"is not the width of the text, {text.width}")
    if v is None:
        return text
    table = v.count("vocab_size", default=16384) * text.width
    return replace(text, vision_parameters=vision.ovis2(v) + table)


def qwen2_audio(config: Config) -> Model:
    """Qwen2AudioForConditionalGeneration: Whisper's encoder and one linear layer; the head is never tied."""
    text, a = replace(text_of(config, "qwen2"), tied_embeddings=False), config.section("audio_config")
    if a is None:
        return text
    heard = vision.whisper(a) + a.count("d_model", "hidden_size", default=1280) * text.width + text.width
    return replace(text, vision_parameters=heard)


def voxtral(config: Config) -> Model:
    """VoxtralForConditionalGeneration: Whisper's encoder, four frames side by side, two linear layers; the head is never tied."""
    given = config.table_at("text_config")
    table = {**config.table, "text_config": {**VOXTRAL, **given}}
    text = replace(text_of(Config(table, config.file), "llama"), tied_embeddings=False)
    a = config.section("audio_config")
    if a is None:
        return text
    merged = a.count("encoder_ffn_dim", "intermediate_size", default=5120)
    heard = vision.whisper(a) + _projected(merged, text.width, bias=False)
    return replace(text, vision_parameters=heard)
