"""`memcalc validate` and `memcalc calibrate` as they are typed: contract, status, wrong input."""

from __future__ import annotations

import csv
import io
import json

import pytest

ROW = {
    "id": "mine-1", "workflow": "decode", "model": "llama-3.1-8b", "chip": "h100-sxm", "n_chips": 1, "engine": "vllm",
    "weights": "bf16", "kv": "bf16", "batch": 1, "context_tokens": 4096, "metrics": {"tok_s_user": 120.0},
}  # fmt: skip
LATER = [
    {**ROW, "id": f"mine-{n}", "context_tokens": 4096 * n, "metrics": {"tok_s_user": 120.0 - n}}
    for n in (2, 3)
]
BROKEN = {**ROW, "id": "odd", "batch": "many"}
FIGURES = {"n", "median_abs_error", "p90_abs_error", "bias", "band_coverage"}


@pytest.fixture
def file(tmp_path):
    """Write rows (objects, or text as it is) and give the path."""

    def write(*rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text(
            "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8"
        )
        return str(path)

    return write


def test_the_published_record_as_json(line):
    ran = line("validate", "--json")
    found = json.loads(ran.out)
    assert (ran.status, ran.err) == (0, "")
    assert found["command"] == "validate"
    assert found["inputs"]["held_out"]
    assert set(found["overall"]) == FIGURES
    assert all({"workflow", "engine", "family", "kind"} | FIGURES <= set(group) for group in found["groups"])
    assert sum(group["n"] for group in found["groups"]) == found["overall"]["n"]
    assert all(set(entry) == {"id", "reason", "broken"} for entry in found["skipped"])


def test_a_line_for_each_figure_or_a_reason(line, file):
    path = file(ROW, {**ROW, "id": "gone", "chip": "abacus"})
    ran = line("validate", path, "--format", "jsonl")
    row, reason = map(json.loads, ran.out.splitlines())
    assert ran.status == 0
    assert {"id", "workflow", "metric", "measured", "predicted", "ratio", "low", "high"} <= set(row)
    assert row["low"] < row["predicted"] < row["high"]
    assert row["ratio"] == pytest.approx(row["predicted"] / row["measured"])
    assert reason == {"id": "gone", "reason": "unknown chip 'abacus'"}


@pytest.mark.parametrize(
    ("metrics", "measured"),
    [
        ({"tok_s_user": 100.0}, 100.0), ({"tpot_ms": 8.0}, 125.0), ({"tok_s_chip_output": 100.0}, 100.0),
        ({"tok_s_user": 100.0, "tpot_ms": 8.0}, 100.0),
    ],
)  # fmt: skip
def test_times_are_compared_as_rates(line, file, metrics, measured):
    ran = line("validate", file({**ROW, "metrics": metrics}), "--format", "jsonl")
    assert json.loads(ran.out)["measured"] == measured


def test_a_time_to_first_token_is_a_rate_of_prompt_tokens(line, file):
    row = {**ROW, "workflow": "prefill", "input_tokens": 1000, "metrics": {"ttft_ms": 50.0}}
    found = json.loads(line("validate", file(row), "--format", "jsonl").out)
    assert found["measured"] == pytest.approx(20_000.0)
    assert 0.3 < found["ratio"] < 3.0


def test_the_layout_of_a_user_does_not_change_his_rate_per_chip(line, file):
    """The same speed, stated for a user, an instance and a chip, has one ratio."""
    base = {**ROW, "n_chips": 2, "tp": 2, "batch": 4}
    rows = [
        {**base, "id": "u", "metrics": {"tok_s_user": 60.0}},
        {**base, "id": "i", "metrics": {"tok_s_instance_output": 240.0}},
        {**base, "id": "c", "metrics": {"tok_s_chip_output": 120.0}},
    ]
    ratios = [
        json.loads(text)["ratio"]
        for text in line("validate", file(*rows), "--format", "jsonl").out.splitlines()
    ]
    assert ratios == pytest.approx([ratios[0]] * 3)


def test_a_broken_row_is_named_and_the_rest_goes_on(line, file):
    ran = line("validate", file(BROKEN, ROW, "{"))
    assert ran.status == 1
    assert "broken  odd: line 1: batch is not a whole number" in ran.out
    assert "broken  line 3: is not a JSON object" in ran.out
    assert "3 rows · 1 predicted · 0 skipped · 2 broken" in ran.out


def test_csv_has_a_head(line, file):
    [row] = csv.DictReader(io.StringIO(line("validate", file(ROW), "--format", "csv").out))
    assert row["id"] == "mine-1"
    assert float(row["measured"]) == 120.0


def test_markdown_and_a_file(line, file, tmp_path):
    out = tmp_path / "out.md"
    ran = line("validate", file(ROW), "--format", "markdown", "-o", str(out))
    assert (ran.status, ran.out) == (0, "")
    assert out.read_text(encoding="utf-8").startswith("| id | workflow |")


def test_constants_that_have_seen_the_rows(line):
    seen, held = (json.loads(line("validate", *words, "--json").out) for words in (["--in-sample"], []))
    assert seen["speeds"]["median_abs_error"] < held["speeds"]["median_abs_error"]
    assert not seen["inputs"]["held_out"]


def test_another_engine_for_all_rows(line, file):
    path = file(ROW)
    one, two = (
        json.loads(line("validate", path, *words, "--format", "jsonl").out)
        for words in ([], ["--engine", "ideal"])
    )
    assert two["engine"] == "ideal"
    assert two["predicted"] > one["predicted"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["validate", "none.jsonl"], 3, "none.jsonl: there is no such file"),
        (["validate", "."], 3, "is a folder"),
        (["validate", "--engine", "steam"], 2, "unknown engine 'steam'"),
        (["validate", "--format", "xml"], 2, "unknown format 'xml'"),
        (["validate", "a", "b"], 2, "unexpected extra argument"),
        (["validate", "--chip", "wse-4"], 2, "did you mean 'wse-3'"),
        (["validate", "--chip", "wse-2,,wse-3"], 2, "--chip is empty"),
        (["validate", "--chip", ""], 2, "--chip is empty"),
        (["calibrate"], 2, "missing"),
        (["calibrate", "none.json"], 3, "there is no such file"),
        (["calibrate", "none.json", "--chips", "0"], 2, "--chips"),
        (["calibrate", "none.json", "--name", "Mine!"], 2, "--name 'Mine!'"),
        (["calibrate", "none.json", "-o", ""], 2, "-o is empty"),
    ],
)
def test_wrong_input(line, words, status, said):
    ran = line(*words)
    assert ran.status == status
    assert said in ran.err
    assert ran.out == ""


def test_three_rows_make_an_engine_that_fit_uses(line, file, tmp_path):
    out = str(tmp_path / "mine.toml")
    ran = line("calibrate", file(ROW, *LATER), "-o", out)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("mine: off by ")
    assert "decode on hopper" in ran.out
    report = json.loads(
        line("fit", "llama-3.1-8b", "--chip", "h100-sxm", "-c", "8k", "--engine", out, "--json").out
    )
    assert report["engine"] == "mine"
    assert report["evidence"]["decode"] == "calibrated"
    assert report["evidence"]["rests_on"] == "3 rows of mine on hopper"
    assert report["decode"]["tokens_per_s_per_user"] == pytest.approx(118.0, rel=0.05)
    other = json.loads(line("fit", "llama-3.1-8b", "--chip", "a100-sxm-80gb", "--engine", out, "--json").out)
    assert other["evidence"]["decode"] == "estimate"


def test_calibrate_as_json(line, file):
    found = json.loads(line("calibrate", file(ROW, *LATER), "--json").out)
    assert found["command"] == "calibrate"
    assert found["rows"] == 3
    assert found["median_abs_error"]["after"] <= found["median_abs_error"]["before"]
    assert [band["task"] for band in found["bands"]] == ["decode"]


def test_the_preset_on_the_screen(line, file):
    ran = line("calibrate", file(ROW, *LATER), "-o", "-", "--name", "ours")
    assert ran.out.startswith('name = "ours"\n')


def test_what_a_tool_wrote_and_what_the_user_states(line, file):
    result = {
        "model_type": "llama 8B Q8_0",
        "n_prompt": 0,
        "n_gen": 128,
        "avg_ts": 95.0,
        "gpu_info": "NVIDIA H100",
    }
    path = file([result], name="bench.json")
    assert line("calibrate", path).status == 3
    ran = line("calibrate", path, "--model", "llama-3.1-8b", "--chip", "h100-sxm", "--json")
    assert json.loads(ran.out)["rows"] == 1


@pytest.mark.parametrize("engine", ["ideal", "groq"])
def test_an_engine_that_others_rows_do_not_move(line, file, engine):
    ran = line("calibrate", file(ROW), "--engine", engine)
    assert ran.status == 2
    assert "has constants of its own" in ran.err


def test_rows_about_memory_alone_move_nothing(line, file):
    row = {**ROW, "workflow": "memory", "metrics": {"weights_gib": 15.0}}
    ran = line("calibrate", file(row))
    assert ran.status == 3
    assert "sizes do not move" in ran.err


def test_a_broken_row_is_named_beside_the_engine(line, file):
    ran = line("calibrate", file(ROW, BROKEN, *LATER))
    assert ran.status == 1
    assert "broken  odd" in ran.out


def test_rows_of_chips_alone_each_listed(line):
    found = json.loads(line("validate", "--chip", "wse-3, taalas-hc1", "--chip", "wse3", "--json").out)
    assert found["inputs"]["chips"] == ["wse-3", "taalas-hc1"]
    rows = {row["id"]: row for row in found["rows"]}
    assert {row["chip"] for row in rows.values()} == {"wse-3", "taalas-hc1"}
    assert len(rows) == found["overall"]["n"] == 22
    assert [entry["id"] for entry in found["skipped"]] == ["openai-codex-spark"]
    drafted = rows["cerebras-llama3.1-70b-2148"]
    assert drafted["tokens_per_step_to_explain"] == pytest.approx(1.0 / drafted["ratio"])
    assert "bf16 KV cache" in drafted["assumed"]
    assert [(one["chip"], one["task"]) for one in found["by_chip"]] == [
        ("wse-3", "decode"),
        ("taalas-hc1", "decode"),
    ]
    worst = rows[found["by_chip"][1]["worst"]]
    assert worst["id"] == "taalas-hc1-14357"
    assert any("taalas-hc1 rests on 1 vendor claim" in text for text in found["warnings"])


def test_the_screen_of_chips_has_every_row_and_what_was_assumed(line):
    ran = line("validate", "--chip", "groq-lpu-v1")
    lines = json.loads(line("validate", "--chip", "groq-lpu-v1", "--json").out)
    assert ran.status == 0
    for row in lines["rows"]:
        assert f"{row['id']} " in ran.out
        assert f"{row['ratio']:.2f}" in ran.out
    for entry in lines["skipped"]:
        assert f"{entry['id']}: {entry['reason']}" in ran.out
    assert "the fewest chips that hold it" in ran.out
    assert "rests on 12 published points" in ran.out


def test_chips_of_a_file_of_ones_own(line, file):
    path = file(ROW, {**ROW, "id": "other", "chip": "b200"}, {**ROW, "id": "none", "chip": None})
    [row] = map(json.loads, line("validate", path, "--chip", "b200", "--format", "jsonl").out.splitlines())
    assert row["id"] == "other"
    assert row["chips"] == 1


def test_a_chip_without_rows(line, file):
    ran = line("validate", file(ROW), "--chip", "wse-2")
    assert ran.status == 0
    assert ran.out.startswith("Nothing could be predicted")
    assert "no rows" in ran.out
    assert line("validate", file(ROW), "--chip", "wse-2", "--format", "jsonl").out == ""


def test_a_broken_row_is_named_beside_chips(line, file):
    ran = line("validate", file(BROKEN, ROW), "--chip", "h100-sxm")
    assert ran.status == 1
    assert "broken  odd" in ran.out
    assert "mine-1" in ran.out
