"""The README and pages of the docs show what the commands print: each console block is run and compared.

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

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "accuracy.md", ROOT / "docs" / "camps.md")
BLOCK = re.compile(r"```console\n\$ memcalc (.*?)\n(.*?)```", re.DOTALL)
BLOCKS = [(page, *block) for page in PAGES for block in BLOCK.findall(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("page", "command", "shown"), BLOCKS, ids=[command for _, command, _ in BLOCKS])
def test_console_block_is_what_the_command_prints(page, command, shown, capsys, monkeypatch):
    monkeypatch.setattr(render, "screen_width", lambda _stream: TERMINAL_WIDTH)
    run(shlex.split(command))
    text = capsys.readouterr().out
    if os.environ.get("MEMCALC_UPDATE_SNAPSHOTS"):
        whole = page.read_text(encoding="utf-8")
        page.write_text(whole.replace(f"{command}\n{shown}```", f"{command}\n{text}```"), encoding="utf-8")
        return
    assert shown == text


def test_there_are_console_blocks():
    assert len(BLOCKS) >= 4
