"""What must hold of every answer, whatever the question."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcalc.api import request
from memcalc.core.estimate import estimate
from memcalc.core.layout import Given
from memcalc.core.search import choose, held_by, least_prefill, max_batch, max_context
from memcalc.figures import get_figure, set_figure
from memcalc.studies.whatif import sensitivity

MODELS = st.sampled_from(
    ["llama-3.1-8b", "llama-3.1-70b", "gemma-3-27b", "mixtral-8x7b", "deepseek-v3", "gpt-oss-20b"]
)
CHIPS = st.sampled_from([
    ("h100-sxm", 1), ("h100-sxm", 8), ("b200", 8), ("mi300x", 4), ("tpu-v5e", 16), ("rtx-4090", 2),
    ("apple-m3-ultra", 1), ("trainium2", 16), ("gaudi-3", 8), ("groq-lpu-v1", 576), ("wse-3", 4), ("matx-one", 64),
    ("d-matrix-corsair", 16), ("sambanova-sn40l", 16), ("northpole", 288),
])  # fmt: skip
BATCHES = st.integers(1, 300)
CONTEXTS = st.integers(1, 200_000)
FORMATS = st.sampled_from(
    [("bf16", "bf16"), ("fp8", "fp8"), ("int8", "bf16"), ("int4-g128", "fp8"), ("q4_k_m", "bf16")]
)
QUICK = settings(max_examples=60, deadline=None)


def asked(model, chip, batch=1, context=8192, formats=("bf16", "bf16"), **more):
    name, count = chip
    weights, kv = formats
    return request(
        model, chip=name, chips=count, batch=batch, context=context, weights=weights, kv=kv, **more
    )


@QUICK
@given(MODELS, CHIPS, BATCHES, CONTEXTS, FORMATS)
def test_terms_add_up_and_nothing_is_negative(model, chip, batch, context, formats):
    report = estimate(asked(model, chip, batch, context, formats))
    for block, total in ((report.decode, "step_s"), (report.prefill, "time_to_first_token_s")):
        if block:
            assert sum(block.terms_s.values()) == pytest.approx(getattr(block, total))
            assert min(block.terms_s.values()) >= 0.0
            assert block.bottleneck in block.terms_s
    if report.cost and report.cost.joules_per_output_token is not None:
        assert sum(report.cost.energy_terms_j.values()) == pytest.approx(report.cost.joules_per_output_token)


@QUICK
@given(MODELS, CHIPS, BATCHES, CONTEXTS, FORMATS)
def test_bytes_are_whole_and_all_resident_within_what_is_usable(model, chip, batch, context, formats):
    report = estimate(asked(model, chip, batch, context, formats))
    needed = {row.tensor: row.bytes for row in report.placement}
    assert all(isinstance(size, int) for size in needed.values())
    assert needed["kv_cache"] == batch * report.kv_cache.bytes_per_sequence
    if not report.fits:
        assert report.decode is report.prefill is report.cost is None
        return
    for row in report.placement:
        assert sum(row.tiers.values()) >= row.bytes - 64, row
    for tier in report.tiers:
        assert tier.used_bytes <= tier.usable_bytes + 64 * report.system.chips, tier
        assert tier.role == "home" or tier.used_bytes == 0


@QUICK
@given(MODELS, CHIPS, BATCHES, CONTEXTS, FORMATS)
def test_a_verdict_of_sram_means_that_all_that_is_read_lies_there(model, chip, batch, context, formats):
    asks = asked(model, chip, batch, context, formats)
    choice = choose(asks)
    if choice is None:
        return
    on_die = sum(room.usable for room in asks.rooms if room.tier in ("rom", "sram"))
    held = choice.job.held
    weights = sum(held.parts[part] for part in ("attention", "ffn", "experts"))
    cache = held.kv(batch, context)
    verdict = choice.placement.verdict
    if verdict == "on-chip":
        assert weights + cache <= on_die + 64
    elif verdict == "weights-on-chip":
        assert weights <= on_die + 64
    elif verdict == "kv-on-chip":
        assert cache <= on_die + 64
    for shares in choice.placement.shares.values():
        assert sum(share for _, share in shares) == pytest.approx(1.0) or not shares


@QUICK
@given(MODELS, CHIPS, BATCHES, CONTEXTS, FORMATS)
def test_limits_are_the_last_values_that_fit(model, chip, batch, context, formats):
    asks = asked(model, chip, batch, context, formats)
    most, longest = max_batch(asks), max_context(asks)
    if most:
        assert choose(replace(asks, workload=replace(asks.workload, batch=most)))
    if most is not None:
        assert not choose(replace(asks, workload=replace(asks.workload, batch=most + 1)))
    if longest:
        assert choose(replace(asks, workload=replace(asks.workload, context_tokens=longest)))
    if longest is not None:
        assert not choose(replace(asks, workload=replace(asks.workload, context_tokens=longest + 1)))


@QUICK
@given(
    MODELS,
    CHIPS,
    BATCHES,
    CONTEXTS,
    FORMATS,
    st.sampled_from(["vllm", "tensorrt-llm", "llama.cpp", "default", None]),
)
def test_the_bare_roofline_is_never_slower_than_an_engine(model, chip, batch, context, formats, engine):
    with_engine = choose(asked(model, chip, batch, context, formats, engine=engine))
    if with_engine is None:
        return
    ideal = asked(model, chip, batch, context, formats, engine="ideal")
    best = choose(ideal)
    assert best is not None
    assert best.step.seconds <= with_engine.step.seconds * (1 + 1e-9)
    same = ideal.job(with_engine.job.layout)
    placement = same.place(batch, context)
    assert placement.fits
    assert same.decode(batch, context, placement).seconds <= with_engine.step.seconds * (1 + 1e-9)
    # Placements are chosen for decode; what no software can beat has the best one for prefill too.
    slow = with_engine.job.prefill(1, context, with_engine.placement).seconds
    placements = [found for found in same.placements(batch, context) if found.fits]
    fastest = min(same.prefill(1, context, found).seconds for found in placements)
    assert fastest <= slow * (1 + 1e-9)
    bound = least_prefill(replace(ideal, given=Given(*with_engine.job.layout)), 1)
    assert bound is None or bound.seconds <= fastest * (1 + 1e-9)


@QUICK
@given(MODELS, CHIPS, BATCHES, CONTEXTS)
def test_more_bandwidth_never_makes_a_step_slower(model, chip, batch, context):
    asks = asked(model, chip, batch, context)
    if choose(asks) is None:
        return
    report = estimate(asks, limits=False)
    for entry in sensitivity(asks, report):
        if "bandwidth" in entry.figure or "effective" in entry.figure or "compute" in entry.figure:
            assert entry.tokens_per_s_per_user >= -1e-9, entry


@QUICK
@given(MODELS, CHIPS, BATCHES, CONTEXTS, st.integers(1, 5000))
def test_a_longer_context_or_a_larger_batch_never_needs_less(model, chip, batch, context, more):
    for held in held_by(asked(model, chip, batch, context), chip[1]):
        now = held.needed(batch, context)
        assert held.needed(batch, context + more) >= now
        assert held.needed(batch + more, context) >= now


@QUICK
@given(MODELS, st.sampled_from(["h100-sxm", "tpu-v5e", "mi300x"]), BATCHES, CONTEXTS)
def test_twice_the_bytes_at_twice_the_bandwidth_take_the_same_time(model, chip, batch, context):
    """With nothing but memory in the way, fp8 at half the bandwidth is bf16 at all of it."""
    full = asked(model, (chip, 8), batch, context, ("bf16", "bf16"), engine="ideal")
    figure = "memory.hbm.bandwidth_bytes_per_s"
    rate = get_figure(full.chip, figure)
    fast = {form: peak * 1e6 for form, peak in full.chip.compute.items()}

    def on(ask, bandwidth):
        chip = set_figure(replace(ask.chip, compute=fast), figure, bandwidth)
        return choose(replace(ask, system=replace(ask.system, chip=chip)))

    wide = on(full, rate * 2)
    narrow = on(full, rate)
    if wide is None or narrow is None:
        return
    assert wide.step.seconds * 2 == pytest.approx(narrow.step.seconds, rel=1e-3)


@QUICK
@given(MODELS, CHIPS, BATCHES, CONTEXTS, FORMATS)
def test_a_pass_reads_no_more_than_is_resident_and_no_less_for_a_larger_batch(
    model, chip, batch, context, formats
):
    asks = asked(model, chip, batch, context, formats)
    choice = choose(asks)
    if choice is None:
        return
    job, work = choice.job, asks.workload
    flights, _ = job.micro_batch(batch)
    read = job.work(work, choice.placement).part_bytes
    assert read["kv"] <= job.held.resident_kv(batch, context) + 64
    tied = job.book.weight_bytes["embedding"] * job.book.model.tied_embeddings * choice.job.layout.chips
    for part in ("attention", "ffn", "experts"):
        assert read[part] <= flights * (job.held.resident[part] + tied) + 64
    if job.micro_batch(batch + 1)[0] < flights:
        return  # one sequence more may make micro-batches larger and fewer, and each reads the weights once
    more = job.work(replace(work, batch=batch + 1), choice.placement).part_bytes
    assert all(more[part] >= read[part] * (1 - 1e-9) for part in read)


def test_experts_touched_lie_between_one_token_and_all():
    """32 sequences of DeepSeek-V3 touch 163.3 of 256 experts (the cost model's table)."""
    asks = asked("deepseek-v3", ("h200-sxm", 8), batch=32, formats=("fp8", "bf16"), tp=8)
    choice = choose(asks)
    read = choice.job.work(asks.workload, choice.placement).part_bytes["experts"]
    assert read / asks.book.weight_bytes["experts"] == pytest.approx(163.3 / 256, rel=2e-3)
