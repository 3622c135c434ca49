"""Screens: snapshots of tables and JSON, their width on a terminal and in a pipe, and when they have colour."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from memcalc import render
from memcalc.readers import presets
from memcalc.render.tables import TERMINAL_WIDTH

SNAPSHOTS = Path(__file__).parent / "snapshots"
ROOT = Path(__file__).resolve().parents[2]
TABLES = {
    "fit-in-hbm": "fit llama-3.1-70b --chip h100-sxm --chips 8 -b 32 -c 32k -w fp8 --kv fp8",
    "fit-does-not-fit": "fit llama-3.1-70b --chip h100-sxm",
    "fit-on-chip": "fit llama-3.1-8b --chip groq-lpu-v1 --chips auto -w fp8 --output 1k",
    "fit-two-tiers": "fit deepseek-v3 --chip d-matrix-corsair --chips auto -w int8",
    "compare-judged": "compare llama-3.1-70b --chip h100-sxm,b200,groq-lpu-v1,wse-3 -w fp8 --kv fp8",
    "compare-hypothetical": "compare gpt-oss-20b --chip h100-sxm,matx-one,taalas-hc1 -c 128k",
}
JSON = {
    "fit-in-hbm-json": "fit llama-3.1-70b --chip h100-sxm --chips 8 -b 32 -c 32k -w fp8 --kv fp8 --json",
    "compare-misfit-json": "compare llama-3.1-70b --chip rtx-4090,wse-3 --chips 1 -w fp8 --json",
}
STATUS = {"fit-does-not-fit": 1, "compare-misfit-json": 1}


def rounded(value):
    """Floats to twelve digits: the last ones depend on how an interpreter adds them up (Python 3.12 compensates)."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return [(key, rounded(inner)) for key, inner in value.items()]
    return [rounded(inner) for inner in value] if isinstance(value, list) else value


def compare_with_snapshot(name, text):
    """Hold a text against `snapshots/NAME.txt`, JSON value by value and key by key in its order.

    With MEMCALC_UPDATE_SNAPSHOTS=1 in the environment the file is written anew instead; look at the difference
    before it is committed.
    """
    file = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("MEMCALC_UPDATE_SNAPSHOTS") == "1":
        SNAPSHOTS.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return
    assert file.exists(), f"no snapshot {file.name}: run once with MEMCALC_UPDATE_SNAPSHOTS=1"
    kept = file.read_text(encoding="utf-8")
    if text != kept and text.startswith("{"):
        assert rounded(json.loads(text)) == rounded(json.loads(kept))
    else:
        assert text == kept


@pytest.fixture
def wide(monkeypatch):
    """Draw for a terminal of so many columns."""
    return lambda columns: monkeypatch.setattr(render, "screen_width", lambda _stream: columns)


@pytest.mark.parametrize(("name", "words"), TABLES.items(), ids=TABLES)
def test_tables_on_a_terminal_of_100_columns(line, wide, name, words):
    wide(TERMINAL_WIDTH)
    done = line(*words.split())
    assert (done.status, done.err) == (STATUS.get(name, 0), "")
    compare_with_snapshot(name, f"$ memcalc {words}\n\n{done.out}")


@pytest.mark.parametrize(("name", "words"), JSON.items(), ids=JSON)
def test_json(line, name, words):
    done = line(*words.split())
    assert (done.status, done.err) == (STATUS.get(name, 0), "")
    compare_with_snapshot(name, done.out)


def test_a_snapshot_notices_a_change(monkeypatch):
    monkeypatch.delenv("MEMCALC_UPDATE_SNAPSHOTS", raising=False)
    if not (SNAPSHOTS / "fit-in-hbm-json.txt").exists():
        pytest.skip("no snapshots yet")
    kept = (SNAPSHOTS / "fit-in-hbm-json.txt").read_text(encoding="utf-8")
    compare_with_snapshot("fit-in-hbm-json", kept.replace("0.9,", "0.90000000000000001,"))
    with pytest.raises(AssertionError):
        compare_with_snapshot("fit-in-hbm-json", kept.replace('"fits": true', '"fits": false'))
    with pytest.raises(AssertionError):
        compare_with_snapshot("fit-in-hbm-json", kept.replace('"engine": "vllm"', '"engine": "VLLM"'))
    with pytest.raises(AssertionError, match="no snapshot"):
        compare_with_snapshot("no-such-snapshot", "{}")


#: A command line for each chip, and some that are long in each of their parts.
SCREENS = {
    **{chip: f"fit llama-3.1-70b --chip {chip} --chips auto" for chip in presets.names("chips")},
    "many users": "fit deepseek-v3 --chip h200-sxm --chips 16 -b 300 -c 32k",
    "three options": "fit deepseek-v3 --chip d-matrix-corsair --chips auto -w int8 --accept 0.8 --draft 2 --output 1k",
    "a cache as home": "fit 235b-a22b --chip h200-sxm --chips 8 -b 512 --set memory.sram.home=true --usd-per-chip 30000",
    "judged": TABLES["compare-judged"],
    "all chips": "compare llama-3.1-8b --chip " + ",".join(presets.names("chips")),
    "many systems": "compare deepseek-v3 -b 100 -c 128k --system " + ",".join(presets.names("systems")[::4]),
    "long names": "compare llama-3.1-8b,qwen3-8b --chip h100-sxm,matx-one -w bf16,fp8 --engine vllm,tensorrt-llm,ideal",
}
BOX = re.compile(r"[\u2500-\u257f|]")


@pytest.mark.parametrize("words", SCREENS.values(), ids=SCREENS)
def test_nothing_is_wider_than_100_columns_or_cut(line, wide, words):
    wide(TERMINAL_WIDTH)
    assert TERMINAL_WIDTH == 100
    text = line(*words.split()).out
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    assert text == "".join(row.rstrip() + "\n" for row in text.splitlines())


@pytest.mark.parametrize("words", SCREENS.values(), ids=SCREENS)
def test_a_piped_table_is_unbroken(line, words):
    text = line(*words.split()).out
    assert "…" not in text
    assert not BOX.search(text)
    assert "\x1b" not in text
    assert "\t" not in text
    rows = text.splitlines()
    assert all(row == row.rstrip() for row in rows)
    assert rows[-1] != ""
    # A row of the table is one line: it has all columns, or is a note under its label.
    if words.startswith("compare"):
        start = next(place for place, row in enumerate(rows) if row.startswith("  system "))
        columns = [len(re.split(r"\s{2,}", row.strip())) for row in rows[start : rows.index("", start)]]
        assert set(columns) == {10}
        assert len(columns) - 1 == line(*words.split(), "--format", "csv").out.count("\n") - 1


NARROW = ("h100-sxm", "judged", "many users")


@pytest.mark.parametrize("words", [SCREENS[name] for name in NARROW], ids=NARROW)
def test_a_narrow_terminal_holds_it_too(line, wide, words):
    wide(80)
    text = line(*words.split()).out
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def coloured(*words, **changed):
    """Whether a run in a pipe has colour, by environment."""
    plain = {
        key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "TERM")
    }
    environment = {**plain, "PYTHONPATH": str(ROOT), **changed}
    command = [sys.executable, "-m", "memcalc", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return "\x1b[" in done.stdout


FIT = ("fit", "llama-3.1-8b", "--chip", "h100-sxm")


def test_colour_only_where_it_is_wanted():
    assert not coloured(*FIT)
    assert coloured(*FIT, FORCE_COLOR="1")
    assert coloured(*FIT, FORCE_COLOR="1", TERM="xterm-256color")
    assert coloured(*FIT, FORCE_COLOR="1", NO_COLOR="")  # empty is as good as absent (no-color.org)
    assert not coloured(*FIT, FORCE_COLOR="1", NO_COLOR="1")
    assert not coloured(*FIT, FORCE_COLOR="1", TERM="dumb")
    assert not coloured(*FIT, "--no-color", FORCE_COLOR="1")


def test_json_csv_and_files_never_have_colour(tmp_path):
    assert not coloured(*FIT, "--json", FORCE_COLOR="1")
    assert not coloured(*FIT, "--format", "csv", FORCE_COLOR="1")
    coloured(*FIT, "-o", str(tmp_path / "out.txt"), FORCE_COLOR="1")
    assert "\x1b" not in (tmp_path / "out.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(("columns", "most"), [(100, 100), (180, 100), (90, 90)])
def test_a_real_terminal_has_colour_and_its_width(columns, most):
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {
        key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")
    }
    environment |= {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "memcalc", *FIT], env=environment, stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.communicate()[1] == b""
    assert process.returncode == 0
    text = shown.decode()
    assert "\x1b[" in text
    rows = [re.sub(r"\x1b\[[0-9;]*m", "", row).rstrip() for row in text.splitlines()]
    assert max(map(len, rows)) <= most
    assert rows[0].startswith("Fits in HBM")
