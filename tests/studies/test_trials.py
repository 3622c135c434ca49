"""What a row is taken to ask, and what is assumed where it does not say."""

from __future__ import annotations

import pytest

from memcalc.measurement import Measurement
from memcalc.studies.validate import (
    CLOSED,
    DECODE,
    MEMORY,
    PREFILL,
    REQUEST,
    SATURATED,
    STATIC,
    Skipped,
    Trial,
)
from memcalc.studies.validate import setup as fits
from memcalc.trials import trial


def row(workflow="decode", model="llama-3.1-8b", metrics=None, **more):
    given = {"chip": "h100-sxm", "n_chips": 1, "engine": "vllm", "weights": "bf16", "kv": "bf16", **more}
    return Measurement("x", workflow, model, metrics or {"tok_s_user": 100.0}, **given)


def asked(*words, **more) -> Trial:
    found = trial(row(*words, **more))
    assert isinstance(found, Trial), found
    return found


@pytest.mark.parametrize(
    ("task", "words", "more"),
    [
        (DECODE, ("decode",), {}),
        (PREFILL, ("prefill",), {"input_tokens": 512}),
        (MEMORY, ("memory",), {"metrics": {"weights_gib": 15.0}}),
        (REQUEST, ("decode",), {"metrics": {"tok_s_user": 50.0, "request_latency_s": 2.0}, "output_tokens": 100}),
        (DECODE, ("decode",), {"metrics": {"tok_s_user": 60.0, "request_latency_s": 2.0}, "output_tokens": 100}),
        (SATURATED, ("serving-throughput",), {"input_tokens": 8, "output_tokens": 8}),
        (CLOSED, ("serving-throughput",), {"batch": 8, "input_tokens": 8, "output_tokens": 8}),
        (SATURATED, ("serving-throughput",), {"batch": 8, "notes": "max_num_seqs 8", "input_tokens": 8}),
        (STATIC, ("serving-throughput",), {"batch": 8, "software": "static batch", "input_tokens": 8}),
        (STATIC, ("serving-throughput",), {"batch": 8, "engine": "tensorrt-llm", "date": "2023-10"}),
        (CLOSED, ("serving-throughput",), {"batch": 8, "engine": "tensorrt-llm", "date": "2025-10"}),
    ],
)  # fmt: skip
def test_the_task_of_a_row(task, words, more):
    assert asked(*words, **more).task == task


@pytest.mark.parametrize(
    ("engine", "date", "preset"),
    [
        ("vllm", "2025", "vllm"), ("llama.cpp", "2024-05", "llama.cpp-2024"), ("llama.cpp", "2025-08", "llama.cpp"),
        ("llama.cpp", "", "llama.cpp"), ("tensorrt-llm", "2023-12", "tensorrt-llm-2023"), ("mine", "2025", "default"),
        ("unknown", "2025", "default"), ("vendor", "2025", "default"),
    ],
)  # fmt: skip
def test_the_engine_of_a_row(engine, date, preset):
    assert asked(engine=engine, date=date).request.engine.name == preset


def test_the_vendors_own_stack():
    assert (
        asked(engine="vendor", chip="groq-lpu-v1", n_chips=576, weights="int8").request.engine.name == "groq"
    )


@pytest.mark.parametrize(
    ("word", "weights"),
    [
        ("f16", "fp16"), ("FP8 (native)", "fp8"), ("Q4_K_M", "q4_k_m"), ("int4", "int4-g128"), ("AWQ", "int4-g128"),
        ("w4a16", "int4-g128"), ("int4-g32", "int4-g32"), ("nvfp4 or fp8 (not stated)", "nvfp4"), ("fp4", "nvfp4"),
        ("fp8_e4m3", "fp8"), ("w8a8", "int8"),
    ],
)  # fmt: skip
def test_words_for_formats(word, weights):
    assert asked(weights=word).request.precision.weights == weights


def test_a_checkpoint_that_converts_some_classes():
    found = asked(
        model="deepseek-r1", weights="nvfp4 MoE, fp8 attention", chip="b200", n_chips=8
    ).request.book
    assert found.formats["experts"].main.name == "nvfp4"
    assert found.formats["attention"].main.name == "fp8"
    assert found.formats["head"].main.name == "bf16"


def test_a_batch_on_each_chip():
    found = asked(
        model="deepseek-v3", n_chips=32, ep=32, dp=32, batch=64, notes="batch is per GPU", weights="fp8"
    )
    assert found.request.workload.batch == 64 * 32
    assert found.request.given.attention_data == 32


def test_what_is_not_stated_is_assumed_and_said():
    found = asked(weights=None, kv=None)
    assert found.assumed == ("bf16 weights", "bf16 KV cache", "a context of 1024 tokens", "one sequence")
    assert not asked(context_tokens=512, batch=1).assumed


def test_the_mean_context_of_a_decode():
    assert asked(input_tokens=1000, output_tokens=200).request.workload.context_tokens == 1100


def test_drafts_by_their_accepted_length():
    found = asked(
        model="deepseek-r1", chip="b200", n_chips=8, weights="fp8", notes="MTP3",
        metrics={"tok_s_user": 253.0, "accepted_len": 2.82},
    )  # fmt: skip
    assert found.request.workload.draft_tokens == 3
    assert found.request.workload.tokens_per_step == pytest.approx(2.82)
    assert asked(notes="no MTP").request.workload.draft_tokens == 0


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"model": "gpt-9"}, "unknown model 'gpt-9'"),
        ({"chip": "abacus"}, "unknown chip 'abacus'"),
        ({"chip": "h100"}, "unknown chip 'h100': did you mean 'h800' or 'h100-sxm'"),
        ({"chip": None}, "the chip is not stated"),
        ({"weights": "3.1415"}, "unknown precision '3.1415'"),
        ({"kv": "q4_k_m"}, "unknown precision 'q4_k_m'"),
        ({"metrics": {"p99_tpot_ms": 4.0}}, "has none of the metrics that are compared"),
        ({"metrics": {"tok_s_user": 0.0}}, "tok_s_user is not above zero"),
        ({"n_chips": 8, "tp": 3}, "tensor parallelism of 3 does not divide 8 chips"),
    ],
)
def test_a_row_that_is_skipped_says_why(more, reason):
    found = trial(row(**more))
    assert isinstance(found, Skipped)
    assert reason in found.reason


def of_vendor(chip, **more) -> Trial:
    return asked(chip=chip, engine="vendor", **{"n_chips": None, **more})


def test_where_the_number_of_chips_is_open_a_model_in_sram_takes_the_fewest():
    found = of_vendor("groq-lpu-v1", model="llama-3.1-70b", weights="int8")
    assert "the fewest chips that hold it" in found.assumed
    assert found.request.system.count < 576
    assert asked(chip="groq-lpu-v1", engine="vendor", n_chips=576, weights="int8").request.system.count == 576


def test_a_maker_serves_on_the_system_that_it_sells():
    assert of_vendor("sambanova-sn40l").request.system.count == 16
    assert of_vendor("b200").request.system.count == 1  # whoever runs it


def test_layers_that_were_run_by_themselves_and_scaled():
    notes = "only a subset of layers was run and scaled"
    decode = asked(chip="wse-2", engine="vendor", model="codellama-34b", weights="fp16", notes=notes)
    assert decode.request.system.count == 2
    assert any("scaled" in text for text in decode.assumed)
    prefill = asked(
        "prefill", chip="wse-2", engine="vendor", model="codellama-34b", weights="fp16", notes=notes
    )
    assert prefill.request.system.count == 1
    assert fits(prefill)
    whole = asked("prefill", chip="wse-2", engine="vendor", model="codellama-34b", weights="fp16")
    assert not fits(whole)


def test_a_chip_of_integers_holds_integers_where_a_row_leaves_it_open():
    found = of_vendor("d-matrix-corsair", n_chips=16, weights=None, kv=None)
    assert (found.request.precision.weights, found.request.precision.kv) == ("int8", "int8")
    assert {"int8 weights", "int8 KV cache"} <= set(found.assumed)
    stated = of_vendor("d-matrix-corsair", n_chips=16, weights="bf16", kv="bf16")
    assert (stated.request.precision.weights, stated.request.precision.kv) == ("bf16", "bf16")


def test_what_was_measured_did_fit_so_open_weights_are_narrower_where_they_must():
    found = of_vendor("groq-lpu-v1", model="llama-3.1-70b", n_chips=576, weights=None)
    assert found.request.precision.weights == "int8"
    assert "int8 weights, as bf16 ones do not fit" in found.assumed
    roomy = of_vendor("groq-lpu-v1", model="llama-3.1-70b", n_chips=1520, weights=None)
    assert roomy.request.precision.weights == "bf16"
    sizes = {"metrics": {"weights_gib": 141.0}, "model": "llama-3.1-70b", "n_chips": 576, "weights": None}
    assert asked("memory", chip="groq-lpu-v1", **sizes).request.precision.weights == "bf16"
    stated = of_vendor("groq-lpu-v1", model="llama-3.1-70b", n_chips=576, weights="bf16")
    assert not fits(stated)


def test_of_formats_that_a_row_leaves_open_the_checkpoints_own_is_taken():
    found = of_vendor("sambanova-sn40l", model="deepseek-r1", n_chips=16, weights="bf16/fp8 not stated")
    assert found.request.precision.weights == "fp8-b128"
    assert "fp8-b128 weights" in found.assumed
    likelier = asked(model="deepseek-v3.2", chip="b300", n_chips=8, weights="nvfp4 or fp8 (not stated)")
    assert likelier.request.precision.weights == "nvfp4"


def test_an_end_to_end_rate_is_a_static_batch():
    found = asked(
        "serving-throughput", metrics={"e2e_output_tok_s": 700.0}, batch=1, input_tokens=8, output_tokens=9
    )
    assert found.task == STATIC


def test_training_waits_for_its_command():
    assert trial(row("training", metrics={"mfu_pct": 40.0})).reason == "training is not predicted yet"
