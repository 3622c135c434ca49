"""`memcalc explain`: its screen, its JSON and its status are those of `fit` with the way there."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys

import pytest

WORDS = ("llama-3.1-70b", "--chip", "h100-sxm", "--chips", "8", "-b", "32", "-c", "32k", "-w", "fp8")
MISFIT = ("llama-3.1-70b", "--chip", "h100-sxm")

DRIVER = """
import sys
from memcalc.cli import main
try:
    main()
except SystemExit as end:
    assert end.code in (0, None), end.code
print(*sys.modules, file=sys.stderr)
"""


def loaded(*words):
    """The modules that a run of the command has when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *words], capture_output=True, text=True, check=True, env=os.environ
    )
    return set(done.stderr.splitlines()[-1].split())


def steps(line, *words):
    """The steps of a run by heading and name."""
    found = json.loads(line("explain", *words, "--json").out)
    return {(step["group"], step["name"]): step["result"] for step in found["steps"]}


def test_the_figures_are_those_of_fit(line):
    report = json.loads(line("fit", *WORDS, "--json").out)
    found = steps(line, *WORDS)
    assert found["decode step", "decode step"] == report["decode"]["step_s"]
    assert found["decode step", "tokens/s per user"] == report["decode"]["tokens_per_s_per_user"]
    assert found["prefill", "time to first token"] == report["prefill"]["time_to_first_token_s"]
    assert found["cost", "USD per million tokens out"] == report["cost"]["usd_per_million_output_tokens"]
    assert found["cost", "joules per token out"] == report["cost"]["joules_per_output_token"]
    assert found["memory", "weights"] == report["placement"][0]["bytes"]
    for term, title in (
        ("compute", "compute"),
        ("memory:hbm", "HBM"),
        ("network", "network"),
        ("latency", "latency"),
    ):
        assert found["decode step", f"exposed: {title}"] == report["decode"]["terms_s"][term]


def test_the_keys_of_the_json(line):
    done = line("explain", *WORDS, "--json")
    found = json.loads(done.out)
    assert done.status == 0
    assert done.err == ""
    assert {"schema_version", "memcalc_version", "command", "inputs", "warnings", "steps", "serve", "fits",
            "verdict"} <= set(found)  # fmt: skip
    assert found["command"] == "explain"
    assert found["schema_version"] == 1
    assert found["inputs"]["workload"]["context_tokens"] == 32768
    assert found["serve"].startswith("vllm serve meta-llama/Llama-3.1-70B --tensor-parallel-size 8 ")
    for step in found["steps"]:
        assert {"name", "formula", "values", "result", "unit", "source"} <= set(step)
        assert all(isinstance(value, int | float) for value in step["values"].values())


def test_other_engines_have_no_command_line(line):
    found = json.loads(line("explain", "llama-3.1-8b", "--chip", "wse-3", "--json").out)
    assert found["fits"]
    assert found["serve"] is None


def test_what_does_not_fit_has_status_1(line):
    done = line("explain", *MISFIT)
    assert done.status == 1
    assert done.out.startswith("Does not fit: needs ")
    assert "verdict: does-not-fit (" in done.out
    assert line("explain", *MISFIT, "--exit-zero").status == 0
    found = json.loads(line("explain", *MISFIT, "--json").out)
    assert found["fits"] is False
    assert found["serve"] is None
    assert found["remedies"]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("llama-3.1-70b", "--chip", "h10"), 2),
        (("llama-3.1-70b", "--chip", "h100-sxm", "--tp", "3"), 2),
        (("./nothing.json", "--chip", "h100-sxm"), 3),
    ],
)
def test_errors_are_those_of_fit(line, words, status):
    done = line("explain", *words)
    assert done == line("fit", *words)
    assert done.status == status
    assert done.out == ""


@pytest.mark.parametrize(
    "words",
    [
        ("deepseek-v3", "--system", "vr200-nvl72-groq-3-lpx-x6", "-c", "128k"),
        (
            "llama-3.1-70b",
            "--prefill-system",
            "trn3-gen2-ultraserver",
            "--decode-system",
            "cs-3-x4",
            "-c",
            "64k",
        ),
    ],
)
def test_unlike_pools_are_taken_apart(line, words):
    report = json.loads(line("fit", *words, "--json").out)
    found = steps(line, *words)
    assert found["decode step", "decode step"] == report["decode"]["step_s"]
    assert found["prefill", "time to first token"] == report["prefill"]["time_to_first_token_s"]
    for pool in report["system"]["pools"]:
        assert found[f"placement: {pool['role']}", f"verdict of {pool['role']}"] == pool["verdict"]
    text = line("explain", *words).out
    for pool in report["system"]["pools"]:
        assert f"\n  placement: {pool['role']} on {pool['chips']:,} × {pool['title']}\n" in text


def test_the_screen_answers_first(line):
    answer, asked = line("explain", *WORDS).out.splitlines()[:2]
    assert [answer, asked] == line("fit", *WORDS).out.splitlines()[:2]


def test_the_screen_goes_with_the_data(line):
    text = line("explain", *WORDS).out
    places = [
        text.index(f"\n  {group}\n") for group in ("memory", "placement", "decode step", "prefill", "cost")
    ]
    assert places == sorted(places)
    assert text.rstrip().splitlines()[-1].strip().startswith("vllm serve ")
    # A formula, the same with its numbers, and the result with its unit.
    assert "batch × sequence_bytes" in text
    assert "= 32 × 10.7 GB = 343.6 GB" in text


def test_a_csv_has_a_step_a_row(line):
    rows = list(csv.DictReader(io.StringIO(line("explain", *WORDS, "--format", "csv").out)))
    plain = [json.loads(text) for text in line("explain", *WORDS, "--format", "jsonl").out.splitlines()]
    assert [row["name"] for row in rows] == [step["name"] for step in plain]
    assert [json.loads(row["values"]) for row in rows] == [step["values"] for step in plain]


def test_a_file_is_written(line, tmp_path):
    file = tmp_path / "why.txt"
    done = line("explain", *WORDS, "-o", str(file))
    assert done.out == ""
    assert file.read_text(encoding="utf-8") == line("explain", *WORDS).out


def test_it_runs_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "memcalc", "explain", *WORDS],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert done.stderr == ""
    assert done.stdout.startswith("Fits in HBM: ")


def test_help_leads_with_examples(line):
    done = line("explain", "--help")
    assert done.status == 0
    assert "memcalc explain llama-3.1-70b" in done.out
    assert "Each formula behind the answer of fit" in line("--help").out


def test_fit_starts_without_it():
    for more in ((), ("--json",)):
        modules = loaded("fit", "llama-3.1-8b", "--chip", "h100-sxm", *more)
        assert "memcalc.core.estimate" in modules
        assert not {name for name in modules if name.startswith("memcalc.") and "explain" in name}
        assert "memcalc.studies.serve" not in modules


def test_its_json_is_drawn_by_nobody():
    modules = loaded("explain", "llama-3.1-8b", "--chip", "h100-sxm", "--json")
    assert "memcalc.studies.explain" in modules
    assert not {"rich", "pydantic", "memcalc.render.tables"} & modules
