"""Screens of `memcalc presets`: rows of figures in plain columns, and files as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memcalc.render.export import to_json, write_out
from memcalc.units import format_bytes


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    write_out(to_json(value))


def print_text(text: str) -> None:
    """Print text as it is."""
    write_out(text)


def print_rows(rows: Sequence[dict[str, Any]], *, json: bool = False) -> None:
    """Print rows of like keys: as JSON, or in columns under their names."""
    if json:
        print_json(list(rows))
        return
    keys = list(rows[0])
    cells = [[_cell(key, row[key]) for key in keys] for row in rows]
    heads = [_head(key) for key in keys]
    widths = [max(len(line[place]) for line in [heads, *cells]) for place in range(len(keys))]
    numbers = [any(isinstance(row[key], int | float) for row in rows) for key in keys]
    text = ""
    for line in [heads, *cells]:
        padded = (
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, numbers, strict=True)
        )
        text += "  ".join(padded).rstrip() + "\n"
    write_out(text)


def _head(key: str) -> str:
    """The name of a column; figures with a unit of their own in each cell lose it here."""
    for ending, unit in (
        ("_bytes_per_s", " bandwidth"),
        ("_flops_per_s", " peak"),
        ("_bytes", ""),
        ("_w", ""),
    ):
        if key.endswith(ending):
            return key.removesuffix(ending).replace("_", " ") + unit
    return key.replace("_", " ")


def _cell(key: str, value: Any) -> str:
    """A figure with its unit."""
    if value is None:
        return "unknown" if key.endswith(("_bytes", "_per_s", "_w")) else "–"
    if key.endswith("_flops_per_s"):
        return f"{value / 1e12:,.0f} TFLOP/s"
    if key.endswith("_bytes_per_s"):
        return f"{value / 1e12:,.2f} TB/s"
    if key.endswith("_bytes"):
        return format_bytes(value)
    if key.endswith("_w"):
        return f"{value:,.0f} W"
    return f"{value:,}" if isinstance(value, int) else str(value)
