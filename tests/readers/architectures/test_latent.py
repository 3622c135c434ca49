"""Rules of latent attention and of the DeepSeek family."""

import pytest

from memcalc.core.ledger import ledger
from memcalc.errors import FileError
from memcalc.readers.architectures import latent
from memcalc.readers.architectures.config import Config
from memcalc.workload import Precision

# Rules, fields that a file states, parameters of the model that Transformers builds from them, and bytes
# of cache for 100 and for 5000 tokens in bf16. What a row leaves out is the default of the class.
# fmt: off
COUNTED = [
    ("deepseek-v2-defaults", latent.deepseek_v2, {"num_experts_per_tok": 6}, 38_612_307_968, 3_686_400,
     184_320_000),
    ("deepseek-v2-lite", latent.deepseek_v2, {"hidden_size": 2048, "intermediate_size": 10944,
     "num_hidden_layers": 27, "num_attention_heads": 16, "q_lora_rank": None, "moe_intermediate_size":
     1408, "num_experts_per_tok": 6, "first_k_dense_replace": 1}, 15_706_484_224, 3_110_400,
     155_520_000),
    ("deepseek-v2-biases", latent.deepseek_v2, {"num_hidden_layers": 3, "num_experts_per_tok": 2,
     "n_routed_experts": 4, "first_k_dense_replace": 1, "attention_bias": True, "mlp_bias": True},
     1_298_907_832, 345_600, 17_280_000),
    ("deepseek-v3", latent.deepseek_v3, {}, 671_026_404_352, 7_027_200, 351_360_000),
    ("kimi-k2", latent.deepseek_v3, {"vocab_size": 163840, "num_attention_heads": 64,
     "n_routed_experts": 384, "first_k_dense_replace": 1}, 1_026_408_209_408, 7_027_200, 351_360_000),
    ("deepseek-v3-plain-queries", latent.deepseek_v3, {"num_hidden_layers": 4, "q_lora_rank": None,
     "attention_bias": True, "n_routed_experts": 8, "n_shared_experts": 2}, 4_741_029_120, 460_800,
     23_040_000),
    ("deepseek-v3.2", latent.deepseek_v32, {}, 671_877_929_216, 8_588_800, 429_440_000),
    ("deepseek-v3.2-listed", latent.deepseek_v32, {"num_hidden_layers": 3, "mlp_layer_types": ["sparse",
     "dense", "sparse"], "n_routed_experts": 8, "index_n_heads": 8, "index_head_dim": 64,
     "attention_bias": True}, 3_607_865_920, 384_000, 19_200_000),
    ("glm-5", latent.glm_moe_dsa, {}, 743_911_199_232, 10_982_400, 549_120_000),
    ("glm-5-shared", latent.glm_moe_dsa, {"num_hidden_layers": 8, "n_routed_experts": 8,
     "index_topk_freq": 4, "index_skip_topk_offset": 3}, 5_639_351_296, 1_024_000, 51_200_000),
    ("glm-5-letters", latent.glm_moe_dsa, {"num_hidden_layers": 4, "n_routed_experts": 8,
     "index_topk_pattern": "FSSF"}, 3_601_318_400, 512_000, 25_600_000),
    ("glm-5-words", latent.glm_moe_dsa, {"num_hidden_layers": 3, "n_routed_experts": 8, "indexer_types":
     ["full", "shared", "shared"]}, 3_087_124_224, 371_200, 18_560_000),
    ("glm-4.7-flash", latent.glm4_moe_lite, {}, 29_943_390_976, 5_414_400, 270_720_000),
    ("glm4-moe-lite-listed", latent.glm4_moe_lite, {"num_hidden_layers": 3, "q_lora_rank": None,
     "mlp_layer_types": ["dense", "dense", "sparse"]}, 1_453_997_568, 345_600, 17_280_000),
    ("a.x-k1", latent.axk1, {}, 518_983_052_288, 7_027_200, 351_360_000),
    ("axk1-steps", latent.axk1, {"num_hidden_layers": 6, "moe_layer_freq": 2, "n_routed_experts": 8},
     5_333_947_392, 691_200, 34_560_000),
    ("mistral4-defaults", latent.mistral4, {}, 118_972_826_624, 2_304_000, 115_200_000),
    ("mistral4-dense-first", latent.mistral4, {"num_hidden_layers": 3, "first_k_dense_replace": 2,
     "tie_word_embeddings": True}, 4_169_957_120, 192_000, 9_600_000),
    ("minicpm3-4b", latent.minicpm3, {}, 4_073_875_968, 3_571_200, 178_560_000),
    ("minicpm3-biases", latent.minicpm3, {"num_hidden_layers": 2, "attention_bias": True, "mlp_bias":
     True, "v_head_dim": 48, "tie_word_embeddings": False}, 497_839_680, 115_200, 5_760_000),
    ("youtu-2b", latent.youtu, {}, 1_961_560_064, 3_686_400, 184_320_000),
    ("youtu-plain-queries", latent.youtu, {"num_hidden_layers": 2, "q_lora_rank": None,
     "attention_bias": True}, 365_707_392, 230_400, 11_520_000),
    ("longcat-no-zero-experts", latent.longcat_flash, {"num_layers": 2, "zero_expert_num": 0,
     "n_routed_experts": 16}, 4_087_085_056, 460_800, 23_040_000),
    ("longcat-biases", latent.longcat_flash, {"num_layers": 3, "zero_expert_num": 0, "n_routed_experts":
     16, "attention_bias": True, "router_bias": True}, 5_325_367_728, 691_200, 34_560_000),
    ("deepseek-v4-flash", latent.deepseek_v4, {"compress_ratios": [0, 0, *[4, 128] * 20, 4, 0]},
     284_332_230_231, 5_495_040, 40_512_000),
    ("deepseek-v4-defaults", latent.deepseek_v4, {}, 284_325_869_015, 5_248_000, 38_759_424),
    ("deepseek-v4-listed", latent.deepseek_v4, {"num_hidden_layers": 3, "layer_types":
     ["sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"],
     "compress_rates": {"compressed_sparse_attention": 8, "heavily_compressed_attention": 64},
     "hc_mult": 2, "mlp_bias": True}, 20_809_764_741, 446_464, 1_424_640),
    ("sarvam-105b", latent.sarvam_mla, {}, 106_031_763_456, 3_686_400, 184_320_000),
    ("sarvam-mla-small", latent.sarvam_mla, {"num_hidden_layers": 3, "num_experts": 8,
     "num_shared_experts": 2, "q_lora_rank": 256}, 2_997_713_152, 345_600, 17_280_000),
]
# fmt: on


@pytest.mark.parametrize(("rules", "table", "parameters", "short", "long"), [row[1:] for row in COUNTED],
                         ids=[row[0] for row in COUNTED])  # fmt: skip
def test_parameters_and_cache_are_those_of_the_built_model(rules, table, parameters, short, long):
    model = rules(Config(table, "config.json"))
    book = ledger(model, Precision("bf16", "bf16"))
    kept = [book.kv_bytes_per_sequence(tokens) + book.state_bytes_per_sequence for tokens in (100, 5000)]
    assert (model.parameters, kept) == (parameters, [short, long])


@pytest.mark.parametrize(
    ("rules", "parameters", "active"),
    [
        (latent.deepseek_v3, 671_026_404_352, 37_552_282_624),
        (latent.deepseek_v32, 671_877_929_216, 38_403_807_488),
        (latent.glm_moe_dsa, 743_911_199_232, 41_784_709_632),
        (latent.glm4_moe_lite, 29_943_390_976, 3_896_763_136),
    ],
    ids=["deepseek-v3", "deepseek-v3.2", "glm-5", "glm-4.7-flash"],
)
def test_active_parameters_with_the_input_embedding(rules, parameters, active):
    model = rules(Config({}, "config.json"))
    assert (model.parameters, model.active_parameters) == (parameters, active)


@pytest.mark.parametrize(
    ("rules", "table", "parameters"),
    [
        (latent.deepseek_v3, {}, 11_610_068_224),
        (latent.deepseek_v32, {}, 11_624_027_648),
        (latent.glm_moe_dsa, {}, 9_952_920_576),
        (latent.glm_moe_dsa, {"index_topk_freq": 5}, 9_952_920_576),
        (latent.deepseek_v4, {}, 6_610_048_891),
    ],
    ids=["deepseek-v3", "deepseek-v3.2", "glm-5", "glm-5-last-layer-shares", "deepseek-v4-flash"],
)
def test_mtp_layer_as_checkpoints_store_it(rules, table, parameters):
    model = rules(Config(table | {"num_nextn_predict_layers": 1}, "config.json"))
    assert (model.mtp_layers, model.mtp_parameters) == (1, parameters)
    assert rules(Config(table, "config.json")).mtp_layers == 0


def test_longcat_has_rows_of_the_router_for_experts_that_compute_nothing():
    model = latent.longcat_flash(Config({}, "config.json"))
    without = latent.longcat_flash(Config({"zero_expert_num": 0}, "config.json"))
    assert model.parameters == 560_664_958_976
    assert model.parameters - without.parameters == 28 * 256 * 6144
    assert model.depth == 56
    assert model.notes == ("256 of the 768 experts compute nothing: a token uses at most 12 others",)
    assert without.notes == ()


def test_layers_that_share_a_selection_read_as_few_tokens_and_keep_no_key():
    table = {"num_hidden_layers": 2, "indexer_types": ["full", "shared"], "index_topk": 512}
    full, shared = (layer.attention for layer in latent.glm_moe_dsa(Config(table, "config.json")).layers)
    assert (full.top_k, shared.top_k) == (512, 512)
    assert (full.indexer is None, shared.indexer is None) == (False, True)


def test_the_rates_of_deepseek_v4_are_stated_apart_from_its_kinds_of_layer():
    table = {"num_hidden_layers": 3, "compress_ratios": [0, 4, 128], "compress_rate_csa": 8}
    model = latent.deepseek_v4(Config(table, "config.json"))
    assert [layer.attention.ratio for layer in model.layers] == [0, 8, 128]


WRONG = [
    (latent.deepseek_v3, {"num_experts_per_tok": 257}, "num_experts_per_tok"),
    (latent.deepseek_v3, {"mlp_layer_types": ["dense"]}, "mlp_layer_types"),
    (latent.deepseek_v3, {"kv_lora_rank": 0}, "kv_lora_rank"),
    (latent.deepseek_v2, {}, "num_experts_per_tok"),
    (latent.deepseek_v32, {"q_lora_rank": None}, "q_lora_rank"),
    (latent.deepseek_v32, {"layer_types": ["full_attention"] * 61}, "layer_types"),
    (latent.glm_moe_dsa, {"indexer_types": ["full"] * 77 + ["other"]}, "indexer_types"),
    (latent.glm_moe_dsa, {"index_topk_pattern": "FS"}, "index_topk_pattern"),
    (latent.glm_moe_dsa, {"indexer_types": ["shared"] * 78}, "indexer_types"),
    (latent.longcat_flash, {"q_lora_rank": None}, "q_lora_rank"),
    (latent.deepseek_v4, {"compress_ratios": [0] * 42 + [8]}, "compress_ratios"),
    (latent.deepseek_v4, {"compress_ratios": [0]}, "compress_ratios"),
    (latent.deepseek_v4, {"layer_types": ["full_attention"] * 43}, "layer_types"),
    (latent.deepseek_v4, {"o_groups": 7}, "o_groups"),
    (latent.deepseek_v4, {"num_key_value_heads": 2}, "num_key_value_heads"),
    (latent.deepseek_v4, {"n_shared_experts": 2}, "n_shared_experts"),
]


@pytest.mark.parametrize(("rules", "table", "key"), WRONG)
def test_what_does_not_fit_is_refused_by_name(rules, table, key):
    with pytest.raises(FileError, match=key):
        rules(Config(table, "config.json"))
