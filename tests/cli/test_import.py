"""`memcalc presets import`, and `fit` on the files of a model: as typed, piped and mistyped."""

from __future__ import annotations

import json
import tomllib

import numpy as np
import pytest
from safetensors.numpy import save_file

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072,
    "num_attention_heads": 16, "num_key_value_heads": 8, "num_hidden_layers": 28, "head_dim": 128,
    "vocab_size": 151936, "tie_word_embeddings": True, "max_position_embeddings": 40960, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "my-model" / "config.json"
    file.parent.mkdir()
    file.write_text(json.dumps(CONFIG), encoding="utf-8")
    return file


def test_a_config_fits_as_its_preset_does(config, line):
    status, mine, err = line("fit", str(config), "--chip", "h100-sxm", "--json")
    assert (status, err) == (0, "")
    preset = json.loads(line("fit", "qwen3-0.6b", "--chip", "h100-sxm", "--json")[1])
    found = json.loads(mine)
    assert found["model"] == {**preset["model"], "name": "my-model", "source": "file"}
    for block in ("placement", "kv_cache", "decode", "prefill", "cost"):
        assert found[block] == preset[block]


def test_a_folder_and_its_config_are_the_same(config, line):
    one = line("fit", str(config), "--chip", "h100-sxm", "--json")
    assert line("fit", str(config.parent), "--chip", "h100-sxm", "--json") == one


def test_a_folder_is_found_by_its_name_alone(config, line, monkeypatch):
    expected = line("fit", str(config), "--chip", "h100-sxm", "--json")
    monkeypatch.chdir(config.parent.parent)
    assert line("fit", config.parent.name, "--chip", "h100-sxm", "--json") == expected
    monkeypatch.chdir(config.parent)
    assert line("fit", ".", "--chip", "h100-sxm", "--json") == expected


def test_a_name_that_is_nearly_that_of_a_file(config, line, monkeypatch):
    monkeypatch.chdir(config.parent)
    status, _, err = line("fit", "confg.json", "--chip", "h100-sxm")
    assert status == 3
    assert "did you mean 'config.json'?" in err


def test_import_prints_a_preset_that_can_be_piped(config, line):
    status, out, err = line("presets", "import", str(config))
    assert (status, err) == (0, "")
    assert tomllib.loads(out)["name"] == "my-model"


def test_an_imported_preset_is_checked_and_used(config, tmp_path, line):
    preset = tmp_path / "mine.toml"
    status, out, err = line("presets", "import", str(config), "-o", str(preset), "--name", "mine")
    assert (status, err) == (0, "")
    assert str(preset) in out
    assert line("presets", "check", str(preset))[:2] == (0, f"{preset}: a usable model preset\n")
    report = json.loads(line("fit", str(preset), "--chip", "h100-sxm", "--json")[1])
    assert (report["model"]["name"], report["model"]["parameters"]) == ("mine", 596049920)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("presets", "import"), 2, "FILE"),
        (("presets", "import", "no-such-model"), 2, "unknown model"),
        (("presets", "import", "./none/config.json"), 3, "there is no such file"),
        (("presets", "import", "qwen3-8b", "--name", "Mine!"), 2, "a name is of"),
        (("presets", "import", "qwen3-8b", "-o", ""), 2, "empty"),
        (("presets", "import", "qwen3-8b", "-o", "/no/such/folder/x.toml"), 3, "cannot be written"),
        (("fit", "./none.gguf", "--chip", "h100-sxm"), 3, "there is no such file"),
        (("fit", "./none/model.safetensors", "--chip", "h100-sxm"), 3, "no config.json beside it"),
    ],
)
def test_what_cannot_be_imported_is_one_error(words, status, said, line):
    found, out, err = line(*words)
    assert (found, out) == (status, "")
    assert said in err
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_what_is_not_a_model_names_its_file(tmp_path, line):
    file = tmp_path / "config.json"
    for text in ("", "[]", "{", '{"model_type": "bert", "hidden_size": 8}', '{"model_type": "llama"}'):
        file.write_text(text, encoding="utf-8")
        status, out, err = line("fit", str(file), "--chip", "h100-sxm", "--json")
        assert (status, out) == (3, "")
        assert str(file) in err


def test_the_difference_between_config_and_weights_is_said(config, line):
    save_file({"lm_head.weight": np.zeros((4, 4), np.float32)}, config.parent / "model.safetensors")
    report = json.loads(line("fit", str(config.parent), "--chip", "h100-sxm", "--json")[1])
    assert any("64 bytes of weights" in warning for warning in report["warnings"])
