"""Nouns written as TOML: what is written reads back to the same, and a person can read it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memcalc.chip import Chip, Hardwired, LayerFloor, Links, Power, Tier
from memcalc.model import Source
from memcalc.readers import presets
from memcalc.readers.preset_files import chip_toml, engine_toml, model_toml
from memcalc.readers.user_files import read_chip, read_engine, read_model

KINDS: dict[str, tuple[Callable[[str], Any], Callable[[Any], str], Callable[..., Any]]] = {
    "chips": (presets.load_chip, chip_toml, read_chip),
    "models": (presets.load_model, model_toml, read_model),
    "engines": (presets.load_engine, engine_toml, read_engine),
}
BUILT_IN = [(kind, name) for kind in KINDS for name in presets.names(kind)]


@pytest.mark.parametrize(("kind", "name"), BUILT_IN, ids=[f"{kind}-{name}" for kind, name in BUILT_IN])
def test_what_is_written_reads_back_to_the_same(kind: str, name: str, tmp_path: Path) -> None:
    load, write, read = KINDS[kind]
    noun = load(name)
    file = tmp_path / "copy.toml"
    file.write_text(write(noun), encoding="utf-8")
    assert read(file) == replace(noun, origin="file")


def test_every_field_of_a_chip_is_written(tmp_path: Path) -> None:
    # Each field differs from its default, so one that the writer forgets is missed.
    chip = Chip(
        name="full",
        title='A "full" chip',
        maker="Ours",
        family="hopper",
        engine="vllm",
        memory={
            "rom": Tier(10**9, home=True, holds="weights", usable=1.0),
            "sram": Tier(5 * 10**8, 8.1e13, 1.234567890123e13, True, "home", "all", 0.9, 1e-12, "tiles"),
            "host": Tier(role="attached"),
        },
        compute={"bf16": 1.2345e15, "int8": 2e15},
        execution="spatial",
        plan="on-chip",
        links=Links(4.5e11, 8, "mesh", 5e10, 6.3e10, "ports"),
        layer_floor=LayerFloor(8.6e-6, 7.35e-7, 1e-6, False, "one point"),
        hardwired=Hardwired("llama-3.1-8b", "int4"),
        power=Power(700.0, 1370.0, 210.0, {"bf16": 7e-13}, 4.4e-11),
        largest_system_chips=64,
        tier_overlap=0.8,
        hypothetical=True,
        year=2026,
        status="a sketch",
        aliases=("filled",),
        notes="None.",
        origin="file",
        sources={"memory.sram": Source("vendor", "a sheet, 'quoted'", "C", "another sheet: 400 MB")},
    )
    file = tmp_path / "full.toml"
    file.write_text(chip_toml(chip), encoding="utf-8")
    assert read_chip(file) == chip


def test_large_figures_are_written_as_on_a_data_sheet() -> None:
    chip = replace(presets.load_chip("h100-sxm"), compute={"bf16": 1.0 / 3.0 * 1e15, "fp8": 1.979e15})
    text = chip_toml(chip)
    assert "\nbandwidth_bytes_per_s = 3.35e12\n" in text
    assert "\nfp8 = 1.979e15\n" in text
    assert "\ncapacity_bytes = 85520809984\n" in text
    # However long a figure is, it is the same when it is read.
    assert tomllib.loads(text)["compute"]["bf16"] == 1.0 / 3.0 * 1e15


def test_what_is_unknown_is_not_written() -> None:
    text = chip_toml(Chip("x", "x", "", "default", "default", {"hbm": Tier(10**9, home=True)}))
    assert text.split("\n\n") == [
        'name = "x"\ntitle = "x"\nmaker = ""\nfamily = "default"\nengine = "default"',
        "[memory.hbm]\ncapacity_bytes = 1000000000\nhome = true\n",
    ]
