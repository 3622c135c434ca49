"""Measurements from JSON lines: the published ones that come along, and a user's own.

The published ones are checked by the tests and read straight into the noun; of a user's file each line is
checked by itself, so that a broken one is named and the others are used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from math import isfinite
from typing import Any, NamedTuple

from memcalc.errors import FileError
from memcalc.measurement import Measurement
from memcalc.readers import presets
from memcalc.readers.regular import Path, file_name, read_head, shown

#: Bounds that no file in use comes near; they keep hostile ones short.
LARGEST_FILE_BYTES, LONGEST_LINE = 2**28, 2**20
_FIELDS = tuple(Measurement._names)  # type: ignore[attr-defined]  # noqa: SLF001
_COUNTS = ("n_chips", "tp", "pp", "ep", "dp", "batch", "input_tokens", "output_tokens", "context_tokens")
#: Chips are divided over layouts in every way, so their number is bounded by what is built.
_LARGEST_COUNT, _MOST_CHIPS, _LARGEST_METRIC = 10**12, 10**5, 1e18


class Broken(NamedTuple):
    """A line that is no measurement: its `id` or number, and why."""

    id: str
    reason: str


def published() -> list[Measurement]:
    """The published measurements that come along, in the order of their files."""
    folder = os.path.join(presets.ROOT, "measurements")
    found = []
    for name in sorted(os.listdir(folder)):
        if name.endswith(".jsonl"):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                found += [Measurement(**json.loads(line)) for line in file]
    return found


def read_measurements(path: Path) -> Iterator[Measurement | Broken]:
    r"""The rows of a file of JSON lines, broken ones in their place; FileError where there is no such file.

    Fields that the schema does not know are ignored, those that are null count as left out.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "own.jsonl")
    ...     with open(file, "w", encoding="utf-8") as out:
    ...         _ = out.write('{"id": "a", "workflow": "decode", "model": "m", "metrics": {"tok_s_user": 9}}\n{')
    ...     [row.id for row in read_measurements(file)]
    ['a', 'line 2']
    """
    name = file_name(path)
    content, size = read_head(path, LARGEST_FILE_BYTES)
    if size > len(content):
        raise FileError(f"{name}: has {size:,} bytes, at most {LARGEST_FILE_BYTES:,} are read")
    seen: set[str] = set()
    rows = 0
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        rows += 1
        row = _row(line, number)
        if isinstance(row, Measurement):
            if row.id in seen:
                row = Broken(row.id, f"line {number}: the id is taken by an earlier line")
            seen.add(row.id)
        yield row
    if not rows:
        raise FileError(f"{name}: has no rows", "a row is one JSON object on a line")


def _row(line: bytes, number: int) -> Measurement | Broken:
    name = f"line {number}"
    if len(line) > LONGEST_LINE:
        return Broken(name, f"has {len(line):,} bytes, at most {LONGEST_LINE:,} are read")
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return Broken(name, "is not a JSON object")
    if not isinstance(data, dict):
        return Broken(name, "is not a JSON object")
    if isinstance(data.get("id"), str) and data["id"].strip() and data["id"].isprintable():
        name = data["id"][:200]
    known = {key: value for key, value in data.items() if key in _FIELDS and value is not None}
    wrong = "; ".join(_problems(known))
    return Broken(name, f"line {number}: {wrong}") if wrong else Measurement(**known)


def _problems(row: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the fields of a row; whole numbers and rates are put into `row` as such."""
    for field in ("id", "workflow", "model", "metrics"):
        if field not in row:
            yield f"{field} is missing"
    for field in _COUNTS:
        if isinstance(row.get(field), float) and row[field].is_integer():
            row[field] = int(row[field])
    for field, value in row.items():
        if field in _COUNTS:
            least = 0 if field in ("input_tokens", "output_tokens", "context_tokens") else 1
            if isinstance(value, bool) or not isinstance(value, int):
                yield f"{field} is not a whole number: {shown(value)}"
            elif value < least:
                yield f"{field} is {shown(value)}, not {least} or more"
            elif value > (_MOST_CHIPS if field in _OF_CHIPS else _LARGEST_COUNT):
                yield f"{field} is {shown(value)}, more than there are"
        elif field == "metrics":
            yield from _metric_problems(row)
        elif field in ("core", "reproducible"):
            if not isinstance(value, bool):
                yield f"{field} is neither true nor false: {shown(value)}"
        elif not isinstance(value, str):
            yield f"{field} is not text: {shown(value)}"
        elif field in _CHOICES and value not in _CHOICES[field]:
            yield f"{field} is {shown(value)}, not one of {', '.join(_CHOICES[field])}"
        elif field == "id" and not (value.strip() and value.isprintable()):
            yield f"id is {shown(value)}"


_OF_CHIPS = ("n_chips", "tp", "pp", "ep", "dp")
_CHOICES = {
    "workflow": ("decode", "prefill", "serving-throughput", "training", "finetuning", "memory"),
    "kind": ("independent", "vendor measured", "vendor claim"),
}


def _metric_problems(row: dict[str, Any]) -> Iterator[str]:
    metrics = row["metrics"]
    if not isinstance(metrics, dict):
        yield f"metrics is not an object: {shown(metrics)}"
        return
    row["metrics"] = {name: value for name, value in metrics.items() if value is not None}
    for name, value in row["metrics"].items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"metrics.{shown(name)[1:-1]} is not a number: {shown(value)}"
        elif not (isfinite(value) and 0 <= value <= _LARGEST_METRIC):
            yield f"metrics.{shown(name)[1:-1]} is {shown(value)}"


class Fold(NamedTuple):
    """Constants that were fitted without some rows: global ones, by engine, by chip family, with their record."""

    held_out: frozenset[str]
    constants: dict[str, float]
    engines: dict[str, dict[str, float]]
    families: dict[str, dict[str, float]]
    bands: dict[str, dict[str, dict[str, float]]]
    points: dict[str, dict[str, int]]


def folds() -> list[Fold]:
    """The fits that each leave out a part of the published measurements (calibration/refit.py)."""
    with open(os.path.join(presets.ROOT, "measurements", "folds.json"), encoding="utf-8") as file:
        return [
            Fold(
                frozenset(one["held_out"]),
                one["global"][""],
                one["engines"],
                one["families"],
                one["bands"],
                one["points"],
            )
            for one in json.load(file)
        ]
