"""Held out by source and chip, the published record is predicted as well as docs/accuracy.md says."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import pytest

from memcalc import accuracy, trials
from memcalc.measurement import Measurement
from memcalc.readers import measurements, presets
from memcalc.studies.validate import Skipped, Validation, quantile, sources

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "measurements.jsonl"
ROWS = measurements.published()
TASKS = ("decode", "decode of a batch", "request", "prefill", "static batch", "saturated")


@pytest.fixture(scope="module")
def held_out() -> Validation:
    return accuracy.validate()


# Medians of the errors, as fractions.
@pytest.mark.parametrize(
    ("task", "most"),
    [
        ("decode", 0.09), ("prefill", 0.13), ("static batch", 0.12), ("saturated", 0.12),
        ("known concurrency", 0.25), ("memory", 0.005),
    ],
)  # fmt: skip
def test_half_of_a_task_is_within(held_out, task, most):
    assert held_out.by_task[task].median_abs_error <= most


def test_half_of_the_speeds_of_engines_are_within_11_percent(held_out):
    """Over decode, prefill, static batches and saturated serving, and with known concurrency within 12."""
    errors = sorted(one.error for one in held_out.outcomes if one.reproducible and one.task in TASKS)
    assert len(errors) > 800
    assert median(errors) <= 0.11
    assert quantile(errors, 0.9) <= 0.75
    assert held_out.speeds.n > 950
    assert held_out.speeds.median_abs_error <= 0.12


def test_the_bands_hold_four_of_five(held_out):
    assert 0.72 <= held_out.speeds.band_coverage <= 0.88


def test_constants_that_have_seen_the_rows_do_better(held_out):
    assert accuracy.validate(in_sample=True).speeds.median_abs_error < held_out.speeds.median_abs_error


def test_few_rows_of_inference_are_skipped(held_out):
    inference = {row.id for row in ROWS if row.workflow in ("decode", "prefill", "serving-throughput")}
    skipped = [one for one in held_out.skipped if one.id in inference]
    assert len(skipped) <= 0.05 * len(inference)
    assert all(one.reason for one in held_out.skipped)


def test_every_model_and_chip_of_the_record_is_known_or_the_row_says_why_not(held_out):
    reasons = {one.id for one in held_out.skipped}
    unknown = {
        row.id for row in ROWS
        if presets.find("models", row.model) is None or (row.chip and presets.find("chips", row.chip) is None)
    }  # fmt: skip
    assert unknown <= reasons
    assert len(unknown) < 10


def test_a_fold_has_not_seen_the_sources_of_its_rows():
    """No source on a chip is both in a fold and outside it."""
    source_of = sources(ROWS)
    by_id = {row.id: (source_of(row), row.chip) for row in ROWS}
    homes: dict[tuple[str, str | None], set[int]] = {}
    for number, fold in enumerate(measurements.folds()):
        for id_ in fold.held_out:
            homes.setdefault(by_id[id_], set()).add(number)
    assert homes
    assert all(len(numbers) == 1 for numbers in homes.values())


def test_every_row_that_was_fitted_is_held_out_once(held_out):
    counted = [id_ for fold in measurements.folds() for id_ in fold.held_out]
    assert len(counted) == len(set(counted))
    fitted = {
        one.id for one in held_out.outcomes
        if one.reproducible and one.task != "memory" and presets.load_engine(one.engine).inherits
    }  # fmt: skip
    assert fitted == set(counted)


def test_the_points_of_an_engine_are_the_rows_of_its_fit():
    counts: dict[tuple[str, str], int] = {}
    held = {id_ for fold in measurements.folds() for id_ in fold.held_out}
    for row in ROWS:
        if row.id in held:
            asked = trials.trial(row)
            assert not isinstance(asked, Skipped)
            engine, family = asked.request.engine, asked.request.chip.family
            for name in {engine.name, engine.release_of or engine.name}:
                counts[name, family] = counts.get((name, family), 0) + 1
    for name in presets.names("engines"):
        engine = presets.load_engine(name)
        if engine.inherits and name not in ("default", "mlx", "ideal"):
            assert dict(engine.points) == {f: n for (e, f), n in counts.items() if e == name}


def test_the_rows_that_come_along_are_sound(tmp_path):
    file = tmp_path / "all.jsonl"
    parts = sorted((Path(presets.ROOT) / "measurements").glob("*.jsonl"))
    file.write_text("".join(part.read_text(encoding="utf-8") for part in parts), encoding="utf-8")
    read = list(measurements.read_measurements(file))
    assert all(isinstance(row, Measurement) for row in read)
    assert read == ROWS


@pytest.mark.skipif(not SHARED.is_file(), reason="the researched facts are not beside the checkout")
def test_the_record_is_the_researched_one():
    rows = {row["id"]: row for row in map(json.loads, SHARED.read_text(encoding="utf-8").splitlines())}
    assert {row.id for row in ROWS} == set(rows)
    for row in ROWS:
        assert dict(row.metrics) == {k: v for k, v in rows[row.id]["metrics"].items() if v is not None}
        assert row.source == rows[row.id]["source"]
