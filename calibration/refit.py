"""Fit the constants of engines and chip families to the published measurements: `python calibration/refit.py`.

Each constant is a global value, moved by the engine and by the chip family, without interactions
(`memcalc.engine.resolve`). A release of an engine is moved against the engine. The fit is a maximum a
posteriori estimate: Cauchy errors of the logarithm of predicted over measured, so that a row which is far
off pulls little, and normal priors of the moves around zero, so that a constant that no row speaks of stays
where it is. It is found by Gauss-Newton steps with damping; nothing is random, so the same rows give the
same constants.

Fitted are the rows that state enough to be predicted (`reproducible`), on engines that share the global
constants. None is left out for its residual. Held out are folds of whole groups of one source on one chip;
the bands of engines and chip families are 80 % quantiles of those errors, drawn towards the engine's and
the task's where a group is small.

Writes the constants, points and bands of presets/engines and presets/chips/families, and the constants and
bands of each fold to presets/measurements/folds.json; prints what changed. `--dry-run` writes nothing.
Needs numpy (extra `dev`).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memcalc.engine import FRACTIONS, Constants
from memcalc.measurement import Measurement
from memcalc.readers import measurements, presets
from memcalc.studies import validate
from memcalc.studies.calibrate import HELD, SCALE, SHRINK, WIDTHS
from memcalc.trials import trial

Vector = NDArray[np.float64]

#: Centres of the priors of the global values: an earlier fit of a simpler model to most of these rows.
CENTRES: Mapping[str, float] = {
    "memory_efficiency": 0.858,
    "compute_efficiency": 0.677,
    "attention_efficiency": 0.517,
    "kv_efficiency": 0.931,
    "link_efficiency": 0.456,
    "weight_only_efficiency": 0.671,
    "expert_efficiency": 0.6,
    "serving_efficiency": 0.852,
    "layer_s": 5.55e-5,
    "sequence_s": 1.75e-6,
    "saturation_tokens": 39.9,
    "unpack_ops": 5.96,
    "k_quant_factor": 2.05,
    "collective_s": 2.11e-5,
    "activation_bytes": 54.7,
}
NAMES = tuple(WIDTHS)
#: Width of the priors of global values, and of a release against its engine as a share of an engine's.
GLOBAL_WIDTH, RELEASE_SHARE = 1.0, 0.7
#: Not fitted: a value fits all rows alike, and none tells it from its neighbours.
FIXED = {
    "collective_growth": 0.15,
    "pcie_collective_factor": 2.5,
    "vector_tokens": 8.0,
    "least_tile_tokens": 32.0,
    "byte_unpack_share": 0.6,
}
FOLDS = 10
#: Steps at most at each scale of errors: a wide one finds the valley, the narrow one its floor.
STEPS, WIDE = 40, 0.3


class Row(NamedTuple):
    """A trial to be fitted: how it is run, what was measured [tokens/s], and which moves hold for it."""

    trial: validate.Trial
    how: validate.Setup
    measured: float
    moves: tuple[str, ...]
    group: tuple[str, str]

    @property
    def engine(self) -> str:
        """The engine's preset."""
        return self.trial.request.engine.name

    @property
    def family(self) -> str:
        """The chip family."""
        return self.trial.request.chip.family

    @property
    def task(self) -> str:
        """The task whose band holds for it."""
        return validate.band_task(self.trial)


class Fit(NamedTuple):
    """Global values and moves, in log-odds and logarithms; a move that is not there is zero."""

    whole: Vector
    moves: Mapping[str, Vector]

    def at(self, moves: Iterable[str]) -> Vector:
        """The transformed constants where these moves hold."""
        nothing = np.zeros(len(NAMES))
        return self.whole + sum((self.moves.get(move, nothing) for move in moves), nothing)


def transformed(name: str, value: float) -> float:
    """Log-odds of a fraction, the logarithm of anything else."""
    return log(value / (1.0 - value)) if name in FRACTIONS else log(value)


def plain(values: Vector) -> dict[str, float]:
    """Constants by name."""
    return {
        name: 1.0 / (1.0 + exp(-z)) if name in FRACTIONS else exp(z)
        for name, z in zip(NAMES, values, strict=True)
    }


def rounded(values: Vector) -> dict[str, float]:
    """Constants by name, to the four digits that presets have."""
    return {name: float(f"{value:.4g}") for name, value in plain(values).items()}


def constants(values: Vector) -> Constants:
    """The constants that such values stand for."""
    return Constants(**FIXED, **plain(values))


def rows_of(found: list[Measurement], fit: Fit | None) -> list[Row]:
    """The rows that can be fitted, laid out as the constants of a fit (or the priors) have it."""
    source_of = validate.sources(found)
    rows = []
    for measurement in found:
        asked = trial(measurement)
        if isinstance(asked, validate.Skipped) or asked.task == validate.MEMORY:
            continue
        engine = asked.request.engine
        if not engine.inherits or not measurement.reproducible:
            continue
        own = [f"engine {engine.release_of or engine.name}", f"family {asked.request.chip.family}"]
        if engine.release_of:
            own.append(f"release {engine.name}")
        at = (fit or prior()).at(own)
        request = replace(asked.request, constants=constants(at))
        asked = asked._replace(request=request)
        how = validate.setup(asked)
        if how is None:
            continue
        sequences = (asked.most or how.batch) if asked.task in validate.LOADED else request.workload.batch
        measured = validate.measured_tokens_per_s(asked, sequences)
        group = source_of(measurement), measurement.chip or ""
        rows.append(Row(asked, how, measured, tuple(own), group))
    return rows


def prior() -> Fit:
    """The centres of the priors."""
    return Fit(np.array([transformed(name, CENTRES[name]) for name in NAMES]), {})


def residual(row: Row, values: Vector) -> float:
    """Logarithm of predicted over measured."""
    return log(validate.tokens_per_s(row.trial, row.how, constants(values)) / row.measured)


def fitted(rows: list[Row]) -> Fit:
    """The most likely constants for the rows. It starts from the priors, so that it knows no other rows."""
    return narrowed(rows, narrowed(rows, prior(), WIDE), SCALE)


def narrowed(rows: list[Row], start: Fit, scale: float) -> Fit:
    """The most likely constants for a scale of errors, from a start."""
    moves = sorted({move for row in rows for move in row.moves})
    count = len(NAMES)
    place = {move: count * (1 + index) for index, move in enumerate(moves)}
    widths = np.full(count * (1 + len(moves)), GLOBAL_WIDTH)
    centre = np.zeros_like(widths)
    centre[:count] = prior().whole
    for move in moves:
        share = RELEASE_SHARE if move.startswith("release") else 1.0
        widths[place[move] : place[move] + count] = [share * WIDTHS[name] for name in NAMES]
    theta = np.concatenate([start.whole, *(start.moves.get(move, np.zeros(count)) for move in moves)])
    columns = [[0, *(place[move] for move in row.moves)] for row in rows]

    def values(index: int, at: Vector) -> Vector:
        return np.sum([at[first : first + count] for first in columns[index]], axis=0)  # type: ignore[no-any-return]

    def residuals(at: Vector) -> Vector:
        return np.array([residual(row, values(index, at)) for index, row in enumerate(rows)])

    def cost(at: Vector, errors: Vector) -> float:
        far = np.log1p((errors / scale) ** 2 / 2).sum()
        return float(far + (((at - centre) / widths) ** 2).sum() / 2)

    errors = residuals(theta)
    now, damping, nudge = cost(theta, errors), 1e-3, 1e-3
    for _ in range(STEPS):
        jacobian = np.zeros((len(rows), len(theta)))
        for index, row in enumerate(rows):
            here = values(index, theta)
            for k in range(count):
                there = here.copy()
                there[k] += nudge
                slope = (residual(row, there) - errors[index]) / nudge
                for first in columns[index]:
                    jacobian[index, first + k] = slope
        weight = 1.0 / (1.0 + (errors / scale) ** 2 / 2) / scale**2
        hessian = (jacobian * weight[:, None]).T @ jacobian + np.diag(1.0 / widths**2)
        gradient = (jacobian * weight[:, None]).T @ errors + (theta - centre) / widths**2
        for _ in range(7):
            damped = hessian + damping * np.diag(np.diag(hessian))
            step = np.clip(-np.linalg.solve(damped, gradient), -0.7, 0.7)
            errors_there = residuals(theta + step)
            there_cost = cost(theta + step, errors_there)
            if there_cost < now:
                break
            damping *= 8
        else:
            break
        gained, theta, errors, now = now - there_cost, theta + step, errors_there, there_cost
        damping = max(damping / 8, 1e-6)
        if gained < 3e-4 * now:
            break
    return Fit(theta[:count], {move: theta[place[move] : place[move] + count] for move in moves})


Errors = list[tuple[Row, float]]


def bands(errors: Errors) -> dict[str, dict[str, dict[str, float]]]:
    """Factors that hold 80 % of the errors: by engine, chip family (`any`: all of them) and task.

    A release older than an engine's last counts for the engine too: its constants rest on it.
    """
    by_task: dict[str, list[float]] = defaultdict(list)
    by_engine: dict[tuple[str, str], list[float]] = defaultdict(list)
    by_family: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row, error in errors:
        size = abs(error)
        by_task[row.task].append(size)
        for engine in {row.engine, row.trial.request.engine.release_of or row.engine}:
            by_engine[engine, row.task].append(size)
            by_family[engine, row.family, row.task].append(size)
    found: dict[str, dict[str, dict[str, float]]] = {}

    def shrunk(sizes: list[float], parent: float) -> float:
        own = validate.quantile(sorted(sizes), HELD)
        return (len(sizes) * own + SHRINK * parent) / (len(sizes) + SHRINK)

    whole = {task: validate.quantile(sorted(sizes), HELD) for task, sizes in by_task.items()}
    engines = {key: shrunk(sizes, whole[key[1]]) for key, sizes in by_engine.items()}
    for (engine, task), size in engines.items():
        found.setdefault(engine, {}).setdefault("any", {})[task] = round(exp(size), 2)
    for (engine, family, task), sizes in by_family.items():
        size = shrunk(sizes, engines[engine, task])
        found[engine].setdefault(family, {})[task] = round(exp(size), 2)
    return found


def coverage(errors: Errors, fold_of: Mapping[tuple[str, str], int]) -> tuple[float, dict[str, float]]:
    """Share of errors inside bands drawn from the other folds, over all and by task."""
    inside: dict[str, list[bool]] = defaultdict(list)
    for fold in range(FOLDS):
        others = bands([(row, error) for row, error in errors if fold_of[row.group] != fold])
        for row, error in errors:
            if fold_of[row.group] == fold:
                inside[row.task].append(abs(error) <= log(band_in(others, row.engine, row.family, row.task)))
    every = [held for ones in inside.values() for held in ones]
    return sum(every) / len(every), {task: sum(ones) / len(ones) for task, ones in inside.items()}


def one_factor(rows: list[Row], fold_of: Mapping[tuple[str, str], int]) -> Errors:
    """What a simple calculator could do: a roofline times one factor for each engine."""
    ideal = presets.load_engine("ideal")
    bare = []
    for row in rows:
        request = replace(row.trial.request, engine=ideal)
        speed = validate.tokens_per_s(row.trial._replace(request=request), row.how, Constants())
        bare.append(log(speed / row.measured))
    errors = []
    for fold in range(FOLDS):
        seen: dict[str, list[float]] = defaultdict(list)
        for row, error in zip(rows, bare, strict=True):
            if fold_of[row.group] != fold:
                seen[row.engine].append(error)
                seen[""].append(error)
        for row, error in zip(rows, bare, strict=True):
            if fold_of[row.group] == fold:
                errors.append((row, error - median(seen.get(row.engine) or seen[""])))
    return errors


def band_in(found: Mapping[str, Any], engine: str, family: str, task: str) -> float:
    """The band of a row as `memcalc.core.remarks.band_of` would find it."""
    own = found.get(engine, {})
    if family not in own:
        return max(2.0, own.get("any", {}).get(task, 2.0))
    return float(own[family].get(task) or own["any"].get(task) or 2.0)


def show(title: str, errors: Errors) -> None:
    """Median and 90th percentile of the errors by task."""
    by_task: dict[str, list[float]] = defaultdict(list)
    for row, error in errors:
        by_task[row.trial.task].append(abs(error))
        by_task["all"].append(abs(error))
    print(title)
    for task, sizes in sorted(by_task.items()):
        middle, most = exp(median(sizes)) - 1.0, exp(validate.quantile(sorted(sizes), 0.9)) - 1.0
        print(f"  {task:18}{len(sizes):5} rows   median {middle:6.1%}   90th percentile {most:7.1%}")


def tables(fit: Fit, rows: list[Row]) -> dict[str, dict[str, dict[str, float]]]:
    """The constants as presets have them: global ones, by engine and by chip family, without what is global."""
    whole = rounded(fit.whole)
    engines, families = {}, {}
    for row in rows:
        families[row.family] = rounded(fit.at([f"family {row.family}"]))
        engines[row.engine] = rounded(fit.at(move for move in row.moves if not move.startswith("family")))
        parent = row.trial.request.engine.release_of
        if parent:
            engines.setdefault(parent, rounded(fit.at([f"engine {parent}"])))

    def moved(values: Mapping[str, float]) -> dict[str, float]:
        return {name: value for name, value in values.items() if abs(value / whole[name] - 1.0) > 0.005}

    return {
        "global": {"": {**whole, **FIXED}},
        "engines": {name: moved(values) for name, values in sorted(engines.items()) if name != "default"},
        "families": {name: moved(values) for name, values in sorted(families.items()) if name != "default"},
    }


def main() -> int:
    """Fit, hold out, and write; status 0."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    options = parser.parse_args()
    found = measurements.published()
    fit: Fit | None = None
    for _ in range(2):  # the layouts that rows leave open depend on the constants
        rows = rows_of(found, fit)
        fit = fitted(rows)
    assert fit is not None  # noqa: S101
    show("in the fit", [(row, residual(row, fit.at(row.moves))) for row in rows])
    fold_of = validate.in_folds((row.group for row in rows), FOLDS)
    errors: Errors = []
    fold_fits = []
    for fold in range(FOLDS):
        kept = [row for row in rows if fold_of[row.group] != fold]
        part = fitted(kept)
        fold_fits.append((tables(part, kept), part))
        errors += [(row, residual(row, part.at(row.moves))) for row in rows if fold_of[row.group] == fold]
        print(f"fold {fold + 1} of {FOLDS}: {len(rows) - len(kept)} rows held out", file=sys.stderr)
    show("held out by source and chip", errors)
    show("one factor for each engine on the bare roofline, held out alike", one_factor(rows, fold_of))
    held, by_task = coverage(errors, fold_of)
    print(f"inside the bands of the other folds: {held:.0%} (" + ", ".join(f"{t} {s:.0%}" for t, s in sorted(by_task.items())) + ")")  # fmt: skip
    folds = []
    for fold, (part_tables, _) in enumerate(fold_fits):
        others = [(row, error) for row, error in errors if fold_of[row.group] != fold]
        ids = sorted(row.trial.row.id for row in rows if fold_of[row.group] == fold)
        folds.append(
            {"held_out": ids, **part_tables, "bands": bands(others), "points": points(rows, fold_of, fold)}
        )
    write(tables(fit, rows), bands(errors), points(rows, fold_of, None), folds, dry=options.dry_run)
    return 0


def points(
    rows: list[Row], fold_of: Mapping[tuple[str, str], int], without: int | None
) -> dict[str, dict[str, int]]:
    """On how many rows the constants of each engine rest by chip family, a fold left out or none."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if fold_of[row.group] != without:
            for engine in {row.engine, row.trial.request.engine.release_of or row.engine}:
                found[engine][row.family] += 1
    return {engine: dict(sorted(counts.items())) for engine, counts in sorted(found.items())}


NEW_FAMILY = """name = "{name}"

[constants]

[sources]
"constants" = {{ kind = "derived", source = "none yet" }}
"""
SOURCE = "fitted by calibration/refit.py to {n} published measurements (presets/measurements): global, moved by engine and by chip family, without interactions (docs/accuracy.md)"


def write(
    found: Mapping[str, Any],
    factors: Mapping[str, Any],
    counts: Mapping[str, Mapping[str, int]],
    folds: list[dict[str, Any]],
    *,
    dry: bool,
) -> None:
    """Put constants, bands and points into the presets, and say what changed."""
    root = Path(presets.ROOT)
    total = sum(
        sum(by.values()) for engine, by in counts.items() if not presets.load_engine(engine).release_of
    )
    said = SOURCE.format(n=total)
    names = {root / "engines" / "default.toml": ("default", found["global"][""])}
    names |= {root / "engines" / f"{name}.toml": (name, values) for name, values in found["engines"].items()}
    for path, (name, values) in names.items():
        blocks = {"constants": values}
        if name != "default":
            blocks["points"] = counts.get(name, {})
            blocks |= {
                f"bands.{family}": dict(sorted(by.items()))
                for family, by in sorted(factors.get(name, {}).items())
            }
        change(path, blocks, said, dry=dry)
    for name, values in found["families"].items():
        path = root / "chips" / "families" / f"{name}.toml"
        if not path.exists():
            path.write_text(
                f'name = "{name}"\n\n[constants]\n\n[sources]\n"constants" = {{}}\n', encoding="utf-8"
            )
        change(path, {"constants": values}, said, dry=dry)
    if not dry:
        text = json.dumps(folds, separators=(",", ":"))
        (root / "measurements" / "folds.json").write_text(text + "\n", encoding="utf-8")


def change(path: Path, blocks: Mapping[str, Mapping[str, float]], said: str, *, dry: bool) -> None:
    """Replace tables of a preset; print each figure that is another by more than 1 %."""
    text = path.read_text(encoding="utf-8")
    old = tomllib.loads(text)
    for name, values in blocks.items():
        before: Any = old
        for part in name.split("."):
            before = before.get(part, {}) if isinstance(before, dict) else {}
        for key in sorted({*before, *values}):
            was, now = before.get(key), values.get(key)
            if was is None or now is None or abs(now / was - 1.0) > 0.01:
                print(f"{path.name}: {name}.{key} {was} -> {now}")
    head, _, rest = text.partition("\n[")
    tables_there = re.split(r"^(?=\[)", "[" + rest, flags=re.MULTILINE)
    kept = [table for table in tables_there if not re.match(r"\[(constants|points|bands[^\]]*)\]", table)]
    new = [
        f"[{name}]\n" + "".join(f"{key} = {_number(value)}\n" for key, value in values.items()) + "\n"
        for name, values in blocks.items()
        if values or name == "constants"
    ]
    body = head.rstrip("\n") + "\n\n" + "".join(new) + "".join(kept)
    line = f'"constants" = {{ kind = "derived", source = "{said}" }}'
    body = re.sub(r'^"constants" = .*$', lambda _: line, body, flags=re.MULTILINE)
    if not dry:
        path.write_text(body.rstrip("\n") + "\n", encoding="utf-8")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(value)


if __name__ == "__main__":
    sys.exit(main())
