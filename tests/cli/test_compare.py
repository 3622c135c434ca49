"""`memcalc compare`: several models, chips, formats and engines side by side, as table, JSON, CSV and by status."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

JUDGED = "llama-3.1-70b --chip h100-sxm,b200,groq-lpu-v1,wse-3 -w fp8 --kv fp8"
#: The columns of the table after system and verdict: block and figure of the report, and whether more is better.
FIGURES = (
    ("decode", "tokens_per_s_per_user", max),
    ("decode", "tokens_per_s_per_chip", max),
    ("prefill", "time_to_first_token_s", min),
    ("cost", "usd_per_million_output_tokens", min),
    ("cost", "joules_per_output_token", min),
)


def rows_of(table):
    """The cells of each row of a piped table; columns are two blanks or more apart."""
    lines = table.splitlines()
    start = next(number for number, text in enumerate(lines) if text.startswith("  system "))
    end = lines.index("", start)
    return [re.split(r"\s{2,}", text.strip()) for text in lines[start + 1 : end]]


def places(comparison):
    return [(report["system"]["name"], report["system"]["chips"]) for report in comparison["results"]]


def test_the_keys_of_a_comparison(compare, fit):
    found = compare(JUDGED)
    assert {"schema_version", "memcalc_version", "command", "results", "warnings"} <= set(found)
    assert found["schema_version"] == 1
    assert found["command"] == "compare"
    assert isinstance(found["warnings"], list)
    assert [report["command"] for report in found["results"]] == ["compare"] * 4
    alone = fit("llama-3.1-70b --chip h100-sxm --chips auto -w fp8 --kv fp8")
    # Each report is the one that fit gives; what +10 % of each figure would do is worked out there alone.
    assert set(found["results"][0]) == set(alone)
    for key in set(alone) - {"command", "sensitivity"}:
        assert found["results"][0][key] == alone[key], key


def test_gpus_hold_it_in_dram_and_sram_machines_on_the_chip(compare):
    found = compare(JUDGED)
    assert [report["system"]["name"] for report in found["results"]] == [
        "h100-sxm",
        "b200",
        "groq-lpu-v1",
        "wse-3",
    ]
    assert [report["verdict"] for report in found["results"]] == ["dram", "dram", "on-chip", "on-chip"]
    h100, b200, groq, wse = (report["system"]["chips"] for report in found["results"])
    # 70.6 GB and more of weights: 77 GB of an H100 hold them with no cache to speak of, 0.23 GB of a Groq chip make hundreds.
    assert (h100, b200, wse) == (2, 1, 2)
    assert 300 <= groq <= 600
    held = found["results"][2]["placement"]
    assert set(held[0]["tiers"]) == set(held[1]["tiers"]) == {"sram"}
    # The SRAM machines are many times faster for one user, and that is what their makers sell.
    speeds = [report["decode"]["tokens_per_s_per_user"] for report in found["results"]]
    assert min(speeds[2:]) > 3 * max(speeds[:2])


def test_the_judged_command_as_a_table(line, compare):
    done = line("compare", *JUDGED.split())
    assert (done.status, done.err) == (0, "")
    rows = rows_of(done.out)
    reports = compare(JUDGED)["results"]
    assert len(rows) == 4
    for row, report, place in zip(rows, reports, ("HBM", "HBM", "SRAM", "SRAM"), strict=True):
        assert row[0].startswith(f"{report['system']['chips']} × ")
        assert place in row[1]
        assert report["evidence"]["decode"] == row[-2]
    assert rows[0][1].startswith("in HBM")
    assert rows[3][1].startswith("fits in SRAM")


@pytest.mark.parametrize(
    "words",
    [
        JUDGED,
        "llama-3.1-8b --chip h100-sxm,mi300x,rtx-4090,tpu-v5e",
        "gpt-oss-20b --system dgx-h100,groqnode-8,cs-3-x1",
    ],
)
def test_a_star_stands_at_the_best_of_each_column(line, compare, words):
    rows, reports = rows_of(line("compare", *words.split()).out), compare(words)["results"]
    for column, (block, figure, better) in enumerate(FIGURES, 2):
        values = [report[block] and report[block][figure] for report in reports]
        known = [value for value in values if value is not None]
        starred = [place for place, row in enumerate(rows) if row[column].endswith(" *")]
        assert starred == ([values.index(better(known))] if len(known) > 1 else []), figure
        assert [row[column] == "–" for row in rows] == [value is None for value in values], figure
    assert all("*" not in cell for row in rows for cell in (row[0], row[1], *row[7:]))


def test_one_alone_has_no_star(line):
    rows = rows_of(line("compare", "llama-3.1-8b", "--chip", "h100-sxm").out)
    assert len(rows) == 1
    assert not any("*" in cell for cell in rows[0])


def test_chips_may_be_repeated_or_listed_and_stand_beside_systems(compare):
    listed = compare("llama-3.1-8b --chip h100-sxm,b200")
    assert compare("llama-3.1-8b --chip h100-sxm --chip b200")["results"] == listed["results"]
    assert places(compare("llama-3.1-8b --chip b200 --system dgx-h100,cs-3-x4")) == [
        ("b200", 1), ("dgx-h100", 8), ("cs-3-x4", 4),
    ]  # fmt: skip
    both = compare("llama-3.1-8b --system dgx-h100 --system dgx-b200")
    assert places(both) == [("dgx-h100", 8), ("dgx-b200", 8)]


def test_models_formats_and_engines_may_be_lists(compare):
    found = compare(
        "llama-3.1-8b,qwen3-8b --chip h100-sxm,l40s -w bf16,fp8 --kv bf16,fp8 --engine vllm,ideal"
    )
    asked = [
        (
            r["model"]["name"],
            r["system"]["name"],
            r["precision"]["weights"],
            r["precision"]["kv"],
            r["engine"],
        )
        for r in found["results"]
    ]
    assert len(asked) == len(set(asked)) == 2**5
    for place, values in enumerate(zip(*asked, strict=True)):
        assert len(set(values)) == 2, place
    # Models vary slowest.
    assert [one[0] for one in asked] == ["llama-3.1-8b"] * 16 + ["qwen3-8b"] * 16


def test_the_number_of_chips_is_the_fewest_unless_given(compare):
    assert places(compare("llama-3.1-70b --chip h100-sxm,mi300x")) == [("h100-sxm", 2), ("mi300x", 1)]
    assert places(compare("llama-3.1-70b --chip h100-sxm,mi300x --chips 4")) == [
        ("h100-sxm", 4),
        ("mi300x", 4),
    ]


def test_the_status_says_whether_anything_fits(line):
    words = ("compare", "llama-3.1-70b", "--chips", "1", "--chip")
    for chips, status in (("h100-sxm,rtx-4090", 1), ("rtx-4090,mi300x", 0), ("mi300x", 0)):
        for form in ("table", "json", "jsonl", "csv", "markdown"):
            assert line(*words, chips, "--format", form).status == status
    nothing = line(*words, "h100-sxm,rtx-4090")
    assert nothing.out.startswith("None of 2 fits")
    assert nothing.err == ""
    assert line(*words, "h100-sxm,rtx-4090", "--exit-zero").status == 0
    assert line(*words, "rtx-4090,mi300x").out.startswith("1 of 2 fit")


def test_lines_are_a_report_each(line, compare):
    found = compare(JUDGED)["results"]
    lines = line("compare", *JUDGED.split(), "--format", "jsonl").out.splitlines()
    assert [json.loads(text) for text in lines] == found
    rows = list(csv.DictReader(io.StringIO(line("compare", *JUDGED.split(), "--format", "csv").out)))
    assert [row["system"] for row in rows] == [report["system"]["name"] for report in found]
    assert [int(row["chips"]) for row in rows] == [report["system"]["chips"] for report in found]
    assert [float(row["step_s"]) for row in rows] == [report["decode"]["step_s"] for report in found]
    prices = [report["cost"]["usd_per_chip_hour"] for report in found]
    assert None in prices  # unknown is empty, not zero
    assert [row["usd_per_chip_hour"] for row in rows] == [
        "" if price is None else str(price) for price in prices
    ]
    assert len(line("compare", *JUDGED.split(), "--format", "markdown").out.splitlines()) == 2 + 4


def test_what_nobody_has_published_is_called_hypothetical_everywhere(line, compare):
    words = "llama-3.1-70b --chip h100-sxm,matx-one -w fp8"
    h100, matx = compare(words)["results"]
    assert (h100["system"]["hypothetical"], matx["system"]["hypothetical"]) == (False, True)
    assert (matx["evidence"]["decode"], matx["evidence"]["chip"]) == ("hypothetical", "estimate")
    assert h100["evidence"]["decode"] != "hypothetical"
    assert any("hypothetical" in text for text in matx["warnings"])
    table = rows_of(line("compare", *words.split()).out)
    assert "hypothetical" in table[1][0]
    assert table[1][-2] == "hypothetical"
    assert "hypothetical" not in " ".join(table[0])
    rows = list(csv.DictReader(io.StringIO(line("compare", *words.split(), "--format", "csv").out)))
    assert [row["hypothetical"] for row in rows] == ["false", "true"]
    assert rows[1]["evidence"] == "hypothetical"
    markdown = line("compare", *words.split(), "--format", "markdown").out.splitlines()
    assert "hypothetical" in markdown[3]
    assert "hypothetical" not in markdown[2]


def test_shared_warnings_stand_at_the_top(compare):
    found = compare("llama-3.1-8b --chip h100-sxm,b200 -c 256k")
    assert any("131072" in text for text in found["warnings"])
    assert all(any("131072" in text for text in report["warnings"]) for report in found["results"])


def test_why_says_who_leads_and_what_binds(compare):
    found = compare(JUDGED)
    text = " ".join(found["why"])
    assert "fastest per user: 2 × WSE-3" in text
    assert "bound by latency" in text
    assert "cheapest per token" in text


def test_a_report_that_does_not_fit_has_its_remedies_here_too(compare, fit):
    words = "llama-3.1-70b --chip h100-sxm --chips 1"
    assert compare(words)["results"][0]["remedies"] == fit(words)["remedies"] != []
