"""From the files of a model to the model: configs alone, folders with weights, what is refused and how."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from memcalc.core.ledger import ledger
from memcalc.errors import FileError
from memcalc.readers.model_files import read_config, read_model_files
from memcalc.readers.preset_files import model_toml
from memcalc.readers.presets import load_model, names
from memcalc.readers.tensors import tensor_class
from memcalc.readers.user_files import read_model
from memcalc.workload import Precision

TINY = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
    "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2, "vocab_size": 100,
    "torch_dtype": "bfloat16",
}  # fmt: skip
#: Two layers of 4 x 64 x 64 (half of it for keys and values) and 3 x 64 x 128, two norms; tables; the last norm.
TINY_PARAMETERS = 2 * (64 * 64 * 3 + 3 * 64 * 128 + 2 * 64) + 2 * 100 * 64 + 64


def config_file(folder, table, name="config.json"):
    file = folder / name
    file.write_text(table if isinstance(table, str) else json.dumps(table), encoding="utf-8")
    return str(file)


def tiny_tensors(dtype=np.float16, **more):
    shapes = {"model.embed_tokens.weight": (100, 64), "lm_head.weight": (100, 64), "model.norm.weight": (64,)}
    for layer in range(2):
        at = f"model.layers.{layer}."
        shapes |= {
            at + "self_attn.q_proj.weight": (64, 64), at + "self_attn.k_proj.weight": (32, 64),
            at + "self_attn.v_proj.weight": (32, 64), at + "self_attn.o_proj.weight": (64, 64),
            at + "mlp.gate_proj.weight": (128, 64), at + "mlp.up_proj.weight": (128, 64),
            at + "mlp.down_proj.weight": (64, 128), at + "input_layernorm.weight": (64,),
            at + "post_attention_layernorm.weight": (64,),
        }  # fmt: skip
    return {name: np.zeros(shape, dtype) for name, shape in (shapes | more).items()}


def weight_bytes(model):
    return ledger(model, Precision(model.checkpoint, model.kv_format)).total_weight_bytes


class TestConfig:
    def test_a_config_alone(self, tmp_path):
        model = read_model_files(config_file(tmp_path, TINY))
        assert model.parameters == TINY_PARAMETERS
        assert (model.name, model.origin, model.checkpoint) == (
            tmp_path.name.replace("_", "_"),
            "file",
            "bf16",
        )
        assert weight_bytes(model) == 2 * TINY_PARAMETERS
        assert model.notes == ()

    def test_a_folder_is_its_config(self, tmp_path):
        config_file(tmp_path, TINY)
        assert read_model_files(str(tmp_path)).parameters == TINY_PARAMETERS

    def test_a_config_is_named_by_its_file_or_folder(self, tmp_path):
        assert read_config(config_file(tmp_path, TINY, "My Model.json")).name == "my-model"

    def test_the_class_fills_in_what_a_file_omits(self, tmp_path):
        # LlamaConfig: 32 layers of width 4096, 32 heads, 11008 inner, 32000 words: Llama 7B.
        model = read_config(config_file(tmp_path, {"model_type": "llama", "vocab_size": 32000}))
        assert model.parameters == 6738415616

    def test_bare_infinity_is_let_through(self, tmp_path):
        text = json.dumps(TINY)[:-1] + ', "time_step_limit": [0.0, Infinity], "nothing": NaN}'
        assert read_config(config_file(tmp_path, text)).parameters == TINY_PARAMETERS

    @pytest.mark.parametrize(("dtype", "form", "size"), [("float16", "fp16", 2), ("float32", "fp32", 4)])
    def test_the_format_is_that_of_the_checkpoint(self, tmp_path, dtype, form, size):
        model = read_config(config_file(tmp_path, {**TINY, "torch_dtype": dtype}))
        assert (model.checkpoint, weight_bytes(model)) == (form, size * TINY_PARAMETERS)

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            ({"model_type": "llama"}, "states no size"),
            ({"model_type": "llama", "num_hidden_layers": None}, "states no size"),
            (
                {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}},
                "text_config states no size",
            ),
            ({"hidden_size": 64}, "names no architecture"),
            (
                {**TINY, "architectures": ["WondrousForCausalLM"]},
                "'WondrousForCausalLM' (model_type 'llama') is not",
            ),
            ({**TINY, "architectures": ["LlamaForSequenceClassification"]}, "is not known"),
            ({"model_type": "lama", "hidden_size": 64}, "architecture 'lama' is not known"),
            ({**TINY, "hidden_size": "64"}, "hidden_size = '64': must be a whole number"),
            ({**TINY, "hidden_size": -64}, "hidden_size = -64: must be at least 1"),
            ({**TINY, "num_attention_heads": 0}, "num_attention_heads = 0: must be at least 1"),
            ({**TINY, "num_hidden_layers": 2**60}, "num_hidden_layers"),
            ({**TINY, "num_hidden_layers": 20_000}, "must be at most 1000"),
            ({**TINY, "num_key_value_heads": 3}, "num_key_value_heads"),
            ({**TINY, "hidden_size": True}, "must be a whole number"),
            ({**TINY, "model_type": 7, "architectures": None}, "model_type"),
            ({**TINY, "quantization_config": "fp8"}, "quantization_config"),
            ("[1, 2]", "is not a JSON object"),
            ("{", "is not JSON"),
            ("[" * 100_000, "nested too deeply"),
            ('{"a": ' * 100_000, "nested too deeply"),
            ('{"hidden_size": ' + "9" * 5000 + "}", "is not JSON"),
        ],
    )
    def test_what_cannot_be_used_is_refused(self, tmp_path, table, said):
        with pytest.raises(FileError, match=r"config\.json") as caught:
            read_config(config_file(tmp_path, table))
        assert said in caught.value.message
        assert caught.value.exit_code == 3

    def test_an_unknown_architecture_comes_with_what_would_do(self, tmp_path):
        with pytest.raises(FileError) as caught:
            read_config(config_file(tmp_path, {"model_type": "lama", "hidden_size": 64}))
        assert "did you mean 'llama'" in (caught.value.hint or "")
        assert "by hand" in (caught.value.hint or "")

    def test_a_name_cannot_command_a_terminal(self, tmp_path):
        with pytest.raises(FileError) as caught:
            read_config(config_file(tmp_path, {"model_type": "\x1b[2Jlama", "hidden_size": 64}))
        assert "\x1b" not in caught.value.message + (caught.value.hint or "")

    def test_a_loop_of_links_is_one_error(self, tmp_path):
        os.symlink("config.json", tmp_path / "config.json")
        with pytest.raises(FileError):
            read_model_files(str(tmp_path))

    def test_a_folder_without_a_config(self, tmp_path):
        (tmp_path / "weights.gguf").touch()
        with pytest.raises(FileError, match=r"no config\.json") as caught:
            read_model_files(str(tmp_path))
        assert "weights.gguf" in (caught.value.hint or "")


class TestWeights:
    def test_the_files_decide_and_agree(self, tmp_path):
        config_file(tmp_path, {**TINY, "torch_dtype": "float16"})
        save_file(tiny_tensors(), tmp_path / "model.safetensors")
        for path in (tmp_path, tmp_path / "model.safetensors"):
            model = read_model_files(str(path))
            assert (model.checkpoint, model.notes) == ("fp16", ())
            assert weight_bytes(model) == 2 * TINY_PARAMETERS
            assert model.checkpoint_bytes["head"] == 2 * (100 * 64 + 64)
            assert model.checkpoint_bytes["dense"] == 2 * (2 * 3 * 64 * 128)

    def test_the_bytes_of_the_files_win_and_both_are_said(self, tmp_path):
        config_file(tmp_path, TINY)
        save_file(tiny_tensors(np.float32), tmp_path / "model.safetensors")
        model = read_model_files(str(tmp_path))
        assert (model.checkpoint, weight_bytes(model)) == ("fp32", 4 * TINY_PARAMETERS)
        assert f"{4 * TINY_PARAMETERS:,}" in model.notes[0]
        assert f"{2 * TINY_PARAMETERS:,}" in model.notes[0]

    def test_another_format_is_converted_from_the_elements(self, tmp_path):
        config_file(tmp_path, TINY)
        save_file(tiny_tensors(np.float32), tmp_path / "model.safetensors")
        model = read_model_files(str(tmp_path))
        assert ledger(model, Precision("bf16", "bf16")).total_weight_bytes == 2 * TINY_PARAMETERS

    def test_shards_with_their_index(self, tmp_path):
        config_file(tmp_path, {**TINY, "torch_dtype": "float16"})
        tensors = tiny_tensors()
        parts = [dict(list(tensors.items())[0::2]), dict(list(tensors.items())[1::2])]
        weight_map = {}
        for number, part in enumerate(parts, 1):
            shard = f"model-{number:05}-of-00002.safetensors"
            save_file(part, tmp_path / shard)
            weight_map |= dict.fromkeys(part, shard)
        index = {"metadata": {"total_size": 2 * TINY_PARAMETERS}, "weight_map": weight_map}
        file = config_file(tmp_path, index, "model.safetensors.index.json")
        for path in (str(tmp_path), file):
            assert read_model_files(path).checkpoint_bytes["head"] == 2 * (100 * 64 + 64)

    def test_an_index_alone_has_a_total_to_compare(self, tmp_path):
        config_file(tmp_path, TINY)
        index = {
            "metadata": {"total_size": 123456},
            "weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"},
        }
        model = read_model_files(config_file(tmp_path, index, "model.safetensors.index.json"))
        assert weight_bytes(model) == 2 * TINY_PARAMETERS
        assert "123,456" in model.notes[0]

    def test_a_tied_table_that_is_stored_twice_is_read_once(self, tmp_path):
        config_file(tmp_path, {**TINY, "tie_word_embeddings": True, "torch_dtype": "float16"})
        save_file(tiny_tensors(), tmp_path / "model.safetensors")
        model = read_model_files(str(tmp_path))
        head = ledger(model, Precision("fp16", "bf16")).operators[-1]
        assert (head.tensor, head.stored_bytes) == ("head", 2 * (100 * 64 + 64))
        assert weight_bytes(model) == 2 * TINY_PARAMETERS

    def test_weights_alone_do_not_tell_the_heads(self, tmp_path):
        save_file(tiny_tensors(), tmp_path / "model.safetensors")
        with pytest.raises(FileError, match=r"no config\.json beside it"):
            read_model_files(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("model.embed_tokens.weight", "embedding"),
        ("transformer.wte.weight", "embedding"),
        ("lm_head.weight", "head"),
        ("model.norm.weight", "head"),
        ("model.layers.1.self_attn.q_proj.weight", "attention"),
        ("model.layers.1.input_layernorm.weight", "attention"),
        ("model.layers.1.mlp.gate_proj.weight", "dense"),
        ("model.layers.1.mlp.gate.weight", "router"),
        ("model.layers.1.mlp.gate.e_score_correction_bias", "router"),
        ("model.layers.1.mlp.experts.7.down_proj.weight_scale_inv", "experts"),
        ("model.layers.1.block_sparse_moe.experts.7.w1.weight", "experts"),
        ("model.layers.1.mlp.shared_experts.up_proj.weight", "shared"),
        ("model.layers.1.linear_attn.in_proj_qkvz.weight", "recurrent"),
        ("backbone.layers.1.mixer.in_proj.weight", "recurrent"),
        ("model.layers.2.self_attn.q_proj.weight", "mtp"),
        ("mtp.layers.0.mlp.up_proj.weight", "mtp"),
        ("model.visual.blocks.31.attn.qkv.weight", "vision"),
        ("vision_tower.vision_model.encoder.layers.25.mlp.fc1.weight", "vision"),
        ("multi_modal_projector.linear_1.weight", "vision"),
        ("token_embd.weight", "embedding"),
        ("output.weight", "head"),
        ("output_norm.weight", "head"),
        ("blk.1.attn_q.weight", "attention"),
        ("blk.1.ffn_down_exps.weight", "experts"),
        ("blk.1.ffn_gate_inp.weight", "router"),
        ("blk.1.ffn_up_shexp.weight", "shared"),
        ("blk.1.ffn_down.weight", "dense"),
        ("blk.1.ffn_norm.weight", "attention"),
        ("blk.1.ssm_in.weight", "recurrent"),
    ],
)
def test_class_of_a_tensor(name, found):
    assert tensor_class(name, depth=2) == found


@pytest.mark.parametrize("name", names("models"))
def test_a_preset_that_is_written_reads_back(name, tmp_path):
    model = load_model(name)
    file = tmp_path / "again.toml"
    file.write_text(model_toml(model), encoding="utf-8")
    again = read_model(str(file))
    assert model_toml(again) == model_toml(model)
    assert again.parameters == model.parameters
    assert {**vars(again), "origin": ""} == {**vars(model), "origin": ""}


def test_an_imported_config_reads_back(tmp_path):
    model = read_config(config_file(tmp_path, TINY))
    file = tmp_path / "tiny.toml"
    file.write_text(model_toml(model), encoding="utf-8")
    assert read_model(str(file)) == model
