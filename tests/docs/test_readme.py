"""The README shows what the commands print: each console block is run and compared.

With MEMCALC_UPDATE_SNAPSHOTS=1 in the environment the blocks are written anew.
"""

import os
import re
import shlex
from pathlib import Path

import pytest

from memcalc import render
from memcalc.cli.app import run
from memcalc.render.tables import TERMINAL_WIDTH

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"```console\n\$ memcalc (.*?)\n(.*?)```", re.DOTALL)
BLOCKS = BLOCK.findall(README.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[command for command, _ in BLOCKS])
def test_console_block_is_what_the_command_prints(command, shown, capsys, monkeypatch):
    monkeypatch.setattr(render, "screen_width", lambda _stream: TERMINAL_WIDTH)
    run(shlex.split(command))
    text = capsys.readouterr().out
    if os.environ.get("MEMCALC_UPDATE_SNAPSHOTS"):
        readme = README.read_text(encoding="utf-8")
        README.write_text(readme.replace(f"{command}\n{shown}```", f"{command}\n{text}```"), encoding="utf-8")
        return
    assert shown == text


def test_there_are_console_blocks():
    assert len(BLOCKS) >= 3
