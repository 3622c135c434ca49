"""What fits where: published capacity examples, the contract's worked report and an engine's own log."""

from __future__ import annotations

import pytest

from memcalc import api
from memcalc.core.report import Report

GIB = 2**30


def in_tier(report: Report, tensor: str) -> int:
    """Bytes of a tensor over the whole system, copies included."""
    return sum(next(row.tiers for row in report.placement if row.tensor == tensor).values())


# camps.md, section 4. A WSE-3 has 44 GB of SRAM, of which 95 % are taken as usable.
@pytest.mark.parametrize(("context", "users"), [("8k", 23), ("128k", 1)])
def test_wse_3_holds_llama_8b_in_bf16_for_so_many_users(context: str, users: int) -> None:
    report = api.fit("llama-3.1-8b", chip="wse-3", weights="bf16", kv="bf16", context=context)
    assert report.verdict == "on-chip"
    assert report.limits.max_batch == users


def test_four_wse_3_hold_llama_70b_in_bf16_for_9_users_at_8k_and_one_at_77k() -> None:
    report = api.fit("llama-3.1-70b", system="cs-3-x4", weights="bf16", kv="bf16", context="8k")
    assert report.verdict == "on-chip"
    assert report.limits.max_batch == 9
    assert report.limits.max_context_tokens == pytest.approx(77 * 1024, rel=0.03)


def test_four_wse_3_do_not_hold_llama_70b_in_bf16_at_128k() -> None:
    report = api.fit("llama-3.1-70b", system="cs-3-x4", weights="bf16", kv="bf16", context="128k")
    assert report.verdict == "does-not-fit"
    assert report.limits.max_batch == 0
    assert report.decode is None


# The maker in 2024 (cerebras.ai blog): in 16 bit 8B and 20B run on one CS-3, 70B on four.
@pytest.mark.parametrize(("model", "wafers"), [("llama-3.1-8b", 1), ("20b", 1), ("llama-3.1-70b", 4)])
def test_cerebras_says_how_many_wafers_a_model_takes(model: str, wafers: int) -> None:
    report = api.fit(model, chip="wse-3", chips=wafers, weights="bf16", context="2k")
    assert report.verdict == "on-chip"
    assert report.limits.min_chips == wafers


@pytest.mark.parametrize("model", ["llama-2-70b", "llama-3.1-70b"])
def test_groq_70b_in_int8_takes_316_to_340_lpus(model: str) -> None:
    # camps.md, section 4: 230 MB a chip; the range is over the two vocabularies and the length of the context.
    report = api.fit(model, chip="groq-lpu-v1", chips=576, weights="int8", kv="int8", context=4096)
    assert 316 <= report.limits.min_chips <= 340


def test_576_groq_lpus_hold_70b_in_int8_for_43_users_at_8k() -> None:
    report = api.fit("llama-2-70b", system="groq-lpu-v1-576", weights="int8", kv="int8", context="8k")
    assert report.verdict == "on-chip"
    # With 95 % of the SRAM; with 97 % it would be 43.
    assert 41 <= report.limits.max_batch <= 43


def test_gpt_oss_120b_on_576_groq_lpus_takes_62_8_gb() -> None:
    # SHIP (MLSys 2026, openreview IZaXDwDtL1): 132.5 GB in all, of which 69.7 are left to the KV cache. There
    # attention and tables are in 8 bit, in the checkpoint in 16.
    report = api.fit("gpt-oss-120b", system="groq-lpu-v1-576", context=1024)
    sram = next(tier for tier in report.tiers if tier.tier == "sram")
    assert sram.capacity_bytes == pytest.approx(132.5e9, rel=0.001)
    assert in_tier(report, "weights") == pytest.approx(132.5e9 - 69.7e9, rel=0.01)


def test_hc1_holds_2048_tokens_and_no_more() -> None:
    # The claim at 1k in, 1k out needs 2,048 tokens of 131,072 B; the SRAM beyond that is unpublished.
    assert api.fit("llama-3.1-8b", chip="taalas-hc1", context=2048).verdict == "on-chip"
    refused = api.fit("llama-3.1-8b", chip="taalas-hc1", context=2049)
    assert refused.verdict == "does-not-fit"
    assert refused.limits.max_context_tokens == 2048


def test_hc1_holds_one_user_of_2048_tokens() -> None:
    report = api.fit("llama-3.1-8b", chip="taalas-hc1", context=2048)
    assert report.limits.max_batch == 1
    assert report.limits.min_chips == 1


def test_hc1_cards_are_independent_and_no_number_of_them_holds_a_longer_context() -> None:
    # NextPlatform (2026-02-19) on the server of ten: independent cards, one model each.
    report = api.fit("llama-3.1-8b", chip="taalas-hc1", context=4096)
    assert report.limits.min_chips is None
    assert not any("--chips" in remedy.options for remedy in report.remedies)


def test_hc1_holds_no_other_model() -> None:
    report = api.fit("llama-3.1-70b", chip="taalas-hc1", context=1024)
    assert report.verdict == "does-not-fit"
    assert "llama-3.1-8b" in report.reason


@pytest.fixture(scope="module")
def contract() -> Report:
    """The worked report of contract.md: 70B in bf16 on 8 H100, 8 sequences of 32k, under vLLM."""
    return api.fit("llama-3.1-70b", chip="h100-sxm", chips=8, batch=8, context=32_768)


def test_contract_bytes(contract: Report) -> None:
    rows = {row.tensor: row for row in contract.placement}
    assert rows["weights"].bytes == 141_107_412_992
    assert rows["kv_cache"].bytes == 85_899_345_920
    assert rows["weights"].tiers == {"hbm": 141_107_412_992}
    assert rows["kv_cache"].tiers == {"hbm": 85_899_345_920}
    assert rows["state"].bytes == 0
    assert contract.kv_cache.bytes_per_token == 327_680
    assert contract.kv_cache.bytes_per_sequence == 10_737_418_240
    assert contract.kv_cache.replication == 1.0


def test_contract_tiers(contract: Report) -> None:
    hbm = next(tier for tier in contract.tiers if tier.tier == "hbm")
    assert hbm.capacity_bytes == 684_166_479_872
    assert hbm.usable_bytes == 615_749_831_884
    assert hbm.bandwidth_bytes_per_s == 2.68e13
    assert hbm.used_bytes >= 141_107_412_992 + 85_899_345_920
    assert contract.verdict == "dram"


def test_contract_limits(contract: Report) -> None:
    assert contract.limits.max_batch == 41
    assert contract.limits.min_chips == 4
    # 1 %: what the engine keeps for activations.
    assert contract.limits.max_context_tokens == pytest.approx(169_159, rel=0.01)
    assert [change.value for change in contract.degrades_at if change.what == "batch"] == [42]


# vLLM, pull request 10511: log of an H100 80GB at utilisation 0.90, Llama-3.1-8B in bf16. GiB of one GPU:
# weights, outside torch, and left to the KV cache (for two GPUs 71.30 - 7.48 - 3.58 - 1.26 of activations).
@pytest.mark.parametrize(
    ("chips", "weights", "runtime", "cache"),
    [pytest.param(1, 14.96, 1.79, 53.29, id="TP1"), pytest.param(2, 7.48, 3.58, 58.98, id="TP2")],
)
def test_vllm_log_of_llama_8b_on_h100(chips: int, weights: float, runtime: float, cache: float) -> None:
    report = api.fit("llama-3.1-8b", chip="h100-sxm", chips=chips, tp=chips, engine="vllm")
    assert in_tier(report, "weights") / chips / GIB == pytest.approx(weights, abs=0.005)
    assert in_tier(report, "reserved") / chips / GIB == pytest.approx(runtime, abs=0.01)
    # One sequence may grow until the memory is full. 5 %: activations (1.26 GiB there) are an estimate, and
    # that log shows 79.22 GiB in all where the driver has 79.65.
    left = report.limits.max_context_tokens * 131_072 / chips / GIB
    assert left == pytest.approx(cache, rel=0.05)


# KV copies under tensor parallelism beyond the KV heads; cost-model.md, section B: max(1, t/K), and t for
# a latent, "a factor 8 on DeepSeek-V3".
@pytest.mark.parametrize(
    ("model", "chip", "tensor", "copies"),
    [("llama-3.1-70b", "h200-sxm", 8, 1), ("qwen3-30b-a3b", "h200-sxm", 8, 2), ("deepseek-v3", "b200", 8, 8)],
)
def test_kv_heads_are_copied_beyond_their_number(model: str, chip: str, tensor: int, copies: int) -> None:
    report = api.fit(model, chip=chip, chips=tensor, tp=tensor, context=4096)
    assert report.kv_cache.replication == copies
    assert in_tier(report, "kv_cache") == copies * report.kv_cache.bytes_per_sequence
