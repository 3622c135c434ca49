"""The benchmark of accelerators on tiny shapes: its blocks compute what they should, and its rows can be read."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from memcalc.measurement import Measurement
from memcalc.readers import presets
from memcalc.readers.measurements import read_measurements

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "accelerator.py"
SPEC = importlib.util.spec_from_file_location("accelerator", SCRIPT)
accelerator = importlib.util.module_from_spec(SPEC)
sys.modules["accelerator"] = accelerator
SPEC.loader.exec_module(accelerator)
TINY = ["--tiny", "--device", "cpu", "--chip", "h100-sxm", "--seconds", "0.001"]
WITHOUT_TORCH = f"""
import runpy, sys
sys.modules["torch"] = None
sys.argv = ["accelerator.py"]
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""


@pytest.fixture
def torch():
    found = pytest.importorskip("torch")
    threads = found.get_num_threads()
    found.set_num_threads(1)  # tiny products wait longer for other threads than they take
    found.manual_seed(7)
    yield found
    found.set_num_threads(threads)


def block(torch, word, tokens):
    """A tiny block in fp32, an empty cache and the rotations for two sequences of so many tokens."""
    shape = accelerator.TINY[word]
    layer = accelerator.Block(shape, "cpu", torch.float32)
    layer.gain = torch.rand(shape.width) + 0.5
    layer.head_gain = torch.rand(shape.head_dim) + 0.5
    cache = torch.full((2, 2, shape.kv_heads, tokens, shape.head_dim), torch.nan)
    return layer, cache, accelerator.rotations(tokens, shape.head_dim, "cpu", torch.float32)


def read(path, text):
    file = path / "rows.jsonl"
    file.write_text(text, encoding="utf-8")
    return list(read_measurements(file))


@pytest.mark.parametrize("word", ["llama-8b", "moe"])
def test_decode_goes_on_where_the_prompt_ended(torch, word):
    layer, cache, turns = block(torch, word, 9)
    x = torch.randn(2, 9, layer.shape.width)
    whole = layer(x, cache.clone(), 0, turns)
    layer(x[:, :7], cache, 0, turns)
    for place in (7, 8):
        step = layer(x[:, place : place + 1], cache, place, turns)
        torch.testing.assert_close(step[:, 0], whole[:, place], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("word", ["llama-8b", "moe"])
def test_attention_as_it_is_written_in_the_papers(torch, word):
    """Each head of each token by itself: rotary positions as complex numbers, softmax over what came before."""
    layer, cache, turns = block(torch, word, 5)
    shape, dim = layer.shape, layer.shape.head_dim
    x = torch.randn(2, 5, shape.width)

    def rotated(vector, position):
        halves = torch.complex(vector[: dim // 2], vector[dim // 2 :])
        angles = torch.tensor([position * 500_000.0 ** (-2 * i / dim) for i in range(dim // 2)])
        halves = halves * torch.polar(torch.ones(dim // 2), angles)
        return torch.cat((halves.real, halves.imag))

    def normed(vector):
        return vector / (vector.pow(2).mean() + 1e-6).sqrt() * layer.head_gain

    norm = normed if shape.query_key_norm else lambda vector: vector
    expected = torch.zeros(2, 5, shape.heads * dim)
    for sequence in range(2):
        rows = (x[sequence] @ layer.qkv.T).view(5, -1, dim)
        for head in range(shape.heads):
            group = shape.heads + head // (shape.heads // shape.kv_heads)
            for place in range(5):
                query = rotated(norm(rows[place, head]), place)
                keys = torch.stack([rotated(norm(rows[i, group]), i) for i in range(place + 1)])
                values = rows[: place + 1, group + shape.kv_heads]
                found = (keys @ query / dim**0.5).softmax(0) @ values
                expected[sequence, place, head * dim : (head + 1) * dim] = found
    found = layer.attention(x, cache, 0, turns)
    torch.testing.assert_close(found, expected @ layer.output.T, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_experts_as_a_loop_over_tokens_has_them(torch, one_by_one):
    layer, _, _ = block(torch, "moe", 5)
    if one_by_one:
        layer.grouped_mm = None
    x = torch.randn(2, 5, layer.shape.width)
    expected = torch.zeros_like(x)
    for sequence in range(2):
        for place in range(5):
            token = x[sequence, place]
            weights, chosen = (layer.router @ token).softmax(-1).topk(layer.shape.top_k)
            for weight, expert in zip(weights / weights.sum(), chosen.tolist(), strict=True):
                gate, up = (layer.gate_up[expert] @ token).chunk(2)
                out = layer.down[expert] @ (gate * gate.sigmoid() * up)
                expected[sequence, place] += weight * out
    torch.testing.assert_close(layer.mixture(x, layer.router), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("torch")
def test_rows_are_measurements(tmp_path, capsys):
    assert accelerator.main(TINY) == 0
    shown = capsys.readouterr()
    rows = read(tmp_path, shown.out)
    assert all(isinstance(row, Measurement) for row in rows)
    assert {(row.model, row.workflow, row.batch, row.context_tokens or row.input_tokens) for row in rows} == {
        (model, workflow, batch, context)
        for model in ("tiny-llama", "tiny-moe")
        for workflow in ("decode", "prefill")
        for batch in (1, 2)
        for context in (16, 32)
        if workflow == "decode" or batch * context <= 32
    }
    for row in rows:
        assert row.headlines == ("tok_s_user" if row.workflow == "decode" else "prefill_tok_s",)
        assert row.metrics[row.headlines[0]] > 0
        assert (row.chip, row.engine, row.weights, row.kv, row.acts) == ("h100-sxm", "torch", *["bf16"] * 3)
        assert not row.reproducible
        assert "extrapolated from 2 of 4 layers" in row.notes
        assert row.software.startswith("torch ")
        assert "no graph" in row.software
    assert "GB/s" in shown.err
    assert "TFLOP/s" in shown.err
    assert "bfloat16" in shown.err


@pytest.mark.usefixtures("torch")
def test_time_of_a_model_is_that_of_its_layers_and_head(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(accelerator.Stack, "timed", lambda *_: (0.25, 0.5, "torch"))
    words = ["--models", "llama-8b", "--batches", "2", "--contexts", "32,16", "--engine", "mine"]
    assert accelerator.main([*TINY, *words]) == 0
    rows = {row.id: row for row in read(tmp_path, capsys.readouterr().out)}
    # 4 layers of the model, 2 run in 0.25 s, and 0.5 s for the head: a second for a step.
    prefix = "own-h100-sxm-mine-tiny-llama-"
    assert {name.removeprefix(prefix): dict(row.metrics) for name, row in rows.items()} == {
        "decode-b2-c16": {"tok_s_user": 1.0},
        "decode-b2-c32": {"tok_s_user": 1.0},
        "prefill-b2-c16": {"prefill_tok_s": 32.0},
    }


@pytest.mark.usefixtures("torch")
def test_points_that_do_not_fit_are_skipped(monkeypatch, capsys, tmp_path):
    def timed(_stack, batch, context, _start):
        if batch * context > 32:
            raise RuntimeError("CUDA out of memory. Tried to allocate more")
        return 0.25, 0.5, "torch"

    monkeypatch.setattr(accelerator.Stack, "timed", timed)
    assert accelerator.main([*TINY, "--models", "moe"]) == 0
    shown = capsys.readouterr()
    rows = read(tmp_path, shown.out)
    assert {row.batch * (row.context_tokens or row.input_tokens) for row in rows} == {16, 32}
    assert "skipped tiny-moe decode, batch 2, context 32: does not fit" in shown.err


@pytest.mark.usefixtures("torch")
def test_models_that_are_larger_than_the_memory_are_skipped(monkeypatch, capsys):
    monkeypatch.setattr(accelerator.Shape, "needed_bytes", lambda *_: float("inf"))
    monkeypatch.setattr(accelerator, "inf", 80e9)
    assert accelerator.main(TINY) == 0
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.count("skipped tiny-") == 14


@pytest.mark.usefixtures("torch")
def test_an_interrupt_leaves_the_rows_so_far(monkeypatch, capsys, tmp_path):
    def timed(_stack, batch, _context, _start):
        if batch == 2:
            raise KeyboardInterrupt
        return 0.25, 0.5, "torch"

    monkeypatch.setattr(accelerator.Stack, "timed", timed)
    assert accelerator.main(TINY) == 130
    shown = capsys.readouterr()
    assert len(read(tmp_path, shown.out)) == 1
    assert shown.err.endswith("stopped; the rows so far stand\n")


@pytest.mark.parametrize("captures", [True, False])
def test_what_no_graph_can_hold_runs_without(captures, capsys):
    """CUDA itself is played: the order of its calls, and what is left where it refuses."""
    done = []

    @contextmanager
    def graph(_):
        done.append("capture")
        yield
        if not captures:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    device = accelerator.Device.__new__(accelerator.Device)
    played = SimpleNamespace(replay=lambda: done.append("replay"))
    cuda = SimpleNamespace(CUDAGraph=lambda: played, graph=graph, synchronize=lambda: done.append("wait"))
    device.kind, device.torch = "cuda", SimpleNamespace(cuda=cuda)
    run, means = device.graphed(lambda: done.append("run"))
    run()
    expected = ["run", "capture", "run", "replay"] if captures else ["run", "capture", "run", "wait", "run"]
    assert (done, means) == (expected, "CUDA graph" if captures else "no graph")
    told = "no graph: operation not permitted when stream is capturing\n"
    assert capsys.readouterr().err == ("" if captures else told)


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize(
    ("words", "told"), [(["--device", "cpu"], "--chip"), (["--device", "cuda:x"], "--device")]
)
def test_devices_that_cannot_be_used_or_are_not_known(words, told, capsys):
    assert accelerator.main(["--tiny", *words]) == 2
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert told in shown.err


@pytest.mark.parametrize(
    "words",
    [
        ["--layers", "0"],
        ["--models", "gpt"],
        ["--batches", "0"],
        ["--contexts", "x"],
        ["--seconds", "0"],
        ["--seconds", "nan"],
        ["--device", "tpu"],
        ["--colour"],
    ],
)
def test_wrong_options(words):
    with pytest.raises(SystemExit) as left:
        accelerator.main(words)
    assert left.value.code == 2


def test_without_torch_it_says_so():
    ran = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: torch is not installed")
    assert ran.stderr.count("\n") == 1
    assert not ran.stdout


def test_devices_are_presets():
    assert all(presets.find("chips", chip) for chip in accelerator.CHIPS.values())


@pytest.mark.parametrize("shape", accelerator.SHAPES.values(), ids=lambda shape: shape.model)
def test_shapes_are_those_of_the_presets(shape):
    model = presets.load_model(shape.model)
    (group,) = model.layers
    assert (shape.width, shape.layers, shape.vocabulary) == (model.width, group.count, model.vocabulary)
    assert (shape.heads, shape.kv_heads) == (group.attention.heads, group.attention.kv_heads)
    assert (shape.hidden, shape.experts) == (group.feed_forward.width, group.feed_forward.experts)
    assert shape.parameters == model.published_parameters
