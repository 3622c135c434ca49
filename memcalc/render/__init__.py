"""Rendering: reports to screens, files and streams. Nothing else knows a screen."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from memcalc.errors import UsageError
from memcalc.render import export

if TYPE_CHECKING:
    from memcalc.core.report import Report
    from memcalc.studies.calibrate import Calibration
    from memcalc.studies.compare import Comparison
    from memcalc.studies.explain import Explanation
    from memcalc.studies.validate import Validation

    Shown = Report | Comparison | Validation | Calibration | Explanation

#: Columns of a table that is piped or written to a file: no line is broken or cut.
STREAM_WIDTH = 400


def show(
    result: Shown,
    form: str,
    file: str | None,
    *,
    no_color: bool = False,
) -> None:
    """Print a result in a format, to the screen or into a file."""
    if form == "table":
        text = _screen(result, file, no_color=no_color)
    elif form == "json":
        text = export.to_json(result.to_dict())
    elif hasattr(result, "reports"):
        text = export.rows(result.reports, form)
    else:
        lines = result.lines()
        text = export.json_lines(lines) if form == "jsonl" else export.table(result.rows(), form)
    write(text, file)


def write(text: str, file: str | None) -> None:
    """Write text to the screen (None, '-') or into a file."""
    if file == "":
        raise UsageError("-o is empty", "give a file, or '-' for the screen")
    if file is not None and file != "-":
        export.write_file(file, text)
    else:
        export.write_out(text)


def _screen(result: Shown, file: str | None, *, no_color: bool) -> str:
    from memcalc.core.report import Report
    from memcalc.render import tables
    from memcalc.studies.calibrate import Calibration
    from memcalc.studies.compare import Comparison

    to_screen = file is None or file == "-"
    colour = to_screen and wants_colour(sys.stdout, no_color=no_color)
    width = screen_width(sys.stdout) if to_screen else STREAM_WIDTH
    if isinstance(result, Report):
        return tables.fit_screen(result, colour=colour, width=width)
    if isinstance(result, Comparison):
        return tables.compare_screen(result, colour=colour, width=width)
    if isinstance(result, Calibration):
        return tables.calibration_screen(result, colour=colour, width=width)
    # Loaded here: a comparison is drawn without it.
    from memcalc.studies.explain import Explanation

    if isinstance(result, Explanation):
        return tables.explain_screen(result, colour=colour, width=width)
    return tables.validation_screen(result, colour=colour, width=width)


def wants_colour(stream: TextIO, *, no_color: bool) -> bool:
    """Whether to colour a stream: NO_COLOR, TERM=dumb and --no-color win over FORCE_COLOR."""
    if no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()


def screen_width(stream: TextIO) -> int:
    """Columns to draw: those of a terminal, up to 100; wide and unbroken elsewhere."""
    from memcalc.render.tables import TERMINAL_WIDTH

    if not stream.isatty():
        return STREAM_WIDTH
    try:
        return min(TERMINAL_WIDTH, os.get_terminal_size(stream.fileno()).columns or TERMINAL_WIDTH)
    except OSError:
        return TERMINAL_WIDTH
