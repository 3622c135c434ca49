"""Rendering: reports to screens, files and streams. Nothing else knows a screen."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from memcalc.render import export

if TYPE_CHECKING:
    from memcalc.core.report import Report
    from memcalc.studies.compare import Comparison

#: Columns of a table on a terminal at most, and of one that is piped or written to a file.
TERMINAL_WIDTH, STREAM_WIDTH = 100, 200


def show(report: Report, form: str, file: str | None, *, no_color: bool = False) -> None:
    """Print a report in a format, to the screen or a file."""
    if form == "table":
        from memcalc.render.tables import fit_screen

        _table(lambda stream, colour, width: fit_screen(report, stream, colour, width), file, no_color)
    elif form == "json":
        _emit(export.to_json(report.to_dict()), file)
    else:
        _emit(export.rows([report], form), file)


def show_comparison(comparison: Comparison, form: str, file: str | None, *, no_color: bool = False) -> None:
    """Print a comparison in a format, to the screen or a file."""
    if form == "table":
        from memcalc.render.tables import compare_screen

        _table(lambda stream, colour, width: compare_screen(comparison, stream, colour, width), file, no_color)
    elif form == "json":
        _emit(export.to_json(comparison.to_dict()), file)
    else:
        _emit(export.rows(comparison.results, form), file)


def _table(draw: Callable[[TextIO, bool, int], None], file: str | None, no_color: bool) -> None:
    if file not in (None, "-"):
        from io import StringIO

        text = StringIO()
        draw(text, False, STREAM_WIDTH)
        _emit(text.getvalue(), file)
        return
    # What a terminal's character set lacks is replaced, not an error.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    draw(sys.stdout, wants_colour(sys.stdout, no_color=no_color), screen_width(sys.stdout))


def wants_colour(stream: TextIO, *, no_color: bool) -> bool:
    """Whether to colour a stream: NO_COLOR, TERM=dumb and --no-color win over FORCE_COLOR."""
    if no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()


def screen_width(stream: TextIO) -> int:
    """Columns to draw: those of a terminal, up to 100; wide and unbroken elsewhere."""
    if not stream.isatty():
        return STREAM_WIDTH
    try:
        return min(TERMINAL_WIDTH, os.get_terminal_size(stream.fileno()).columns or TERMINAL_WIDTH)
    except OSError:
        return TERMINAL_WIDTH


def _emit(text: str, file: str | None) -> None:
    if file in (None, "-"):
        sys.stdout.write(text)
        return
    assert file is not None
    export.write_file(file, text)
