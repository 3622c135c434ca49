"""Small made-up configs of hybrids, recurrent and multimodal models, and how many parameters they have.

Each row's total is that of the model that Transformers 5.24 builds from the config, every parameter once.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memcalc.core.ledger import ledger
from memcalc.errors import FileError
from memcalc.readers.model_files import model_from
from memcalc.workload import Precision

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parent / "counted.jsonl").read_text(encoding="utf-8").splitlines()
]
HYBRID = {
    "model_type": "qwen3_next", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 8, "linear_value_head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "shared_expert_intermediate_size": 16,
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["config"]["model_type"])
def test_parameters(row):
    assert model_from(row["config"], "config.json", "counted").parameters == row["parameters"]


def kept(table, context):
    """KV cache and state of one sequence [B]."""
    book = ledger(model_from(table, "config.json", "hybrid"), Precision())
    return book.kv_bytes_per_sequence(context), book.state_bytes_per_sequence


def test_a_hybrid_keeps_a_cache_in_its_full_layers_and_a_state_in_the_others():
    # One full layer of 2 x 2 heads of 16; three states of 4 x 8 x 16 in fp32, convolutions of 96 channels by 4.
    assert kept(HYBRID, 1000) == (1000 * 2 * 2 * 16 * 2, 3 * (4 * 8 * 16 * 4 + 96 * 4 * 2))
    assert kept(HYBRID, 2000)[1] == kept(HYBRID, 1000)[1]


def test_the_state_keeps_the_precision_that_the_config_names():
    fp32, bf16 = kept(HYBRID, 1)[1], kept({**HYBRID, "mamba_ssm_dtype": "bfloat16"}, 1)[1]
    assert fp32 - bf16 == 3 * 4 * 8 * 16 * 2


def test_a_layer_with_attention_and_state_side_by_side_keeps_both():
    table = {
        "model_type": "falcon_h1", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 100, "mamba_d_ssm": 64, "mamba_n_heads": 8,
        "mamba_d_head": 8, "mamba_d_state": 16, "mamba_n_groups": 1,
    }  # fmt: skip
    assert kept(table, 100) == (2 * 100 * 2 * 2 * 16 * 2, 2 * (8 * 8 * 16 * 4 + (64 + 2 * 16) * 4 * 2))
    assert model_from(table, "config.json", "h1").depth == 2


def test_layers_that_share_a_cache_store_none():
    table = {
        "model_type": "gemma3n_text", "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 96, "vocab_size": 100, "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 50, "laurel_rank": 8, "sliding_window": 32,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2,
    }  # fmt: skip
    # Of the four first layers one is full and three slide.
    assert kept(table, 1000)[0] == (1000 + 3 * 32) * 2 * 2 * 16 * 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer_types": ["linear_attention", "wavy", "full_attention", "full_attention"]}, "layer_types"),
        ({"layer_types": ["linear_attention"]}, "for 4 layers"),
        ({"linear_num_key_heads": 3}, "linear_num_key_heads"),
        ({"num_experts_per_tok": 9}, "num_experts_per_tok"),
        ({"mamba_ssm_dtype": "int3"}, "mamba_ssm_dtype"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, said):
    with pytest.raises(FileError, match=said):
        model_from({**HYBRID, **change}, "config.json", "hybrid")
