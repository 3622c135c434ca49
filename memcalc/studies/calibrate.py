"""Calibration: constants of an engine from a user's own measurements, and what they rest on.

The most likely constants, given the rows and the engine that they start from: Cauchy errors of the logarithm of
predicted over measured, and normal priors of the moves around zero. So a few rows move what they speak of,
and what no row speaks of stays. `calibration/refit.py` fits the built-in constants by the same measure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import exp, log
from statistics import median
from typing import Any

from memcalc._version import __version__
from memcalc.core.remarks import band_of
from memcalc.core.report import SCHEMA_VERSION
from memcalc.engine import FRACTIONS, Constants, Engine
from memcalc.model import Source
from memcalc.noun import noun
from memcalc.studies.validate import (
    LOADED,
    Setup,
    Skipped,
    Trial,
    band_task,
    measured_tokens_per_s,
    quantile,
    setup,
    tokens_per_s,
)

#: Widths of the priors of the moves by engine and by chip family, in log-odds for fractions and logarithms
#: for the others. What streams from memory differs least; how often a cache is read, by the kernel of attention.
WIDTHS: Mapping[str, float] = {
    "memory_efficiency": 0.25,
    "compute_efficiency": 0.5,
    "attention_efficiency": 0.5,
    "kv_efficiency": 0.6,
    "link_efficiency": 0.5,
    "weight_only_efficiency": 0.5,
    "expert_efficiency": 0.5,
    "serving_efficiency": 0.5,
    "layer_s": 0.5,
    "sequence_s": 0.5,
    "saturation_tokens": 0.5,
    "unpack_ops": 0.5,
    "k_quant_factor": 0.5,
    "collective_s": 0.5,
    "activation_bytes": 0.5,
}
#: Error of the logarithm from which on a row pulls less.
SCALE = 0.1
#: Share of errors that a band holds, and the rows at which a group's own counts as much as what it came from.
HELD, SHRINK = 0.8, 6.0
_STEPS, _NUDGE, _LONGEST = 20, 1e-3, 0.7
#: A median error after the fit that no stack accounts for.
UNEXPLAINED = 0.5
#: Up to so many rows each is held out by itself; beyond, parts of them.
_MOST_PARTS = 10
Moves = tuple[float, ...]


@noun
class Moved:
    """A constant as it was for the first row's chip, and as it is now."""

    constant: str
    before: float
    after: float


@noun
class Band:
    """The band of a task on a chip family before and after, and how many rows it then rests on."""

    family: str
    task: str
    rows: int
    before: float
    after: float


@noun
class Calibration:
    """An engine of one's own; errors are the median factors between predicted and measured, less one.

    `error_held_out` is that of rows which did not take part in the fit that predicted them.
    """

    engine: Engine
    base: str
    file: str
    used: int
    families: tuple[str, ...]
    moved: tuple[Moved, ...]
    bands: tuple[Band, ...]
    error_before: float
    error_after: float
    error_held_out: float
    skipped: tuple[Skipped, ...]

    @property
    def broken(self) -> tuple[Skipped, ...]:
        """Rows that could not be read."""
        return tuple(entry for entry in self.skipped if entry.broken)

    def to_dict(self) -> dict[str, Any]:
        """The calibration as JSON has it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "memcalc_version": __version__,
            "command": "calibrate",
            "inputs": {"file": self.file, "engine": self.base},
            "warnings": list(self.warnings),
            "engine": {"name": self.engine.name, "constants": dict(self.engine.constants),
                       "points": dict(self.engine.points)},
            "rows": self.used,
            "families": list(self.families),
            "median_abs_error": {"before": self.error_before, "after": self.error_after,
                                 "held_out": self.error_held_out},
            "moved": [{"constant": m.constant, "before": m.before, "after": m.after} for m in self.moved],
            "bands": [{"family": b.family, "task": b.task, "rows": b.rows, "before": b.before, "after": b.after}
                      for b in self.bands],
            "skipped": [{"id": s.id, "reason": s.reason, "broken": s.broken} for s in self.skipped],
        }  # fmt: skip

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know before he uses the engine."""
        if self.error_after < UNEXPLAINED:
            return ()
        return ("constants do not explain these rows: see that chip, model, formats and units are right",)

    def lines(self) -> list[dict[str, object]]:
        """The whole on one line."""
        return [self.to_dict()]

    def rows(self) -> list[dict[str, object]]:
        """A line for each constant that moved."""
        return [{"constant": m.constant, "before": m.before, "after": m.after} for m in self.moved]


def shifted(constants: Mapping[str, float], moves: Mapping[str, float]) -> dict[str, float]:
    """Constants moved in log-odds (fractions) or logarithms; those at 0 or 1 stay.

    >>> shifted({"memory_efficiency": 0.8, "layer_s": 1e-5}, {"layer_s": log(2.0)})
    {'memory_efficiency': 0.8, 'layer_s': 2e-05}
    """
    found = dict(constants)
    for name, move in moves.items():
        value = found.get(name, 0.0)
        if not move or value <= 0.0:
            continue
        if name not in FRACTIONS:
            found[name] = value * exp(move)
        elif value < 1.0:
            odds = value / (1.0 - value) * exp(move)
            found[name] = odds / (1.0 + odds)
    return found


@noun
class _Row:
    trial: Trial
    how: Setup
    constants: Mapping[str, float]
    measured: float

    def error(self, moves: Moves) -> float:
        """Logarithm of predicted over measured with these moves."""
        there = Constants(**shifted(self.constants, dict(zip(WIDTHS, moves, strict=True))))
        return log(tokens_per_s(self.trial, self.how, there) / self.measured)


def calibrate(
    trials: Sequence[Trial],
    base: Engine,
    whole: Mapping[str, float],
    name: str,
    file: str,
    skipped: tuple[Skipped, ...] = (),
) -> Calibration | None:
    """The engine that predicts the trials best; None where none of them can be timed.

    The trials stand on `base`; `whole` are the global constants that it moves.
    """  # fmt: skip
    rows = []
    left = list(skipped)
    for trial in trials:
        how = setup(trial)
        if how is None:
            left.append(Skipped(trial.row.id, "does not fit, even without reserves"))
            continue
        known = {field: getattr(trial.request.constants, field) for field in Constants._names}  # type: ignore[attr-defined]  # noqa: SLF001
        sequences = (trial.most or how.batch) if trial.task in LOADED else trial.request.workload.batch
        rows.append(_Row(trial, how, known, measured_tokens_per_s(trial, sequences)))
    if not rows:
        return None
    still: Moves = (0.0,) * len(WIDTHS)
    moves = fitted(rows, still)
    parts = min(len(rows), _MOST_PARTS)
    held_out = [0.0] * len(rows)
    for part in range(parts if len(rows) > 1 else 0):
        kept = [row for index, row in enumerate(rows) if index % parts != part]
        there = fitted(kept, moves)
        for index in range(part, len(rows), parts):
            held_out[index] = rows[index].error(there)
    before = [row.error(still) for row in rows]
    if len(rows) == 1:
        held_out = before  # a single row says nothing of its own prediction
    named = dict(zip(WIDTHS, moves, strict=True))
    constants = shifted({**{n: v for n, v in whole.items() if n in WIDTHS}, **base.constants}, named)
    kept_constants = {
        constant: float(f"{value:.4g}")
        for constant, value in constants.items()
        if abs(named.get(constant, 0.0)) > 1e-3 or constant in base.constants
    }
    bands = _bands(rows, held_out)
    families = [row.trial.request.chip.family for row in rows]
    # Tasks without rows of their own keep the record that the constants come from.
    by_family = {family: dict(by) for family, by in base.bands.items() if family in {*families, "any"}}
    for (family, task), band in bands.items():
        by_family.setdefault(family, {})[task] = band.after
    said = f"own measurements: {len(rows)} rows of {file}, moved from {base.name}"
    engine = replace(
        base,
        name=name,
        title=f"{base.title}, calibrated",
        constants=kept_constants,
        points={family: families.count(family) for family in sorted(set(families))},
        bands=by_family,
        evidence="calibrated",
        release_of=None,
        until=None,
        notes="",
        sources={
            **base.sources,
            **dict.fromkeys(("constants", "points", "bands"), Source("independent", said)),
        },
    )
    first = rows[0].constants
    after = shifted(first, named)
    return Calibration(
        engine=engine,
        base=base.name,
        file=file,
        used=len(rows),
        families=tuple(sorted(set(families))),
        moved=tuple(
            Moved(constant, first[constant], after[constant])
            for constant in WIDTHS
            if first[constant] and abs(after[constant] / first[constant] - 1.0) > 0.005
        ),
        bands=tuple(bands.values()),
        error_before=_middle(before),
        error_after=_middle([row.error(moves) for row in rows]),
        error_held_out=_middle(held_out),
        skipped=tuple(left),
    )


def _middle(errors: Sequence[float]) -> float:
    return exp(median(abs(error) for error in errors)) - 1.0


def _bands(rows: Sequence[_Row], errors: Sequence[float]) -> dict[tuple[str, str], Band]:
    """Bands by chip family and task: the quantile of the errors held out, drawn to the band that was."""
    sizes: dict[tuple[str, str], list[float]] = {}
    before = {}
    for row, error in zip(rows, errors, strict=True):
        task = band_task(row.trial)
        key = row.trial.request.chip.family, task
        sizes.setdefault(key, []).append(abs(error))
        before[key] = band_of(row.trial.request, task)
    found = {}
    for key, group in sizes.items():
        own, count = quantile(sorted(group), HELD), len(group)
        size = (count * own + SHRINK * log(before[key])) / (count + SHRINK)
        found[key] = Band(*key, count, before[key], round(exp(size), 3))
    return found


def fitted(rows: Sequence[_Row], start: Moves) -> Moves:
    """The most likely moves.

    Where all rows are far off none of them is an outlier: the scale of errors starts at theirs and narrows.
    """
    moves = start
    scale = max(SCALE, median(abs(row.error(moves)) for row in rows))
    while True:
        moves = _fitted(rows, moves, scale)
        if scale <= SCALE:
            return moves
        scale = max(SCALE, scale / 3.0)


def _fitted(rows: Sequence[_Row], moves: Moves, scale: float) -> Moves:
    """Damped Gauss-Newton steps on reweighted least squares."""
    widths = tuple(WIDTHS.values())
    count = len(widths)
    errors = [row.error(moves) for row in rows]
    now, damping = _cost(errors, moves, widths, scale), 1e-3
    for _ in range(_STEPS):
        slopes = [_slopes(row.error, moves, error) for row, error in zip(rows, errors, strict=True)]
        weights = [1.0 / (1.0 + (error / scale) ** 2 / 2.0) / scale**2 for error in errors]
        hessian = [[0.0] * count for _ in range(count)]
        gradient = [move / width**2 for move, width in zip(moves, widths, strict=True)]
        for slope, weight, error in zip(slopes, weights, errors, strict=True):
            for i in range(count):
                if slope[i]:
                    gradient[i] += weight * slope[i] * error
                    for j in range(count):
                        hessian[i][j] += weight * slope[i] * slope[j]
        for i in range(count):
            hessian[i][i] += 1.0 / widths[i] ** 2
        for _ in range(7):
            damped = [
                [h * (1.0 + damping * (i == j)) for j, h in enumerate(r)] for i, r in enumerate(hessian)
            ]
            step = _solved(damped, gradient)
            there = tuple(m - max(-_LONGEST, min(_LONGEST, s)) for m, s in zip(moves, step, strict=True))
            errors_there = [row.error(there) for row in rows]
            cost_there = _cost(errors_there, there, widths, scale)
            if cost_there < now:
                break
            damping *= 8.0
        else:
            break
        gained, moves, errors, now = now - cost_there, there, errors_there, cost_there
        damping = max(damping / 8.0, 1e-6)
        if gained < 1e-4 * now:
            break
    return moves


def _cost(errors: Sequence[float], moves: Moves, widths: Sequence[float], scale: float) -> float:
    far = sum(log(1.0 + (error / scale) ** 2 / 2.0) for error in errors)
    return far + sum((move / width) ** 2 for move, width in zip(moves, widths, strict=True)) / 2.0


def _slopes(error: Callable[[Moves], float], at: Moves, here: float) -> list[float]:
    return [(error((*at[:k], at[k] + _NUDGE, *at[k + 1 :])) - here) / _NUDGE for k in range(len(at))]


def _solved(matrix: list[list[float]], right: Sequence[float]) -> list[float]:
    """The solution of a positive definite system, by elimination.

    >>> _solved([[2.0, 1.0], [1.0, 3.0]], [3.0, 5.0])
    [0.8, 1.4]
    """
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    count = len(rows)
    for i in range(count):
        for k in range(i + 1, count):
            share = rows[k][i] / rows[i][i]
            if share:
                rows[k] = [a - share * b for a, b in zip(rows[k], rows[i], strict=True)]
    found = [0.0] * count
    for i in reversed(range(count)):
        found[i] = (rows[i][-1] - sum(rows[i][j] * found[j] for j in range(i + 1, count))) / rows[i][i]
    return found
