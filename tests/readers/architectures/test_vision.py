"""Towers beside the text: rules of multimodal models, and the parameters of what sees or hears."""

import pytest

from memcalc.errors import FileError
from memcalc.readers.architectures import vision, wrappers
from memcalc.readers.architectures.config import Config
from memcalc.readers.model_files import model_from

FULL, SLIDING = "full_attention", "sliding_attention"
SMALL = {
    "vocab_size": 100, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96,
    "num_hidden_layers": 2,
}  # fmt: skip


def text(kind, **fields):
    return {"model_type": kind} | SMALL | fields


def tower(kind, **fields):
    sizes = {
        "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
        "image_size": 28, "patch_size": 7,
    }  # fmt: skip
    given = {"model_type": kind} | sizes | fields
    return {name: value for name, value in given.items() if value is not None}


def qwen(**fields):
    return {"depth": 2, "num_heads": 4, "patch_size": 7} | fields


GEMMA_3 = text("gemma3_text", head_dim=16, sliding_window=32)
GEMMA_4 = text("gemma4_text", head_dim=16, sliding_window=32, layer_types=[SLIDING, FULL])
# The type, fields that a file states, parameters of the model that Transformers builds from them, and
# those of them that are not in the language model. What a row leaves out is the default of the class.
# fmt: off
COUNTED = [
    ("llava-1.5-7b", "llava", {"text_config": {"model_type": "llama", "vocab_size": 32064},
     "vision_config": {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096,
     "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336, "patch_size": 14}},
     7_063_427_072, 324_487_168),
    ("llava-no-tower-stated", "llava", {"text_config": text("mistral", head_dim=16),
     "multimodal_projector_bias": False}, 303_651_648, 303_577_088),
    ("llava-two-layers-read", "llava", {"text_config": text("qwen2", tie_word_embeddings=True),
     "vision_config": tower("siglip_vision_model", vision_use_head=False), "vision_feature_layer": [-2,
     -1], "tie_word_embeddings": False}, 96_016, 27_600),
    ("llava-pixtral", "llava", {"text_config": text("llama"), "vision_config": tower("pixtral"),
     "tie_word_embeddings": True}, 95_168, 27_008),
    ("llava-next", "llava_next", {"text_config": text("llama"), "vision_config":
     tower("clip_vision_model")}, 100_272, 25_712),
    ("llava-onevision", "llava_onevision", {"text_config": text("qwen2"), "vision_config":
     tower("siglip_vision_model")}, 107_384, 32_568),
    ("llava-onevision-no-tower-stated", "llava_onevision", {"text_config": text("qwen2"),
     "multimodal_projector_bias": False}, 397_900_448, 397_825_632),
    ("mistral3", "mistral3", {"text_config": text("mistral", head_dim=16), "vision_config":
     tower("pixtral"), "spatial_merge_size": 3, "multimodal_projector_bias": True, "tie_word_embeddings":
     True}, 104_416, 36_256),
    ("mistral3-two-layers-read", "mistral3", {"text_config": text("ministral3", head_dim=16),
     "vision_config": tower("pixtral"), "vision_feature_layer": [-2, -1], "tie_word_embeddings": False},
     107_616, 33_056),
    ("gemma3", "gemma3", {"text_config": GEMMA_3, "vision_config": tower("siglip_vision_model")}, 96_792,
     28_312),
    ("gemma3-no-head", "gemma3", {"text_config": GEMMA_3, "vision_config": tower("siglip_vision_model",
     vision_use_head=False)}, 89_840, 21_360),
    ("gemma4-text-alone", "gemma4", {"text_config": GEMMA_4, "vision_config": None}, 134_766_816, 0),
    ("gemma4-sees", "gemma4", {"text_config": GEMMA_4, "vision_config": tower("gemma4_vision",
     num_key_value_heads=2, head_dim=16, position_embedding_size=40, image_size=None,
     use_clipped_linears=True, standardize=True)}, 134_796_416, 29_600),
    ("gemma4-sees-and-hears", "gemma4", {"text_config": GEMMA_4, "vision_config": tower("gemma4_vision",
     num_key_value_heads=4, head_dim=8, position_embedding_size=40, image_size=None), "audio_config":
     {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "conv_kernel_size": 3,
     "output_proj_dims": 24, "subsampling_conv_channels": [8, 6]}}, 134_845_454, 78_638),
    ("gemma4-hears-by-default", "gemma4", {"text_config": GEMMA_4, "vision_config": None, "audio_config":
     {"model_type": "gemma4_audio"}}, 439_689_728, 304_922_912),
    ("llama4", "llama4", {"text_config": text("llama4_text", head_dim=16, intermediate_size_mlp=80,
     num_local_experts=2, tie_word_embeddings=True), "vision_config": tower("llama4_vision_model",
     intermediate_size=128, vision_output_dim=48, projector_input_dim=56, projector_output_dim=48),
     "tie_word_embeddings": False}, 185_504, 43_360),
    ("mllama", "mllama", {"text_config": text("mllama_text_model", cross_attention_layers=[1],
     pad_token_id=0, tie_word_embeddings=True), "vision_config": {"hidden_size": 32, "intermediate_size":
     40, "num_hidden_layers": 3, "num_global_layers": 2, "attention_heads": 4, "image_size": 28,
     "patch_size": 7, "vision_output_dim": 96, "intermediate_layers_indices": [0, 1]}}, 142_897, 67_791),
    ("mllama-aspect-ratios", "mllama", {"text_config": text("mllama_text_model",
     cross_attention_layers=[0, 1], pad_token_id=0), "vision_config": {"hidden_size": 32,
     "intermediate_size": 40, "num_hidden_layers": 2, "num_global_layers": 1, "attention_heads": 4,
     "image_size": 28, "patch_size": 7, "max_num_tiles": 2, "supported_aspect_ratios": [[1, 1], [1, 2],
     [2, 1]], "vision_output_dim": 64, "intermediate_layers_indices": [1]}}, 110_145, 35_005),
    ("qwen2-vl-flat", "qwen2_vl", SMALL | {"tie_word_embeddings": True, "vision_config":
     qwen(embed_dim=32, hidden_size=64, mlp_ratio=2, temporal_patch_size=1)}, 115_040, 46_624),
    ("qwen2-vl-text-says-tied", "qwen2_vl", {"text_config": text("qwen2_vl_text",
     tie_word_embeddings=True), "tie_word_embeddings": False, "vision_config": qwen(embed_dim=32,
     hidden_size=64, spatial_merge_size=3)}, 205_024, 136_608),
    ("qwen2.5-vl", "qwen2_5_vl", {"text_config": text("qwen2_5_vl_text"), "vision_config":
     qwen(hidden_size=32, intermediate_size=40, out_hidden_size=64)}, 125_504, 50_688),
    ("qwen2.5-vl-flat", "qwen2_5_vl", SMALL | {"vision_config": qwen(hidden_size=32,
     intermediate_size=48, out_hidden_size=64, spatial_merge_size=1)}, 105_472, 30_656),
    ("qwen3-vl", "qwen3_vl", {"text_config": text("qwen3_vl_text", head_dim=16), "vision_config":
     qwen(hidden_size=32, intermediate_size=40, out_hidden_size=64, num_position_embeddings=16,
     deepstack_visual_indexes=[0]), "tie_word_embeddings": True}, 142_000, 73_776),
    ("qwen3-vl-three-deep-by-default", "qwen3_vl", {"text_config": text("qwen3_vl_text", head_dim=16),
     "vision_config": qwen(hidden_size=32, intermediate_size=40, out_hidden_size=64,
     num_position_embeddings=16)}, 198_448, 123_824),
    ("qwen3-vl-moe", "qwen3_vl_moe", {"text_config": text("qwen3_vl_moe_text", head_dim=16, num_experts=4,
     num_experts_per_tok=2, moe_intermediate_size=24), "vision_config": qwen(hidden_size=32,
     intermediate_size=40, out_hidden_size=64, num_position_embeddings=16, deepstack_visual_indexes=[0,
     1]), "tie_word_embeddings": False}, 173_936, 98_800),
    ("qwen3.5", "qwen3_5", {"text_config": text("qwen3_5_text", head_dim=16,
     layer_types=["linear_attention", FULL], linear_num_key_heads=2, linear_num_value_heads=4,
     linear_key_head_dim=8, linear_value_head_dim=8), "vision_config": qwen(hidden_size=32,
     intermediate_size=40, out_hidden_size=64, num_position_embeddings=16), "tie_word_embeddings": True},
     117_728, 48_752),
    ("qwen3.5-moe", "qwen3_5_moe", {"text_config": text("qwen3_5_moe_text", head_dim=16,
     full_attention_interval=2, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8,
     linear_value_head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24,
     shared_expert_intermediate_size=16), "vision_config": qwen(hidden_size=32, intermediate_size=40,
     out_hidden_size=64, num_position_embeddings=16)}, 130_912, 48_752),
    ("paligemma", "paligemma", {"text_config": text("gemma", head_dim=16), "vision_config":
     tower("siglip_vision_model", vision_use_head=False), "projection_dim": 64}, 89_552, 21_392),
    ("paligemma-gemma2", "paligemma", {"text_config": text("gemma2", head_dim=16), "vision_config":
     tower("siglip_vision_model"), "projection_dim": 64}, 96_760, 28_344),
    ("internvl", "internvl", {"text_config": text("qwen2"), "vision_config": tower("internvl_vision",
     image_size=[28, 28], patch_size=[7, 7])}, 100_304, 31_888),
    ("internvl-norms", "internvl", {"text_config": text("llama", tie_word_embeddings=False),
     "vision_config": tower("internvl_vision", image_size=[28, 56], patch_size=14, norm_type="rms_norm",
     use_qk_norm=True, attention_bias=True, use_mask_token=True, use_mean_pooling=False,
     use_absolute_position_embeddings=False), "downsample_ratio": 0.25, "tie_word_embeddings": False},
     145_648, 71_088),
    ("idefics3", "idefics3", {"text_config": text("llama"), "vision_config": tower("idefics3_vision"),
     "scale_factor": 3}, 112_272, 37_712),
    ("smolvlm", "smolvlm", {"text_config": text("llama"), "vision_config": tower("smolvlm_vision"),
     "tie_word_embeddings": True}, 95_632, 27_472),
    ("aya-vision", "aya_vision", {"text_config": text("cohere2"), "vision_config":
     tower("siglip_vision_model", vision_use_head=False), "alignment_intermediate_size": 72}, 99_224,
     31_192),
    ("aya-vision-factor", "aya_vision", {"text_config": text("cohere2"), "vision_config":
     tower("siglip_vision_model"), "downsample_factor": 3}, 115_448, 47_416),
    ("cohere2-vision", "cohere2_vision", {"text_config": text("cohere2"), "vision_config":
     tower("siglip_vision_model"), "alignment_intermediate_size": 72}, 105_920, 37_888),
    ("lfm2-vl", "lfm2_vl", {"text_config": text("lfm2", layer_types=["conv", FULL]), "vision_config":
     tower("siglip2_vision_model", image_size=None, num_patches=16), "projector_hidden_size": 40},
     168_192, 34_272),
    ("lfm2-vl-plain", "lfm2_vl", {"text_config": text("lfm2", layer_types=["conv", FULL]),
     "vision_config": tower("siglip2_vision_model", image_size=None, num_patches=16,
     vision_use_head=False), "projector_hidden_size": 40, "projector_bias": False,
     "projector_use_layernorm": False, "tie_word_embeddings": False}, 167_280, 26_960),
    ("glm-4v", "glm4v", {"text_config": text("glm4v_text"), "vision_config": qwen(hidden_size=32,
     intermediate_size=40, out_hidden_size=64, image_size=28)}, 125_856, 50_784),
    ("glm-4.6v", "glm46v", {"text_config": text("glm4v_text"), "vision_config":
     qwen(model_type="glm4v_vision", hidden_size=32, intermediate_size=40, out_hidden_size=64,
     image_size=28, attention_bias=True, temporal_patch_size=1), "tie_word_embeddings": True}, 114_944,
     46_272),
    ("glm-4.5v", "glm4v_moe", {"text_config": text("glm4v_moe_text", n_routed_experts=4,
     num_experts_per_tok=2, moe_intermediate_size=24, n_shared_experts=2, first_k_dense_replace=1),
     "vision_config": qwen(hidden_size=32, intermediate_size=40, out_hidden_size=64, image_size=28,
     spatial_merge_size=3)}, 145_312, 61_024),
]
# fmt: on


INTERN_VIT = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "image_size": 448, "patch_size": 14,
    "qkv_bias": True, "qk_normalization": False, "norm_type": "layer_norm",
}  # fmt: skip


def sizes(kind, *numbers, **fields):
    names = (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "vocab_size",
    )  # fmt: skip
    return {"model_type": kind} | dict(zip(names, numbers, strict=True)) | fields


QWEN_2_5 = sizes("qwen2", 896, 4864, 24, 14, 2, 151674)


@pytest.mark.parametrize(
    ("tower", "inner", "published"),
    [
        (INTERN_VIT, QWEN_2_5, 938_193_024),
        (INTERN_VIT, sizes("internlm2", 2048, 8192, 24, 16, 8, 92553, bias=False), 2_205_754_368),
        (INTERN_VIT, sizes("internlm2", 4096, 14336, 32, 32, 8, 92553, bias=False), 8_075_365_376),
        ({"image_size": 448, "num_hidden_layers": 45}, sizes("qwen2", 5120, 27648, 64, 40, 8, 151674), 38_388_164_992),
        ({"image_size": 448, "num_hidden_layers": 45}, sizes("qwen2", 8192, 29568, 80, 64, 8, 151674), 78_408_318_336),
    ],
    ids=["1b", "2b", "8b", "38b", "78b"],
)  # fmt: skip
def test_internvl_2_5_has_as_many_parameters_as_its_safetensors_on_the_hub(tower, inner, published):
    table = {"llm_config": inner, "vision_config": tower, "use_llm_lora": 0}
    assert wrappers.internvl_chat(Config(table, "config.json")).parameters == published


def test_the_class_names_a_text_whose_type_does_not():
    inner = QWEN_2_5 | {"model_type": "", "architectures": ["Qwen2ForCausalLM"]}
    table = {"llm_config": inner, "vision_config": INTERN_VIT}
    assert wrappers.internvl_chat(Config(table, "config.json")).parameters == 938_193_024


def test_adapters_of_internvl_are_refused():
    table = {"llm_config": QWEN_2_5, "vision_config": INTERN_VIT, "use_llm_lora": 16}
    with pytest.raises(FileError, match="use_llm_lora = 16: adds adapters"):
        wrappers.internvl_chat(Config(table, "config.json"))


def test_a_saved_kimi_vl_and_its_first_form_are_alike():
    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 40}
    first = {"vt_" + name: value for name, value in sizes.items()}
    first |= {"init_pos_emb_height": 4, "init_pos_emb_width": 6, "mm_projector_type": "patchmerger"}
    saved = sizes | {"pos_emb_height": 4, "pos_emb_width": 6}
    counts = [vision.moonvit(Config(table, "config.json")) for table in (first, saved)]
    assert counts[0] == counts[1]


#: As `COUNTED`, by the rules themselves.
# fmt: off
MORE = [
    ("gemma-3n", wrappers.gemma3n, {"text_config": text("gemma3n_text", head_dim=16,
     num_kv_shared_layers=0, vocab_size_per_layer_input=50, hidden_size_per_layer_input=8, laurel_rank=4,
     altup_num_inputs=2, layer_types=[SLIDING, FULL]), "vision_config": {"vocab_size": 16},
     "audio_config": {"hidden_size": 32, "conf_num_hidden_layers": 2, "conf_num_attention_heads": 4,
     "conf_conv_kernel_size": 3, "input_feat_size": 64, "sscp_conv_channel_size": [12, 6],
     "sscp_conv_kernel_size": [[3, 5], [3, 3]], "sscp_conv_stride_size": [[2, 1], [2, 2]], "vocab_size":
     16}}, 294_436_574, 294_354_206),
    ("kimi-k2.5-saved", wrappers.kimi, {"text_config": {"model_type": "deepseek_v3", "vocab_size": 100,
     "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
     "intermediate_size": 96, "moe_intermediate_size": 24, "n_routed_experts": 4, "num_experts_per_tok":
     2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "q_lora_rank": 16, "kv_lora_rank": 16,
     "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}, "vision_config": {"hidden_size": 32,
     "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 7,
     "pos_emb_height": 4, "pos_emb_width": 6, "merge_kernel_size": [1, 2]}, "projection_hidden_size": 32,
     "tie_word_embeddings": False}, 96_144, 27_920),
    ("deepseek-vl", wrappers.deepseek_vl, {"text_config": text("llama"), "vision_config":
     tower("siglip_vision_model"), "tie_word_embeddings": False}, 107_064, 32_504),
    ("deepseek-vl-no-head", wrappers.deepseek_vl, {"text_config": text("llama"), "vision_config":
     tower("siglip_vision_model", vision_use_head=False), "tie_word_embeddings": True}, 93_712, 25_552),
    ("idefics2", wrappers.idefics2, {"text_config": text("mistral"), "vision_config":
     tower("idefics2_vision"), "perceiver_config": {"hidden_size": 64, "resampler_n_latents": 8,
     "resampler_depth": 2, "resampler_n_heads": 4, "resampler_head_dim": 12, "num_key_value_heads": 2}},
     223_824, 149_264),
    ("idefics2-default-perceiver", wrappers.idefics2, {"text_config": text("mistral"), "vision_config":
     tower("idefics2_vision", intermediate_size=None)}, 1_389_760, 1_315_200),
    ("ovis2", wrappers.ovis2, {"text_config": text("qwen2"), "hidden_size": 64, "vocab_size": 100,
     "vision_config": tower("ovis2_vision", vocab_size=50, hidden_stride=2), "tie_word_embeddings":
     False}, 105_178, 30_362),
    ("ovis2-biases", wrappers.ovis2, {"text_config": text("qwen2"), "hidden_size": 64, "vocab_size": 100,
     "vision_config": tower("ovis2_vision", vocab_size=50, qkv_bias=True, mlp_bias=True,
     num_visual_indicator_tokens=3), "tie_word_embeddings": True}, 95_006, 26_590),
    ("qwen2-audio", wrappers.qwen2_audio, {"text_config": text("qwen2"), "audio_config": {"model_type":
     "qwen2_audio_encoder", "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4,
     "encoder_ffn_dim": 40, "num_mel_bins": 16, "max_source_positions": 20}}, 96_208, 21_392),
    ("qwen2-audio-never-tied", wrappers.qwen2_audio, {"text_config": text("qwen2",
     tie_word_embeddings=True), "audio_config": {"model_type": "qwen2_audio_encoder", "d_model": 32,
     "encoder_layers": 1, "encoder_attention_heads": 4}, "tie_word_embeddings": True}, 477_568, 402_752),
    ("voxtral", wrappers.voxtral, {"text_config": text("llama", head_dim=16), "audio_config":
     {"model_type": "voxtral_encoder", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads":
     4, "intermediate_size": 128, "num_mel_bins": 16, "max_source_positions": 20}}, 117_568, 43_008),
    ("voxtral-heads-by-default", wrappers.voxtral, {"text_config": text("llama"), "audio_config":
     {"model_type": "voxtral_encoder", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads":
     4}}, 979_008, 732_416),
]
# fmt: on


@pytest.mark.parametrize(("rules", "fields", "parameters", "seen"), [row[1:] for row in MORE],
                         ids=[row[0] for row in MORE])  # fmt: skip
def test_parameters_of_more_models_are_those_of_the_built_model(rules, fields, parameters, seen):
    model = rules(Config(fields, "config.json"))
    assert (model.parameters, model.vision_parameters) == (parameters, seen)


@pytest.mark.parametrize(
    ("rules", "fields", "said"),
    [
        (wrappers.gemma3n, {"audio_config": {"conf_num_attention_heads": 7}}, "does not divide the width of 1536"),
        (wrappers.gemma3n, {"audio_config": {"sscp_conv_kernel_size": [[3, 3]]}}, "must be a list of two pairs"),
        (wrappers.gemma3n, {"audio_config": {"input_feat_size": 1, "sscp_conv_kernel_size": [[3, 5], [3, 3]]}},
         "sscp_conv_kernel_size: is wider than its input"),
        (wrappers.ovis2, {"hidden_size": 32}, "hidden_size = 32: is not the width of the text, 64"),
        (wrappers.ovis2, {"vision_config": {"vocab_size": 5}}, "num_visual_indicator_tokens: leaves no word"),
        (wrappers.kimi, {"vision_config": {"mm_projector_type": "mlp"}}, "mm_projector_type = 'mlp': is not a projector"),
    ],
)  # fmt: skip
def test_more_that_does_not_fit_is_refused(rules, fields, said):
    kind = {wrappers.gemma3n: "gemma3n_text", wrappers.ovis2: "qwen2", wrappers.kimi: "llama"}[rules]
    inside = text(kind, head_dim=16, num_kv_shared_layers=0)
    with pytest.raises(FileError) as caught:
        rules(Config({"text_config": inside, **fields}, "config.json"))
    assert said in str(caught.value)


def read(kind, fields):
    return model_from({"model_type": kind, **fields}, "config.json", "made-up")


@pytest.mark.parametrize(("kind", "fields", "parameters", "seen"), [row[1:] for row in COUNTED],
                         ids=[row[0] for row in COUNTED])  # fmt: skip
def test_parameters_are_those_of_the_built_model(kind, fields, parameters, seen):
    model = read(kind, fields)
    assert (model.parameters, model.vision_parameters) == (parameters, seen)


@pytest.mark.parametrize(
    ("fields", "published"),
    [
        # The text of the class itself is that of the 72B.
        ({"vision_config": {"hidden_size": 8192}}, 73_405_560_320),
        ({"vision_config": {}, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
          "num_attention_heads": 28, "num_key_value_heads": 4}, 8_291_375_616),
        ({"vision_config": {"hidden_size": 1536}, "hidden_size": 1536, "intermediate_size": 8960,
          "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151936,
          "tie_word_embeddings": True}, 2_208_985_600),
    ],
    ids=["72b", "7b", "2b"],
)  # fmt: skip
def test_qwen2_vl_has_as_many_parameters_as_its_safetensors_on_the_hub(fields, published):
    assert wrappers.qwen2_vl(Config(fields, "config.json")).parameters == published


def test_mistral_small_3_1_has_as_many_parameters_as_are_published():
    inner = text(
        "mistral", hidden_size=5120, intermediate_size=32768, num_hidden_layers=40, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, vocab_size=131072,
    )  # fmt: skip
    fields = {"text_config": inner, "vision_config": {"model_type": "pixtral", "patch_size": 14}}
    assert read("mistral3", fields).parameters == 24_011_361_280


def test_texts_of_wrappers_have_defaults_of_their_own():
    fields = {"text_config": {"hidden_size": 2048}, "vision_config": {"out_hidden_size": 2048}}
    model = wrappers.qwen3_vl_moe(Config(fields, "config.json"))
    assert (model.parameters, model.vision_parameters) == (14_023_752_944, 538_631_408)
    null = SMALL | {"num_key_value_heads": None}
    (layer, _) = wrappers.qwen2_vl_text(Config(null, "config.json")).layers
    assert layer.attention.kv_heads == 4


def test_a_tower_is_no_part_of_what_a_text_token_uses():
    fields = {"text_config": text("llama"), "vision_config": tower("clip_vision_model")}
    model = read("llava", fields)
    assert model.active_parameters == model.parameters - model.vision_parameters


def test_layers_that_attend_to_the_image_keep_nothing_of_the_text():
    crossing = text("mllama_text_model", cross_attention_layers=[1])
    first, second = wrappers.mllama_text(Config(crossing, "config.json")).layers
    assert (first.attention.kv_elements, second.attention.kv_elements) == (2 * 2 * 16, 0)
    assert (first.other_vector, second.other_vector) == (0, 2)


def test_a_gemma_3n_says_where_its_tower_is_not_counted():
    alone, towers = {"text_config": {"vocab_size": 262400}}, {"vision_config": {}, "audio_config": {}}
    assert read("gemma3n", alone).vision_parameters == 0
    # MobileNet by its name, the audio tower, and the two tables and projections behind them.
    known = read("gemma3n", alone | towers)
    assert known.vision_parameters == 294_126_912 + 681_348_640 + 4_460_544 + 3_345_408
    # As Transformers builds it.
    assert (known.notes, known.parameters) == ((), 7_818_517_072)
    for other in ({"architecture": "resnet50"}, {"model_args": {"depth": 3}}):
        (note,) = read("gemma3n", alone | {"vision_config": other}).notes
        assert "the vision tower is not counted" in note


@pytest.mark.parametrize(
    ("kind", "whole", "inner", "tied"),
    [
        # Saved before there was a word at the top level: the text says it.
        ("qwen3_vl", None, True, True),
        ("qwen3_vl", None, None, False),
        ("qwen3_vl", False, True, False),
        ("qwen3_vl", True, False, True),
        # One of the two is enough.
        ("qwen2_5_vl", False, True, True),
        ("qwen2_5_vl", True, False, True),
        ("llava", False, True, True),
        # Mistral Small 3.1 says nothing and has a head of its own.
        ("mistral3", None, None, False),
        ("internvl", None, None, True),
        ("internvl", None, False, False),
        # The head belongs to the text part.
        ("llama4", True, False, False),
        ("llama4", False, True, True),
        ("mllama", True, True, False),
    ],
)
def test_who_says_that_the_head_is_tied(kind, whole, inner, tied):
    types = {
        "qwen3_vl": "qwen3_vl_text", "qwen2_5_vl": "qwen2_5_vl_text", "llava": "llama", "mistral3": "mistral",
        "internvl": "qwen2", "llama4": "llama4_text", "mllama": "mllama_text_model",
    }  # fmt: skip
    inside = text(types[kind], tie_word_embeddings=inner)
    model = read(kind, {"text_config": inside, "tie_word_embeddings": whole})
    assert model.tied_embeddings is tied


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        (
            "llava",
            {"text_config": text("llama"), "vision_config": tower("swin")},
            "vision_config.model_type = 'swin': is not a vision tower that is known",
        ),
        (
            "llava",
            {"text_config": text("nothing")},
            "text_config.model_type = 'nothing': is not a text model that is known",
        ),
        (
            "llava",
            {"text_config": text("llama"), "vision_config": tower("clip_vision_model", image_size=6)},
            "vision_config.patch_size = 7: is larger than 6",
        ),
        (
            "gemma3",
            {"text_config": GEMMA_3, "vision_config": tower("siglip_vision_model", num_hidden_layers=20_000)},
            "vision_config.num_hidden_layers = 20000: must be at most 1000",
        ),
        (
            "gemma4",
            {"text_config": GEMMA_4, "audio_config": {"hidden_size": 30, "num_attention_heads": 4}},
            "audio_config.num_attention_heads = 4: does not divide the width of 30",
        ),
        (
            "gemma4",
            {"text_config": GEMMA_4, "audio_config": {"subsampling_conv_channels": [8]}},
            "audio_config.subsampling_conv_channels: has 1 entries",
        ),
        (
            "internvl",
            {"text_config": text("qwen2"), "vision_config": tower("internvl_vision", norm_type="group")},
            "vision_config.norm_type = 'group': must be layer_norm or rms_norm",
        ),
        (
            "internvl",
            {"text_config": text("qwen2"), "vision_config": tower("internvl_vision", patch_size=[7])},
            "vision_config.patch_size: has 1 entries",
        ),
        (
            "internvl",
            {"text_config": text("qwen2"), "downsample_ratio": 0},
            "downsample_ratio = 0: must be a number above zero",
        ),
        (
            "internvl",
            {"text_config": text("qwen2"), "downsample_ratio": 5e-324},
            "downsample_ratio = 5e-324: must be from 1/1024 to 1",
        ),
        (
            "glm4v",
            {"text_config": text("glm4v_text", num_attention_heads=128, num_key_value_heads=1)},
            "text_config.num_attention_heads = 128: is more than hidden_size",
        ),
        (
            "qwen2_vl",
            {"text_config": text("qwen2_vl_text"), "vision_config": []},
            "vision_config: must be a table",
        ),
    ],
)
def test_what_does_not_fit_is_refused(kind, fields, said):
    with pytest.raises(FileError) as caught:
        read(kind, fields)
    assert said in str(caught.value)


def test_blocks_of_an_encoder():
    # Four squares and two matrices; biases of 4 x 8, 16 and 8; two LayerNorms.
    assert vision.blocks(1, 8, 16) == 4 * 8 * 8 + 2 * 8 * 16 + 4 * 8 + 16 + 8 + 4 * 8
    assert vision.blocks(2, 8, 16, attention_bias=False, mlp_bias=False, gated=True, norms=2) == 2 * (
        4 * 8 * 8 + 3 * 8 * 16 + 2 * 8
    )
