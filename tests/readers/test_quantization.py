"""Quantised checkpoints by their configs: bytes of small models counted by hand, and of published ones."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcalc.core.ledger import ledger
from memcalc.errors import FileError
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
            lambda rows, columns: rows * columns + 4 * rows,
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
    assert model.checkpoint_formats == {"attention": "fp8", "dense": "nvfp4"}
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
        ({"quant_method": "fp8", "modules_to_not_convert": ["re:(a+)+$"]}, "usual kind"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["re:("]}, "regular expression"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["re:.*.*.*.*.*.*x"]}, "more patterns"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["x" * 400]}, "longer names"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["x"] * 30_000}, "more or longer"),
    ],
)
def test_what_is_not_understood_is_refused(quantization, said):
    with pytest.raises(FileError) as caught:
        read(DENSE, **quantization)
    assert said in caught.value.message
    assert "config.json" in caught.value.message


def test_many_names_are_looked_up():
    names = [
        f"model.layers.{layer}.mlp.experts.{expert}.up_proj" for layer in range(60) for expert in range(256)
    ]
    model = read({**MIXTURE, "num_hidden_layers": 60}, quant_method="fp8", modules_to_not_convert=names)
    assert model.checkpoint == "fp8"


WORDS = st.sampled_from(
    ["fp8", "awq", "gptq", "mxfp4", "modelopt", "compressed-tensors", "bitsandbytes", "x", ""]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["weights", "num_bits", "type", "strategy", "group_size", "targets", "ignore", "a"]), inner, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip
KEYS = st.sampled_from([
    "bits", "group_size", "zero_point", "modules_to_not_convert", "weight_block_size", "config_groups", "ignore",
    "quant_algo", "exclude_modules", "quantized_layers", "kv_cache_scheme", "load_in_4bit", "load_in_8bit", "lm_head",
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(WORDS, st.dictionaries(KEYS, ANYTHING, max_size=5))
def test_any_table_is_read_or_refused(method, table):
    try:
        model = read(MIXTURE, quant_method=method, **table)
    except FileError:
        return
    assert total(model) > 0
