"""Models from GGUF files: as many parameters, bytes and cache as the same model has by its config."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import memcalc
from memcalc.core.ledger import ledger
from memcalc.errors import FileError
from memcalc.readers.gguf_models import read_gguf_model
from memcalc.readers.model_files import model_from
from memcalc.readers.preset_files import model_toml
from memcalc.readers.user_files import read_model
from memcalc.workload import Precision

D, WORDS = 256, 512


def write(path, word, metadata, tensors, **general):
    """A file of architecture `word`; `tensors` are names with shape and type, filled with zeros."""
    writer = gguf.GGUFWriter(str(path), word)
    for key, value in metadata.items():
        if isinstance(value, list):
            writer.add_array(f"{word}.{key}", value)
        elif isinstance(value, str):
            writer.add_string(f"{word}.{key}", value)
        else:
            writer.add_uint32(f"{word}.{key}", value)
    for key, value in general.items():
        writer.add_uint32(f"general.{key}", value)
    for name, (shape, kind) in tensors.items():
        if kind in (Type.F32, Type.F16):
            writer.add_tensor(name, np.zeros(shape, np.float32 if kind == Type.F32 else np.float16))
        else:
            block, size = GGML_QUANT_SIZES[kind]
            rows = np.zeros((*shape[:-1], shape[-1] // block * size), np.uint8)
            writer.add_tensor(name, rows, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


def outside(kind=Type.F16, *, tied=False):
    tensors = {"token_embd.weight": ((WORDS, D), kind), "output_norm.weight": ((D,), Type.F32)}
    return tensors if tied else {**tensors, "output.weight": ((WORDS, D), kind)}


def in_block(index, shapes, kind=Type.F16):
    """Tensors of a block: vectors in fp32, matrices in `kind`."""
    return {
        f"blk.{index}.{name}": (shape, Type.F32 if len(shape) == 1 or "conv1d" in name else kind)
        for name, shape in shapes.items()
    }


def attention(heads=4, kv_heads=2, width=64, **more):
    return {
        "attn_norm.weight": (D,), "attn_q.weight": (heads * width, D), "attn_k.weight": (kv_heads * width, D),
        "attn_v.weight": (kv_heads * width, D), "attn_output.weight": (D, heads * width), "ffn_norm.weight": (D,), **more,
    }  # fmt: skip


DENSE = {"ffn_gate.weight": (512, D), "ffn_up.weight": (512, D), "ffn_down.weight": (D, 512)}
EXPERTS = {
    "ffn_gate_inp.weight": (8, D), "ffn_gate_exps.weight": (8, 128, D), "ffn_up_exps.weight": (8, 128, D),
    "ffn_down_exps.weight": (8, D, 128),
}  # fmt: skip
COMMON = {
    "block_count": 2, "context_length": 4096, "embedding_length": D, "attention.head_count": 4,
    "attention.head_count_kv": 2, "feed_forward_length": 512,
}  # fmt: skip
CONFIG = {
    "hidden_size": D, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2, "vocab_size": WORDS,
    "intermediate_size": 512, "head_dim": 64, "max_position_embeddings": 4096,
}  # fmt: skip
MOE = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128}


def blocks(count, shapes, kind=Type.F16):
    return {name: entry for index in range(count) for name, entry in in_block(index, shapes, kind).items()}


def mixed(*shapes):
    return {name: entry for index, one in enumerate(shapes) for name, entry in in_block(index, one).items()}


LATENT = {
    "attn_norm.weight": (D,), "attn_q_a.weight": (96, D), "attn_q_a_norm.weight": (96,), "attn_q_b.weight": (4 * 48, 96),
    "attn_kv_a_mqa.weight": (64 + 16, D), "attn_kv_a_norm.weight": (64,), "attn_kv_b.weight": (4 * (32 + 32), 64),
    "attn_output.weight": (D, 4 * 32), "ffn_norm.weight": (D,),
}  # fmt: skip
SPLIT = {name: shape for name, shape in LATENT.items() if name != "attn_kv_b.weight"} | {
    "attn_k_b.weight": (4, 64, 32), "attn_v_b.weight": (4, 32, 64),
}  # fmt: skip
MAMBA2 = {
    "attn_norm.weight": (D,), "ssm_in.weight": (256 + 256 + 2 * 32 + 8, D), "ssm_conv1d.weight": (256 + 2 * 32, 4),
    "ssm_conv1d.bias": (256 + 2 * 32,), "ssm_dt.bias": (8,), "ssm_a": (8, 1), "ssm_d": (8, 1), "ssm_norm.weight": (256,),
    "ssm_out.weight": (D, 256),
}  # fmt: skip
SSM = {
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 256,
    "ssm.state_size": 32,
    "ssm.time_step_rank": 8,
    "ssm.group_count": 1,
}
NEMOTRON = {
    "model_type": "nemotron_h", "layers_block_type": ["mamba", "attention", "mlp"], "mamba_num_heads": 8,
    "mamba_head_dim": 32, "ssm_state_size": 32, "n_groups": 1, "conv_kernel": 4, "use_conv_bias": True,
    **{key: CONFIG[key] for key in CONFIG if key != "num_hidden_layers"},
}  # fmt: skip
CASES = {
    "llama": (
        "llama", COMMON, outside() | blocks(2, attention() | DENSE), {"model_type": "llama", **CONFIG}),
    "tied": (
        "llama", COMMON, outside(tied=True) | blocks(2, attention() | DENSE),
        {"model_type": "llama", **CONFIG, "tie_word_embeddings": True}),
    "qwen2": (
        "qwen2", COMMON,
        outside() | blocks(2, attention(**{"attn_q.bias": (256,), "attn_k.bias": (128,), "attn_v.bias": (128,)}) | DENSE),
        {"model_type": "qwen2", **CONFIG}),
    "qwen3moe": (
        "qwen3moe", COMMON | {"expert_count": 8, "expert_used_count": 2, "attention.key_length": 64},
        outside() | blocks(2, attention(**{"attn_q_norm.weight": (64,), "attn_k_norm.weight": (64,)}) | EXPERTS),
        {"model_type": "qwen3_moe", **CONFIG, **MOE}),
    "qwen2moe": (
        "qwen2moe", COMMON | {"expert_count": 8, "expert_used_count": 2},
        outside() | blocks(2, attention(**{"attn_q.bias": (256,), "attn_k.bias": (128,), "attn_v.bias": (128,)}) | EXPERTS | {
            "ffn_gate_shexp.weight": (96, D), "ffn_up_shexp.weight": (96, D), "ffn_down_shexp.weight": (D, 96),
            "ffn_gate_inp_shexp.weight": (D,)}),
        {"model_type": "qwen2_moe", **CONFIG, **MOE, "shared_expert_intermediate_size": 96}),
    "gemma3": (
        "gemma3", COMMON | {"block_count": 7, "attention.sliding_window": 512, "attention.key_length": 64},
        outside(tied=True) | blocks(7, attention(**{
            "attn_q_norm.weight": (64,), "attn_k_norm.weight": (64,), "post_attention_norm.weight": (D,),
            "post_ffw_norm.weight": (D,)}) | DENSE),
        {"model_type": "gemma3_text", **CONFIG, "num_hidden_layers": 7, "sliding_window": 512}),
    "gpt-oss": (
        "gpt-oss", COMMON | {"expert_count": 8, "expert_used_count": 2, "attention.sliding_window": 128,
                             "attention.key_length": 64},
        outside() | blocks(2, attention(**{
            "attn_q.bias": (256,), "attn_k.bias": (128,), "attn_v.bias": (128,), "attn_output.bias": (D,),
            "attn_sinks.weight": (4,), "ffn_gate_inp.bias": (8,), "ffn_gate_exps.bias": (8, 128), "ffn_up_exps.bias": (8, 128),
            "ffn_down_exps.bias": (8, D)}) | EXPERTS),
        {"model_type": "gpt_oss", **CONFIG, "num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 128,
         "sliding_window": 128}),
    "deepseek2": (
        "deepseek2", COMMON | {"attention.kv_lora_rank": 64, "attention.q_lora_rank": 96, "rope.dimension_count": 16,
                               "attention.key_length": 48, "attention.value_length": 32, "expert_count": 8,
                               "expert_used_count": 2},
        outside() | mixed(LATENT | DENSE, LATENT | EXPERTS | {
            "ffn_gate_shexp.weight": (128, D), "ffn_up_shexp.weight": (128, D), "ffn_down_shexp.weight": (D, 128)}),
        {"model_type": "deepseek_v3", **CONFIG, "kv_lora_rank": 64, "q_lora_rank": 96, "qk_rope_head_dim": 16,
         "qk_nope_head_dim": 32, "v_head_dim": 32, "n_routed_experts": 8, "num_experts_per_tok": 2,
         "moe_intermediate_size": 128, "n_shared_experts": 1, "first_k_dense_replace": 1, "num_nextn_predict_layers": 0}),
    "deepseek2-split": (
        "deepseek2", COMMON | {"attention.kv_lora_rank": 64, "attention.q_lora_rank": 96, "rope.dimension_count": 16,
                               "attention.key_length": 80, "attention.value_length": 64, "attention.key_length_mla": 48,
                               "attention.value_length_mla": 32, "attention.head_count_kv": 1},
        outside() | blocks(2, SPLIT | DENSE),
        {"model_type": "minicpm3", **CONFIG, "kv_lora_rank": 64, "q_lora_rank": 96, "qk_rope_head_dim": 16,
         "qk_nope_head_dim": 32, "v_head_dim": 32, "tie_word_embeddings": False}),
    "nemotron_h": (
        "nemotron_h", COMMON | SSM | {"block_count": 3, "attention.head_count_kv": [0, 2, 0],
                                      "attention.key_length": 64, "attention.value_length": 64,
                                      "feed_forward_length": [0, 0, 512]},
        outside() | mixed(
            MAMBA2,
            {name: shape for name, shape in attention().items() if name != "ffn_norm.weight"},
            {"attn_norm.weight": (D,), "ffn_up.weight": (512, D), "ffn_down.weight": (D, 512)}),
        NEMOTRON),
    "falcon-h1": (
        "falcon-h1", COMMON | SSM,
        outside() | blocks(2, attention() | DENSE | {n: s for n, s in MAMBA2.items() if n not in ("attn_norm.weight", "ssm_norm.weight")}),
        {"model_type": "falcon_h1", **CONFIG, "mamba_d_ssm": 256, "mamba_n_heads": 8, "mamba_d_head": 32,
         "mamba_d_state": 32, "mamba_n_groups": 1}),
}  # fmt: skip


def kept(model, context):
    book = ledger(model, Precision("fp16", "bf16"))
    return book.kv_bytes_per_sequence(context), book.state_bytes_per_sequence


@pytest.mark.parametrize("case", CASES)
def test_a_file_is_the_model_of_its_config(case, tmp_path):
    word, metadata, tensors, config = CASES[case]
    path = write(tmp_path / f"{case}.gguf", word, metadata, tensors)
    found, expected = read_gguf_model(path), model_from(config, "config.json", case)
    assert found.parameters == expected.parameters
    assert found.active_parameters == expected.active_parameters
    assert found.depth == expected.depth
    assert found.tied_embeddings == expected.tied_embeddings
    for context in (100, 1000, 4096):
        assert kept(found, context) == kept(expected, context)
    stored = sum(
        int(np.prod(shape)) // GGML_QUANT_SIZES[kind][0] * GGML_QUANT_SIZES[kind][1]
        for shape, kind in tensors.values()
    )
    assert sum(found.checkpoint_bytes.values()) == stored
    report = memcalc.fit(path, chip="h100-sxm")
    assert report.model.parameters == expected.parameters
    assert next(row.bytes for row in report.placement if row.tensor == "weights") == stored


@pytest.mark.parametrize("case", CASES)
def test_a_preset_of_it_reads_back(case, tmp_path):
    word, metadata, tensors, _ = CASES[case]
    model = read_gguf_model(write(tmp_path / "model.gguf", word, metadata, tensors))
    preset = tmp_path / "model.toml"
    preset.write_text(model_toml(model), encoding="utf-8")
    assert read_model(str(preset)) == model


def test_mixed_types_are_counted_tensor_by_tensor(tmp_path):
    tensors = outside(Type.Q6_K) | blocks(2, attention() | DENSE, Type.Q4_K)
    tensors["blk.0.ffn_down.weight"] = ((D, 512), Type.Q6_K)
    model = read_gguf_model(write(tmp_path / "mixed.gguf", "llama", COMMON, tensors, file_type=15))
    assert (model.checkpoint, model.checkpoint_formats["dense"]) == ("q4_k_m", "q4_k")
    assert model.checkpoint_bytes["dense"] == (5 * 512 * D * 144 + 512 * D * 210) // 256
    assert model.checkpoint_bytes["head"] == WORDS * D * 210 // 256 + 4 * D


def test_experts_in_mxfp4(tmp_path):
    word, metadata, tensors, _ = CASES["gpt-oss"]
    packed = {
        name: (shape, Type.MXFP4 if "exps.weight" in name else kind)
        for name, (shape, kind) in tensors.items()
    }
    model = read_gguf_model(write(tmp_path / "oss.gguf", word, metadata, packed, file_type=38))
    assert model.checkpoint_formats["experts"] == "mxfp4"
    experts = 2 * 8 * 3 * 128 * D
    assert model.checkpoint_bytes["experts"] == experts * 17 // 32 + 2 * 2 * 8 * (128 + 128 + D)


@pytest.mark.parametrize(
    ("word", "change", "said"),
    [
        ("wondrous", {}, "architecture 'wondrous' is not known"),
        ("clip", {}, "is not known"),
        ("llama", {"attention.head_count": 0}, "0 heads"),
        ("llama", {"attention.head_count": 3}, "heads"),
        ("llama", {"attention.head_count_kv": 3}, "KV heads"),
        ("llama", {"attention.head_count": "four"}, "must be a whole number"),
        ("llama", {"block_count": 1}, "is of none of the 1 blocks"),
        ("llama", {"block_count": 2**31}, "must be at most"),
        ("llama", {"attention.key_length": 128}, "do not have the shapes"),
        ("qwen3moe", {"attention.head_count": [4]}, "head_count is missing"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(word, change, said, tmp_path):
    tensors = outside() | blocks(2, attention() | DENSE)
    path = write(tmp_path / "bad.gguf", word, COMMON | change, tensors)
    with pytest.raises(FileError) as caught:
        read_gguf_model(path)
    assert said in caught.value.message
    assert "bad.gguf" in caught.value.message


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from(sorted(CASES)),
    changes=st.dictionaries(
        st.sampled_from(sorted({key for _, metadata, _, _ in CASES.values() for key in metadata})),
        st.sampled_from([0, 1, 3, 7, 2**31, 2**32 - 1, "x", [0, 0, 0], [1], [2**30]]),
        min_size=1, max_size=3,
    ),
)  # fmt: skip
def test_any_metadata_are_read_or_refused(case, changes, tmp_path):
    word, metadata, tensors, _ = CASES[case]
    path = write(tmp_path / "any.gguf", word, metadata | changes, tensors)
    try:
        model = read_gguf_model(path)
    except FileError:
        return
    assert ledger(model, Precision("fp16", "bf16")).total_weight_bytes > 0
