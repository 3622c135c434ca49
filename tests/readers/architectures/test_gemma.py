"""Rules of Gemma 3n and Gemma 4, whose layers share caches and have embeddings of their own."""

import pytest

from memcalc.core.ledger import ledger
from memcalc.errors import FileError
from memcalc.readers.architectures import gemma
from memcalc.readers.architectures.config import Config
from memcalc.workload import Precision

FULL, SLIDING = "full_attention", "sliding_attention"
SMALL = {
    "vocab_size": 100, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96,
}  # fmt: skip
# Rules, fields that a file states, parameters of the model that Transformers builds from them, and bytes
# of cache for 100 and for 5000 tokens in bf16: of the layers of that model that keep one, by the rows of
# their key projection. What a row leaves out is the default of the class.
# fmt: off
COUNTED = [
    ("gemma-3n-defaults", gemma.gemma3n, {}, 6_835_235_568, 4_096_000, 57_737_216),
    ("gemma-3n-alike", gemma.gemma3n, SMALL | {"num_hidden_layers": 5, "head_dim": 16, "sliding_window":
     32, "num_kv_shared_layers": 0, "vocab_size_per_layer_input": 90, "hidden_size_per_layer_input": 8,
     "altup_num_inputs": 2, "laurel_rank": 4}, 185_524, 29_184, 656_384),
    ("gemma-3n-shared", gemma.gemma3n, SMALL | {"intermediate_size": [96, 96, 48, 48],
     "num_hidden_layers": 4, "layer_types": [SLIDING, FULL, SLIDING, FULL], "head_dim": 8,
     "sliding_window": 32, "num_kv_shared_layers": 2, "vocab_size_per_layer_input": 50,
     "hidden_size_per_layer_input": 4, "altup_num_inputs": 3, "laurel_rank": 8, "attention_bias": True},
     110_052, 8_448, 322_048),
    ("gemma-4-defaults", gemma.gemma4, {}, 5_077_177_856, 14_336_000, 257_228_800),
    ("gemma-4-last-is-full", gemma.gemma4, SMALL | {"num_hidden_layers": 7, "head_dim": 16,
     "global_head_dim": 32, "sliding_window": 32, "hidden_size_per_layer_input": 0}, 248_160, 71_680,
     2_580_480),
    ("gemma-4-shared-wide", gemma.gemma4, SMALL | {"num_hidden_layers": 6, "layer_types": [SLIDING, FULL,
     SLIDING, SLIDING, FULL, FULL], "head_dim": 8, "global_head_dim": 16, "sliding_window": 32,
     "num_kv_shared_layers": 3, "use_double_wide_mlp": True, "vocab_size_per_layer_input": 50,
     "hidden_size_per_layer_input": 8}, 231_056, 16_896, 644_096),
    ("gemma-4-keys-are-values", gemma.gemma4, SMALL | {"num_hidden_layers": 3, "layer_types": [SLIDING,
     SLIDING, FULL], "head_dim": 8, "global_head_dim": 16, "num_global_key_value_heads": 1,
     "attention_k_eq_v": True, "sliding_window": 32, "hidden_size_per_layer_input": 0,
     "tie_word_embeddings": False}, 90_496, 10_496, 324_096),
    ("gemma-4-experts", gemma.gemma4, SMALL | {"num_hidden_layers": 2, "layer_types": [SLIDING, FULL],
     "head_dim": 8, "global_head_dim": 8, "attention_bias": True, "sliding_window": 32,
     "vocab_size_per_layer_input": 50, "hidden_size_per_layer_input": 4, "enable_moe_block": True,
     "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 24}, 96_380, 8_448, 322_048),
]
# fmt: on


def made(rules, **fields):
    return rules(Config(fields, "config.json"))


@pytest.mark.parametrize(("rules", "fields", "parameters", "short", "long"), [row[1:] for row in COUNTED],
                         ids=[row[0] for row in COUNTED])  # fmt: skip
def test_parameters_and_cache_are_those_of_the_built_model(rules, fields, parameters, short, long):
    model = made(rules, **fields)
    book = ledger(model, Precision("bf16", "bf16"))
    assert model.parameters == parameters
    assert [book.kv_bytes_per_sequence(tokens) for tokens in (100, 5000)] == [short, long]
    assert book.state_bytes_per_sequence == 0


def test_a_layer_that_shares_has_queries_alone_and_reads_what_an_earlier_one_keeps():
    fields = SMALL | {"num_hidden_layers": 4, "layer_types": [SLIDING, FULL, SLIDING, FULL], "head_dim": 16}
    model = made(gemma.gemma4, **fields, num_kv_shared_layers=2)
    assert [layer.attention.cache for layer in model.layers] == ["own", "own", "shared", "shared"]
    assert [layer.attention.projections for layer in model.layers] == ["qkv", "qkv", "q", "q"]


def test_keys_serve_as_values_in_full_layers_alone():
    fields = {"num_hidden_layers": 2, "layer_types": [SLIDING, FULL], "attention_k_eq_v": True}
    sliding, full = (layer.attention for layer in made(gemma.gemma4, **SMALL, **fields).layers)
    assert (sliding.projections, full.projections) == ("qkv", "qk")
    # Both are cached all the same.
    assert full.kv_elements == 2 * full.kv_heads * full.head_dim


def test_heads_of_full_layers_are_of_another_number_only_where_keys_serve_as_values():
    fields = SMALL | {"num_hidden_layers": 1, "num_global_key_value_heads": 1}
    (apart,) = made(gemma.gemma4, **fields).layers
    (same,) = made(gemma.gemma4, **fields, attention_k_eq_v=True).layers
    assert (apart.attention.kv_heads, same.attention.kv_heads) == (2, 1)


@pytest.mark.parametrize("key", ["1", "01"])
def test_layers_that_differ_may_be_listed_under_padded_numbers(key):
    fields = {"num_hidden_layers": 2, "layer_types": [SLIDING, FULL], "head_dim": 8}
    differs = {key: {"head_dim": 16, "num_key_value_heads": 1}}
    sliding, full = made(gemma.gemma4, **SMALL, **fields, per_layer_config=differs).layers
    assert (sliding.attention.head_dim, sliding.attention.kv_heads) == (8, 2)
    assert (full.attention.head_dim, full.attention.kv_heads) == (16, 1)


def test_a_token_looks_up_one_row_of_the_embeddings_of_the_layers():
    fields = {"num_hidden_layers": 3, "vocab_size_per_layer_input": 50, "hidden_size_per_layer_input": 8}
    model = made(gemma.gemma4, **SMALL, **fields)
    assert model.lookup_parameters == 50 * 3 * 8
    assert model.active_parameters - model.active_parameters_without_embedding == 50 * 3 * 8


def test_the_dense_part_is_always_active_beside_the_experts():
    fields = {"num_hidden_layers": 1, "enable_moe_block": True, "num_experts": 4, "top_k_experts": 1}
    model = made(gemma.gemma4, **SMALL, **fields, moe_intermediate_size=24)
    assert model.parameters - model.active_parameters == 3 * 3 * 64 * 24


@pytest.mark.parametrize(
    ("rules", "fields", "said"),
    [
        (gemma.gemma3n, {"num_key_value_heads": 3}, "num_key_value_heads = 3: does not divide the 8 heads"),
        (
            gemma.gemma3n,
            {"num_kv_shared_layers": 35},
            "num_kv_shared_layers = 35: leaves none of the 35 layers",
        ),
        (gemma.gemma3n, {"layer_types": [FULL]}, "layer_types: has 1 entries for 35 layers"),
        (gemma.gemma3n, {"intermediate_size": [64, 64]}, "intermediate_size: has 2 entries for 35 layers"),
        (gemma.gemma3n, {"laurel_rank": 0}, "laurel_rank = 0: must be at least 1"),
        (gemma.gemma4, {"layer_types": ["linear_attention"] * 30}, "layer_types: has a word"),
        (gemma.gemma4, {"num_key_value_heads": 3}, "num_key_value_heads = 3: does not divide the 8 heads"),
        (gemma.gemma4, {"enable_moe_block": True}, "moe_intermediate_size: is missing"),
        (
            gemma.gemma4,
            {"enable_moe_block": True, "moe_intermediate_size": 8, "num_experts": 2, "top_k_experts": 3},
            "top_k_experts = 3: is more than the 2 experts",
        ),
        (
            gemma.gemma4,
            {"per_layer_config": {"30": {}}},
            "per_layer_config: names a layer beyond the 30 layers",
        ),
        (
            gemma.gemma4,
            {"per_layer_config": {"x": {}}},
            "per_layer_config: names a layer beyond the 30 layers",
        ),
        (gemma.gemma4, {"attention_k_eq_v": "yes"}, "attention_k_eq_v = 'yes': must be true or false"),
        (gemma.gemma4, {"num_hidden_layers": 20_000}, "num_hidden_layers = 20000: must be at most 1000"),
    ],
)
def test_what_does_not_fit_is_refused(rules, fields, said):
    with pytest.raises(FileError) as caught:
        made(rules, **fields)
    assert said in str(caught.value)
