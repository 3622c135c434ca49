"""What benchmark tools write, as rows of measurements: llama-bench, vLLM's, SGLang's and TensorRT-LLM's benchmarks.

Which tool wrote a file follows from its keys. What it does not say of the machine the caller states. Nothing is
guessed: a result that leaves open what ran, or on what, is broken and names the option that says it.

References, for keys and what they count: ggml-org/llama.cpp tools/llama-bench/llama-bench.cpp (`-o json`,
`-o jsonl`); vllm-project/vllm vllm/benchmarks/serve.py (`--save-result`, `--append-result`), throughput.py and
latency.py (`--output-json`); sgl-project/sglang python/sglang/bench_serving.py (`--output-file`);
NVIDIA/TensorRT-LLM tensorrt_llm/bench/dataclasses/reporting.py and statistics.py (`--report_json`).
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import islice
from math import isfinite
from os.path import join
from typing import Any, NamedTuple

from memcalc.errors import FileError
from memcalc.measurement import Measurement
from memcalc.precision import format_names
from memcalc.readers import presets
from memcalc.readers.measurements import LARGEST_FILE_BYTES, Broken, read_measurements
from memcalc.readers.regular import Path, file_name, read_head, shown

#: Bounds that no result in use comes near: a parsed document takes some twenty times its bytes.
LARGEST_RESULTS_BYTES, MOST_RESULTS = 2**26, 100_000
_LARGEST_COUNT, _MOST_CHIPS = 10**12, 10**5
_SLOWEST, _FASTEST = 1e-9, 1e18

#: Names of GPUs as drivers write them, without makers and brands, where no preset is called so (NVIDIA/
#: open-gpu-kernel-modules README.md, table of compatible GPUs; vllm-project/vllm, names of the files in
#: vllm/model_executor/layers/fused_moe/configs). Each die of an MI250X is a device of its own.
_GPUS = {
    "h100-80gb-hbm3": "h100-sxm", "h200": "h200-sxm", "b300-sxm6-ac": "b300", "gb10": "dgx-spark",
    "gh200-480gb": "gh200-96gb", "gh200-144g-hbm3e": "gh200-141gb",
    "a100-sxm4-80gb": "a100-sxm-80gb", "a100-sxm4-40gb": "a100-sxm-40gb", "a100-80gb-pcie": "a100-pcie-80gb",
    "rtx-6000-ada-generation": "rtx-6000-ada", "rtx-5000-ada-generation": "rtx-5000-ada",
    "rtx-4000-ada-generation": "rtx-4000-ada",
    "rtx-pro-6000-blackwell-workstation-edition": "rtx-pro-6000",
    "rtx-pro-6000-blackwell-server-edition": "rtx-pro-6000",
    "mi250x": "mi250x-gcd", "ai-pro-r9700": "r9700", "8060s": "strix-halo",
}  # fmt: skip
#: Names that cards of unlike bandwidth share: an RTX 3080 has 10 or 12 GB, an Arc A770 8 or 16 GB.
_SHARED = ("rtx-3080", "arc-a770")
_BRANDS = ("nvidia", "amd", "intel", "tesla", "geforce", "radeon", "instinct", "graphics")

#: The mixtures of llama.cpp's files by the words that end its description of a model (ggml-org/llama.cpp
#: src/llama-model-loader.cpp, `llama_ftype_name`; before 2024 "mostly" stood before them). Repacked, ternary and
#: one-bit types have no format here.
_MIXTURES = {
    "all f32": "fp32", "f16": "fp16", "bf16": "bf16", "mxfp4 moe": "mxfp4", "nvfp4": "nvfp4",
    "q4_0": "q4_0", "q4_1": "q4_1", "q5_0": "q5_0", "q5_1": "q5_1", "q8_0": "q8_0", "q6_k": "q6_k",
    "q2_k": "q2_k", "q2_k - medium": "q2_k", "q2_k - small": "q2_k_s",
    "q3_k - small": "q3_k_s", "q3_k - medium": "q3_k_m", "q3_k - large": "q3_k_l",
    "q4_k - small": "q4_k_s", "q4_k - medium": "q4_k_m", "q5_k - small": "q5_k_s", "q5_k - medium": "q5_k_m",
    "iq1_s - 1.5625 bpw": "iq1_s", "iq1_m - 1.75 bpw": "iq1_m",
    "iq2_xxs - 2.0625 bpw": "iq2_xxs", "iq2_xs - 2.3125 bpw": "iq2_xs", "iq2_s - 2.5 bpw": "iq2_s",
    "iq2_m - 2.7 bpw": "iq2_m", "iq3_xxs - 3.0625 bpw": "iq3_xxs", "iq3_xs - 3.3 bpw": "iq3_xs",
    "iq3_s - 3.4375 bpw": "iq3_s", "iq3_s mix - 3.66 bpw": "iq3_m",
    "iq4_nl - 4.5 bpw": "iq4_nl", "iq4_xs - 4.25 bpw": "iq4_xs",
}  # fmt: skip
_PLAIN = {
    "f16": "fp16", "f32": "fp32", "float16": "fp16", "float32": "fp32", "bfloat16": "bf16",
}  # fmt: skip

#: Weights and, where they are not what such weights use anyway, activations of TensorRT-LLM's algorithms
#: (NVIDIA/TensorRT-LLM tensorrt_llm/quantization/mode.py, `QuantAlgo`). "16": the model's own 16 bits.
_ALGORITHMS: dict[str, tuple[str, str | None]] = {
    "FP8": ("fp8", None), "FP8_PER_CHANNEL_PER_TOKEN": ("fp8", None), "FP8_BLOCK_SCALES": ("fp8-b128", None),
    "NVFP4": ("nvfp4", None), "NVFP4_AWQ": ("nvfp4", None), "W4A8_NVFP4_FP8": ("nvfp4", "fp8"),
    "W4A16_MXFP4": ("mxfp4", "16"), "W4A8_MXFP4_FP8": ("mxfp4", "fp8"), "W4A8_MXFP4_MXFP8": ("mxfp4", "fp8"),
    "W4A16": ("int4-g128", "16"), "W4A16_AWQ": ("int4-g128", "16"), "W4A16_GPTQ": ("int4-g128", "16"),
    "W4A8_AWQ": ("int4-g128", "fp8"), "W4A8_QSERVE_PER_GROUP": ("int4-g128", "int8"),
    "W8A16": ("int8", "16"), "W8A16_GPTQ": ("int8-g128", "16"),
    "W8A8_SQ_PER_CHANNEL": ("int8", None), "W8A8_SQ_PER_TENSOR_PLUGIN": ("int8", None),
    "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN": ("int8", None),
    "W8A8_SQ_PER_CHANNEL_PER_TENSOR_PLUGIN": ("int8", None),
    "W8A8_SQ_PER_TENSOR_PER_TOKEN_PLUGIN": ("int8", None),
}  # fmt: skip
_CACHES = {"FP8": "fp8", "INT8": "int8", "NVFP4": "nvfp4"}

#: Endings of checkpoints' names that tell the format of their weights, the longest first.
_ENDINGS = {
    "-quantized.w4a16": "int4-g128", "-quantized.w8a8": "int8", "-gptq-int4": "int4-g128", "-fp8-dynamic": "fp8",
    "-awq": "int4-g128", "-nvfp4": "nvfp4", "-mxfp4": "mxfp4", "-fp8": "fp8", "-fp4": "nvfp4", "-bf16": "bf16",
}  # fmt: skip
#: Words of checkpoints' names that leave the architecture as it is.
_TUNED = ("instruct", "chat", "it", "hf", "base")
#: The engine behind a backend; those that speak OpenAI's protocol are taken for the tool's own.
_BACKENDS = {
    "tensorrt-llm": "tensorrt-llm", "trt": "tensorrt-llm", "sglang": "sglang", "sglang-native": "sglang",
    "sglang-oai": "sglang", "sglang-oai-chat": "sglang", "vllm": "vllm", "vllm-chat": "vllm", "tgi": "tgi",
    "lmdeploy": "lmdeploy", "lmdeploy-chat": "lmdeploy", "scalellm": "scalellm", "deepspeed-mii": "deepspeed-mii",
}  # fmt: skip
#: Up to so many requests that start together run together: vLLM's usual `--max-num-seqs`.
_ALL_AT_ONCE = 256
#: A model whose parameters differ from the file's by a larger factor is another one. Less may be a vision tower
#: that is left out, MTP layers, or an embedding that is stored twice.
_OTHER_MODEL = 1.35
#: Longer texts and names are none that a tool writes.
_LONGEST_TEXT, _LONGEST_NAME = 1000, 100


class Stated(NamedTuple):
    """What a user says of the run; None: the file has to. It wins over what a tool wrote."""

    model: str | None = None
    chip: str | None = None
    chips: int | None = None
    engine: str | None = None
    weights: str | None = None
    kv: str | None = None
    tp: int | None = None


class _UnclearError(Exception):
    """A result that is no row, and why."""


Result = Mapping[str, Any]


def read_benchmark(path: Path, stated: Stated) -> Iterator[Measurement | Broken]:
    r"""The rows of a file, broken ones in their place; FileError where it has none.

    A file of rows of the schema is read as `read_measurements` reads it, and what is stated fills only what its
    rows leave out. Speeds are in tokens/s, times in ms, as the names of the metrics say; of times the mean is
    taken, the median where there is no mean.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "bench.json")
    ...     with open(file, "w", encoding="utf-8") as out:
    ...         _ = out.write('[{"build_commit": "c76b420", "model_type": "llama 7B Q4_0", "n_prompt": 0,'
    ...             '"n_gen": 128, "avg_ts": 158.1, "gpu_info": "NVIDIA GeForce RTX 3090"}]')
    ...     [row] = read_benchmark(file, Stated(model="llama-2-7b"))
    >>> row.chip, row.weights, row.context_tokens, row.metrics
    ('rtx-3090', 'q4_0', 64, {'tok_s_user': 158.1})
    """
    results = _results(path)
    if results is None:
        for row in read_measurements(path):
            yield row if isinstance(row, Broken) else _filled(row, stated)
        return
    for number, result in enumerate(results, 1):
        tool, reader = _tool(result)
        name = f"{tool}-{number}"
        try:
            yield _finished(name, reader(result, stated), stated)
        except _UnclearError as error:
            yield Broken(name, str(error))


def _results(path: Path) -> list[Any] | None:
    """The results of tools in a file, None in the place of what is not JSON; None where it has rows of the schema."""
    name = file_name(path)
    content, size = read_head(path, LARGEST_FILE_BYTES)
    if size > len(content):
        raise FileError(f"{name}: has {size:,} bytes, at most {LARGEST_FILE_BYTES:,} are read")
    if not content.strip():
        raise FileError(f"{name}: is empty")
    if len(content) > LARGEST_RESULTS_BYTES:
        if isinstance(_parsed(content.lstrip().partition(b"\n")[0][:LARGEST_RESULTS_BYTES]), dict):
            return None
        raise FileError(
            f"{name}: has {size:,} bytes, of a benchmark at most {LARGEST_RESULTS_BYTES:,} are read",
            "vllm bench serve writes less without --save-detailed",
        )
    # A redirection in PowerShell writes UTF-16.
    wide = content.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
    text = content.decode("utf-16" if wide else "utf-8-sig", errors="replace").strip()
    whole = _parsed(text)
    if isinstance(whole, dict) and not _is_result(whole) and "\n" not in text:
        return None
    found = whole if isinstance(whole, list) else [whole]
    if whole is None:
        # Not `splitlines`: it also divides at characters that JSON allows in a text.
        lines = (line[0] for line in re.finditer(r"[^\n]+", text) if not line[0].isspace())
        found = [_parsed(line) for line in islice(lines, MOST_RESULTS + 1)]
        if not any(_is_result(entry) for entry in found):
            if any(isinstance(entry, dict) for entry in found):
                return None
            found = _behind_messages(text)
    if whole == []:
        raise FileError(f"{name}: has no results")
    if not any(_is_result(entry) for entry in found):
        raise FileError(
            f"{name}: has no result of a benchmark that is known",
            "llama-bench writes one with -o json, vllm bench serve with --save-result, trtllm-bench with "
            "--report_json; rows of measurements are one JSON object on a line",
        )
    if len(found) > MOST_RESULTS:
        raise FileError(f"{name}: has more than {MOST_RESULTS:,} results")
    return found


def _parsed(text: str | bytes) -> Any:
    """A JSON value, None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _behind_messages(text: str) -> list[Any]:
    """The results of a document behind lines that the tool wrote for its user."""
    start = re.search(r"^[\[{][ \t\r]*$", text, re.MULTILINE)
    try:
        whole = json.JSONDecoder().raw_decode(text, start.start())[0] if start else None
    except (ValueError, RecursionError):
        whole = None
    return whole if isinstance(whole, list) else [whole]


def _is_result(value: Any) -> bool:
    return isinstance(value, dict) and any(keys <= value.keys() for keys, _, _ in _TOOLS)


def _tool(result: Any) -> tuple[str, Callable[[Result, Stated], dict[str, Any]]]:
    """The name of the tool that wrote a result, and what reads it."""
    if isinstance(result, dict):
        for keys, tool, reader in _TOOLS:
            if keys <= result.keys():
                return tool, reader
    return "result", _unknown


def _unknown(result: Any, _: Stated) -> dict[str, Any]:
    raise _UnclearError("is not JSON" if result is None else "is not a result of a benchmark that is known")


def _llama_bench(result: Result, stated: Stated) -> dict[str, Any]:
    """One test of llama-bench: `avg_ts` [tokens/s] counts what its kind processes, over one sequence.

    A test of generation starts behind `n_depth` tokens, so its mean context is n_depth + n_gen / 2.
    """
    prompt, output, depth = (_count(result, key) or 0 for key in ("n_prompt", "n_gen", "n_depth"))
    if prompt and output:
        raise _UnclearError("mixes prompt and generation in one speed (-pg): run them as -p and -n")
    if not (prompt or output):
        raise _UnclearError("has neither n_prompt nor n_gen")
    if prompt and depth:
        raise _UnclearError("prefills behind a context that is there (n_depth): not a prompt of its own")
    name = _text(result, "model_filename")
    model = stated.model or _model_of_file(name)
    words = _text(result, "gpu_info")
    gpus = _gpus(result, words)
    if words:
        _on_chip(result, model)
    _same_model(result, model)
    row: dict[str, Any] = {
        "engine": "llama.cpp",
        "software": _llama_build(result),
        "date": _date(_text(result, "test_time")),
        "model": model,
        "named": name,
        "weights": stated.weights or _mixture(_text(result, "model_type")),
        "kv": stated.kv or _llama_cache(result),
        "batch": 1,
        "gpu": gpus[0] if len(set(gpus)) == 1 else words,
        "n_chips": len(gpus) if len(set(gpus)) == 1 else None,
    }
    row |= _split(result, stated.chips or row["n_chips"], stated.tp)
    speed = _speed(result, "avg_ts")
    if output:
        return row | {
            "workflow": "decode",
            "input_tokens": depth,
            "output_tokens": output,
            "context_tokens": depth + output // 2,
            "metrics": {"tok_s_user": speed},
        }
    chunk = _count(result, "n_ubatch")
    return row | {
        "workflow": "prefill",
        "input_tokens": prompt,
        "output_tokens": 0,
        "metrics": {"prefill_tok_s": speed},
        "notes": f"ubatch {chunk}" if chunk else "",
    }


def _llama_build(result: Result) -> str:
    number, commit = result.get("build_number"), _text(result, "build_commit")
    parts = ["llama.cpp"]
    if isinstance(number, int) and 0 < number < _LARGEST_COUNT:
        parts.append(f"b{number:d}")
    parts += [word for word in (commit, _text(result, "backends")) if re.fullmatch(r"[\w.,+ -]{1,60}", word)]
    return " ".join(parts)


def _llama_cache(result: Result) -> str | None:
    """The format of keys and values; before 2024 a flag told whether it was fp16."""
    keys, values = _text(result, "type_k").lower(), _text(result, "type_v").lower()
    if not keys:
        half = result.get("f16_kv")
        return {True: "fp16", False: "fp32"}[half] if isinstance(half, bool) else None
    if values and keys != values:
        raise _UnclearError(
            f"keys are {shown(keys)} and values {shown(values)}: --kv says what stands for both"
        )
    found = _PLAIN.get(keys, keys)
    if found not in format_names():
        raise _UnclearError(f"type_k is {shown(keys)}, which is no format that is known: --kv says which")
    return found


def _mixture(words: str) -> str:
    """The format of the weights at the end of a description like "llama 8B Q4_K - Medium"."""
    text = words.lower().replace("(guessed)", " ").replace("mostly ", "").rstrip()
    found = next((end for end in sorted(_MIXTURES, key=len, reverse=True) if text.endswith(" " + end)), None)
    if found is None:
        raise _UnclearError(
            f"model_type is {shown(words)}, which names no format that is known: --weights says it"
        )
    return _MIXTURES[found]


def _gpus(result: Result, words: str) -> list[str]:
    """The names of the GPUs that took part; all that there were where the file does not say which.

    Names are divided by commas, before 2024 by slashes.
    """
    names = [name.strip() for name in words.split(",") if name.strip()]
    parts = [name.strip() for name in words.split("/")]
    if len(names) == 1 and len(set(parts)) == 1:
        names = parts
    main = _count(result, "main_gpu") or 0
    if _text(result, "split_mode") == "none" and main < len(names):
        return [names[main]]
    chosen = _text(result, "devices")
    if chosen and chosen not in ("auto", "0") and len(set(names)) == 1:
        return names[: len(chosen.split("/"))]
    return names


def _split(result: Result, chips: int | None, tensor: int | None) -> dict[str, Any]:
    """How a model is divided over several GPUs: by layers unless --split-mode says rows or tensors."""
    if not chips:
        return {}
    if tensor is None:
        tensor = chips if _text(result, "split_mode") in ("row", "tensor") else 1
    return {"tp": tensor, "pp": chips // tensor} if tensor and chips % tensor == 0 else {}


def _on_chip(result: Result, model: str | None) -> None:
    """Refuse a run of which a part stayed on the CPU: its speed is that of no chip."""
    layers = result.get("n_gpu_layers")
    if isinstance(layers, int) and layers >= 0 and not isinstance(layers, bool):
        depth = _size(model)[0] if model else 0
        if layers == 0:
            raise _UnclearError("ran on the CPU: n_gpu_layers is 0")
        if layers <= depth:
            # One more than the layers takes the output projection along.
            raise _UnclearError(
                f"ran in part on the CPU: n_gpu_layers is {layers}, and {depth + 1} hold the whole model"
            )
    if _text(result, "devices") == "none":
        raise _UnclearError("ran on the CPU: devices is none")
    if _count(result, "n_cpu_moe"):
        raise _UnclearError("ran in part on the CPU: n_cpu_moe keeps experts there")
    if result.get("no_kv_offload") is True:
        raise _UnclearError("ran in part on the CPU: no_kv_offload keeps the KV cache there")
    if "CPU" in _text(result, "tensor_buft_overrides"):
        raise _UnclearError("ran in part on the CPU: tensor_buft_overrides keep tensors there")


def _same_model(result: Result, model: str | None) -> None:
    """Refuse a model that is not the file's: a file may have several, and the user states one."""
    counted = _count(result, "model_n_params")
    known = _size(model)[1] if model else 0
    if counted and known and not 1 / _OTHER_MODEL <= counted / known <= _OTHER_MODEL:
        raise _UnclearError(
            f"the file's model has {counted:,} parameters, {shown(model)[1:-1]} has {known:,}"
        )


@cache
def _size_of(preset: str) -> tuple[int, int]:
    found = presets.load_model(preset)
    return sum(group.count for group in found.layers), found.parameters


def _size(model: str) -> tuple[int, int]:
    """Layers and parameters of a model; zeros where it is not known."""
    found = _presets("models").get(model.lower())
    return _size_of(found) if found else (0, 0)


def _serving(result: Result, stated: Stated) -> dict[str, Any]:
    """A run of `vllm bench serve`, or of SGLang's tool that grew from the same: one server under a load."""
    if result.get("spec_decode_num_drafts") or (_finite(result.get("accept_length")) or 0.0) > 1.0:
        raise _UnclearError("ran with speculative decoding, and the file does not say by which drafts")
    done = _count(result, "completed") or 0
    if not done:
        raise _UnclearError("no request was completed")
    prompt = (_count(result, "total_input_tokens") or 0) / done
    output = (_count(result, "total_output_tokens") or 0) / done
    for key, mean in (("total_input_tokens", prompt), ("total_output_tokens", output)):
        if mean < 1:
            raise _UnclearError(f"{key} is {'missing' if result.get(key) is None else shown(result[key])}")
    metrics = {"tok_s_instance_output": _speed(result, "output_throughput")}
    metrics |= {name: time for name in ("ttft_ms", "tpot_ms") if (time := _time(result, name))}
    at_once, load = _load(result, done, output)
    # SGLang's tool has no name of the model, and its keys tell it apart.
    own = "sglang" if "total_output_tokens_retokenized" in result else "vllm"
    engine = _BACKENDS.get(_text(result, "backend"), own)
    name = _text(result, "model_id")
    model, weights = _model(name)
    version = _text(result, "version")
    return {
        "workflow": "serving-throughput",
        "engine": engine,
        "software": f"{engine} {version}".strip() if re.fullmatch(r"[\w.+-]{0,60}", version) else engine,
        "date": _date(_text(result, "date")),
        "model": stated.model or model,
        "named": name,
        "weights": weights,
        "tp": _metadata(result, "tp") or _metadata(result, "tensor_parallel_size"),
        "batch": at_once,
        "input_tokens": round(prompt),
        "output_tokens": round(output),
        "metrics": metrics,
        "notes": load,
    }


def _load(result: Result, done: int, output: float) -> tuple[int | None, str]:
    """Requests at once, None where the load saturates the server, and words for it.

    Requests that come at a rate are as many as Little's law says: rate * mean latency.
    """
    if result.get("ramp_up_strategy") is not None:
        raise _UnclearError("the load changed during the run (ramp_up_strategy)")
    limit = _count(result, "max_concurrency")
    rate = result.get("request_rate")
    if rate in (None, "inf", float("inf")):
        if limit:
            return min(limit, done), f"{done} requests, closed loop, concurrency {limit}"
        if done <= _ALL_AT_ONCE:
            return done, f"{done} requests, saturating load: all at once"
        return None, f"{done} requests, saturating load"
    seconds, latency = _time(result, "duration"), _latency_ms(result, output)
    if seconds and latency:
        waiting = done / seconds * latency / 1e3
        if waiting > _LARGEST_COUNT:
            raise _UnclearError(f"duration is {seconds:g}")
        if not limit or waiting < 0.8 * limit:
            at_once = max(1, round(waiting))
            return at_once, f"{done} requests by a clock, concurrency {at_once} by Little's law"
    if not limit:
        raise _UnclearError(
            "requests came at a rate, and without mean times it is not known how many ran at once: "
            "run it with --max-concurrency"
        )
    return min(limit, done), f"{done} requests by a clock, concurrency {limit} at most"


def _latency_ms(result: Result, output: float) -> float | None:
    """Mean time of a request [ms]: as reported, or time to the first token and those of the others."""
    for key in ("mean_e2el_ms", "mean_e2e_latency_ms"):
        if found := _time(result, key):
            return found
    first, each = _time(result, "ttft_ms"), _time(result, "tpot_ms")
    return first + each * (output - 1) if first and each else None


def _totals(_: Result, __: Stated) -> dict[str, Any]:
    raise _UnclearError(
        "vllm bench throughput writes prompt and output tokens as one total: run vllm bench serve"
    )


def _latency(_: Result, __: Stated) -> dict[str, Any]:
    raise _UnclearError(
        "vllm bench latency writes neither batch nor lengths of prompt and output: run vllm bench serve"
    )


def _tensorrt(result: Result, stated: Stated) -> dict[str, Any]:
    """A report of `trtllm-bench throughput` or `latency`."""
    engine, world = _table(result, "engine"), _table(result, "world_info")
    asked, speed = _table(result, "request_info"), _table(result, "performance")
    if result.get("decoding_stats") is not None:
        raise _UnclearError(
            "ran with speculative decoding, which rows do not tell by the drafts of this tool"
        )
    tensor, pipeline = _chips(world, "tp_size") or 1, _chips(world, "pp_size") or 1
    experts = world.get("ep_size")
    machine = result.get("machine")
    metrics = {"tok_s_instance_output": _speed(speed, "system_output_throughput_tok_s")}
    streamed = result.get("streaming_metrics")
    if isinstance(streamed, dict):
        for name in ("ttft_ms", "tpot_ms"):
            if time := _time(streamed, name, "avg_"):
                metrics[name] = time
    name = _text(engine, "model")
    model = stated.model or _model(name)[0]
    weights, kv, acts = _tensorrt_formats(engine, stated)
    # Left to the engine it is null or -1.
    expert = _chips(world, "ep_size") or None if _finite(experts) not in (None, -1.0) else None
    at_once, load = _tensorrt_load(asked, world, expert)
    version = _text(engine, "version")
    return {
        "workflow": "serving-throughput",
        "engine": "tensorrt-llm",
        "software": f"TensorRT-LLM {version}".strip() if re.fullmatch(r"[\w.+-]{0,60}", version) else "TensorRT-LLM",
        "model": model,
        "named": name,
        "weights": weights,
        "kv": kv,
        "acts": acts,
        "gpu": _text(machine, "name") if isinstance(machine, dict) else "",
        "n_chips": _chips(world, "world_size") or tensor * pipeline,
        "tp": tensor,
        "pp": pipeline,
        "ep": expert,
        "batch": at_once,
        "input_tokens": round(_number(asked, "avg_input_length", 1, _LARGEST_COUNT)),
        "output_tokens": round(_number(asked, "avg_output_length", 1, _LARGEST_COUNT)),
        "metrics": metrics,
        "notes": load,
    }  # fmt: skip


def _tensorrt_load(asked: Result, world: Result, experts: int | None) -> tuple[int | None, str]:
    """Requests at once, None where more wait than run, and words for it.

    The mean counts those that wait. `max_batch_size` is that of a rank, so where experts are divided, and
    attention may be by rank, it does not tell how many run in all.
    """
    mean = _number(asked, "avg_num_concurrent_requests", 0, _LARGEST_COUNT)
    most = _count(world, "max_batch_size")
    done = _count(asked, "num_requests") or 0
    if most and mean > most:
        whole = most if (experts or 1) == 1 else None
        return whole, f"{done} requests, saturating load, max_batch_size {most}"
    at_once = max(1, round(mean))
    return at_once, f"{done} requests, mean concurrency {at_once}"


def _tensorrt_formats(engine: Result, stated: Stated) -> tuple[str | None, str | None, str | None]:
    """Formats of weights, KV cache and activations; what is not quantised has the model's type."""
    own = _PLAIN.get(_text(engine, "dtype"))
    weights, acts, kv = own, None, own
    if engine.get("quantization") not in (None, "NO_QUANT"):
        weights, acts = _ALGORITHMS.get(_text(engine, "quantization"), (None, None))
        if weights is None and stated.weights is None:
            raise _UnclearError(f"quantization is {shown(engine['quantization'])}: --weights says the format")
    if engine.get("kv_cache_dtype") not in (None, "auto", "NO_QUANT"):
        kv = _CACHES.get(_text(engine, "kv_cache_dtype").upper())
        if kv is None and stated.kv is None:
            raise _UnclearError(f"kv_cache_dtype is {shown(engine['kv_cache_dtype'])}: --kv says the format")
    if stated.weights:
        return weights, kv, None
    return weights, kv, own if acts == "16" else acts


#: The keys that tell a tool's results, its name, and how they are read.
_TOOLS: tuple[tuple[frozenset[str], str, Callable[[Result, Stated], dict[str, Any]]], ...] = (
    (frozenset(("n_prompt", "n_gen", "avg_ts")), "llama-bench", _llama_bench),
    (
        frozenset(("completed", "output_throughput", "total_output_tokens_retokenized")),
        "sglang-bench",
        _serving,
    ),
    (frozenset(("completed", "total_input_tokens")), "vllm-serve", _serving),
    (frozenset(("world_info", "request_info", "performance")), "trtllm-bench", _tensorrt),
    (frozenset(("elapsed_time", "num_requests", "tokens_per_second")), "vllm-throughput", _totals),
    (frozenset(("avg_latency", "latencies", "percentiles")), "vllm-latency", _latency),
)


def _table(result: Result, key: str) -> Result:
    value = result.get(key)
    if not isinstance(value, dict):
        raise _UnclearError(f"{key} is {'missing' if value is None else shown(value)}")
    return value


def _number(result: Result, key: str, least: float, most: float) -> float:
    value = result.get(key)
    number = _finite(value)
    if number is None or not least <= number <= most:
        raise _UnclearError(f"{key} is {'missing' if value is None else shown(value)}")
    return number


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def _speed(result: Result, key: str) -> float:
    return _number(result, key, _SLOWEST, _FASTEST)


def _time(result: Result, name: str, *prefixes: str) -> float | None:
    """A time that may be absent: the mean, or else the median; a stream that was not watched has zeros or NaN."""
    wanted = prefixes or (("mean_", "median_") if name in ("ttft_ms", "tpot_ms") else ("",))
    found = (_finite(result.get(prefix + name)) for prefix in wanted)
    return next((time for time in found if time is not None and _SLOWEST <= time <= _FASTEST), None)


def _count(result: Result, key: str, most: int = _LARGEST_COUNT) -> int | None:
    """A whole number that may be absent."""
    if result.get(key) is None:
        return None
    value = _number(result, key, 0, most)
    if not value.is_integer():
        raise _UnclearError(f"{key} is {shown(result[key])}")
    return int(value)


def _chips(result: Result, key: str) -> int | None:
    return _count(result, key, _MOST_CHIPS)


def _metadata(result: Result, key: str) -> int | None:
    """A number that the user gave along (`--metadata tp=4`), which is written as text."""
    word = _text(result, key)
    return int(word) if re.fullmatch(r"[1-9][0-9]{0,4}", word) else None


def _text(result: Result, key: str) -> str:
    """A text that may be absent: short and printable, or none."""
    value = result.get(key)
    return (
        value.strip()
        if isinstance(value, str) and len(value) <= _LONGEST_TEXT and value.isprintable()
        else ""
    )


def _date(text: str) -> str:
    """A date like 20251103-101112 as 2025-11-03."""
    found = re.match(r"(20\d\d)-?(0[1-9]|1[0-2])-?([0-2]\d|3[01])", text, re.ASCII)
    return "-".join(found.groups()) if found else ""


@cache
def _presets(kind: str) -> dict[str, str]:
    """Presets by name and alias, as `presets.find` finds them; a file of many names asks for each."""
    found: dict[str, str] = {}
    for name in presets.names(kind):
        with open(join(presets.ROOT, kind, name + ".toml"), encoding="utf-8") as file:
            line = next((text for text in file if text.startswith("aliases")), "")
        found |= dict.fromkeys(re.findall(r'"([^"]+)"', line), name)
    return found | {name: name for name in presets.names(kind)}


def _model(word: str) -> tuple[str | None, str | None]:
    """The model that the last part of org/name names, and the format of weights that the name ends with.

    Words like "Instruct" do not change the architecture. A name that is a preset's or its alias says nothing
    beside it.
    """
    last = re.split(r"[/\\]", word.rstrip("/\\"))[-1].lower()[:_LONGEST_NAME]
    known = _presets("models")
    if last in known:
        return last, None
    ending = next((end for end in _ENDINGS if last.endswith(end)), "")
    stem = last.removesuffix(ending).removeprefix("meta-")
    kept = "-".join(part for part in stem.split("-") if part not in _TUNED)
    return next((word for word in (stem, kept) if word in known), None), _ENDINGS.get(ending)


def _model_of_file(path: str) -> str | None:
    """The model that a GGUF file is named after; its format stands elsewhere."""
    name = re.split(r"[/\\]", path)[-1].lower()[:_LONGEST_NAME].removesuffix(".gguf")
    name = re.sub(r"-\d{5}-of-\d{5}$", "", name)
    name = re.sub(r"[-._](ud-)?(i?q\d[a-z0-9_]*|b?f16|f32|mxfp4|fp16)$", "", name)
    return _model(name)[0]


def _chip(words: str) -> str | None:
    """The preset of a GPU by the name that its driver gives it, None where that is not sure.

    Apple sells each of its chips with two numbers of GPU cores and calls both the same. The one that has the
    plain name here, or as an alias, is the larger.
    """
    name = _slug(words)
    known = _presets("chips")
    if name.startswith("apple-"):
        return known.get(name) or known.get(name.removeprefix("apple-"))
    if name in _SHARED:
        return None
    found = _GPUS.get(name, name)
    # Other aliases are shorter words for one of several, so they are not what a driver means by them.
    return found if known.get(found) == found else None


def _slug(words: str) -> str:
    """A name without makers, brands and remarks: "AMD Radeon RX 7900 XTX (RADV NAVI31)" is rx-7900-xtx."""
    plain = re.sub(r"\([^()]*\)", " ", words.lower())
    return "-".join(part for part in re.findall(r"[a-z0-9]+", plain) if part not in _BRANDS)


def _which_chip(words: str) -> str:
    """Why no chip follows from the words for it, and what to do."""
    if not words:
        return "the file does not say on which chip it ran: --chip says it"
    name = _slug(words)
    # By their numbers of GPU cores, or by their forms.
    longer = r"-\d+c" if name.startswith("apple-") else "-.+"
    near = [one for one in presets.names("chips") if name and re.fullmatch(f"{name}({longer})?", one)]
    if near:
        return f"{shown(words)} may be {' or '.join(near)}, or another of that name: --chip says which"
    return f"{shown(words)} names no chip for sure: --chip says which"


def _finished(name: str, row: dict[str, Any], stated: Stated) -> Measurement:
    """The row with what the user states."""
    named, gpu = row.pop("named", ""), row.pop("gpu", "")
    said = {"model": stated.model, "chip": stated.chip, "n_chips": stated.chips, "engine": stated.engine,
            "weights": stated.weights, "kv": stated.kv, "tp": stated.tp}  # fmt: skip
    row |= {field: value for field, value in said.items() if value is not None}
    if not row.get("model"):
        what = (
            f"{shown(named)} is no model that is known" if named else "the file does not say which model ran"
        )
        raise _UnclearError(f"{what}: --model says it")
    row["chip"] = row.get("chip") or _chip(gpu)
    if not row["chip"]:
        raise _UnclearError(_which_chip(gpu))
    if stated.chip is None and _slug(gpu).startswith("apple-"):
        row["notes"] = f"{row.get('notes') or ''}; taken for the larger {gpu}".removeprefix("; ")
    if row.get("n_chips") is None and row.get("tp"):
        row["n_chips"] = row["tp"] * (row.get("pp") or 1)
    for field in ("n_chips", "tp", "pp"):
        if row.get(field) is not None and not 1 <= row[field] <= _MOST_CHIPS:
            raise _UnclearError(f"{field} is {shown(row[field])}")
    # Nothing is assumed here; who predicts the row has to.
    row["reproducible"] = row.get("n_chips") is not None and row.get("weights") is not None
    given = {field: value for field, value in row.items() if value is not None}
    return Measurement(id=name, kind="independent", source="own measurement", **given)


def _filled(row: Measurement, stated: Stated) -> Measurement:
    """A row of the schema, with what is stated where it says nothing."""
    return replace(
        row,
        chip=row.chip or stated.chip,
        n_chips=row.n_chips or stated.chips,
        weights=row.weights or stated.weights,
        kv=row.kv or stated.kv,
        tp=row.tp or stated.tp,
        engine=stated.engine if row.engine == "unknown" and stated.engine else row.engine,
    )
