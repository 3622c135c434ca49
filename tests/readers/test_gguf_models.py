"""Models from GGUF files: as many parameters, bytes and cache as the same model has by its config."""

from __future__ import annotations

import struct

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
from memcalc.readers.gguf_models import KNOWN, read_gguf_model
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


BIASES = {"attn_q.bias": (256,), "attn_k.bias": (128,), "attn_v.bias": (128,)}
NORMS = {"attn_q_norm.weight": (64,), "attn_k_norm.weight": (64,)}
SHARED = {
    "ffn_gate_shexp.weight": (128, D),
    "ffn_up_shexp.weight": (128, D),
    "ffn_down_shexp.weight": (D, 128),
}
POST = {"post_attention_norm.weight": (D,), "post_ffw_norm.weight": (D,)}
#: Experts as files had them before they were joined.
APART = {"ffn_gate_inp.weight": (8, D)} | {
    f"ffn_{word}.{expert}.weight": shape
    for expert in range(8) for word, shape in (("gate", (128, D)), ("up", (128, D)), ("down", (D, 128)))
}  # fmt: skip
ONE_NORM = {name: shape for name, shape in attention().items() if name != "ffn_norm.weight"}
MAMBA = {
    "attn_norm.weight": (D,), "ssm_in.weight": (1024, D), "ssm_conv1d.weight": (512, 4), "ssm_conv1d.bias": (512,),
    "ssm_x.weight": (16 + 2 * 32, 512), "ssm_dt.weight": (512, 16), "ssm_dt.bias": (512,), "ssm_a": (512, 32),
    "ssm_d": (512,), "ssm_out.weight": (D, 512),
}  # fmt: skip
MAMBA_FACTS = {"ssm.conv_kernel": 4, "ssm.inner_size": 512, "ssm.state_size": 32, "ssm.time_step_rank": 16}
DELTA = {
    "attn_norm.weight": (D,), "attn_qkv.weight": (2 * 2 * 32 + 4 * 32, D), "attn_gate.weight": (4 * 32, D),
    "ssm_conv1d.weight": (256, 4), "ssm_dt.bias": (4,), "ssm_a": (4,), "ssm_norm.weight": (32,),
    "ssm_out.weight": (D, 128), "post_attention_norm.weight": (D,),
}  # fmt: skip
DELTA_FACTS = {
    "ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 32, "ssm.time_step_rank": 4, "ssm.group_count": 2,
    "attention.key_length": 64, "attention.value_length": 64, "full_attention_interval": 4,
}  # fmt: skip
DELTA_CONFIG = {
    **CONFIG, "num_hidden_layers": 4, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 32, "linear_value_head_dim": 32,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "shared_expert_intermediate_size": 128, **MOE,
}  # fmt: skip
GATED = {
    name: shape
    for name, shape in attention(**NORMS, **{"post_attention_norm.weight": (D,)}).items()
    if name != "ffn_norm.weight"
} | {"attn_q.weight": (2 * 256, D)}
GATED_EXPERTS = EXPERTS | SHARED | {"ffn_gate_inp_shexp.weight": (D,)}
CONV = {
    "attn_norm.weight": (D,), "shortconv.conv.weight": (D, 3), "shortconv.in_proj.weight": (3 * D, D),
    "shortconv.out_proj.weight": (D, D), "ffn_norm.weight": (D,),
}  # fmt: skip
KDA = {
    "attn_norm.weight": (D,), "attn_q.weight": (128, D), "attn_k.weight": (128, D), "attn_v.weight": (128, D),
    "ssm_conv1d_q.weight": (1, 128, 1, 4), "ssm_conv1d_k.weight": (1, 128, 1, 4), "ssm_conv1d_v.weight": (128, 1, 4),
    "ssm_f_a.weight": (32, D), "ssm_f_b.weight": (128, 32), "ssm_beta.weight": (4, D), "ssm_a": (1, 1, 4, 1),
    "ssm_dt.bias": (128,), "ssm_g_a.weight": (32, D), "ssm_g_b.weight": (128, 32), "ssm_norm.weight": (32,),
    "attn_output.weight": (D, 128), "ffn_norm.weight": (D,),
}  # fmt: skip
#: Latent attention whose queries are not compressed.
DIRECT = {name: shape for name, shape in SPLIT.items() if not name.startswith("attn_q_")} | {
    "attn_q.weight": (4 * 48, D)
}
LATENT_FACTS = {
    "attention.kv_lora_rank": 64, "attention.q_lora_rank": 96, "rope.dimension_count": 16, "attention.key_length": 80,
    "attention.value_length": 64, "attention.key_length_mla": 48, "attention.value_length_mla": 32,
    "expert_count": 8, "expert_used_count": 2,
}  # fmt: skip
LATENT_CONFIG = {
    **CONFIG, "kv_lora_rank": 64, "q_lora_rank": 96, "qk_rope_head_dim": 16, "qk_nope_head_dim": 32, "v_head_dim": 32,
    "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128, "n_shared_experts": 1,
    "first_k_dense_replace": 1, "num_nextn_predict_layers": 0,
}  # fmt: skip
INDEXER = {
    "indexer.attn_q_b.weight": (2 * 32, 96), "indexer.attn_k.weight": (32, D), "indexer.proj.weight": (2, D),
    "indexer.k_norm.weight": (32,), "indexer.k_norm.bias": (32,),
}  # fmt: skip
EXPERT_FACTS = {"expert_count": 8, "expert_used_count": 2}
GEMMA_3N = {
    "laurel_l.weight": (16, D), "laurel_r.weight": (D, 16), "laurel_post_norm.weight": (D,), "inp_gate.weight": (32, D),
    "proj.weight": (D, 32), "post_norm.weight": (D,), "altup_correct_coef.weight": (4, 4),
    "altup_correct_scale.weight": (D,), "altup_predict_coef.weight": (16, 4), "altup_router.weight": (4, D),
    "altup_router_norm.weight": (D,),
}  # fmt: skip
QUERIES = {"attn_k.weight", "attn_v.weight", "attn_k_norm.weight"}


def without(shapes, names):
    return {name: shape for name, shape in shapes.items() if name not in names}


def listed(count, spacing):
    """The list of layers with a window, of which each n-th is full."""
    return [(index + 1) % spacing != 0 for index in range(count)]


def layer_words(count, spacing):
    return ["sliding_attention" if slides else "full_attention" for slides in listed(count, spacing)]


CASES |= {
    "mixtral, experts apart": (
        "llama", COMMON | EXPERT_FACTS, outside() | blocks(2, attention() | APART),
        {"model_type": "mixtral", **CONFIG, "intermediate_size": 128, "num_local_experts": 8, "num_experts_per_tok": 2}),
    "phi3": (
        "phi3", COMMON | {"attention.sliding_window": 262144},
        outside() | blocks(2, without(attention(**{"attn_qkv.weight": (512, D)}), {"attn_q.weight", "attn_k.weight", "attn_v.weight"})
                           | {"ffn_up.weight": (1024, D), "ffn_down.weight": (D, 512)}),
        {"model_type": "phi3", **CONFIG, "sliding_window": 262144}),
    "gpt2": (
        "gpt2", without(COMMON, {"attention.head_count_kv"}),
        outside() | {"output_norm.bias": ((D,), Type.F32), "position_embd.weight": ((4096, D), Type.F32)} | blocks(2, {
            "attn_norm.weight": (D,), "attn_norm.bias": (D,), "attn_qkv.weight": (3 * D, D), "attn_qkv.bias": (3 * D,),
            "attn_output.weight": (D, D), "attn_output.bias": (D,), "ffn_norm.weight": (D,), "ffn_norm.bias": (D,),
            "ffn_up.weight": (1024, D), "ffn_up.bias": (1024,), "ffn_down.weight": (D, 1024), "ffn_down.bias": (D,)}),
        {"model_type": "gpt2", "n_embd": D, "n_head": 4, "n_layer": 2, "vocab_size": WORDS, "n_positions": 4096,
         "tie_word_embeddings": False}),
    "gemma2": (
        "gemma2", COMMON | {"attention.sliding_window": 512, "attention.key_length": 64, "attention.value_length": 64},
        outside(tied=True) | blocks(2, attention(**POST) | DENSE),
        {"model_type": "gemma2", **CONFIG, "sliding_window": 512}),
    "cohere2": (
        "cohere2", COMMON | {"block_count": 5, "attention.sliding_window": 512},
        outside(tied=True) | blocks(5, ONE_NORM | DENSE),
        {"model_type": "cohere2", **CONFIG, "num_hidden_layers": 5, "sliding_window": 512, "sliding_window_pattern": 4}),
    "olmo3": (
        "olmo2", COMMON | {"block_count": 5, "attention.sliding_window": 512,
                           "attention.sliding_window_pattern": listed(5, 4)},
        outside() | blocks(5, without(attention(**POST, **{"attn_q_norm.weight": (256,), "attn_k_norm.weight": (128,)}),
                                      {"attn_norm.weight", "ffn_norm.weight"}) | DENSE),
        {"model_type": "olmo3", **CONFIG, "num_hidden_layers": 5, "sliding_window": 512}),
    "exaone4": (
        "exaone4", COMMON | {"block_count": 64, "attention.sliding_window": 512},
        outside() | blocks(64, without(attention(**POST, **NORMS), {"attn_norm.weight", "ffn_norm.weight"}) | DENSE),
        {"model_type": "exaone4", **CONFIG, "num_hidden_layers": 64, "sliding_window": 512, "sliding_window_pattern": "LLLG",
         "layer_types": layer_words(64, 4)}),
    "exaone4, small": (
        "exaone4", COMMON,
        outside() | blocks(2, without(attention(**POST, **NORMS), {"attn_norm.weight", "ffn_norm.weight"}) | DENSE),
        {"model_type": "exaone4", **CONFIG, "sliding_window": None, "layer_types": ["full_attention"] * 2}),
    "llama4": (
        "llama4", COMMON | EXPERT_FACTS | {"block_count": 5, "context_length": 65536, "interleave_moe_layer_step": 1},
        outside() | blocks(5, attention() | EXPERTS | SHARED),
        {"model_type": "llama4_text", **CONFIG, "num_hidden_layers": 5, "max_position_embeddings": 65536, "intermediate_size": 128,
         "num_local_experts": 8, "num_experts_per_tok": 2, "interleave_moe_layer_step": 1, "attention_chunk_size": 8192}),
    "afmoe": (
        "afmoe", COMMON | EXPERT_FACTS | {"block_count": 5, "attention.sliding_window": 512},
        outside() | mixed(
            attention(**POST, **NORMS, **{"attn_gate.weight": (256, D)}) | DENSE,
            *[attention(**POST, **NORMS, **{"attn_gate.weight": (256, D)}) | EXPERTS | SHARED | {"exp_probs_b.bias": (8,)}] * 4),
        {"model_type": "afmoe", **CONFIG, **MOE, "num_hidden_layers": 5, "num_local_experts": 8, "num_shared_experts": 1,
         "num_dense_layers": 1, "sliding_window": 512, "layer_types": layer_words(5, 4)}),
    "mimo2": (
        "mimo2", COMMON | EXPERT_FACTS | {
            "block_count": 3, "attention.sliding_window": 128, "attention.sliding_window_pattern": [0, 1, 1],
            "attention.head_count_kv": [1, 2, 2], "attention.key_length": 64, "attention.value_length": 32},
        outside() | mixed(*[
            attention(**{"attn_k.weight": (kv * 64, D), "attn_v.weight": (kv * 32, D), "attn_output.weight": (D, 128)}) | part
            for kv, part in ((1, DENSE), (2, EXPERTS | {"attn_sinks.weight": (4,)}), (2, EXPERTS | {"attn_sinks.weight": (4,)}))]),
        {"model_type": "mimo_v2_flash", **CONFIG, "num_key_value_heads": 1, "num_hidden_layers": 3, "v_head_dim": 32,
         "sliding_window": 128, "hybrid_layer_pattern": [0, 1, 1], "swa_num_attention_heads": 4, "swa_num_key_value_heads": 2,
         "swa_head_dim": 64, "swa_v_head_dim": 32, "n_routed_experts": 8, "num_experts_per_tok": 2,
         "moe_intermediate_size": 128, "moe_layer_freq": [0, 1, 1]}),
    "glm4moe, next token": (
        "glm4moe", COMMON | EXPERT_FACTS | {"block_count": 3, "nextn_predict_layers": 1},
        outside() | mixed(
            attention(**BIASES) | DENSE, attention(**BIASES) | EXPERTS | SHARED,
            attention(**BIASES) | EXPERTS | SHARED | {
                "exp_probs_b.bias": (8,), "nextn.eh_proj.weight": (D, 2 * D), "nextn.enorm.weight": (D,), "nextn.hnorm.weight": (D,),
                "nextn.shared_head_norm.weight": (D,)}),
        {"model_type": "glm4_moe", **CONFIG, "attention_bias": True, "n_routed_experts": 8, "num_experts_per_tok": 2,
         "moe_intermediate_size": 128, "n_shared_experts": 1, "first_k_dense_replace": 1, "num_nextn_predict_layers": 1}),
    "glm-dsa": (
        "glm-dsa", COMMON | LATENT_FACTS | {"attention.indexer.head_count": 2, "attention.indexer.key_length": 32,
                                            "attention.indexer.top_k": 512, "attention.head_count_kv": 1},
        outside() | mixed(SPLIT | INDEXER | DENSE, SPLIT | EXPERTS | SHARED),
        {"model_type": "glm_moe_dsa", **LATENT_CONFIG, "index_n_heads": 2, "index_head_dim": 32, "index_topk": 512,
         "indexer_types": ["full", "shared"], "mlp_layer_types": ["dense", "sparse"]}),
    "mamba": (
        "mamba", without(COMMON, {"attention.head_count_kv"}) | MAMBA_FACTS | {"attention.head_count": 0, "context_length": 2**20},
        outside(tied=True) | blocks(2, MAMBA),
        {"model_type": "mamba", "hidden_size": D, "num_hidden_layers": 2, "vocab_size": WORDS, "state_size": 32, "expand": 2,
         "conv_kernel": 4, "time_step_rank": 16}),
    "mamba2": (
        "mamba2", without(COMMON, {"attention.head_count_kv"}) | SSM | {"attention.head_count": 0, "ssm.inner_size": 512,
                                                                        "ssm.group_count": 2},
        outside() | blocks(2, {
            "attn_norm.weight": (D,), "ssm_in.weight": (2 * 512 + 4 * 32 + 8, D), "ssm_conv1d.weight": (512 + 4 * 32, 4),
            "ssm_conv1d.bias": (512 + 4 * 32,), "ssm_dt.bias": (8,), "ssm_a": (8, 1), "ssm_d": (8, 1),
            "ssm_norm.weight": (2, 256), "ssm_out.weight": (D, 512)}),
        {"model_type": "mamba2", "hidden_size": D, "num_hidden_layers": 2, "vocab_size": WORDS, "state_size": 32, "expand": 2,
         "conv_kernel": 4, "num_heads": 8, "head_dim": 64, "n_groups": 2, "tie_word_embeddings": False}),
    "jamba": (
        "jamba", COMMON | MAMBA_FACTS | EXPERT_FACTS | {"block_count": 2, "attention.head_count_kv": [0, 2]},
        outside() | mixed(
            MAMBA | DENSE | {"ffn_norm.weight": (D,), "ssm_dt_norm.weight": (16,), "ssm_b_norm.weight": (32,),
                             "ssm_c_norm.weight": (32,)},
            attention() | {name: tuple(512 if n == 128 else n for n in shape) for name, shape in EXPERTS.items()}),
        {"model_type": "jamba", **CONFIG, "num_experts": 8, "num_experts_per_tok": 2, "expert_layer_period": 2,
         "expert_layer_offset": 1, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 32, "mamba_d_conv": 4,
         "mamba_expand": 2, "mamba_dt_rank": 16}),
    "granitehybrid": (
        "granitehybrid", COMMON | SSM | EXPERT_FACTS | {"attention.head_count_kv": [0, 2]},
        outside() | mixed(MAMBA2 | EXPERTS | SHARED | {"ffn_norm.weight": (D,)}, attention() | EXPERTS | SHARED),
        {"model_type": "granitemoehybrid", **CONFIG, "intermediate_size": 128, "shared_intermediate_size": 128,
         "num_local_experts": 8, "num_experts_per_tok": 2, "mamba_n_heads": 8, "mamba_d_head": 32, "mamba_n_groups": 1,
         "mamba_d_state": 32, "mamba_d_conv": 4, "mamba_expand": 1, "layer_types": ["mamba", "attention"],
         "tie_word_embeddings": False}),
    "nemotron_h_moe": (
        "nemotron_h_moe", COMMON | SSM | EXPERT_FACTS | {
            "block_count": 3, "attention.head_count_kv": [0, 2, 0], "feed_forward_length": [0, 0, 0]},
        outside() | mixed(MAMBA2, ONE_NORM, {
            "attn_norm.weight": (D,), "ffn_gate_inp.weight": (8, D), "ffn_latent_down.weight": (64, D),
            "ffn_latent_up.weight": (D, 64), "ffn_up_exps.weight": (8, 128, 64), "ffn_down_exps.weight": (8, 64, 128),
            "ffn_up_shexp.weight": (96, D), "ffn_down_shexp.weight": (D, 96)}),
        NEMOTRON | {"layers_block_type": ["mamba", "attention", "moe"], "n_routed_experts": 8, "num_experts_per_tok": 2,
                    "moe_intermediate_size": 128, "moe_shared_expert_intermediate_size": 96, "moe_latent_size": 64}),
    "qwen3next": (
        "qwen3next", COMMON | DELTA_FACTS | EXPERT_FACTS | {"block_count": 4},
        outside() | mixed(*[DELTA | {"ssm_ba.weight": (8, D)} | GATED_EXPERTS] * 3, GATED | GATED_EXPERTS),
        {"model_type": "qwen3_next", **DELTA_CONFIG}),
    "qwen35": (
        "qwen35", COMMON | DELTA_FACTS | {"block_count": 4},
        outside() | mixed(*[DELTA | {"ssm_beta.weight": (4, D), "ssm_alpha.weight": (4, D)} | DENSE] * 3, GATED | DENSE),
        {"model_type": "qwen3_5_text", **DELTA_CONFIG}),
    "lfm2": (
        "lfm2", COMMON | {"attention.head_count_kv": [0, 2], "shortconv.l_cache": 3},
        without(outside(tied=True), {"output_norm.weight"}) | {"token_embd_norm.weight": ((D,), Type.F32)}
        | mixed(CONV | DENSE, attention(**NORMS) | DENSE),
        {"model_type": "lfm2", **CONFIG, "block_auto_adjust_ff_dim": False, "conv_L_cache": 3, "layer_types": ["conv", "full_attention"]}),
    "lfm2moe": (
        "lfm2moe", COMMON | EXPERT_FACTS | {"attention.head_count_kv": [0, 2], "shortconv.l_cache": 3},
        without(outside(tied=True), {"output_norm.weight"}) | {"token_embd_norm.weight": ((D,), Type.F32)}
        | mixed(CONV | DENSE, attention(**NORMS) | EXPERTS),
        {"model_type": "lfm2_moe", **CONFIG, **MOE, "conv_L_cache": 3, "layer_types": ["conv", "full_attention"],
         "num_dense_layers": 1}),
    "kimi-linear": (
        "kimi-linear", COMMON | LATENT_FACTS | {"attention.head_count_kv": [0, 1], "kda.head_dim": 32, "ssm.conv_kernel": 4},
        outside() | mixed(KDA | DENSE, DIRECT | EXPERTS | SHARED),
        {"model_type": "kimi_linear", **without(LATENT_CONFIG, {"q_lora_rank"}), "q_lora_rank": None, "num_experts": 8,
         "num_experts_per_token": 2, "num_shared_experts": 1, "mlp_layer_types": ["dense", "sparse"],
         "linear_attn_config": {"num_heads": 4, "head_dim": 32, "short_conv_kernel_size": 4, "full_attn_layers": [2],
                                "kda_layers": [1]}}),
    "gemma3n": (
        "gemma3n", COMMON | {"block_count": 25, "attention.sliding_window": 512, "attention.key_length": 64,
                             "attention.value_length": 64, "attention.shared_kv_layers": 5},
        outside(tied=True) | {
            "altup_proj.weight": ((3, D, D), Type.F16), "altup_unembd_proj.weight": ((3, D, D), Type.F16),
            "per_layer_token_embd.weight": ((WORDS, 25 * 32), Type.F16), "per_layer_model_proj.weight": ((25 * 32, D), Type.F16),
            "per_layer_proj_norm.weight": ((32,), Type.F32)}
        | mixed(*[without(attention(**NORMS, **POST) | DENSE | GEMMA_3N, QUERIES if index >= 20 else ()) for index in range(25)]),
        {"model_type": "gemma3n_text", **CONFIG, "num_hidden_layers": 25, "sliding_window": 512, "laurel_rank": 16,
         "hidden_size_per_layer_input": 32, "vocab_size_per_layer_input": WORDS, "num_kv_shared_layers": 5}),
    "gemma4": (
        "gemma4", COMMON | {
            "block_count": 6, "attention.sliding_window": 512, "attention.sliding_window_pattern": listed(6, 3),
            "attention.key_length": 128, "attention.value_length": 128, "attention.key_length_swa": 64,
            "attention.value_length_swa": 64, "attention.head_count_kv": [2, 2, 1, 2, 2, 1], "attention.shared_kv_layers": 2,
            "embedding_length_per_layer_input": 32},
        outside(tied=True) | {
            "per_layer_token_embd.weight": ((WORDS, 6 * 32), Type.F16), "per_layer_model_proj.weight": ((6 * 32, D), Type.F16),
            "per_layer_proj_norm.weight": ((32,), Type.F32)}
        | mixed(*[
            without(
                (attention(4, 1, 128, **POST, **{"attn_q_norm.weight": (128,), "attn_k_norm.weight": (128,)}) if full
                 else attention(**POST, **NORMS))
                | DENSE | {"inp_gate.weight": (32, D), "proj.weight": (D, 32), "post_norm.weight": (D,)},
                QUERIES if index >= 4 else {"attn_v.weight"} if full else ())
            for index, full in enumerate([False, False, True] * 2)]),
        {"model_type": "gemma4_text", **CONFIG, "num_hidden_layers": 6, "sliding_window": 512, "global_head_dim": 128,
         "num_global_key_value_heads": 1, "attention_k_eq_v": True, "hidden_size_per_layer_input": 32,
         "vocab_size_per_layer_input": WORDS, "num_kv_shared_layers": 2,
         "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2}),
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
    resident = stored - found.checkpoint_bytes.get("mtp", 0)
    assert next(row.bytes for row in report.placement if row.tensor == "weights") == resident
    assert (found.mtp_layers, found.mtp_parameters) == (expected.mtp_layers, expected.mtp_parameters)


@pytest.mark.parametrize("case", CASES)
def test_bytes_are_in_the_classes_that_count_their_elements(case, tmp_path):
    word, metadata, tensors, _ = CASES[case]
    wide = {name: (shape, Type.F32) for name, (shape, _) in tensors.items()}
    model = read_gguf_model(write(tmp_path / "wide.gguf", word, metadata, wide))
    counted = {name: 4 * elements.total for name, elements in model.elements().items() if elements.total}
    assert without(model.checkpoint_bytes, {"mtp"}) == counted
    assert model.checkpoint_bytes.get("mtp", 0) == 4 * model.mtp_parameters
    assert set(model.checkpoint_formats.values()) == {"fp32"}


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
        ("clip", {}, "is the encoder of images"),
        ("llama", {"attention.head_count": 0}, "0 heads"),
        ("llama", {"attention.head_count": 3}, "heads"),
        ("llama", {"attention.head_count_kv": 3}, "KV heads"),
        ("llama", {"attention.head_count": "four"}, "must be a whole number"),
        ("llama", {"block_count": 1}, "is of none of the 1 blocks"),
        ("llama", {"block_count": 2**31}, "must be at most"),
        ("llama", {"attention.key_length": 128}, "do not have the shapes"),
        ("qwen3moe", {"attention.head_count": [4]}, "has 1 entries, none for layer 1"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(word, change, said, tmp_path):
    tensors = outside() | blocks(2, attention() | DENSE)
    path = write(tmp_path / "bad.gguf", word, COMMON | change, tensors)
    with pytest.raises(FileError) as caught:
        read_gguf_model(path)
    assert said in caught.value.message
    assert "bad.gguf" in caught.value.message


def raw(path, word, metadata, tensors, **general):
    """As `write`, with shapes that the package would not write, and without data."""
    facts = {"general.architecture": word} | {f"general.{key}": value for key, value in general.items()}
    facts |= {f"{word}.{key}": value for key, value in metadata.items()}
    header = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(facts))
    for key, value in facts.items():
        name = key.encode()
        header += struct.pack("<Q", len(name)) + name
        if isinstance(value, str):
            said = value.encode()
            header += struct.pack("<IQ", 8, len(said)) + said
        elif isinstance(value, list):
            header += struct.pack(f"<IIQ{len(value)}q", 9, 11, len(value), *value)
        elif isinstance(value, bool):
            header += struct.pack("<I?", 7, value)
        elif isinstance(value, float):
            header += struct.pack("<If", 6, value)
        else:
            header += struct.pack("<Iq", 11, value)
    offset = 0
    for title, (shape, kind) in tensors.items():
        name = title.encode()
        header += struct.pack("<Q", len(name)) + name + struct.pack("<I", len(shape))
        header += struct.pack(f"<{len(shape)}QIQ", *reversed(shape), int(kind), offset)
        block, size = GGML_QUANT_SIZES[kind]
        offset += -(-int(np.prod(shape, dtype=object)) // block * size // 32) * 32
    with open(path, "wb") as file:
        file.write(header)
        # Where a shape asks for more than a file can have, the file ends early: that is refused too.
        file.truncate(len(header) + 64 + min(offset, 2**40))
    return str(path)


def test_architectures_are_those_that_llama_cpp_names():
    # The package lags behind the program.
    assert set(KNOWN) - set(gguf.MODEL_ARCH_NAMES.values()) <= {"deepseek32"}


def test_real_quantised_tensors(tmp_path):
    writer = gguf.GGUFWriter(str(tmp_path / "real.gguf"), "llama")
    for key, value in COMMON.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_name("Tiny Llama (real)")
    expected = 0
    for name, (shape, kind) in (outside() | blocks(2, attention() | DENSE)).items():
        data = np.ones(shape, np.float32)
        if kind == Type.F16:
            kind = Type.Q8_0 if "ffn" in name else Type.Q4_0  # noqa: PLW2901
            data = gguf.quants.quantize(data, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
        expected += data.nbytes
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model = read_gguf_model(str(tmp_path / "real.gguf"))
    assert sum(model.checkpoint_bytes.values()) == expected
    assert (model.name, model.checkpoint_formats["dense"], model.checkpoint_formats["attention"]) == (
        "tiny-llama-real", "q8_0", "q4_0",
    )  # fmt: skip
    assert model.parameters == read_gguf_model(example(tmp_path, "llama")).parameters


def example(tmp_path, case, *, change=None, drop=(), add=None):
    word, metadata, tensors, _ = CASES[case]
    return write(
        tmp_path / "example.gguf", word, metadata | (change or {}), without(tensors, drop) | (add or {})
    )


def test_a_split_file_is_the_whole_one(tmp_path):
    word, metadata, tensors, _ = CASES["qwen3moe"]
    whole = read_gguf_model(write(tmp_path / "whole.gguf", word, metadata, tensors))
    writer = gguf.GGUFWriter(str(tmp_path / "parts.gguf"), word, split_max_tensors=10)
    for key, value in metadata.items():
        writer.add_uint32(f"{word}.{key}", value)
    for name, (shape, kind) in tensors.items():
        writer.add_tensor(name, np.zeros(shape, np.float32 if kind == Type.F32 else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    parts = sorted(tmp_path.glob("parts-*.gguf"))
    assert len(parts) > 1
    for part in parts:
        found = read_gguf_model(str(part))
        assert found.layers == whole.layers
        assert found.checkpoint_bytes == whole.checkpoint_bytes


def windows(path):
    """Windows of a file by how many layers have them."""
    found = {}
    for group in read_gguf_model(path).layers:
        found[group.attention.window] = found.get(group.attention.window, 0) + group.count
    return found


@pytest.mark.parametrize(
    ("word", "count", "facts", "expected"),
    [
        # Half of the layers or more have a window: of five, 0 and 2 or all but the third or fourth.
        ("gemma2", 5, {}, {2048: 3, None: 2}),
        ("gemma2", 5, {"attention.sliding_window": 512}, {512: 3, None: 2}),
        ("gpt-oss", 5, {"attention.sliding_window": 128}, {128: 3, None: 2}),
        ("gemma3", 7, {"attention.sliding_window": 512}, {512: 6, None: 1}),
        ("gemma3", 7, {"attention.sliding_window": 512, "attention.sliding_window_pattern": 2}, {512: 4, None: 3}),
        ("gemma3", 7, {"attention.sliding_window": 0}, {None: 7}),
        ("gemma3", 7, {"attention.sliding_window": 65536}, {None: 7}),
        ("gemma3n", 10, {"attention.sliding_window": 512}, {512: 8, None: 2}),
        ("plamo3", 9, {"attention.sliding_window": 512}, {512: 8, None: 1}),
        # The pattern 0 means all layers, 1 none.
        ("plamo3", 9, {"attention.sliding_window": 512, "attention.sliding_window_pattern": 0}, {512: 9}),
        ("plamo3", 9, {"attention.sliding_window": 512, "attention.sliding_window_pattern": 1}, {None: 9}),
        ("cohere2", 8, {"attention.sliding_window": 512}, {512: 6, None: 2}),
        ("olmo2", 8, {}, {None: 8}),
        ("olmo2", 8, {"attention.sliding_window": 512}, {512: 6, None: 2}),
        ("afmoe", 8, {"attention.sliding_window": 512}, {512: 6, None: 2}),
        # Of these the window is never that of the file.
        ("llama4", 8, {"context_length": 2**20}, {8192: 6, None: 2}),
        ("llama4", 8, {"context_length": 2**20, "attention.sliding_window": 4096}, {8192: 6, None: 2}),
        ("llama4", 8, {"context_length": 2**20, "attention.sliding_window": 0}, {None: 8}),
        ("smallthinker", 5, {"context_length": 2**20, "attention.sliding_window": 16384}, {None: 2, 4096: 3}),
        ("exaone4", 8, {"attention.sliding_window": 512}, {None: 8}),
        ("exaone4", 64, {"context_length": 2**17}, {4096: 48, None: 16}),
        ("phi3", 4, {"attention.sliding_window": 2047}, {None: 4}),
        ("qwen2", 4, {"attention.sliding_window": 512}, {None: 4}),
        ("mimo2", 4, {"attention.sliding_window": 512, "attention.sliding_window_pattern": [0, 1, 1, 0]}, {None: 2, 512: 2}),
        ("step35", 2, {"attention.sliding_window": 512, "attention.sliding_window_pattern": [1, 0]}, {512: 1, None: 1}),
    ],
)  # fmt: skip
def test_windows_by_architecture(word, count, facts, expected, tmp_path):
    facts = COMMON | {"block_count": count} | facts
    if word == "gemma2" and "attention.sliding_window" not in facts:
        # The default is 4096, of which nothing is seen at a context of as many.
        facts["context_length"] = 8192
        expected = {4096 if window == 2048 else window: n for window, n in expected.items()}
    path = write(tmp_path / "w.gguf", word, facts, outside() | blocks(count, attention() | DENSE))
    assert windows(path) == expected


def test_one_list_may_name_the_heads_of_each_layer(tmp_path):
    # DeciLM: a layer without attention, one with a product in its place, one with nothing at all.
    facts = COMMON | {
        "block_count": 4, "attention.head_count": [4, 0, 4, 0], "attention.head_count_kv": [2, 0, 0, 0],
        "feed_forward_length": [512, 512, 512, 0],
    }  # fmt: skip
    tensors = outside() | mixed(
        attention() | DENSE, {"ffn_norm.weight": (D,)} | DENSE,
        {"attn_norm.weight": (D,), "attn_output.weight": (D, D), "ffn_norm.weight": (D,)} | DENSE, {},
    )  # fmt: skip
    model = read_gguf_model(write(tmp_path / "deci.gguf", "deci", facts, tensors))
    assert [group.attention.kind for group in model.layers] == ["grouped", "none", "none", "none"]
    assert model.parameters == sum(int(np.prod(shape)) for shape, _ in tensors.values())


def test_a_head_may_have_a_bias(tmp_path):
    model = read_gguf_model(example(tmp_path, "llama", add={"output.bias": ((WORDS,), Type.F32)}))
    assert model.head_bias
    assert model.parameters == read_gguf_model(example(tmp_path, "llama")).parameters + WORDS


def test_rotary_tables_are_no_parameters(tmp_path):
    add = {"rope_freqs.weight": ((32,), Type.F32), "blk.0.rope_factors_long.weight": ((32,), Type.F32)}
    with_tables, plain = (read_gguf_model(example(tmp_path, "llama", add=more)) for more in (add, {}))
    assert with_tables == plain


def test_blocks_that_predict_may_lie_in_another_file(tmp_path):
    model = read_gguf_model(example(tmp_path, "llama", change={"block_count": 3, "nextn_predict_layers": 1}))
    assert (model.depth, model.mtp_layers) == (2, 0)


def test_a_note_says_where_llama_cpp_runs_a_file_otherwise(tmp_path):
    (note,) = read_gguf_model(example(tmp_path, "deepseek2")).notes
    assert "uncompressed keys and values" in note
    assert "320 elements a token and layer, not 80" in note
    assert read_gguf_model(example(tmp_path, "deepseek2-split")).notes == ()
    (note,) = read_gguf_model(example(tmp_path, "phi3", change={"attention.sliding_window": 2047})).notes
    assert "without its sliding window of 2,047 tokens" in note
    assert read_gguf_model(example(tmp_path, "phi3")).notes == ()


@pytest.mark.parametrize(
    ("word", "general", "said"),
    [
        ("llama", {"type": "adapter"}, "is an adapter"),
        ("llama", {"type": "mmproj"}, "is the encoder of images"),
        ("clip", {}, "is the encoder of images"),
        ("llama", {"type": "imatrix"}, "is an importance matrix"),
        ("controlvector", {}, "is a control vector"),
        ("llama", {}, "has no tensors"),
        ("lama", {}, "architecture 'lama' is not known"),
        ("gptj", {}, "is not known"),
        ("\x1b[31m\n", {}, "is not known"),
    ],
)
def test_what_is_no_language_model_is_named(word, general, said, tmp_path):
    path = raw(tmp_path / "other.gguf", word, {}, {}, **general)
    with pytest.raises(FileError) as caught:
        read_gguf_model(path)
    assert said in caught.value.message
    assert caught.value.hint
    assert str(caught.value).isprintable()


TENSOR = "blk.0.attn_q.weight"


@pytest.mark.parametrize(
    ("case", "change", "shapes"),
    [
        ("llama", {"attention.head_count": -4}, {}),
        ("llama", {"attention.head_count": 2**60}, {}),
        ("llama", {"attention.head_count": 4.0}, {}),
        ("llama", {"attention.head_count": True}, {}),
        ("llama", {"attention.head_count_kv": []}, {}),
        ("llama", {"attention.key_length": 0}, {}),
        ("llama", {"attention.head_count": 512, "attention.head_count_kv": 512}, {}),
        ("llama", {"attention.head_count": 2}, {}),
        ("llama", {"attention.head_count_kv": 1}, {}),
        ("llama", {"block_count": 2**60}, {}),
        ("llama", {"block_count": 0}, {}),
        ("llama", {"block_count": 3}, {}),
        ("llama", {"block_count": "2"}, {}),
        ("llama", {"block_count": [2]}, {TENSOR: ()}),
        ("llama", {"nextn_predict_layers": 2}, {}),
        ("llama", {"nextn_predict_layers": 2**40}, {}),
        ("llama", {"embedding_length": 512}, {}),
        ("llama", {"context_length": "long"}, {}),
        ("llama", {}, {TENSOR: ()}),
        ("llama", {}, {TENSOR: (256,)}),
        ("llama", {}, {TENSOR: (0, 256)}),
        ("llama", {}, {TENSOR: (256, 0)}),
        ("llama", {}, {TENSOR: (1, 1, 256, 128)}),
        ("llama", {}, {"token_embd.weight": ()}),
        ("llama", {}, {"token_embd.weight": (0, 256)}),
        ("llama", {}, {"output.weight": (512, 128)}),
        ("llama", {}, {"output.weight": (512,)}),
        ("llama", {}, {"blk.0.ffn_down.weight": (256, 4096)}),
        ("llama", {}, {"blk.0.attn_output.weight": ()}),
        ("gemma3", {"attention.sliding_window_pattern": [1]}, {}),
        ("gemma3", {"attention.sliding_window_pattern": "all"}, {}),
        ("gemma3", {"attention.sliding_window": -1}, {}),
        ("gemma4", {"attention.shared_kv_layers": 6}, {}),
        ("gemma4", {"attention.sliding_window_pattern": []}, {}),
        ("qwen3moe", {"expert_used_count": 9}, {}),
        ("qwen3moe", {"expert_used_count": 0}, {}),
        ("qwen3moe", {"expert_count": 4}, {}),
        ("qwen3moe", {}, {"blk.0.ffn_down_exps.weight": (256, 128)}),
        ("qwen3moe", {}, {"blk.0.ffn_down_exps.weight": (0, 256, 128)}),
        ("qwen3moe", {}, {"blk.0.ffn_down_exps.weight": ()}),
        ("mixtral, experts apart", {}, {"blk.0.ffn_down.7.weight": (128, 128)}),
        ("deepseek2", {"attention.kv_lora_rank": 2**60}, {}),
        ("deepseek2", {"attention.kv_lora_rank": 0}, {}),
        ("deepseek2", {"rope.dimension_count": 48}, {}),
        ("deepseek2", {"attention.value_length": 16}, {}),
        ("glm-dsa", {"attention.indexer.head_count": 0}, {}),
        ("glm-dsa", {"attention.indexer.key_length": 64}, {}),
        ("mamba", {"ssm.inner_size": 2**40}, {}),
        ("mamba", {"ssm.state_size": 2**30}, {}),
        ("mamba", {}, {"blk.0.ssm_a": ()}),
        ("mamba2", {"ssm.time_step_rank": 7}, {}),
        ("mamba2", {"ssm.group_count": 0}, {}),
        ("mamba2", {"ssm.state_size": 2**30}, {}),
        ("mamba2", {}, {"blk.0.ssm_conv1d.weight": ()}),
        ("kimi-linear", {"kda.head_dim": 64}, {}),
    ],
)
def test_hostile_files_are_refused_with_one_error(case, change, shapes, tmp_path):
    word, metadata, tensors, _ = CASES[case]
    tensors = tensors | {name: (shape, Type.F16) for name, shape in shapes.items()}
    path = raw(tmp_path / "bad.gguf", word, metadata | change, tensors)
    with pytest.raises(FileError) as caught:
        read_gguf_model(path)
    assert "bad.gguf" in caught.value.message
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name",
    ["blk.", "blk.0", "blk.0.", "blk.x.attn_q.weight", "blk.9.attn_q.weight", "blk.٣.w", "blk.\x1b[31m.w", "blk.-1.w", "blk.1000000.w"],
)  # fmt: skip
def test_names_of_no_block_are_refused(name, tmp_path):
    word, metadata, tensors, _ = CASES["llama"]
    path = raw(tmp_path / "bad.gguf", word, metadata, tensors | {name: ((256,), Type.F32)})
    with pytest.raises(FileError, match="is of none of the 2 blocks") as caught:
        read_gguf_model(path)
    assert str(caught.value).isprintable()


def test_a_tensor_of_no_known_name_is_counted(tmp_path):
    add = {
        "blk.0.\x1b[31m": ((256,), Type.F32),
        "blk.1.x.y": ((256,), Type.F32),
        "wonder.weight": ((4, D), Type.F16),
    }
    more = read_gguf_model(example(tmp_path, "llama", add=add))
    assert more.parameters == read_gguf_model(example(tmp_path, "llama")).parameters + 512 + 4 * D


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


SIZES = st.sampled_from([0, 1, 2, 4, 64, 96, 128, 256, 512, 4096])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), case=st.sampled_from(sorted(CASES)))
def test_any_shapes_are_read_or_refused(data, case, tmp_path):
    word, metadata, tensors, _ = CASES[case]
    chosen = st.lists(st.sampled_from(sorted(tensors)), min_size=1, max_size=3)
    shapes = {name: (data.draw(st.lists(SIZES, max_size=4)), Type.F32) for name in data.draw(chosen)}
    gone = data.draw(st.sets(st.sampled_from(sorted(tensors)), max_size=2))
    odd = st.sampled_from([-1, 0, 1, 2**60, 0.5, True, "x", [], [0, 1]])
    facts = data.draw(st.dictionaries(st.sampled_from(sorted(metadata)), odd, max_size=2))
    path = raw(tmp_path / "any.gguf", word, metadata | facts, without(tensors | shapes, gone))
    try:
        model = read_gguf_model(path)
    except FileError as error:
        assert str(error).isprintable()  # noqa: PT017
        return
    assert ledger(model, Precision("fp16", "bf16")).total_weight_bytes > 0
    assert read_model_text(tmp_path, model) == model


def read_model_text(tmp_path, model):
    preset = tmp_path / "model.toml"
    preset.write_text(model_toml(model), encoding="utf-8")
    return read_model(str(preset))
