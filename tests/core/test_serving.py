"""Batches that prefill and decode: their limits are the passes that they are made of."""

from __future__ import annotations

import pytest

from memcalc.api import request
from memcalc.core.search import choose
from memcalc.core.serving import continuous, saturated, static_batch_s

ASKED = request("llama-3.1-8b", chip="h100-sxm", batch=16, context=2048)


@pytest.fixture(scope="module")
def choice():
    found = choose(ASKED)
    assert found is not None
    return found


def test_a_mixed_pass_without_prompts_is_a_decode_step(choice):
    mixed = choice.job.mixed(16, 0, 2048, choice.placement)
    step = choice.job.decode(16, 1024, choice.placement)
    # A sequence that ends yields its place to one that starts: a row more for the head in 2,048.
    assert mixed.seconds == pytest.approx(step.seconds, rel=1e-3)


def test_the_terms_of_a_mixed_pass_add_up(choice):
    mixed = choice.job.mixed(16, 1024, 256, choice.placement)
    assert sum(mixed.terms.values()) == pytest.approx(mixed.seconds)


def test_prompts_slow_a_pass(choice):
    times = [choice.job.mixed(16, prompt, 256, choice.placement).seconds for prompt in (0, 512, 4096)]
    assert times == sorted(times)
    assert times[0] < times[-1]


def test_a_mixed_pass_costs_at_most_decode_and_prefill_apart(choice):
    """What is read once for both is saved; nothing else is."""
    job, place = choice.job, choice.placement
    mixed = job.mixed(64, 2048, 512, place).seconds
    apart = job.decode(64, 2304, place).seconds + 64 / 512 * job.prefill(1, 2048, place).seconds
    assert mixed < apart


def test_a_static_batch_is_prefill_and_steps(choice):
    job, place = choice.job, choice.placement
    whole = static_batch_s(job, place, 16, 1024, 101)
    parts = job.prefill(16, 1024, place).seconds + 100 * job.decode(16, 1074, place).seconds
    assert whole == pytest.approx(parts)
    assert static_batch_s(job, place, 16, 1024, 1) == job.prefill(16, 1024, place).seconds


def test_a_busy_server_loses_what_its_engine_loses(choice):
    speed = continuous(choice.job, choice.placement, 16, 1024, 256)
    steps = 16 / choice.job.mixed(16, 1024, 256, choice.placement).seconds
    assert speed == pytest.approx(steps * ASKED.constants.serving_efficiency)


def test_a_saturated_server_holds_what_memory_holds():
    served = saturated(ASKED, 1024, 1024)
    held = served.job.held
    room = ASKED.rooms[0].usable
    assert held.needed(served.batch, 2048) <= room < held.needed(served.batch + 1, 2048)


def test_the_load_the_scheduler_and_the_step_limit_it():
    free = saturated(ASKED, 128, 128)
    assert saturated(ASKED, 128, 128, most=7).batch == 7
    slow = saturated(ASKED, 128, 128, step_s=0.02)
    assert slow.batch < free.batch
    assert slow.job.mixed(slow.batch, 128, 128, slow.placement).seconds <= 0.02
    assert saturated(ASKED, 128, 128, step_s=1e-6) is None


def test_where_nothing_fits_there_is_no_speed():
    assert saturated(request("llama-3.1-405b", chip="h100-sxm"), 128, 128) is None


def test_replicas_multiply():
    one = saturated(request("llama-3.1-8b", chip="h100-sxm"), 512, 512)
    four = saturated(request("llama-3.1-8b", chip="h100-sxm", chips=4, tp=1, dp=4), 512, 512)
    assert four.tokens_per_s == pytest.approx(4 * one.tokens_per_s, rel=0.01)
