"""Files of the user: they become the same nouns as the presets, or one error that says all that is wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memcalc.errors import FileError
from memcalc.readers import presets
from memcalc.readers.user_files import (
    LARGEST_FILE_BYTES,
    MOST_PROBLEMS,
    check,
    check_all,
    read_chip,
    read_engine,
    read_model,
    read_system,
)

READERS: dict[str, tuple[Callable[..., Any], Callable[[str], Any]]] = {
    "chips": (read_chip, presets.load_chip),
    "systems": (read_system, presets.load_system),
    "models": (read_model, presets.load_model),
    "engines": (read_engine, presets.load_engine),
}
BUILT_IN = [(kind, name) for kind in READERS for name in presets.names(kind)]

CHIP = """
name = "my-chip"
[memory.hbm]
capacity_bytes = "80GiB"
home = true
"""
ATTENTION = "attention = {heads = 8, kv_heads = 2, head_dim = 64}\n"
LAYERS = f"[[layers]]\ncount = 4\n{ATTENTION}feed_forward = {{width = 2048}}\n"
MODEL = f'name = "tiny"\nwidth = 512\nvocabulary = 32000\n{LAYERS}'
LATENT = "heads = 8, latent_dim = 512, rope_dim = 64, nope_dim = 128, value_dim = 128"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def one(text: str | bytes, name: str = "my.toml") -> str:
        file = tmp_path / name
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(file)

    return one


def problems(read: Callable[[str], Any], path: str) -> list[str]:
    """What is wrong in a file, without the name of the file that each line begins with."""
    with pytest.raises(FileError) as caught:
        read(path)
    error = caught.value
    assert error.exit_code == 3
    assert "\n" not in error.message
    found = error.problems or (error.message,)
    for line in found:
        assert line.startswith(f"{path}: ")
        assert line.isprintable()
    return [line.removeprefix(f"{path}: ") for line in found]


@pytest.mark.parametrize(("kind", "name"), BUILT_IN, ids=[f"{kind}-{name}" for kind, name in BUILT_IN])
def test_a_copy_of_a_preset_is_the_same_noun(kind: str, name: str, tmp_path: Path) -> None:
    read, load = READERS[kind]
    file = tmp_path / f"{name}.toml"
    shutil.copy(os.path.join(presets.ROOT, kind, f"{name}.toml"), file)
    noun, built_in = read(file), load(name)
    assert noun == replace(built_in, origin="file")
    assert type(noun) is type(built_in)
    assert check(file) == kind[:-1]


def test_figures_with_units_are_read_by_their_names(write: Callable[..., str]) -> None:
    chip = read_chip(
        write(
            CHIP
            + """bandwidth_bytes_per_s = "4.8TB/s"
effective_bytes_per_s = 4_000_000_000_000
usable = "0.9"
[compute]
bf16 = "989TFLOP/s"
fp8 = 1560000000000000000
[links]
scale_up_bytes_per_s = "3.6Tb/s"
scale_up_domain_chips = "8"
[layer_floor]
base_s = "8us"
[power]
tdp_w = "1.4kW"
flop_j = {bf16 = "7e-13"}
"""
        )
    )
    tier = chip.memory["hbm"]
    assert tier.capacity_bytes == 80 * 2**30
    assert isinstance(tier.capacity_bytes, int)
    assert tier.bandwidth_bytes_per_s == 4.8e12
    assert tier.effective_bytes_per_s == 4e12
    assert isinstance(tier.effective_bytes_per_s, float)
    assert tier.usable == 0.9
    assert chip.compute == {"bf16": 9.89e14, "fp8": 1.56e18}
    assert chip.links.scale_up_bytes_per_s == 4.5e11
    assert chip.links.scale_up_domain_chips == 8
    assert chip.layer_floor
    assert chip.layer_floor.base_s == pytest.approx(8e-6)
    assert chip.power.tdp_w == 1400.0
    assert chip.power.flop_j == {"bf16": 7e-13}


def test_text_that_is_no_figure_stays_text(write: Callable[..., str]) -> None:
    assert read_chip(write('title = "80GiB"\n' + CHIP)).title == "80GiB"


def test_what_a_user_need_not_say(write: Callable[..., str]) -> None:
    chip = read_chip(write(CHIP))
    assert (chip.title, chip.maker, chip.family, chip.engine) == ("my-chip", "", "default", "default")
    assert chip.origin == "file"
    assert chip.sources == {}
    assert read_engine(write('name = "mine"')).title == "mine"
    assert read_system(write('name = "two"\nchip = "b200"\ncount = 2')).title == "two"


def test_unknown_figures_may_be_absent(write: Callable[..., str]) -> None:
    chip = read_chip(write(CHIP + "[memory.host]\nrole = 'attached'"))
    assert chip.memory["host"].capacity_bytes is None
    model = read_model(write(MODEL.replace("heads = 8, kv_heads = 2, head_dim = 64", LATENT)))
    assert model.layers[0].attention.kind == "latent"
    assert model.layers[0].attention.query_rank is None


def test_formats_are_read_in_any_case(write: Callable[..., str]) -> None:
    model = read_model(write('checkpoint = "Q4_K_M"\nbase_format = "BF16"\n' + MODEL))
    assert (model.checkpoint, model.base_format) == ("q4_k_m", "bf16")


def test_the_chip_of_a_system_is_a_preset_or_a_file_beside_it(
    write: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parts").mkdir()
    write(CHIP, "parts/chip.toml")
    write(CHIP.replace("my-chip", "near"), "near.toml")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    far = read_system(write('name = "rack"\nchip = "./parts/chip.toml"\ncount = 72', "rack.toml"))
    assert (far.chip.name, far.chip.origin, far.count, far.origin) == ("my-chip", "file", 72, "file")
    near = read_system(write('name = "rack"\nchip = "near.toml"\ncount = 1', "rack.toml"))
    assert near.chip == read_chip(tmp_path / "near.toml")
    assert read_system(write('name = "x"\nchip = "wse3"\ncount = 1')).chip == presets.load_chip("wse-3")


def test_the_problems_of_a_chip_are_those_of_its_system(write: Callable[..., str], tmp_path: Path) -> None:
    write(CHIP.replace('"80GiB"', "-5"), "chip.toml")
    system = write('name = "rack"\nchip = "chip.toml"\ncount = 0', "rack.toml")
    with pytest.raises(FileError, match=r"rack\.toml: 2 problems") as caught:
        read_system(system)
    inner, outer = caught.value.problems
    assert inner.startswith(f"{tmp_path}/chip.toml: memory.hbm.capacity_bytes = -5: must be above 0")
    assert outer.startswith(f"{system}: count = 0: must be above 0")
    # A file that names itself is read as a chip once, and is none.
    write('name = "rack"\nchip = "rack.toml"\ncount = 1', "rack.toml")
    with pytest.raises(FileError):
        read_system(system)
    write('name = "rack"\nchip = "./absent.toml"\ncount = 1', "rack.toml")
    with pytest.raises(FileError, match=r"absent\.toml: there is no such file"):
        read_system(system)


BAD_CHIPS = [
    ("capacity_bytes = -5", "memory.hbm.capacity_bytes = -5: must be above 0 (bytes, like 80GiB)"),
    ("capacity_bytes = 0", "memory.hbm.capacity_bytes = 0: must be above 0 (bytes, like 80GiB)"),
    ("capacity_bytes = 10_000_000_000_000_000", "must be at most 1e15 (bytes, like 80GiB)"),
    ("capacity_bytes = '2PB'", "memory.hbm.capacity_bytes = '2PB': must be at most 1e15 (bytes, like 80GiB)"),
    ("capacity_bytes = 8.0e10", "must be a whole number, without point or exponent (bytes, like 80GiB)"),
    ("capacity_bytes = true", "memory.hbm.capacity_bytes = true: must be a whole number (bytes, like 80GiB)"),
    ("capacity_bytes = '80G'", "memory.hbm.capacity_bytes = '80G': the unit of '80G' is ambiguous (bytes"),
    ("capacity_bytes = 'much'", "'much': is not a number with a unit (bytes, like 80GiB)"),
    ("capacity_bytes = [80]", "memory.hbm.capacity_bytes: must be a whole number (bytes, like 80GiB)"),
    ("capacity_bytes = 1979-05-27", "memory.hbm.capacity_bytes = 1979-05-27: is a date"),
    (
        "capacity_bytes = 1\nbandwidth_bytes_per_s = nan",
        "nan: must be finite (bytes per second, like 4.8TB/s)",
    ),
    ("capacity_bytes = 1\nbandwidth_bytes_per_s = -inf", "-inf: must be finite (bytes per second"),
    ("capacity_bytes = 1\nbandwidth_bytes_per_s = 1e25", "1e+25: must be at most 1e24 (bytes per second"),
    ("capacity_bytes = 1\nbandwidth_bytes_per_s = 1e-3", "0.001: must be at least 1 (bytes per second"),
    ("capacity_bytes = 1\nbandwidth_bytes_per_s = '4.8TB'", "'4.8TB': is not a rate (bytes per second"),
    ("capacity_bytes = 1\nbandwidth_bytes_per_s = true", "= true: must be a number (bytes per second"),
    ("capacity_bytes = 1\nusable = 1.5", "memory.hbm.usable = 1.5: must lie between 0 and 1"),
    ("capacity_bytes = 1\nusable = '190%'", "is out of range"),
    ("capacity_bytes = 1\nenergy_j_per_byte = -1", "memory.hbm.energy_j_per_byte = -1: must be at least 0"),
    ("capacity_bytes = 1\nrole = 'main'", "role = 'main': must be one of home, cache, scratchpad, attached"),
    ("capacity_bytes = 1\nholds = 1", "memory.hbm.holds = 1: must be one of all, weights"),
    (
        "capacity_bytes = 1\ncapcity = 1",
        "memory.hbm.capcity = 1: is not a key here; did you mean 'capacity_bytes'?",
    ),
    ("", "memory.hbm.capacity_bytes: is missing (bytes, like 80GiB)"),
    ("capacity_bytes = 1\n[memory.hbm2]", "memory.hbm2: is not known in memory; did you mean 'hbm'?"),
    ("capacity_bytes = 1\n[memory]\nsram = 3", "memory.sram = 3: must be a table"),
    ("capacity_bytes = 1\n[compute]\nbf16 = 0", "compute.bf16 = 0: must be above 0 (FLOP per second, like"),
    (
        "capacity_bytes = 1\n[compute]\nbf16 = '4TB/s'",
        "'4TB/s': is not a compute rate (FLOP per second, like",
    ),
    ("capacity_bytes = 1\n[compute]\ntf32 = 1", "compute.tf32 = 1: is not known in compute"),
    ("capacity_bytes = 1\n[power]\nflop_j = {bf15 = 1}", "power.flop_j.bf15 = 1: is not known in flop_j"),
    ("capacity_bytes = 1\n[power]\ntdp_w = 0", "power.tdp_w = 0: must be above 0 (watts, like 700W)"),
    (
        "capacity_bytes = 1\n[links]\nscale_up_bytes_per_s = 0",
        "must be above 0 (bytes per second, like 4.8TB/s)",
    ),
    (
        "capacity_bytes = 1\n[links]\nscale_up_domain_chips = '7.5'",
        "'7.5': is not a whole number (chips, like 8)",
    ),
    (
        "capacity_bytes = 1\n[layer_floor]\nmoe_s = '3us'",
        "layer_floor.base_s: is missing (seconds, like 8us)",
    ),
    ("capacity_bytes = 1\n[layer_floor]\nbase_s = '3m'", "base_s = '3m': is not a time (seconds, like 8us)"),
    (
        "capacity_bytes = 1\n[hardwired]\nmodel = 'x'\nweights = 'q5'",
        "hardwired.weights = 'q5': is no format",
    ),
    (
        "capacity_bytes = 1\n[sources]\nyear = {kind = 'rumour', source = ''}",
        "sources.year.kind = 'rumour': must be",
    ),
    ("capacity_bytes = 1\n[sources]\nyear = {kind = 'vendor'}", "sources.year.source: is missing"),
]


@pytest.mark.parametrize(("lines", "expected"), BAD_CHIPS, ids=[lines or "nothing" for lines, _ in BAD_CHIPS])
def test_one_problem_stands_in_the_message(lines: str, expected: str, write: Callable[..., str]) -> None:
    file = write(f'name = "x"\n[memory.hbm]\nhome = true\n{lines}')
    with pytest.raises(FileError) as caught:
        read_chip(file)
    error = caught.value
    assert error.problems == (error.message,)
    assert error.message.startswith(f"{file}: ")
    assert expected in error.message
    assert error.hint == "'memcalc presets show chips h100-sxm' shows one that is right"


BAD_TOPS = [
    ("name = 'My Chip'", "name = 'My Chip': must be of a-z, 0-9"),
    ("name = 'x\\n'", "name = 'x\\\\n': must be of a-z"),
    ("name = ''", "name = '': must be of a-z"),
    ("name = '../x'", "name = '../x': must be of a-z"),
    (f"name = '{'x' * 81}'", "must have 80 characters at most"),
    ("name = 3", "name = 3: must be text in quotes"),
    ('name = "x"\ntitle = "a\\u001b[2Jb"', "title = 'a\\x1b[2Jb': must have no control characters"),
    ('name = "x"\ntitle = "a\\u202eb"', "title = 'a\\u202eb': must have no control characters"),
    ('name = "x"\ntitle = """a\nb"""', "title = 'a\\nb': must have no control characters and be on one line"),
    (f"name = 'x'\ntitle = '{'x' * 121}'", "must have 120 characters at most"),
    ("name = 'x'\ntitle = ''", "title = '': must not be empty"),
    ("name = 'x'\nnotes = 1.5", "notes = 1.5: must be text in quotes"),
    ("name = 'x'\norigin = 'preset'", "origin = 'preset': cannot be given"),
    ("name = 'x'\nhypothetical = 1", "hypothetical = 1: must be true or false"),
    ("name = 'x'\nplan = 'hbm'", "plan = 'hbm': must be one of on-chip, weights-on-chip, dram"),
    ("name = 'x'\nfamily = '../../x'", "family = '../../x': must be of a-z"),
    ("name = 'x'\nengine = 'vlm'", "engine = 'vlm': is not among the presets; did you mean 'vllm'?"),
    ("name = 'x'\nengine = 'mine.toml'", "engine = 'mine.toml': is not among the presets"),
    ("name = 'x'\naliases = 'y'", "aliases = 'y': must be a list"),
    ("name = 'x'\naliases = ['y', 'Z']", "aliases[1] = 'Z': must be of a-z"),
    ("name = 'x'\nlinks = [1]", "links: must be a table"),
    ("name = 'x'\ncompute = 3", "compute = 3: must be a table"),
    ("name = 'x'\ntier_overlap = 2", "tier_overlap = 2: must lie between 0 and 1"),
    ("name = 'x'\nlargest_system_chips = 10_000_000", "must be at most 100000 (chips, like 8)"),
    ("name = 'x'\nyear = 1e99", "year = 1e+99: must be at most 1e15"),
]


@pytest.mark.parametrize(("lines", "expected"), BAD_TOPS, ids=[lines[:40] for lines, _ in BAD_TOPS])
def test_words_and_settings_of_a_chip(lines: str, expected: str, write: Callable[..., str]) -> None:
    (found,) = problems(read_chip, write(f"{lines}\n[memory.hbm]\nhome = true\ncapacity_bytes = 1"))
    assert expected.replace("\\\\n", "\\n") in found or expected in found


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ("", "memory: is missing"),
        ("memory = 3", "memory = 3: must be a table"),
        ("[memory]", "memory: no tier is a home: say home = true where tensors may live"),
        ("[memory.hbm]\ncapacity_bytes = 1", "memory: no tier is a home"),
        ("[memory.hbm]\nhome = true", "memory.hbm.capacity_bytes: is missing"),
        ("[memory.hbm]\nhome = 'yes'", "memory.hbm.home = 'yes': must be true or false"),
    ],
)
def test_a_chip_needs_a_home(memory: str, expected: str, write: Callable[..., str]) -> None:
    (found,) = problems(read_chip, write(f'name = "x"\n{memory}'))
    assert found.startswith(expected)


BAD_MODELS = [
    ("width = 512", "width = 0", "width = 0: must be above 0 (a whole number)"),
    ("width = 512", "", "width: is missing (a whole number)"),
    ("width = 512", "width = '4k'", "width = '4k': must be a number of zero or more, without a unit"),
    (
        "width = 512",
        "width = 512\ncheckpoint = 'bf61'",
        "checkpoint = 'bf61': is no format; did you mean 'bf16'?",
    ),
    (
        "width = 512",
        "width = 512\nkv_format = 'q4_k_m'",
        "kv_format = 'q4_k_m': is no format; it is a mixture",
    ),
    ("width = 512", f"width = 512\ncheckpoint = '{'q' * 99}'", "is no format"),
    (
        "width = 512",
        "width = 512\ncheckpoint_formats = {expert = 'fp8'}",
        "checkpoint_formats.expert = 'fp8': is not known in checkpoint_formats",
    ),
    ("width = 512", "width = 512\nmtp_layers = -1", "mtp_layers = -1: must be at least 0"),
    ("width = 512", "width = 512\ntied_embeddings = 'no'", "tied_embeddings = 'no': must be true or false"),
    ("count = 4", "count = 0", "layers[0].count = 0: must be above 0"),
    ("count = 4", "count = 1_000_001", "layers[0].count = 1000001: must be at most 1e6"),
    (LAYERS, "layers = []", "layers: needs at least one group"),
    (LAYERS, "layers = 3", "layers = 3: must be a list"),
    (LAYERS, "layers = [3]", "layers[0] = 3: must be a table"),
    (LAYERS, "", "layers: is missing"),
    (ATTENTION, "", "layers[0].attention: is missing"),
    (ATTENTION, "attention = 'mla'\n", "layers[0].attention = 'mla': must be a table"),
    ("kv_heads = 2", "kv_heads = 3", "layers[0].attention.kv_heads = 3: must divide the 8 heads"),
    ("kv_heads = 2", "kv_heads = 0", "layers[0].attention.kv_heads = 0: must be above 0"),
    (
        "kv_heads = 2",
        "kv_heads = 2, kind = 'linear'",
        "attention.kind = 'linear': must be one of grouped, latent",
    ),
    (
        "kv_heads = 2",
        "kv_heads = 2, window = 0",
        "layers[0].attention.window = 0: must be above 0 (a whole number)",
    ),
    ("kv_heads = 2, ", "", "layers[0].attention.kv_heads: is missing (a whole number)"),
    (
        "head_dim = 64",
        "head_size = 64, head_dim = 64",
        "head_size = 64: is not a key here; did you mean 'heads' or 'head_dim'?",
    ),
    (
        "heads = 8, kv_heads = 2, head_dim = 64",
        LATENT + ", kv_heads = 2",
        "attention.kv_heads = 2: is not a key",
    ),
    (
        "heads = 8, kv_heads = 2, head_dim = 64",
        LATENT.removesuffix(", value_dim = 128"),
        "value_dim: is missing",
    ),
    (
        "width = 2048",
        "width = 2048, experts = 4, top_k = 8",
        "top_k = 8: must be at most the number of experts, 4",
    ),
    (
        "width = 2048",
        "width = 2048, experts = 4",
        "feed_forward.top_k: must be at least 1 where there are experts",
    ),
    ("width = 2048", "width = 2048, shared_width = 64", "shared_width = 64: means nothing without experts"),
    ("width = 2048", "width = 2048, experts = -1", "feed_forward.experts = -1: must be at least 0"),
    ("width = 2048", "", "layers[0].feed_forward.width: is missing"),
]


@pytest.mark.parametrize(
    ("old", "new", "expected"), BAD_MODELS, ids=[new[:40] or old for old, new, _ in BAD_MODELS]
)
def test_problems_of_a_model(old: str, new: str, expected: str, write: Callable[..., str]) -> None:
    assert old in MODEL
    (found,) = problems(read_model, write(MODEL.replace(old, new, 1)))
    assert expected in found


def test_a_model_has_a_bounded_depth_and_number_of_groups(write: Callable[..., str]) -> None:
    deep = MODEL.replace("count = 4", "count = 600_000") + LAYERS.replace("count = 4", "count = 600_000")
    (found,) = problems(read_model, write(deep))
    assert found == "layers: are 1200000 layers together, and may be 1000000 at most"
    many = "name = 'x'\nwidth = 1\nvocabulary = 1\nlayers = [" + "{}," * 10_001 + "]"
    (found,) = problems(read_model, write(many))
    assert found == "layers: has 10001 entries, and may have 10000 at most"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("band = 0.5", "band = 0.5: must be at least 1 (a plain number"),
        ("usable_memory = 90", "usable_memory = 90: must lie between 0 and 1 (a share, like 0.9 or 90%)"),
        ("page_tokens = 0", "page_tokens = 0: must be above 0 (tokens, like 8192 or 128k)"),
        ("reserved_bytes_per_chip = -1", "must be at least 0 (bytes, like 2GB)"),
        ("prefill_compute_efficiency = 0", "prefill_compute_efficiency = 0: must be above 0"),
        ("combine = 'sum'", "combine = 'sum': must be one of max, root-sum-square"),
        ("[constants]\nlink_efficiency = 0", "constants.link_efficiency = 0: must be above 0"),
        ("[constants]\nlink_efficiency = 1.1", "constants.link_efficiency = 1.1: must be at most 1"),
        ("[constants]\nlayer_s = -1", "constants.layer_s = -1: must be at least 0 (seconds, like 8us)"),
        ("[constants]\nlayer_s = '1 day'", "constants.layer_s = '1 day': is not a"),
        (
            "[constants]\nlayers_s = 1",
            "constants.layers_s = 1: is not known in constants; did you mean 'layer_s'?",
        ),
        ("[constants]\nlayer_s = {}", "constants.layer_s: must be a number (seconds, like 8us)"),
        ("[points]\nhopper = 1.5", "points.hopper = 1.5: must be a whole number"),
        ("[points]\n'A b' = 1", "points.'A b' = 1: the key must be of a-z"),
        ("['\\u001b[2J']\na = 1", "'\\\\u001b[2J': is not a key here"),
        ('["\\u001b[2J"]\na = 1', "'\\x1b[2J': is not a key here"),
    ],
)
def test_problems_of_an_engine(lines: str, expected: str, write: Callable[..., str]) -> None:
    (found,) = problems(read_engine, write(f'name = "mine"\n{lines}'))
    assert expected in found


def test_zero_is_allowed_where_it_means_none(write: Callable[..., str]) -> None:
    engine = read_engine(
        write("name = 'mine'\nreserved_bytes_per_chip = 0\n[constants]\nlayer_s = 0\nsequence_s = '0s'")
    )
    assert engine.constants == {"layer_s": 0.0, "sequence_s": 0.0}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("chip = 'h10'\ncount = 8", "chip = 'h10': is not among the presets; did you mean 'h100-"),
        ("chip = ['h100-sxm']\ncount = 8", "chip: must be the name of a chip, or the path of its file"),
        ("chip = 3\ncount = 8", "chip = 3: must be the name of a chip"),
        ('chip = "a\\u0000/b.toml"\ncount = 8', "chip = 'a\\x00/b.toml': must have no control characters"),
        ("count = 8", "chip: is missing: the name of a chip, or the path of its file"),
        ("chip = 'b200'\ncount = 10_000_000", "count = 10000000: must be at most 1e6"),
        ("chip = 'b200'", "count: is missing (a whole number)"),
    ],
)
def test_problems_of_a_system(lines: str, expected: str, write: Callable[..., str]) -> None:
    (found,) = problems(read_system, write(f'name = "rack"\n{lines}'))
    assert expected in found


def test_all_problems_come_at_once_and_in_the_order_of_the_file(write: Callable[..., str]) -> None:
    file = write(
        """name = "x"
year = "soon"
plan = "hbm"
[memory.hbm]
home = true
capacity_bytes = "80G"
bandwith = 1
[memory.sram]
capacity_bytes = 0
role = "cash"
[compute]
bf16 = inf
[power]
tdp_w = false
""",
        "my-chip.toml",
    )
    with pytest.raises(FileError) as caught:
        read_chip(file)
    assert caught.value.message == f"{file}: 8 problems"
    keys = [line.removeprefix(f"{file}: ").partition(" ")[0].rstrip(":") for line in caught.value.problems]
    assert keys == [
        "year",
        "plan",
        "memory.hbm.capacity_bytes",
        "memory.hbm.bandwith",
        "memory.sram.capacity_bytes",
        "memory.sram.role",
        "compute.bf16",
        "power.tdp_w",
    ]


def test_no_more_problems_are_listed_than_anyone_reads(write: Callable[..., str]) -> None:
    file = write('name = "x"\n' + "".join(f"key{n} = {n}\n" for n in range(900)))
    with pytest.raises(FileError) as caught:
        read_engine(file)
    assert caught.value.message == f"{file}: more than {MOST_PROBLEMS} problems"
    assert len(caught.value.problems) == MOST_PROBLEMS
    (found,) = problems(read_engine, write("".join(f"key{n} = {n}\n" for n in range(2000))))
    assert found == "the file: has 2000 entries, and may have 1000 at most"


def test_values_are_shown_short_and_harmless(write: Callable[..., str]) -> None:
    (found,) = problems(read_engine, write(f'name = "x"\nnotes = "{"long " * 1000}"'))
    assert found.startswith("notes = 'long long")
    assert len(found) < 110
    (found,) = problems(read_engine, write(f"name = 'x'\nband = '{'9' * 100_000}'"))
    assert "band = '999" in found
    assert "is too long for a figure" in found
    assert len(found) < 140
    # Python itself refuses to write such a number out.
    (found,) = problems(read_engine, write(f"name = 'x'\npage_tokens = 0x{'f' * 9000}"))
    assert found == "page_tokens = (more than 60 digits): must be at most 1e15 (tokens, like 8192 or 128k)"


def test_all_that_comes_with_memcalc_is_usable() -> None:
    assert check_all() == {kind: len(presets.names(kind)) for kind in presets.KINDS}


def test_a_built_in_preset_that_is_not_usable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(presets.ROOT, tmp_path / "presets")
    monkeypatch.setattr(presets, "ROOT", str(tmp_path / "presets"))
    moved = tmp_path / "presets" / "engines" / "zz.toml"
    moved.write_text("name = 'yy'", encoding="utf-8")
    with pytest.raises(FileError, match=r"zz\.toml: name = 'yy': is not that of the file"):
        check_all()
    moved.write_text("name = 'zz'\nband = 0", encoding="utf-8")
    with pytest.raises(FileError, match=r"zz\.toml: band = 0: must be above 0"):
        check_all()


def test_prices_can_be_checked(write: Callable[..., str]) -> None:
    head = (
        "name = 'p'\ndate = '2026-01-01'\nbasis = 'b'\nkind = 'vendor'\nsource = 's'\n[usd_per_chip_hour]\n"
    )
    assert check(write(head + "b200 = 3.5")) == "prices"
    (found,) = problems(check, write(head + "b200 = 0"))
    assert found.startswith("usd_per_chip_hour.b200 = 0: must be above 0")
    (found,) = problems(check, write(head + "B200 = 1"))
    assert found.startswith("usd_per_chip_hour.B200 = 1: the key must be of a-z")


def test_a_file_says_what_it_describes(write: Callable[..., str]) -> None:
    assert check(write(CHIP)) == "chip"
    assert check(write(MODEL)) == "model"
    assert check(write("name = 'x'\nchip = 'b200'\ncount = 8")) == "system"
    assert check(write("name = 'x'")) == "engine"
    with pytest.raises(FileError, match="must be above 0"):
        check(write(CHIP.replace('"80GiB"', "-5")))


HOSTILE = [
    (b"\xef\xbb\xbfname = 'x'", "starts with a byte order mark"),
    (b"name = 'x'\nnotes = '\xff'", "line 2 is not UTF-8 text"),
    ("name = 'x'".encode("utf-16"), "line 1 is not UTF-8 text"),
    (b"name = 'x'\nband = ", "is not TOML: Invalid value"),
    (b"capacity_bytes = 80GiB", "is not TOML: Expected newline or end of document"),
    (b"a = \x00", "is not TOML: Invalid value (at line 1, column 5)"),
    (b"name = 'x'\nname = 'y'\n", "is not TOML: Cannot overwrite a value (at line 2, column "),
    (b"a = " + b"[" * 100_000, "is nested too deeply"),
    (b"a = " + b"{a = " * 100_000, "is nested too deeply"),
    (b"a = " + b"9" * 5000, "has a value that cannot be read"),
    (b".".join([b"a"] * 400_000) + b" = 1", "line 1 has more than 32 dots"),
    (b"\n[" + b".".join([b'"a"'] * 200_000) + b"]", "line 2 has more than 32 dots"),
    (b"# " + b"x" * LARGEST_FILE_BYTES, "is larger than 1 MiB"),
    (b"a = '" + b"x" * 1_000_000 + b"'", "a = 'xxx"),
    (b"b = 1\n" + b"x = [" + b"1," * 400_000 + b"]", "x: is not a key here"),
]


@pytest.mark.parametrize(("content", "expected"), HOSTILE, ids=[text[:40] for _, text in HOSTILE])
def test_hostile_files_are_one_error_each(content: bytes, expected: str, write: Callable[..., str]) -> None:
    file = write(content)
    start = time.perf_counter()
    for read in (read_chip, read_model, read_system, read_engine, check):
        found = problems(read, file)
        assert any(expected in line for line in found)
        assert all(len(line) < 300 for line in found)
    # Generous: what is meant is that no input takes minutes.
    assert time.perf_counter() - start < 60


def test_many_entries_of_a_wrong_type(write: Callable[..., str]) -> None:
    (found,) = problems(
        read_engine, write("name = 'x'\nsources = {" + ",".join(f"k{n}=1" for n in range(9000)) + "}")
    )
    assert found == "sources: has 9000 entries, and may have 1000 at most"
    found = problems(read_chip, write("aliases = [" + "1," * 10_000 + "]\n" + CHIP))
    assert len(found) == MOST_PROBLEMS


def test_what_is_no_file_of_its_own_is_refused(write: Callable[..., str], tmp_path: Path) -> None:
    assert problems(read_chip, str(tmp_path)) == ["is a folder"]
    assert problems(read_chip, os.devnull) == ["is not a regular file"]
    fifo = str(tmp_path / "fifo.toml")
    os.mkfifo(fifo)
    assert problems(read_chip, fifo) == ["is not a regular file"]
    loop = tmp_path / "loop.toml"
    loop.symlink_to(loop)
    assert problems(read_chip, str(loop))[0].startswith("cannot be read: ")
    assert problems(read_chip, write(CHIP) + "/x.toml") == ["cannot be read: not a directory"]
    assert problems(read_chip, str(tmp_path / ("x" * 300)))[0].startswith("cannot be read: ")
    sparse = tmp_path / "sparse.toml"
    with sparse.open("wb") as file:
        file.truncate(2**40)
    assert problems(read_chip, str(sparse)) == ["is larger than 1 MiB"]
    with pytest.raises(FileError, match="is not the name of a file"):
        read_chip("a\0b.toml")
    with pytest.raises(FileError, match="there is no such file"):
        read_chip("")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(write: Callable[..., str]) -> None:
    file = write(CHIP)
    Path(file).chmod(0)
    assert problems(read_chip, file) == ["cannot be read: permission denied"]


def test_a_missing_file_has_a_neighbour(write: Callable[..., str], tmp_path: Path) -> None:
    write(CHIP, "my-chip.toml")
    with pytest.raises(FileError) as caught:
        read_chip(tmp_path / "my-chp.toml")
    assert caught.value.hint == "did you mean 'my-chip.toml'?"
    with pytest.raises(FileError) as caught:
        read_chip(tmp_path / "nowhere" / "my-chp.toml")
    assert caught.value.hint is None


def test_the_name_of_a_file_cannot_command_a_terminal(tmp_path: Path) -> None:
    with pytest.raises(FileError) as caught:
        read_chip(tmp_path / "a\x1b[2J.toml")
    assert caught.value.message.isprintable()


def test_figures_of_a_unit_without_quotes_get_a_hint(write: Callable[..., str]) -> None:
    with pytest.raises(FileError) as caught:
        read_chip(write("[memory.hbm]\ncapacity_bytes = 80GiB"))
    assert caught.value.hint == 'a figure with a unit is text and needs quotes: capacity_bytes = "80GiB"'


def test_presets_are_read_without_pydantic() -> None:
    code = "import sys, memcalc.api; memcalc.api.fit('llama-3.1-8b', chip='b200'); print('pydantic' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_the_nouns_are_left_as_they_are(write: Callable[..., str]) -> None:
    chip = read_chip(write(CHIP))
    assert not [name for name in vars(type(chip)) if "pydantic" in name]


MODEST = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WORDS = (
    "name title memory hbm sram capacity_bytes bandwidth_bytes_per_s home role usable compute bf16 links power flop_j "
    "layer_floor base_s hardwired weights sources kind source aliases engine year origin chip count layers attention "
    "heads kv_heads head_dim latent_dim feed_forward width experts top_k vocabulary checkpoint constants points "
    "layer_s link_efficiency band usd_per_chip_hour"
)
KEYS = st.sampled_from(WORDS.split()) | st.text(max_size=5)
SCALARS = (
    st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=12)
    | st.dates()
    | st.sampled_from(
        ["80GiB", "4.8TB/s", "989TFLOP/s", "8us", "700W", "bf16", "h100-sxm", "latent", "./x.toml", "x"]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)
PLAUSIBLE = st.fixed_dictionaries(
    {"name": st.just("x") | SCALARS},
    optional={
        "memory": st.dictionaries(
            st.sampled_from(["hbm", "sram", "hbn"]),
            st.fixed_dictionaries(
                {"home": st.just(True)}, optional={"capacity_bytes": SCALARS, "usable": SCALARS}
            ),
            max_size=2,
        ),
        "layers": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "count": SCALARS,
                    "attention": st.dictionaries(KEYS, SCALARS, max_size=4),
                    "feed_forward": st.dictionaries(KEYS, SCALARS, max_size=4) | VALUES,
                },
            ),
            max_size=2,
        ),
        "chip": SCALARS,
        "count": SCALARS,
        "compute": st.dictionaries(KEYS, SCALARS, max_size=3),
        "sources": st.dictionaries(st.text(max_size=5), VALUES, max_size=2),
    },
)


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        safe = "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in value)
        return f'"{safe}"'
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def read_all(file: Path) -> None:
    for read in (read_chip, read_model, read_system, read_engine, check):
        error = None
        try:
            read(file)
        except FileError as caught:
            error = caught
        assert error is None or all(line.isprintable() for line in (error.message, *error.problems))


@MODEST
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_raise_anything_else(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_bytes(content)
    read_all(file)


@MODEST
@given(table=PLAUSIBLE | st.dictionaries(KEYS, VALUES, max_size=6))
def test_no_table_raises_anything_else(table: dict[str, Any], tmp_path: Path) -> None:
    text = "\n".join(f"{toml(key)} = {toml(value)}" for key, value in table.items())
    assert tomllib.loads(text).keys() == table.keys()
    file = tmp_path / "my.toml"
    file.write_text(text, encoding="utf-8")
    read_all(file)


@MODEST
@given(
    kind_and_name=st.sampled_from(BUILT_IN),
    at=st.floats(0, 1),
    length=st.integers(0, 6),
    piece=st.sampled_from(
        ["", "0", "-1", "nan", "1e400", "true", '"', "[", "\n", "\0", "x", "9999999999999999999"]
    ),
)
def test_no_damaged_preset_raises_anything_else(
    kind_and_name: tuple[str, str], at: float, length: int, piece: str, tmp_path: Path
) -> None:
    kind, name = kind_and_name
    text = Path(presets.ROOT, kind, f"{name}.toml").read_text(encoding="utf-8")
    start = int(at * len(text))
    file = tmp_path / "my.toml"
    file.write_text(text[:start] + piece + text[start + length :], encoding="utf-8")
    read_all(file)
