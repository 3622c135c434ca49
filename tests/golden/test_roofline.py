"""Step times of the bare roofline and of layer floors, against worked examples and published speeds."""

from __future__ import annotations

import pytest

from memcalc import api
from memcalc.chip import Chip, LayerFloor, Links, System, Tier
from memcalc.core.estimate import estimate
from memcalc.core.ledger import expert_hits
from memcalc.core.network import network
from memcalc.core.report import Report
from memcalc.core.search import Request
from memcalc.engine import Constants, Engine
from memcalc.model import FeedForward, GroupedAttention, Layers, Model
from memcalc.readers.presets import load_chip, load_engine, load_model
from memcalc.workload import Layout, Precision, Workload

#: Room without end: some worked examples step through batches that no memory would hold.
ENDLESS = 10**16


def run(model: str | Model, **options: object) -> Report:
    """The report without the search for limits, by the words of the library."""
    return estimate(api.request(model, **options), limits=False)


def run_on(
    chip: Chip,
    model: str,
    batch: int,
    context: int,
    form: str,
    *,
    chips: int = 1,
    engine: Engine | None = None,
) -> Report:
    """The report of chips that the test itself describes, without losses; weights and KV cache in one format."""
    request = Request(
        model=load_model(model),
        system=System(chip.name, chip.title, chip, chips),
        engine=engine or load_engine("ideal"),
        constants=Constants(),
        workload=Workload(batch, context),
        precision=Precision(form, form),
    )
    return estimate(request, limits=False)


def dense(name: str, *, layers: int, width: int, heads: int, kv_heads: int, head: int, inner: int,
          vocabulary: int) -> Model:  # fmt: skip
    """A plain model with gated feed-forward parts."""
    shape = Layers(layers, GroupedAttention(heads, kv_heads, head), FeedForward(inner))
    return Model(name, width, vocabulary, (shape,))


V5E = {"memory.hbm.bandwidth_bytes_per_s": 8.2e11, "memory.hbm.capacity_bytes": 16_000_000_000}
V5E_ENDLESS = {**V5E, "memory.hbm.capacity_bytes": ENDLESS}

# "Modeling throughput and latency for LLaMA 2-13B": bf16, 8 x v5e, 8,192 tokens. Batch, ms, tokens/s.
LLAMA_2_13B = [
    (1, 4.98, 200.61), (8, 12.13, 659.30), (16, 20.30, 787.99), (32, 36.65, 873.21), (64, 69.33, 923.13),
    (240, 249.09, 963.53),
]  # fmt: skip
LLAMA_2_13B_GMQA = [
    (1, 4.17, 239.94), (8, 5.60, 1429.19), (16, 7.23, 2212.48), (32, 10.50, 3047.62), (64, 17.04, 3756.62),
    (240, 52.99, 4529.34),
]  # fmt: skip
# The book reads all 26 GB of weights in each step; of the input embedding (0.33 GB) a step reads rows only.
EMBEDDING_OF_13B = 0.33 / 26


@pytest.mark.parametrize(("batch", "ms", "tokens_per_s"), LLAMA_2_13B)
def test_scaling_book_llama_2_13b_on_8_v5e(batch: int, ms: float, tokens_per_s: float) -> None:
    decode = run("llama-2-13b", chip="tpu-v5e", chips=8, batch=batch, engine="ideal", set=V5E_ENDLESS).decode
    assert decode.step_s * 1e3 == pytest.approx(ms, rel=EMBEDDING_OF_13B)
    assert decode.tokens_per_s == pytest.approx(tokens_per_s, rel=EMBEDDING_OF_13B)


@pytest.mark.parametrize(("batch", "ms", "tokens_per_s"), LLAMA_2_13B_GMQA)
def test_scaling_book_llama_2_13b_with_a_fifth_of_the_kv_cache(
    batch: int, ms: float, tokens_per_s: float
) -> None:
    # 8 KV heads instead of 40 at the same total: the feed-forward part gains what K and V lose.
    model = dense("13b-gmqa", layers=40, width=5120, heads=40, kv_heads=8, head=128,
                  inner=13_824 + 2_731, vocabulary=32_000)  # fmt: skip
    decode = run(model, chip="tpu-v5e", chips=8, batch=batch, engine="ideal", set=V5E_ENDLESS).decode
    assert decode.step_s * 1e3 == pytest.approx(ms, rel=EMBEDDING_OF_13B)
    assert decode.tokens_per_s == pytest.approx(tokens_per_s, rel=EMBEDDING_OF_13B)


# The book's formula gives 2.57 ms, printed as 2.5; both batches at its 8.1e11 B/s, int8 weights, bf16 math.
@pytest.mark.parametrize(("batch", "ms"), [(4, 2.57), (256, 21.0)])
def test_scaling_book_pop_quiz_30b_on_16_v5e(batch: int, ms: float) -> None:
    # Any model with 30e9 parameters and 100 kB of int8 KV cache a token, whose 16 KV heads divide by 16 chips.
    quiz = dense("quiz", layers=49, width=6144, heads=96, kv_heads=16, head=64, inner=28_434, vocabulary=16)
    assert quiz.parameters == pytest.approx(30e9, rel=0.001)
    changes = {**V5E_ENDLESS, "memory.hbm.bandwidth_bytes_per_s": 8.1e11}
    words = {"weights": "int8", "kv": "int8", "activations": "bf16", "engine": "ideal", "set": changes}
    report = run(quiz, chip="tpu-v5e", chips=16, batch=batch, **words)
    assert report.decode.step_s * 1e3 == pytest.approx(ms, rel=0.01)  # 100,352 B a token, digits of the book


# The bare roofline divides the cache by sequences beyond K chips, as the book (and Pope 2022) does.
@pytest.mark.parametrize(
    ("chips", "ms"),
    [pytest.param(8, 17.0, id="4x2"), pytest.param(16, 8.5, id="4x4")],
)
def test_scaling_book_llama_3_70b_int8_batch_32(chips: int, ms: float) -> None:
    words = {"weights": "int8", "kv": "int8", "engine": "ideal", "set": V5E}
    decode = run("llama-3.1-70b", chip="tpu-v5e", chips=chips, batch=32, **words).decode
    # The book has 70e9 parameters (0.8 % low) and 160e3 B of KV cache a token (2.4 % low): 112 for 113.5 GB.
    assert decode.step_s * 1e3 == pytest.approx(ms, rel=0.02)
    assert decode.tokens_per_s_per_chip == pytest.approx(235, rel=0.02)


# Smallest slices for LLaMA 3-70B at 8k and batch 1: the next smaller one does not hold it.
@pytest.mark.parametrize(("form", "chips"), [("bf16", 16), ("int8", 8), ("int4", 4)])
def test_scaling_book_smallest_v5e_slice_for_llama_3_70b(form: str, chips: int) -> None:
    words = {"chip": "tpu-v5e", "weights": form, "kv": form, "engine": "ideal", "set": V5E}
    assert run("llama-3.1-70b", chips=chips, **words).fits
    assert not run("llama-3.1-70b", chips=chips // 2, **words).fits


def test_scaling_book_bf16_on_4x4_holds_43_caches_of_8k() -> None:
    # (256 - 140) GB / 2.65 GB; with 70.55e9 parameters and 327,680 B a token one fewer. The book's counts for
    # int8 and int4 (52 and 67) divide the weights, not the room beside them, by a cache: not held against us.
    report = api.fit("llama-3.1-70b", chip="tpu-v5e", chips=16, engine="ideal", set=V5E)
    assert report.limits.max_batch == pytest.approx(43, abs=1)


# "v5e HBM / v5e HBM bandwidth = 19 ms a step" with the memory full. Less what is not read (embedding) or left
# over: a cache of 8k is 2 to 5 % of such a slice.
@pytest.mark.parametrize(
    ("form", "chips"),
    [pytest.param("bf16", 16), ("int8", 8), ("int4", 4)],
)
def test_scaling_book_a_full_memory_drains_in_19_ms(form: str, chips: int) -> None:
    words = {"chip": "tpu-v5e", "chips": chips, "weights": form, "kv": form, "engine": "ideal", "set": V5E}
    most = api.fit("llama-3.1-70b", **words).limits.max_batch
    step_s = run("llama-3.1-70b", batch=most, **words).decode.step_s
    assert step_s == pytest.approx(16e9 / 8.2e11, rel=0.05)


def test_scaling_book_prefill_of_8192_tokens_on_16_v5e() -> None:
    # 0.91 s at 40 % of peak from 2 x 70e9 FLOP a token; the bare roofline runs at 100 %.
    book_s = 0.91 * 0.4
    # The book leaves out the attention core: 4 x 64 heads x 128 x 80 layers over half of 8192^2 pairs.
    core_s = 4 * 64 * 128 * 80 * 8192**2 / 2 / (16 * 1.97e14)
    report = run("llama-3.1-70b", chip="tpu-v5e", chips=16, engine="ideal", set=V5E)
    # 3 %: it multiplies by both tables, where the embedding is a look-up and the head serves the last token.
    assert report.prefill.time_to_first_token_s == pytest.approx(book_s + core_s, rel=0.03)


@pytest.mark.parametrize(
    ("chip", "weights", "activations", "critical"),
    [
        pytest.param("tpu-v5e", "bf16", "bf16", 240, id="scaling-book: v5e bf16"),
        pytest.param("tpu-v5e", "int8", "int8", 240, id="scaling-book: v5e int8"),
        pytest.param("tpu-v5e", "int8", "bf16", 120, id="scaling-book: v5e int8 weights, bf16 math"),
        pytest.param("h100-sxm", "bf16", "bf16", 295, id="scaling-book: H100 bf16"),
        pytest.param("h100-sxm", "fp8", "bf16", 148, id="cost-model A: H100 fp8 weights, bf16 math"),
        pytest.param("b200", "fp8", "fp8", 281, id="cost-model A: B200 fp8"),
    ],
)
def test_critical_batch_where_products_turn_compute_bound(
    chip: str, weights: str, activations: str, critical: int
) -> None:
    # Nothing but one large dense part: no vocabulary to speak of, and a cache of one token.
    model = dense("only-products", layers=1, width=16_384, heads=1, kv_heads=1, head=128, inner=53_248,
                  vocabulary=1)  # fmt: skip

    def compute_s(batch: int) -> float:
        words = {"weights": weights, "activations": activations, "engine": "ideal"}
        terms = run(model, chip=chip, batch=batch, context=1, **words).decode.terms_s
        return terms["compute"]

    # 1.5 %: the makers' bandwidths and rates are rounded in the book (8.2e11 for 8.19e11, and so on).
    assert compute_s(int(critical * 0.985)) == 0.0
    assert compute_s(int(critical * 1.015)) > 0.0


TIB = 2**40
# Published: TP, context, tokens/s. Fitted to them (golden-tables.md, section 1): 4 TiB/s a chip, three exposed
# synchronisations a layer of 0.2 us within 8 chips and 1.5 us beyond, one byte an element.
LIMINAL = [
    (8, 4096, 86), (32, 4096, 290), (128, 4096, 776), (8, 131_072, 80), (32, 131_072, 271), (128, 131_072, 743),
]  # fmt: skip


@pytest.mark.parametrize(("tensor", "context", "tokens_per_s"), LIMINAL)
def test_liminal_llama_3_405b_decode(tensor: int, context: int, tokens_per_s: float) -> None:
    # LIMINAL divides the cache evenly over all chips, where 8 KV heads would be copied beyond 8: so a group of
    # more is described as one chip.
    chips = tensor if tensor <= 8 else 1
    xpu = Chip(
        name="xpu-hbm3", title="xPU-HBM3", maker="LIMINAL", family="none", engine="none",
        memory={"hbm": Tier(ENDLESS, tensor / chips * 4.0 * TIB, home=True)},
        compute={"bf16": tensor / chips * 1.125e15, "fp8": tensor / chips * 2.25e15},
        layer_floor=LayerFloor(base_s=3 * (0.2e-6 if tensor <= 8 else 1.5e-6)),
    )  # fmt: skip
    bare = Engine("bare", "no losses", combine="max", inherits=False)
    report = run_on(xpu, "llama-3.1-405b", 1, context, "fp8", chips=chips, engine=bare)
    # 1 %: embedding, head and attention arithmetic; published to two or three digits.
    assert report.decode.tokens_per_s_per_user == pytest.approx(tokens_per_s, rel=0.01)


def test_erdil_kv_reads_of_mistral_large_2_at_100k_cost_6_dollars_a_million_tokens() -> None:
    # 88 layers, 8 KV heads of 128: 360 kB a token, 36 GB for 100k, read at 3.3 TB/s on $2/h: $6.06/Mtok.
    model = dense("mistral-large-2", layers=88, width=12_288, heads=96, kv_heads=8, head=128, inner=28_672,
                  vocabulary=32_768)  # fmt: skip
    changes = {"memory.hbm.bandwidth_bytes_per_s": 3.3e12, "memory.hbm.capacity_bytes": ENDLESS}
    words = {"chip": "h100-sxm", "context": 100_000, "engine": "ideal", "set": changes}
    few, many = (run(model, batch=batch, **words).decode.step_s for batch in (100, 200))
    # Below the critical batch more sequences cost KV reads alone.
    dollars = (many - few) / 100 * 2.0 / 3600 * 1e6
    assert dollars == pytest.approx(6.06, rel=0.003)


def test_erdil_arithmetic_of_70b_costs_11_cents_a_million_tokens() -> None:
    # 2 x 70e9 FLOP at 70 % of 1e15 FLOP/s on $2/h: $0.11/Mtok, weights and KV cache read for nothing.
    changes = {
        "compute.bf16": 0.7e15,
        "memory.hbm.bandwidth_bytes_per_s": 1e18,
        "memory.hbm.capacity_bytes": ENDLESS,
    }
    words = {"chip": "h100-sxm", "context": 1, "engine": "ideal", "usd_per_chip_hour": 2, "set": changes}
    cost = run("llama-3.1-70b", batch=1000, **words).cost
    assert cost.usd_per_million_output_tokens == pytest.approx(0.111, rel=0.015)  # embedding 1.5 %


# cost-model.md, section A (Erdil, equation 22): distinct experts of 256, 8 a token.
@pytest.mark.parametrize(("tokens", "hits"), [(1, 8.0), (8, 57.4), (32, 163), (64, 222), (128, 252)])
def test_expected_distinct_experts_of_deepseek_v3(tokens: int, hits: float) -> None:
    assert expert_hits(256, 8, tokens) == pytest.approx(hits, abs=0.5)


# DeepSeek ISCA'25 (arXiv 2505.09343), section 2.3.2: (1 + 2 B) x 32 tokens x 9 experts x 7,000 / bandwidth.
@pytest.mark.parametrize(
    ("bandwidth", "us"), [(5e10, 120.96), (9e11, 6.72)], ids=["400G InfiniBand", "NVL72"]
)
def test_deepseek_isca_25_all_to_all_of_a_layer(bandwidth: float, us: float) -> None:
    links = Links(bandwidth, scale_up_domain_chips=4096)
    chip = Chip("any", "any", "any", "none", "none", memory={}, links=links)
    sent = network(chip, Constants(), Layout(attention_data=256), 7168, 1, 1, 8)
    # The paper sends the shared expert's share too (9 for 8) and rounds the width 7,168 to 7,000; one of 256
    # ranks is home.
    ours = 32 * sent.per_token_s * 1e6
    assert ours == pytest.approx(us * 8 / 9 * 7168 / 7000 * 255 / 256, rel=0.001)


@pytest.mark.parametrize(
    ("chip", "tier", "rate", "seconds"),
    [
        ("wse-3", "sram", "bandwidth_bytes_per_s", 2.1e-6),
        ("groq-lpu-v1", "sram", "effective_bytes_per_s", 12.5e-6),
        ("groq-3-lpu", "sram", "bandwidth_bytes_per_s", 3.3e-6),
        ("d-matrix-corsair", "sram", "bandwidth_bytes_per_s", 13e-6),
    ],
)
def test_drain_time_of_a_tier(chip: str, tier: str, rate: str, seconds: float) -> None:
    memory = load_chip(chip).memory[tier]
    # Published with two digits.
    assert memory.capacity_bytes / getattr(memory, rate) == pytest.approx(seconds, rel=0.03)


def test_rubin_drains_its_memory_in_about_15_ms() -> None:
    # 288 GB at 20 TB/s. A step at the largest batch reads it all but the embedding.
    rubin = Chip(
        "rubin",
        "Rubin",
        "NVIDIA",
        "none",
        "none",
        {"hbm": Tier(288 * 10**9, 20e12, home=True)},
        {"bf16": 1e18},
    )
    most = int((288e9 - 16.06e9) / (131_072 * 1024))
    report = run_on(rubin, "llama-3.1-8b", most, 1024, "bf16")
    assert report.decode.step_s * 1e3 == pytest.approx(15, rel=0.05)


CODELLAMA_34B = dense("codellama-34b", layers=48, width=8192, heads=64, kv_heads=8, head=128, inner=22_016,
                      vocabulary=32_000)  # fmt: skip


# WaferLLM (OSDI'25, arXiv 2502.04563), decode of one request at 4K, fp16. The chip's floor per layer is fitted
# to these four (errors 0 to 3 %), so this guards the fit, not a forecast. The larger two were measured on some
# of their layers and scaled, as they exceed one wafer; here they get as many wafers as hold them.
@pytest.mark.parametrize(
    ("model", "wafers", "tokens_per_s"),
    [
        ("llama-3-8b", 1, 2699.9),
        ("llama-2-13b", 1, 2039.2),
        (CODELLAMA_34B, 2, 1450.8),
        ("qwen2-72b", 4, 839.7),
    ],
    ids=["llama-3-8b", "llama-2-13b", "codellama-34b", "qwen2-72b"],
)
def test_waferllm_decode_on_wse_2(model: str | Model, wafers: int, tokens_per_s: float) -> None:
    report = run(model, chip="wse-2", chips=wafers, weights="fp16", kv="fp16", context=4096)
    assert report.verdict == "on-chip"
    assert report.decode.tokens_per_s_per_user == pytest.approx(tokens_per_s, rel=0.05)


# The same table, prefill of 4,096 tokens. The engine's one constant, 7 % of peak, stands for 5.5 to 8.6 %.
@pytest.mark.parametrize(
    ("model", "wafers", "tokens_per_s"),
    [
        ("llama-3-8b", 1, 27_686),
        ("llama-2-13b", 1, 17_498),
        (CODELLAMA_34B, 2, 8_526),
        ("qwen2-72b", 4, 4_422),
    ],
    ids=["llama-3-8b", "llama-2-13b", "codellama-34b", "qwen2-72b"],
)
def test_waferllm_prefill_on_wse_2(model: str | Model, wafers: int, tokens_per_s: float) -> None:
    report = run(model, chip="wse-2", chips=wafers, weights="fp16", kv="fp16", context=4096)
    # The larger two ran on one wafer and are predicted on several.
    assert report.prefill.tokens_per_s / wafers == pytest.approx(tokens_per_s, rel=0.3)


# Public speeds of Groq (techpowerup; ArtificialAnalysis): the floor of 42 us a layer is the median of 15 such
# points with quartiles of 41.6 and 55.8 us, so 15 % is what one point may be off.
@pytest.mark.parametrize(
    ("model", "context", "tokens_per_s"), [("llama-2-70b", 4096, 300), ("llama-2-7b", 2048, 750)]
)
def test_groq_lpu_v1_tokens_per_s(model: str, context: int, tokens_per_s: float) -> None:
    report = run(model, chip="groq-lpu-v1", chips=576, weights="int8", kv="int8", context=context)
    assert report.verdict == "on-chip"
    assert report.decode.tokens_per_s_per_user == pytest.approx(tokens_per_s, rel=0.15)


def test_taalas_hc1_claims_16960_tokens_per_s() -> None:
    # The vendor's own figure at 1k in, 1k out; the floor per layer rests on it, so this guards the arithmetic
    # (32 layers one after another) and no forecast. An outside test has 14,357.
    report = run("llama-3.1-8b", chip="taalas-hc1", context=1536)
    assert report.decode.tokens_per_s_per_user == pytest.approx(16_960, rel=0.15)
    assert any("rests on 1 vendor claim" in text for text in report.warnings)


def gain(model: str, batch: int, context: int, weights_rate: float = 1e20) -> float:
    """How much faster a step is once the weights leave the HBM that the KV cache stays in, all else endless."""
    hbm = Tier(ENDLESS, 1e13, home=True)
    on_die = Tier(ENDLESS, weights_rate, home=True, holds="weights")
    plain, hybrid = (
        Chip("law", "law", "law", "none", "none", memory, {"bf16": 1e24})
        for memory in ({"hbm": hbm}, {"hbm": hbm, "rom": on_die})
    )
    slow, fast = (run_on(chip, model, batch, context, "bf16").decode.step_s for chip in (plain, hybrid))
    return slow / fast


# Context at which weights and KV cache are read alike, so that the gain is two; printed with two or three
# digits.
@pytest.mark.parametrize(
    ("model", "batch", "context"),
    [
        ("llama-3.1-8b", 1, 115_000), ("llama-3.1-70b", 1, 424_000), ("llama-3.1-70b", 8, 53_000),
        ("deepseek-v3", 1, 1_040_000), ("deepseek-v3", 32, 385_000), ("deepseek-v3", 256, 75_000),
        ("kimi-k2-instruct", 1, 902_000), ("kimi-k2-instruct", 32, 452_000), ("kimi-k2-instruct", 256, 113_000),
    ],
)  # fmt: skip
def test_hybrid_gain_is_two_at_the_break_even_context(model: str, batch: int, context: int) -> None:
    assert gain(model, batch, context) == pytest.approx(2.0, rel=0.005)


# At 128k a GQA model gains at most 10 % from a batch of 32 on; a latent cache leaves DeepSeek-V3 3.9, 2.1 and
# 1.6 times the speed at batches of 32, 128 and 256.
@pytest.mark.parametrize(
    ("model", "batch", "expected"),
    [
        ("llama-3.1-70b", 32, 1.10), ("deepseek-v3", 32, 3.9), ("deepseek-v3", 128, 2.1),
        ("deepseek-v3", 256, 1.6),
    ],
)  # fmt: skip
def test_hybrid_gain_at_128k(model: str, batch: int, expected: float) -> None:
    assert gain(model, batch, 131_072) == pytest.approx(expected, rel=0.02)


def test_two_tiers_that_are_read_at_once_take_the_longer_of_their_times() -> None:
    # cost-model.md, D2: with full overlap T = max. At the break-even both tiers take as long, so a second one
    # of no more than the first one's bandwidth halves the step.
    assert gain("llama-3.1-8b", 1, 115_000, weights_rate=1e13) == pytest.approx(2.0, rel=0.005)
    # Half of it: the balance point leaves a third of the weights where the cache is, T = R / (b_1 + b_2).
    assert gain("llama-3.1-8b", 1, 115_000, weights_rate=0.5e13) == pytest.approx(1.5, rel=0.005)


def test_prefill_of_mla_does_not_stay_absorbed() -> None:
    # camps.md, section 1: DeepSeek-V3, 128k on 8 x B200: 11.9 s where only absorbed, 4.0 s where keys and values
    # are expanded. Absorbed, a pair of tokens costs 2 x 128 x (576 + 512) FLOP in each of 61 layers.
    tokens, chips, active = 131_072, 8, 36.6e9
    core_s = 61 * 2 * 128 * (576 + 512) * tokens**2 / 2 / (chips * 2.25e15)
    linear_s = 2 * active * tokens / (chips * 4.5e15)
    report = run("deepseek-v3", chip="b200", chips=chips, context=tokens, engine="ideal")
    ours_s = report.prefill.time_to_first_token_s
    assert (core_s + linear_s) / ours_s == pytest.approx(11.9 / 4.0, rel=0.05)
