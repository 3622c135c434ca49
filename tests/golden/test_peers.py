"""Errors found in other sizing tools (a survey of November 2026): none of them may be ours.

Each test is named after the mistake; the truth beside it follows from the published config of the model or
from the maker's data sheet.
"""

from __future__ import annotations

import ast
import logging
import re
import sys
import tomllib
from pathlib import Path

import pytest

from memcalc import api
from memcalc.cli.app import run
from memcalc.errors import UsageError
from memcalc.readers.presets import load_chip
from memcalc.units import format_bytes, parse_byte_rate, parse_bytes

ROOT = Path(__file__).resolve().parents[2]


def weights_and_cache(model: str, **options: object) -> tuple[int, int]:
    """What a report prints as bytes of the weights and of the KV cache."""
    rows = {row.tensor: row.bytes for row in api.fit(model, **options).placement}
    return rows["weights"], rows["kv_cache"]


def test_mla_is_not_counted_as_plain_heads() -> None:
    # 61 layers x (512 + 64) x 2 B; with 128 heads of 56 it would be 24.9 times as much.
    report = api.fit("deepseek-v3", chip="h200-sxm", chips=16, context=131_072)
    assert report.kv_cache.bytes_per_token == 70_272
    assert report.kv_cache.bytes_per_sequence == 70_272 * 131_072  # 9.21 GB


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("gemma-3-27b", 11_173_625_856),  # 52 of 62 layers look back 1,024 tokens; 65 GB if none did
        ("gemma-2-9b", 23_253_221_376),  # 21 of 42 layers look back 4,096 tokens
        ("gpt-oss-20b", 3_224_371_200),  # 12 of 24 layers look back 128 tokens
        ("mistral-7b-v0.1", 536_870_912),  # all look back 4,096 tokens
    ],
)
def test_sliding_windows_are_not_ignored(model: str, size: int) -> None:
    report = api.fit(model, chip="h200-sxm", context=131_072)
    assert report.kv_cache.bytes_per_sequence == size


def test_grouped_queries_are_not_counted_as_full_heads() -> None:
    # 80 layers x 2 x 8 KV heads x 128 x 2 B; with all 64 heads 8 times as much.
    _, cache = weights_and_cache("llama-3.1-70b", chip="h100-sxm", chips=8, context=1024)
    assert cache == 327_680 * 1024


def test_head_and_embedding_are_not_left_out() -> None:
    # 128,256 rows of 4,096 twice are 13 % of Llama-3.1-8B.
    weights, _ = weights_and_cache("llama-3.1-8b", chip="h100-sxm")
    assert weights == 2 * 8_030_261_248
    book = api.request("llama-3.1-8b", chip="h100-sxm").book
    assert book.weight_bytes["embedding"] == 2 * 128_256 * 4096
    assert book.weight_bytes["head"] == 2 * (128_256 * 4096 + 4096)  # and the last norm


def test_a_tied_table_is_not_counted_twice() -> None:
    weights, _ = weights_and_cache("llama-3.2-1b", chip="h100-sxm")
    assert weights == 2 * 1_235_814_400


@pytest.mark.parametrize(
    ("model", "form", "least"),
    [
        ("deepseek-v3", "fp8", 671_026_404_352),  # 37.6e9 active: 17.8 times fewer
        ("qwen3-30b-a3b", "bf16", 2 * 30_532_122_624),  # 3.35e9 active
        ("mixtral-8x7b", "bf16", 2 * 46_702_792_704),  # 12.9e9 active
    ],
)
def test_active_parameters_are_not_taken_for_the_memory_of_experts(model: str, form: str, least: int) -> None:
    weights, _ = weights_and_cache(model, chip="h200-sxm", chips=16, weights=form)
    assert least <= weights < 1.01 * least


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("llama-3.1-8b", 8_030_261_248),
        ("qwen2.5-7b", 7_615_616_512),
        ("gemma-2-9b", 9_241_705_984),
        ("mixtral-8x7b", 46_702_792_704),  # not 8 x 7e9
        ("gpt-oss-20b", 20_914_757_184),
    ],
)
def test_parameters_are_not_read_from_the_name(model: str, parameters: int) -> None:
    assert api.fit(model, chip="h200-sxm").model.parameters == parameters


def test_the_kv_cache_is_not_left_out_of_the_total() -> None:
    # Weights of 16.06 GB fit a 24 GB card; with a cache of 17.18 GB they do not.
    assert api.fit("llama-3.1-8b", chip="rtx-4090", context=8192).fits
    refused = api.fit("llama-3.1-8b", chip="rtx-4090", context=131_072)
    assert not refused.fits
    assert "16.1 GB" in refused.reason
    assert "17.2 GB" in refused.reason
    report = api.fit("llama-3.1-8b", chip="h100-sxm", context=131_072)
    used = next(tier.used_bytes for tier in report.tiers if tier.tier == "hbm")
    assert used >= 16_060_522_496 + 17_179_869_184


# MiB in nvidia-smi; "80 GB" on the box of an H100 is neither 80e9 bytes nor 80 GiB.
@pytest.mark.parametrize(
    ("chip", "tier", "mib"),
    [("h100-sxm", "hbm", 81_559), ("h200-sxm", "hbm", 143_771), ("a100-sxm-80gb", "hbm", 81_920),
     ("l4", "gddr", 23_034), ("l40s", "gddr", 46_068), ("rtx-4090", "gddr", 24_564),
     ("rtx-5090", "gddr", 32_607), ("b200", "hbm", 183_359)],
)  # fmt: skip
def test_capacity_is_what_the_driver_shows(chip: str, tier: str, mib: int) -> None:
    assert load_chip(chip).memory[tier].capacity_bytes == mib * 2**20


def test_gb_and_gib_are_not_confused() -> None:
    assert parse_bytes("80GB", "memory") == 80_000_000_000
    assert parse_bytes("80GiB", "memory") == 85_899_345_920
    assert parse_byte_rate("3.35TB/s", "bandwidth") == 3.35e12
    # 141,107,412,992 B are 131.4 GiB.
    assert format_bytes(141_107_412_992) in ("141 GB", "141.1 GB")


def test_gib_are_not_printed_as_gb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fit", "llama-3.1-70b", "--chip", "h100-sxm", "--chips", "8", "-c", "32k", "-b", "8"]) == 0
    text = capsys.readouterr().out
    assert "141.1 GB" in text  # weights
    assert "85.9 GB" in text  # KV cache, 80 GiB
    assert "131.4" not in text
    assert "80.0 GB" not in text


# Data sheets: bytes/s. Weights that a step of Llama-3.1-8B reads: all but the embedding, 15.01 GB in bf16.
@pytest.mark.parametrize("engine", ["ideal", None])
@pytest.mark.parametrize(
    ("chip", "bandwidth"),
    [("h100-sxm", 3.35e12), ("a100-sxm-80gb", 2.039e12), ("h200-sxm", 4.8e12), ("mi300x", 5.3e12),
     ("rtx-4090", 1.008e12), ("tpu-v6e", 1.64e12), ("l40s", 8.64e11)],
)  # fmt: skip
def test_no_step_is_faster_than_the_bandwidth_allows(chip: str, bandwidth: float, engine: str | None) -> None:
    read = 2 * (8_030_261_248 - 128_256 * 4096) + 131_072 * 4096
    report = api.fit("llama-3.1-8b", chip=chip, context=4096, engine=engine, weights="bf16")
    assert report.decode.step_s >= read / bandwidth
    if engine == "ideal":  # and no slower where nothing is lost: TiB/s for TB/s would be 10 % off
        assert report.decode.step_s == pytest.approx(read / bandwidth, rel=0.001)


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "llama-3.1-70b", "--chip", "rtx-4090"],
        ["compare", "llama-3.1-405b", "--chip", "rtx-4090,l4", "--chips", "1"],
    ],
    ids=["fit", "compare"],
)
def test_nothing_that_fits_is_not_success(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 1
    assert "does not fit" in capsys.readouterr().out.lower()
    assert run([*words, "--json"]) == 1
    assert '"verdict": "does-not-fit"' in capsys.readouterr().out


# Rated power from the data sheets. HBM: the device alone takes 3.97 pJ/bit (HBM2), all of the path 11.68 (GH200)
# to 14.72 pJ/bit (MI300A; SC 2025, doi:10.1145/3712285.3759815, table 3): the least and the most published.
@pytest.mark.parametrize(
    ("chip", "chips", "batch", "rated_w"),
    [
        ("h100-sxm", 8, 1, 700),
        ("h100-sxm", 8, 32, 700),
        ("h200-sxm", 4, 8, 700),
        ("a100-sxm-80gb", 8, 16, 400),
    ],
)
def test_energy_is_not_a_hundred_times_too_high(chip: str, chips: int, batch: int, rated_w: float) -> None:
    report = api.fit("llama-3.1-70b", chip=chip, chips=chips, batch=batch)
    joules, terms = report.cost.joules_per_output_token, report.cost.energy_terms_j
    assert joules <= rated_w * chips * report.decode.step_s / batch * (1 + 1e-9)
    assert sum(terms.values()) == pytest.approx(joules)
    read = 2 * (70_553_706_496 - 128_256 * 8192) / batch + 327_680 * 8192
    assert 8 * read * 3.97e-12 <= terms["memory:hbm"] <= 8 * read * 14.72e-12


def test_a_report_is_not_hidden_by_a_log_level(capsys: pytest.CaptureFixture[str]) -> None:
    logging.disable(logging.CRITICAL)
    try:
        assert run(["fit", "llama-3.1-8b", "--chip", "h100-sxm"]) == 0
    finally:
        logging.disable(logging.NOTSET)
    assert "16.1 GB" in capsys.readouterr().out


def test_no_import_is_undeclared() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["hub"]
    declared = {re.split(r"[><=~!\[; ]", line)[0].replace("-", "_") for line in lines}
    used = set()
    for path in (ROOT / "memcalc").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                used |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                used.add(node.module.partition(".")[0])
    assert used - set(sys.stdlib_module_names) - {"memcalc"} <= declared
    assert not {"torch", "transformers", "numpy"} & declared


@pytest.mark.parametrize("model", ["gpt-5.3-codex-spark", "no-such-model-9b"])
def test_what_cannot_be_modelled_is_refused_by_name(model: str) -> None:
    with pytest.raises(UsageError) as refused:
        api.fit(model, chip="h100-sxm")
    assert model in refused.value.message
    assert refused.value.exit_code == 2
