"""`explain`: every formula gives its result, and every result is the report's; the command line of each engine."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from memcalc import api
from memcalc.chip import Pool
from memcalc.core.pair import MOST_FLIGHTS
from memcalc.core.search import choose, place_pools
from memcalc.render.explain import pretty
from memcalc.render.tables import TERMINAL_WIDTH, explain_screen
from memcalc.resolve import stacks_beside
from memcalc.studies.explain import explain
from memcalc.studies.explain.formula import FUNCTIONS, evaluate
from memcalc.studies.serve import PLACEHOLDER, serve

#: One of each kind: dense, windows, states, latents with attention groups, a pipeline, drafts, offered prices, several
#: tiers with and without overlap, layers side by side with floor and with work on top, a bound, what does not fit, and
#: pools of unlike chips that share each layer or hand the cache over.
CASES = {
    "dense": ("llama-3.1-70b", {"chip": "h100-sxm", "chips": 8, "batch": 32, "context": "32k", "weights": "fp8", "kv": "fp8"}),
    "mla": ("deepseek-v3", {"chip": "h200-sxm", "chips": 8, "batch": 64}),
    "mla-nodes": ("deepseek-v3", {"chip": "h100-sxm", "chips": 32, "batch": 64, "attention_dp": 32, "ep": 32, "tp": 1}),
    "sparse": ("deepseek-v3.2", {"chip": "b200", "chips": 8, "batch": 16, "context": "64k", "kv": "fp8-ds-mla"}),
    "compressed": ("deepseek-v4-flash", {"chip": "b200", "chips": 8, "batch": 16, "context": "64k"}),
    "pipeline": ("llama-3.1-70b", {"chip": "h100-sxm", "chips": 8, "batch": 64, "pp": 4, "tp": 2}),
    "context-parallel": ("llama-3.1-405b", {"chip": "h100-sxm", "chips": 32, "batch": 16, "cp": 2}),
    "drafts": ("deepseek-v3", {"chip": "b200", "chips": 8, "batch": 64, "accept": 0.8, "draft": 1}),
    "windows": ("gemma-3-27b", {"chip": "h100-sxm", "chips": 4, "batch": 64, "engine": "sglang", "output": 512}),
    "moe-windows": ("gpt-oss-120b", {"chip": "h100-sxm", "batch": 4}),
    "states": ("codestral-mamba-7b", {"chip": "h100-sxm", "batch": 16}),
    "hybrid-model": ("qwen3-next-80b-a3b", {"chip": "h100-sxm", "chips": 4, "batch": 16}),
    "gguf": ("mixtral-8x7b", {"chip": "rtx-4090", "chips": 2, "weights": "q4_k_m", "kv": "q8_0"}),
    "tied": ("qwen3-0.6b", {"chip": "h100-sxm", "chips": 4, "batch": 64, "pp": 4}),
    "owned": ("llama-3.1-8b", {"chip": "h100-sxm", "usd_per_chip": 28000}),
    "hybrid-chip": ("llama-3.1-70b", {"chip": "matx-one", "batch": 8, "weights": "fp8"}),
    "overlap": ("deepseek-v3", {"chip": "matx-one", "chips": 8, "batch": 64}),
    "wafer": ("llama-3.1-70b", {"chip": "wse-3", "chips": 4, "batch": 4}),
    "lpu": ("llama-3.1-70b", {"chip": "groq-lpu-v1", "chips": 576, "batch": 4, "weights": "fp8", "kv": "fp8"}),
    "bound": ("llama-3.1-70b", {"chip": "h100-sxm", "chips": 8, "batch": 64, "engine": "ideal"}),
    "does-not-fit": ("llama-3.1-70b", {"chip": "h100-sxm"}),
    "pair": ("deepseek-v3", {"system": "vr200-nvl72-groq-3-lpx-x6", "context": "128k"}),
    "pair-batch": ("deepseek-v3", {"system": "vr200-nvl72-groq-3-lpx-x6", "batch": 72, "context": "128k"}),
    "pair-dense": ("llama-3.1-70b", {"system": "vr200-nvl72-groq-3-lpx-x6", "batch": 512}),
    "pair-drafts": ("deepseek-v3", {"system": "vr200-nvl72-groq-3-lpx-x9", "batch": 72, "accept": 0.8, "draft": 2}),
    "pair-does-not-fit": ("deepseek-v3", {"system": "vr200-nvl72-groq-3-lpx"}),
    "apart": ("llama-3.1-70b", {"prefill_system": "trn3-gen2-ultraserver", "decode_system": "cs-3-x4", "context": "64k"}),
    "apart-same": ("llama-3.1-70b", {"prefill_system": "h100-sxm-x8", "decode_system": "h100-sxm-x8", "batch": 8, "context": "64k"}),
    "apart-states": ("qwen3-next-80b-a3b", {"prefill_system": "h100-sxm-x8", "decode_system": "h200-sxm-x8", "batch": 16}),
    "apart-streams": ("llama-3.1-70b", {"prefill_system": "cs-3-x4", "decode_system": "h100-sxm-x8", "batch": 4}),
    "apart-bound": ("llama-3.1-70b", {"prefill_system": "h200-sxm-x8", "decode_system": "h100-sxm-x8", "engine": "ideal"}),
    "unknown-figures": ("llama-3.1-8b", {"chip": "apple-m5-max-40c", "weights": "q4_k_m"}),
}  # fmt: skip
#: Some of them fit and are timed.
TIMED = sorted(set(CASES) - {"does-not-fit", "pair-does-not-fit", "unknown-figures"})
PAIRS = ("pair", "pair-batch", "pair-dense")
APART = ("apart", "apart-same", "apart-states", "apart-streams", "apart-bound")


@pytest.fixture(scope="module")
def explained():
    """The explanation of a case, worked out once."""
    done = {}

    def find(name):
        if name not in done:
            model, options = CASES[name]
            done[name] = api.explain(model, **options)
        return done[name]

    return find


def result(found, group, name):
    """The one result of that name under that heading."""
    (only,) = [step.result for step in found.steps if (step.group, step.name) == (group, name)]
    return only


def in_python(formula, values):
    """The formula as Python reads it, with its numbers and nothing else."""
    return eval(formula, {"__builtins__": {}}, {**FUNCTIONS, **values})  # noqa: S307  the formulas are our own


@pytest.mark.parametrize("name", CASES)
def test_each_formula_gives_its_result(explained, name):
    numbers = [step for step in explained(name).steps if not isinstance(step.result, str)]
    for step in numbers:
        value = in_python(step.formula, step.values)
        # Bytes of a class or a tensor are whole: rounded once for each part.
        slack = 64.0 if step.unit == "B" else 0.0
        assert value == pytest.approx(step.result, rel=1e-9, abs=slack), (step.group, step.name)
        assert math.isfinite(step.result)
    assert len(numbers) > 15


@pytest.mark.parametrize("name", CASES)
def test_a_formula_names_its_values_and_only_those(explained, name):
    for step in explained(name).steps:
        # A value that is not in the formula would say what is not so.
        missing = {value for value in step.values if value not in step.formula}
        assert not missing, (step.name, missing)


@pytest.mark.parametrize("name", CASES)
def test_memory_is_that_of_the_report(explained, name):
    found = explained(name)
    report = found.report
    bytes_of = {row.tensor: row.bytes for row in report.placement}
    assert result(found, "memory", "parameters") == report.model.parameters
    assert result(found, "memory", "weights") == bytes_of["weights"]
    cache, names = report.kv_cache, {step.name for step in found.steps}
    if cache.bytes_per_sequence:
        assert result(found, "memory", "KV cache of one more token") == cache.bytes_per_token
        assert result(found, "memory", "KV cache of a sequence") == cache.bytes_per_sequence
        assert result(found, "memory", "KV cache of the batch") == bytes_of["kv_cache"]
        reserved = f"KV cache that {report.engine} reserves for a sequence"
        assert result(found, "memory", reserved) == cache.engine_reserved_bytes_per_sequence
    else:
        assert not {name for name in names if name.startswith("KV cache")}
    assert ("state of the batch" in names) == (bytes_of["state"] > 0)
    if bytes_of["state"]:
        assert result(found, "memory", "state of the batch") == bytes_of["state"]
    assert ("reserved by the runtime" in names) == (bytes_of["reserved"] > 0)
    assert ("experts touched in a pass" in names) <= ("active parameters" in names)


def test_weights_add_up_over_their_classes(explained):
    found = explained("dense")
    classes = [step.result for step in found.steps if step.name.startswith("weights: ")]
    assert sum(classes) == found.report.placement[0].bytes


@pytest.mark.parametrize("name", TIMED)
def test_the_decode_step_is_that_of_the_report(explained, name):
    found = explained(name)
    decode = found.report.decode
    assert result(found, "decode step", "decode step") == decode.step_s
    assert result(found, "decode step", "tokens/s per user") == decode.tokens_per_s_per_user
    assert result(found, "decode step", "tokens/s, whole system") == decode.tokens_per_s
    assert result(found, "decode step", "tokens/s per chip") == decode.tokens_per_s_per_chip


TITLES = {"compute": "compute", "memory:hbm": "HBM", "memory:gddr": "GDDR", "memory:sram": "SRAM",
          "network": "network", "latency": "latency"}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(TIMED) - {"wafer", "lpu", "apart"}))
def test_each_term_of_a_step_is_that_of_the_report(explained, name):
    found = explained(name)
    family = "with drafting" if name in ("drafts", "pair-drafts") else "exposed"
    counted = {term: seconds for term, seconds in found.report.decode.terms_s.items() if seconds}
    for term, seconds in counted.items():
        assert result(found, "decode step", f"{family}: {TITLES[term]}") == seconds
    assert sum(counted.values()) == pytest.approx(found.report.decode.step_s)


@pytest.mark.parametrize("name", ["wafer", "lpu", "apart"])
def test_side_by_side_layers_take_the_larger_of_work_and_floor(explained, name):
    found = explained(name)
    (step,) = [step for step in found.steps if (step.group, step.name) == ("decode step", "decode step")]
    assert step.formula.startswith("max(floor_s, ")
    terms = found.report.decode.terms_s
    work = sum(v for k, v in step.values.items() if k not in ("floor_s", "network_s"))
    assert (step.values["floor_s"] >= work) == (terms["latency"] > 0)
    # Where the work wins, it is the terms of the report.
    shown = terms["latency"] or sum(v for k, v in terms.items() if k not in ("latency", "network"))
    assert max(step.values["floor_s"], work) == pytest.approx(shown)


@pytest.mark.parametrize("name", TIMED)
def test_prefill_is_that_of_the_report(explained, name):
    found = explained(name)
    prefill = found.report.prefill
    assert result(found, "prefill", "time to first token") == prefill.time_to_first_token_s
    assert result(found, "prefill", "prompt tokens/s") == prefill.tokens_per_s
    names = {step.name for step in found.steps}
    if "prefill of the whole batch" in names:
        assert result(found, "prefill", "prefill of the whole batch") == prefill.batch_s


@pytest.mark.parametrize("name", TIMED)
def test_cost_is_that_of_the_report(explained, name):
    found = explained(name)
    cost, names = found.report.cost, {step.name for step in found.steps}
    figures = {
        "USD per million tokens out": cost.usd_per_million_output_tokens,
        "USD per million tokens in": cost.usd_per_million_input_tokens,
        "joules per token out": cost.joules_per_output_token,
        "draw of all chips": cost.watts,
    }
    for title, figure in figures.items():
        assert (title in names) == (figure is not None)
        if figure is not None:
            assert result(found, "cost", title) == figure


@pytest.mark.parametrize("name", ["dense", "mla", "gguf"])
def test_bands_and_energy_are_those_of_the_report(explained, name):
    found = explained(name)
    decode, prefill, cost = found.report.decode, found.report.prefill, found.report.cost
    speed, first = "tokens_per_s_per_user", "time_to_first_token_s"
    for end in ("low", "high"):
        assert (
            result(found, "decode step", f"80 % band of tokens/s per user, {end}")
            == getattr(decode, end)[speed]
        )
        assert (
            result(found, "prefill", f"80 % band of time to first token, {end}")
            == getattr(prefill, end)[first]
        )
    for term, joules in cost.energy_terms_j.items():
        if joules:
            title = "static" if term == "static" else TITLES[term]
            assert result(found, "cost", f"energy of a token: {title}") == joules


def test_a_bound_has_no_band(explained):
    assert not [step for step in explained("bound").steps if "band of" in step.name]


def test_experts_touched_follow_the_published_formula(explained):
    # 256 experts, 8 a token, 64 tokens: 222 (docs/cost-model: E * (1 - (1 - k/E)^M)).
    assert result(explained("mla"), "decode step", "experts touched in a pass") == pytest.approx(222, abs=0.5)


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_stands_with_its_reason(explained, name):
    found = explained(name)
    report = found.report
    (verdict,) = [step for step in found.steps if step.name == "verdict"]
    assert verdict.result == report.verdict
    assert result(found, "placement", "reason") == report.reason
    assert in_python(verdict.formula, verdict.values) is report.fits


def test_what_does_not_fit_has_no_times(explained):
    found = explained("does-not-fit")
    assert {step.group for step in found.steps} == {"memory", "placement"}
    assert found.serve is None
    assert not found.fits


def test_what_cannot_be_timed_says_why(explained):
    found = explained("unknown-figures")
    assert found.fits
    assert {step.group for step in found.steps} == {"memory", "placement"}
    assert any(warning.startswith("no ") and "unknown" in warning for warning in found.report.warnings)


def test_masks_that_hold_another_model_are_explained_too():
    found = api.explain("llama-3.1-70b", chip="taalas-hc1")
    assert result(found, "placement", "verdict") == "does-not-fit"
    assert "masks" in result(found, "placement", "reason")


def asked_as(name):
    """The request of a case, with what answers it."""
    model, options = CASES[name]
    request = api.request(model, **options)
    return request, choose(request)


def step_named(found, group, name):
    """The one step of that name under that heading."""
    (only,) = [step for step in found.steps if (step.group, step.name) == (group, name)]
    return only


def test_the_result_of_a_step_has_one_place(explained):
    for name in CASES:
        places = [(step.group, step.name) for step in explained(name).steps]
        assert len(places) == len(set(places)), name


@pytest.mark.parametrize("name", [*PAIRS, "pair-drafts", "pair-does-not-fit", *APART])
def test_each_pool_has_its_memory_and_its_verdict(explained, name):
    found = explained(name)
    pools = found.report.system.pools
    assert len(pools) == 2
    for pool in pools:
        group = f"placement: {pool.role}"
        verdict = step_named(found, group, f"verdict of {pool.role}")
        assert verdict.result == pool.verdict
        assert in_python(verdict.formula, verdict.values) is (pool.verdict != "does-not-fit")
        assert result(found, group, "chips of the layout") == pool.chips
    # The whole is as bad as the worst pool, and rests on the bytes of each.
    whole = step_named(found, "placement", "verdict")
    assert whole.result in [pool.verdict for pool in pools]
    for pool in pools:
        assert [value for value in whole.values if value.startswith(pool.role.replace("-", "_"))]


def test_the_fullest_chip_of_each_pool_holds_what_was_placed():
    for name in (*PAIRS, *APART):
        request, choice = asked_as(name)
        found = explain(request)
        for pool in place_pools(request, choice):
            held = result(found, f"placement: {pool.role}", "the fullest chip holds")
            assert held == pytest.approx(sum(pool.placement.used.values()), abs=64)


def test_the_verdict_of_a_wafer_does_not_rest_on_the_memory_of_the_chips_that_prefill(explained):
    found = explained("apart")
    assert result(found, "placement: decode", "verdict of decode") == "on-chip"
    assert result(found, "placement: prefill", "verdict of prefill") == "dram"
    assert result(found, "placement", "verdict") == found.report.verdict == "dram"
    said = result(found, "placement", "verdicts of the pools")
    assert said.startswith("decode on-chip, prefill dram;")
    decode = step_named(found, "placement: decode", "verdict of decode")
    assert set(decode.values) == {"fullest_chip_bytes", "sram_usable_bytes"}


def test_a_pool_that_lacks_room_is_the_one_that_does_not_hold(explained):
    found = explained("pair-does-not-fit")
    assert not found.fits
    near = step_named(found, "placement: attention", "verdict of attention")
    far = step_named(found, "placement: feed-forward", "verdict of feed-forward")
    assert in_python(near.formula, near.values) is True
    assert far.result == "does-not-fit"
    assert far.values["fullest_chip_bytes"] > far.values["sram_usable_bytes"]
    assert not [step for step in found.steps if step.group.startswith(("decode", "prefill", "cost"))]


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_takes_the_step_of_its_job(explained, name):
    found = explained(name)
    request, choice = asked_as(name)
    job, work = choice.job, request.workload
    best = job.flights(work.batch, work.context_tokens, choice.placement)
    near = result(found, "decode step: attention", "a micro-batch on attention")
    far = result(found, "decode step: feed-forward", "a micro-batch on feed-forward")
    handed = result(found, "decode step", "hand-overs of a micro-batch")
    assert near == best.attention.seconds
    assert far == best.feed_forward.seconds
    assert handed == best.hand_over_s == job.hand_over_s(best.together)
    assert result(found, "decode step", "micro-batches in flight") == best.flights
    step = step_named(found, "decode step", "decode step")
    m, near_stages, far_stages = best.flights, job.attention.timer.stages, job.beside.timer.stages
    assert step.result == pytest.approx(
        max(near + far + handed, m * near / near_stages, m * far / far_stages)
    )
    assert step.formula.startswith("max(attention_s + feed_forward_s + hand_over_s, micro_batches * ")


@pytest.mark.parametrize("name", PAIRS)
def test_every_number_of_micro_batches_is_shown_and_the_shortest_step_is_the_step(explained, name):
    found = explained(name)
    request, choice = asked_as(name)
    tried = min(choice.job.held.sequences(request.workload.batch), MOST_FLIGHTS)
    title = "step with micro-batches in flight: "
    steps = [step for step in found.steps if step.name.startswith(title)]
    assert [step.name.removeprefix(title) for step in steps] == [
        f"{m} in flight" for m in range(1, tried + 1)
    ]
    assert min(step.result for step in steps) == found.report.decode.step_s
    for m, step in enumerate(steps, 1):
        alone = choice.job.in_flight(
            request.workload.batch, m, request.workload.context_tokens, choice.placement
        )
        assert step.result == alone.step.seconds
    chosen = result(found, "decode step", "micro-batches in flight")
    assert steps[int(chosen) - 1].result == found.report.decode.step_s


def test_each_pool_of_a_pair_has_half_of_its_floor(explained):
    found = explained("pair")
    request, choice = asked_as("pair")
    near = step_named(found, "decode step: attention", "exposed: latency")
    far = step_named(found, "decode step: feed-forward", "floor of all layers")
    assert near.values["part_of_layer"] == far.values["part_of_layer"] == 0.5
    constants = request.constants
    assert near.result == pytest.approx(61 * constants.layer_s / 2 + constants.sequence_s)
    assert far.result == pytest.approx(choice.job.beside.timer.floor_s)
    step = step_named(found, "decode step: feed-forward", "a micro-batch on feed-forward")
    assert step.formula.startswith("max(floor_s, ")


def test_each_pool_of_a_pair_multiplies_its_own_part(explained):
    near, far = ("decode step: attention", "decode step: feed-forward")
    times = {group: {step.name for step in explained("pair-batch").steps if step.group == group and step.name.startswith("memory time: ")}
             for group in (near, far)}  # fmt: skip
    assert times[near] == {
        "memory time: attention from HBM",
        "memory time: head from HBM",
        "memory time: KV cache from HBM",
    }
    assert times[far] == {
        f"memory time: {part} from SRAM"
        for part in ("dense feed-forward", "shared experts", "router", "experts")
    }


def paired(chip, beside, batch, count=8, **options):
    """A request of 70B with a pool of such chips for the feed-forward part."""
    asked = api.request("llama-3.1-70b", chip=chip, chips=8, batch=batch, **options)
    system = replace(asked.system, feed_forward=Pool(beside, count, 1e12, 2e-6))
    return replace(asked, system=system, others=stacks_beside(system, asked.engine))


def check(found):
    """Every formula gives its result."""
    for step in found.steps:
        if not isinstance(step.result, str):
            slack = 64.0 if step.unit == "B" else 0.0
            value = in_python(step.formula, step.values)
            assert value == pytest.approx(step.result, rel=1e-9, abs=slack), (step.group, step.name)


def test_where_a_pool_is_busier_than_one_micro_batch_takes_its_terms_are_those_of_the_step():
    request = paired("h200-sxm", api.request("70b", chip="h100-sxm").chip, 64)
    choice = choose(request)
    best = choice.job.flights(64, 8192, choice.placement)
    assert best.step.seconds > best.attention.seconds + best.feed_forward.seconds + best.hand_over_s
    found = explain(request)
    check(found)
    exposed = {
        step.name: step
        for step in found.steps
        if step.group == "decode step" and step.name.startswith("exposed: ")
    }
    assert all(step.formula.startswith("micro_batches * ") for step in exposed.values())
    assert sum(step.result for step in exposed.values()) == pytest.approx(found.report.decode.step_s)


def test_what_streams_in_from_beyond_the_die_of_a_pool_is_shared_by_its_micro_batches():
    changes = {"memory.host.bandwidth_bytes_per_s": "150GB/s", "memory.host.home": "true",
               "memory.host.holds": "weights", "memory.sram.holds": "cache"}  # fmt: skip
    wafer = api.request("70b", chip="wse-3", set=changes).chip
    found = explain(paired("h100-sxm", wafer, 64, 1))
    check(found)
    assert result(found, "decode step", "decode step") == found.report.decode.step_s
    steps = [step for step in found.steps if step.name.startswith("step with micro-batches in flight: ")]
    assert len(steps) == MOST_FLIGHTS
    assert all("feed_forward_beyond_die_s" in step.values for step in steps)


def test_what_a_pair_costs_is_a_formula_too():
    found = explain(paired("h200-sxm", api.request("70b", chip="h100-sxm").chip, 16))
    step = step_named(found, "cost", "USD per million tokens out")
    assert step.result == found.report.cost.usd_per_million_output_tokens
    assert in_python(step.formula, step.values) == pytest.approx(step.result)
    assert {"attention_chips", "feed_forward_chips"} <= set(step.values)


@pytest.mark.parametrize("name", APART)
def test_prefill_on_another_pool_is_its_pass_and_the_hand_over(explained, name):
    found = explained(name)
    prefill, layers = found.report.prefill, found.report.model.layers
    kept = next(
        step.name.removesuffix(" of the prompt")
        for step in found.steps
        if step.name.endswith(" of the prompt") and step.group == "prefill"
    )
    assert result(found, "prefill", f"{kept} of the prompt") == prefill.kv_transfer_bytes
    assert result(found, "prefill", f"{kept} over the link") == prefill.kv_transfer_s
    computed = result(found, "prefill: prefill", "prefill of the prompt")
    assert computed == pytest.approx(found.report.workload.prompt_tokens / prefill.tokens_per_s)
    crossing = prefill.kv_transfer_s
    shown = result(found, "prefill", "exposed: hand-over")
    request, _ = asked_as(name)
    latency = request.link("prefill").latency_s or 0.0
    assert shown == pytest.approx(max(crossing / layers, crossing - computed * (1 - 1 / layers)) + latency)
    assert step_named(found, "prefill", "time to first token").formula == "prefill_s + hand_over_s"
    assert computed + shown == pytest.approx(prefill.time_to_first_token_s)


def test_the_cache_on_its_way_is_hidden_where_prefill_takes_longer(explained):
    # 21.5 GB over 600 GB/s take 36 ms, the prefill of 64k tokens much more: one layer of 80 is seen.
    found = explained("apart")
    assert found.report.prefill.kv_transfer_s == pytest.approx(65_536 * 327_680 / 600e9)
    assert result(found, "prefill", "exposed: hand-over") == pytest.approx(65_536 * 327_680 / 600e9 / 80)


def test_unlike_pools_have_no_command_line(explained):
    assert explained("pair").serve is None
    assert explained("apart").serve is None


def test_what_cannot_lie_in_a_tier_does_not_hold():
    # The cache lies on the wafer alone, and the other memory takes nothing but weights.
    found = api.explain("llama-3.1-70b", system="cs-3-x1-memoryx", batch=64, context="64k")
    verdict = step_named(found, "placement", "verdict")
    assert verdict.result == "does-not-fit"
    assert in_python(verdict.formula, verdict.values) is False
    assert verdict.values["cache_bytes"] > verdict.values["sram_usable_bytes"]


@pytest.mark.parametrize(
    ("formula", "shown"),
    [
        ("(1 - 8 / 256)**2,048", "(1 - 8 / 256)^2,048"),
        ("(1 - 8 / 256)**2", "(1 - 8 / 256)²"),
        ("(1 - 1 / 2)**25", "(1 - 1 / 2)^25"),
        ("(1 - 1 / 2)**2.5", "(1 - 1 / 2)^2.5"),
        ("max(a**2, b)", "max(a², b)"),
    ],
)
def test_an_exponent_is_a_square_only_where_it_is_two(formula, shown):
    assert pretty(formula) == shown


@pytest.mark.parametrize("name", ["wafer", "lpu", "apart"])
def test_layers_side_by_side_read_their_part_of_the_cache(explained, name):
    names = [step.name for step in explained(name).steps if step.group == "decode step"]
    assert "KV cache of a sequence over the chips of one layer, all layers in turn" in names
    assert not [title for title in names if "a chip reads" in title]


def test_headings_say_the_chips_of_a_pool(explained):
    pair = explain_screen(explained("pair-batch"), colour=False, width=TERMINAL_WIDTH)
    assert "\n  placement: feed-forward on 1,536 × Groq 3 LPU\n" in pair
    assert "\n  decode step: attention on 72 × VR200\n" in pair
    assert "= 6 micro-batches\n" in pair
    assert "= 1 micro-batch\n" in explain_screen(explained("pair"), colour=False, width=TERMINAL_WIDTH)
    apart = explain_screen(explained("apart"), colour=False, width=TERMINAL_WIDTH)
    assert "\n  prefill on 144 × Trainium3\n" in apart


def test_a_changed_figure_is_the_one_that_is_shown():
    found = api.explain("llama-3.1-8b", chip="h100-sxm", set={"memory.hbm.bandwidth_bytes_per_s": "4TB/s"})
    (step,) = [step for step in found.steps if step.name == "bandwidth: HBM of a chip"]
    assert step.values["bandwidth_bytes_per_s"] == 4e12


def test_sources_say_kind_and_grade(explained):
    (step,) = [step for step in explained("dense").steps if step.name == "bandwidth: HBM of a chip"]
    assert any(source.endswith("(vendor)") for source in step.sources)
    graded = [source for step in explained("wafer").steps for source in step.sources if ", grade " in source]
    assert graded


@pytest.mark.parametrize("name", CASES)
def test_json_is_strict_and_whole(explained, name):
    plain = json.loads(json.dumps(explained(name).to_dict(), allow_nan=False))
    assert plain["command"] == "explain"
    for step in plain["steps"]:
        assert {"name", "formula", "values", "result", "unit", "source"} <= set(step)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("width", [TERMINAL_WIDTH, 80])
def test_no_line_is_wider_than_a_terminal(explained, name, width):
    text = explain_screen(explained(name), colour=False, width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "\u00a0" not in text


def test_in_a_pipe_no_line_is_broken(explained):
    text = explain_screen(explained("dense"), colour=False, width=400)
    lines = text.splitlines()
    assert [line for line in lines if len(line) > TERMINAL_WIDTH]
    assert any(line.strip() == explained("dense").serve.command for line in lines)


def test_a_broken_command_line_is_the_same_to_a_shell(explained):
    text = explain_screen(explained("dense"), colour=False, width=TERMINAL_WIDTH)
    after = text[text.index("start it") :].split("\n\n")[1]
    assert " ".join(after.replace("\\\n", " ").split()) == explained("dense").serve.command


@pytest.mark.parametrize(
    "bad", ["__import__('os')", "a.b", "a if a else b", "unknown + 1", "max(a, *b)", "'a'"]
)
def test_a_formula_is_arithmetic_alone(bad):
    with pytest.raises((ValueError, TypeError)):
        evaluate(bad, {"a": 1.0, "b": 2.0})


def command(model, **options):
    """The words and notes that start the layout of a request."""
    request = api.request(model, **options)
    found = serve(request, choose(request))
    return found and (found.command, " ".join(found.notes))


def test_vllm_is_told_attention_groups_as_data_parallel_ranks():
    words, notes = command(
        "deepseek-v3", chip="h200-sxm", chips=8, batch=64, context="32k", tp=1, attention_dp=8
    )
    assert words == (
        "vllm serve deepseek-ai/DeepSeek-V3 --data-parallel-size 8 --enable-expert-parallel "
        "--max-model-len 32768 --max-num-seqs 8"
    )
    assert notes == ""


def test_vllm_replicas_of_experts_are_servers_of_their_own():
    words, notes = command("gpt-oss-120b", chip="h100-sxm", chips=4, batch=64, dp=2, tp=2, attention_dp=1)
    assert "--data-parallel-size" not in words
    assert "--max-num-seqs 32" in words
    assert "start 2 such servers" in notes


def test_vllm_takes_a_context_from_its_tensor_ranks():
    words, _ = command("llama-3.1-405b", chip="h100-sxm", chips=32, batch=16, cp=2, tp=8, pp=2)
    assert "--tensor-parallel-size 16 --pipeline-parallel-size 2 --decode-context-parallel-size 2" in words


def test_weights_that_the_engine_does_not_make_are_noted():
    words, notes = command("llama-3.1-8b", chip="h100-sxm", weights="int4-g128")
    assert "--quantization" not in words
    assert "int4-g128" in notes


def test_sglang_counts_all_chips_and_sequences_of_its_groups():
    words, _ = command(
        "deepseek-v3", chip="h200-sxm", chips=8, batch=64, kv="fp8", tp=1, attention_dp=8, engine="sglang"
    )
    assert words == (
        "python -m sglang.launch_server --model-path deepseek-ai/DeepSeek-V3 --tp-size 8 --dp-size 8 "
        "--enable-dp-attention --ep-size 8 --context-length 8192 --max-running-requests 64 --kv-cache-dtype fp8_e4m3"
    )


def test_tensorrt_llm_has_the_rest_in_a_file():
    words, notes = command(
        "llama-3.1-70b", chip="h100-sxm", chips=4, batch=8, kv="fp8", tp=4, engine="tensorrt-llm"
    )
    assert words == (
        "trtllm-serve meta-llama/Llama-3.1-70B --tp_size 4 --max_batch_size 8 --max_seq_len 8192 "
        "--kv_cache_free_gpu_memory_fraction 0.9 --config FILE.yaml"
    )
    assert "kv_cache_config: {dtype: fp8}" in notes


def test_llama_cpp_shares_its_context_between_slots():
    words, notes = command(
        "llama-3.1-8b", chip="rtx-4090", batch=4, context="4k", weights="q4_k_m", kv="q8_0"
    )
    assert words == (
        "llama-server -m llama-3.1-8b-q4_k_m.gguf -c 16384 -np 4 -ngl 99 --cache-type-k q8_0 --cache-type-v q8_0"
    )
    assert "GGUF" in notes


def test_a_model_without_a_known_name_has_a_placeholder():
    words, notes = command("70b", chip="h100-sxm", chips=4)
    assert f"vllm serve {PLACEHOLDER} " in words
    assert PLACEHOLDER in notes


def test_a_cache_format_that_the_engine_lacks_is_left_out():
    words, notes = command("llama-3.1-8b", chip="h100-sxm", kv="mxfp4")
    assert "--kv-cache-dtype" not in words
    assert "mxfp4" in notes


@pytest.mark.parametrize("options", [{"chip": "wse-3", "chips": 4}, {"chip": "h100-sxm", "engine": "ideal"}])
def test_other_engines_have_no_command_line(options):
    assert command("llama-3.1-8b", **options) is None


def test_explain_takes_a_request():
    request = api.request("llama-3.1-8b", chip="h100-sxm")
    assert explain(request).report.command == "explain"
