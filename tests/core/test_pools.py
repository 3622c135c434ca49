"""Systems of unlike chips: attention and feed-forward apart, prefill and decode apart, memory beyond the chip."""

from dataclasses import replace
from math import inf

import pytest

from memcalc.api import fit, request
from memcalc.chip import Pool
from memcalc.core.estimate import estimate
from memcalc.core.pair import PairJob
from memcalc.core.search import choose
from memcalc.errors import UsageError
from memcalc.resolve import stacks_beside
from memcalc.workload import Layout

PAIR = "vr200-nvl72-groq-3-lpx"


def paired(asked, chip, count, bytes_per_s=1e30, latency_s=0.0):
    """The request with a pool of such chips for the feed-forward part, over a link that takes no time."""
    system = replace(asked.system, feed_forward=Pool(chip, count, bytes_per_s, latency_s))
    return replace(asked, system=system, others=stacks_beside(system, asked.engine))


@pytest.mark.parametrize("model", ["llama-3.1-70b", "deepseek-v3"])
@pytest.mark.parametrize("batch", [1, 16])
def test_two_pools_of_the_same_chip_take_as_long_as_one_that_does_both(model, batch):
    """With a link that takes no time and one micro-batch, attention and feed-forward add up to the whole."""
    asked = request(
        model, chip="b200", chips=8, batch=batch, engine="ideal", tp=8, pp=1, dp=1, attention_dp=1
    )
    alone = choose(asked)
    pair = paired(asked, asked.chip, 8)
    job = pair.job(Layout(tensor=8))
    assert isinstance(job, PairJob)
    placement = job.place(batch, 8192)
    one = job.in_flight(batch, 1, 8192, placement).step
    assert one.seconds == pytest.approx(alone.step.seconds, rel=1e-9)
    assert job.decode(batch, 8192, placement).seconds <= one.seconds


def test_micro_batches_keep_both_pools_busy():
    """With many sequences the step comes down to the work of the busier pool instead of the sum of both."""
    asked = request("llama-3.1-70b", chip="b200", chips=8, batch=512, weights="fp8", engine="ideal",
                    tp=8, pp=1, dp=1)  # fmt: skip
    job = paired(asked, asked.chip, 8).job(Layout(tensor=8))
    placement = job.place(512, 8192)
    one = job.in_flight(512, 1, 8192, placement)
    best = job.flights(512, 8192, placement)
    assert best.flights > 1
    # All micro-batches through the busier pool, each of which reads its weights again.
    busier = max(best.attention.seconds, best.feed_forward.seconds) * best.flights
    way = best.attention.seconds + best.feed_forward.seconds
    assert best.step.seconds == pytest.approx(max(busier, way))
    assert best.step.seconds < one.step.seconds
    assert sum(best.step.terms.values()) == pytest.approx(best.step.seconds)


def test_drafts_of_a_pair_count_the_terms_of_both_pools():
    """Whichever pool is the busier, the step names the terms of both."""
    for batch in (1, 64, 4096):
        report = fit("deepseek-v3", system=f"{PAIR}-x9", batch=batch, accept=0.8, draft=3)
        assert {"memory:hbm", "memory:sram", "compute", "network", "latency"} <= set(report.decode.terms_s)
        assert sum(report.decode.terms_s.values()) == pytest.approx(report.decode.step_s)


def test_the_bytes_of_a_pair_are_those_of_its_micro_batches():
    """What a step reads follows from the micro-batches that its time was found for."""
    asked = request("llama-3.1-70b", chip="h200-sxm", chips=8, batch=64, tp=8, pp=1, dp=1)
    pair = paired(asked, asked.chip, 8)
    choice = choose(pair)
    job, placement = choice.job, choice.placement
    found = job.flights(64, 8192, placement)
    (_, _, main), (_, _, beside) = job.works(pair.workload, placement)
    book = asked.book
    ffn = sum(book.weight_bytes[c] for c in ("dense", "shared", "router"))
    assert beside.part_bytes["ffn"] == pytest.approx(found.flights * ffn, rel=1e-6)
    assert beside.part_bytes["kv"] == main.part_bytes["ffn"] == 0
    sent = 2 * 64 * 8192 * 2 * 80  # out and back, 64 tokens of width 8,192 in bf16, 80 layers
    alone = job.attention.work(pair.workload, placement, (found.flights, found.sequences))
    assert main.network_bytes - alone.network_bytes == pytest.approx(sent)


def test_what_lies_beyond_a_spatial_die_is_shared_by_the_micro_batches_of_a_pair():
    """Feed-forward weights that stream in at 150 GB/s do so once for each micro-batch."""
    changes = {"memory.host.bandwidth_bytes_per_s": "150GB/s", "memory.host.home": "true",
               "memory.host.holds": "weights", "memory.sram.holds": "cache"}  # fmt: skip
    wafer = request("llama-3.1-70b", chip="wse-3", set=changes).chip
    asked = request("llama-3.1-70b", chip="h100-sxm", chips=8, batch=64)
    job = paired(asked, wafer, 1).job(Layout(tensor=8))
    placement = job.place(64, 8192)
    ffn = sum(asked.book.weight_bytes[c] for c in ("dense", "shared", "router"))
    for flights in (1, 4, 8):
        step = job.in_flight(64, flights, 8192, placement).step
        assert step.seconds >= flights * ffn / 150e9 * (1 - 1e-9)
    assert job.flights(64, 8192, placement).flights == 1


def test_hand_overs_are_two_a_layer():
    report = fit("deepseek-v3", system=f"{PAIR}-x9", context="8k", set={"engine.collective_s": 0})
    job = choose(request("deepseek-v3", system=f"{PAIR}-x9", context="8k")).job
    assert job.hand_over_s(1) == pytest.approx(2 * 61 * (2e-6 + 7168 * 2 / 1.44e13))
    assert report.decode.terms_s["network"] >= job.hand_over_s(1)


def test_one_rack_does_not_hold_the_experts_of_deepseek_v3_and_six_do():
    # camps.md, section 6: DeepSeek-V3 needs 1,385 LPUs of the third kind.
    one = fit("deepseek-v3", system=PAIR)
    assert not one.fits
    assert one.verdict == "does-not-fit"
    assert "feed-forward on 256 × Groq 3 LPU" in one.reason
    assert [pool.verdict for pool in one.system.pools] == ["dram", "does-not-fit"]
    assert one.system.pools[1].min_chips == pytest.approx(1385, abs=2)
    six = fit("deepseek-v3", system=f"{PAIR}-x6")
    assert six.fits
    assert [(pool.role, pool.verdict) for pool in six.system.pools] == [
        ("attention", "dram"), ("feed-forward", "on-chip"),
    ]  # fmt: skip
    assert six.verdict == "dram"  # the worst of the two
    used = {tier.tier: tier.used_bytes for tier in six.tiers if tier.chip == "groq-3-lpu"}
    book = request("deepseek-v3", chip="b200").book
    stored = book.weight_bytes
    assert used["sram"] == sum(stored[c] for c in ("dense", "shared", "router", "experts"))
    assert six.system.chips == 72 + 6 * 256


def test_prefill_elsewhere_counts_the_hand_over_of_the_cache():
    """70B at 64k in bf16: 21.5 GB of cache into four CS-3 over 150 GB/s each."""
    report = fit("llama-3.1-70b", decode_system="cs-3-x4", prefill_system="trainium3-x144", context="64k")
    assert report.verdict == "dram"
    assert [pool.verdict for pool in report.system.pools] == ["on-chip", "dram"]
    assert report.prefill.kv_transfer_bytes == 65_536 * 327_680
    assert report.prefill.kv_transfer_s == pytest.approx(65_536 * 327_680 / 600e9)
    alone = estimate(request("llama-3.1-70b", chip="trainium3", chips=144, context="64k"))
    computed = 65_536 / report.prefill.tokens_per_s
    assert computed <= alone.prefill.time_to_first_token_s  # the layout is the best for prompts
    crossing = report.prefill.kv_transfer_s
    shown = max(crossing / 80, crossing - computed * 79 / 80)
    assert report.prefill.time_to_first_token_s == pytest.approx(computed + shown)
    whole = fit("llama-3.1-70b", system="cs-3-x4", context="64k")
    assert report.decode.step_s == whole.decode.step_s
    assert report.prefill.time_to_first_token_s < whole.prefill.time_to_first_token_s


def split(bytes_per_s, **options):
    """70B prefilled on Trainium3, decoded on four CS-3, over a link of so many bytes a second."""
    asked = request(
        "llama-3.1-70b", decode_system="cs-3-x4", prefill_system="trainium3-x144", context="64k", **options
    )
    pool = replace(asked.system.prefill, bytes_per_s=bytes_per_s)
    return replace(asked, system=replace(asked.system, prefill=pool))


def test_a_slow_link_decides_the_first_token():
    slow = estimate(split(1e9))
    cache = 65_536 * 327_680 / 1e9
    assert cache < slow.prefill.time_to_first_token_s < cache * 1.1
    assert slow.prefill.bottleneck == "network"
    # One prompt is the whole batch, and is handed over once.
    assert slow.prefill.batch_s == slow.prefill.time_to_first_token_s


def test_the_caches_of_a_batch_cross_the_link_one_after_the_other():
    asked = request("llama-3.1-8b", decode_system="h200-sxm-x8", prefill_system="h100-sxm-x8", batch=32)
    pool = replace(asked.system.prefill, bytes_per_s=1e9)
    report = estimate(replace(asked, system=replace(asked.system, prefill=pool)))
    cache = 8192 * 131_072 / 1e9
    assert 32 * cache <= report.prefill.batch_s < 32 * cache * 1.1


def test_an_unknown_link_leaves_the_first_token_open():
    asked = request("llama-3.1-8b", decode_system="northpole-288", prefill_system="h100-sxm-x8",
                    weights="int8", kv="int8")  # fmt: skip
    report = estimate(asked)
    assert report.decode is not None
    assert report.prefill is None
    name = "prefill.bytes_per_s (between northpole and h100-sxm)"
    assert any(f"no times of prefill: {name} is unknown" in text for text in report.warnings)
    given = fit("llama-3.1-8b", decode_system="northpole-288", prefill_system="h100-sxm-x8", weights="int8",
                kv="int8", set={"prefill.bytes_per_s": "50GB/s"})  # fmt: skip
    assert given.prefill.kv_transfer_s == pytest.approx(given.prefill.kv_transfer_bytes / 50e9)


def test_an_unknown_hand_over_leaves_the_step_of_a_pair_open():
    asked = request("llama-3.1-70b", chip="b200", chips=8)
    for figure in ({"latency_s": None}, {"bytes_per_s": None}):
        pool = replace(paired(asked, asked.chip, 8).system.feed_forward, **figure)
        chip = replace(
            asked.chip, links=replace(asked.chip.links, scale_out_bytes_per_s=None, host_bytes_per_s=None)
        )
        system = replace(asked.system, chip=chip, feed_forward=pool)
        report = estimate(replace(asked, system=system, others=stacks_beside(system, asked.engine)))
        name = f"feed_forward.{next(iter(figure))}"
        assert report.fits
        assert report.decode is None
        assert any(name in text for text in report.warnings)


def test_links_follow_the_chips_that_are_found():
    """The way out of a system grows with its chips, also where these are still to be found."""
    one = request("llama-3.1-8b", chip="h100-sxm", chips=1, prefill_system="b200-x8")
    many = request("llama-3.1-70b", chip="h100-sxm", chips="auto", prefill_system="b200-x8")
    assert one.link("prefill").bytes_per_s == 5e10
    assert many.link("prefill").bytes_per_s == many.system.count * 5e10 > 5e10
    slow = request("llama-3.1-70b", chip="h100-sxm", chips=8, prefill_system="b200-x8",
                   set={"links.scale_out_bytes_per_s": "1GB/s"})  # fmt: skip
    assert slow.link("prefill").bytes_per_s == 8e9


def test_a_pair_keeps_its_link_when_prompts_go_elsewhere():
    with_prefill = request("deepseek-v3", decode_system=f"{PAIR}-x9", prefill_system="dgx-b200")
    alone = request("deepseek-v3", system=f"{PAIR}-x9")
    assert with_prefill.link("feed-forward") == alone.link("feed-forward")
    # The GPUs no longer prefill: they hold attention alone.
    assert choose(with_prefill).job.held.parts["ffn"] == 0
    assert choose(alone).job.held.parts["ffn"] > 0


def test_pools_of_the_same_chip_are_told_apart():
    report = fit("llama-3.1-8b", decode_system="h100-sxm-x2", prefill_system="h100-sxm-x8")
    used = {tier.pool: tier.used_bytes for tier in report.tiers if tier.tier == "hbm"}
    assert set(used) == {"decode", "prefill"}
    assert used["decode"] != used["prefill"]


def test_masks_that_hold_another_model_take_no_part():
    report = fit("qwen3-0.6b", decode_system="h100-sxm-x1", prefill_system="taalas-hc1", context=512)
    assert not report.fits
    assert "hold llama-3.1-8b" in report.reason


def test_prices_of_output_and_input_are_those_of_the_pools_that_make_them():
    both = fit("llama-3.1-8b", decode_system="h200-sxm-x2", prefill_system="h100-sxm-x8", batch=8)
    assert [pool.usd_per_chip_hour for pool in both.system.pools] == [1.74, 1.69]
    assert both.cost.usd_per_chip_hour is None
    out = 2 * 1.74 / 3600 / both.decode.tokens_per_s * 1e6
    assert both.cost.usd_per_million_output_tokens == pytest.approx(out)
    into = 8 * 1.69 / 3600 / (8 * 8192 / both.prefill.batch_s) * 1e6
    assert both.cost.usd_per_million_input_tokens == pytest.approx(into)


def test_a_pool_too_small_for_its_prompts_is_named():
    report = fit("llama-3.1-70b", decode_system="h100-sxm-x8", prefill_system="h100-sxm", context="64k")
    assert not report.fits
    assert "prefill on 1 × H100 SXM" in report.reason


def test_offloading_reads_what_does_not_fit_over_the_host_link():
    options = {"chip": "h100-sxm", "chips": 8, "context": "128k", "batch": 32}
    assert not fit("llama-3.1-70b", **options).fits
    host = {"memory.host.capacity_bytes": "256GB"}
    report = fit("llama-3.1-70b", **options, offload="host", set=host)
    assert report.verdict == "host"
    rows = {row.tensor: row.tiers for row in report.placement}
    spilled = rows["kv_cache"].get("host", 0) + rows["weights"].get("host", 0)
    assert spilled > 0
    link = request("llama-3.1-70b", chip="h100-sxm").chip.links.host_bytes_per_s
    assert report.decode.terms_s["memory:host"] >= spilled / (8 * link)
    assert report.decode.bottleneck == "memory:host"


def test_offloading_needs_a_memory_that_is_known():
    with pytest.raises(UsageError, match="no host memory of h100-sxm is known"):
        fit("llama-3.1-70b", chip="h100-sxm", offload="host")
    with pytest.raises(UsageError, match="--offload disk"):
        fit("llama-3.1-70b", chip="h100-sxm", offload="disk")
    flash = fit("llama-3.1-70b", chip="h100-sxm", chips=2, context="128k", offload="flash", batch=4,
                set={"memory.flash.capacity_bytes": "4TB"})  # fmt: skip
    assert flash.fits
    assert flash.decode is None
    assert any("memory.flash.bandwidth_bytes_per_s of h100-sxm is unknown" in text for text in flash.warnings)


@pytest.mark.parametrize(("figure", "message"), [
    ({"prefill.bytes_per_s": "400Gbit"}, "--set prefill.bytes_per_s: '400Gbit' is not a rate"),
    ({"prefill.count": "0"}, "--set prefill.count"),
    ({"prefill.memory.hbm.nix": "1"}, "--set prefill.memory.hbm.nix"),
    ({"feed_forward.latency_s": "1us"}, "cs-3-x4 has no feed-forward pool"),
])  # fmt: skip
def test_a_figure_of_a_pool_that_cannot_be_set_is_named_as_it_was_typed(figure, message):
    with pytest.raises(UsageError) as caught:
        fit("llama-3.1-8b", decode_system="cs-3-x4", prefill_system="h100-sxm-x8", set=figure)
    assert message in caught.value.message


@pytest.mark.parametrize(("one", "other"), [
    ({"decode_system": "cs-3-x4"}, "--decode-system goes with"),
    ({"decode_system": "cs-3-x4", "chip": "b200", "prefill_system": "b200"}, "exclude each other"),
    ({"system": PAIR, "prefill_system": PAIR}, "has unlike pools itself"),
    ({"system": "dgx-b200", "prefill_system": "nonesuch"}, "unknown system"),
])  # fmt: skip
def test_contradictions_are_refused(one, other):
    with pytest.raises(UsageError, match=other):
        fit("llama-3.1-8b", **one)


def test_stages_divide_weights_but_not_the_cache_of_a_busy_pipeline():
    """One micro-batch a stage in flight: four stages hold four times the sequences of one."""
    asked = request("llama-3.1-70b", chip="b200", chips=8)
    held = {stages: asked.job(Layout(tensor=2, pipeline=stages)).held for stages in (1, 2, 4)}
    assert held[4].parts["ffn"] == pytest.approx(held[1].parts["ffn"] / 4)
    assert held[4].kv(4 * 16, 8192) == pytest.approx(held[1].kv(16, 8192))
    # One user's cache is read by the chips of one stage at a time.
    read = {stages: asked.job(Layout(tensor=2, pipeline=stages)).timer.kv_read(8192) for stages in (1, 2, 4)}
    assert read[1] == read[2] == read[4]


def test_weights_beyond_a_spatial_chip_stream_in_once_a_pass():
    """A wafer whose weights lie behind 150 GB/s takes all of them through that link in each step."""
    changes = {"memory.host.bandwidth_bytes_per_s": "150GB/s", "memory.host.home": "true",
               "memory.host.holds": "weights", "memory.sram.holds": "cache"}  # fmt: skip
    spatial = fit("llama-3.1-70b", chip="wse-3", set=changes)
    serial = fit("llama-3.1-70b", chip="wse-3", set={**changes, "execution": "time-shared"})
    read = request("llama-3.1-70b", chip="wse-3").book
    hot = read.total_weight_bytes - read.weight_bytes["embedding"]
    for report in (spatial, serial):
        assert report.verdict == "host"
        assert report.decode.terms_s["memory:host"] == pytest.approx(hot / 150e9, rel=1e-6)
    assert "stream in from host memory" in serial.why
    # Sequences of a wafer that runs layers in turn share the stream; micro-batches of a pipeline do not.
    many = fit("llama-3.1-70b", chip="wse-3", batch=4, set={**changes, "execution": "time-shared"})
    assert many.decode.terms_s["memory:host"] == pytest.approx(hot / 150e9, rel=1e-6)
    apart = fit("llama-3.1-70b", chip="wse-3", batch=4, set=changes)
    assert apart.decode.terms_s["memory:host"] == pytest.approx(4 * hot / 150e9, rel=1e-6)


def test_nothing_is_infinite_or_lost_in_a_pair():
    plain = fit("deepseek-v3", system=f"{PAIR}-x9", batch=72, context="128k").to_dict()

    def numbers(value):
        if isinstance(value, dict):
            for entry in value.values():
                yield from numbers(entry)
        elif isinstance(value, list):
            for entry in value:
                yield from numbers(entry)
        elif isinstance(value, float):
            yield value

    assert all(-inf < number < inf for number in numbers(plain))
    assert sum(plain["decode"]["terms_s"].values()) == pytest.approx(plain["decode"]["step_s"])


def test_what_would_help_is_asked_of_all_pools():
    """Narrower weights make the feed-forward part smaller where it lies."""
    report = fit("deepseek-v3", system=f"{PAIR}-x6", weights="bf16")
    assert not report.fits
    narrow = next(remedy for remedy in report.remedies if remedy.options.startswith("-w "))
    assert fit("deepseek-v3", system=f"{PAIR}-x6", weights=narrow.options.removeprefix("-w ")).fits


def test_the_main_pool_of_a_pair_gives_its_fast_memory_to_what_decode_reads():
    """Feed-forward weights that lie there for prefill are read by no decode step, and as cold as a table of rows."""
    asked = request("llama-3.1-70b", chip="matx-one", chips=64, batch=16, weights="fp8", tp=8, pp=8, dp=1)
    alone, pair = choose(asked), choose(paired(asked, request("llama-3.1-70b", chip="b200").chip, 8))
    assert dict(alone.placement.shares["ffn"]).get("sram", 0) > 0
    assert dict(pair.placement.shares["ffn"]) == {"hbm": 1.0}
    cached = dict(pair.placement.shares["kv"]).get("sram", 0)
    assert cached > dict(alone.placement.shares["kv"]).get("sram", 0)


def test_masks_keep_their_format_in_every_pool():
    asked = request("llama-3.1-8b", chip="h100-sxm", chips=8, prefill_system="taalas-hc1", context="1k")
    assert asked.prefill.precision.weights == "hc1-3-6"
    assert asked.precision.weights == "bf16"
    assert asked.prefill.book.total_weight_bytes <= 4.01e9


def test_idle_groups_read_nothing():
    report = fit("deepseek-v3", system=f"{PAIR}-x6", batch=17)
    layout = report.layout
    busy = min(17, layout.data_parallel * layout.attention_data_parallel)
    book = request("deepseek-v3", system=f"{PAIR}-x6").book
    attention = book.weight_bytes["attention"] + book.weight_bytes["head"]
    job = choose(request("deepseek-v3", system=f"{PAIR}-x6", batch=17)).job
    work = job.works(request("deepseek-v3", system=f"{PAIR}-x6", batch=17).workload, job.place(17, 8192))[0][
        2
    ]
    assert work.part_bytes["attention"] <= busy * attention * 8 * (1 + 1e-9)
    assert work.part_bytes["attention"] >= busy * attention * (1 - 1e-9)


def test_what_decides_an_offload_stands_in_the_sensitivities():
    report = fit("llama-3.1-70b", system="dgx-h100", offload="host", batch=48, context="128k")
    assert report.verdict == "host"
    assert report.sensitivity[0].figure == "links.host_bytes_per_s"
    assert report.sensitivity[0].tokens_per_s_per_user > 0.05


def test_a_system_of_its_own_make_is_not_offered_as_plain_chips():
    report = fit("llama-3.1-70b", system="cs-3-x1-memoryx", batch=15)
    assert not report.fits
    assert "KV cache and activations need" in report.reason
    assert not any("--system" in remedy.options for remedy in report.remedies)


def test_a_home_of_unknown_size_holds_nothing_also_where_all_overlaps():
    report = fit("llama-3.1-70b", chip="mi300x", chips=4, engine="ideal", set={"memory.flash.home": "true"})
    assert report.fits
    assert report.verdict == "dram"
