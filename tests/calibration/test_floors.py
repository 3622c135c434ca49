"""The layer floors in the presets are those that calibration/floors.py fits, and it says what they are worth."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from statistics import median

import pytest

from memcalc.chip import LayerFloor
from memcalc.readers import presets

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "camps.md"
BLOCK = re.compile(r"```console\n\$ python calibration/floors\.py\n(.*?)```", re.DOTALL)

spec = spec_from_file_location("floors", ROOT / "calibration" / "floors.py")
floors = module_from_spec(spec)
sys.modules["floors"] = floors
spec.loader.exec_module(floors)

CAMPS = {camp.chip: camp for camp in floors.CAMPS}


@pytest.fixture(scope="module")
def fits():
    return {chip: floors.fitted(camp) for chip, camp in CAMPS.items()}


def test_the_presets_hold_what_is_fitted_and_the_page_shows_it(capsys):
    assert floors.main(["--check"]) == 0
    text = capsys.readouterr().out
    assert "DIFFERS" not in text
    page = PAGE.read_text(encoding="utf-8")
    if os.environ.get("MEMCALC_UPDATE_SNAPSHOTS"):
        shown = f"```console\n$ python calibration/floors.py\n{text}```"
        PAGE.write_text(BLOCK.sub(lambda _: shown, page), encoding="utf-8")
        return
    assert BLOCK.findall(page) == [text]


def test_a_preset_that_differs_is_named(monkeypatch, capsys):
    load = presets.load_chip

    def other(name):
        chip = load(name)
        return replace(chip, layer_floor=LayerFloor(9.9e-5)) if name == "northpole" else chip

    monkeypatch.setattr(floors.presets, "load_chip", other)
    assert floors.main(["--check"]) == 1
    assert re.search(r"base_s +7e-05 s, preset 9.9e-05  DIFFERS", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("held", "fitted", "same"),
    [(8.5e-6, 8.48e-6, True), (1.84e-6, 1.838e-6, True), (8.6e-6, 8.48e-6, False), (0.0, 1e-6, False), (0.0, 0.0, True)],
)  # fmt: skip
def test_two_digits(held, fitted, same):
    assert floors.agrees(held, fitted) is same


def test_every_decode_row_of_a_fitted_chip_is_fitted_or_held_out_with_a_reason(fits):
    for chip, found in fits.items():
        ids = {point.id for point in (*found.points, *found.held_out)}
        assert set(CAMPS[chip].held_out) <= ids
        assert ids == {point.id for point in floors.points(chip)}
        assert all(CAMPS[chip].held_out.values())


def test_what_is_held_out_for_its_speed_is_faster_than_memory_allows(fits):
    held = [point for found in fits.values() for point in found.held_out]
    quick = [p for p in held if CAMPS[p.trial.request.chip.name].held_out[p.id] == floors.SPECULATIVE]
    assert len(quick) == 3
    assert all(point.predicted(LayerFloor(0.0)) < point.measured for point in quick)


def test_no_row_of_wse_3_is_fitted_and_its_law_is_that_of_wse_2():
    assert "wse-3" not in CAMPS
    two, three = (presets.load_chip(name).layer_floor for name in ("wse-2", "wse-3"))
    assert (two.base_s, two.per_1024_width_s) == (three.base_s, three.per_1024_width_s)


def test_a_model_that_is_left_out_is_not_seen(fits):
    """Its error is that of a fit of the others, whatever its own speed is."""
    camp, rows = CAMPS["groq-lpu-v1"], fits["groq-lpu-v1"].points
    mixtral = next(point for point in rows if point.model == "mixtral-8x7b")
    floor = floors.fit(camp, [point for point in rows if point is not mixtral])
    for factor in (1.0, 2.0):
        changed = mixtral._replace(measured=factor * mixtral.measured)
        errors = floors.left_out(camp, [changed if point is mixtral else point for point in rows])
        found = next(error for point, error in errors if point.id == mixtral.id)
        ratio = mixtral.predicted(floor) / (factor * mixtral.measured)
        assert found == pytest.approx(max(ratio, 1 / ratio) - 1.0)


def test_a_median_over_models_does_not_follow_one_that_is_far_off(fits):
    """Never tuned to a point: a tenfold speed of one endpoint moves the base by less than a tenth."""
    camp, rows = CAMPS["groq-lpu-v1"], fits["groq-lpu-v1"].points
    far = [p._replace(measured=10 * p.measured) if p.id == "groq-docs-2026-qwen3-32b" else p for p in rows]
    assert floors.fit(camp, far).base_s == pytest.approx(fits["groq-lpu-v1"].floor.base_s, rel=0.1)


def test_names_of_one_architecture_are_one_model(fits):
    models = {point.id: point.model for point in fits["groq-lpu-v1"].points}
    assert models["groq-aa-llama-3.1-70b"] == models["groq-docs-2026-llama-3.3-70b"]
    assert len(set(models.values())) == 8
    assert len(models) == 12


def test_groq_with_a_model_left_out_half_of_the_rows_within_15_percent(fits):
    errors = [error for _, error in fits["groq-lpu-v1"].left_out]
    assert len(errors) == 12
    assert median(errors) <= 0.15
    # The worst is not hidden: the page has it, and so has validate.
    worst = max(fits["groq-lpu-v1"].left_out, key=lambda entry: entry[1])[0].id
    assert worst in PAGE.read_text(encoding="utf-8")


def test_the_preset_names_as_many_points_as_are_fitted(fits):
    for chip, found in fits.items():
        rests_on = presets.load_chip(chip).layer_floor.rests_on
        assert int(re.match(r"\d+", rests_on)[0]) == len(found.points)


def test_the_table_of_the_page_is_that_of_the_presets():
    rows = dict(
        re.findall(r"^\| ([A-Z][\w -]+?) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    )
    names = {
        "WSE-2": "wse-2", "Groq LPU v1": "groq-lpu-v1", "SN40L x16": "sambanova-sn40l", "Corsair": "d-matrix-corsair",
        "NorthPole": "northpole", "HC1": "taalas-hc1", "Groq 3 LPU": "groq-3-lpu",
    }  # fmt: skip
    assert set(rows) == {*names, "WSE-3"}
    for title, name in names.items():
        chip = presets.load_chip(name)
        floor = chip.layer_floor
        for value in (floor.base_s, floor.per_1024_width_s, floor.moe_s):
            assert not value or re.search(rf"(^|\s){value * 1e6:.3g}(\.0)?\b", rows[title])
        assert rows[title].endswith(f"| {chip.sources['layer_floor'].grade}")
