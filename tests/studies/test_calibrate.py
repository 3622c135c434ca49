"""A user's own rows: planted constants are found again, few rows move what they speak of, and no more."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from memcalc.engine import Constants
from memcalc.measurement import Measurement
from memcalc.readers.preset_files import engine_toml
from memcalc.readers.presets import load_engine
from memcalc.readers.user_files import read_engine
from memcalc.studies.calibrate import WIDTHS, calibrate, shifted
from memcalc.studies.validate import Trial, setup, tokens_per_s
from memcalc.trials import trial

BASE, WHOLE = load_engine("vllm"), load_engine("default").constants


def trials(points, moves, model="llama-3.1-8b", chip="h100-sxm"):
    """Rows of an engine whose constants differ from vLLM's by `moves`: (batch, context) or prompts."""
    found = []
    for number, point in enumerate(points):
        workflow = "decode" if isinstance(point, tuple) else "prefill"
        metric = "tok_s_instance_output" if workflow == "decode" else "prefill_tok_s"
        batch, context = point if isinstance(point, tuple) else (1, point)
        row = Measurement(
            f"r{number}", workflow, model, {metric: 1.0}, engine="vllm", chip=chip, n_chips=1, weights="bf16",
            kv="bf16", batch=batch, context_tokens=context, input_tokens=context,
        )  # fmt: skip
        asked = trial(row, BASE)
        assert isinstance(asked, Trial)
        known = {f.name: getattr(asked.request.constants, f.name) for f in fields(Constants)}
        speed = tokens_per_s(asked, setup(asked), Constants(**shifted(known, moves)))
        found.append(asked._replace(row=replace(row, metrics={metric: speed})))
    return found


POINTS = [(1, 256), (1, 8192), (1, 65536), (8, 4096), (32, 4096), (128, 1024), 512, 4096, 16384]


def test_planted_constants_are_found_again():
    moves = {"memory_efficiency": -0.3, "layer_s": 0.4, "compute_efficiency": -0.5}
    found = calibrate(trials(POINTS, moves), BASE, WHOLE, "mine", "rows.jsonl")
    assert found.error_before > 0.1
    assert found.error_after < 0.01
    assert found.error_held_out < 0.05
    moved = {one.constant: one.after / one.before for one in found.moved}
    assert moved["layer_s"] == pytest.approx(1.49, rel=0.15)
    assert moved["compute_efficiency"] < 0.9


@pytest.mark.parametrize("moves", [{"layer_s": 1.5}, {"compute_efficiency": -1.5, "layer_s": 1.0}])
def test_a_stack_that_is_far_slower_is_no_outlier(moves):
    found = calibrate(trials(POINTS, moves), BASE, WHOLE, "mine", "rows.jsonl")
    assert found.error_before > 0.3
    assert found.error_after < 0.05
    assert not found.warnings


def test_rows_of_another_machine_are_not_explained_and_it_says_so():
    rows = trials(POINTS, {})
    rows = [
        one._replace(row=replace(one.row, metrics={k: v / 300 for k, v in one.row.metrics.items()}))
        for one in rows
    ]
    assert "do not explain" in calibrate(rows, BASE, WHOLE, "mine", "rows.jsonl").warnings[0]


def test_rows_that_are_predicted_move_nothing():
    found = calibrate(trials(POINTS, {}), BASE, WHOLE, "mine", "rows.jsonl")
    assert found.moved == ()
    assert found.error_after == pytest.approx(0.0, abs=1e-6)


def test_three_rows_are_enough_to_move_the_band():
    found = calibrate(
        trials([(1, 512), (1, 4096), (1, 16384)], {"layer_s": 0.4}), BASE, WHOLE, "mine", "rows.jsonl"
    )
    [band] = found.bands
    assert (band.task, band.rows) == ("decode", 3)
    assert 1.0 < band.after < band.before
    # A third of the way at most: six rows count as much as what was known before.
    assert band.after > band.before ** (6 / 9) - 1e-3


def test_rows_that_contradict_each_other_widen_the_band():
    rows = trials([(1, 4096)] * 4, {})
    rows = [
        one._replace(row=replace(one.row, metrics={"tok_s_instance_output": value}))
        for one, value in zip(rows, (40.0, 160.0, 45.0, 150.0), strict=True)
    ]
    [band] = calibrate(rows, BASE, WHOLE, "mine", "rows.jsonl").bands
    assert band.after > band.before


def test_a_single_row_is_taken_and_does_not_praise_itself():
    found = calibrate(trials([(1, 4096)], {"layer_s": 0.4}), BASE, WHOLE, "mine", "rows.jsonl")
    assert found.error_after < found.error_before
    assert found.error_held_out == found.error_before


def test_where_no_row_can_be_timed_there_is_no_engine():
    big = trial(
        Measurement(
            "x", "decode", "llama-3.1-405b", {"tok_s_user": 9.0}, chip="h100-sxm", n_chips=1, weights="bf16"
        ),
        BASE,
    )
    assert calibrate([big], BASE, WHOLE, "mine", "rows.jsonl") is None


def test_the_engine_reads_back_as_it_was_written(tmp_path):
    found = calibrate(trials(POINTS, {"layer_s": 0.4}), BASE, WHOLE, "mine", "rows.jsonl").engine
    file = tmp_path / "mine.toml"
    file.write_text(engine_toml(found), encoding="utf-8")
    assert read_engine(file) == replace(found, origin="file")
    assert dict(found.points) == {"hopper": len(POINTS)}
    assert found.evidence == "calibrated"


@pytest.mark.parametrize("name", ["vllm", "llama.cpp", "ideal", "groq", "default"])
def test_every_engine_can_be_written(tmp_path, name):
    engine = load_engine(name)
    file = tmp_path / "engine.toml"
    file.write_text(engine_toml(engine), encoding="utf-8")
    assert read_engine(file) == replace(engine, origin="file")


def test_there_is_a_width_for_each_constant_that_is_fitted():
    fitted = set(load_engine("default").constants)
    assert set(WIDTHS) <= fitted
