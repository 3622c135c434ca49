"""What cannot be understood: the status, words that say what is wrong and what would do, and nothing on stdout."""

from __future__ import annotations

import json
import os
import shlex

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from memcalc.readers import presets

SMALL = "fit llama-3.1-8b --chip h100-sxm"
MIXTURE = "fit mixtral-8x7b --chip h100-sxm"
#: A command line, and what its message (with the hint) must say. All are status 2, usage.
USAGE = [
    # Unknown words, with what is near.
    ("fitt llama-3.1-8b", "unknown command 'fitt'", "did you mean 'fit'"),
    ("sing", "unknown command 'sing'", "fit, compare, explain, validate, calibrate, presets"),
    (f"{SMALL} --chpis 2", "unknown option --chpis", "--chips"),
    (f"{SMALL} -x", "unknown option", "--help"),
    ("fit llama-3.1-8 --chip h100-sxm", "unknown model 'llama-3.1-8'", "did you mean 'llama-3.1-8b'"),
    ("fit wombat --chip h100-sxm", "unknown model 'wombat'", "memcalc presets list models"),
    ("fit 8q --chip h100-sxm", "unknown model '8q'", "memcalc presets list models"),
    ("fit llama-3.1-8b --chip h10", "unknown chip 'h10'", "'h100-", "memcalc presets list chips"),
    ("fit llama-3.1-8b --chip H100-SMX", "unknown chip 'H100-SMX'", "did you mean 'h100-sxm'"),
    (
        "fit llama-3.1-8b --system dgx-h10",
        "unknown system 'dgx-h10'",
        "dgx-h100",
        "memcalc presets list systems",
    ),
    (f"{SMALL} --engine vlm", "unknown engine 'vlm'", "did you mean 'vllm'", "memcalc presets list engines"),
    (
        f"{SMALL} --prices owning-neocloud",
        "unknown price scenario",
        "owning-neocloud-2026",
        "presets list prices",
    ),
    (f"{SMALL} --format jsn", "unknown format 'jsn'", "table json jsonl csv markdown"),
    (f"{SMALL} -w bf17", "unknown precision 'bf17'", "did you mean 'bf16'"),
    (f"{SMALL} --kv fp9", "unknown precision 'fp9'", "fp8"),
    (f"{SMALL} --kv q4_k_m", "q4_k_m"),
    (f"{SMALL} --activations q4_0", "--activations q4_0", "bf16"),
    ("presets list chops", "unknown kind of preset 'chops'", "did you mean 'chips'"),
    ("presets show chip h100", "unknown chip 'h100'", "h100-sxm"),
    # What is missing, too much, or contradicts itself.
    ("fit --chip h100-sxm", "missing 'MODEL'"),
    ("fit llama-3.1-8b", "no chip is named", "--chip", "--system"),
    ("compare llama-3.1-8b", "no chip is named"),
    ("compare llama-3.1-8b --chip ,", "no chip is named"),
    ("compare , --chip h100-sxm", "no model is named"),
    (f"{SMALL} qwen3-8b", "unexpected", "qwen3-8b"),
    (f"{SMALL} -b", "'-b' requires an argument"),
    (f"{SMALL} --system dgx-h100", "--chip and --system exclude each other"),
    ("fit llama-3.1-8b --system dgx-h100 --chips 8", "--chips with --system"),
    ("compare llama-3.1-8b --system dgx-h100 --chips auto", "--chips with --system"),
    ("fit llama-3.1-8b --chip dgx-h100 --chips 8", "'dgx-h100' is a system"),
    (f"{SMALL} --accept 0.8", "--accept and --draft go together"),
    (f"{SMALL} --draft 2", "--accept and --draft go together"),
    (f"{SMALL} --usd-per-chip 1 --usd-per-chip-hour 1", "exclude each other"),
    # Units: what is ambiguous or of another kind is refused.
    (f"{SMALL} -c 8kb", "--context", "'8kb'", "128k"),
    (f"{SMALL} -c 128q", "--context", "'128q'", "128k"),
    (f"{SMALL} -c 3tokens", "--context", "'3tokens'", "8192"),
    (f"{SMALL} --output 1kB", "--output", "'1kB'"),
    (f"{SMALL} -b 32k", "--batch", "unit"),
    (f"{SMALL} --chips 8x", "--chips", "unit"),
    (f"{SMALL} --chips many", "--chips", "'many'"),
    (f"{SMALL} --usd-per-chip-hour 2EUR", "--usd-per-chip-hour", "2.5USD/h"),
    (f"{SMALL} --usd-per-chip-hour 2USD/day", "--usd-per-chip-hour", "2.5USD/h"),
    (f"{SMALL} --usd-per-kwh 0.1USD/h", "--usd-per-kwh", "USD/kWh"),
    (f"{SMALL} --depreciation-years 4y", "--depreciation-years", "'4y'"),
    # Numbers out of range.
    (f"{SMALL} -b -5", "--batch", "negative"),
    (f"{SMALL} -b 0", "--batch", "at least 1"),
    (f"{SMALL} -b 1.5", "--batch", "not a whole number"),
    (f"{SMALL} -b 1e30", "--batch", "beyond any size in use"),
    (f"{SMALL} -b nan", "--batch", "'nan'"),
    (f"{SMALL} -b inf", "--batch", "'inf'"),
    (f"{SMALL} -b {'9' * 500}", "--batch", "too long"),
    (f"{SMALL} -c 0", "--context", "at least 1"),
    (f"{SMALL} -c -8k", "--context", "negative"),
    (f"{SMALL} -c 1e30", "--context", "beyond any size in use"),
    (f"{SMALL} -c 0.3k", "--context", "not a whole number"),
    (f"{SMALL} --output -1", "--output", "negative"),
    (f"{SMALL} -c 8k --output 8k", "--output 8192", "no prompt"),
    (f"{SMALL} -c 8k --output 9000", "--output 9000", "no prompt"),
    (f"{SMALL} --chips 0", "--chips", "at least 1"),
    (f"{SMALL} --chips -1", "--chips", "negative"),
    (f"{SMALL} --chips 1e30", "--chips", "beyond any size in use"),
    ("fit llama-3.1-8b --system h100-sxm-x0", "unknown system 'h100-sxm-x0'"),
    ("fit llama-3.1-8b --system h100-sxm-x99999999999", "--system", "beyond any size in use"),
    (f"{SMALL} --utilization 0", "--utilization"),
    (f"{SMALL} --utilization 2", "--utilization", "between"),
    (f"{SMALL} --utilization -10%", "--utilization", "negative"),
    (f"{SMALL} --accept 1.1 --draft 1", "--accept", "between 0 and 1"),
    (f"{SMALL} --accept 0.5 --draft -1", "--draft", "negative"),
    (f"{SMALL} --accept 0.5 --draft 1.5", "--draft", "not a whole number"),
    (f"{SMALL} --pue 0.5", "--pue", "1"),
    (f"{SMALL} --depreciation-years 0", "--depreciation-years", "0"),
    (f"{SMALL} --usd-per-chip-hour -1", "--usd-per-chip-hour", "negative"),
    # Layouts: what is allowed stands in the hint.
    (f"{SMALL} --chips 8 --tp 3", "--tp 3 does not divide 8 chips", "1, 2, 4, 8"),
    (f"{SMALL} --chips 3 --tp 3", "--tp 3 does not divide the 32 attention heads", "1, 2, 4, 8, 16, 32"),
    (f"{SMALL} --chips 8 --tp 4 --pp 4", "multiple of 16 chips"),
    (f"{SMALL} --chips 8 --tp 2 --pp 2 --dp 1", "takes 4 chips, not 8", "--chips 4"),
    (f"{SMALL} --chips 33 --pp 33", "--pp 33", "32 layers"),
    (f"{SMALL} --tp 0", "--tp", "at least 1"),
    (f"{SMALL} --chips 2 --ep 2", "--ep 2", "no experts"),
    (f"{SMALL} --chips 2 --attention-dp 2", "--attention-dp 2", "no experts"),
    (f"{MIXTURE} --chips 3 --ep 3", "--ep 3 does not divide the 8 experts", "1, 2, 4, 8"),
    ("fit llama-3.1-8b --chip wse-3 --chips 2 --tp 2", "--tp", "--dp"),
    # --set.
    (f"{SMALL} --set memory", "--set 'memory' is not KEY=VALUE", "4.8TB/s"),
    (f"{SMALL} --set =3", "is not KEY=VALUE"),
    (f"{SMALL} --set year=", "is not KEY=VALUE"),
    (f"{SMALL} --set memory.hbn.home=true", "--set memory.hbn.home", "did you mean 'hbm'"),
    (f"{SMALL} --set memory.hbm.bandwidth=3TB/s", "--set memory.hbm.bandwidth", "bandwidth_bytes_per_s"),
    (f"{SMALL} --set wombat=1", "there is no 'wombat'", "memory"),
    (f"{SMALL} --set engine.wombat=1", "there is no 'wombat'"),
    (f"{SMALL} --set memory.hbm=1", "--set memory.hbm", "group of figures"),
    (f"{SMALL} --set memory.hbm.home=maybe", "neither true nor false"),
    (f"{SMALL} --set title=x", "--set title", "words cannot be changed"),
    (
        f"{SMALL} --set memory.hbm.capacity_bytes=80G",
        "memory.hbm.capacity_bytes",
        "ambiguous",
        "80GB or 80GiB",
    ),
    (f"{SMALL} --set memory.hbm.bandwidth_bytes_per_s=4.8T", "'4.8T'", "4.8TB/s"),
    (f"{SMALL} --set memory.hbm.bandwidth_bytes_per_s=3s", "'3s'", "4.8TB/s"),
    (f"{SMALL} --set compute.bf16=989TB/s", "compute.bf16", "989TFLOP/s"),
    (f"{SMALL} --set memory.hbm.capacity_bytes=-1GB", "memory.hbm.capacity_bytes", "negative"),
    (f"{SMALL} --set links.wombat=1", "there is no 'wombat'", "scale_up_bytes_per_s"),
    # Nothing where a word should stand.
    ("''", "unknown command ''"),
    ("fit '' --chip h100-sxm", "unknown model ''"),
    ("fit llama-3.1-8b --chip ''", "chip"),
    ("fit llama-3.1-8b --system ''", "system"),
    (f"{SMALL} -b ''", "--batch", "is empty"),
    (f"{SMALL} -c ''", "--context", "is empty"),
    (f"{SMALL} --chips ''", "--chips", "is empty"),
    (f"{SMALL} --set ''", "is not KEY=VALUE"),
    (f"{SMALL} --format ''", "unknown format ''"),
    (f"{SMALL} --utilization ''", "--utilization", "is empty"),
]
#: Words that are taken as if they had not been said.
SILENT = ["-w", "--kv", "--activations", "--engine", "--prices"]
#: Figures of --set with which something divides by zero or is no longer what it was.
CRASHES = [
    "memory.hbm.bandwidth_bytes_per_s=0",
    "memory.hbm.effective_bytes_per_s=0",
    "compute.bf16=0",
    "engine.page_tokens=0",
    "engine.prefill_chunk_tokens=0",
    "engine.band=0",
    "engine.memory_efficiency=0",
    "engine.compute_efficiency=0",
    "engine.attention_efficiency=0",
    "layer_floor=1",
    "hardwired=1",
    "memory.wombat=1",
]


def refused(done, status):
    """The message of a command line that was refused, in plain words on stderr alone."""
    assert done.status == status
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    assert all(text.isprintable() for text in done.err.splitlines())
    return done.err


@pytest.mark.parametrize(
    ("words", "said"), [(one[0], one[1:]) for one in USAGE], ids=[one[0][:80] for one in USAGE]
)
def test_usage(line, words, said):
    message = refused(line(*shlex.split(words)), 2)
    for part in said:
        assert part in message
    # As JSON: one object with the same words on stderr, nothing on stdout.
    if "--format" not in words:
        done = line(*shlex.split(words), "--json")
        if "requires an argument" in message:
            return
        assert (done.status, done.out) == (2, "")
        error = json.loads(done.err)
        assert {"error", "hint", "exit_code"} <= set(error)
        assert error["exit_code"] == 2
        assert message.startswith(f"error: {error['error']}\n")
        assert (error["hint"] or "") in message


def test_a_hint_stands_after_an_empty_line(line):
    done = line("fit", "llama-3.1-8b", "--chip", "h10")
    first, empty, hint = done.err.splitlines()
    assert first == "error: unknown chip 'h10'"
    assert empty == ""
    assert hint.startswith("hint: did you mean ")
    assert hint.endswith("'memcalc presets list chips' shows all")


def test_the_example_of_the_design(line):
    # In cli.md that word is the hint's one suggestion.
    assert "'h100-sxm'" in line("fit", "llama-3.1-8b", "--chip", "h10").err


def test_json_and_another_format_exclude_each_other(line):
    for form in ("csv", "table", "jsonl"):
        done = line(*SMALL.split(), "--json", "--format", form)
        assert (done.status, done.out) == (2, "")
        assert f"--json and --format {form} exclude each other" in json.loads(done.err)["error"]


@pytest.mark.parametrize("option", SILENT)
def test_an_empty_word_is_refused(line, option):
    refused(line(*SMALL.split(), option, ""), 2)


@pytest.mark.parametrize("change", CRASHES)
def test_set_refuses_what_cannot_be(line, change):
    refused(line(*SMALL.split(), "--set", change), 2)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with files that cannot be used, where the test runs."""
    (tmp_path / "not.toml").write_text("this is no TOML\n")
    (tmp_path / "wrong.toml").write_text('name = "mine"\n[memory.hbm]\ncapacity_bytes = "80kb"\nhome = 3\n')
    (tmp_path / "binary.toml").write_bytes(bytes(range(256)))
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("none.toml", "there is no such file"),
        ("./none", "there is no such file"),
        ("no/such/folder/x.toml", "there is no such file"),
        ("folder.toml", "is a folder"),
        ("./", "is a folder"),
        ("not.toml", "is not TOML"),
        ("binary.toml", "is not UTF-8 text"),
        ("pipe.toml", "is not a regular file"),
        ("zero.toml", "is not a regular file"),
        ("/dev/zero", "is not a regular file"),
        ("/dev/null", "is not a regular file"),
        ("loop.toml", "cannot be read"),
        ("./" + "x" * 300, "cannot be read"),
        ("not.toml/", "cannot be read"),
    ],
)
@pytest.mark.parametrize("place", ["fit llama-3.1-8b --chip", "fit llama-3.1-8b --chip h100-sxm --engine",
                                   "compare llama-3.1-8b --system"])  # fmt: skip
@pytest.mark.usefixtures("here")
def test_files(line, place, file, said):
    message = refused(line(*place.split(), file), 3)
    assert said in message
    done = line(*place.split(), file, "--json")
    assert (done.status, done.out) == (3, "")
    assert json.loads(done.err)["exit_code"] == 3


@pytest.mark.usefixtures("here")
def test_all_problems_of_a_file_are_listed_at_once(line):
    done = line("fit", "llama-3.1-8b", "--chip", "wrong.toml", "--json")
    error = json.loads(done.err)
    assert len(error["problems"]) == 2
    assert any("capacity_bytes" in text and "80kb" in text and "80GiB" in text for text in error["problems"])
    assert any("home" in text and "3" in text for text in error["problems"])
    plain = line("fit", "llama-3.1-8b", "--chip", "wrong.toml").err
    assert all(text in plain for text in error["problems"])


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "model", ["none.toml", "not.toml", "folder.toml", "./none", "zero.toml", "model.gguf", "config.json"]
)
def test_model_files(line, model):
    assert model in refused(line("fit", model, "--chip", "h100-sxm"), 3)
    assert refused(line("presets", "check", "none.toml"), 3)


NASTY = [
    "a\x1b[31mb",
    "\x07",
    "x\ny",
    "\r",
    "\u202eevil",
    "\x9b31m",
    "\udc80",
    "a\x00b",
    "'; rm -rf /",
    "%s%n",
    "日本",
]


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_names_do_not_drive_the_terminal(line, name):
    for words in (
        ("fit", name, "--chip", "h100-sxm"),
        ("fit", "llama-3.1-8b", "--chip", name),
        ("fit", "llama-3.1-8b", "--chip", f"./{name}.toml"),
        ("fit", f"{name}.gguf", "--chip", "h100-sxm"),
        ("fit", "llama-3.1-8b", "--system", name),
        ("compare", "llama-3.1-8b", "--chip", name, "--json"),
        (*SMALL.split(), "--engine", name),
        (*SMALL.split(), "--prices", name),
        (*SMALL.split(), "-w", name),
        (*SMALL.split(), "--format", name),
        (*SMALL.split(), "-b", name),
        (*SMALL.split(), "-c", name),
        (*SMALL.split(), "--set", f"{name}=1"),
        (*SMALL.split(), "--set", f"memory.hbm.usable={name}"),
        (*SMALL.split(), f"--{name}"),
        (*SMALL.split(), name),
        (name,),
        ("presets", "show", "chip", name),
        ("presets", "list", name),
        ("presets", "check", f"./{name}"),
    ):
        done = line(*words)
        assert done.status in (2, 3), words
        assert done.out == "", words
        assert "Traceback" not in done.err
        for text in done.err.splitlines():
            assert text.isprintable(), words


@pytest.mark.usefixtures("here")
def test_a_file_of_the_user_does_not_drive_the_terminal(line, tmp_path):
    chip = '[memory.hbm]\ncapacity_bytes = "80GB"\nbandwidth_bytes_per_s = "3TB/s"\nhome = true\n[compute]\nbf16 = 1e15\n'
    (tmp_path / "nasty.toml").write_text(f'name = "mine"\ntitle = "\\u001b[31mred"\n{chip}')
    done = line("fit", "llama-3.1-8b", "--chip", "nasty.toml")
    assert "\x1b" not in done.out + done.err
    assert done.status in (0, 3)


@pytest.mark.parametrize("place", ["fit {} --chip h100-sxm", "fit llama-3.1-8b --chip {}", f"{SMALL} -b {{}}",
                                   f"{SMALL} --set {{}}=1", "{}"])  # fmt: skip
def test_very_long_names_are_refused(line, place):
    refused(line(*place.format("a" * 100_000).split()), 2)


def test_a_very_long_name_is_not_repeated_in_full(line):
    assert len(line("fit", "llama-3.1-8b", "--chip", "a" * 100_000).err) < 1000


def test_presets_alone_prints_its_help(line):
    done = line("presets")
    assert "\\n" not in done.out + done.err
    assert any(text.strip().startswith("list ") for text in (done.out + done.err).splitlines())


COUNTS = [
    "1",
    "2",
    "3",
    "8",
    "64",
    "1000",
    "1e6",
    "1000000000",
    "0",
    "-1",
    "1.5",
    "auto",
    "x",
    " 2 ",
    "٣",
    "1_000",
]
TOKENS = ["1", "2", "128", "8k", "128k", "1M", "1e12", "0", "8kb", "-8k", "0.5k", "k"]
FORMATS = [
    "fp32",
    "bf16",
    "fp8",
    "int8",
    "fp6",
    "int4",
    "mxfp4",
    "nvfp4",
    "int4-g128",
    "q8_0",
    "q4_k_m",
    "iq2_m",
    "x",
]
MONEY = ["0", "1", "2.5USD/h", "$3", "0.1USD/kWh", "30000", "1e24", "-1", "x"]
OPTIONS = {
    **dict.fromkeys(("-b", "--chips", "--tp", "--pp", "--ep", "--dp", "--cp", "--attention-dp"), COUNTS),
    **dict.fromkeys(("-c", "--output"), TOKENS),
    **dict.fromkeys(("-w", "--kv", "--activations"), FORMATS),
    **dict.fromkeys(("--usd-per-chip-hour", "--usd-per-chip", "--usd-per-kwh"), MONEY),
    "--engine": [*presets.names("engines"), "x"],
    "--prices": [*presets.names("prices"), "x"],
    "--depreciation-years": ["4", "0", "1e-9", "100", "101"],
    "--pue": ["1", "1.2", "0.5", "11"],
    "--utilization": ["1", "60%", "0.001", "1e-300", "0", "2"],
    "--accept": ["0", "1", "0.5", "80%", "2"],
    "--draft": ["0", "1", "5", "100"],
    "--set": ["memory.hbm.bandwidth_bytes_per_s=4.8TB/s", "memory.sram.home=true", "memory.hbm.capacity_bytes=1GB",
              "memory.hbm.home=false", "engine.usable_memory=0.5", "layer_floor.base_s=1s", "x=1", "memory.hbm=1"],
    "--format": ["table", "json", "jsonl", "csv", "markdown", "x"],
}  # fmt: skip
MODELS = [
    *presets.names("models"),
    "70b",
    "235b-a22b",
    "0.5m",
    "999t",
    "0b",
    "1e9b",
    "8b-a9b",
    ".b",
    "wombat",
    "/",
]
PLACES = [
    *(("--chip", name) for name in presets.names("chips")),
    *(("--system", name) for name in (*presets.names("systems"), "h100-sxm-x7", "b200-x0")),
    ("--chip", "wombat"), ("--chip", "./none.toml"),
]  # fmt: skip
CHOSEN = st.lists(
    st.sampled_from(sorted(OPTIONS)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(OPTIONS[name]))
    ),
    max_size=4,
)
FREE = st.lists(st.tuples(st.sampled_from(sorted(OPTIONS)), st.text(max_size=12)), max_size=2)
MODEST = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def clean(done):
    """Whether a run ended as the contract has it, whatever was asked."""
    assert done.status in (0, 1, 2, 3)
    assert "Traceback" not in done.err
    if done.status >= 2:
        assert done.out == ""
        assert done.err
        assert all(text.isprintable() for text in done.err.splitlines())
    else:
        assert done.out
        assert done.err == ""


@MODEST
@given(st.sampled_from(["fit", "compare"]), st.sampled_from(MODELS), st.sampled_from(PLACES), CHOSEN)
@example("compare", "llama-3.1-8b", ("--chip", "h100-sxm"), [("-w", "bf16,,"), ("--engine", ",")])
def test_any_options_end_in_a_status(line, command, model, place, chosen):
    clean(line(command, model, *place, *(word for pair in chosen for word in pair)))


@MODEST
@given(
    st.sampled_from(["llama-3.1-8b", "deepseek-v3"]), st.sampled_from(["h100-sxm", "wse-3", "matx-one"]), FREE
)
def test_any_text_ends_in_a_status(line, model, chip, chosen):
    # A text for --set of digits alone could be a figure; its own tests look at those.
    clean(line("fit", model, "--chip", chip, *(word for pair in chosen for word in pair)))


@MODEST
@given(
    st.lists(
        st.one_of(st.text(max_size=8), st.sampled_from(["fit", "-b", "--chip", "--json", "-h", "--"])),
        max_size=5,
    )
)
def test_any_words_end_in_a_status(line, words):
    done = line(*words)
    assert done.status in (0, 1, 2, 3)
    assert "Traceback" not in done.err
