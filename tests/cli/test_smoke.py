"""The program itself, as a process: each command once, help, version, and a pipe that closes early."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import memcalc

ROOT = Path(memcalc.__file__).resolve().parents[1]
COMMANDS = ("fit", "compare", "presets")
FIT = ("fit", "llama-3.1-8b", "--chip", "h100-sxm")


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


def memcalc_process(*words, **settings):
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
    return subprocess.Popen(
        [sys.executable, "-m", "memcalc", *words], env=environment(), text=True, **settings
    )


def finished(*words):
    """Status, output and errors of a run from a folder that is not the repository."""
    process = memcalc_process(*words, cwd=os.sep)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_fit():
    status, out, err = finished(*FIT)
    assert (status, err) == (0, "")
    assert out.startswith("Fits in HBM: ")
    status, out, err = finished("fit", "llama-3.1-70b", "--chip", "h100-sxm", "--json")
    assert (status, err) == (1, "")
    assert json.loads(out)["verdict"] == "does-not-fit"


def test_compare():
    status, out, err = finished("compare", "llama-3.1-8b", "--chip", "h100-sxm,wse-3", "--format", "csv")
    assert (status, err) == (0, "")
    assert out.startswith("model,")
    assert out.count("\n") == 3


def test_presets():
    status, out, err = finished("presets", "list", "chips")
    assert (status, err) == (0, "")
    assert out.startswith("name ")
    assert "\nh100-sxm " in out
    status, out, err = finished("presets", "list")
    assert (status, err) == (0, "")
    for kind in ("chips", "systems", "models", "engines", "prices"):
        assert f"{kind} " in out
    status, out, err = finished("presets", "list", "models", "--json")
    assert "llama-3.1-70b" in {row["name"] for row in json.loads(out)}


@pytest.mark.parametrize(
    ("kind", "name"),
    [("chip", "h100-sxm"), ("systems", "dgx-h100"), ("model", "llama-3.3-70b"), ("engine", "vllm"),
     ("prices", "owning-neocloud-2026")],
)  # fmt: skip
def test_presets_show(kind, name):
    status, out, err = finished("presets", "show", kind, name)
    assert (status, err) == (0, "")
    assert out.splitlines()[0].endswith(("(h100-sxm)", "(dgx-h100)", "llama-3.1-70b", "vLLM (vllm)", name))
    assert any(word in out for word in ("vendor", "derived", "estimate"))
    status, out, err = finished("presets", "show", kind, name, "--toml")
    assert (status, err) == (0, "")
    assert 'name = "' in out
    assert "source" in out
    status, out, err = finished("presets", "show", kind, name, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["name"] in (name, "llama-3.1-70b")


def test_version():
    for flag in ("--version", "-V"):
        assert finished(flag) == (0, f"memcalc {memcalc.__version__}\n", "")


def test_help_and_no_arguments():
    status, text, err = finished("--help")
    assert (status, err) == (0, "")
    for command in COMMANDS:
        assert f"\n  {command} " in text
    assert "memcalc fit llama-3.1-70b --chip h100-sxm" in text
    assert finished("-h") == (0, text, "")
    # No arguments print the short help too.
    assert finished() == (0, text, "")


@pytest.mark.parametrize("command", [*COMMANDS, "presets list", "presets show", "presets check"])
def test_help_of_each_command(command):
    status, text, err = finished(*command.split(), "-h")
    assert (status, err) == (0, "")
    assert text.startswith(f"Usage: memcalc {command} ")
    assert finished(*command.split(), "--help") == (0, text, "")
    if " " not in command:
        # Two or three real examples lead; the options follow, those in common use first.
        examples = [row for row in text.splitlines() if row.startswith(f"    memcalc {command} ")]
        assert len(examples) in (2, 3)
        assert text.index(examples[0]) < text.index("Options:")
    if command in ("fit", "compare"):
        options = text[text.index("Options:") :]
        order = [
            options.index(word)
            for word in ("--chip ", "--batch", "--context", "--weights", "--set", "--json")
        ]
        assert order == sorted(order)


def test_usage_errors_have_their_status():
    status, out, err = finished("fit", "llama-3.1-8b", "--chip", "h10")
    assert (status, out) == (2, "")
    assert err.startswith("error: unknown chip 'h10'\n\nhint: ")
    status, out, err = finished("fit", "llama-3.1-8b", "--chip", "./none.toml")
    assert (status, out) == (3, "")


INTO_A_PIPE = [
    ("fit", "llama-3.1-8b", "--chip", "h100-sxm", "--json"),
    ("presets", "list", "chips"),
    ("presets", "list", "chips", "--json"),
    ("--help",),
]


def into_a_closed_pipe(*words):
    """Status and errors of a run whose output nobody reads: the first write fails."""
    read, write = os.pipe()
    os.close(read)
    process = memcalc_process(*words, stdout=write)
    os.close(write)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.parametrize("words", INTO_A_PIPE)
def test_a_pipe_that_closes_early_ends_silently(words):
    assert into_a_closed_pipe(*words)[1] == ""


@pytest.mark.parametrize("words", INTO_A_PIPE)
def test_a_closed_pipe_does_not_say_that_nothing_fits(words):
    assert into_a_closed_pipe(*words)[0] != 1


def test_head_takes_one_line():
    program = memcalc_process("presets", "list", "systems", "--json")
    head = subprocess.Popen(["head", "-1"], stdin=program.stdout, stdout=subprocess.PIPE, text=True)
    program.stdout.close()
    assert head.communicate(timeout=60)[0] == "[\n"
    _, err = program.communicate(timeout=60)
    assert err == ""


def test_an_absurd_draft_ends_soon():
    words = [sys.executable, "-m", "memcalc", *FIT, "--accept", "0.5", "--draft", "1000000000"]
    done = subprocess.run(words, env=environment(), capture_output=True, check=False, timeout=4)
    assert done.returncode in (0, 2)


def test_output_that_a_terminal_cannot_show_is_replaced():
    narrow = {**environment(), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "memcalc", *FIT], env=narrow, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Fits in HBM: ")
