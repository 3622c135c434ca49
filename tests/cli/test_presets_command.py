"""`memcalc presets show` and `memcalc presets new chip`: what is told of a figure, and how a chip is described."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import memcalc
from memcalc.model import source_of
from memcalc.readers import presets
from memcalc.readers.user_files import check, read_chip
from memcalc.render.presets import listing

ROOT = Path(memcalc.__file__).resolve().parents[1]


def lines_of(out, figure):
    """The lines of a listing that begin with a figure."""
    return [line for line in out.splitlines() if line.split("  ")[0] == figure]


def numbers(value, path=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


@pytest.mark.parametrize("name", presets.names("chips"))
def test_each_figure_of_a_chip_is_told_with_its_evidence(name, line):
    status, out, err = line("presets", "show", "chip", name)
    assert (status, err) == (0, "")
    chip = presets.load_chip(name)
    table = presets.read("chips", name)
    sources = table.pop("sources")
    assert out.startswith(f"{chip.title} ({name})\n")
    for figure in set(numbers(table)) - {"year"}:
        (shown,) = lines_of(out, figure)
        source = source_of(chip.sources, figure)
        assert source is not None
        # A value with its digits, the kind, the grade, the source.
        words = shown.removeprefix(figure).split()
        assert any(c.isdigit() for c in words[0])
        assert source.kind in words
        assert source.source in shown
        assert (f"[{source.grade}]" in words) == (source.grade is not None)
    # What others have is told once for each source, under the first figure that it is for.
    told = [
        text.split("conflicts: ", 1)[1]
        for text in out.splitlines()
        if text.startswith(" ") and "conflicts: " in text
    ]
    assert sorted(told) == sorted(source["conflicts"] for source in sources.values() if "conflicts" in source)


def test_a_listing_of_a_chip(line):
    out = line("presets", "show", "chip", "wse3").out
    assert out.startswith("WSE-3 (wse-3)\n  maker      Cerebras\n  year       2024\n")
    assert "  execution  spatial\n  plan       on-chip\n" in out
    (shown,) = lines_of(out, "memory.sram.capacity_bytes")
    assert shown.split()[1:4] == ["44", "GB", "vendor"]
    assert "  of memory.sram: https://" in shown
    (floor,) = lines_of(out, "layer_floor.base_s")
    assert "estimate [D]" in floor
    place = out.index(floor)
    assert "conflicts: published speeds of WSE-3" in out[place:].splitlines()[1]
    assert out.rstrip().splitlines()[-1].startswith("notes: 125 PFLOP/s")
    # Words stand without evidence.
    assert lines_of(out, "memory.sram.home") == ["memory.sram.home                   yes"]


@pytest.mark.parametrize(
    ("name", "figure", "without"),
    [
        ("graphcore-bow", "memory.sram.bandwidth_bytes_per_s", "no time of what is read there"),
        ("graphcore-gc200", "links.scale_up_bytes_per_s", "no time for several chips"),
        ("graphcore-gc200", "layer_floor", "no time of what lies on the die"),
        ("h100-sxm", "memory.sram.bandwidth_bytes_per_s", "no time where it is made a home"),
        ("a100-sxm-80gb", "compute.fp8", "such math runs in bf16"),
        ("tpu-8i", "compute.bf16", "no time of bf16 math"),
        ("qualcomm-ai200", "compute", "no time of any arithmetic"),
        ("vr200", "power", "no energy, no cost of owning"),
        ("wse-2", "power.static_w", "no energy"),
        ("ascend-950pr", "links.scale_up_domain_chips", "no chips are taken to share"),
        ("tpu-v5p", "memory.sram", "whether anything could stay on the die"),
    ],
)
def test_what_is_unknown_is_said_with_what_it_is_for(name, figure, without, line):
    (shown,) = lines_of(line("presets", "show", "chip", name).out, figure)
    assert "  unknown: " in shown
    assert without in shown
    told = json.loads(line("presets", "show", "chip", name, "--json").out)["unknown"]
    assert any(one["figure"] == figure and without in one["without_it"] for one in told)


def test_a_chip_that_lacks_nothing_of_a_kind_does_not_say_so(line):
    told = json.loads(line("presets", "show", "chip", "h100-sxm", "--json").out)["unknown"]
    figures = {one["figure"] for one in told}
    assert not figures & {"power", "compute", "memory.sram", "links.scale_up_bytes_per_s", "layer_floor"}


def test_json_is_the_table_with_what_is_unknown(line):
    for kind in ("chips", "systems", "models", "engines", "prices"):
        name = presets.names(kind)[0]
        found = json.loads(line("presets", "show", kind, name, "--json").out)
        table = presets.read(kind, name)
        # A price scenario has a kind of evidence of its own under that name.
        assert found.pop("kind") == table.pop("kind", kind.removesuffix("s"))
        assert ("unknown" in found) == (kind == "chips")
        found.pop("unknown", None)
        assert found == json.loads(json.dumps(table))


@pytest.mark.parametrize("kind", presets.KINDS)
def test_the_file_itself_is_shown_on_demand(kind, line):
    for name in presets.names(kind)[:3]:
        status, out, err = line("presets", "show", kind, name, "--toml")
        assert (status, err) == (0, "")
        assert out == (Path(presets.ROOT) / kind / f"{name}.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in presets.KINDS for name in presets.names(kind)]
)
def test_every_preset_has_a_listing(kind, name, line):
    status, out, err = line("presets", "show", kind, name)
    assert (status, err) == (0, "")
    assert f"{name})" in out.splitlines()[0] or out.splitlines()[0] == name
    # Every figure of its table is told.
    table = presets.read(kind, name)
    table.pop("sources", None)
    for figure in set(numbers(table)) - {"year"}:
        assert lines_of(out, figure), figure


def test_layers_are_told_in_a_line_a_group(line):
    out = line("presets", "show", "model", "llama-3.1-8b").out
    (layers,) = lines_of(out, "layers")
    assert layers.split()[1:3] == ["32", "vendor"]
    (group,) = lines_of(out, "layers[0]")
    assert group.split(maxsplit=1)[1] == (
        "32 × attention (grouped, heads 32, kv_heads 8, head_dim 128), feed_forward (width 14,336)"
    )
    # The shape is from where the layers are.
    assert "of layers: config.json of meta-llama/Llama-3.1-8B" in lines_of(out, "vocabulary")[0]
    # A figure without a source says so.
    assert listing({"name": "x", "width": 5}).rstrip().endswith("no source is given")


def test_prices_have_the_source_of_the_chip_or_of_all(line):
    out = line("presets", "show", "prices", "marketplace-2026").out
    assert lines_of(out, "usd_per_chip_hour.l40s")[0].split(maxsplit=3)[1:] == [
        "1.95", "USD/h", "independent  Modal list, 2025-10-02"]  # fmt: skip
    out = line("presets", "show", "prices", "owning-neocloud-2026").out
    assert "of usd_per_chip_hour: github:SemiAnalysisAI" in lines_of(out, "usd_per_chip_hour.b200")[0]


def test_files_of_the_user_are_listed_too(line, tmp_path):
    file = tmp_path / "mine.toml"
    text = 'name = "mine"\n[memory.hbm]\ncapacity_bytes = "80GB"\nhome = true\n'
    file.write_text(text, encoding="utf-8")
    out = line("presets", "show", "chip", str(file)).out
    assert lines_of(out, "memory.hbm.capacity_bytes")[0].split()[1:] == [
        "80", "GB", "–", "no", "source", "is", "given"]  # fmt: skip
    assert line("presets", "show", "chip", str(file), "--toml").out == text
    found = json.loads(line("presets", "show", "chip", str(file), "--json").out)
    assert found["memory"]["hbm"]["capacity_bytes"] == 80 * 10**9
    status, out, err = line("presets", "show", "chip", str(tmp_path / "none.toml"))
    assert (status, out) == (3, "")
    assert "there is no such file" in err


def test_json_and_toml_exclude_each_other(line):
    status, out, err = line("presets", "show", "chip", "b200", "--json", "--toml")
    assert (status, out) == (2, "")
    assert "exclude each other" in err


# presets new chip
GIVEN = ("presets", "new", "chip", "my-chip", "--like", "h100-sxm", "--hbm", "96GB", "--hbm-bandwidth", "4TB/s",
         "--bf16", "1000TFLOP/s", "--tdp", "600W")  # fmt: skip
#: A line for each question, in their order: a chip with HBM and a cache, nothing left open.
ANSWERS = [
    "my-chip", "h100-sxm", "Ours", "hbm", "96GB", "4TB/s", "50MB", "no", "", "1000TFLOP/s", "2000TFLOP/s", "",
    "2000TOPS", "450GB/s", "8", "600W", "data sheet, 2026-10",
]  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def answers(monkeypatch):
    """Put lines on standard input."""

    def put(*texts):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{text}\n" for text in texts)))

    return put


def test_all_by_options(here, line):
    status, out, err = line(*GIVEN, "-o", "my.toml", "--yes")
    assert (status, err) == (0, "")
    assert out.startswith("my.toml: written; use it as 'memcalc fit llama-3.1-8b --chip my.toml'\n")
    assert "  links.scale_up_bytes_per_s unknown: no time for several chips\n" in out
    chip = read_chip(here / "my.toml")
    tier = chip.memory["hbm"]
    assert (tier.capacity_bytes, tier.bandwidth_bytes_per_s, tier.home) == (96 * 10**9, 4e12, True)
    assert chip.compute == {"bf16": 1e15}
    assert chip.power.tdp_w == 600.0
    assert (chip.family, chip.engine, chip.plan, chip.maker) == ("hopper", "vllm", "dram", "")
    # What was not given is absent, not zero.
    assert (chip.links.scale_up_bytes_per_s, chip.links.scale_up_domain_chips) == (None, 1)
    assert "sram" not in chip.memory
    assert chip.sources["memory.hbm"].kind == "estimate"
    assert line("presets", "check", "my.toml").out == "my.toml: a usable chip preset\n"
    report = json.loads(line("fit", "llama-3.1-8b", "--chip", "my.toml", "--json").out)
    assert report["fits"]
    assert report["decode"]["tokens_per_s_per_user"] > 0
    assert report["cost"]["joules_per_output_token"] > 0


def test_all_by_answers(here, line, answers):
    answers(*ANSWERS)
    status, out, err = line("presets", "new", "chip")
    assert status == 0
    assert out.startswith("my-chip.toml: written")
    # The talk is on standard error, a line a question in a pipe.
    asked = [text for text in err.splitlines() if text.endswith(":")]
    assert len(asked) == len(ANSWERS)
    assert "Which known chip is it most like? It decides efficiency constants" in err
    chip = read_chip(here / "my-chip.toml")
    assert chip.maker == "Ours"
    assert (chip.memory["sram"].role, chip.memory["sram"].home) == ("cache", False)
    assert chip.compute == {"bf16": 1e15, "fp8": 2e15, "int8": 2e15}
    assert (chip.links.scale_up_bytes_per_s, chip.links.scale_up_domain_chips) == (4.5e11, 8)
    source = chip.sources["compute"]
    assert (source.kind, source.source) == ("vendor", "data sheet, 2026-10")
    assert chip.sources["power.flop_j"].grade == "D"


def test_an_empty_answer_leaves_a_figure_unknown(here, line, answers):
    answers("bare", "", "", "lpddr", "768GB", *[""] * 20)
    assert line("presets", "new", "chip").status == 0
    chip = read_chip(here / "bare.toml")
    assert chip.memory["lpddr"].capacity_bytes == 768 * 10**9
    assert chip.memory["lpddr"].bandwidth_bytes_per_s is None
    assert (chip.compute, chip.power.tdp_w, chip.family, chip.engine) == ({}, None, "default", "default")
    report = json.loads(line("fit", "llama-3.1-8b", "--chip", "bare.toml", "--json").out)
    assert report["fits"]
    assert report["decode"] is None
    assert any("memory.lpddr.bandwidth_bytes_per_s" in text for text in report["warnings"])


def test_what_is_given_is_not_asked(here, line, answers):
    answers(*[""] * 30)
    status, _, err = line(*GIVEN)
    assert status == 0
    for asked in ("Name of the chip", "most like", "Main memory", "HBM", "bf16", "Rated power"):
        assert asked not in err
    assert "Maker" in err
    assert read_chip(here / "my-chip.toml").compute == {"bf16": 1e15}


@pytest.mark.parametrize("lines", range(len(ANSWERS)))
def test_input_that_ends_too_soon_writes_nothing(lines, here, line, answers):
    answers(*ANSWERS[:lines])
    status, out, err = line("presets", "new", "chip")
    assert (status, out) == (2, "")
    assert "error: the input ended before this was answered: " in err
    assert "\nhint: " in err
    assert os.listdir(here) == []


@pytest.mark.usefixtures("here")
def test_no_input_at_all(line, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert line("presets", "new", "chip").status == 2
    assert line(*GIVEN, "--yes").status == 0


WRONG = [
    (0, "My Chip", "a name is of a-z"),
    (0, "b200", "is a preset already"),
    (0, "", "this must be known"),
    (1, "h10", "unknown chip 'h10'"),
    (2, "a" * 200, "120 characters at most"),
    (3, "flash", "is no kind of memory"),
    (4, "96G", "ambiguous"),
    (4, "", "this must be known"),
    (4, "96", "less than any chip has"),
    (5, "4TB", "is not a rate"),
    (5, "much", "is not a number with a unit"),
    (6, "-5MB", "negative"),
    (7, "maybe", "is neither yes nor no"),
    (9, "989", "less than any chip has"),
    (9, "4TB/s", "is not a compute rate"),
    (9, "1e30FLOP/s", "beyond any size"),
    (13, "450", "less than any chip has"),
    (14, "0", "too small"),
    (14, "7.5", "is not a whole number"),
    (15, "600V", "is not a power"),
    (15, "0W", "less than any chip has"),
    (16, "a\x1b[2Jb", "plain text on one line"),
]


@pytest.mark.parametrize(
    ("place", "text", "said"), WRONG, ids=[f"{place}-{text[:12]!r}" for place, text, _ in WRONG]
)
def test_a_wrong_answer_in_a_pipe_is_one_error(place, text, said, here, line, answers):
    answers(*ANSWERS[:place], text, *ANSWERS[place + 1 :])
    status, out, err = line("presets", "new", "chip")
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("error: ") == 1
    assert "\x1b" not in err
    assert "Traceback" not in err
    assert os.listdir(here) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--hbm", "96G"), "--hbm: the unit of '96G' is ambiguous"),
        (("--hbm-bandwidth", "4"), "--hbm-bandwidth: '4' is less than any chip has"),
        (("--bf16", "fast"), "--bf16: 'fast' is not a number with a unit"),
        (("--like", "h10"), "--like: unknown chip 'h10'"),
        (("--memory", "none"), "--memory none and --hbm exclude each other"),
        (("--memory", "gddr"), "Capacity of the GDDR"),
        (("--sram-home", "yes"), "--sram-home without a capacity"),
        (("--link-chips", "many"), "--link-chips: 'many'"),
        (("--hbm", ""), "--hbm: this must be known"),
        (("-o", ""), "-o is empty"),
    ],
)
def test_a_wrong_option_is_one_error(words, said, here, line):
    status, out, err = line(*GIVEN, "--yes", *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {said}")
    assert os.listdir(here) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("new", "model"), "only a chip can be written"),
        (("new", "chip", "--yes"), "this must be known"),
        (("new", "chip", "x", "--yes"), "no memory that tensors could live in"),
        (
            ("new", "chip", "x", "--yes", "--sram", "50MB", "--sram-home", "no"),
            "no memory that tensors could",
        ),
        (("new",), "missing"),
        (("new", "chip", "x", "--yes", "--hbm", "1GB", "-o", "no/such/x.toml"), "cannot be written"),
        (("new", "chip", "x", "--yes", "--like", "./none.toml"), "there is no such file"),
    ],
)
def test_what_cannot_be_made_is_one_error(words, said, here, line):
    status, out, err = line("presets", *words)
    assert status in (2, 3)
    assert out == ""
    assert err.startswith("error: ")
    assert said in err
    assert os.listdir(here) == []


def test_a_file_that_is_there_is_kept(here, line, answers):
    (here / "my.toml").write_text("kept", encoding="utf-8")
    for more in (("--yes",), ()):
        answers(*ANSWERS)
        status, out, err = line(*GIVEN, "-o", "my.toml", *more)
        assert (status, out) == (2, "")
        assert err.startswith("error: my.toml: is there already\n\nhint: --force overwrites it")
        assert (here / "my.toml").read_text(encoding="utf-8") == "kept"
    assert line(*GIVEN, "-o", "my.toml", "--yes", "--force").status == 0
    assert read_chip(here / "my.toml").name == "my-chip"


def test_it_can_go_to_the_screen(here, line):
    status, out, err = line(*GIVEN, "--yes", "-o", "-")
    assert (status, err) == (0, "")
    assert tomllib.loads(out)["memory"]["hbm"]["capacity_bytes"] == 96 * 10**9
    assert os.listdir(here) == []


def test_a_chip_of_sram_alone_takes_the_floor_of_its_like(here, line):
    words = ("--like", "groq-lpu-v1", "--sram", "500MB", "--sram-bandwidth", "160TB/s", "--yes")
    assert line("presets", "new", "chip", "lpu", *words).status == 0
    chip, like = read_chip(here / "lpu.toml"), presets.load_chip("groq-lpu-v1")
    assert (chip.plan, chip.execution, chip.memory["sram"].home) == ("on-chip", "spatial", True)
    assert chip.layer_floor is not None
    assert like.layer_floor is not None
    assert chip.layer_floor.base_s == like.layer_floor.base_s
    assert "no point of lpu" in chip.layer_floor.rests_on
    assert chip.sources["layer_floor"].grade == "D"
    # Twice the nominal bandwidth, and the like chip's share of it is drawn: never the nominal figure itself.
    drawn = like.memory["sram"].effective_bytes_per_s
    assert drawn is not None
    assert chip.memory["sram"].effective_bytes_per_s == pytest.approx(2 * drawn)


def test_an_sram_beside_hbm_is_a_home_where_that_of_its_like_is(here, line):
    both = ("--sram", "1GB", "--hbm", "96GB", "--yes")
    for name, like, home, plan in (
        ("a", "matx-one", True, "weights-on-chip"),
        ("b", "h100-sxm", False, "dram"),
        ("c", "tpu-v7x", False, "dram"),
    ):
        assert line("presets", "new", "chip", name, "--like", like, *both).status == 0
        chip = read_chip(here / f"{name}.toml")
        assert (chip.memory["sram"].home, chip.plan) == (home, plan)
    assert chip.memory["sram"].role == "scratchpad"
    assert line("presets", "new", "chip", "d", "--sram-home", "yes", *both).status == 0
    assert read_chip(here / "d.toml").plan == "weights-on-chip"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    like=st.none() | st.sampled_from(presets.names("chips")),
    memory=st.lists(st.sampled_from(["hbm", "gddr", "lpddr", "ddr"]), max_size=2, unique=True),
    bandwidth=st.booleans(),
    sram=st.sampled_from([None, "yes", "no", "bare"]),
    math=st.lists(st.sampled_from(["bf16", "fp8", "fp4", "int8"]), unique=True),
    link=st.booleans(),
    tdp=st.booleans(),
    source=st.sampled_from([None, 'a "sheet"', "blatt für Chips \\ 1"]),
)
def test_whatever_is_given_the_file_is_usable(
    like, memory, bandwidth, sram, math, link, tdp, source, line, tmp_path
):
    file = tmp_path / "any.toml"
    words = ["presets", "new", "chip", "any", "--yes", "--force", "-o", str(file)]
    words += ["--like", like] if like else []
    for kind in memory:
        words += [f"--{kind}", "64GB", *([f"--{kind}-bandwidth", "2TB/s"] if bandwidth else [])]
    if sram:
        words += ["--sram", "20GB", *(["--sram-home", sram] if sram != "bare" else [])]
        words += ["--sram-bandwidth", "100TB/s"] if bandwidth else []
    for form in math:
        words += [f"--{form}", "500TFLOP/s"]
    words += ["--link", "100GB/s", "--link-chips", "4"] if link else []
    words += ["--tdp", "300W"] if tdp else []
    words += ["--source", source] if source else []
    status, _, err = line(*words)
    if not memory and sram in (None, "no"):
        assert status == 2
        return
    assert (status, err) == (0, "")
    assert check(file) == "chip"
    assert line("presets", "show", "chip", str(file)).status == 0
    status, out, err = line("fit", "llama-3.1-8b", "--chip", str(file), "--json")
    assert status in (0, 1), err
    assert json.loads(out)["system"]["name"] == "any"


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


def test_a_pipe_into_the_program(tmp_path):
    words = [sys.executable, "-m", "memcalc", "presets", "new", "chip", "-o", "my.toml"]
    text = "".join(f"{answer}\n" for answer in ANSWERS)
    done = subprocess.run(words, input=text.encode(), cwd=tmp_path, env=environment(), capture_output=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read_chip(tmp_path / "my.toml").name == "my-chip"
    done = subprocess.run(words, input=b"\xff\xfe\n", cwd=tmp_path, env=environment(), capture_output=True,
                          check=False)  # fmt: skip
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


class Terminal:
    """The program with a terminal as its standard input."""

    def __init__(self, folder, *words):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "memcalc", *words],
            stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env=environment(),
        )  # fmt: skip
        os.close(slave)

    def wait_for(self, text):
        """Read the talk until a text is in it."""
        said = b""
        end = time.monotonic() + 30
        while text.encode() not in said:
            assert time.monotonic() < end, said
            said += os.read(self.process.stderr.fileno(), 4096)
        return said.decode()

    def type(self, text):
        os.write(self.master, f"{text}\n".encode())

    def end(self):
        out, err = self.process.communicate(timeout=30)
        os.close(self.master)
        return self.process.returncode, out.decode(), err.decode()


def test_a_wrong_answer_at_a_terminal_is_asked_again(tmp_path):
    terminal = Terminal(tmp_path, "presets", "new", "chip", "--like", "h100-sxm", "--maker", "Ours")
    terminal.wait_for("Name of the chip: ")
    terminal.type("My Chip")
    assert "a name is of a-z" in terminal.wait_for("Name of the chip: ")
    terminal.type("my-chip")
    terminal.wait_for("Main memory: hbm, gddr, lpddr, ddr or none: ")
    terminal.type("hbm")
    terminal.wait_for("Capacity of the HBM, like 96GB: ")
    terminal.type("96G")
    again = terminal.wait_for("Capacity of the HBM, like 96GB: ")
    assert "ambiguous" in again
    assert "write it like 80GB or 80GiB" in again
    assert again.count("\n") == 1
    terminal.type("96GB")
    for _ in range(11):
        terminal.type("")
    status, out, _ = terminal.end()
    assert status == 0
    assert out.startswith("my-chip.toml: written")
    assert read_chip(tmp_path / "my-chip.toml").memory["hbm"].capacity_bytes == 96 * 10**9


@pytest.mark.parametrize(("word", "status"), [("yes", 0), ("no", 2), ("", 2)])
def test_at_a_terminal_it_is_asked_whether_a_file_may_go(word, status, tmp_path):
    (tmp_path / "my-chip.toml").write_text("kept", encoding="utf-8")
    terminal = Terminal(tmp_path, *GIVEN)
    terminal.wait_for("my-chip.toml is there already: overwrite it (yes, no): ")
    terminal.type(word)
    for _ in range(8):
        terminal.type("")
    found, _, err = terminal.end()
    assert found == status
    kept = (tmp_path / "my-chip.toml").read_text(encoding="utf-8") == "kept"
    assert kept == (status == 2)
    assert "Traceback" not in err


def test_an_interrupt_writes_nothing(tmp_path):
    terminal = Terminal(tmp_path, *GIVEN)
    terminal.wait_for("Maker: ")
    terminal.process.send_signal(signal.SIGINT)
    status, out, err = terminal.end()
    assert (status, out) == (130, "")
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == []


def test_help_leads_with_examples(line):
    status, out, err = line("presets", "new", "-h")
    assert (status, err) == (0, "")
    assert out.index("memcalc presets new chip my-chip --like h100-sxm") < out.index("Options:")
