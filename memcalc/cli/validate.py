"""`memcalc validate`: predicted against measured."""

from __future__ import annotations

from typing import Any

from memcalc import accuracy
from memcalc.cli import options as declared
from memcalc.cli.options import Declared, Given

HELP = """How far off the predictions are: published measurements, or your own, beside what memcalc says of them.

\b
  memcalc validate
  memcalc validate --chip wse-2,wse-3 --chip groq-lpu-v1
  memcalc validate mine.jsonl --engine mine.toml
  memcalc validate --format jsonl | head

Without a file: the published record that comes along, each row predicted by constants fitted without its
source and chip. A row is a JSON object on a line; docs/accuracy.md names its fields. What a row leaves out
is assumed, and said. With --chip each row of these chips is listed, with what was assumed for it.
Status: 0 all rows could be read, 1 a row was broken, 2 usage, 3 a file that cannot be used."""

OPTIONS = (
    Declared("chip", ("--chip",), "CHIP", "Only rows of these chips, each listed; repeatable, or a,b,c.", ("chips",), True),
    Declared("engine", ("--engine",), "NAME", "Engine for all rows: preset or TOML file (the row's own).", ("engines",)),
    Declared("in_sample", ("--in-sample",), "", "Predict the published rows by constants that have seen them."),
)  # fmt: skip


@declared.takes(
    Given("path", "[FILE.jsonl]", "Measurements, JSON lines (the published ones).", needed=False),
    *OPTIONS, *declared.SHOW_ALWAYS,
)  # fmt: skip
def validate(
    path: str | None,
    engine: str | None,
    chip: list[str] | None,
    in_sample: bool,  # noqa: FBT001
    **options: Any,
) -> int:
    """Predict, print, and say by the status whether a row was broken."""
    form = declared.output_format(options)
    found = accuracy.validate(path, engine, in_sample=in_sample, chips=chip or ())
    from memcalc.render import show

    show(found, form, options["file"], no_color=options["no_color"])
    return 1 if found.broken else 0
