"""What comes with memcalc: every preset loads, each figure has a source, names lead to one preset alone."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import memcalc
from memcalc.chip import TIERS
from memcalc.engine import BAND_TASKS, FRACTIONS, POSITIVES
from memcalc.model import KINDS, source_of
from memcalc.precision import MATH
from memcalc.readers import presets

ROOT = Path(presets.ROOT)
LOADERS = {
    "chips": presets.load_chip,
    "systems": presets.load_system,
    "models": presets.load_model,
    "engines": presets.load_engine,
    "prices": presets.load_prices,
}
ALL = [(kind, name) for kind in LOADERS for name in presets.names(kind)]
FAMILIES = sorted(file.stem for file in (ROOT / "chips" / "families").glob("*.toml"))
CHIPS = presets.names("chips")
NAME = re.compile(r"[a-z0-9]+([.+-][a-z0-9]+)*")

# The chips and the models that the task names.
WANTED_CHIPS = (
    "a100-sxm-80gb h100-sxm h200-sxm b200 b300 mi300x mi355x tpu-v5e tpu-v6e tpu-v7x trainium2 gaudi-3 l40s rtx-4090 "
    "rtx-5090 apple-m3-ultra groq-lpu-v1 groq-3-lpu wse-3 sambanova-sn40l d-matrix-corsair taalas-hc1 matx-one"
)
WANTED_MODELS = (
    "llama-3.1-8b llama-3.1-70b llama-3.1-405b llama-3.2-3b qwen3-8b qwen3-32b qwen3-30b-a3b mixtral-8x7b gpt-oss-20b "
    "gemma-3-27b deepseek-v3 kimi-k2-instruct"
)


def table(path: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / f"{path}.toml").read_text(encoding="utf-8"))


def figures(value: Any, path: str = "") -> Iterator[str]:
    """The dotted paths of all numbers in a table; a switch is no number."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from figures(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from figures(inner, path)


def test_figures_finds_numbers_alone():
    found = {"a": 1, "b": True, "c": {"d": 2.5, "e": "x", "f": [{"g": 3}]}}
    assert sorted(figures(found)) == ["a", "c.d", "c.f.g"]


def test_the_chips_of_the_task_are_there():
    assert set(WANTED_CHIPS.split()) <= set(CHIPS)


def test_the_models_of_the_task_are_there():
    assert set(WANTED_MODELS.split()) <= set(presets.names("models"))


@pytest.mark.parametrize(("kind", "name"), ALL, ids=[f"{kind}-{name}" for kind, name in ALL])
def test_a_preset_loads_under_the_name_of_its_file(kind, name):
    assert LOADERS[kind](name).name == name
    assert NAME.fullmatch(name)
    assert len(name) <= 40


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_loads_under_the_name_of_its_file(name):
    family = presets.load_family(name)
    assert family.name == name
    assert family.constants
    assert set(family.constants) <= {*FRACTIONS, *POSITIVES}
    # A family that no chip belongs to would be dead.
    assert any(presets.load_chip(chip).family == name for chip in CHIPS)


#: Beyond what was measured or published: the year of a chip.
PLAIN = {"year"}
SOURCED = [
    *(f"chips/{name}" for name in CHIPS),
    *(f"chips/families/{name}" for name in FAMILIES),
    *(f"engines/{name}" for name in presets.names("engines")),
    *(f"systems/{name}" for name in presets.names("systems")),
]


@pytest.mark.parametrize("path", SOURCED)
def test_each_figure_has_a_source(path):
    data = table(path)
    sources = data.pop("sources")
    # What a system changes of its chip has sources under the names of the chip's figures.
    found = {figure.removeprefix("set.") for figure in figures(data)} - PLAIN
    without = sorted(figure for figure in found if source_of(sources, figure) is None)
    assert without == []


@pytest.mark.parametrize("path", [*SOURCED, *(f"models/{name}" for name in presets.names("models"))])
def test_sources_are_of_a_known_kind_and_belong_to_something(path):
    data = table(path)
    sources = data.pop("sources")
    assert sources
    for figure, source in sources.items():
        assert {"kind", "source"} <= set(source) <= {"kind", "source", "grade", "conflicts"}
        assert source["kind"] in KINDS
        assert source.get("grade", "A") in ("A", "B", "C", "D")
        assert source.get("conflicts", "x").strip()
        assert source["source"].strip()
        # A system changes figures of its chip under their dotted names.
        if figure in data.get("set", {}):
            continue
        inner = data
        for step in figure.split("."):
            assert step in inner, f"{figure} has a source and no figure"
            inner = inner[step]


def test_kinds_are_those_of_the_contract():
    assert set(KINDS) == {"vendor", "independent", "derived", "estimate"}


@pytest.mark.parametrize("name", presets.names("prices"))
def test_prices_say_what_they_rest_on(name):
    prices = presets.load_prices(name)
    assert prices.kind in KINDS
    assert prices.source.strip()
    assert prices.basis
    assert all(re.fullmatch(r"20\d\d-\d\d(-\d\d)?", date) for date in prices.date.split(" to "))
    assert prices.usd_per_chip_hour
    for chip, price in prices.usd_per_chip_hour.items():
        assert NAME.fullmatch(chip)
        assert 0.0 < price < 100.0
    assert set(prices.placeholders) <= set(prices.usd_per_chip_hour)
    assert set(prices.sources) <= set(prices.usd_per_chip_hour)


def test_the_default_prices_have_the_usual_chips():
    assert {"h100-sxm", "h200-sxm", "b200", "mi300x"} <= set(
        presets.load_prices("owning-neocloud-2026").usd_per_chip_hour
    )


def aliases(kind: str) -> dict[str, tuple[str, ...]]:
    return {name: getattr(LOADERS[kind](name), "aliases", ()) for name in presets.names(kind)}


@pytest.mark.parametrize("kind", ["chips", "systems", "models"])
def test_an_alias_leads_to_one_preset(kind):
    found = aliases(kind)
    counted = Counter(alias for each in found.values() for alias in each)
    assert [alias for alias, times in counted.items() if times > 1] == []
    assert set(counted) & set(presets.names(kind)) == set()
    for name, each in found.items():
        for alias in each:
            assert NAME.fullmatch(alias), alias
            assert presets.find(kind, alias) == name
            assert presets.find(kind, alias.upper()) == name


def test_there_are_aliases():
    assert all(any(aliases(kind).values()) for kind in ("chips", "systems", "models"))


def test_a_chip_is_not_called_like_a_system():
    # --chip takes both, and the chip would hide the system.
    chips = set(CHIPS) | {alias for each in aliases("chips").values() for alias in each}
    systems = set(presets.names("systems")) | {
        alias for each in aliases("systems").values() for alias in each
    }
    assert chips & systems == set()


@pytest.mark.parametrize("name", CHIPS)
def test_a_chip_is_sound(name):
    chip = presets.load_chip(name)
    assert chip.engine in presets.names("engines")
    assert chip.plan in ("on-chip", "weights-on-chip", "dram")
    assert chip.execution in ("time-shared", "spatial")
    assert chip.title
    assert chip.maker
    assert set(chip.memory) <= set(TIERS)
    assert set(chip.compute) <= set(MATH)
    assert chip.homes
    for tier in chip.memory.values():
        # A cache or a scratchpad is never a home; a home has a size.
        assert tier.home == (tier.role == "home")
        assert tier.capacity_bytes or not tier.home
        assert tier.capacity_bytes is None or isinstance(tier.capacity_bytes, int)
        assert tier.usable is None or 0.0 < tier.usable <= 1.0
    wanted = {
        "on-chip": {"rom", "sram"},
        "weights-on-chip": {"rom", "sram"},
        "dram": {"hbm", "gddr", "lpddr", "ddr"},
    }
    assert wanted[chip.plan] & {tier for tier, _ in chip.homes}
    if chip.hardwired:
        assert presets.find("models", chip.hardwired.model) == chip.hardwired.model


# contract.md: a tier is a home only where the chip is built so; caches and scratchpads never are.
@pytest.mark.parametrize("name", CHIPS)
def test_sram_is_a_home_where_the_contract_says(name):
    homes = {
        "wse-2",
        "wse-3",
        "groq-lpu-v1",
        "groq-3-lpu",
        "northpole",
        "d-matrix-corsair",
        "taalas-hc1",
        "taalas-hc2",
        "graphcore-gc200",
        "graphcore-bow",
        "matx-one",
    }
    chip = presets.load_chip(name)
    sram = chip.memory.get("sram")
    assert (name in homes) == (sram is not None and sram.home)
    # Of the Gaudi the contract's word holds for the second; the third's SRAM is a cache (Hot Chips 2024).
    scratchpads = (
        "tpu-", "trainium", "inferentia", "gaudi-2", "sambanova-", "maia-", "mtia-", "furiosa-", "qualcomm-",
        "blackhole-", "wormhole-",
    )  # fmt: skip
    if sram and not sram.home:
        assert sram.role == ("scratchpad" if name.startswith(scratchpads) else "cache")


# contract.md, --chips: on-chip for WSE, Groq, NorthPole, Corsair and HC1, weights-on-chip for hybrids, dram for the rest;
# an IPU has no DRAM of its own, and HC2 follows HC1.
@pytest.mark.parametrize("name", CHIPS)
def test_the_plan_of_a_chip(name):
    on_chip = {"wse-2", "wse-3", "groq-lpu-v1", "groq-3-lpu", "northpole", "d-matrix-corsair", "taalas-hc1",
               "taalas-hc2", "graphcore-gc200", "graphcore-bow"}  # fmt: skip
    plan = "on-chip" if name in on_chip else "weights-on-chip" if name == "matx-one" else "dram"
    assert presets.load_chip(name).plan == plan


# The grades of the researched record (its table of constants): how much a floor or a drawn bandwidth rests on.
GRADES = {
    ("wse-2", "layer_floor.base_s"): "A",
    ("wse-3", "layer_floor.base_s"): "D",
    ("groq-lpu-v1", "layer_floor.base_s"): "C",
    ("groq-lpu-v1", "memory.sram.effective_bytes_per_s"): "B",
    ("sambanova-sn40l", "layer_floor.base_s"): "C",
    ("sambanova-sn40l", "memory.hbm.effective_bytes_per_s"): "C",
    ("d-matrix-corsair", "layer_floor.base_s"): "C",
    ("d-matrix-corsair", "memory.sram.effective_bytes_per_s"): "D",
    ("northpole", "layer_floor.base_s"): "C",
    ("taalas-hc1", "layer_floor.base_s"): "C",
    ("taalas-hc1", "memory.sram.capacity_bytes"): "D",
    ("groq-3-lpu", "layer_floor.base_s"): "D",
    ("groq-3-lpu", "memory.sram.effective_bytes_per_s"): "D",
    ("matx-one", "layer_floor.base_s"): "D",
}


def test_floors_and_drawn_bandwidths_are_graded():
    found = {}
    for name in CHIPS:
        chip = presets.load_chip(name)
        wanted = [f"memory.{tier}.effective_bytes_per_s" for tier, one in chip.memory.items()
                  if one.effective_bytes_per_s]  # fmt: skip
        wanted += ["layer_floor.base_s"] if chip.layer_floor else []
        for figure in wanted:
            source = source_of(chip.sources, figure)
            assert source, (name, figure)
            found[name, figure] = source.grade
    assert None not in found.values()
    assert {key: grade for key, grade in GRADES.items() if found.get(key, grade) != grade} == {}
    assert presets.load_chip("taalas-hc1").sources["memory.sram"].grade == "D"
    assert len(set(GRADES) & set(found)) == len(GRADES) - 1


# chips-notes.md, conflicts between sources: the value is kept, the other one is told.
@pytest.mark.parametrize(
    ("name", "figure", "said"),
    [
        ("b200", "memory.hbm.bandwidth_bytes_per_s", "7.7 TB/s"),
        ("b200", "memory.hbm.capacity_bytes", "192 GB"),
        ("b300", "memory.hbm.bandwidth_bytes_per_s", "7.7 TB/s"),
        ("mi455x", "compute.fp8", "FP8 10"),
        ("vr200", "memory.hbm.bandwidth_bytes_per_s", "19.4 TB/s"),
        ("vr200", "links.scale_up_bytes_per_s", "1.5 TB/s"),
        ("mi355x", "links.scale_up_bytes_per_s", "576 GB/s"),
        ("tpu-v6e", "links.scale_up_bytes_per_s", "360 GB/s"),
        ("gaudi-3", "memory.sram.bandwidth_bytes_per_s", "19.2 TB/s"),
        ("gaudi-3", "compute.bf16", "1,835 TFLOP/s"),
        ("l40s", "memory.sram.capacity_bytes", "48 MB"),
        ("trainium3", "links.scale_up_bytes_per_s", "2.56 TB/s"),
        ("h100-sxm", "power.all_in_w", "1,730 W"),
        ("wse-3", "power.all_in_w", "23 kW"),
        ("taalas-hc1", "power.tdp_w", "200 W"),
        ("gb300", "power.all_in_w", "132"),
        ("apple-m4-max-40c", "compute.fp16", "1578"),
        ("dgx-spark", "compute.bf16", "62.5 TFLOP/s"),
    ],
)
def test_what_other_sources_have_is_told(name, figure, said):
    source = source_of(presets.load_chip(name).sources, figure)
    assert source
    assert said in source.conflicts


def test_a_conflict_is_another_value_than_that_of_the_preset():
    # All-in watts of two revisions of one source: the older one is told, the newer one kept.
    older = {"h100-sxm": 1730, "h200-sxm": 1730, "b200": 2170, "b300": 2170, "gb200": 2100, "gb300": 2100,
             "mi300x": 1790, "mi325x": 2180, "mi355x": 2650}  # fmt: skip
    for name, watts in older.items():
        chip = presets.load_chip(name)
        assert f"{watts:,} W" in chip.sources["power.all_in_w"].conflicts
        assert chip.power.all_in_w != watts


# What is unknown stays absent, and the answer names it; a speed is not made up.
@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("graphcore-gc200", "memory.sram.effective_bytes_per_s"),
        ("graphcore-bow", "memory.sram.bandwidth_bytes_per_s"),
        ("ascend-950pr", "memory.hbm.bandwidth_bytes_per_s"),
        ("mtia-v2", "memory.lpddr.bandwidth_bytes_per_s"),
        ("rubin-cpx", "memory.gddr.bandwidth_bytes_per_s"),
        ("qualcomm-ai200", "memory.lpddr.bandwidth_bytes_per_s"),
        ("taalas-hc2", "compute.bf16"),
    ],
)
def test_a_chip_of_which_a_capacity_is_known_says_what_fits(name, missing):
    report = memcalc.fit("qwen3-0.6b", chip=name, chips=1, context=512, weights="fp4")
    assert report.fits
    assert report.decode is None
    assert any(missing in warning for warning in report.warnings)
    # And a model beyond it does not.
    assert not memcalc.fit("kimi-k2-instruct", chip=name, chips=1).fits


def test_a_hypothetical_chip_has_estimates_alone():
    hypothetical = [chip for chip in map(presets.load_chip, CHIPS) if chip.hypothetical]
    assert "matx-one" in [chip.name for chip in hypothetical]
    for chip in hypothetical:
        assert {source.kind for source in chip.sources.values()} == {"estimate"}
        assert "hypothetical" in chip.title


@pytest.mark.parametrize("name", presets.names("systems"))
def test_a_system_is_of_a_chip_that_is_there(name):
    system = presets.load_system(name)
    assert system.chip.name in CHIPS
    assert system.count >= 1
    assert system.title


@pytest.mark.parametrize("name", presets.names("models"))
def test_a_model_has_the_published_number_of_parameters(name):
    model = presets.load_model(name)
    if (
        name in WANTED_MODELS.split() and name != "kimi-k2-instruct"
    ):  # whose total was published in round numbers alone
        assert model.published_parameters is not None
    assert model.published_parameters in (None, model.parameters)
    assert 0 < model.active_parameters <= model.parameters
    assert model.depth == sum(group.count for group in model.layers)


@pytest.mark.parametrize("name", presets.names("engines"))
def test_an_engine_is_sound(name):
    engine = presets.load_engine(name)
    assert engine.title
    assert engine.evidence in ("calibrated", "roofline", "vendor-claim", "estimate", "hypothetical")
    assert set(engine.constants) <= {*FRACTIONS, *POSITIVES}
    assert all(0.0 < engine.constants[key] <= 1.0 for key in FRACTIONS if key in engine.constants)
    assert all(engine.constants[key] >= 0.0 for key in POSITIVES if key in engine.constants)
    assert engine.band >= 1.0
    families = {presets.load_chip(chip).family for chip in CHIPS}
    assert set(engine.bands) <= families | {"any"}
    assert all(set(by) <= set(BAND_TASKS) for by in engine.bands.values())
    assert all(factor >= 1.0 for by in engine.bands.values() for factor in by.values())
    assert (engine.until is None) == (engine.release_of is None)
    assert engine.release_of is None or presets.find("engines", engine.release_of) == engine.release_of
    assert set(engine.points) <= families
    assert (engine.evidence == "calibrated") <= bool(engine.points)
    assert engine.ideal == (name == "ideal")


def test_every_engine_but_the_general_ones_is_some_chips_own_or_a_known_stack():
    own = {presets.load_chip(chip).engine for chip in CHIPS}
    stacks = {
        "vllm",
        "sglang",
        "tensorrt-llm",
        "llama.cpp",
        "mlx",
        "jax",
        "gaudi",
        "gpt-fast",
        "default",
        "ideal",
    }
    releases = {name for name in presets.names("engines") if presets.load_engine(name).release_of}
    assert set(presets.names("engines")) <= own | stacks | releases


@pytest.mark.parametrize("kind", list(LOADERS))
def test_files_are_plain(kind):
    for name in presets.names(kind):
        raw = (ROOT / kind / f"{name}.toml").read_bytes()
        assert raw.endswith(b"\n")
        assert b"\t" not in raw
        assert b"\r" not in raw
        # `find` reads aliases from a line of the text.
        if "aliases" in table(f"{kind}/{name}"):
            assert (
                sum(line.startswith(b"aliases = [") and line.endswith(b"]") for line in raw.splitlines()) == 1
            )


DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(
    not (DATA / "chips.json").is_file(), reason="no researched data beside the repository"
)
#: Implied by a claimed speed, says the data's own note: no specification.
LEFT_OUT = {("taalas-hc1", "rom", "bandwidth_bytes_per_s")}
#: Of these not even the capacity of a memory is known.
NO_CAPACITY = {"epyc-9965", "xeon-6980p", "etched-sohu"}


@needs_data
@pytest.mark.parametrize("name", CHIPS)
def test_a_chip_is_what_the_researched_data_say(name):
    chip = presets.load_chip(name)
    data = {entry["id"]: entry for entry in json.loads((DATA / "chips.json").read_text(encoding="utf-8"))}[
        name
    ]
    for tier, memory in chip.memory.items():
        rows = [row for row in data["memory"] if row["name"] == tier]
        rows = rows or [row for row in data["memory"] if tier == "host" and row["scope"] != "chip"]
        for figure in ("capacity_bytes", "bandwidth_bytes_per_s"):
            ours, theirs = getattr(memory, figure), {row[figure] for row in rows} - {None}
            if (name, tier, figure) in LEFT_OUT:
                assert ours is None
            elif ours is None:
                assert tier == "host" or not theirs, figure
            elif theirs:
                assert ours in theirs, figure
            else:
                # What the data do not know is no vendor's figure.
                source = source_of(chip.sources, f"memory.{tier}.{figure}")
                assert source
                assert source.kind != "vendor"
    assert {row["name"] for row in data["memory"] if row["scope"] == "chip"} <= set(chip.memory)
    for form in set(chip.compute) & set(data["dense_flops_per_s"]):
        assert chip.compute[form] == data["dense_flops_per_s"][form]
    assert chip.power.tdp_w == data["tdp_w"]


@needs_data
def test_each_researched_chip_with_a_memory_is_there():
    data = json.loads((DATA / "chips.json").read_text(encoding="utf-8"))
    assert {entry["id"] for entry in data} - set(CHIPS) == NO_CAPACITY
    for entry in data:
        if entry["id"] in NO_CAPACITY:
            held = [row for row in entry["memory"] if row["capacity_bytes"] and row["managed"] != "cache"]
            assert held == []


@needs_data
def test_a_system_is_what_the_researched_data_say():
    data = {entry["id"]: entry for entry in json.loads((DATA / "systems.json").read_text(encoding="utf-8"))}
    common = sorted(set(data) & set(presets.names("systems")))
    assert len(common) >= 100
    for name in common:
        ours = [(pool.chip.name, pool.count) for pool in presets.load_system(name).pools]
        theirs = [(entry["chip"], entry["count"]) for entry in data[name]["chips"]]
        assert sorted(ours) == sorted(theirs), name


@needs_data
def test_prices_name_chips_that_the_researched_data_know():
    known = {entry["id"] for entry in json.loads((DATA / "chips.json").read_text(encoding="utf-8"))}
    for name in presets.names("prices"):
        assert set(presets.load_prices(name).usd_per_chip_hour) <= known, name


def test_the_presets_lie_where_the_package_looks_for_them():
    assert os.path.isdir(presets.ROOT)
    assert all(os.listdir(ROOT / kind) for kind in presets.KINDS)
    assert set(presets.KINDS) == set(LOADERS)
