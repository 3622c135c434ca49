"""Results of benchmark tools: what each field becomes, what is stated, and what is broken.

The samples are written by hand after the tools' sources, which `memcalc/readers/benchmarks.py` names.
"""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from memcalc.errors import FileError
from memcalc.measurement import Measurement
from memcalc.precision import format_names
from memcalc.readers import benchmarks, presets
from memcalc.readers.benchmarks import Stated, read_benchmark
from memcalc.readers.measurements import Broken
from memcalc.trials import trial

LLAMA = {
    "build_commit": "8cf427ff", "build_number": 5163, "cpu_info": "AMD Ryzen 7 7800X3D 8-Core Processor",
    "gpu_info": "NVIDIA GeForce RTX 4080", "backends": "CUDA", "model_filename": "models/Qwen2.5-7B-Instruct-Q4_K_M.gguf",
    "model_type": "qwen2 7B Q4_K - Medium", "model_size": 4677120000, "model_n_params": 7615616512,
    "n_batch": 2048, "n_ubatch": 512, "type_k": "f16", "type_v": "f16", "n_gpu_layers": 99, "n_cpu_moe": 0,
    "split_mode": "layer", "main_gpu": 0, "no_kv_offload": False, "flash_attn": 1, "devices": "auto",
    "tensor_split": "0.00", "tensor_buft_overrides": "none", "n_prompt": 0, "n_gen": 128, "n_depth": 0,
    "test_time": "2025-04-24T11:58:50Z", "avg_ns": 1067431600, "stddev_ns": 3834831, "avg_ts": 119.9,
    "stddev_ts": 0.43, "samples_ns": [1067431600], "samples_ts": [119.9],
}  # fmt: skip
PROMPT = {**LLAMA, "n_prompt": 512, "n_gen": 0, "avg_ts": 7100.5}
SERVE = {
    "date": "20251103-101112", "endpoint_type": "openai", "backend": "openai", "label": None,
    "model_id": "meta-llama/Llama-3.1-8B-Instruct", "tokenizer_id": "meta-llama/Llama-3.1-8B-Instruct",
    "num_prompts": 640, "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 64, "duration": 100.0,
    "completed": 640, "failed": 0, "total_input_tokens": 655360, "total_output_tokens": 81920,
    "request_throughput": 6.4, "request_goodput": None, "output_throughput": 819.2, "total_token_throughput": 7372.8,
    "mean_ttft_ms": 120.5, "median_ttft_ms": 110.0, "mean_tpot_ms": 14.25, "median_tpot_ms": 14.0,
}  # fmt: skip
SGLANG = {
    "backend": "sglang", "dataset_name": "random", "request_rate": float("inf"), "max_concurrency": 32,
    "duration": 50.0, "completed": 500, "total_input_tokens": 512000, "total_output_tokens": 64000,
    "total_output_tokens_retokenized": 63990, "request_throughput": 10.0, "output_throughput": 1280.0,
    "mean_e2e_latency_ms": 3100.0, "mean_ttft_ms": 90.0, "mean_tpot_ms": 23.0, "concurrency": 31.0,
    "accept_length": None,
}  # fmt: skip
TENSORRT = {
    "engine": {
        "model": "meta-llama/Llama-3.1-70B-Instruct", "model_path": "None", "engine_dir": "None", "version": "1.2.0rc1",
        "backend": "Pytorch", "dtype": "bfloat16", "kv_cache_dtype": "FP8", "quantization": "FP8",
    },
    "machine": {"name": "NVIDIA H100 80GB HBM3", "memory.total": 79.1, "clocks.mem": 2.619},
    "world_info": {
        "tp_size": 2, "pp_size": 2, "ep_size": None, "world_size": 4, "max_batch_size": 2048,
        "max_num_tokens": 8192, "scheduling_policy": "GUARANTEED_NO_EVICT", "kv_cache_percentage": 0.9,
        "issue_rate": 1e9,
    },
    "request_info": {
        "num_requests": 3000, "avg_num_concurrent_requests": 255.6, "avg_input_length": 1024.4,
        "avg_output_length": 127.6,
    },
    "performance": {
        "total_latency_ms": 60000.0, "avg_request_latency_ms": 5112.0, "request_throughput_req_s": 50.0,
        "system_output_throughput_tok_s": 6380.0, "system_total_throughput_tok_s": 57600.0,
        "output_throughput_per_user_tok_s": 25.0, "output_throughput_per_gpu_tok_s": 1595.0,
    },
    "streaming_metrics": {"token_output_speed_tok_s": 27.0, "avg_ttft_ms": 410.0, "avg_tpot_ms": 37.0},
    "dataset": {"isl_mean": 1024},
}  # fmt: skip
ROW = {"id": "a", "workflow": "decode", "model": "llama-2-7b", "metrics": {"tok_s_user": 9.0}}
H100 = Stated(chip="h100-sxm")
NOTHING = Stated()


def read(tmp_path, content, stated=NOTHING):
    file = tmp_path / "bench.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return list(read_benchmark(file, stated))


def one(tmp_path, content, stated=NOTHING):
    [row] = read(tmp_path, content, stated)
    return row


def reason(tmp_path, content, stated=NOTHING):
    row = one(tmp_path, content, stated)
    assert isinstance(row, Broken), row
    return row.reason


def without(table, *keys):
    return {key: value for key, value in table.items() if key not in keys}


def report(**changes):
    """A report of TensorRT-LLM with changed entries, by table."""
    return TENSORRT | {
        name: TENSORRT[name] | change if isinstance(change, dict) and name in TENSORRT else change
        for name, change in changes.items()
    }


# llama-bench


def test_a_generation_of_llama_bench(tmp_path):
    assert one(tmp_path, [LLAMA]) == Measurement(
        id="llama-bench-1",
        workflow="decode",
        model="qwen2.5-7b",
        metrics={"tok_s_user": 119.9},
        engine="llama.cpp",
        chip="rtx-4080",
        n_chips=1,
        software="llama.cpp b5163 8cf427ff CUDA",
        weights="q4_k_m",
        kv="fp16",
        tp=1,
        pp=1,
        batch=1,
        input_tokens=0,
        output_tokens=128,
        context_tokens=64,
        date="2025-04-24",
        source="own measurement",
    )


def test_a_prompt_of_llama_bench(tmp_path):
    row = one(tmp_path, [PROMPT])
    assert (row.workflow, row.metrics, row.input_tokens, row.output_tokens, row.batch, row.notes) == (
        "prefill", {"prefill_tok_s": 7100.5}, 512, 0, 1, "ubatch 512"
    )  # fmt: skip


def test_a_generation_behind_a_context_adds_it(tmp_path):
    row = one(tmp_path, [{**LLAMA, "n_depth": 4096}])
    assert (row.input_tokens, row.output_tokens, row.context_tokens) == (4096, 128, 4160)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_prompt": 512}, "mixes prompt and generation"),
        ({"n_gen": 0}, "has neither"),
        ({"n_prompt": 512, "n_gen": 0, "n_depth": 8}, "prefills behind a context"),
        ({"avg_ts": 0}, "avg_ts is 0"),
        ({"avg_ts": -1.5}, "avg_ts is -1.5"),
        ({"avg_ts": 1e-300}, "avg_ts is 1e-300"),
        ({"avg_ts": "fast"}, "avg_ts is 'fast'"),
        ({"avg_ts": None}, "avg_ts is missing"),
        ({"avg_ts": True}, "avg_ts is True"),
        ({"avg_ts": float("nan")}, "avg_ts is nan"),
        ({"avg_ts": float("inf")}, "avg_ts is inf"),
        ({"avg_ts": 10**400}, "avg_ts is 1000"),
        ({"n_gen": 1.5}, "n_gen is 1.5"),
        ({"n_gen": -1}, "n_gen is -1"),
        ({"n_gen": 10**13}, "n_gen is"),
        ({"n_gpu_layers": 0}, "ran on the CPU"),
        ({"n_gpu_layers": 28}, "n_gpu_layers is 28, and 29 hold the whole model"),
        ({"devices": "none"}, "ran on the CPU"),
        ({"n_cpu_moe": 4}, "n_cpu_moe"),
        ({"no_kv_offload": True}, "no_kv_offload"),
        ({"tensor_buft_overrides": "ffn_.*=CPU"}, "tensor_buft_overrides"),
        ({"model_type": "llama 8B IQ9_X"}, "names no format that is known: --weights says it"),
        ({"model_type": 7}, "--weights says it"),
        ({"type_k": "q8_0"}, "keys are 'q8_0' and values 'f16': --kv"),
        ({"type_k": "odd", "type_v": "odd"}, "type_k is 'odd'"),
        ({"model_filename": "a.gguf"}, "'a.gguf' is no model that is known: --model says it"),
        ({"model_filename": ""}, "does not say which model ran: --model says it"),
        ({"gpu_info": ""}, "does not say on which chip it ran: --chip says it"),
        ({"model_n_params": 14_770_033_664}, "14,770,033,664 parameters, qwen2.5-7b has 7,615,616,512"),
    ],
)  # fmt: skip
def test_a_test_of_llama_bench_that_is_no_row(tmp_path, change, said):
    broken, row = read(tmp_path, [{**LLAMA, **change}, LLAMA])
    assert isinstance(broken, Broken)
    assert broken.id == "llama-bench-1"
    assert said in broken.reason
    assert row.id == "llama-bench-2"


def test_as_many_layers_as_hold_the_model_or_all(tmp_path):
    rows = read(tmp_path, [{**LLAMA, "n_gpu_layers": layers} for layers in (29, 99, -1)])
    assert all(isinstance(row, Measurement) for row in rows)


def test_a_cpu_build_runs_where_the_user_says(tmp_path):
    row = one(tmp_path, [{**LLAMA, "gpu_info": "", "n_gpu_layers": 0}], Stated(chip="strix-halo", chips=1))
    assert (row.chip, row.n_chips) == ("strix-halo", 1)


def test_an_embedding_stored_twice_is_no_other_model(tmp_path):
    sample = {**LLAMA, "model_filename": "qwen2.5-0.5b-instruct-q8_0.gguf", "model_n_params": 630_167_424}
    assert one(tmp_path, [sample]).model == "qwen2.5-0.5b"


def test_lines_of_llama_bench(tmp_path):
    lines = "\n".join(json.dumps(sample) for sample in (PROMPT, LLAMA)) + "\n"
    assert [row.id for row in read(tmp_path, lines.encode())] == ["llama-bench-1", "llama-bench-2"]


def test_a_line_that_is_no_result_is_named(tmp_path):
    lines = f'{json.dumps(LLAMA)}\n{{"n_gen": \n[7]\n{json.dumps(LLAMA)}\n'
    found = read(tmp_path, lines.encode())
    assert [row.id for row in found] == ["llama-bench-1", "result-2", "result-3", "llama-bench-4"]
    assert "is not JSON" in found[1].reason
    assert "not a result" in found[2].reason


def test_keys_of_2023(tmp_path):
    old = without(LLAMA, "type_k", "type_v", "n_depth", "split_mode", "devices", "backends") | {
        "model_type": "llama 7B mostly Q4_0", "f16_kv": True, "gpu_info": "NVIDIA A40/NVIDIA A40",
    }  # fmt: skip
    row = one(tmp_path, [old])
    assert (row.weights, row.kv, row.chip, row.n_chips, row.pp) == ("q4_0", "fp16", "a40", 2, 2)
    assert one(tmp_path, [{**old, "f16_kv": False}]).kv == "fp32"


@pytest.mark.parametrize(
    ("change", "chips", "tensor", "pipeline"),
    [
        ({}, 2, 1, 2),
        ({"split_mode": "row"}, 2, 2, 1),
        ({"split_mode": "tensor"}, 2, 2, 1),
        ({"split_mode": "none"}, 1, 1, 1),
        ({"devices": "CUDA1"}, 1, 1, 1),
        ({"devices": "CUDA0/CUDA1"}, 2, 1, 2),
    ],
)
def test_several_gpus(tmp_path, change, chips, tensor, pipeline):
    row = one(tmp_path, [{**LLAMA, "gpu_info": "NVIDIA GeForce RTX 3090, NVIDIA GeForce RTX 3090", **change}])
    assert (row.chip, row.n_chips, row.tp, row.pp) == ("rtx-3090", chips, tensor, pipeline)


def test_unlike_gpus_are_not_guessed(tmp_path):
    unlike = {**LLAMA, "gpu_info": "NVIDIA GeForce RTX 3090, NVIDIA GeForce RTX 4090"}
    assert "names no chip for sure: --chip" in reason(tmp_path, [unlike])
    assert one(tmp_path, [{**unlike, "split_mode": "none", "main_gpu": 1}]).chip == "rtx-4090"


def test_stated_chips_and_layout_go_together(tmp_path):
    two = {**LLAMA, "gpu_info": "NVIDIA GeForce RTX 3090, NVIDIA GeForce RTX 3090"}
    row = one(tmp_path, [two], Stated(chips=1))
    assert (row.n_chips, row.tp, row.pp) == (1, 1, 1)
    row = one(tmp_path, [two], Stated(tp=2))
    assert (row.n_chips, row.tp, row.pp) == (2, 2, 1)


#: What `llama_ftype_name` returns for the formats that are known here.
FTYPES = {
    "all F32": "fp32", "F16": "fp16", "BF16": "bf16", "Q4_0": "q4_0", "Q4_1": "q4_1", "Q5_0": "q5_0",
    "Q5_1": "q5_1", "Q8_0": "q8_0", "MXFP4 MoE": "mxfp4", "NVFP4": "nvfp4", "Q2_K - Medium": "q2_k",
    "Q2_K - Small": "q2_k_s", "Q3_K - Small": "q3_k_s", "Q3_K - Medium": "q3_k_m", "Q3_K - Large": "q3_k_l",
    "Q4_K - Small": "q4_k_s", "Q4_K - Medium": "q4_k_m", "Q5_K - Small": "q5_k_s", "Q5_K - Medium": "q5_k_m",
    "Q6_K": "q6_k", "IQ2_XXS - 2.0625 bpw": "iq2_xxs", "IQ2_XS - 2.3125 bpw": "iq2_xs", "IQ2_S - 2.5 bpw": "iq2_s",
    "IQ2_M - 2.7 bpw": "iq2_m", "IQ3_XS - 3.3 bpw": "iq3_xs", "IQ3_XXS - 3.0625 bpw": "iq3_xxs",
    "IQ1_S - 1.5625 bpw": "iq1_s", "IQ1_M - 1.75 bpw": "iq1_m", "IQ4_NL - 4.5 bpw": "iq4_nl",
    "IQ4_XS - 4.25 bpw": "iq4_xs", "IQ3_S - 3.4375 bpw": "iq3_s", "IQ3_S mix - 3.66 bpw": "iq3_m",
}  # fmt: skip


@pytest.mark.parametrize(("words", "weights"), FTYPES.items())
def test_formats_of_llama_cpp(words, weights):
    assert weights in format_names()
    for text in (f"llama 8B {words}", f"qwen3moe 30B.A3B (guessed) {words}", f"llama ?B {words} (guessed)"):
        assert benchmarks._mixture(text) == weights


@pytest.mark.parametrize("words", ["", "Q4_0", "llama 8B TQ1_0 - 1.69 bpw ternary", "llama 8B Q1_0", "unknown, may not work"])  # fmt: skip
def test_formats_that_are_not_known(words):
    with pytest.raises(benchmarks._UnclearError):
        benchmarks._mixture(words)


# GPUs and models by name


@pytest.mark.parametrize(
    ("name", "chip"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("NVIDIA H200", "h200-sxm"),
        ("NVIDIA H200 NVL", "h200-nvl"),
        ("NVIDIA H800", "h800"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA B300 SXM6 AC", "b300"),
        ("NVIDIA GB200", "gb200"),
        ("NVIDIA GB10", "dgx-spark"),
        ("NVIDIA GH200 480GB", "gh200-96gb"),
        ("NVIDIA GH200 144G HBM3e", "gh200-141gb"),
        ("NVIDIA A100-SXM4-80GB", "a100-sxm-80gb"),
        ("NVIDIA A100-SXM4-40GB", "a100-sxm-40gb"),
        ("NVIDIA A100 80GB PCIe", "a100-pcie-80gb"),
        ("NVIDIA A40", "a40"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"),
        ("Tesla T4", "t4"),
        ("NVIDIA RTX A6000", "rtx-a6000"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "rtx-4070-ti-super"),
        ("NVIDIA GeForce RTX 5090", "rtx-5090"),
        ("AMD Instinct MI300X", "mi300x"),
        ("AMD Instinct MI250X", "mi250x-gcd"),
        ("AMD Radeon RX 7900 XTX", "rx-7900-xtx"),
        ("AMD Radeon RX 7900 XTX (RADV NAVI31)", "rx-7900-xtx"),
        ("AMD Radeon AI PRO R9700", "r9700"),
        ("Radeon 8060S Graphics (RADV GFX1151)", "strix-halo"),
        ("Apple M2 Ultra", "apple-m2-ultra"),
        ("Apple M4 Max", "apple-m4-max-40c"),
        ("Apple M5 Max", "apple-m5-max-40c"),
        ("Intel(R) Arc(TM) B580 Graphics", "arc-b580"),
        ("Intel(R) Arc(TM) Pro B60 Graphics", "arc-pro-b60"),
    ],
)
def test_gpus_by_the_names_of_their_drivers(name, chip):
    assert benchmarks._chip(name) == chip
    assert chip in presets.names("chips")


@pytest.mark.parametrize(
    "name",
    [
        "", "GPU", "NVIDIA H100", "NVIDIA A100", "NVIDIA L40", "NVIDIA H800 PCIe", "NVIDIA GH200",
        "NVIDIA A100-SXM4-80GB MIG 1g.10gb", "NVIDIA GeForce RTX 3080", "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4060 Ti", "NVIDIA RTX 4000 SFF Ada Generation",
        "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "AMD Radeon Graphics", "Apple M2",
        "Apple M3 Max", "Apple M4", "Apple M4 Pro", "Intel(R) Arc(TM) A770 Graphics", "NVIDIA GeForce GT 710", "../../etc/passwd",
    ],
)  # fmt: skip
def test_gpus_that_are_not_guessed(name):
    assert benchmarks._chip(name) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Apple M3 Max", "'Apple M3 Max' may be apple-m3-max-30c or apple-m3-max-40c, or another"),
        ("NVIDIA H100", "may be h100-96gb-hbm2e or h100-nvl or h100-pcie or h100-sxm"),
        ("NVIDIA GeForce RTX 3080", "may be rtx-3080 or rtx-3080-ti, or another"),
        ("NVIDIA GeForce GT 710", "'NVIDIA GeForce GT 710' names no chip for sure: --chip says which"),
        ("\x1b[2J", "does not say on which chip it ran"),
    ],
)
def test_what_is_said_of_such_a_gpu(tmp_path, name, said):
    assert said in reason(tmp_path, [{**LLAMA, "gpu_info": name}])
    assert one(tmp_path, [{**LLAMA, "gpu_info": name}], H100).chip == "h100-sxm"


@pytest.mark.parametrize("kind", ["models", "chips"])
def test_names_of_presets_are_found_as_elsewhere(kind):
    known = benchmarks._presets(kind)
    assert set(presets.names(kind)) <= set(known)
    assert all(presets.find(kind, word) == name for word, name in known.items())


@pytest.mark.parametrize(
    ("name", "model", "weights"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b", None),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama-3-8b", None),
        ("meta-llama/Llama-2-7b-chat-hf", "llama-2-7b", None),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral-7b-v0.3", None),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b-v0.1", None),
        ("google/gemma-3-27b-it", "gemma-3-27b", None),
        ("Qwen/Qwen3-30B-A3B-FP8", "qwen3-30b-a3b", "fp8"),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", "qwen2.5-72b", "int4-g128"),
        ("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int4", "qwen2.5-72b", "int4-g128"),
        ("nvidia/DeepSeek-R1-FP4", "deepseek-r1", "nvfp4"),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek-r1-0528", None),
        ("nvidia/Kimi-K2.6-NVFP4", "kimi-k2.6-nvfp4", None),
        ("/data/models/llama-3.1-8b/", "llama-3.1-8b", None),
        ("C:\\models\\gpt-oss-20b", "gpt-oss-20b", None),
        ("someone/own-model-70B-AWQ", None, "int4-g128"),
        ("", None, None),
        ("../..", None, None),
        ("x" * 5000, None, None),
    ],
)
def test_models_by_name(name, model, weights):
    assert benchmarks._model(name) == (model, weights)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("models/Qwen2.5-7B-Instruct-Q4_K_M.gguf", "qwen2.5-7b"),
        ("llama-2-7b.Q4_0.gguf", "llama-2-7b"),
        ("Llama-3.1-8B-Instruct-UD-IQ2_M.gguf", "llama-3.1-8b"),
        ("qwen2.5-72b-instruct-q8_0-00001-of-00009.gguf", "qwen2.5-72b"),
        ("gpt-oss-20b-mxfp4.gguf", "gpt-oss-20b"),
        ("gemma-3-4b-it-bf16.gguf", "gemma-3-4b"),
        ("models/llama-7b/ggml-model-q4_0.gguf", None),
    ],
)
def test_models_by_file(name, model):
    assert benchmarks._model_of_file(name) == model


def test_a_plain_name_of_apples_is_the_larger_and_that_is_noted(tmp_path):
    row = one(tmp_path, [{**LLAMA, "gpu_info": "Apple M2 Ultra"}])
    assert (row.chip, row.notes) == ("apple-m2-ultra", "taken for the larger Apple M2 Ultra")
    row = one(tmp_path, [{**PROMPT, "gpu_info": "Apple M2 Ultra"}], Stated(chip="apple-m2-ultra-60c"))
    assert (row.chip, row.notes) == ("apple-m2-ultra-60c", "ubatch 512")


# vllm bench


def test_a_closed_loop_of_vllm(tmp_path):
    assert one(tmp_path, SERVE, Stated(chip="h100-sxm", chips=1, weights="bf16")) == Measurement(
        id="vllm-serve-1",
        workflow="serving-throughput",
        model="llama-3.1-8b",
        metrics={"tok_s_instance_output": 819.2, "ttft_ms": 120.5, "tpot_ms": 14.25},
        engine="vllm",
        chip="h100-sxm",
        n_chips=1,
        software="vllm",
        weights="bf16",
        batch=64,
        input_tokens=1024,
        output_tokens=128,
        date="2025-11-03",
        source="own measurement",
        notes="640 requests, closed loop, concurrency 64",
    )


def test_appended_results_of_vllm(tmp_path):
    lines = "\n".join(json.dumps({**SERVE, "max_concurrency": size}) for size in (1, 16))
    rows = read(tmp_path, lines.encode(), H100)
    assert [(row.id, row.batch) for row in rows] == [("vllm-serve-1", 1), ("vllm-serve-2", 16)]


def test_a_printed_result_of_vllm(tmp_path):
    assert one(tmp_path, json.dumps(SERVE, indent=2).encode(), H100).batch == 64


def test_a_saturating_load(tmp_path):
    row = one(tmp_path, {**SERVE, "max_concurrency": None}, H100)
    assert (row.batch, row.notes) == (None, "640 requests, saturating load")
    assert trial(row).task == "saturated"


def test_few_requests_at_once_are_all_that_run(tmp_path):
    few = {
        **SERVE,
        "max_concurrency": None,
        "completed": 16,
        "total_input_tokens": 16384,
        "total_output_tokens": 2048,
    }
    row = one(tmp_path, few, H100)
    assert (row.batch, row.notes) == (16, "16 requests, saturating load: all at once")
    assert one(tmp_path, {**few, "max_concurrency": 64}, H100).batch == 16


def test_requests_at_a_rate_are_counted_by_littles_law(tmp_path):
    # 6.4 a second for 120.5 + 127 * 14.25 ms each are 12.35 at once.
    for limit in (None, 64):
        row = one(tmp_path, {**SERVE, "request_rate": 6.4, "max_concurrency": limit}, H100)
        assert row.batch == 12
        assert trial(row).task == "known concurrency"
    # One limit that the rate reaches, and one request a second of 5 s each.
    assert one(tmp_path, {**SERVE, "request_rate": 6.4, "max_concurrency": 13}, H100).batch == 13
    slow = {**SERVE, "request_rate": 1, "max_concurrency": None, "duration": 640.0, "mean_e2el_ms": 5000.0}
    assert one(tmp_path, slow, H100).batch == 5


def test_requests_at_a_rate_without_times(tmp_path):
    bare = without(
        SERVE, "mean_ttft_ms", "median_ttft_ms", "mean_tpot_ms", "median_tpot_ms", "max_concurrency"
    )
    assert "--max-concurrency" in reason(tmp_path, {**bare, "request_rate": 4.0}, H100)
    row = one(tmp_path, {**bare, "request_rate": 4.0, "max_concurrency": 8}, H100)
    assert (row.batch, row.metrics) == (8, {"tok_s_instance_output": 819.2})


def test_times_are_means_or_medians_or_left_out(tmp_path):
    row = one(
        tmp_path, without(SERVE, "mean_ttft_ms") | {"mean_tpot_ms": float("nan"), "median_tpot_ms": 0.0}, H100
    )
    assert row.metrics == {"tok_s_instance_output": 819.2, "ttft_ms": 110.0}


def test_metadata_of_vllm(tmp_path):
    row = one(tmp_path, {**SERVE, "tp": "4", "version": "0.11.0"}, H100)
    assert (row.tp, row.n_chips, row.software) == (4, 4, "vllm 0.11.0")
    assert one(tmp_path, {**SERVE, "tensor_parallel_size": "2"}, H100).tp == 2
    assert one(tmp_path, {**SERVE, "tp": "four", "version": "\x1b"}, H100).tp is None


def test_what_is_not_said_is_not_assumed(tmp_path):
    row = one(tmp_path, SERVE, H100)
    assert (row.n_chips, row.tp, row.weights, row.kv, row.reproducible) == (None, None, None, None, False)


def test_the_format_in_a_models_name_holds_beside_a_stated_model(tmp_path):
    row = one(
        tmp_path, {**SERVE, "model_id": "me/my-70B-AWQ"}, Stated(model="llama-3.1-70b", chip="h100-sxm")
    )
    assert (row.model, row.weights) == ("llama-3.1-70b", "int4-g128")


@pytest.mark.parametrize(
    ("backend", "engine"),
    [("vllm", "vllm"), ("openai-chat", "vllm"), ("tensorrt-llm", "tensorrt-llm"), ("sglang", "sglang"), ("tgi", "tgi"), (None, "vllm")],
)  # fmt: skip
def test_engines_behind_backends(tmp_path, backend, engine):
    assert one(tmp_path, {**SERVE, "backend": backend}, H100).engine == engine
    assert one(tmp_path, {**SERVE, "backend": backend}, H100._replace(engine="mlx")).engine == "mlx"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"completed": 0}, "no request was completed"),
        ({"completed": None}, "no request was completed"),
        ({"total_output_tokens": 0}, "total_output_tokens"),
        ({"total_input_tokens": 0}, "total_input_tokens"),
        ({"total_input_tokens": "many"}, "total_input_tokens is 'many'"),
        ({"output_throughput": 0.0}, "output_throughput is 0.0"),
        ({"output_throughput": None}, "output_throughput is missing"),
        ({"max_concurrency": -1}, "max_concurrency is -1"),
        ({"ramp_up_strategy": "linear"}, "ramp_up_strategy"),
        ({"spec_decode_num_drafts": 12}, "speculative decoding"),
        ({"model_id": "me/my-model"}, "'me/my-model' is no model that is known: --model says it"),
        (
            {"request_rate": 1.0, "duration": 1e-9, "mean_e2el_ms": 1e9, "max_concurrency": None},
            "duration is",
        ),
    ],
)
def test_a_run_of_vllm_that_is_no_row(tmp_path, change, said):
    assert said in reason(tmp_path, {**SERVE, **change}, H100)


def test_a_run_without_a_chip(tmp_path):
    assert "--chip says it" in reason(tmp_path, SERVE)


def test_benchmarks_of_vllm_that_say_too_little(tmp_path):
    totals = {"elapsed_time": 9.5, "num_requests": 1000, "total_num_tokens": 384000, "requests_per_second": 105.2, "tokens_per_second": 40421.0}  # fmt: skip
    assert "one total: run vllm bench serve" in reason(tmp_path, totals, H100)
    latency = {"avg_latency": 1.1, "latencies": [1.1, 1.1], "percentiles": {"50": 1.1}}
    assert "neither batch nor lengths" in reason(tmp_path, latency, H100)


def test_a_run_of_sglang(tmp_path):
    row = one(tmp_path, SGLANG, Stated(model="qwen3-8b", chip="h200-sxm"))
    assert (row.id, row.engine, row.batch, row.input_tokens, row.output_tokens) == (
        "sglang-bench-1", "sglang", 32, 1024, 128
    )  # fmt: skip
    assert row.metrics == {"tok_s_instance_output": 1280.0, "ttft_ms": 90.0, "tpot_ms": 23.0}
    assert "which model ran: --model" in reason(tmp_path, SGLANG, H100)
    assert "speculative" in reason(tmp_path, {**SGLANG, "accept_length": 2.4}, H100)


# trtllm-bench


def test_a_report_of_tensorrt_llm(tmp_path):
    row = one(tmp_path, TENSORRT)
    assert row == Measurement(
        id="trtllm-bench-1",
        workflow="serving-throughput",
        model="llama-3.1-70b",
        metrics={"tok_s_instance_output": 6380.0, "ttft_ms": 410.0, "tpot_ms": 37.0},
        engine="tensorrt-llm",
        chip="h100-sxm",
        n_chips=4,
        software="TensorRT-LLM 1.2.0rc1",
        weights="fp8",
        kv="fp8",
        tp=2,
        pp=2,
        batch=256,
        input_tokens=1024,
        output_tokens=128,
        source="own measurement",
        notes="3000 requests, mean concurrency 256",
    )
    assert trial(row).task == "known concurrency"


def test_more_requests_than_run_saturate(tmp_path):
    row = one(tmp_path, report(world_info={"max_batch_size": 64}))
    assert (row.batch, row.notes) == (64, "3000 requests, saturating load, max_batch_size 64")
    assert trial(row).task == "saturated"
    assert one(tmp_path, report(world_info={"max_batch_size": 64, "ep_size": 4})).batch is None


def test_a_report_without_a_stream_or_a_machine(tmp_path):
    bare = without(TENSORRT, "streaming_metrics", "machine")
    assert "--chip says it" in reason(tmp_path, bare)
    assert one(tmp_path, bare, H100).metrics == {"tok_s_instance_output": 6380.0}
    assert one(tmp_path, {**bare, "machine": None}, H100).chip == "h100-sxm"


@pytest.mark.parametrize(
    ("engine", "formats"),
    [
        ({"quantization": None, "kv_cache_dtype": None}, ("bf16", "bf16", None)),
        ({"quantization": None, "kv_cache_dtype": "FP8", "dtype": "float16"}, ("fp16", "fp8", None)),
        ({"quantization": "NVFP4"}, ("nvfp4", "fp8", None)),
        ({"quantization": "FP8_BLOCK_SCALES", "kv_cache_dtype": "auto"}, ("fp8-b128", "bf16", None)),
        ({"quantization": "W4A16_AWQ"}, ("int4-g128", "fp8", "bf16")),
        ({"quantization": "W4A8_AWQ"}, ("int4-g128", "fp8", "fp8")),
        ({"quantization": "W4A8_MXFP4_FP8"}, ("mxfp4", "fp8", "fp8")),
        ({"quantization": "W8A16", "kv_cache_dtype": "INT8"}, ("int8", "int8", "bf16")),
        ({"quantization": None, "kv_cache_dtype": None, "dtype": "odd"}, (None, None, None)),
    ],
)
def test_formats_of_tensorrt_llm(tmp_path, engine, formats):
    row = one(tmp_path, report(engine=engine))
    assert (row.weights, row.kv, row.acts) == formats


def test_formats_of_tensorrt_llm_are_formats_here():
    names = {weights for weights, _ in benchmarks._ALGORITHMS.values()} | set(benchmarks._CACHES.values())
    assert names | set(benchmarks._ENDINGS.values()) <= set(format_names())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"engine": {"quantization": "MIXED_PRECISION"}},
            "quantization is 'MIXED_PRECISION': --weights says",
        ),
        ({"engine": {"quantization": ["FP8"]}}, "quantization is ['FP8']"),
        ({"engine": {"kv_cache_dtype": "odd"}}, "kv_cache_dtype is 'odd': --kv says"),
        ({"engine": 7}, "engine is 7"),
        ({"world_info": None}, "world_info is missing"),
        ({"world_info": {"tp_size": 0.5}}, "tp_size is 0.5"),
        ({"world_info": {"ep_size": 0.5}}, "ep_size is 0.5"),
        ({"world_info": {"world_size": 10**9}}, "world_size is 1000000000"),
        ({"request_info": {"avg_input_length": None}}, "avg_input_length is missing"),
        ({"request_info": {"avg_output_length": 0.0}}, "avg_output_length is 0.0"),
        (
            {"request_info": {"avg_num_concurrent_requests": float("nan")}},
            "avg_num_concurrent_requests is nan",
        ),
        ({"performance": {"system_output_throughput_tok_s": 0}}, "system_output_throughput_tok_s is 0"),
        ({"decoding_stats": {"mode": "MTP"}}, "speculative decoding"),
    ],
)
def test_a_report_that_is_no_row(tmp_path, changes, said):
    assert said in reason(tmp_path, report(**changes))


def test_stated_formats_stand_for_unknown_ones(tmp_path):
    odd = report(engine={"quantization": "MIXED_PRECISION", "kv_cache_dtype": "odd"})
    row = one(tmp_path, odd, Stated(weights="fp8", kv="bf16"))
    assert (row.weights, row.kv) == ("fp8", "bf16")
    awq = report(engine={"quantization": "W4A8_AWQ"})
    assert one(tmp_path, awq, Stated(weights="bf16")).acts is None


def test_a_world_without_its_size(tmp_path):
    world = without(TENSORRT["world_info"], "world_size", "max_batch_size")
    row = one(tmp_path, {**TENSORRT, "world_info": world | {"ep_size": -1}})
    assert (row.n_chips, row.ep) == (4, None)


# What the user states


ALL = Stated("llama-2-7b", "mi300x", 2, "mine", "q8_0", "q4_0", 2)


@pytest.mark.parametrize(
    "sample", [{**LLAMA, "model_n_params": 6738415616}, SERVE, SGLANG, TENSORRT], ids=["llama", "vllm", "sglang", "trt"]
)  # fmt: skip
def test_what_is_stated_wins(tmp_path, sample):
    row = one(tmp_path, [sample], ALL)
    assert Stated(row.model, row.chip, row.n_chips, row.engine, row.weights, row.kv, row.tp) == ALL


@pytest.mark.parametrize("stated", [Stated(chips=0), Stated(chips=10**9), Stated(tp=-1)])
def test_numbers_of_chips_that_are_none(tmp_path, stated):
    assert isinstance(one(tmp_path, [LLAMA], stated), Broken)


def test_rows_of_the_schema_pass_and_are_filled(tmp_path):
    full = {
        **ROW,
        "id": "b",
        "chip": "rtx-4090",
        "n_chips": 1,
        "engine": "vllm",
        "weights": "bf16",
        "kv": "bf16",
        "tp": 1,
    }
    lines = "\n".join(json.dumps(row) for row in (ROW, full, {"id": "c"}))
    first, second, third = read(tmp_path, lines.encode(), ALL)
    assert (first.model, first.chip, first.n_chips, first.engine) == ("llama-2-7b", "mi300x", 2, "mine")
    assert (first.weights, first.kv, first.tp) == ("q8_0", "q4_0", 2)
    assert second == Measurement(**full)
    assert third.id == "c"


def test_one_row_of_the_schema(tmp_path):
    assert one(tmp_path, ROW) == Measurement(**ROW)


# Files


def test_utf_16_and_a_mark_in_front(tmp_path):
    text = json.dumps([LLAMA])
    assert one(tmp_path, text.encode("utf-16")).id == "llama-bench-1"
    assert one(tmp_path, text.encode("utf-8-sig")).id == "llama-bench-1"


def test_messages_in_front_of_a_document(tmp_path):
    text = (
        "ggml_vulkan: Found 1 Vulkan devices:\n"
        + json.dumps([LLAMA], indent=2)
        + "\nbuild: 8cf427ff (5163)\n"
    )
    assert one(tmp_path, text.encode()).id == "llama-bench-1"


@pytest.mark.parametrize(
    "content",
    [b"", b" \n", b"[]", b"{", b"7", b"null", b'"text"', b"\xff\xfe", b"\x00", b"[" * 100_000, b"[\n" * 100_000,
     b"| model | size |\n| ----- | ---- |\n", b"[{}, 1]", b"[\n  {\n", b"1" * 5000,
     json.dumps([ROW]).encode(), b'{"n_gen": 1,\n"n_prompt": 2}'],
)  # fmt: skip
def test_a_file_without_results(tmp_path, content):
    with pytest.raises(FileError) as caught:
        read(tmp_path, content)
    assert "bench.json" in caught.value.message


def test_the_hint_names_the_options(tmp_path):
    with pytest.raises(FileError) as caught:
        read(tmp_path, b"| model | size |")
    assert all(word in caught.value.hint for word in ("-o json", "--save-result", "--report_json"))


def test_an_empty_list(tmp_path):
    with pytest.raises(FileError, match="has no results"):
        read(tmp_path, [])


def test_no_such_file(tmp_path):
    with pytest.raises(FileError, match="there is no such file"):
        list(read_benchmark(tmp_path / "none.json", NOTHING))


def test_files_and_lists_that_are_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks, "MOST_RESULTS", 2)
    with pytest.raises(FileError, match="has more than 2 results"):
        read(tmp_path, [LLAMA] * 3)
    with pytest.raises(FileError, match="has more than 2 results"):
        read(tmp_path, b"\n".join([json.dumps(LLAMA).encode()] * 4))
    monkeypatch.setattr(benchmarks, "LARGEST_RESULTS_BYTES", 500)
    with pytest.raises(FileError, match="of a benchmark at most 500"):
        read(tmp_path, json.dumps([LLAMA], indent=2).encode())
    rows = "\n".join(json.dumps({**ROW, "id": str(number)}) for number in range(20))
    assert len(read(tmp_path, rows.encode())) == 20
    monkeypatch.setattr(benchmarks, "LARGEST_FILE_BYTES", 1001)
    with pytest.raises(FileError, match="at most 1,001"):
        read(tmp_path, rows.encode())


KEYS = sorted(
    {*LLAMA, *SERVE, *SGLANG, *TENSORRT, *(key for table in TENSORRT.values() for key in table), *ROW}
    | {
        "tp",
        "version",
        "ramp_up_strategy",
        "mean_e2el_ms",
        "elapsed_time",
        "tokens_per_second",
        "avg_latency",
    }
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 1, -1, 10**400, 1e308, 1e-308, float("inf")])
WORDS = st.text(max_size=20) | st.sampled_from(
    ["inf", "NVIDIA H100 80GB HBM3", "llama 8B Q4_0", "qwen3-8b", "f16", "FP8", "row", "\ud800", "a/b", "-"]
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=8),
    max_leaves=20,
)
FUZZ = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@st.composite
def results(draw):
    """A sample with some entries, also of its tables, replaced by anything or left out."""
    sample = dict(draw(st.sampled_from([LLAMA, PROMPT, SERVE, SGLANG, TENSORRT])))
    for name, table in list(sample.items()):
        if isinstance(table, dict):
            sample[name] = table | draw(st.dictionaries(st.sampled_from(sorted(table)), JSON, max_size=3))
    sample |= draw(st.dictionaries(st.sampled_from(sorted(sample)), JSON, max_size=4))
    return without(sample, *draw(st.lists(st.sampled_from(sorted(sample)), max_size=2)))


def check(found):
    names = [row.id for row in found if row.id.rpartition("-")[2].isdigit()]
    assert len(set(names)) == len(names)
    for row in found:
        assert isinstance(row, Measurement | Broken)
        if isinstance(row, Measurement) and row.source == "own measurement":
            assert row.model
            assert row.chip
            assert all(isinstance(value, float) and 0 < value < 1e19 for value in row.metrics.values())
            counts = (
                row.n_chips,
                row.tp,
                row.pp,
                row.ep,
                row.batch,
                row.output_tokens or 1,
                row.input_tokens,
            )
            assert all(count is None or (type(count) is int and 0 <= count <= 10**13) for count in counts)
            json.dumps(row.software + row.notes + row.date).encode()
            assert (row.software + row.notes + row.date).isprintable()
            trial(row)


@FUZZ
@given(st.lists(results() | JSON, max_size=4), st.booleans(), st.sampled_from([NOTHING, H100, ALL]))
@example([{**LLAMA, "model_filename": "\ud800.gguf", "gpu_info": "\ud800"}], False, H100)
@example([{**SERVE, "tp": [[[]]], "backend": {}, "request_rate": [], "date": 7}], True, H100)
def test_whatever_stands_there_is_a_row_or_broken(tmp_path, values, lines, stated):
    content = "\n".join(json.dumps(value) for value in values) if lines else json.dumps(values)
    with suppress(FileError):
        check(read(tmp_path, content.encode(), stated))


@FUZZ
@given(st.binary(max_size=200), st.integers(min_value=0, max_value=900))
def test_whatever_bytes(tmp_path, content, start):
    whole = json.dumps([SERVE]).encode()
    with suppress(FileError):
        check(read(tmp_path, whole[:start] + content + whole[start:], H100))
