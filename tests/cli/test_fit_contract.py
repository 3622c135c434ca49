"""What `memcalc fit` promises to scripts: the keys, types and sums of its JSON, its formats and its options."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path

import pytest

from memcalc.readers import presets

MODELS = ("llama-3.1-8b", "llama-3.1-70b", "gemma-3-27b", "deepseek-v3", "gpt-oss-20b", "mixtral-8x7b")
CHIPS = {
    "h100": "--chip h100-sxm",
    "h100x8": "--chip h100-sxm --chips 8",
    "b200": "--chip b200",
    "mi300x": "--chip mi300x",
    "tpu-v5e": "--chip tpu-v5e",
    "m3-ultra": "--chip apple-m3-ultra",
    "rtx-4090": "--chip rtx-4090",
    "groq": "--chip groq-lpu-v1 --chips auto",
    "wse-3": "--chip wse-3 --chips auto",
    "matx": "--chip matx-one --chips auto",
    "corsair": "--chip d-matrix-corsair --chips auto -w int8",
    "hc1": "--chip taalas-hc1",
    "sn40l": "--chip sambanova-sn40l --chips 16",
}
GRID = [
    pytest.param(f"{model} {where}", id=f"{model}-{name}")
    for model in MODELS
    for name, where in CHIPS.items()
]
#: Some with many sequences, where what one user and what the system gets are not the same.
MANY = [
    "llama-3.1-70b --chip h100-sxm --chips 8 -b 64",
    "deepseek-v3 --chip h200-sxm --chips 8 -b 37 -c 10000",
    "gpt-oss-20b --chip mi300x --chips 4 -b 256",
    "llama-3.1-8b --chip wse-3 --chips auto -b 40 -w fp8",
    "llama-3.1-8b --chip matx-one --chips auto -b 100",
    "mixtral-8x7b --chip tpu-v5e --chips 16 -b 48",
    "qwen3-30b-a3b --chip h100-sxm --chips 8 -b 5",
]
GRID += [pytest.param(text, id=text) for text in MANY]

VERDICTS = {"on-chip", "weights-on-chip", "kv-on-chip", "split", "dram", "host", "does-not-fit"}
TENSORS = ["weights", "kv_cache", "state", "activations", "reserved"]
TIERS = {"rom", "sram", "hbm", "gddr", "lpddr", "ddr", "host", "flash"}
EVIDENCE = {"calibrated", "roofline", "vendor-claim", "estimate", "hypothetical"}
KINDS = {"vendor", "independent", "derived", "estimate"}
CLOSE = 1e-9


class Number:
    """A number in JSON; an integer will do, a boolean will not."""


class OrNone:
    """That, or null."""

    def __init__(self, inner):
        self.inner = inner


class Table:
    """An object with free keys and values alike."""

    def __init__(self, inner):
        self.inner = inner


#: The report of contract.md, key by key. More keys may be there.
REPORT = {
    "schema_version": int, "memcalc_version": str, "command": str,
    "model": {"name": str, "source": str, "parameters": int, "active_parameters": int, "vision_parameters": int,
              "mtp_parameters": int, "layers": int, "context_limit_tokens": OrNone(int)},
    "system": {"name": str, "chips": int, "source": str},
    "workload": {"workflow": str, "batch": int, "context_tokens": int, "prompt_tokens": int, "output_tokens": int},
    "precision": {"weights": str, "kv": str, "activations": str},
    "engine": str, "prices": str,
    "layout": OrNone({"tensor_parallel": int, "pipeline_parallel": int, "expert_parallel": int,
                      "data_parallel": int, "context_parallel": int, "attention_data_parallel": int}),
    "fits": bool, "verdict": str, "reason": str,
    "placement": [{"tensor": str, "bytes": int, "tiers": Table(int)}],
    "kv_cache": {"bytes_per_token": int, "bytes_per_sequence": int, "state_bytes_per_sequence": int,
                 "engine_reserved_bytes_per_sequence": int, "replication": Number},
    "tiers": [{"tier": str, "capacity_bytes": OrNone(int), "usable_bytes": int, "used_bytes": int,
               "bandwidth_bytes_per_s": OrNone(Number), "role": str}],
    "limits": {"max_batch": OrNone(int), "max_context_tokens": OrNone(int), "min_chips": OrNone(int)},
    "remedies": [str],
    "degrades_at": [{"what": str, "value": int, "verdict": str}],
    "decode": OrNone({"step_s": Number, "tokens_per_s_per_user": Number, "tokens_per_s": Number,
                      "tokens_per_s_per_chip": Number, "bottleneck": str, "terms_s": Table(Number),
                      "low": {"tokens_per_s_per_user": Number}, "high": {"tokens_per_s_per_user": Number}}),
    "prefill": OrNone({"time_to_first_token_s": Number, "tokens_per_s": Number, "batch_s": Number,
                       "bottleneck": str, "terms_s": Table(Number), "low": Table(Number), "high": Table(Number)}),
    "request": OrNone({"latency_s": OrNone(Number)}),
    "cost": OrNone({"usd_per_chip_hour": OrNone(Number), "usd_per_million_output_tokens": OrNone(Number),
                    "usd_per_million_input_tokens": OrNone(Number), "utilization": Number,
                    "watts": OrNone(Number), "joules_per_output_token": OrNone(Number),
                    "energy_terms_j": Table(Number), "low": Table(Number), "high": Table(Number)}),
    "sensitivity": [{"figure": str, "change": Number, "tokens_per_s_per_user": Number}],
    "evidence": {"decode": str, "chip": str},
    "not_modeled": [str], "warnings": [str],
}  # fmt: skip


def misfits(value, shape, path="report"):
    """Where a JSON value has not the shape that was promised."""
    if isinstance(shape, OrNone):
        if value is not None:
            yield from misfits(value, shape.inner, path)
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            yield f"{path} is no object"
            return
        for key, inner in shape.items():
            if key not in value:
                yield f"{path}.{key} is missing"
            else:
                yield from misfits(value[key], inner, f"{path}.{key}")
    elif isinstance(shape, list | Table):
        inner = shape[0] if isinstance(shape, list) else shape.inner
        if not isinstance(value, list if isinstance(shape, list) else dict):
            yield f"{path} is no {'list' if isinstance(shape, list) else 'object'}"
            return
        entries = enumerate(value) if isinstance(value, list) else value.items()
        for key, entry in entries:
            yield from misfits(entry, inner, f"{path}.{key}")
    else:
        kinds = (int, float) if shape is Number else shape
        if not isinstance(value, kinds) or (isinstance(value, bool) and shape is not bool):
            yield f"{path} is {value!r}"


def texts(value):
    """All texts in a JSON value, keys included."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


def test_the_shape_notices_what_is_wrong():
    shape = {"a": int, "b": OrNone({"c": Number}), "d": [str], "e": Table(int)}
    assert list(misfits({"a": 1, "b": None, "d": [], "e": {}}, shape)) == []
    wrong = {"a": True, "b": {"c": "1"}, "d": [1], "e": {"x": 1.5}}
    assert len(list(misfits(wrong, shape))) == 4
    assert list(misfits({}, {"a": int})) == ["report.a is missing"]


@pytest.mark.parametrize("words", GRID)
def test_every_key_of_the_contract_has_its_type(fit, words):
    report = fit(words)
    assert list(misfits(report, REPORT)) == []
    assert report["schema_version"] == 1
    assert report["command"] == "fit"
    assert report["verdict"] in VERDICTS
    assert report["fits"] == (report["verdict"] != "does-not-fit")
    assert [row["tensor"] for row in report["placement"]] == TENSORS
    assert {row["tier"] for row in report["tiers"]} <= TIERS
    assert {row["role"] for row in report["tiers"]} <= {"home", "cache", "scratchpad", "attached"}
    assert report["evidence"]["decode"] in EVIDENCE
    assert report["evidence"]["chip"] in KINDS
    assert not any("…" in text for text in texts(report))


@pytest.mark.parametrize("words", GRID)
def test_no_speed_and_no_price_where_it_does_not_fit(fit, words):
    report = fit(words)
    blocks = [report[name] for name in ("decode", "prefill", "request", "cost")]
    if report["fits"]:
        assert report["remedies"] == []
        # A time that needs an unknown figure is absent, and a warning says which.
        assert None not in blocks or any("is unknown" in text for text in report["warnings"])
        assert report["layout"] is not None
    else:
        assert blocks == [None] * 4
        assert report["degrades_at"] == []
        assert all(not row["tiers"] for row in report["placement"])


@pytest.mark.parametrize("words", GRID)
def test_terms_add_up_to_the_times(fit, words):
    report = fit(words)
    for name, total in (("decode", "step_s"), ("prefill", "time_to_first_token_s")):
        block = report[name]
        if block is None:
            continue
        terms = block["terms_s"]
        assert sum(terms.values()) == pytest.approx(block[total], rel=CLOSE)
        assert min(terms.values()) >= 0.0
        assert terms[block["bottleneck"]] == max(terms.values())
        plain = {term for term in terms if not term.startswith("memory:")}
        assert plain == {"compute", "network", "latency"}
        homes = {f"memory:{row['tier']}" for row in report["tiers"] if row["used_bytes"]}
        assert homes <= set(terms) - plain
        assert {term.removeprefix("memory:") for term in set(terms) - plain} <= TIERS


@pytest.mark.parametrize("words", GRID)
def test_rates_follow_from_the_times(fit, words):
    report = fit(words)
    decode, prefill, work = report["decode"], report["prefill"], report["workload"]
    if decode is None:
        return
    user = decode["tokens_per_s_per_user"]
    assert user == pytest.approx(1.0 / decode["step_s"], rel=CLOSE)
    assert decode["tokens_per_s"] == pytest.approx(user * work["batch"], rel=CLOSE)
    assert decode["tokens_per_s_per_chip"] * report["system"]["chips"] == pytest.approx(
        decode["tokens_per_s"], rel=CLOSE
    )
    assert decode["low"]["tokens_per_s_per_user"] < user < decode["high"]["tokens_per_s_per_user"]
    first = prefill["time_to_first_token_s"]
    assert prefill["tokens_per_s"] == pytest.approx(work["prompt_tokens"] / first, rel=CLOSE)
    assert prefill["low"]["time_to_first_token_s"] < first < prefill["high"]["time_to_first_token_s"]
    assert prefill["batch_s"] >= first * (1.0 - CLOSE)


@pytest.mark.parametrize("words", GRID)
def test_dollars_and_joules_follow_from_the_speed(fit, words):
    report = fit(words)
    cost, decode, prefill = report["cost"], report["decode"], report["prefill"]
    if cost is None:
        return
    chips, work = report["system"]["chips"], report["workload"]
    if cost["usd_per_chip_hour"] is None:
        assert cost["usd_per_million_output_tokens"] is cost["usd_per_million_input_tokens"] is None
        name = "hypothetical " * report["system"]["hypothetical"] + report["system"]["name"]
        assert any(f"has no price for {name}" in text for text in report["warnings"])
    else:
        second = cost["usd_per_chip_hour"] * chips / 3600.0 / cost["utilization"]
        out = second / decode["tokens_per_s"] * 1e6
        taken = second / (work["batch"] * work["prompt_tokens"] / prefill["batch_s"]) * 1e6
        assert cost["usd_per_million_output_tokens"] == pytest.approx(out, rel=CLOSE)
        assert cost["usd_per_million_input_tokens"] == pytest.approx(taken, rel=CLOSE)
    joules = cost["joules_per_output_token"]
    if joules is None:
        assert cost["watts"] is None
        assert cost["energy_terms_j"] == {}
        assert any("no energy" in text for text in report["warnings"])
    else:
        terms = cost["energy_terms_j"]
        assert sum(terms.values()) == pytest.approx(joules, rel=CLOSE)
        assert min(terms.values()) >= 0.0
        assert {term for term in terms if not term.startswith("memory:")} == {"compute", "network", "static"}
        assert cost["watts"] == pytest.approx(joules * decode["tokens_per_s"], rel=CLOSE)
    for name, low in cost["low"].items():
        assert low <= cost[name] <= cost["high"][name]


@pytest.mark.parametrize("words", GRID)
def test_each_byte_lives_in_a_tier(fit, words):
    report = fit(words)
    rows = {row["tensor"]: row for row in report["placement"]}
    work, kv = report["workload"], report["kv_cache"]
    assert rows["kv_cache"]["bytes"] == work["batch"] * kv["bytes_per_sequence"]
    assert kv["engine_reserved_bytes_per_sequence"] >= kv["bytes_per_sequence"]
    assert kv["replication"] >= 1.0
    if not report["fits"]:
        return
    for name, row in rows.items():
        resident = sum(row["tiers"].values())
        if name in ("weights", "kv_cache"):
            assert resident >= row["bytes"] > 0
        else:
            assert resident == row["bytes"] >= 0
    for tier in report["tiers"]:
        assert tier["used_bytes"] == sum(row["tiers"].get(tier["tier"], 0) for row in rows.values())
        # A chip's fullest share is rounded up to whole bytes for each class of weights.
        assert tier["used_bytes"] <= tier["usable_bytes"] + 64 * report["system"]["chips"]
        assert tier["usable_bytes"] <= (tier["capacity_bytes"] or 0)
        assert tier["role"] == "home" or tier["usable_bytes"] == tier["used_bytes"] == 0
    assert {name for row in rows.values() for name in row["tiers"]} <= {
        row["tier"] for row in report["tiers"]
    }


@pytest.mark.parametrize("words", GRID)
def test_the_verdict_says_where_what_is_read_lives(fit, words):
    report = fit(words)
    if not report["fits"]:
        return
    rows = {row["tensor"]: row["tiers"] for row in report["placement"]}
    near, far = {"rom", "sram"}, {"host", "flash"}
    hot = set(rows["weights"]) | set(rows["kv_cache"])
    kv_near = set(rows["kv_cache"]) <= near
    assert {
        "on-chip": kv_near,
        "weights-on-chip": not kv_near and bool(set(rows["weights"]) & near),
        "kv-on-chip": kv_near and not set(rows["weights"]) <= near,
        "split": bool(hot & near) and not hot <= near,
        "dram": not hot & (near | far),
        "host": bool(hot & far),
    }[report["verdict"]]
    layout, chips = report["layout"], report["system"]["chips"]
    degrees = [
        layout[f"{name}_parallel"] for name in ("tensor", "pipeline", "data", "context", "attention_data")
    ]
    product = 1
    for degree in degrees:
        product *= degree
    assert product == chips


@pytest.mark.parametrize("words", GRID)
def test_limits_are_the_last_that_fit(fit, words):
    report = fit(words)
    limits = report["limits"]
    held = f"{words} --chips {report['system']['chips']}"
    for option, limit in (("-b", limits["max_batch"]), ("-c", limits["max_context_tokens"])):
        assert limit is not None
        assert not fit(held, f"{option} {limit + 1}")["fits"]
        if limit:
            assert fit(held, f"{option} {limit}")["fits"]
    if limits["min_chips"] is None:
        assert not report["fits"]
        return
    assert fit(words, "--chips", str(limits["min_chips"]))["fits"]
    if limits["min_chips"] > 1:
        assert not fit(words, "--chips", str(limits["min_chips"] - 1))["fits"]


@pytest.mark.parametrize("words", GRID)
def test_the_verdict_degrades_where_it_says(fit, words):
    report = fit(words)
    options = {"batch": "-b", "context": "-c"}
    order = ["on-chip", "weights-on-chip", "kv-on-chip", "split", "dram", "host", "does-not-fit"]
    held = f"{words} --chips {report['system']['chips']}"
    for change in report["degrades_at"]:
        option, value = options[change["what"]], change["value"]
        assert fit(held, f"{option} {value}")["verdict"] == change["verdict"]
        assert fit(held, f"{option} {value - 1}")["verdict"] != change["verdict"]
        assert order.index(change["verdict"]) > order.index(report["verdict"])


ASKED = [
    "llama-3.1-70b --chip h100-sxm --chips 2 -b 100",
    "llama-3.1-70b --chip h100-sxm --engine sglang",
    "llama-3.1-70b --chip h100-sxm --engine ideal",
    "llama-3.1-70b --chip h100-sxm -w fp16 --kv fp16 --activations fp16",
    "llama-3.1-70b --chip rtx-4090 -b 4 -c 128k --output 100k --chips 4",
    "llama-3.1-8b --chip h100-sxm -b 1000",
    "llama-3.1-8b --chip wse-3 -c 1M",
    "llama-3.1-8b --chip groq-lpu-v1",
    "llama-3.1-8b --system groqnode-8",
    "70b --chip l40s",
]
ASKED_OF_A_SYSTEM = ["llama-3.1-405b --system dgx-h100", "deepseek-v3 --system l40s-x8"]
ASKED_WITH_A_LAYOUT = [
    "deepseek-v3 --chip h100-sxm --chips 8 --tp 8",
    "llama-3.1-70b --chip h100-sxm --tp 1",
    "llama-3.1-70b --chip h100-sxm --chips 3 --dp 3",
]


def named(texts):
    """A case for each command line, named by it."""
    return [pytest.param(text, id=text) for text in texts]


@pytest.mark.parametrize(
    "words",
    [
        *GRID,
        *named(ASKED),
        *named(ASKED_OF_A_SYSTEM),
        *named(ASKED_WITH_A_LAYOUT),
    ],
)
def test_each_remedy_fits_when_it_is_appended(fit, words):
    report = fit(words)
    if report["fits"]:
        assert report["remedies"] == []
        return
    if "the masks of" in report["reason"]:
        assert report["remedies"] == []  # no change of options puts another model into the masks
        return
    assert report["remedies"]
    for remedy in report["remedies"]:
        # An option given twice has its last value; a chip takes the place of a system.
        given = re.sub(r"--system \S+", "", words) if "--chip " in remedy else words
        assert fit(given, remedy)["fits"], remedy


# The worked report of contract.md; weights and cache by hand: 2 B x 70,553,706,496; 2 x 80 x 8 x 128 x 2 B a token.
def test_the_worked_report_of_the_contract(fit):
    report = fit("llama-3.1-70b --chip h100-sxm --chips 8 -b 8 -c 32k")
    rows = {row["tensor"]: row for row in report["placement"]}
    assert report["model"]["parameters"] == report["model"]["active_parameters"] == 70_553_706_496
    assert rows["weights"]["bytes"] == 2 * 70_553_706_496
    assert rows["weights"]["tiers"] == {"hbm": 141_107_412_992}
    assert report["kv_cache"]["bytes_per_token"] == 2 * 80 * 8 * 128 * 2
    assert rows["kv_cache"]["bytes"] == 8 * 32768 * 327_680
    hbm = next(row for row in report["tiers"] if row["tier"] == "hbm")
    assert (hbm["capacity_bytes"], hbm["role"]) == (8 * 85_520_809_984, "home")
    assert hbm["bandwidth_bytes_per_s"] == 8 * 3.35e12
    assert hbm["usable_bytes"] == int(0.9 * 8 * 85_520_809_984)
    assert (report["limits"]["max_batch"], report["limits"]["min_chips"]) == (41, 4)
    assert report["degrades_at"][0] == {"what": "batch", "value": 42, "verdict": "does-not-fit"}
    assert report["verdict"] == "dram"
    assert (report["engine"], report["prices"]) == ("vllm", "owning-neocloud-2026")
    assert report["precision"] == {"weights": "bf16", "kv": "bf16", "activations": "bf16"}
    assert report["workload"]["context_tokens"] == report["workload"]["prompt_tokens"] == 32768


# Full attention in every layer: 2 x layers x KV heads x head width x 2 B; MLA: layers x (512 + 64) x 2 B.
@pytest.mark.parametrize(
    ("model", "size"),
    [("llama-3.1-8b", 131_072), ("mixtral-8x7b", 131_072), ("deepseek-v3", 61 * (512 + 64) * 2)],
)
def test_kv_bytes_of_a_token(fit, model, size):
    cache = fit(model, "--chip b200 --chips 8")["kv_cache"]
    assert cache["bytes_per_token"] == size
    assert cache["bytes_per_sequence"] == 8192 * size


def test_defaults_are_one_chip_one_sequence_8192_tokens(fit):
    report = fit("llama-3.1-8b --chip h100-sxm")
    work = report["workload"]
    assert report["system"]["chips"] == 1
    assert (work["batch"], work["context_tokens"], work["output_tokens"]) == (1, 8192, 0)
    assert report["request"]["latency_s"] is None
    assert report["cost"]["utilization"] == 1.0


# contract.md: data-centre NVIDIA and AMD vllm, GeForce and Apple llama.cpp, TPU jax, Gaudi gaudi, others their own.
@pytest.mark.parametrize(
    ("chip", "engine"),
    [("h100-sxm", "vllm"), ("b200", "vllm"), ("l40s", "vllm"), ("mi300x", "vllm"), ("rtx-4090", "llama.cpp"),
     ("rtx-5090", "llama.cpp"), ("rtx-pro-6000", "llama.cpp"), ("rx-7900-xtx", "llama.cpp"), ("arc-b580", "llama.cpp"),
     ("apple-m3-ultra", "llama.cpp"), ("tpu-v5e", "jax"), ("gaudi-3", "gaudi"), ("wse-3", "cerebras"),
     ("groq-lpu-v1", "groq"), ("d-matrix-corsair", "d-matrix"), ("sambanova-sn40l", "sambanova"),
     ("taalas-hc1", "taalas"), ("northpole", "northpole")],
)  # fmt: skip
def test_the_default_engine_of_a_chip(fit, chip, engine):
    assert fit("llama-3.2-3b --chip", chip)["engine"] == engine


BIG = "llama-3.1-70b --chip h100-sxm"
SMALL = "llama-3.1-8b --chip h100-sxm"


@pytest.mark.parametrize("words", [BIG, f"{BIG} --chips 8 -b 4"])
def test_jsonl_is_the_same_report_on_one_line(line, fit, words):
    done = line("fit", *words.split(), "--format", "jsonl")
    assert done.out.count("\n") == 1
    assert json.loads(done.out) == fit(words)
    assert done.err == ""
    shown = line("fit", *words.split(), "--json").out
    assert line("fit", *words.split(), "--format", "json").out == shown


@pytest.mark.parametrize("words", [BIG, f"{BIG} --chips 8 -b 4 --output 1k"])
def test_csv_has_the_figures_of_the_report(line, fit, words):
    done, report = line("fit", *words.split(), "--format", "csv"), fit(words)
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert len(rows) == 1
    row = rows[0]
    assert None not in row
    assert None not in row.values()
    assert row["fits"] == ("true" if report["fits"] else "false")
    assert row["verdict"] == report["verdict"]
    assert int(row["chips"]) == report["system"]["chips"]
    assert int(row["weights_bytes"]) == report["placement"][0]["bytes"]
    for block, figures in {
        "decode": "step_s tokens_per_s_per_user tokens_per_s tokens_per_s_per_chip bottleneck",
        "prefill": "time_to_first_token_s",
        "request": "latency_s",
        "cost": "usd_per_million_output_tokens usd_per_million_input_tokens joules_per_output_token",
    }.items():
        for figure in figures.split():
            value = report[block] and report[block][figure]
            assert row[figure] == ("" if value is None else str(value)), figure


def test_markdown_is_a_table_of_the_same_columns(line):
    rows = line("fit", *BIG.split(), "--format", "markdown").out.splitlines()
    head, rule, body = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)
    assert head == line("fit", *BIG.split(), "--format", "csv").out.splitlines()[0].split(",")
    assert set(rule) == {"---"}
    assert len(body) == len(head)
    assert body[head.index("verdict")] == "does-not-fit"


@pytest.mark.parametrize("words", GRID)
def test_the_table_begins_with_the_answer(line, fit, words):
    done, report = line("fit", *words.split()), fit(words)
    assert done.err == ""
    first, second = done.out.splitlines()[:2]
    assert first.startswith("Fits" if report["fits"] else "Does not fit")
    assert done.status == (0 if report["fits"] else 1)
    # What was asked, resolved to integers.
    assert second.startswith(report["model"]["name"])
    assert f"batch {report['workload']['batch']:,} " in second
    assert f"context {report['workload']['context_tokens']:,}" in second
    assert f"{report['precision']['weights']} weights" in second
    assert f"engine {report['engine']}" in second
    assert ("hypothetical" in first) == report["system"]["hypothetical"]


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv", "markdown"])
def test_a_file_gets_what_the_screen_would(line, tmp_path, form):
    file = tmp_path / "out.txt"
    file.write_text("what was there")
    words = ("fit", *BIG.split(), "--format", form)
    shown, done = line(*words), line(*words, "-o", str(file))
    assert (done.status, done.out, done.err) == (1, "", "")
    assert file.read_text(encoding="utf-8") == shown.out
    assert os.listdir(tmp_path) == ["out.txt"]
    assert line(*words, "-o", "-").out == shown.out


def test_a_file_is_replaced_as_a_whole(line, tmp_path, monkeypatch):
    file = tmp_path / "out.json"
    file.write_text("what was there")
    seen = []

    def replace(source, target):
        written = Path(source).read_text(encoding="utf-8")
        seen.append((json.loads(written)["command"], file.read_text(), target))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", replace)
    done = line("fit", *SMALL.split(), "--json", "-o", str(file))
    # All of it was written beside before the old file was touched; the failure leaves nothing but the old file.
    assert seen == [("fit", "what was there", str(file))]
    assert done.status == 3
    assert done.out == ""
    assert str(file) in json.loads(done.err)["error"]
    assert os.listdir(tmp_path) == ["out.json"]
    assert file.read_text() == "what was there"


def test_a_file_that_cannot_be_written_is_status_3_and_leaves_nothing(line, tmp_path):
    for target in (tmp_path / "no" / "out.json", tmp_path):
        done = line("fit", *SMALL.split(), "-o", str(target))
        assert (done.status, done.out) == (3, "")
        assert done.err.startswith(f"error: {target}: cannot be written")
    assert os.listdir(tmp_path) == []


def test_exit_zero(line):
    words = ("fit", *BIG.split())
    assert line(*words).status == 1
    zero = line(*words, "--exit-zero")
    assert (zero.status, zero.out) == (0, line(*words).out)
    assert line(*words, "--exit-zero", "-c", "0").status == 2


PLANS = {"on-chip": {"on-chip"}, "weights-on-chip": {"on-chip", "weights-on-chip"}}


@pytest.mark.parametrize(
    ("chip", "plan"),
    [
        ("groq-lpu-v1", "on-chip"),
        ("wse-3", "on-chip"),
        ("northpole", "on-chip"),
        ("d-matrix-corsair", "on-chip"),
        ("matx-one", "weights-on-chip"),
    ],
)
def test_auto_is_the_fewest_chips_that_hold_the_job_in_the_plan(fit, chip, plan):
    words = f"llama-3.1-70b --chip {chip} -w int8 --kv int8 --chips"
    report = fit(words, "auto")
    found = report["system"]["chips"]
    assert report["verdict"] in PLANS[plan]
    assert fit(words, str(found))["verdict"] in PLANS[plan]
    for fewer in {found - 1, found - 2, found // 2, 1} - {0, found}:
        assert fit(words, str(fewer))["verdict"] not in PLANS[plan], fewer


def test_auto_of_a_chip_with_dram_is_the_fewest_that_hold_it(fit):
    # 141 GB of weights: 77 GB of an H100 are usable, so two of them; an MI300X has 192 GB.
    for chip, chips in (("h100-sxm", 2), ("mi300x", 1)):
        report = fit(f"llama-3.1-70b --chip {chip} --chips auto")
        assert report["system"]["chips"] == report["limits"]["min_chips"] == chips
        assert report["verdict"] == "dram"


def test_auto_where_no_plan_can_be_is_the_fewest_that_hold_it_at_all(fit):
    # Half a terabyte more than 1,024 MatX-like chips hold in 0.69 GB of SRAM each.
    report = fit("kimi-k2-instruct --chip matx-one -w bf16 --chips auto")
    assert report["placement"][0]["bytes"] > 1024 * 690_000_000
    assert report["fits"]
    assert report["system"]["chips"] == report["limits"]["min_chips"]
    assert report["verdict"] not in PLANS["weights-on-chip"]


def test_set_changes_a_bandwidth_and_says_so(fit):
    figure = "memory.hbm.bandwidth_bytes_per_s"
    for engine in ("vllm", "ideal"):
        words = f"{SMALL} --engine {engine}"
        before, after = fit(words), fit(words, f"--set {figure}=4.8TB/s")
        assert next(row for row in after["tiers"] if row["tier"] == "hbm")["bandwidth_bytes_per_s"] == 4.8e12
        assert after["decode"]["step_s"] < before["decode"]["step_s"]
        assert after["limits"] == before["limits"]
        assert any(figure in text for text in after["warnings"])
        assert not any(figure in text for text in before["warnings"])
    # Batch 1 on the bare roofline is bound by memory: the step goes with the bandwidth.
    ratio = after["decode"]["step_s"] / before["decode"]["step_s"]
    assert ratio == pytest.approx(3.35 / 4.8, rel=1e-3)


def test_set_makes_a_cache_a_home(fit):
    plain = fit(SMALL)
    assert next(row for row in plain["tiers"] if row["tier"] == "sram")["role"] == "cache"
    report = fit(SMALL, "--set memory.sram.home=true --set memory.sram.bandwidth_bytes_per_s=20TB/s")
    sram = next(row for row in report["tiers"] if row["tier"] == "sram")
    assert (sram["role"], report["verdict"]) == ("home", "split")
    assert 0 < sram["used_bytes"] <= sram["usable_bytes"] <= sram["capacity_bytes"] == 52_428_800
    assert report["decode"]["terms_s"]["memory:sram"] > 0.0
    assert report["decode"]["step_s"] < plain["decode"]["step_s"]
    assert any("memory.sram.home = true" in text for text in report["warnings"])


def test_an_unknown_bandwidth_gives_no_time_and_a_warning_that_names_it(fit):
    # The masks of an HC1 are read at a rate that nobody has published; the bare roofline has no layer floor.
    report = fit("llama-3.1-8b --chip taalas-hc1 -c 1k --engine ideal")
    assert report["fits"]
    assert report["decode"] is report["prefill"] is report["cost"] is None
    assert any("memory.sram.bandwidth_bytes_per_s" in text for text in report["warnings"])
    # With the floor that its maker's demonstration shows, the unknown term is left out and named.
    floor = fit("llama-3.1-8b --chip taalas-hc1 -c 1k")
    assert floor["decode"]["terms_s"]["latency"] == pytest.approx(floor["decode"]["step_s"])
    assert any("memory.sram.bandwidth_bytes_per_s" in text for text in floor["warnings"])


def test_set_changes_a_figure_of_the_engine(fit):
    half = fit(SMALL, "--set engine.usable_memory=50%")
    hbm = next(row for row in half["tiers"] if row["tier"] == "hbm")
    assert hbm["usable_bytes"] == 85_520_809_984 // 2
    assert any("engine.usable_memory = 50%" in text for text in half["warnings"])


def test_a_price_may_be_given(fit):
    words = f"{BIG} --chips 8"
    report = fit(words, "--usd-per-chip-hour 2.5USD/h")
    assert (report["cost"]["usd_per_chip_hour"], report["prices"]) == (2.5, "given")
    out = 2.5 * 8 / 3600 / report["decode"]["tokens_per_s"] * 1e6
    assert report["cost"]["usd_per_million_output_tokens"] == pytest.approx(out)
    assert report["decode"] == fit(words)["decode"]
    # Also where no scenario has a price.
    assert fit("llama-3.1-8b --chip wse-3 --usd-per-chip-hour 50")["cost"]["usd_per_chip_hour"] == 50.0


def test_a_chip_may_be_owned(fit):
    owned = f"{SMALL} --usd-per-chip 28000 --depreciation-years 5 --usd-per-kwh 0.2 --pue 1.3"
    report = fit(owned)
    # 5 years of 8,766 hours; an H100 with its share of the server draws 1,370 W.
    hour = 28000 / (5 * 8766) + 1.370 * 1.3 * 0.2
    assert report["cost"]["usd_per_chip_hour"] == pytest.approx(hour)
    assert report["prices"] == "owned"
    half = fit(owned, "--utilization 50%")["cost"]
    assert half["utilization"] == 0.5
    for figure in ("usd_per_million_output_tokens", "usd_per_million_input_tokens"):
        assert half[figure] == pytest.approx(2 * report["cost"][figure])
    assert half["joules_per_output_token"] == report["cost"]["joules_per_output_token"]


def test_utilization_is_printed_beside_the_price(line):
    assert "utilization 60%" in line("fit", *SMALL.split(), "--utilization", "0.6").out


def test_a_scenario_without_the_chip_names_those_that_have_it(fit):
    report = fit("llama-3.1-8b --chip trainium2")
    assert report["cost"]["usd_per_chip_hour"] is report["cost"]["usd_per_million_output_tokens"] is None
    priced = {name: presets.read("prices", name)["usd_per_chip_hour"] for name in presets.names("prices")}
    having = [name for name, chips in priced.items() if "trainium2" in chips]
    assert having
    assert any(all(name in text for name in having) for text in report["warnings"])
    cost = fit(f"llama-3.1-8b --chip trainium2 --prices {having[0]}")["cost"]
    assert cost["usd_per_chip_hour"] == priced[having[0]]["trainium2"]


# Leviathan 2022, equation 1: (1 - a^(g+1)) / (1 - a) tokens a step.
@pytest.mark.parametrize(
    ("accept", "draft", "tokens"), [("0.8", 1, 1.8), ("80%", 3, 2.952), ("0", 2, 1.0), ("1", 4, 5.0)]
)
def test_drafting_yields_several_tokens_a_step(fit, accept, draft, tokens):
    words = "deepseek-v3 --chip h200-sxm --chips 8"
    drafting = f"--accept {accept} --draft {draft}"
    report, plain = fit(words, drafting), fit(words)
    decode = report["decode"]
    assert decode["tokens_per_s_per_user"] * decode["step_s"] == pytest.approx(tokens)
    assert decode["step_s"] > plain["decode"]["step_s"]
    assert sum(decode["terms_s"].values()) == pytest.approx(decode["step_s"], rel=CLOSE)
    assert (report["workload"]["draft_tokens"], plain["workload"]["draft_tokens"]) == (draft, 0)
    # The model's layer for multi-token prediction is loaded too; where there is none, a draft model is assumed.
    assert report["limits"]["max_batch"] < plain["limits"]["max_batch"]
    assert any("draft model" in text for text in fit(SMALL, drafting)["warnings"])


@pytest.mark.parametrize("chip", ["h100-sxm", "wse-3"])
def test_output_gives_the_latency_of_a_request(fit, chip):
    words = f"llama-3.1-8b --chip {chip} -c 8k"
    short, long = fit(words, "--output 256"), fit(words, "--output 2k")
    for report, tokens in ((short, 256), (long, 2048)):
        work, first = report["workload"], report["prefill"]["time_to_first_token_s"]
        assert (work["output_tokens"], work["prompt_tokens"]) == (tokens, 8192 - tokens)
        latency = report["request"]["latency_s"]
        assert latency > first
        # The step at the whole context is the slowest of the request; weights are half of each or more.
        assert latency <= first + tokens * report["decode"]["step_s"] * (1 + CLOSE)
        assert latency >= first + 0.5 * tokens * report["decode"]["step_s"]
    assert long["request"]["latency_s"] > short["request"]["latency_s"]
    assert long["prefill"]["time_to_first_token_s"] < short["prefill"]["time_to_first_token_s"]


def test_a_context_beyond_the_model_is_computed_with_a_warning(fit):
    report = fit(SMALL, "-c 256k")
    assert report["fits"]
    assert any("131072" in text for text in report["warnings"])


ENGINES = [name for name in presets.names("engines") if name != "ideal"]
PLACES = {
    "llama-3.1-8b --chip h100-sxm": "--tp 1",
    "llama-3.1-70b --chip h100-sxm --chips 8 -b 16": "--tp 8 --pp 1",
    "llama-3.1-70b --chip b200 --chips 8 -b 64": "--tp 4 --dp 2",
    "mixtral-8x7b --chip mi300x --chips 4 -b 32": "--tp 2 --pp 2",
    "gpt-oss-20b --chip rtx-4090 --chips 2": "--tp 1 --pp 2",
    "gemma-3-27b --chip tpu-v5e --chips 16 -b 8": "--tp 16",
    "llama-3.1-8b --chip apple-m3-ultra": "--tp 1",
    "llama-3.1-8b --chip groq-lpu-v1 --chips 128": "--dp 1",
    "llama-3.1-70b --chip wse-3 --chips 4 -b 4": "--dp 1",
    "llama-3.1-8b --chip matx-one --chips 32 -b 4": "--tp 8 --pp 4",
    "llama-3.1-8b --chip d-matrix-corsair --chips 16 -w int8": "--tp 8 --pp 2",
    "llama-3.1-70b --chip sambanova-sn40l --chips 16": "--tp 16",
    "deepseek-v3 --chip h200-sxm --chips 8 -b 64": "--tp 1 --attention-dp 8 --ep 8",
}


def bytes_of(report, tensor):
    return next(row["bytes"] for row in report["placement"] if row["tensor"] == tensor)


@pytest.mark.parametrize(("words", "layout"), PLACES.items(), ids=PLACES)
def test_no_engine_is_faster_than_the_bare_roofline(fit, words, layout):
    for given in ("", layout):
        ideal = fit(words, given, "--engine ideal")
        for engine in ENGINES:
            found = fit(words, given, f"--engine {engine}")
            # A stack that holds tables in a narrower format than was asked for has less to read.
            same = bytes_of(found, "weights") == bytes_of(ideal, "weights")
            if found["decode"] and same:
                assert ideal["decode"]["step_s"] <= found["decode"]["step_s"] * (1 + CLOSE), (engine, given)


def test_every_figure_of_speed_and_cost_has_a_band(fit):
    report = fit("llama-3.1-8b --chip h100-sxm -b 4 --output 1k")
    for block, plain in (
        ("decode", ("bottleneck", "terms_s")),
        ("prefill", ("bottleneck", "terms_s", "kv_transfer_bytes", "kv_transfer_s")),
        ("request", ()),
        ("cost", ("usd_per_chip_hour", "utilization", "price_kind", "price_date", "watts", "energy_terms_j")),
    ):
        figures = set(report[block]) - {"low", "high", *plain}
        assert figures == set(report[block]["low"]) == set(report[block]["high"])
        for figure in figures:
            assert report[block]["low"][figure] < report[block][figure] < report[block]["high"][figure]


def test_a_chip_that_is_only_announced_is_not_calibrated(fit):
    report = fit("llama-3.1-8b --chip mi455x")
    assert report["evidence"]["decode"] == "estimate"
    assert report["decode"]["high"]["step_s"] >= 2 * report["decode"]["step_s"]
