"""What benchmark tools write, as rows of measurements: llama-bench, vLLM's and TensorRT-LLM's benchmarks.

Which tool wrote a file follows from its keys. What it does not say of the machine the caller states.

References for the keys: ggml-org/llama.cpp tools/llama-bench (`-o json`, `-o jsonl`); vllm-project/vllm
vllm/benchmarks/serve.py (`--save-result`); NVIDIA/TensorRT-LLM tensorrt_llm/bench/dataclasses/reporting.py
(`--report_json`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any, NamedTuple

from memcalc.errors import FileError
from memcalc.measurement import Measurement
from memcalc.readers import presets
from memcalc.readers.measurements import LARGEST_FILE_BYTES, Broken, read_measurements
from memcalc.readers.regular import Path, file_name, read_head, shown

#: Names of devices, as drivers write them, that do not follow from the names of presets.
_DEVICES = {
    "nvidia h100 80gb hbm3": "h100-sxm", "nvidia h100 pcie": "h100-pcie", "nvidia h100 nvl": "h100-nvl",
    "nvidia h200": "h200-sxm", "nvidia h200 nvl": "h200-nvl", "nvidia b200": "b200", "nvidia b300 sxm6 ac": "b300",
    "nvidia gb200": "gb200", "nvidia gb300": "gb300", "nvidia gb10": "dgx-spark", "nvidia gh200 480gb": "gh200-96gb",
    "nvidia a100-sxm4-80gb": "a100-sxm-80gb", "nvidia a100-sxm4-40gb": "a100-sxm-40gb",
    "nvidia a100 80gb pcie": "a100-pcie-80gb", "nvidia l40s": "l40s", "nvidia l4": "l4", "tesla t4": "t4",
    "nvidia rtx 6000 ada generation": "rtx-6000-ada", "nvidia rtx a6000": "rtx-a6000",
    "nvidia rtx pro 6000 blackwell workstation edition": "rtx-pro-6000",
    "nvidia rtx pro 6000 blackwell server edition": "rtx-pro-6000",
    "amd instinct mi300x": "mi300x", "amd instinct mi325x": "mi325x", "amd instinct mi355x": "mi355x",
}  # fmt: skip
#: Words of llama.cpp for the mixtures of its files, where they are not the mixtures' own.
_MIXTURES = {
    "f16": "fp16", "bf16": "bf16", "all f32": "fp32", "mxfp4 moe": "mxfp4", "q4_k - medium": "q4_k_m",
    "q4_k - small": "q4_k_s", "q5_k - medium": "q5_k_m", "q5_k - small": "q5_k_s", "q3_k - small": "q3_k_s",
    "q3_k - medium": "q3_k_m", "q3_k - large": "q3_k_l", "q2_k - medium": "q2_k", "q2_k - small": "q2_k_s",
    "iq2_xxs - 2.0625 bpw": "iq2_xxs", "iq2_xs - 2.3125 bpw": "iq2_xs", "iq2_s - 2.5 bpw": "iq2_s",
    "iq2_m - 2.7 bpw": "iq2_m", "iq1_s - 1.5625 bpw": "iq1_s", "iq1_m - 1.75 bpw": "iq1_m",
    "iq3_xxs - 3.0625 bpw": "iq3_xxs", "iq3_xs - 3.3 bpw": "iq3_xs", "iq3_s - 3.4375 bpw": "iq3_s",
    "iq3_s mix - 3.66 bpw": "iq3_m", "iq4_nl - 4.5 bpw": "iq4_nl", "iq4_xs - 4.25 bpw": "iq4_xs",
}  # fmt: skip
#: Words of TensorRT-LLM for quantised weights and caches.
_TENSORRT = {"FP8": "fp8", "FP8_BLOCK_SCALES": "fp8-b128", "NVFP4": "nvfp4", "W4A16_AWQ": "int4-g128",
             "W4A16": "int4-g128", "W4A8_AWQ": "int4-g128", "W8A16": "int8", "INT8": "int8", "MXFP4": "mxfp4"}  # fmt: skip


class Stated(NamedTuple):
    """What a user says of the run; None: the file has to. It wins over the file."""

    model: str | None = None
    chip: str | None = None
    chips: int | None = None
    engine: str | None = None
    weights: str | None = None
    kv: str | None = None
    tp: int | None = None


class _UnclearError(Exception):
    """A result that is no row, and why."""


def read_benchmark(path: Path, stated: Stated) -> Iterator[Measurement | Broken]:
    r"""The rows of a file, broken ones in their place; FileError where it has none.

    A file of rows of the schema passes as it is, with what is stated filled in.

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
    if not results:
        raise FileError(f"{file_name(path)}: has no results")
    for number, result in enumerate(results, 1):
        tool, reader = _tool(result)
        name = f"{tool}-{number}"
        try:
            found = reader(result)
            _check(found)
            yield _finished({"id": name, "source": "own measurement", **found}, stated)
        except _UnclearError as error:
            yield Broken(name, str(error))


def _results(path: Path) -> list[Any] | None:
    """The results of a benchmark tool; None where the file has rows of the schema (or nothing readable)."""
    content, size = read_head(path, LARGEST_FILE_BYTES)
    if size > len(content):
        raise FileError(f"{file_name(path)}: has {size:,} bytes, at most {LARGEST_FILE_BYTES:,} are read")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = []
        for line in content.splitlines():
            try:
                value.append(json.loads(line))
            except (ValueError, RecursionError):
                return None
    found = value if isinstance(value, list) else [value]
    if isinstance(value, list) and not value and content.strip()[:1] == b"[":
        return []
    return found if any(_is_result(entry) for entry in found) else None


def _is_result(value: Any) -> bool:
    return isinstance(value, dict) and any(keys <= value.keys() for keys, _, _ in _TOOLS)


def _tool(result: Any) -> tuple[str, Callable[[Mapping[str, Any]], dict[str, Any]]]:
    if isinstance(result, dict):
        for keys, tool, reader in _TOOLS:
            if keys <= result.keys():
                return tool, reader
    return "result", _unknown


def _unknown(_: Mapping[str, Any]) -> dict[str, Any]:
    raise _UnclearError("is not what llama-bench, vllm bench or trtllm-bench writes")


def _llama_bench(result: Mapping[str, Any]) -> dict[str, Any]:
    prompt, output = _count(result, "n_prompt"), _count(result, "n_gen")
    depth = _count(result, "n_depth") or 0
    speed = _number(result, "avg_ts")
    words = str(result.get("model_type", ""))
    row = {
        "engine": "llama.cpp",
        "software": f"llama.cpp {result.get('build_commit', '')}".strip(),
        "date": str(result.get("test_time", ""))[:10],
        "model": _model(str(result.get("model_filename", ""))),
        "weights": _mixture(words),
        "kv": _word(result, "type_k"),
        "batch": 1,
        **_devices(str(result.get("gpu_info", ""))),
    }
    if prompt and output:
        raise _UnclearError("mixes prompt and generation in one speed: run them as -p and -n")
    if output:
        return {
            **row,
            "workflow": "decode",
            "input_tokens": depth,
            "output_tokens": output,
            "context_tokens": depth + output // 2,
            "metrics": {"tok_s_user": speed},
        }
    if not prompt:
        raise _UnclearError("has neither n_prompt nor n_gen")
    if depth:
        raise _UnclearError("prefills behind a context that is there (n_depth): not a prompt of its own")
    return {**row, "workflow": "prefill", "input_tokens": prompt, "metrics": {"prefill_tok_s": speed}}


def _vllm_serve(result: Mapping[str, Any]) -> dict[str, Any]:
    done = _count(result, "completed") or 0
    if not done:
        raise _UnclearError("no request was completed")
    prompt = (_count(result, "total_input_tokens") or 0) / done
    output = (_count(result, "total_output_tokens") or 0) / done
    if output < 1:
        raise _UnclearError("total_output_tokens is missing")
    metrics = {"tok_s_instance_output": _number(result, "output_throughput")}
    for key in ("median_ttft_ms", "median_tpot_ms"):
        if key in result:
            metrics[key.removeprefix("median_")] = _number(result, key)
    at_once = _count(result, "max_concurrency")
    rate = result.get("request_rate")
    if at_once is None and rate not in ("inf", None):
        raise _UnclearError(
            "ran at a request rate without --max-concurrency: how many ran at once is not known"
        )
    return {
        "workflow": "serving-throughput",
        "engine": "vllm",
        "software": "vllm bench serve",
        "date": _date(str(result.get("date", ""))),
        "model": _model(str(result.get("model_id", ""))),
        "batch": at_once,
        "input_tokens": round(prompt),
        "output_tokens": round(output),
        "metrics": metrics,
        "notes": f"{done} requests" + ("" if at_once else ", saturating load"),
    }


def _tensorrt(result: Mapping[str, Any]) -> dict[str, Any]:
    engine, world = _table(result, "engine"), _table(result, "world_info")
    asked, speed = _table(result, "request_info"), _table(result, "performance")
    machine = result.get("machine")
    devices = _devices(str(machine.get("name", ""))) if isinstance(machine, dict) else {}
    metrics = {"tok_s_instance_output": _number(speed, "system_output_throughput_tok_s")}
    at_once = _number(asked, "avg_num_concurrent_requests")
    streamed = result.get("streaming_metrics")
    if isinstance(streamed, dict):
        metrics |= {"ttft_ms": _number(streamed, "avg_ttft_ms"), "tpot_ms": _number(streamed, "avg_tpot_ms")}
    return {
        "workflow": "serving-throughput",
        "engine": "tensorrt-llm",
        "software": f"TensorRT-LLM {engine.get('version', '')}".strip(),
        "model": _model(str(engine.get("model", ""))),
        "weights": _TENSORRT.get(str(engine.get("quantization")), "bf16" if engine.get("quantization") is None else None),
        "kv": _TENSORRT.get(str(engine.get("kv_cache_dtype"))),
        "chip": devices.get("chip"),
        "n_chips": _count(world, "world_size") or 1,
        "tp": _count(world, "tp_size"),
        "pp": _count(world, "pp_size"),
        "ep": _count(world, "ep_size") or None,
        "batch": max(1, round(at_once)),
        "input_tokens": round(_number(asked, "avg_input_length")),
        "output_tokens": max(1, round(_number(asked, "avg_output_length"))),
        "metrics": metrics,
        "notes": "mean concurrency as reported",
    }  # fmt: skip


#: The keys that tell a tool's results, its name, and how they are read.
_TOOLS: tuple[tuple[set[str], str, Callable[[Mapping[str, Any]], dict[str, Any]]], ...] = (
    ({"n_prompt", "n_gen", "avg_ts"}, "llama-bench", _llama_bench),
    ({"output_throughput", "completed"}, "vllm-bench", _vllm_serve),
    ({"world_info", "request_info", "performance"}, "trtllm-bench", _tensorrt),
)


def _table(result: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = result.get(key)
    if not isinstance(value, dict):
        raise _UnclearError(f"{key} is missing")
    return value


def _number(result: Mapping[str, Any], key: str) -> float:
    value = result.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise _UnclearError(f"{key} is {'missing' if value is None else shown(value)}")
    return float(value)


def _count(result: Mapping[str, Any], key: str) -> int | None:
    """A whole number that may be absent."""
    if result.get(key) is None:
        return None
    value = _number(result, key)
    if value < 0 or value > 1e12 or not value.is_integer():
        raise _UnclearError(f"{key} is {shown(result[key])}")
    return int(value)


def _word(result: Mapping[str, Any], key: str) -> str | None:
    value = result.get(key)
    return value if isinstance(value, str) and value else None


def _date(text: str) -> str:
    """A date like 20251103-101112 as 2025-11-03."""
    found = re.match(r"(\d{4})-?(\d\d)-?(\d\d)", text)
    return "-".join(found.groups()) if found else ""


def _model(word: str) -> str | None:
    """The preset that the last part of a path or of org/name names exactly."""
    last = word.replace("\\", "/").rpartition("/")[2].lower()
    last = re.sub(r"(-\d{5}-of-\d{5})?\.gguf$", "", last)
    last = re.sub(r"[-._](ud-)?(i?q\d\w*|b?f16|fp16|mxfp4)$", "", last)
    stems = [last, re.sub(r"[-_.](instruct|chat|it|hf|fp8|awq|gptq|base|nvfp4)\b.*$", "", last)]
    stems += [stem.removeprefix("meta-") for stem in stems]
    return next((stem for stem in stems if presets.find("models", stem)), None)


def _mixture(words: str) -> str | None:
    """The format that ends llama.cpp's description of a model, like "llama 8B Q4_K - Medium"."""
    text = words.lower().replace("mostly ", "")
    ends = sorted(_MIXTURES, key=len, reverse=True)
    found = next((_MIXTURES[end] for end in ends if text.endswith(" " + end)), None)
    if found:
        return found
    last = text.rpartition(" ")[2]
    return last if re.fullmatch(r"i?q\d_(\d|k|k_[sml]|nl|xs|xxs|s|m)", last) else None


def _devices(words: str) -> dict[str, Any]:
    """The chip and the number of them that a list of devices names; nothing where that is not clear."""
    names = [name.strip() for name in words.split(",") if name.strip()]
    if not names or len(set(names)) > 1:
        return {}
    word = names[0].lower()
    chip = _DEVICES.get(word)
    if chip is None:
        plain = re.sub(r"^(nvidia|amd|intel\(r\)|apple)\s+", "", word)
        plain = re.sub(r"\bgeforce\b|\bradeon\b|\(tm\)|\(r\)|\bgraphics\b", "", plain)
        plain = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
        chip = presets.find("chips", plain) or presets.find("chips", f"apple-{plain}")
    return {"chip": chip, "n_chips": len(names)} if chip else {}


def _check(row: Mapping[str, Any]) -> None:
    for name, value in row["metrics"].items():
        if value <= 0:
            raise _UnclearError(f"{name} is {value:g}")


def _finished(row: dict[str, Any], stated: Stated) -> Measurement:
    """The row with what the user states."""
    said = {"model": stated.model, "chip": stated.chip, "n_chips": stated.chips, "engine": stated.engine,
            "weights": stated.weights, "kv": stated.kv, "tp": stated.tp}  # fmt: skip
    row |= {field: value for field, value in said.items() if value is not None}
    if not row.get("model"):
        raise _UnclearError("the file does not say which model ran: --model says it")
    if not row.get("chip"):
        raise _UnclearError("the file does not say which chip it ran on: --chip says it")
    if row.get("n_chips") is None:
        row["n_chips"] = (row.get("tp") or 1) * (row.get("pp") or 1)
    return Measurement(**{field: value for field, value in row.items() if value is not None})


def _filled(row: Measurement, stated: Stated) -> Measurement:
    """A row of the schema, with what is stated where it says nothing."""
    changes: dict[str, Any] = {
        "chip": row.chip or stated.chip,
        "n_chips": row.n_chips or stated.chips,
        "weights": row.weights or stated.weights,
        "kv": row.kv or stated.kv,
        "tp": row.tp or stated.tp,
    }
    if row.engine == "unknown" and stated.engine:
        changes["engine"] = stated.engine
    return replace(row, **changes)
