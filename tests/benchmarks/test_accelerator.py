"""The benchmark of accelerators on tiny shapes: its blocks compute what they should, and its rows can be read."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from memcalc.measurement import Measurement
from memcalc.readers.measurements import read_measurements

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "accelerator.py"
SPEC = importlib.util.spec_from_file_location("accelerator", SCRIPT)
accelerator = importlib.util.module_from_spec(SPEC)
sys.modules["accelerator"] = accelerator
SPEC.loader.exec_module(accelerator)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def block(torch, shape, tokens):
    torch.manual_seed(7)
    return accelerator.Block(shape, 2, tokens, "cpu", torch.float32)


@pytest.mark.parametrize("word", ["llama-8b", "moe"])
def test_a_decode_step_goes_on_where_the_prompt_ended(torch, word):
    shape = accelerator.TINY[word]
    layer = block(torch, shape, 9)
    x = torch.randn(2, 9, shape.width)
    whole = layer(x, 0)
    layer.cache.zero_()
    layer(x[:, :8], 0)
    torch.testing.assert_close(layer(x[:, 8:], 8)[:, 0], whole[:, 8], atol=1e-4, rtol=1e-4)


def test_experts_as_a_loop_over_tokens_has_them(torch):
    shape = accelerator.TINY["moe"]
    layer = block(torch, shape, 5)
    x = torch.randn(2, 5, shape.width)
    expected = torch.zeros_like(x)
    for sequence in range(2):
        for place in range(5):
            token = x[sequence, place]
            weights, chosen = (layer.router @ token).softmax(-1).topk(shape.top_k)
            for weight, expert in zip(weights / weights.sum(), chosen.tolist(), strict=True):
                gate, up = (layer.gate_up[expert] @ token).chunk(2)
                out = layer.down[expert] @ (torch.nn.functional.silu(gate) * up)
                expected[sequence, place] += weight * out
    torch.testing.assert_close(layer.mixture(x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("torch")
def test_its_rows_are_measurements(tmp_path, capsys):
    assert accelerator.main(["--tiny", "--device", "cpu", "--chip", "h100-sxm", "--seconds", "0.001"]) == 0
    shown = capsys.readouterr()
    file = tmp_path / "rows.jsonl"
    file.write_text(shown.out, encoding="utf-8")
    rows = list(read_measurements(file))
    assert all(isinstance(row, Measurement) for row in rows)
    assert {(row.model, row.workflow) for row in rows} == {
        (model, workflow) for model in ("tiny-llama", "tiny-moe") for workflow in ("decode", "prefill")
    }
    assert all(row.headlines and row.metrics[row.headlines[0]] > 0 for row in rows)
    assert "GB/s" in shown.err


@pytest.mark.usefixtures("torch")
def test_a_device_that_is_not_known_wants_the_chip_named(capsys):
    assert accelerator.main(["--tiny", "--device", "cpu"]) == 2
    assert "--chip" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--layers", "0"], ["--models", "gpt"], ["--batches", "0"], ["--contexts", "x"]]
)
def test_wrong_options(words):
    with pytest.raises(SystemExit) as left:
        accelerator.main(words)
    assert left.value.code == 2


def test_without_torch_it_says_so():
    code = f"import sys; sys.modules['torch'] = None; sys.argv = ['x']; import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: torch is not installed")
    assert not ran.stdout
