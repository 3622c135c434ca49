"""Rules of recurrent layers and of hybrids, in which attention stands between them."""

import pytest

from memcalc.core.ledger import ledger
from memcalc.errors import FileError
from memcalc.readers.architectures import hybrids, recurrent
from memcalc.readers.architectures.config import Config
from memcalc.workload import Precision

FULL, LINEAR, SLIDING = "full_attention", "linear_attention", "sliding_attention"
# Rules, fields that a file states, parameters of the model that Transformers builds from them, bytes of
# cache for 100 and for 5000 tokens in bf16, and bytes of state of a sequence, recurrent ones in fp32 (those
# of MiniMax in bf16). What a row leaves out is the default of the class.
# fmt: off
COUNTED = [
    ("mamba-defaults", recurrent.mamba, {}, 159_308_544, 0, 0, 3_538_944),
    ("falcon-mamba-7b", recurrent.mamba, {"hidden_size": 4096, "intermediate_size": 8192, "expand":
     16, "num_hidden_layers": 64, "vocab_size": 65024, "tie_word_embeddings": False}, 7_272_665_088,
     0, 0, 37_748_736),
    ("mamba-biases", recurrent.mamba, {"hidden_size": 64, "num_hidden_layers": 3, "vocab_size": 99,
     "state_size": 8, "expand": 3, "conv_kernel": 3, "use_bias": True, "use_conv_bias": False,
     "time_step_rank": 5}, 140_992, 0, 0, 21_888),
    ("codestral-mamba-defaults", recurrent.mamba2, {}, 7_285_403_648, 0, 0, 273_678_336),
    ("mamba2-groups", recurrent.mamba2, {"hidden_size": 64, "expand": 4, "num_heads": 8, "head_dim":
     32, "n_groups": 2, "state_size": 16, "conv_kernel": 3, "num_hidden_layers": 2, "vocab_size": 77,
     "use_bias": True, "use_conv_bias": False, "tie_word_embeddings": True}, 116_416, 0, 0, 36_608),
    ("jamba-defaults", recurrent.jamba, {}, 51_570_323_328, 1_638_400, 81_920_000, 16_515_072),
    ("jamba-one-expert", recurrent.jamba, {"hidden_size": 64, "num_hidden_layers": 5,
     "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 100,
     "num_experts": 1, "num_experts_per_tok": 1, "attn_layer_period": 3, "attn_layer_offset": 2,
     "mamba_dt_rank": 7, "mamba_proj_bias": True}, 253_020, 12_800, 640_000, 36_864),
    ("jamba-experts", recurrent.jamba, {"hidden_size": 64, "num_hidden_layers": 6,
     "num_attention_heads": 4, "num_key_value_heads": 1, "intermediate_size": 96, "vocab_size": 100,
     "num_local_experts": 4, "expert_layer_period": 3, "expert_layer_offset": 0, "attn_layer_period":
     2, "attn_layer_offset": 0, "mamba_expand": 1, "mamba_conv_bias": False, "tie_word_embeddings":
     True}, 308_524, 19_200, 960_000, 13_824),
    ("bamba-9b", recurrent.bamba, {"mamba_d_state": 128, "attn_layer_indices": [9, 18, 27],
     "vocab_size": 128256}, 9_780_235_392, 1_228_800, 61_440_000, 123_594_752),
    ("bamba-biases", recurrent.bamba, {"hidden_size": 64, "num_hidden_layers": 4,
     "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 100,
     "attn_layer_indices": [1, 3], "mamba_n_heads": 4, "mamba_n_groups": 2, "mamba_d_state": 8,
     "attention_bias": True, "mlp_bias": True, "mamba_proj_bias": True}, 169_440, 25_600, 1_280_000,
     10_752),
    ("granite-hybrid-defaults", recurrent.granitemoehybrid, {}, 38_601_064_448, 0, 0, 270_663_680),
    ("granite-hybrid-dense", recurrent.granitemoehybrid, {"hidden_size": 64, "num_hidden_layers": 4,
     "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "num_local_experts": 0,
     "shared_intermediate_size": 48, "layer_types": ["mamba", "attention", "mamba", "mamba"],
     "mamba_n_heads": 8, "mamba_d_state": 16, "attention_bias": True}, 146_984, 12_800, 640_000,
     28_416),
    ("granite-hybrid-experts", recurrent.granitemoehybrid, {"hidden_size": 64, "num_hidden_layers": 2,
     "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "num_local_experts": 4,
     "intermediate_size": 32, "shared_intermediate_size": 48, "layer_types": [FULL, LINEAR],
     "mamba_n_heads": 4, "mamba_d_head": 32, "mamba_n_groups": 2, "mamba_d_state": 16,
     "mamba_conv_bias": False, "tie_word_embeddings": True}, 116_940, 12_800, 640_000, 9_728),
    ("nemotron-h-8b", recurrent.nemotron_h, {"hybrid_override_pattern":
     "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-"}, 8_100_852_736, 1_638_400, 81_920_000,
     102_629_376),
    ("nemotron-h-experts", recurrent.nemotron_h, {"hidden_size": 64, "num_attention_heads": 4,
     "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 96, "vocab_size": 100,
     "layers_block_type": ["mamba", "moe", "attention", "moe", "mlp"], "mamba_num_heads": 4,
     "mamba_head_dim": 16, "ssm_state_size": 8, "n_groups": 2, "n_routed_experts": 4,
     "moe_intermediate_size": 32, "moe_shared_expert_intermediate_size": 40, "mlp_bias": True,
     "use_bias": True, "attention_bias": True}, 97_024, 12_800, 640_000, 2_816),
    ("nemotron-h-latent", recurrent.nemotron_h, {"hidden_size": 64, "num_attention_heads": 4,
     "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 100, "layer_types": [LINEAR, "moe",
     FULL], "mamba_num_heads": 4, "mamba_head_dim": 16, "ssm_state_size": 8, "mamba_n_groups": 1,
     "mamba_d_conv": 3, "mamba_conv_bias": False, "n_routed_experts": 4, "moe_latent_size": 16,
     "moe_intermediate_size": 32, "moe_shared_expert_intermediate_size": 40, "mlp_bias": True},
     63_220, 25_600, 1_280_000, 2_528),
    ("falcon-h1-defaults", recurrent.falcon_h1, {}, 8_514_961_408, 13_107_200, 655_360_000,
     33_947_648),
    ("falcon-h1-biases", recurrent.falcon_h1, {"hidden_size": 64, "num_hidden_layers": 3,
     "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24, "intermediate_size": 96,
     "vocab_size": 100, "mamba_d_ssm": None, "mamba_n_heads": 8, "mamba_n_groups": 2, "mamba_d_state":
     16, "mamba_rms_norm": True, "mamba_proj_bias": True, "projectors_bias": False, "attention_bias":
     True, "mlp_bias": True}, 217_248, 57_600, 2_880_000, 29_184),
    ("falcon-h1-output-bias", recurrent.falcon_h1, {"hidden_size": 64, "num_hidden_layers": 2,
     "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 96, "vocab_size": 100,
     "mamba_d_ssm": 96, "mamba_n_heads": 4, "mamba_d_head": 24, "mamba_d_state": 8, "mamba_conv_bias":
     False, "projectors_bias": True, "tie_word_embeddings": True}, 116_824, 51_200, 2_560_000, 7_936),
    ("qwen3-next-80b-a3b", recurrent.qwen3_next, {}, 79_674_391_296, 2_457_600, 122_880_000,
     77_856_768),
    ("qwen3-next-dense-layers", recurrent.qwen3_next, {"hidden_size": 64, "num_hidden_layers": 5,
     "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 96,
     "vocab_size": 100, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim":
     8, "linear_value_head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2,
     "moe_intermediate_size": 32, "shared_expert_intermediate_size": 24, "decoder_sparse_step": 2,
     "mlp_only_layers": [1], "full_attention_interval": 2, "attention_bias": True}, 195_848, 25_600,
     1_280_000, 8_448),
    ("qwen3.5-9b-defaults", recurrent.qwen3_5, {}, 8_953_803_264, 3_276_800, 163_840_000, 51_904_512),
    ("qwen3.5-layers", recurrent.qwen3_5, {"hidden_size": 64, "num_hidden_layers": 3,
     "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 32, "intermediate_size": 96,
     "vocab_size": 100, "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim":
     16, "linear_value_head_dim": 8, "linear_conv_kernel_dim": 3, "layer_types": [FULL, LINEAR, FULL],
     "tie_word_embeddings": True}, 127_292, 25_600, 1_280_000, 1_504),
    ("qwen3.5-35b-a3b-defaults", recurrent.qwen3_5_moe, {}, 34_660_610_688, 2_048_000, 102_400_000,
     64_880_640),
    ("qwen3.5-moe-layers", recurrent.qwen3_5_moe, {"hidden_size": 64, "num_hidden_layers": 2,
     "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100,
     "linear_num_key_heads": 1, "linear_num_value_heads": 3, "linear_key_head_dim": 8,
     "linear_value_head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size":
     32, "shared_expert_intermediate_size": 16, "layer_types": [LINEAR, FULL], "attention_bias":
     True}, 91_918, 12_800, 640_000, 1_088),
    ("minimax-defaults", recurrent.minimax, {}, 47_373_946_880, 6_553_600, 327_680_000, 16_777_216),
    ("minimax-layers", recurrent.minimax, {"hidden_size": 64, "num_hidden_layers": 3,
     "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24, "intermediate_size": 96,
     "vocab_size": 100, "num_local_experts": 4, "layer_types": [LINEAR, LINEAR, FULL],
     "tie_word_embeddings": True}, 308_864, 19_200, 960_000, 9_216),
    ("lfm2-1.2b", recurrent.lfm2, {"hidden_size": 2048, "num_hidden_layers": 16, "block_ff_dim":
     12288, "full_attn_idxs": [2, 5, 8, 10, 12, 14]}, 1_170_340_608, 1_228_800, 61_440_000, 122_880),
    ("lfm2-plain-width", recurrent.lfm2, {"hidden_size": 64, "num_hidden_layers": 3,
     "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 100,
     "block_auto_adjust_ff_dim": False, "vocab_size": 100, "conv_bias": True, "conv_L_cache": 4,
     "layer_types": ["conv", FULL, "conv"], "tie_embedding": False, "tie_word_embeddings": True},
     117_088, 12_800, 640_000, 1_024),
    ("lfm2-rounded-width", recurrent.lfm2, {"hidden_size": 64, "num_hidden_layers": 2,
     "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 200,
     "block_ffn_dim_multiplier": 1.3, "block_multiple_of": 32, "vocab_size": 100}, 113_280, 51_200,
     2_560_000, 0),
    ("lfm2-8b-a1b", recurrent.lfm2_moe, {"num_hidden_layers": 24, "layer_types": [FULL if i in {2, 6,
     10, 14, 18, 21} else "conv" for i in range(24)]}, 8_339_929_856, 1_228_800, 61_440_000, 221_184),
    ("lfm2-moe-all-sparse", recurrent.lfm2_moe, {"hidden_size": 64, "num_hidden_layers": 2,
     "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96,
     "moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2, "num_dense_layers": 0,
     "vocab_size": 100, "conv_bias": True, "layer_types": ["conv", FULL], "tie_embedding": False},
     92_000, 12_800, 640_000, 384),
    ("kimi-linear-defaults", recurrent.kimi_linear, {}, 49_133_074_464, 691_200, 34_560_000,
     46_104_576),
    ("kimi-linear-48b-a3b", recurrent.kimi_linear, {"linear_attn_config": {"num_heads": 32,
     "head_dim": 128, "short_conv_kernel_size": 4, "full_attn_layers": [4, 8, 12, 16, 20, 24, 27],
     "kda_layers": [*range(1, 4), *range(5, 8), *range(9, 12), *range(13, 16), *range(17, 20),
     *range(21, 24), 25, 26]}}, 49_122_675_072, 806_400, 40_320_000, 43_909_120),
    ("kimi-linear-queries", recurrent.kimi_linear, {"hidden_size": 64, "num_hidden_layers": 3,
     "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 96,
     "moe_intermediate_size": 32, "vocab_size": 100, "num_local_experts": 4, "num_experts_per_tok": 2,
     "n_shared_experts": 2, "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 16,
     "qk_rope_head_dim": 8, "v_head_dim": 24, "linear_num_heads": 2, "linear_head_dim": 16,
     "linear_conv_kernel_dim": 3, "attention_bias": True, "layer_types": [LINEAR, FULL, LINEAR],
     "mlp_layer_types": ["sparse", "dense", "sparse"], "pad_token_id": 0}, 143_612, 4_800, 240_000,
     5_248),
    ("olmo-hybrid-7b-defaults", hybrids.olmo_hybrid, {}, 7_430_870_688, 12_288_000, 614_400_000,
     55_296_000),
    ("olmo-hybrid-short", hybrids.olmo_hybrid, {"hidden_size": 64, "num_hidden_layers": 2,
     "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 100,
     "attention_bias": True, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
     "linear_key_head_dim": 8, "pad_token_id": 0}, 77_816, 12_800, 640_000, 2_816),
    ("olmo-hybrid-layers", hybrids.olmo_hybrid, {"hidden_size": 64, "num_hidden_layers": 3,
     "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 100, "linear_value_head_dim": 8,
     "linear_conv_kernel_dim": 3, "layer_types": [FULL, LINEAR, FULL], "tie_word_embeddings": True,
     "pad_token_id": 0}, 108_368, 51_200, 2_560_000, 2_304),
    ("lara-mini-defaults", hybrids.lara_mini, {}, 7_281_684_672, 4_096_000, 85_311_488, 15_138_816),
    ("lara-mini-layers", hybrids.lara_mini, {"hidden_size": 64, "num_hidden_layers": 3,
     "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24, "vocab_size": 100,
     "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
     "linear_value_head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size":
     32, "shared_expert_intermediate_size": 48, "layer_types": [SLIDING, FULL, LINEAR],
     "sliding_window": 64, "attention_bias": True, "tie_word_embeddings": False}, 168_120, 31_488,
     972_288, 2_816),
    ("bailing-hybrid-defaults", hybrids.bailing_hybrid, {}, 124_414_191_072, 806_400, 40_320_000,
     76_840_960),
    ("bailing-hybrid-queries", hybrids.bailing_hybrid, {"hidden_size": 64, "num_hidden_layers": 4,
     "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 24, "intermediate_size": 96,
     "moe_intermediate_size": 32, "vocab_size": 100, "num_experts": 8, "n_group": 2, "topk_group": 1,
     "num_experts_per_token": 2, "num_shared_experts": 2, "q_lora_rank": 24, "kv_lora_rank": 16,
     "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 24, "attention_bias": True,
     "layer_group_size": 2, "first_k_dense_replace": 1, "short_conv_kernel_size": 3, "pad_token_id":
     0}, 322_856, 9_600, 480_000, 21_888),
    ("lfm3-defaults", hybrids.lfm3, {}, 1_728_801_536, 2_252_800, 64_061_440, 372_736),
    ("lfm3-plain", hybrids.lfm3, {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
     "num_key_value_heads": 2, "head_dim": 24, "intermediate_size": 96, "vocab_size": 100,
     "conv_bias": True, "conv_L_cache": 3, "layer_types": ["conv", FULL, SLIDING], "sliding_window":
     64, "use_sandwich_norm": False, "use_attention_gate": False, "attention_bias": True,
     "tie_word_embeddings": False, "pad_token_id": 0}, 122_912, 31_488, 972_288, 384),
    ("recurrentgemma-2b", hybrids.recurrent_gemma, {"num_key_value_heads": 1, "intermediate_size":
     15360}, 2_682_862_080, 819_200, 16_777_216, 460_800),
    ("recurrentgemma-pattern", hybrids.recurrent_gemma, {"hidden_size": 64, "num_hidden_layers": 4,
     "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 100,
     "attention_window_size": 128, "conv1d_width": 3, "block_types": ["recurrent", "attention"],
     "attention_bias": True, "tie_word_embeddings": False}, 105_792, 25_600, 32_768, 1_024),
    ("rwkv-4-169m", hybrids.rwkv, {"hidden_size": 768, "num_hidden_layers": 12}, 169_342_464, 0, 0,
     147_456),
    ("rwkv-tied", hybrids.rwkv, {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 96,
     "vocab_size": 100, "tie_word_embeddings": True}, 73_600, 0, 0, 2_048),
    ("minimax-m1", recurrent.minimax, {"vocab_size": 200064, "hidden_size": 6144, "intermediate_size":
     9216, "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim":
     128, "num_local_experts": 32, "attn_type_list": [*[0] * 7, 1] * 10, "shared_intermediate_size":
     0}, 456_089_655_296, 4_096_000, 204_800_000, 146_800_640),
]
# fmt: on


def made(rules, **fields):
    return rules(Config(fields, "config.json"))


def named(rows):
    return [pytest.param(*row[1:], id=row[0]) for row in rows]


@pytest.mark.parametrize(("rules", "fields", "parameters", "short", "long", "state"), named(COUNTED))
def test_parameters_cache_and_state(rules, fields, parameters, short, long, state):
    model = made(rules, **fields)
    book = ledger(model, Precision("bf16", "bf16"))
    assert model.parameters == parameters
    assert (book.kv_bytes_per_sequence(100), book.kv_bytes_per_sequence(5000)) == (short, long)
    assert book.state_bytes_per_sequence == state


# The parameters without the experts that a token leaves idle, the input embedding among them.
@pytest.mark.parametrize(
    ("rules", "fields", "active"),
    [
        pytest.param(recurrent.jamba, {}, 12_110_311_296, id="jamba-1.5-mini"),
        pytest.param(recurrent.qwen3_next, {}, 3_874_929_408, id="qwen3-next-80b-a3b"),
        pytest.param(recurrent.mamba2, {}, 7_285_403_648, id="codestral-mamba-7b"),
    ],
)
def test_active_parameters(rules, fields, active):
    assert made(rules, **fields).active_parameters == active


def test_kimi_linear_is_the_published_one_but_for_correction_biases():
    # The checkpoint stores one bias an expert in each of the 26 layers that have experts.
    lists = {"full_attn_layers": [4, 8, 12, 16, 20, 24, 27]}
    lists["kda_layers"] = [index for index in range(1, 28) if index not in lists["full_attn_layers"]]
    assert made(recurrent.kimi_linear, linear_attn_config=lists).parameters + 26 * 256 == 49_122_681_728


def test_the_next_token_layer_of_qwen3_5_stands_apart():
    # 27B: one layer of full attention with a dense part, a product that joins two inputs, three norms.
    fields = {
        "hidden_size": 5120, "intermediate_size": 17408, "num_hidden_layers": 64, "num_attention_heads": 24,
        "num_key_value_heads": 4, "linear_num_value_heads": 48,
    }  # fmt: skip
    plain = made(recurrent.qwen3_5, **fields)
    model = made(recurrent.qwen3_5, **fields, mtp_num_hidden_layers=1)
    assert (plain.mtp_layers, plain.mtp_parameters) == (0, 0)
    assert (model.mtp_layers, model.mtp_parameters) == (1, 424_699_392)
    assert model.parameters == plain.parameters == 26_895_998_464


def test_a_state_in_the_precision_that_the_file_names():
    fields = {"hidden_size": 64, "num_hidden_layers": 1, "mamba_num_heads": 4, "mamba_head_dim": 16}
    model = made(
        recurrent.nemotron_h, **fields, hybrid_override_pattern="M", mamba_ssm_cache_dtype="bfloat16"
    )
    assert model.layers[0].attention.state_format == "bf16"


def test_layers_of_one_block_have_one_norm_and_keep_their_order():
    model = made(recurrent.nemotron_h, hybrid_override_pattern="M-*E")
    assert [layer.attention.kind for layer in model.layers] == ["recurrent", "none", "grouped", "none"]
    assert [layer.norms for layer in model.layers] == [1, 1, 1, 1]
    assert [layer.feed_forward.width > 0 for layer in model.layers] == [False, True, False, True]


SMALL = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}
KDA = {"full_attn_layers": [4], "kda_layers": [1, 2]}


@pytest.mark.parametrize(
    ("rules", "fields", "said"),
    [
        (recurrent.mamba, {"time_step_rank": "wide"}, "time_step_rank"),
        (recurrent.mamba, {"mamba_ssm_dtype": "int8"}, "mamba_ssm_dtype"),
        (recurrent.mamba2, {"num_heads": 100}, "num_heads"),
        (recurrent.jamba, {"attn_layer_offset": 8}, "attn_layer_offset"),
        (recurrent.jamba, {"expert_layer_offset": 2}, "expert_layer_offset"),
        (recurrent.jamba, {"layers_block_type": ["mamba"] * 33}, "33 entries for 32 layers"),
        (recurrent.jamba, {"mamba_dt_rank": 0}, "mamba_dt_rank"),
        (recurrent.bamba, {"mamba_n_heads": 100}, "mamba_d_head"),
        (recurrent.granitemoehybrid, {"layer_types": ["hybrid"] * 32}, "layer_types"),
        (recurrent.granitemoehybrid, {"num_experts_per_tok": 9}, "more than the 8 experts"),
        (recurrent.nemotron_h, {}, "hybrid_override_pattern: is missing"),
        (recurrent.nemotron_h, {"hybrid_override_pattern": "M?"}, "hybrid_override_pattern"),
        (recurrent.nemotron_h, {"layers_block_type": ["mamba", "conv"]}, "layers_block_type"),
        (recurrent.nemotron_h, {"layer_types": ["mamba"], "num_hidden_layers": 2}, "num_hidden_layers"),
        (recurrent.falcon_h1, {"mamba_d_ssm": 1000}, "mamba_d_head"),
        (recurrent.qwen3_next, {"linear_num_key_heads": 3}, "linear_num_key_heads"),
        (recurrent.qwen3_5, {"layer_types": [FULL, LINEAR]}, "2 entries for 32 layers"),
        (recurrent.minimax, {**SMALL, "attn_type_list": [0, 1]}, "attn_type_list"),
        (recurrent.lfm2, {**SMALL, "layer_types": ["conv"] * 3 + [SLIDING]}, "layer_types"),
        (recurrent.lfm2, {**SMALL, "layer_types": ["conv"] * 5}, "5 entries for 4 layers"),
        (recurrent.kimi_linear, {**SMALL, "linear_attn_config": KDA}, "linear_attn_config.kda_layers"),
        (recurrent.kimi_linear, {**SMALL, "mlp_layer_types": ["moe"] * 4}, "mlp_layer_types"),
        (hybrids.olmo_hybrid, {**SMALL, "layer_types": [LINEAR] * 4}, "layers of both kinds"),
        (hybrids.olmo_hybrid, {**SMALL, "layer_types": [FULL, LINEAR] * 3}, "6 entries for 4 layers"),
        (hybrids.olmo_hybrid, {**SMALL, "linear_num_key_heads": 100}, "linear_num_key_heads"),
        (hybrids.lara_mini, {**SMALL, "layer_types": ["conv"] * 4}, "layer_types"),
        (hybrids.lara_mini, {**SMALL, "sliding_window": None}, "sliding_window"),
        (hybrids.bailing_hybrid, {**SMALL, "layer_group_size": 0}, "layer_group_size"),
        (hybrids.lfm3, {**SMALL, "num_key_value_heads": 3}, "num_key_value_heads"),
        (hybrids.recurrent_gemma, {**SMALL, "block_types": ["mamba"]}, "block_types"),
        (hybrids.recurrent_gemma, {**SMALL, "block_types": []}, "block_types"),
        (hybrids.recurrent_gemma, {**SMALL, "num_hidden_layers": 500}, "too short for 500 layers"),
        (hybrids.recurrent_gemma, {**SMALL, "lru_width": 66}, "lru_width"),
        (hybrids.recurrent_gemma, {**SMALL, "hidden_size": 2, "lru_width": 64}, "num_attention_heads"),
        (hybrids.rwkv, {"attention_hidden_size": "wide"}, "attention_hidden_size"),
    ],
)
def test_what_does_not_fit_together_is_refused(rules, fields, said):
    with pytest.raises(FileError, match=said):
        made(rules, **fields)
