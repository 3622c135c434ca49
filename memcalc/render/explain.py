"""The text of an explanation: formulas with their numbers filled in, in units for people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from textwrap import TextWrapper
from typing import NamedTuple

from memcalc.studies.explain import Explanation
from memcalc.studies.explain.steps import Step
from memcalc.units import format_bytes, format_seconds

_NAME = re.compile(r"[A-Za-z_]\w*")
#: A square, not a power of 2.5, 20 or 2,048.
_SQUARE = re.compile(r"\*\*2(?![\d.]|,\d)")
_FUNCTIONS = ("ceil", "floor", "log2", "max", "min", "sqrt", "and")
_SMALL = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))
_LARGE = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
#: Ends of names that say a unit: how its numbers are written.
_UNITS = (
    ("flop_per_s", "FLOP/s"), ("bytes_per_s", "B/s"), ("tokens_per_s", ""), ("j_per_byte", "J/B"),
    ("usd_per_chip_hour", "USD/h"), ("usd_per_kwh", "USD/kWh"), ("usd_per_chip", "USD"), ("joules_per_token", "J"),
    ("bytes", "B"), ("bytes_per_chip", "B"), ("flop", "FLOP"), ("flop_per_token", "FLOP"), ("_s", "s"), ("_w", "W"),
    ("_j", "J"),
)  # fmt: skip
#: Units of what is counted, and what one of them is called.
_ONE = {"chips": "chip", "chunks": "chunk", "experts": "expert", "micro-batches": "micro-batch", "sequences": "sequence",
        "tokens": "token"}  # fmt: skip
#: Columns of the indents of a name, a formula and its numbers.
_NAME_AT, _TEXT_AT = 2, 6
#: Text is not broken into less than this, however narrow a terminal is.
_NARROWEST = 40
#: Stands for a blank at which no line is broken.
_KEEP = "\u00a0"


class Line(NamedTuple):
    """A line of the screen, and how it is shown: heading, name, formula, numbers or source."""

    text: str
    kind: str


def number(value: float, unit: str = "") -> str:
    """A number for people in its unit.

    >>> number(3.35e12, "B/s"), number(72656371712, "B"), number(1.9e15, "FLOP/s"), number(32), number(0.0221, "s")
    ('3.35 TB/s', '72.7 GB', '1.9 PFLOP/s', '32', '22.1 ms')
    """
    if unit.startswith("B per") or unit == "B":
        return format_bytes(value) if abs(value) >= 1e6 or value != int(value) else f"{value:,.0f} B"
    if unit == "s":
        return format_seconds(value) if value >= 1e-7 or value == 0 else _scaled(value, "s")
    if unit in ("B/s", "FLOP/s", "FLOP", "J", "J/B", "W"):
        return _scaled(value, unit)
    after = f" {unit}" if unit else ""
    if value == int(value) and abs(value) < 1e15:
        return f"{value:,.0f}{after}"
    text = f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text + after


def _scaled(value: float, unit: str) -> str:
    """Three digits with a prefix."""
    if value == 0:
        return f"0 {unit}"
    for factor, prefix in (*_LARGE, *_SMALL):
        if abs(value) >= factor * 0.9995:
            return f"{value / factor:.4g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def unit_of(name: str) -> str:
    """The unit that a named number has.

    >>> unit_of("hbm_bytes_per_s"), unit_of("core_flop"), unit_of("tokens")
    ('B/s', 'FLOP', '')
    """
    return next((unit for ending, unit in _UNITS if name.endswith(ending)), "")


def filled(formula: str, values: Mapping[str, float]) -> str:
    """The formula with its numbers in place of their names.

    >>> filled("read_bytes / (chips * hbm_bytes_per_s)", {"read_bytes": 6e9, "chips": 2, "hbm_bytes_per_s": 3e12})
    '6.0 GB / (2 × 3 TB/s)'
    """

    def put(match: re.Match[str]) -> str:
        name = match[0]
        if name not in values:
            return name
        text = number(values[name], unit_of(name))
        # A power binds tighter than the blank before a unit.
        raised = formula[match.end() : match.end() + 2] == "**"
        return f"({text})" if raised and " " in text else text

    return pretty(_NAME.sub(put, formula))


def pretty(formula: str) -> str:
    """A formula with the signs of mathematics.

    >>> pretty("sqrt(a**2 + b**2) * 1e6"), pretty("(1 - 8 / 256)**2,048")
    ('√(a² + b²) × 10⁶', '(1 - 8 / 256)^2,048')
    """
    text = _SQUARE.sub("²", formula).replace("**", "^").replace(" * ", " × ").replace("1e6", "10⁶")
    return text.replace("sqrt(", "√(").replace(" <= ", " ≤ ")


def result(step: Step) -> str:
    """The result of a step with its unit."""
    if isinstance(step.result, str):
        return step.result
    unit = _ONE.get(step.unit, step.unit) if step.result == 1 else step.unit
    text = number(step.result, unit)
    return text + step.unit.removeprefix("B") if step.unit.startswith("B per") else text


def lines(found: Explanation, width: int | None) -> Iterator[Line]:
    """The lines of an explanation; `width` None leaves them unbroken.

    Steps that follow each other with the same formula share it, and sources stand at the end by number.
    """
    # Numbered in the order in which they are first cited.
    cited = dict.fromkeys(source for step in found.steps for source in step.sources)
    marks = {source: place + 1 for place, source in enumerate(cited)}
    for group, steps in groupby(found.steps, key=lambda step: step.group):
        yield Line(f"  {_heading(group, found)}", "heading")
        yield Line("", "")
        for (family, formula), alike in groupby(steps, key=lambda step: (_family(step)[0], step.formula)):
            yield from _block(family, formula, list(alike), marks, width)
        yield Line("", "")
    if marks:
        yield Line("  sources", "heading")
        yield Line("", "")
        for source, mark in marks.items():
            yield from _wrapped(f"[{mark}] {source}", _NAME_AT, "source", width)
        yield Line("", "")
    for warning in found.report.warnings:
        yield from _wrapped(f"note: {warning}", _NAME_AT, "note", width)
    if found.serve:
        if found.report.warnings:
            yield Line("", "")
        yield Line("  start it", "heading")
        yield Line("", "")
        yield from _command(found.serve.command, width)
        for note in found.serve.notes:
            yield from _wrapped(f"note: {note}", _NAME_AT, "note", width)


def _heading(group: str, found: Explanation) -> str:
    """The heading of a group; that of a pool says its chips."""
    what, _, role = group.partition(": ")
    for pool in found.report.system.pools:
        if pool.role == role:
            return f"{role if role == what else group} on {pool.chips:,} × {pool.title}"
    return group


def _command(command: str, width: int | None) -> Iterator[Line]:
    """A command line, which a shell reads the same where it is broken."""
    if width is None or len(command) + _NAME_AT <= width:
        yield Line(" " * _NAME_AT + command, "command")
        return
    shown = _wrapped(command, _NAME_AT, "command", width - 2)
    *most, last = shown
    for line in most:
        yield Line(f"{line.text} \\", line.kind)
    yield last


def _family(step: Step) -> tuple[str, str]:
    """What steps of one kind are called, and which of them this is."""
    family, colon, own = step.name.partition(": ")
    return (family, own) if colon else (step.name, "")


def _block(
    family: str, formula: str, steps: list[Step], marks: Mapping[str, int], width: int | None
) -> Iterator[Line]:
    one = steps[0]
    if isinstance(one.result, str):
        holds = "" if one.result != "does-not-fit" else " does not hold"
        why = f" ({filled(formula, one.values)}{holds})" if formula else ""
        yield from _wrapped(f"{one.name}: {result(one)}{why}", _NAME_AT, "name", width)
        return
    together = len(steps) > 1
    sources = dict.fromkeys(source for step in steps for source in step.sources)
    numbers = "".join(f" [{marks[source]}]" for source in sources)
    yield from _wrapped((family if together else one.name) + numbers, _NAME_AT, "name", width)
    plain = formula in one.values
    if not plain:
        yield from _wrapped(pretty(formula), _TEXT_AT, "formula", width)
    for step in steps:
        text = "" if plain else f"= {filled(formula, step.values)} "
        shown = f"{text}= {result(step)}"
        own = _family(step)[1]
        yield from _wrapped(f"{own} {shown}" if together else shown, _TEXT_AT, "numbers", width)


def _wrapped(text: str, indent: int, kind: str, width: int | None) -> Iterator[Line]:
    """Text behind an indent; what does not fit goes on behind a deeper one."""
    before = " " * indent
    if width is None:
        yield Line(before + text, kind)
        return
    wrapper = TextWrapper(
        width=max(width, _NARROWEST), initial_indent=before, subsequent_indent=before + "  ",
        break_on_hyphens=False,
    )  # fmt: skip
    # A number stays with its unit.
    kept = re.sub(r"(?<=\d) (?=[A-Za-zµ])", _KEEP, text)
    for line in wrapper.wrap(kept) or [before]:
        yield Line(line.replace(_KEEP, " "), kind)
