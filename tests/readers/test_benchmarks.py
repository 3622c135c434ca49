"""What benchmark tools write becomes rows; samples here have the keys of the tools' own sources."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memcalc.errors import FileError
from memcalc.measurement import Measurement
from memcalc.readers.benchmarks import Stated, read_benchmark
from memcalc.readers.measurements import Broken

LLAMA = {
    "build_commit": "c76b420", "model_filename": "models/llama-2-7b.Q4_0.gguf", "model_type": "llama 7B Q4_0",
    "gpu_info": "NVIDIA GeForce RTX 3090", "type_k": "f16", "type_v": "f16", "n_prompt": 0, "n_gen": 128, "n_depth": 0,
    "test_time": "2025-08-14T10:00:00Z", "avg_ts": 158.16, "stddev_ts": 0.4,
}  # fmt: skip
VLLM = {
    "date": "20251103-101112", "backend": "vllm", "model_id": "meta-llama/Llama-3.1-8B-Instruct", "num_prompts": 100,
    "request_rate": "inf", "max_concurrency": 8, "completed": 100, "total_input_tokens": 102400,
    "total_output_tokens": 12800, "output_throughput": 700.5, "median_ttft_ms": 90.0, "median_tpot_ms": 11.0,
}  # fmt: skip
TENSORRT = {
    "engine": {"model": "meta-llama/Llama-3.3-70B-Instruct", "version": "1.2.0", "quantization": "FP8",
               "kv_cache_dtype": "FP8"},
    "machine": {"name": "NVIDIA H200", "memory.total": 140.4},
    "world_info": {"tp_size": 2, "pp_size": 1, "ep_size": None, "world_size": 2, "max_batch_size": 2048},
    "request_info": {"num_requests": 1000, "avg_num_concurrent_requests": 731.2, "avg_input_length": 1000.0,
                     "avg_output_length": 1000.0},
    "performance": {"system_output_throughput_tok_s": 5000.0, "total_latency_ms": 1.0},
}  # fmt: skip


def read(tmp_path, value, **stated):
    file = tmp_path / "bench.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return list(read_benchmark(file, Stated(**stated)))


def test_generation_of_llama_bench(tmp_path):
    [row] = read(tmp_path, [LLAMA])
    assert (row.workflow, row.model, row.chip, row.n_chips, row.engine) == (
        "decode", "llama-2-7b", "rtx-3090", 1, "llama.cpp",
    )  # fmt: skip
    assert (row.weights, row.kv, row.context_tokens, row.date) == ("q4_0", "f16", 64, "2025-08-14")
    assert row.metrics == {"tok_s_user": 158.16}


def test_prompts_of_llama_bench_in_lines(tmp_path):
    lines = [{**LLAMA, "n_prompt": 512, "n_gen": 0, "avg_ts": 5174.7}, {**LLAMA, "n_depth": 4096}]
    prefill, decode = read(tmp_path, "\n".join(map(json.dumps, lines)))
    assert (prefill.workflow, prefill.input_tokens, prefill.metrics) == (
        "prefill",
        512,
        {"prefill_tok_s": 5174.7},
    )
    assert decode.context_tokens == 4096 + 64


@pytest.mark.parametrize(
    ("words", "weights"),
    [
        ("llama 8B Q4_K - Medium", "q4_k_m"), ("llama 7B mostly Q4_0", "q4_0"), ("qwen2 7B F16", "fp16"),
        ("gpt-oss 20B MXFP4 MoE", "mxfp4"), ("llama 70B IQ2_XXS - 2.0625 bpw", "iq2_xxs"), ("llama 8B Q8_0", "q8_0"),
        ("llama 8B Q6_K", "q6_k"), ("llama 8B something", None),
    ],
)  # fmt: skip
def test_mixtures_by_llama_cpps_words(tmp_path, words, weights):
    [row] = read(tmp_path, [{**LLAMA, "model_type": words}])
    assert row.weights == weights


@pytest.mark.parametrize(
    ("device", "chip", "count"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-sxm", 1), ("Apple M2 Ultra", "apple-m2-ultra", 1),
        ("NVIDIA GeForce RTX 4090, NVIDIA GeForce RTX 4090", "rtx-4090", 2), ("AMD Instinct MI300X", "mi300x", 1),
        ("AMD Radeon RX 7900 XTX", "rx-7900-xtx", 1), ("NVIDIA L40S", "l40s", 1),
    ],
)  # fmt: skip
def test_devices_by_the_words_of_drivers(tmp_path, device, chip, count):
    [row] = read(tmp_path, [{**LLAMA, "gpu_info": device}])
    assert (row.chip, row.n_chips) == (chip, count)


@pytest.mark.parametrize("device", ["", "NVIDIA H100", "Abacus 9", "NVIDIA L4, NVIDIA L40S"])
def test_a_device_that_is_not_clear_is_asked_for(tmp_path, device):
    [broken] = read(tmp_path, [{**LLAMA, "gpu_info": device}])
    assert "--chip" in broken.reason
    assert read(tmp_path, [{**LLAMA, "gpu_info": device}], chip="l4")[0].chip == "l4"


def test_a_server_of_vllm(tmp_path):
    [row] = read(tmp_path, VLLM, chip="h100-sxm", chips=2, tp=2, weights="fp8")
    assert (row.workflow, row.model, row.batch, row.input_tokens, row.output_tokens) == (
        "serving-throughput", "llama-3.1-8b", 8, 1024, 128,
    )  # fmt: skip
    assert (row.n_chips, row.tp, row.weights, row.date) == (2, 2, "fp8", "2025-11-03")
    assert row.metrics == {"tok_s_instance_output": 700.5, "ttft_ms": 90.0, "tpot_ms": 11.0}


def test_a_server_without_a_limit_is_saturated(tmp_path):
    [row] = read(tmp_path, {**VLLM, "max_concurrency": None}, chip="h100-sxm")
    assert row.batch is None
    assert row.says("saturating")


def test_a_rate_of_requests_does_not_say_how_many_ran(tmp_path):
    [broken] = read(tmp_path, {**VLLM, "max_concurrency": None, "request_rate": 4.0}, chip="h100-sxm")
    assert "--max-concurrency" in broken.reason


def test_tensorrt_llm(tmp_path):
    [row] = read(tmp_path, TENSORRT)
    assert (row.model, row.chip, row.n_chips, row.tp, row.ep) == ("llama-3.3-70b", "h200-sxm", 2, 2, None)
    assert (row.weights, row.kv, row.batch, row.input_tokens) == ("fp8", "fp8", 731, 1000)
    assert row.metrics == {"tok_s_instance_output": 5000.0}


def test_what_is_stated_wins(tmp_path):
    [row] = read(
        tmp_path, [LLAMA], model="llama-3.1-8b", chip="l4", chips=3, engine="vllm", weights="bf16", kv="fp8"
    )
    assert (row.model, row.chip, row.n_chips, row.engine, row.weights, row.kv) == (
        "llama-3.1-8b", "l4", 3, "vllm", "bf16", "fp8",
    )  # fmt: skip


def test_rows_of_the_schema_pass_and_gaps_are_filled(tmp_path):
    given = {
        "id": "a",
        "workflow": "decode",
        "model": "llama-2-7b",
        "chip": "l4",
        "metrics": {"tok_s_user": 9},
    }
    [row] = read(tmp_path, given, chip="l40s", weights="q4_0", engine="llama.cpp")
    assert (row.chip, row.weights, row.engine) == ("l4", "q4_0", "llama.cpp")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({**LLAMA, "avg_ts": 0}, "tok_s_user is 0"),
        ({**LLAMA, "avg_ts": "fast"}, "avg_ts is 'fast'"),
        ({**LLAMA, "n_prompt": 512}, "mixes prompt and generation"),
        ({**LLAMA, "n_prompt": 512, "n_gen": 0, "n_depth": 9}, "n_depth"),
        ({**LLAMA, "n_gen": 0}, "neither"),
        ({**LLAMA, "n_gen": 1.5}, "n_gen is 1.5"),
        ({**LLAMA, "model_filename": "x.gguf"}, "--model"),
        ({**VLLM, "completed": 0}, "no request was completed"),
        ({**VLLM, "total_output_tokens": None}, "total_output_tokens is missing"),
        ({**TENSORRT, "performance": 7}, "performance is missing"),
    ],
)
def test_a_result_that_is_no_row_says_why(tmp_path, value, said):
    broken, row = read(tmp_path, [value, LLAMA], **({"chip": "l4"} if value.get("backend") else {}))
    assert isinstance(broken, Broken)
    assert said in broken.reason
    assert isinstance(row, Measurement)


def test_a_stranger_among_results(tmp_path):
    _, broken = read(tmp_path, [LLAMA, {"hello": 1}])
    assert "is not what" in broken.reason


@pytest.mark.parametrize("text", ["", "[]"])
def test_a_file_without_results(tmp_path, text):
    with pytest.raises(FileError, match=r"has no (rows|results)"):
        read(tmp_path, text)


WORDS = st.sampled_from([*LLAMA, *VLLM, *TENSORRT, "name", "model", "tp_size"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=6),
    max_leaves=15,
)


@given(JSON, st.sampled_from([LLAMA, VLLM, TENSORRT]), WORDS)
def test_whatever_stands_there_is_a_row_or_an_error_of_ours(tmp_path_factory, value, good, key):
    folder = tmp_path_factory.mktemp("any")
    for content in (value, {**good, key: value}, [value, good]):
        try:
            rows = read(folder, content, chip="l4", model="llama-2-7b")
        except FileError:
            continue
        assert all(isinstance(row, Measurement | Broken) for row in rows)
