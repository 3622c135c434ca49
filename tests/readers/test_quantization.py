"""Quantised checkpoints by their configs: bytes of small models counted by hand, and of published ones."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcalc.core.ledger import ledger
from memcalc.errors import FileError
from memcalc.readers import architectures, matrices, module_names
from memcalc.readers import quantization as rules
from memcalc.readers.architectures.config import Config
from memcalc.readers.model_files import model_from
from memcalc.workload import Precision

#: D 256, 4 heads of 64, 2 of them for keys and values, inner 512, two layers, 1000 words.
DENSE = {
    "model_type": "llama", "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2,
    "num_hidden_layers": 2, "intermediate_size": 512, "vocab_size": 1000, "torch_dtype": "bfloat16",
}  # fmt: skip
#: Rows and columns of the matrices of one layer.
ATTENTION = [(256, 256), (128, 256), (128, 256), (256, 256)]
FEED_FORWARD = [(512, 256), (512, 256), (256, 512)]
#: Two tables, two norms a layer and the last one, in bf16.
KEPT = 2 * (2 * 1000 * 256 + 2 * 2 * 256 + 256)
MIXTURE = {
    "model_type": "qwen3_moe", "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
    "num_hidden_layers": 2, "intermediate_size": 512, "moe_intermediate_size": 128, "num_experts": 8,
    "num_experts_per_tok": 2, "vocab_size": 1000,
}  # fmt: skip


def read(table, **quantization):
    return model_from({**table, "quantization_config": quantization}, "config.json", "quantised")


def total(model):
    return ledger(model, Precision(model.checkpoint, model.kv_format)).total_weight_bytes


def both_layers(bytes_of, matrices=(*ATTENTION, *FEED_FORWARD)):
    return 2 * sum(bytes_of(rows, columns) for rows, columns in matrices)


def group_scales(bits, group, *, zeros, index):
    """qweight, scales in 16 bits, packed zero points, and an index a column."""

    def bytes_of(rows, columns):
        groups = columns // group
        return (
            rows * columns * bits // 8
            + 2 * rows * groups
            + zeros * rows * groups * bits // 8
            + index * 4 * columns
        )

    return bytes_of


@pytest.mark.parametrize(
    ("quantization", "form", "bytes_of"),
    [
        (
            {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"},
            "fp8-b128",
            lambda rows, columns: rows * columns + 4 * (rows // 128) * (columns // 128),
        ),
        (
            {"quant_method": "fp8", "activation_scheme": "static"},
            "fp8",
            lambda rows, columns: rows * columns + 4 + 4,
        ),
        (
            {"quant_method": "fbgemm_fp8"},
            "fp8",
            lambda rows, columns: rows * columns + 4 * rows,
        ),
        (
            {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
            "int4-g128",
            group_scales(4, 128, zeros=True, index=False),
        ),
        (
            {"quant_method": "gptq", "bits": 4, "group_size": 64, "sym": True, "desc_act": False},
            "int4-g64",
            group_scales(4, 64, zeros=True, index=True),
        ),
        (
            {"quant_method": "gptq", "bits": 8, "group_size": 128, "desc_act": True},
            "int8-g128",
            group_scales(8, 128, zeros=True, index=True),
        ),
        (
            {"quant_method": "bitsandbytes", "load_in_8bit": True},
            "int8",
            lambda rows, columns: rows * columns + 4 * rows + 1,
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["lm_head"]},
            "nvfp4",
            lambda rows, columns: rows * columns // 2 + rows * columns // 16 + 8,
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "FP8", "exclude_modules": ["lm_head"]},
            "fp8",
            lambda rows, columns: rows * columns + 8,
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "pack-quantized",
                "version": "0.12.2",
                "ignore": ["lm_head"],
                "config_groups": {
                    "group_0": {
                        "targets": ["Linear"],
                        "weights": {
                            "num_bits": 4,
                            "type": "int",
                            "strategy": "group",
                            "group_size": 32,
                            "symmetric": True,
                        },
                    }
                },
            },
            "int4-g32",
            lambda rows, columns: rows * columns // 2 + 2 * rows * columns // 32 + 16,
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "float-quantized",
                "ignore": ["lm_head"],
                "config_groups": {
                    "group_0": {
                        "targets": ["Linear"],
                        "weights": {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True},
                        "input_activations": {
                            "num_bits": 8,
                            "type": "float",
                            "dynamic": True,
                            "strategy": "token",
                        },
                    }
                },
            },
            "fp8",
            lambda rows, columns: rows * columns + 2 * rows,
        ),
    ],
    ids=lambda value: value.get("quant_method") if isinstance(value, dict) else None,
)
def test_bytes_of_each_method(quantization, form, bytes_of):
    model = read(DENSE, **quantization)
    assert (model.checkpoint, model.checkpoint_formats) == (form, {"attention": form, "dense": form})
    assert total(model) == KEPT + both_layers(bytes_of)


def test_blocks_at_the_edge_have_a_scale_of_their_own():
    model = read({**DENSE, "intermediate_size": 520}, quant_method="fp8", weight_block_size=[128, 128])
    # 520 rows are four blocks and a fifth of eight rows.
    dense = 2 * (3 * 520 * 256 + 4 * 3 * 5 * 2)
    assert model.checkpoint_bytes["dense"] == dense


def fp8(rows, columns):
    return rows * columns + 4


@pytest.mark.parametrize(
    ("kept", "stays"),
    [
        (["self_attn"], both_layers(lambda r, c: r * c - 4, ATTENTION)),
        (["model.layers.1"], sum(r * c - 4 for r, c in (*ATTENTION, *FEED_FORWARD))),
        (["model.layers.0.mlp.down_proj"], 512 * 256 - 4),
        (["q_proj", "lm_head"], both_layers(lambda r, c: r * c - 4, ATTENTION[:1])),
        (["layers.10"], 0),
        (["elf_attn"], 0),
        (None, 0),
    ],
)
def test_modules_that_stay(kept, stays):
    everything = KEPT + both_layers(fp8)
    assert total(read(DENSE, quant_method="fp8", modules_to_not_convert=kept)) == everything + stays


@pytest.mark.parametrize(
    ("ignore", "attention", "dense"),
    [
        (["re:.*self_attn.*", "lm_head"], False, True),
        (["re:.*mlp\\.(gate|up|down)_proj$", "lm_head"], True, False),
        (["re:model.layers.\\d+.mlp.*", "lm_head"], True, False),
    ],
)
def test_patterns_of_compressed_tensors(ignore, attention, dense):
    model = read(
        DENSE, quant_method="compressed-tensors", ignore=ignore, format="float-quantized",
        config_groups={"g": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "tensor"}}},
    )  # fmt: skip
    assert set(model.checkpoint_formats) == {
        name for name, on in (("attention", attention), ("dense", dense)) if on
    }


def test_wildcards_and_the_prefix_of_a_wrapper():
    model = read(DENSE, quant_method="modelopt", quant_algo="NVFP4",
                 exclude_modules=["lm_head", "model.language_model.layers.0.self_attn*", "*down_proj"])  # fmt: skip
    nvfp4 = lambda r, c: r * c // 2 + r * c // 16 + 8  # noqa: E731
    attention = sum(2 * r * c for r, c in ATTENTION) + sum(nvfp4(r, c) for r, c in ATTENTION)
    dense = 2 * (2 * nvfp4(512, 256) + 2 * 512 * 256)
    assert model.checkpoint_bytes["attention"] == attention + 2 * 2 * 2 * 256
    assert model.checkpoint_bytes["dense"] == dense


def test_mixed_precision_is_by_module():
    layers = {"model.layers.0.mlp.gate_proj": {"quant_algo": "NVFP4", "group_size": 16},
              "model.layers.1.self_attn.q_proj": {"quant_algo": "FP8"}}  # fmt: skip
    model = read(DENSE, quant_method="modelopt", quant_algo="MIXED_PRECISION", quantized_layers=layers)
    assert model.checkpoint_formats == {"attention": "fp8", "dense": "nvfp4"}  # though most of both stays
    whole = KEPT + both_layers(lambda r, c: 2 * r * c)
    saved = 2 * 512 * 256 - (512 * 256 // 2 + 512 * 256 // 16 + 8) + 2 * 256 * 256 - (256 * 256 + 8)
    assert total(model) == whole - saved


def test_experts_alone_in_mxfp4():
    model = read(MIXTURE, quant_method="mxfp4", modules_to_not_convert=["lm_head"])
    experts = 2 * 8 * 3 * 128 * 256
    assert model.checkpoint_formats == {"experts": "mxfp4"}
    assert model.checkpoint_bytes["experts"] == experts // 2 + experts // 32


def test_routers_stay_and_experts_are_converted():
    model = read(MIXTURE, quant_method="fp8", weight_block_size=[128, 128])
    assert set(model.checkpoint_formats) == {"attention", "experts"}
    assert model.checkpoint_bytes["router"] == 2 * 2 * 8 * 256


def test_a_quantised_cache_is_the_default():
    scheme = {"num_bits": 8, "type": "float"}
    assert read(DENSE, quant_method="fp8", kv_cache_scheme=scheme).kv_format == "fp8"
    assert (
        read(DENSE, quant_method="modelopt", quant_algo="FP8", kv_cache_quant_algo="FP8").kv_format == "fp8"
    )
    assert read(DENSE, quant_method="fp8").kv_format == "bf16"


def test_published_totals():
    """gpt-oss-20b as it is published, and Qwen3-30B-A3B in bf16."""
    oss = {
        "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 24,
        "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "num_local_experts": 32,
        "num_experts_per_tok": 4, "vocab_size": 201088, "sliding_window": 128,
        "layer_types": ["sliding_attention", "full_attention"] * 12,
    }  # fmt: skip
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    assert total(read(oss, quant_method="mxfp4", modules_to_not_convert=kept)) == 13_761_264_768
    qwen = {
        "model_type": "qwen3_moe", "hidden_size": 2048, "moe_intermediate_size": 768, "num_hidden_layers": 48,
        "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128,
        "num_experts_per_tok": 8, "vocab_size": 151936, "intermediate_size": 6144,
    }  # fmt: skip
    assert total(model_from(qwen, "config.json", "qwen")) == 61_064_245_248


@pytest.mark.parametrize(
    ("quantization", "said"),
    [
        ({"quant_method": "magic"}, "'magic' is not known"),
        ({"quant_method": 7}, "quant_method"),
        ({"bits": 4}, "quant_method"),
        ({"quant_method": "awq", "bits": 7}, "7 bits"),
        ({"quant_method": "gptq"}, "bits"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 0}, "groups of 0"),
        ({"quant_method": "fp8", "weight_block_size": [0, 128]}, "weight_block_size"),
        ({"quant_method": "fp8", "modules_to_not_convert": {"a": 1}}, "modules_to_not_convert"),
        ({"quant_method": "fp8", "modules_to_not_convert": [1]}, "modules_to_not_convert"),
        ({"quant_method": "bitsandbytes"}, "neither"),
        ({"quant_method": "compressed-tensors"}, "config_groups"),
        ({"quant_method": "compressed-tensors", "config_groups": {"a": {}}}, "weights"),
        ({"quant_method": "modelopt", "quant_algo": "SPLENDID"}, "SPLENDID"),
        ({"quant_method": "fp8", "weight_block_size": [128]}, "weight_block_size"),
        ({"quant_method": "fp8", "expert_dtype": "fp5"}, "fp5"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["(?!a)b"]}, "mark behind a bracket"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["re:("]}, "open bracket"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["re:a)"]}, "bracket too many"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["re:[a"]}, "open bracket"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["re:a{2}"]}, "counts how often"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["re:\\1"]}, "backslash"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["re:(((((a)))))"]}, "usual kind"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["x" * 400]}, "longer names"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["x"] * 200_001}, "more or longer"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["x*"] * 10_001}, "10000 patterns"),
        ({"quant_method": "fp8", "kv_cache_scheme": 8}, "kv_cache_scheme"),
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "gemv"),
        ({"quant_method": "awq", "bits": "4"}, "bits"),
        ({"quant_method": "awq", "zero_point": "yes"}, "zero_point"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "checkpoint_format": "marlin"}, "marlin"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"-:(?<!a)": {}}}, "dynamic"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"a": 8}}, "dynamic"),
        ({"quant_method": "compressed-tensors", "config_groups": {"\x1b[2J": {}}}, "groups"),
        (
            {"quant_method": "compressed-tensors", "config_groups": dict.fromkeys(map(str, range(300)))},
            "groups",
        ),
        (
            {"quant_method": "gptq", "bits": 4, "group_size": 128, "modules_in_block_to_quantize": 1},
            "modules_in",
        ),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "int4"}, "int4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 8}, "groups of 8"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "quantized_layers"),
        (
            {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {"a": 1}},
            "quant_algo",
        ),
    ],
)
def test_what_is_not_understood_is_refused(quantization, said):
    with pytest.raises(FileError) as caught:
        read(DENSE, **quantization)
    assert said in caught.value.message
    assert "config.json: quantization_config." in caught.value.message


def test_many_names_are_looked_up():
    names = [
        f"model.layers.{layer}.mlp.experts.{expert}.up_proj" for layer in range(60) for expert in range(256)
    ]
    model = read({**MIXTURE, "num_hidden_layers": 60}, quant_method="fp8", modules_to_not_convert=names)
    assert model.checkpoint == "fp8"


def stored(table):
    """Bytes of all tensors, those of MTP layers included."""
    return sum(model_from(table, "config.json", "quantised").checkpoint_bytes.values())


#: The sizes of DeepSeek-V3, whose layers Kimi K2 has too.
V3 = {
    "model_type": "deepseek_v3", "vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432,
    "moe_intermediate_size": 2048, "num_hidden_layers": 61, "num_attention_heads": 128, "n_shared_experts": 1,
    "n_routed_experts": 256, "num_experts_per_tok": 8, "first_k_dense_replace": 3, "kv_lora_rank": 512,
    "q_lora_rank": 1536, "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128,
}  # fmt: skip
K2 = V3 | {
    "vocab_size": 163840,
    "num_attention_heads": 64,
    "n_routed_experts": 384,
    "first_k_dense_replace": 1,
}
BLOCKS = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}


def test_deepseek_v3_as_the_hub_counts_its_elements_by_type():
    """API of the Hub, safetensors.parameters: what it counts and the nouns do not is subtracted by hand."""
    published = 680_571_043_840 + 2 * 3_918_786_560 + 4 * 41_555_600
    copies = 2 * 2 * 129280 * 7168  # tables that the MTP layer has again
    bias = (
        4 * 256 * 58 + 2 * 256
    )  # correction biases: of 58 layers, and of the MTP layer in fp32 instead of bf16
    table = V3 | {"num_nextn_predict_layers": 1, "quantization_config": BLOCKS}
    assert stored(table) == published - copies - bias


def test_kimi_k2_as_its_safetensors_headers_add_up():
    """1,029,173,256,720 bytes of tensors in moonshotai/Kimi-K2-Instruct, with correction biases and rotary tables."""
    assert stored(K2 | {"quantization_config": BLOCKS}) == 1_029_173_256_720 - 60 * 384 * 4 - 61 * 56 * 2


def test_kimi_k2_thinking_as_its_safetensors_headers_add_up():
    """594,205,920,512 bytes in moonshotai/Kimi-K2-Thinking: integers of 4 bits in the experts, shapes in 32 bits."""
    weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True}
    ignore = [
        "lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*",
    ]  # fmt: skip
    method = {
        "quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ignore,
        "config_groups": {"group_0": {"targets": ["Linear"], "input_activations": None, "weights": weights}},
    }  # fmt: skip
    assert stored(K2 | {"quantization_config": method}) == 594_205_920_512 - 60 * 384 * 4 - 61 * 128 * 2


def test_deepseek_v4_flash_as_its_index_adds_up():
    """total_size of deepseek-ai/DeepSeek-V4-Flash: experts in fp4, scales of one byte, hyper-connections in fp32."""
    table = {
        "model_type": "deepseek_v4", "vocab_size": 129280, "hidden_size": 4096, "moe_intermediate_size": 2048,
        "num_hidden_layers": 43, "num_attention_heads": 64, "num_key_value_heads": 1, "head_dim": 512,
        "q_lora_rank": 1024, "num_experts_per_tok": 6, "n_routed_experts": 256, "n_shared_experts": 1, "hc_mult": 4,
        "sliding_window": 128, "o_groups": 8, "o_lora_rank": 1024, "index_n_heads": 64, "index_head_dim": 128,
        "index_topk": 512, "num_nextn_predict_layers": 1, "compress_ratios": [0, 0, *[4, 128] * 20, 4, 0],
        "expert_dtype": "fp4", "quantization_config": BLOCKS | {"scale_fmt": "ue8m0"},
    }  # fmt: skip
    bias, tables = 40 * 256 * 4, 3 * 129280 * 6 * 8  # of routers; of layers that route by a hash
    assert stored(table) == 159_609_485_896 - bias - tables


def test_qwen_awq_as_its_safetensors_headers_add_up():
    """Qwen/Qwen2.5-7B-Instruct-AWQ: 822,033,408 words of 32 bits and 1,141,306,880 halves."""
    table = {
        "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064, "torch_dtype": "float16",
    }  # fmt: skip
    method = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
    assert stored(table | {"quantization_config": method}) == 4 * 822_033_408 + 2 * 1_141_306_880


def test_llama_in_nf4_as_its_safetensors_headers_add_up():
    """unsloth/Llama-3.2-1B-Instruct-bnb-4bit: an offset in the JSON beside each matrix has a digit more or less."""
    table = {
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    }  # fmt: skip
    method = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
              "bnb_4bit_use_double_quant": True, "llm_int8_skip_modules": ["lm_head"]}  # fmt: skip
    published = 4 * 89_856 + 2 * 262_735_872 + 501_762_865
    assert abs(stored(table | {"quantization_config": method}) - published) <= 16 * 7


@pytest.mark.parametrize(
    ("method", "published"), [("awq", 3.89e9), ("gptq", 3.90e9)], ids=["TheBloke AWQ", "TheBloke GPTQ"]
)
def test_llama_2_7b_is_as_large_as_the_files_of_thebloke(method, published):
    table = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
             "num_attention_heads": 32, "vocab_size": 32000, "torch_dtype": "float16"}  # fmt: skip
    found = stored(table | {"quantization_config": {"quant_method": method, "bits": 4, "group_size": 128}})
    assert found == pytest.approx(published, rel=2e-3)


def test_an_mtp_layer_is_a_last_layer_and_what_joins_it():
    """Latent attention, tensor by tensor, in blocks of 128 x 128."""
    table = {
        "model_type": "deepseek_v3", "vocab_size": 512, "hidden_size": 256, "intermediate_size": 384,
        "moe_intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "n_shared_experts": 1,
        "n_routed_experts": 4, "num_experts_per_tok": 2, "first_k_dense_replace": 1, "kv_lora_rank": 128,
        "q_lora_rank": 192, "qk_rope_head_dim": 32, "v_head_dim": 64, "qk_nope_head_dim": 64,
        "num_nextn_predict_layers": 1,
    }  # fmt: skip

    def eight(rows, columns):
        return rows * columns + 4 * -(-rows // 128) * -(-columns // 128)

    attention = sum(eight(*shape) for shape in [(192, 256), (384, 192), (160, 256), (512, 128), (256, 256)])
    norms = 2 * (192 + 128 + 2 * 256)
    shared = 2 * eight(128, 256) + eight(256, 128)
    model = model_from(table | {"quantization_config": BLOCKS}, "config.json", "quantised")
    assert model.checkpoint_bytes == {
        "embedding": 2 * 512 * 256,
        "attention": 2 * (attention + norms),
        "dense": 2 * eight(384, 256) + eight(256, 384),
        "shared": shared,
        "router": 2 * 4 * 256,
        "experts": 4 * shared,
        "head": 2 * (512 * 256 + 256),
        "mtp": attention + norms + 5 * shared + 2 * (4 * 256 + 4) + 2 * (2 * 256 * 256 + 3 * 256),
    }
    alone = {**BLOCKS, "modules_to_not_convert": ["model.layers.2"]}
    plain = model_from(table | {"quantization_config": alone}, "config.json", "quantised")
    assert plain.checkpoint_bytes["mtp"] == 2 * model.mtp_parameters
    assert plain.checkpoint_bytes["experts"] == model.checkpoint_bytes["experts"]


def compressed(weights, activations=None, form=None, targets=("Linear",), **more):
    group = {"targets": list(targets), "weights": weights, "input_activations": activations}
    return {
        "quant_method": "compressed-tensors", "format": form, "version": "0.12.2", "ignore": ["lm_head"],
        "config_groups": {"group_0": group}, **more,
    }  # fmt: skip


FLOAT8, INT8, INT4 = (
    {"num_bits": b, "type": t, "symmetric": True} for b, t in ((8, "float"), (8, "int"), (4, "int"))
)
FP4 = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": 16}


@pytest.mark.parametrize(
    ("method", "form", "size"),
    [
        # Bytes of one matrix of 320 x 128, as compressed-tensors 0.20 saves it.
        (compressed(INT4 | {"strategy": "group", "group_size": 64, "symmetric": False}), "int4-g64",
         320 * 64 + 2 * 320 * 2 + 4 * 40 * 2 + 16),
        (compressed(INT4 | {"strategy": "channel", "symmetric": False}), "int4-g128",
         320 * 64 + 2 * 320 + 4 * 40 + 16),
        (compressed(INT4 | {"num_bits": 3, "strategy": "group", "group_size": 32}), "int4-g32",
         320 * 48 + 2 * 320 * 4 + 16),
        (compressed(INT8 | {"strategy": "channel"}), "int8-g128", 320 * 128 + 2 * 320 + 16),
        (compressed(INT8 | {"strategy": "channel"}, {"dynamic": True}, "int-quantized"), "int8",
         320 * 128 + 2 * 320),
        (compressed(INT8 | {"strategy": "tensor"}, {"dynamic": False, "symmetric": False}, "int-quantized"), "int8",
         320 * 128 + 2 + 2 + 1),
        (compressed(FLOAT8 | {"strategy": "tensor"}, {"dynamic": False}, "float-quantized"), "fp8",
         320 * 128 + 2 + 2),
        (compressed(FLOAT8 | {"strategy": "block", "block_structure": [128, 128]}, None, "float-quantized"), "fp8-b128",
         320 * 128 + 2 * 3),
        (compressed(FP4, {"dynamic": "local"}, "nvfp4-pack-quantized"), "nvfp4", 320 * 64 + 320 * 8 + 4 + 4),
        (compressed(FP4, None, "mixed-precision"), "nvfp4", 320 * 64 + 320 * 8 + 4),
        (compressed(FP4 | {"strategy": "group", "group_size": 32}, None, "mxfp4-pack-quantized"), "mxfp4",
         320 * 64 + 320 * 4),
        (compressed(FLOAT8 | {"strategy": "group", "group_size": 32}, None, "mxfp8-quantized"), "mxfp8",
         320 * 128 + 320 * 4),
        (compressed(INT4 | {"strategy": "channel", "symmetric": False}, None, "naive-quantized"), "int8-g128",
         320 * 128 + 2 * 320 + 320),
        ({"quant_method": "gptq", "bits": 3, "group_size": -1}, "int4-g128",
         320 * 48 + 2 * 320 + 4 * 30 + 4 * 128),
        ({"quant_method": "gptq", "bits": 2, "group_size": 32}, "int4-g32",
         320 * 32 + 2 * 320 * 4 + 4 * 20 * 4 + 4 * 128),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64, "zero_point": False}, "int4-g64",
         320 * 64 + 2 * 320 * 2),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "int4-g64",
         320 * 64 + 4 * 640 + 4 * 16 + 80),
        ({"quant_method": "modelopt", "quant_algo": "FP8_PB_WO"}, "fp8-b128", 320 * 128 + 4 * 3),
        ({"quant_method": "modelopt", "quant_algo": "W4A16_NVFP4"}, "nvfp4", 320 * 64 + 320 * 8 + 4),
        ({"quant_method": "modelopt", "quant_algo": "FP8_PER_CHANNEL_PER_TOKEN"}, "fp8", 320 * 128 + 4 * 320),
        ({"quant_method": "modelopt", "quant_algo": "MXFP8"}, "mxfp8", 320 * 128 + 320 * 4),
    ],
)  # fmt: skip
def test_bytes_of_one_matrix(method, form, size):
    # All matrices but that of mlp.up_proj stay; heads are of 32.
    table = {
        **DENSE,
        "model_type": "llama",
        "hidden_size": 128,
        "intermediate_size": 320,
        "num_hidden_layers": 1,
    }
    others = ["model.layers.0.mlp.gate_proj", "model.layers.0.mlp.down_proj", "lm_head"]
    others += [f"model.layers.0.self_attn.{name}_proj" for name in "qkvo"]
    key = {
        "modelopt": "exclude_modules",
        "compressed-tensors": "ignore",
        "bitsandbytes": "llm_int8_skip_modules",
    }
    model = read(table, **{**method, key.get(method["quant_method"], "modules_to_not_convert"): others})
    assert model.checkpoint == form
    assert model.checkpoint_bytes["dense"] == size + 2 * 2 * 320 * 128
    assert model.checkpoint_bytes["attention"] == 2 * (2 * 128 * 128 + 2 * 64 * 128 + 2 * 128)


@pytest.mark.parametrize(
    "weights",
    [
        {"num_bits": 4, "type": "float", "strategy": "group"},
        {"num_bits": 8, "type": "float", "strategy": "block"},
        {"num_bits": 8, "type": "float", "strategy": "spiral"},
        {"num_bits": 8, "type": "complex"},
        {"num_bits": 6, "type": "float", "strategy": "tensor"},
        {"num_bits": 9, "type": "int", "strategy": "channel"},
        {"num_bits": "8", "type": "int"},
        {"num_bits": 8, "type": 8},
        {"num_bits": 8, "type": "int", "symmetric": "yes"},
    ],
)
def test_weights_that_are_not_understood_are_refused(weights):
    with pytest.raises(FileError, match=r"config\.json: quantization_config"):
        read(DENSE, **compressed(weights))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"format": "marlin-24"}, "marlin-24"),
        ({"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparse"),
        ({"targets": ["MambaMixer"]}, "MambaMixer"),
        ({"targets": [1]}, "targets"),
        ({"ignore": "re:(?<!x)"}, "ignore"),
    ],
)
def test_groups_that_are_not_understood_are_refused(more, said):
    method = compressed(INT8 | {"strategy": "channel"}, form="pack-quantized")
    method["config_groups"]["group_0"]["targets"] = more.pop("targets", ["Linear"])
    with pytest.raises(FileError, match=said):
        read(DENSE, **{**method, **more})


def test_a_head_that_is_not_ignored_is_a_linear_layer_and_an_embedding_is_one_if_named():
    weights = FLOAT8 | {"strategy": "channel"}
    model = read(DENSE, **{**compressed(weights, form="float-quantized"), "ignore": []})
    assert model.checkpoint_bytes["head"] == 1000 * 256 + 2 * 1000 + 2 * 256
    model = read(DENSE, **compressed(weights, form="float-quantized", targets=["Linear", "Embedding"]))
    assert model.checkpoint_bytes["head"] == 2 * (1000 * 256 + 256)
    assert model.checkpoint_bytes["embedding"] == 1000 * 256 + 2 * 1000


def test_names_go_before_classes_and_layers_are_told_apart():
    method = compressed(FLOAT8 | {"strategy": "channel"}, form="float-quantized")
    method["config_groups"]["group_1"] = {
        "targets": ["model.layers.1.mlp.down_proj", "re:.*layers\\.0\\.mlp\\.(up|gate)_proj$"],
        "weights": INT4 | {"strategy": "group", "group_size": 128}, "format": "pack-quantized",
    }  # fmt: skip
    model = read(DENSE, **method)
    four = lambda r, c: r * c // 2 + 2 * r * c // 128 + 16  # noqa: E731
    eight = lambda r, c: r * c + 2 * r  # noqa: E731
    assert model.checkpoint_bytes["dense"] == (
        2 * four(512, 256) + eight(256, 512) + 2 * eight(512, 256) + four(256, 512)
    )


def test_exceptions_of_gptqmodel_and_the_head():
    method = {
        "quant_method": "gptq", "bits": 4, "group_size": 128, "lm_head": True,
        "dynamic": {"-:.*self_attn.*": {}, "+:.*down_proj": {"bits": 8, "group_size": 64}},
    }  # fmt: skip
    model = read(DENSE, **method)
    four, eight = (group_scales(bits, size, zeros=True, index=True) for bits, size in ((4, 128), (8, 64)))
    assert model.checkpoint_bytes["attention"] == 2 * 2 * (256 * 256 * 3 + 2 * 256)
    assert model.checkpoint_bytes["dense"] == 2 * (2 * four(512, 256) + eight(256, 512))
    assert model.checkpoint_bytes["head"] == four(1000, 256) + 2 * 256
    listed = [["self_attn.q_proj", "self_attn.k_proj"], ["mlp.down_proj"]]
    model = read(DENSE, quant_method="gptq", bits=4, group_size=128, modules_in_block_to_quantize=listed)
    assert model.checkpoint_bytes["dense"] == 2 * (four(256, 512) + 2 * 2 * 512 * 256)


def test_experts_that_are_named_one_by_one():
    names = [f"model.layers.{layer}.mlp.experts.{number}.{name}_proj" for layer in (0, 1) for number in range(8)
             for name in ("gate", "up", "down") if (layer, name) != (1, "down") or number < 3]  # fmt: skip
    layers = {name: {"quant_algo": "NVFP4", "group_size": 16} for name in names}
    model = read(MIXTURE, quant_method="modelopt", quant_algo="MIXED_PRECISION", quantized_layers=layers)
    one = 128 * 256 // 2 + 128 * 256 // 16 + 8
    assert model.checkpoint_bytes["experts"] == (2 * 3 * 8 - 5) * one + 5 * 2 * 128 * 256
    assert model.checkpoint_formats == {"experts": "nvfp4"}


def test_a_star_behind_a_number_means_numbers_that_begin_so():
    table = {**DENSE, "num_hidden_layers": 12}
    model = read(table, quant_method="modelopt", quant_algo="FP8", exclude_modules=["model.layers.1*"])
    matrices = sum(rows * columns for rows, columns in ATTENTION)
    # Layers 1, 10 and 11 stay; nine are converted, with two scales a matrix.
    assert model.checkpoint_bytes["attention"] == 15 * matrices + 9 * 4 * 8 + 12 * 2 * 2 * 256


def test_names_of_towers_are_not_those_of_the_text():
    kept = [
        "visual",
        "vision_tower.layers.0.self_attn.q_proj",
        "model.visual.blocks.0",
        "mtp",
        "mtp.layers.0",
    ]
    assert total(read(DENSE, quant_method="fp8", modules_to_not_convert=kept)) == KEPT + both_layers(fp8)
    ignore = [*kept, "model.vision_tower*", "mtp*", "lm_head"]
    eight = lambda r, c: r * c + 8  # noqa: E731
    model = read(DENSE, quant_method="modelopt", quant_algo="FP8", exclude_modules=ignore)
    assert total(model) == KEPT + both_layers(eight)


def test_a_cache_alone_may_be_quantised():
    file = {
        "producer": {"name": "modelopt"},
        "quantization": {"quant_algo": None, "kv_cache_quant_algo": "FP8"},
    }
    model = architectures.rules("llama", "")(Config(DENSE, "config.json"))
    found = rules.quantised(model, file, "hf_quant_config.json")
    assert (found.kv_format, found.checkpoint_bytes, found.checkpoint) == ("fp8", {}, "bf16")
    file["quantization"]["quant_algo"] = "FP8"
    assert rules.quantised(model, file, "hf_quant_config.json").checkpoint == "fp8"


RECURRENT = [
    {"model_type": "qwen3_next", "hidden_size": 256, "num_hidden_layers": 4, "vocab_size": 512, "num_attention_heads": 4},
    {"model_type": "mamba", "hidden_size": 256, "num_hidden_layers": 2, "vocab_size": 512},
    {"model_type": "mamba2", "hidden_size": 256, "num_heads": 8, "num_hidden_layers": 2, "vocab_size": 512},
    {"model_type": "minimax", "hidden_size": 256, "num_attention_heads": 8, "num_hidden_layers": 2, "vocab_size": 512},
    {"model_type": "lfm2", "hidden_size": 256, "num_attention_heads": 8, "num_hidden_layers": 2, "vocab_size": 512,
     "layer_types": ["conv", "full_attention"]},
    {"model_type": "kimi_linear", "hidden_size": 256, "num_attention_heads": 8, "num_hidden_layers": 4,
     "vocab_size": 512},
]  # fmt: skip


@pytest.mark.parametrize("table", RECURRENT, ids=lambda table: table["model_type"])
def test_projections_of_recurrent_layers_add_up(table):
    model = architectures.rules(table["model_type"], "")(Config(table, "config.json"))
    mixer = next(group.attention for group in model.layers if group.attention.kind == "recurrent")
    parts = matrices._of_recurrent(mixer, model.width)
    assert len(parts) > 1
    assert sum(part.rows * part.columns for part in parts) == mixer.matrix


@pytest.mark.parametrize("table", [DENSE, MIXTURE, V3], ids=lambda table: table["model_type"])
def test_matrices_are_those_of_the_nouns(table):
    model = architectures.rules(table["model_type"], "")(Config(table, "config.json"))
    found = {}
    for group in model.layers:
        for matrix in matrices.matrices_of(group, model.width):
            size = matrix.rows * matrix.columns * matrix.copies * group.count
            found[matrix.tensor] = found.get(matrix.tensor, 0) + size
    elements = model.elements()
    assert found == {name: elements[name].matrix for name in found}


@pytest.mark.parametrize(
    "pattern",
    [
        ".*self_attn.*", r".*mlp\.(gate|up|gate_up|down)_proj.*", r"model\.layers\.\d+\.mlp\..*_proj$",
        r"^model.layers.(0|1|12)\..*", ".*[a-f]+_proj", "(a|b)*c?", r"[^.]+\.layers\.[0-9]+.*", "x|.*gate$",
        r"model\.layers\.(?:[0-9]|1[0-2])\.(self_attn|mlp)\.\w+", "", ".*?_proj", "(model|layers|\\.)+1",
        r".*\.gate\b", r"\b\w+\b\.layers", r"\D+\d\W.*", r"^(?!.*self_attn).*_proj", r"(?=.*mlp)model\.", r"(?!model)(?!a).+",
        r".*\.(?!gate)\w+$", r"(?:(?!12)[\w.])*$",
    ],
)  # fmt: skip
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_patterns_mean_what_they_mean_to_re(pattern, data):
    word = st.sampled_from(
        ["model", "layers", "0", "12", "mlp", "self_attn", "up_proj", "gate", "gate_up_proj", "a"]
    )
    name = ".".join(data.draw(st.lists(word, max_size=6)))
    steps = module_names._Parser(pattern).steps()
    found = module_names.reach(steps, name, {0}, module_names.Meter(100_000))
    assert bool(found) == (re.match(pattern, name) is not None)


@given(st.text("ab*?.", max_size=8), st.text("ab.", max_size=10))
def test_wildcards_mean_what_they_mean_to_fnmatch(pattern, name):
    found = module_names.reach(module_names._glob(pattern), name, {0}, module_names.Meter(100_000))
    assert bool(found) == fnmatchcase(name, pattern)


@pytest.mark.parametrize(
    "entries",
    [
        ["re:(a+)+$"] * 500, ["re:" + ".*a" * 90] * 1000, ["re:(((.*)*)*)*x"] * 500, ["re:(a|a)*b"] * 5000,
        ["re:" + "a?" * 140] * 10_000, ["re:(?:[a-z.0-9_]+)+$"] * 5000, ["re:.*.*.*.*.*.*x"] * 9_000,
        ["*" * 299 + "x"] * 3000, [f"re:.*layers\\.(5{n})\\..*" for n in range(9_000)], [f"re:.*layers\\.{n}\\..*" for n in range(9_000)],
    ],
)  # fmt: skip
def test_hostile_patterns_end_soon(entries):
    start = perf_counter()
    for method in (
        compressed(INT8 | {"strategy": "channel"}, form="pack-quantized"),
        {"quant_method": "fp8"},
    ):
        key = "ignore" if "config_groups" in method else "modules_to_not_convert"
        try:
            read({**DENSE, "num_hidden_layers": 200}, **{**method, key: entries})
        except FileError as error:
            assert key in error.message  # noqa: PT017 - refused or read, but soon
    assert perf_counter() - start < 20


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        (r"^(?!.*mlp).*", {"attention"}),
        (r"(?!.*self_attn).*", {"dense"}),
        (r".*(?!mlp).*", {"attention", "dense"}),
        (r"^(?!.*language_model).*", set()),
        (r"^(?!model\.layers\.\d+\.mlp).*", {"attention"}),
        (r".*\bup_proj\b", set()),
        (r".*\bself_attn\b", {"attention"}),
    ],
)
def test_what_must_not_follow_is_held_to_the_usual_name_in_all_spellings(pattern, kept):
    ignore = ["lm_head", "re:" + pattern]
    model = read(
        DENSE, **compressed(INT8 | {"strategy": "channel"}, form="int-quantized") | {"ignore": ignore}
    )
    assert set(model.checkpoint_formats) == {"attention", "dense"} - kept


def test_a_star_in_a_list_of_whole_names_is_a_letter():
    method = compressed(INT8 | {"strategy": "channel"}, form="int-quantized")
    names = ["lm_head", *(f"model.layers.{number % 10}*" + "q" * (number // 10) for number in range(2000))]
    start = perf_counter()
    model = read({**DENSE, "num_hidden_layers": 1000}, **{**method, "ignore": names})
    assert set(model.checkpoint_formats) == {"attention", "dense"}
    assert perf_counter() - start < 5


@pytest.mark.parametrize("entry", ["model", "model.layers", "layers", "model.language_model.layers"])
def test_a_list_may_keep_all_layers(entry):
    assert not read(DENSE, quant_method="fp8", modules_to_not_convert=[entry]).checkpoint_formats


def test_layers_may_have_hundreds_of_exceptions():
    """Seven of 60 layers each, one by one, as mixtures of bits list them."""
    names = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
             "mlp.up_proj", "mlp.gate_proj", "mlp.down_proj")  # fmt: skip
    dynamic = {f"model.layers.{layer}.{name}": {"bits": 8} for layer in range(60) for name in names}
    dynamic |= {f"+:.*layers\\.{layer}\\..*": {"bits": 8} for layer in range(30)}
    table = {**DENSE, "num_hidden_layers": 61}
    model = read(table, quant_method="gptq", bits=4, group_size=128, dynamic=dynamic)
    eight = sum(group_scales(8, 128, zeros=True, index=True)(r, c) for r, c in FEED_FORWARD)
    four = sum(group_scales(4, 128, zeros=True, index=True)(r, c) for r, c in FEED_FORWARD)
    assert model.checkpoint_bytes["dense"] == 60 * eight + four


def test_many_lists_share_what_they_may_take():
    start = perf_counter()
    dynamic = {f"-:.*{'a*b' * 90}{number}": {} for number in range(5000)}
    with pytest.raises(FileError, match="dynamic"):
        read(
            {**DENSE, "num_hidden_layers": 500}, quant_method="gptq", bits=4, group_size=128, dynamic=dynamic
        )
    assert perf_counter() - start < 10


WORDS = st.sampled_from(
    ["fp8", "awq", "gptq", "mxfp4", "modelopt", "compressed-tensors", "bitsandbytes", "x", ""]
)
INNER = st.sampled_from(["weights", "num_bits", "type", "strategy", "group_size", "targets", "ignore", "a"])
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | WORDS
TABLE = st.dictionaries(INNER, PLAIN | st.lists(PLAIN, max_size=3), max_size=4)
ANYTHING = PLAIN | st.lists(PLAIN, max_size=3) | TABLE | st.dictionaries(INNER, TABLE, max_size=3)
ANYTHING |= st.dictionaries(INNER, st.dictionaries(INNER, TABLE, max_size=2), max_size=2)
KEYS = st.sampled_from([
    "bits", "group_size", "zero_point", "modules_to_not_convert", "weight_block_size", "config_groups", "ignore",
    "quant_algo", "exclude_modules", "quantized_layers", "kv_cache_scheme", "load_in_4bit", "load_in_8bit", "lm_head",
    "dynamic", "modules_in_block_to_quantize", "format", "activation_scheme", "version", "checkpoint_format",
    "llm_int8_skip_modules", "ignored_layers", "bnb_4bit_quant_type", "sparsity_config", "quantization",
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(WORDS, st.dictionaries(KEYS, ANYTHING, max_size=5))
def test_any_table_is_read_or_refused(method, table):
    try:
        model = read(MIXTURE, quant_method=method, **table)
    except FileError:
        return
    assert total(model) > 0
