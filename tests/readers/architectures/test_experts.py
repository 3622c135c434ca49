"""Rules of mixtures of experts over grouped attention."""

import pytest

from memcalc.core.ledger import ledger
from memcalc.errors import FileError
from memcalc.readers.architectures import experts
from memcalc.readers.architectures.config import Config
from memcalc.workload import Precision

# Rules, fields that a file states, parameters of the model that Transformers builds from them, and bytes
# of cache for 100 and for 5000 tokens in bf16. What a row leaves out is the default of the class.
# fmt: off
COUNTED = [
    ("mixtral-8x22b", experts.mixtral, {"vocab_size": 32768, "hidden_size": 6144, "intermediate_size":
     16384, "num_hidden_layers": 56, "num_attention_heads": 48, "num_key_value_heads": 8,
     "num_experts_per_tok": 2, "num_local_experts": 8}, 140_630_071_296, 22_937_600, 1_146_880_000),
    ("mixtral-defaults", experts.mixtral, {}, 46_702_792_704, 13_107_200, 655_360_000),
    ("mixtral-window", experts.mixtral, {"num_hidden_layers": 2, "num_experts": 4, "head_dim": 64,
     "sliding_window": 1024, "tie_word_embeddings": True}, 1_582_354_432, 409_600, 4_194_304),
    ("phimoe-defaults", experts.phimoe, {}, 41_872_793_600, 13_107_200, 655_360_000),
    ("phimoe-biases", experts.phimoe, {"num_hidden_layers": 2, "attention_bias": True, "lm_head_bias":
     True, "sliding_window": 2048}, 2_863_361_344, 819_200, 16_777_216),
    ("minimax-m2-defaults", experts.minimax_m2, {}, 228_689_748_992, 25_395_200, 1_269_760_000),
    ("minimax-m2-small", experts.minimax_m2, {"hidden_size": 256, "num_hidden_layers": 3,
     "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 32, "num_local_experts": 8,
     "num_experts_per_tok": 2}, 131_146_240, 76_800, 3_840_000),
    ("olmoe-1b-7b", experts.olmoe, {"intermediate_size": 1024, "num_key_value_heads": 16},
     6_919_161_856, 13_107_200, 655_360_000),
    ("olmoe-grouped", experts.olmoe, {"num_hidden_layers": 2, "num_key_value_heads": 4,
     "attention_bias": True, "num_experts": 8, "num_experts_per_tok": 2}, 428_401_664, 409_600,
     20_480_000),
    ("flex-olmo-7x7b", experts.flex_olmo, {}, 33_270_665_216, 52_428_800, 2_621_440_000),
    ("flex-olmo-bias", experts.flex_olmo, {"num_hidden_layers": 2, "num_key_value_heads": 8, "head_dim":
     64, "attention_bias": True}, 2_757_852_160, 409_600, 20_480_000),
    ("granite-3.1-3b-a800m", experts.granitemoe, {"vocab_size": 49155, "hidden_size": 1536,
     "intermediate_size": 512, "num_hidden_layers": 32, "num_attention_heads": 24,
     "num_key_value_heads": 8, "num_local_experts": 40, "num_experts_per_tok": 8, "tie_word_embeddings":
     True}, 3_298_793_472, 6_553_600, 327_680_000),
    ("granite-shared", experts.granitemoe, {"hidden_size": 512, "intermediate_size": 256,
     "num_hidden_layers": 3, "num_attention_heads": 8, "shared_intermediate_size": 1024,
     "attention_bias": True}, 50_091_520, 614_400, 30_720_000),
    ("qwen1.5-moe-a2.7b", experts.qwen2_moe, {}, 14_315_784_192, 19_660_800, 983_040_000),
    ("qwen2-moe-windows", experts.qwen2_moe, {"num_hidden_layers": 6, "use_sliding_window": True,
     "sliding_window": 1000, "max_window_layers": 3, "mlp_only_layers": [1], "decoder_sparse_step": 2},
     1_969_014_784, 4_915_200, 180_224_000),
    ("qwen2-moe-listed", experts.qwen2_moe, {"num_hidden_layers": 3, "qkv_bias": False,
     "use_sliding_window": True, "layer_types": ["full_attention", "sliding_attention",
     "sliding_attention"]}, 2_333_995_008, 2_457_600, 108_068_864),
    ("qwen3-235b-a22b", experts.qwen3_moe, {"hidden_size": 4096, "intermediate_size": 12288,
     "num_hidden_layers": 94, "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 128,
     "moe_intermediate_size": 1536, "num_experts": 128, "num_experts_per_tok": 8}, 235_093_634_560,
     19_251_200, 962_560_000),
    ("qwen3-moe-steps", experts.qwen3_moe, {"num_hidden_layers": 5, "decoder_sparse_step": 2,
     "mlp_only_layers": [3], "attention_bias": True, "use_sliding_window": True, "sliding_window": 512,
     "num_local_experts": 16}, 896_087_168, 512_000, 2_621_440),
    ("gpt-oss-120b", experts.gpt_oss, {}, 116_829_156_672, 7_372_800, 189_038_592),
    ("gpt-oss-no-bias", experts.gpt_oss, {"num_hidden_layers": 3, "num_local_experts": 8,
     "attention_bias": False, "layer_types": ["full_attention", "sliding_attention",
     "sliding_attention"], "sliding_window": 64}, 1_835_386_776, 466_944, 10_502_144),
    ("llama-4-maverick", experts.llama4, {"num_local_experts": 128, "interleave_moe_layer_step": 2},
     400_711_848_960, 19_660_800, 983_040_000),
    ("llama4-listed", experts.llama4, {"num_hidden_layers": 4, "moe_layers": [3], "no_rope_layers": [1,
     0, 1, 0], "attention_chunk_size": 256, "attention_bias": True}, 5_214_876_672, 1_638_400,
     43_057_152),
    ("llama4-no-chunks", experts.llama4, {"num_hidden_layers": 4, "attention_chunk_size": None,
     "tie_word_embeddings": True}, 9_842_897_920, 1_638_400, 81_920_000),
    ("dbrx", experts.dbrx, {"d_model": 6144, "n_heads": 48, "n_layers": 40, "vocab_size": 100352,
     "max_seq_len": 32768, "attn_config": {"kv_n_heads": 8, "rope_theta": 500000}, "ffn_config":
     {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4}}, 131_596_523_520, 16_384_000,
     819_200_000),
    ("dbrx-small", experts.dbrx, {"n_layers": 2, "attn_config": {"rope_theta": 10000.0}}, 325_085_184,
     102_400, 5_120_000),
    ("glm-4.5", experts.glm4_moe, {"hidden_size": 5120, "intermediate_size": 12288, "num_hidden_layers":
     92, "num_attention_heads": 96, "num_key_value_heads": 8, "head_dim": 128, "attention_bias": True,
     "use_qk_norm": True, "moe_intermediate_size": 1536, "n_routed_experts": 160,
     "first_k_dense_replace": 3}, 352_797_814_784, 37_683_200, 1_884_160_000),
    ("glm4-moe-small", experts.glm4_moe, {"num_hidden_layers": 3, "n_shared_experts": 2,
     "n_routed_experts": 16}, 2_106_355_712, 403_200, 20_160_000),
    ("solar-open-100b", experts.solar_open, {}, 102_651_793_408, 19_660_800, 983_040_000),
    ("solar-open-bias", experts.solar_open, {"num_hidden_layers": 2, "attention_bias": True,
     "n_shared_experts": 2}, 5_852_143_616, 819_200, 40_960_000),
    ("ernie-4.5-21b-a3b", experts.ernie4_5_moe, {}, 21_825_437_888, 5_734_400, 286_720_000),
    ("ernie-biases", experts.ernie4_5_moe, {"num_hidden_layers": 6, "use_bias": True,
     "moe_layer_interval": 2, "moe_layer_end_index": 4, "tie_word_embeddings": False}, 2_559_152_768,
     1_228_800, 61_440_000),
    ("ernie-no-shared", experts.ernie4_5_moe, {"num_hidden_layers": 3, "use_bias": True,
     "moe_num_shared_experts": 0}, 1_916_767_360, 614_400, 30_720_000),
    ("dots-llm1", experts.dots1, {"hidden_size": 4096, "n_routed_experts": 128, "n_shared_experts": 2,
     "num_experts_per_tok": 6, "first_k_dense_replace": 1}, 142_774_373_888, 101_580_800,
     5_079_040_000),
    ("dots1-window", experts.dots1, {"num_hidden_layers": 4, "num_key_value_heads": 8,
     "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "max_window_layers": 1,
     "sliding_window": 256, "attention_bias": True}, 2_314_705_536, 1_843_200, 26_578_944),
    ("hunyuan-a13b", experts.hunyuan_v1_moe, {"vocab_size": 128167, "hidden_size": 4096,
     "intermediate_size": 3072, "num_experts": 64, "moe_topk": [8] * 32, "head_dim": 128,
     "num_key_value_heads": 8, "tie_word_embeddings": True}, 80_393_183_232, 13_107_200, 655_360_000),
    ("hunyuan-one-expert", experts.hunyuan_v1_moe, {"num_hidden_layers": 2, "head_dim": 64,
     "attention_bias": True}, 2_991_628_544, 1_638_400, 81_920_000),
    ("trinity-mini", experts.afmoe, {"hidden_size": 2048, "intermediate_size": 6144,
     "moe_intermediate_size": 1024, "num_hidden_layers": 32, "num_dense_layers": 2,
     "num_attention_heads": 32, "num_key_value_heads": 4, "num_experts": 128, "num_experts_per_tok": 8,
     "num_shared_experts": 1, "sliding_window": 2048}, 26_123_974_400, 6_553_600, 182_583_296),
    ("afmoe-bias", experts.afmoe, {"num_hidden_layers": 3, "attention_bias": True,
     "global_attn_every_n_layers": 2, "num_experts": 8}, 1_093_749_520, 2_457_600, 57_737_216),
    ("k-exaone", experts.exaone_moe, {"vocab_size": 153600, "hidden_size": 6144, "intermediate_size":
     18432, "num_hidden_layers": 48, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim":
     128, "moe_intermediate_size": 2048, "num_experts": 128, "sliding_window": 128}, 236_571_150_336,
     19_660_800, 264_634_368),
    ("exaone-listed", experts.exaone_moe, {"num_hidden_layers": 3, "mlp_layer_types": ["sparse",
     "dense", "sparse"], "layer_types": ["sliding_attention", "full_attention", "full_attention"],
     "num_shared_experts": 2}, 2_903_012_096, 4_915_200, 230_948_864),
    ("mimo-v2-flash", experts.mimo_v2_flash, {}, 308_778_768_832, 22_272_000, 140_958_720),
    ("mimo-bias", experts.mimo_v2_flash, {"num_hidden_layers": 3, "attention_bias": True,
     "n_routed_experts": 8, "sliding_window_size": 64, "mlp_layer_types": ["dense", "dense", "sparse"]},
     2_131_859_840, 921_600, 13_465_600),
    ("sarvam-30b", experts.sarvam_moe, {}, 32_152_648_064, 1_945_600, 97_280_000),
    ("sarvam-moe-names", experts.sarvam_moe, {"num_hidden_layers": 3, "num_experts": 8,
     "num_shared_experts": 2, "use_qkv_bias": True, "use_qk_norm": False}, 2_606_867_968, 307_200,
     15_360_000),
    ("hy3", experts.hy_v3, {}, 295_033_528_320, 32_768_000, 1_638_400_000),
    ("hy3-biases", experts.hy_v3, {"num_hidden_layers": 3, "num_experts": 8, "attention_bias": True,
     "mlp_bias": True, "mlp_layer_types": ["sparse", "dense", "sparse"]}, 1_719_847_680, 1_228_800,
     61_440_000),
    ("granite-windows", experts.granitemoe_swa, {"hidden_size": 512, "intermediate_size": 256,
     "num_hidden_layers": 6, "num_attention_heads": 8, "shared_intermediate_size": 1024}, 67_402_288,
     1_228_800, 21_528_576),
    ("granite-windows-listed", experts.granitemoe_swa, {"hidden_size": 512, "intermediate_size": 256,
     "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 2, "sliding_window": 64,
     "layer_types": ["sliding_attention", "full_attention"], "attention_bias": True}, 40_383_504,
     83_968, 2_592_768),
]
# fmt: on


@pytest.mark.parametrize(("rules", "table", "parameters", "short", "long"), [row[1:] for row in COUNTED],
                         ids=[row[0] for row in COUNTED])  # fmt: skip
def test_parameters_and_cache_are_those_of_the_built_model(rules, table, parameters, short, long):
    model = rules(Config(table, "config.json"))
    book = ledger(model, Precision("bf16", "bf16"))
    kept = [book.kv_bytes_per_sequence(tokens) + book.state_bytes_per_sequence for tokens in (100, 5000)]
    assert (model.parameters, kept) == (parameters, [short, long])


# Not in Transformers: counted by the layers of the code that the makers publish.
REMOTE = [
    (
        "deepseek-moe-16b",
        experts.deepseek,
        {
            "hidden_size": 2048,
            "intermediate_size": 10944,
            "moe_intermediate_size": 1408,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "n_shared_experts": 2,
            "n_routed_experts": 64,
            "num_experts_per_tok": 6,
            "first_k_dense_replace": 1,
        },
        16_375_728_128,
        2_828_650_496,
    ),
    ("deepseek-dense", experts.deepseek, {"num_hidden_layers": 1}, 1_041_248_256, 1_041_248_256),
    ("grok-1", experts.grok_1, {}, 315_684_820_992, 83_756_587_008),
    (
        "ling-lite",
        experts.bailing_moe,
        {
            "vocab_size": 126464,
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 28,
            "num_key_value_heads": 4,
            "use_bias": False,
            "num_experts": 64,
            "num_shared_experts": 2,
            "num_experts_per_tok": 6,
            "moe_intermediate_size": 1408,
            "head_dim": 128,
        },
        16_801_974_272,
        2_753_153_024,
    ),
    ("ling-mini-2.0", experts.bailing_moe_v2, {}, 16_255_638_528, 1_432_968_192),
    (
        "arctic",
        experts.arctic,
        {
            "hidden_size": 7168,
            "intermediate_size": 4864,
            "num_hidden_layers": 35,
            "num_attention_heads": 56,
            "num_key_value_heads": 8,
            "num_experts_per_tok": 2,
            "num_local_experts": 128,
            "moe_layer_frequency": 1,
            "use_residual": True,
        },
        478_584_608_768,
        17_318_647_808,
    ),
    ("arctic-every-second", experts.arctic, {"num_hidden_layers": 2}, 1_981_861_888, 748_736_512),
]


@pytest.mark.parametrize(("rules", "table", "parameters", "active"), [row[1:] for row in REMOTE],
                         ids=[row[0] for row in REMOTE])  # fmt: skip
def test_architectures_with_code_of_their_own(rules, table, parameters, active):
    model = rules(Config(table, "config.json"))
    assert (model.parameters, model.active_parameters) == (parameters, active)


@pytest.mark.parametrize(
    ("rules", "active"),
    [(experts.gpt_oss, 5_132_849_472), (experts.llama4, 16_138_408_960), (experts.mixtral, 12_748_853_248)],
    ids=["gpt-oss-120b", "llama-4-scout", "mixtral-8x7b"],
)
def test_active_parameters_without_the_input_embedding(rules, active):
    assert rules(Config({}, "config.json")).active_parameters_without_embedding == active


def test_mtp_layer_of_glm_4_5_air_as_its_checkpoint_stores_it():
    table = {"head_dim": 128, "attention_bias": True, "num_nextn_predict_layers": 1}
    model = experts.glm4_moe(Config(table, "config.json"))
    assert (model.parameters, model.mtp_layers, model.mtp_parameters) == (106_852_245_504, 1, 2_375_059_584)


def test_no_mtp_layer_where_the_file_states_none():
    assert experts.glm4_moe(Config({"head_dim": 128}, "config.json")).mtp_layers == 0


def test_null_stands_for_as_many_key_value_heads_as_there_are_heads():
    model = experts.mixtral(Config({"num_key_value_heads": None}, "config.json"))
    assert model.layers[0].attention.kv_heads == 32


def test_null_turns_a_window_off():
    table = {"num_hidden_layers": 4, "sliding_window": None}
    model = experts.afmoe(Config(table, "config.json"))
    assert {layer.attention.window for layer in model.layers} == {None}


def test_letters_of_a_pattern_name_local_and_global_layers():
    table = {"num_hidden_layers": 5, "sliding_window_pattern": "LLG", "sliding_window": 128}
    model = experts.exaone_moe(Config(table, "config.json"))
    assert [layer.attention.window for layer in model.layers] == [128, 128, None, 128, 128]


def test_the_older_spellings_of_mimo_say_which_layers_slide_and_have_experts():
    table = {
        "num_hidden_layers": 3, "hybrid_layer_pattern": [0, 1, 1], "moe_layer_freq": [0, 0, 1],
        "swa_num_key_value_heads": 16,
    }  # fmt: skip
    model = experts.mimo_v2_flash(Config(table, "config.json"))
    assert [layer.attention.kv_heads for layer in model.layers] == [4, 16, 16]
    assert [layer.feed_forward.experts for layer in model.layers] == [0, 0, 256]


WRONG = [
    (experts.mixtral, {"num_key_value_heads": 5}, "num_key_value_heads"),
    (experts.mixtral, {"num_experts_per_tok": 9}, "num_experts_per_tok"),
    (experts.mixtral, {"num_attention_heads": 8192, "num_key_value_heads": 1}, "num_attention_heads"),
    (experts.mixtral, {"num_local_experts": 0}, "num_local_experts"),
    (experts.gpt_oss, {"layer_types": ["full_attention"]}, "layer_types"),
    (experts.gpt_oss, {"layer_types": ["linear_attention"] * 36}, "layer_types"),
    (experts.gpt_oss, {"layer_types": ["sliding_attention"] * 36, "sliding_window": None}, "layer_types"),
    (experts.llama4, {"no_rope_layers": [1, 0]}, "no_rope_layers"),
    (experts.exaone_moe, {"mlp_layer_types": ["moe"] * 32}, "mlp_layer_types"),
    (experts.exaone_moe, {"sliding_window_pattern": "LLX"}, "sliding_window_pattern"),
    (experts.dbrx, {"attn_config": {"kv_n_heads": 3}}, "n_heads"),
    (experts.dbrx, {"tie_word_embeddings": True}, "tie_word_embeddings"),
    (experts.solar_open, {"first_k_dense_replace": 1}, "first_k_dense_replace"),
    (experts.hunyuan_v1_moe, {"moe_topk": 2}, "moe_topk"),
    (experts.hunyuan_v1_moe, {"moe_topk": [1]}, "moe_topk"),
    (experts.hunyuan_v1_moe, {"num_shared_expert": 2}, "num_shared_expert"),
    (experts.hunyuan_v1_moe, {"use_cla": True}, "use_cla"),
    (experts.mimo_v2_flash, {"num_key_value_heads": 64}, "num_key_value_heads"),
    (experts.mimo_v2_flash, {"sliding_window": None}, "sliding_window"),
    (experts.bailing_moe, {"moe_intermediate_size": 64, "use_sliding_window": True}, "use_sliding_window"),
    (experts.dots1, {}, "n_routed_experts"),
]


@pytest.mark.parametrize(("rules", "table", "key"), WRONG)
def test_what_does_not_fit_is_refused_by_name(rules, table, key):
    with pytest.raises(FileError, match=key):
        rules(Config(table, "config.json"))
