"""Fit the layer floors of SRAM-first machines to their published speeds: `python calibration/floors.py`.

A floor is what a layer takes that is neither bytes nor FLOP (`memcalc.chip.LayerFloor`). Nobody publishes it;
it is read off from the speeds of whole models. Each row of presets/measurements becomes a request as `memcalc
validate` has it, and memcalc's own estimator is asked which floor would give just the published speed. From these
implied floors a constant is drawn by its median over models (the median of a model's rows first, so that a model
with many endpoints has one vote): a row that is far off then pulls no more than one that is near. The width of
WSE-2 takes two constants on four points, by least squares of relative errors.

What is held out, for a reason that has nothing to do with how well it fits, stands in `CAMPS` with that reason.
Rows of WSE-3 are all held out: its floor is the law of WSE-2, unchanged. One equation with two unknowns, floor and
tokens accepted in a step, has no solution, so for each row the tokens a step that would explain it are printed.

Beside them stands what the nominal bandwidth of the memory alone would promise, as a multiple of what is published.

`--check` says by its status whether the presets hold what is fitted, to two digits. Standard library only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from math import floor, isfinite, log10
from statistics import median
from typing import NamedTuple

from memcalc.chip import LayerFloor
from memcalc.core.job import Job
from memcalc.readers import measurements, presets
from memcalc.studies.validate import DECODE, Setup, Skipped, Trial, measured_tokens_per_s, setup, tokens_per_s
from memcalc.trials import trial

#: A layer floor that is looked for lies below this [s].
LONGEST_S = 1e-3
#: Halvings of that interval: to a part in 10^12.
HALVINGS = 40

SPECULATIVE = "speculative: faster than 16 sockets read its weights in that format, had they no floor at all"


class Camp(NamedTuple):
    """A chip whose floor is fitted, the constants it has, and rows that are held out, each with the reason."""

    chip: str
    constants: tuple[str, ...]
    held_out: Mapping[str, str] = {}


CAMPS = (
    Camp("wse-2", ("base_s", "per_1024_width_s")),
    Camp(
        "groq-lpu-v1",
        ("base_s", "moe_s"),
        {"groq-llama3.3-70b-specdec-1660": "an endpoint with speculative decoding, six times the plain one"},
    ),
    Camp(
        "sambanova-sn40l",
        ("base_s", "moe_s"),
        {
            "sambanova-aa-llama-3.1-70b-b": SPECULATIVE,
            "sambanova-aa-llama-3.1-405b-b": SPECULATIVE,
            "aa-llama4maverick-sambanova": SPECULATIVE,
            "sambanova-gptoss": "neither sockets nor format nor speculation is stated",
            "sambanova-deepseek-256users": "256 users: more than the floor decides",
        },
    ),
    Camp("d-matrix-corsair", ("base_s",)),
    Camp("northpole", ("base_s",)),
    Camp(
        "taalas-hc1",
        ("base_s",),
        {
            "taalas-hc1-14357": "a public demo seen from outside, with network and queue; the claim is of the chip"
        },
    ),
)
#: Chips whose published speeds are shown in tokens a step and never fitted.
UNFITTED = ("wse-3",)


class Point(NamedTuple):
    """A row that can be predicted: its trial, how it is run, and its speed [tokens/s over the system]."""

    trial: Trial
    how: Setup
    measured: float

    @property
    def id(self) -> str:
        """The row's id."""
        return self.trial.row.id

    @property
    def model(self) -> str:
        """The preset of the model: two names of one architecture are one model."""
        return self.trial.request.model.name

    @property
    def experts(self) -> bool:
        """Whether any layer has routed experts."""
        return any(group.feed_forward.experts for group in self.trial.request.model.layers)

    def predicted(self, found: LayerFloor) -> float:
        """The speed at another layer floor [tokens/s over the system]."""
        request = self.trial.request
        chip = replace(request.chip, layer_floor=found)
        asked = self.trial._replace(request=replace(request, system=replace(request.system, chip=chip)))
        try:
            return tokens_per_s(asked, self.how, request.constants)
        except ZeroDivisionError:  # without a floor nothing takes time where no rate is published
            return float("inf")

    @property
    def by_bandwidth(self) -> float | None:
        """What nominal bandwidth promises one user over what was measured; None where none is published.

        All chips read the bytes of one token together, each at its full bandwidth.
        """
        request, how = self.trial.request, self.how
        job = Job(
            request.book, request.chip, request.constants, request.engine, how.layout, request.activations
        )
        seconds = 0.0
        alone = replace(request.workload, batch=1)
        for tier, size in job.work(alone, how.placement).tier_bytes.items():
            rate = request.chip.memory[tier].bandwidth_bytes_per_s
            if size and not rate:
                return None
            seconds += size / (rate or 1.0) / request.system.count
        return request.workload.batch / seconds / self.measured if seconds else None

    def error(self, found: LayerFloor) -> float:
        """The factor between prediction and measurement, less one."""
        ratio = self.predicted(found) / self.measured
        return max(ratio, 1.0 / ratio) - 1.0


def points(chip: str) -> list[Point]:
    """The decode rows of a chip that can be predicted, in the order of the record."""
    found = []
    for row in measurements.published():
        if row.chip is None or presets.find("chips", row.chip) != chip:
            continue
        asked = trial(row)
        if isinstance(asked, Skipped) or asked.task != DECODE:
            continue
        how = setup(asked)
        if how:
            found.append(Point(asked, how, measured_tokens_per_s(asked, asked.request.workload.batch)))
    return found


def implied(point: Point, of: Callable[[float], LayerFloor], least: float = 0.0) -> float:
    """The constant at which the prediction meets the row [s]; -inf where even the least one is too slow."""
    if point.predicted(of(least)) < point.measured:
        return -float("inf")
    low, high = least, LONGEST_S
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if point.predicted(of(middle)) > point.measured else (low, middle)
    return (low + high) / 2


def by_model(points_: Iterable[Point], value: Callable[[Point], float]) -> float:
    """The median over models of the median over the rows of each."""
    values: dict[str, list[float]] = {}
    for point in points_:
        values.setdefault(point.model, []).append(value(point))
    return median(median(those) for those in values.values())


def fit(camp: Camp, fitted: list[Point]) -> LayerFloor | None:
    """The floor that the rows imply; None where they cannot tell."""
    experts = [point for point in fitted if point.experts]
    if "per_1024_width_s" in camp.constants:
        return _with_width(fitted)
    dense = [point for point in fitted if not point.experts] if "moe_s" in camp.constants else fitted
    if not dense:
        return None
    base = by_model(dense, lambda point: implied(point, LayerFloor))
    if "moe_s" not in camp.constants:
        return LayerFloor(base)
    if not experts:
        return None
    # One expert layer may turn out quicker than a dense one, but no layer takes less than nothing.
    more = by_model(experts, lambda point: implied(point, lambda s: LayerFloor(base, moe_s=s), -base))
    return LayerFloor(base, moe_s=more) if isfinite(base) and isfinite(more) else None


def _with_width(fitted: list[Point]) -> LayerFloor | None:
    """Base and slope over the width by least squares of the relative errors of the floors implied."""
    if len({point.trial.request.model.width for point in fitted}) < 2:
        return None
    one = two = mixed = right = slanted = 0.0
    for point in fitted:
        layer = implied(point, LayerFloor)
        a, b = 1.0 / layer, point.trial.request.model.width / 1024 / layer
        one, mixed, two = one + a * a, mixed + a * b, two + b * b
        right, slanted = right + a, slanted + b
    determinant = one * two - mixed * mixed
    return LayerFloor(
        (right * two - slanted * mixed) / determinant,
        per_1024_width_s=(one * slanted - mixed * right) / determinant,
    )


def left_out(camp: Camp, fitted: list[Point]) -> list[tuple[Point, float]]:
    """Each row with the error of a fit that has not seen its model; none where the others cannot tell."""
    found = []
    for model in dict.fromkeys(point.model for point in fitted):
        rest = fit(camp, [point for point in fitted if point.model != model])
        if rest:
            found += [(point, point.error(rest)) for point in fitted if point.model == model]
    return found


def agrees(held: float, fitted: float) -> bool:
    """Whether two constants are the same to two digits.

    >>> agrees(1.84e-6, 1.838e-6), agrees(1.7e-5, 1.2e-5), agrees(0.0, 0.0)
    (True, False, True)
    """
    if not held or not fitted:
        return held == fitted
    return abs(held - fitted) <= 0.5 * 10.0 ** (floor(log10(abs(fitted))) - 1)


class Fitted(NamedTuple):
    """What a camp comes to: its rows, the floor, the errors with and without having seen the model."""

    camp: Camp
    points: list[Point]
    held_out: list[Point]
    floor: LayerFloor
    errors: list[tuple[Point, float]]
    left_out: list[tuple[Point, float]]


def fitted(camp: Camp) -> Fitted:
    """Fit one camp."""
    every = points(camp.chip)
    used = [point for point in every if point.id not in camp.held_out]
    found = fit(camp, used)
    if found is None:
        raise SystemExit(f"error: no floor explains the rows of {camp.chip}")
    errors = [(point, point.error(found)) for point in used]
    held = [point for point in every if point.id in camp.held_out]
    return Fitted(camp, used, held, found, errors, left_out(camp, used))


def tokens_a_step(chip: str) -> list[tuple[Point, float]]:
    """Tokens accepted in a step that would explain each row at the preset's floor."""
    held = presets.load_chip(chip).layer_floor
    if held is None:
        raise SystemExit(f"error: {chip} has no layer floor")
    return [(point, point.measured / point.predicted(held)) for point in points(chip)]


def _errors(errors: list[tuple[Point, float]]) -> str:
    worst, most = max(errors, key=lambda entry: entry[1])
    return f"median {median(error for _, error in errors):.1%}, worst {most:.1%} ({worst.id})"


def _head(chip: str, points_: list[Point]) -> str:
    """The first line of a chip: rows, models and what the floor is worth."""
    models = len({point.model for point in points_})
    grade = presets.load_chip(chip).sources["layer_floor"].grade
    rows = f"{len(points_)} row{'s' if len(points_) > 1 else ''} of {models} model{'s' if models > 1 else ''}"
    return f"{chip}: {rows}, grade {grade}"


def _nominal(points_: list[Point]) -> str:
    """The range of what nominal bandwidth alone promises, over the models that read all of their weights."""
    dense = [point for point in points_ if not point.experts]
    found = [times for point in dense if (times := point.by_bandwidth) is not None]
    if not found:
        return "is not published"
    least, most = (f"{times:.3g}" if times < 10 else f"{times:,.0f}" for times in (min(found), max(found)))
    return f"promises {least if least == most else f'{least} to {most}'} times the published speed (dense)"


def show(one: Fitted) -> bool:
    """Print a camp; whether the preset holds it."""
    held = presets.load_chip(one.camp.chip).layer_floor
    print(_head(one.camp.chip, one.points))
    same = True
    for name in one.camp.constants:
        value, has = getattr(one.floor, name), getattr(held, name) if held else 0.0
        same &= agrees(has, value)
        print(f"  {name:18} {value:.3g} s, preset {has:.3g}{'' if agrees(has, value) else '  DIFFERS'}")
    print(f"  in the fit         {_errors(one.errors)}")
    print(f"  leaving out models {_errors(one.left_out) if one.left_out else 'nothing is left to fit'}")
    if "moe_s" in one.camp.constants:
        # What the second constant is worth: the same without it.
        alone = left_out(one.camp._replace(constants=("base_s",)), one.points)
        print(f"  one for all layers {_errors(alone)}, leaving out models")
    print(f"  nominal bandwidth  {_nominal(one.points)}")
    for point in one.held_out:
        ratio, bare = (point.predicted(at) / point.measured for at in (one.floor, LayerFloor(0.0)))
        shown = f"ratio {ratio:.2f}, without any floor {bare:.2f}" if isfinite(bare) else f"ratio {ratio:.2f}"
        print(f"  held out           {point.id}: {shown}")
        print(f"                     {one.camp.held_out[point.id]}")
    print()
    return same


def main(words: list[str] | None = None) -> int:
    """Fit, print, and say by the status whether the presets hold it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="status 1 where a preset differs")
    check = parser.parse_args(words).check
    same = True
    for camp in CAMPS:
        same &= show(fitted(camp))
    for chip in UNFITTED:
        shown = tokens_a_step(chip)
        every = [point for point, _ in shown]
        print(_head(chip, every) + ", none fitted")
        print(f"  nominal bandwidth  {_nominal(every)}")
        for point, factor in shown:
            print(f"  {factor:.2f} tokens a step would explain {point.id}")
    return 1 if check and not same else 0


if __name__ == "__main__":
    sys.exit(main())
