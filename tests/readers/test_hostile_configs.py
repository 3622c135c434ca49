"""Configs with anything in any field: a model or one error, never another exception, and in bounded time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memcalc.core.ledger import ledger
from memcalc.errors import FileError, UsageError
from memcalc.readers import architectures
from memcalc.readers.model_files import model_from
from memcalc.workload import Precision

#: Fields that rules ask for, under all their spellings, with what may stand there.
SMALL = {
    "hidden_size": 64, "n_embd": 64, "d_model": 64, "num_hidden_layers": 3, "n_layer": 3, "n_layers": 3,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96,
    "vocab_size": 100, "head_dim": 16, "moe_intermediate_size": 32, "num_experts": 4, "n_routed_experts": 4,
    "num_local_experts": 4, "num_experts_per_tok": 2, "kv_lora_rank": 16, "q_lora_rank": 24, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16, "v_head_dim": 16, "max_position_embeddings": 2048, "sliding_window": 256,
}  # fmt: skip
ODD: list[Any] = [
    None, 0, -1, 1, 3, 7, 2**31, 2**60, 1.5, -0.5, float("inf"), float("nan"), True, False, "", "auto", "64", "a\x1b[2J",
    [], [0], [1, 2, 3], ["full_attention"] * 3, ["sliding_attention", "x"], {}, {"a": 1}, [[1]], [None], 10**30,
]  # fmt: skip
FIELDS = sorted({
    *SMALL, "layer_types", "layers_block_type", "tie_word_embeddings", "attention_bias", "first_k_dense_replace",
    "n_shared_experts", "num_nextn_predict_layers", "index_topk", "index_n_heads", "index_head_dim", "compress_ratios",
    "block_configs", "hybrid_override_pattern", "mamba_n_heads", "mamba_num_heads", "mamba_d_state", "mamba_expand",
    "ssm_state_size", "conv_kernel", "expand", "state_size", "n_groups", "linear_num_value_heads", "linear_num_key_heads",
    "full_attention_interval", "attn_type_list", "attn_layer_period", "expert_layer_period", "mlp_only_layers",
    "decoder_sparse_step", "num_kv_shared_layers", "hidden_size_per_layer_input", "quantization_config", "text_config",
    "vision_config", "rope_scaling", "torch_dtype", "mlp_layer_types", "interleave_moe_layer_step", "no_rope_layers",
    "attention_chunk_size", "use_sliding_window", "max_window_layers", "sliding_window_pattern", "ffn_dim", "ffn_config",
    "attn_config", "multi_query", "new_decoder_architecture", "num_kv_heads", "moe_layer_freq", "linear_attn_config",
    "mamba_ssm_dtype", "time_step_rank", "cross_attention_layers", "altup_num_inputs", "laurel_rank",
})  # fmt: skip
TYPES = sorted(architectures.BY_TYPE)
CLASSES = sorted(architectures.BY_CLASS)


def read(table: dict[str, Any]) -> None:
    """Read a config; what comes out can be counted, and what does not come out is one error."""
    try:
        model = model_from(table, "config.json", "hostile")
    except FileError as error:
        assert "\x1b" not in error.message  # noqa: PT017 - what is said is held to the same rule
        return
    assert model.parameters > 0
    try:
        book = ledger(model, Precision(model.checkpoint, model.kv_format))
    except UsageError:
        return
    assert book.total_weight_bytes > 0
    assert book.kv_bytes_per_sequence(4096) + book.state_bytes_per_sequence >= 0


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TABLE = st.dictionaries(st.sampled_from(FIELDS), PLAIN | st.lists(PLAIN, max_size=4), max_size=6)
SHAPES = (
    PLAIN | st.lists(PLAIN, max_size=4) | TABLE | st.dictionaries(st.sampled_from(FIELDS), TABLE, max_size=4)
)


@pytest.mark.parametrize("kind", TYPES)
def test_a_plain_config_of_each_type_is_read_or_refused(kind):
    read({"model_type": kind, **SMALL})


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_with_anything_in_it(field):
    # A quarter of the types each: every type meets a quarter of the fields here, and chance picks the rest below.
    for kind in TYPES[FIELDS.index(field) % 4 :: 4]:
        for value in ODD:
            read({"model_type": kind, **SMALL, field: value})


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.sampled_from(TYPES).map(lambda kind: {"model_type": kind}),
        st.sampled_from(CLASSES).map(lambda name: {"architectures": [name]}),
    ),
    st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(ODD), max_size=6),
)
def test_several_fields_at_once(named, odd):
    read({**named, **SMALL, **odd})


@settings(max_examples=200, deadline=None)
@given(
    SHAPES,
    st.sampled_from(TYPES),
)
def test_tables_of_any_shape(value, kind):
    for table in (
        {"model_type": kind, "text_config": value},
        {"model_type": kind, **SMALL, "vision_config": value},
    ):
        json.dumps(table, allow_nan=True)
        read(table)


@pytest.mark.parametrize("named", [{"model_type": "llava"}, {"architectures": ["InternVLChatModel"]}])
def test_a_whole_inside_a_whole_is_refused(named):
    table = {**named, **SMALL}
    for _ in range(100):
        table = {**named, **SMALL, "text_config": table}
    with pytest.raises(FileError, match="text_config"):
        model_from(table, "config.json", "nested")
