"""How far off the predictions are, and what a user's own measurements make of them.

Beside `api`: files and words in, results out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from memcalc.engine import Engine, Family, resolve
from memcalc.errors import FileError, MemcalcError, UsageError
from memcalc.measurement import Measurement
from memcalc.readers import measurements, presets
from memcalc.readers.benchmarks import Stated, read_benchmark
from memcalc.readers.measurements import Broken, Fold
from memcalc.resolve import find_engine
from memcalc.studies.calibrate import Calibration
from memcalc.studies.calibrate import calibrate as calibrated
from memcalc.studies.validate import MEMORY, Outcome, Skipped, Trial, Validation, outcomes, validation
from memcalc.trials import trial


def validate(
    file: str | None = None,
    engine: str | None = None,
    *,
    in_sample: bool = False,
    chips: str | Sequence[str] = (),
) -> Validation:
    """Published measurements, or those of a file, beside their predictions: `memcalc validate`.

    Each published row is predicted by constants that were fitted without its source and chip, unless
    `in_sample`; a file's by the constants that come along. `engine` (a preset or a TOML file) stands for the
    engine of every row. `chips` (presets; text like "a,b,c" or several) keep only the rows of these.
    FileError where there is no such file; UsageError where there is no such chip; broken rows are named
    in the result.
    """
    given = find_engine(engine) if engine else None
    wanted = _chips(chips)
    rows = measurements.published() if file is None else measurements.read_measurements(file)
    parts = [] if file or given or in_sample else measurements.folds()
    fold_of = {id_: fold for fold in parts for id_ in fold.held_out}
    found: list[list[Outcome] | Skipped] = []
    for row in rows:
        if isinstance(row, Broken):
            found.append(Skipped(row.id, row.reason, broken=True))
            continue
        if wanted and (row.chip is None or presets.find("chips", row.chip) not in wanted):
            continue
        asked = trial(row, given)
        if isinstance(asked, Trial) and row.id in fold_of:
            asked = _without(asked, fold_of[row.id])
        found.append(asked if isinstance(asked, Skipped) else _predicted(asked))
    name = given.name if given else None
    held_out = any(one.id in fold_of for entry in found if isinstance(entry, list) for one in entry)
    unreal = tuple(chip for chip in wanted if presets.load_chip(chip).hypothetical)
    return validation(
        found,
        held_out=held_out,
        file=file,
        engine=name,
        chips=wanted,
        floors=_floors(wanted),
        hypothetical=unreal,
    )


def _chips(words: str | Sequence[str]) -> tuple[str, ...]:
    """The presets that words like "a,b" name, each once; UsageError for one that is none."""
    texts = [words] if isinstance(words, str) else words
    names = [word.strip() for text in texts for word in text.split(",")]
    found = []
    for word in names:
        name = presets.find("chips", word)
        if name is None:
            if not word:
                raise UsageError("--chip is empty", "leave it away for all chips")
            raise presets.unknown("chips", word)
        found.append(name)
    return tuple(dict.fromkeys(found))


def _floors(names: Sequence[str]) -> dict[str, str]:
    """On how much the layer floors of chips rest, for those that have one."""
    found = {}
    for name in names:
        chip = presets.load_chip(name)
        if chip.layer_floor:
            grade = chip.sources["layer_floor"].grade
            found[name] = chip.layer_floor.rests_on + (f" (grade {grade})" if grade else "")
    return found


def calibrate(
    file: str, engine: str | None = None, name: str = "calibrated", stated: Stated | None = None
) -> Calibration:
    """An engine from a user's own measurements: `memcalc calibrate`.

    `file` has rows of the schema, or is what `llama-bench -o json`, `vllm bench serve` or `trtllm-bench` wrote;
    `stated` says what it leaves out. `engine` (a preset or a TOML file) is what the constants start from: the
    rows' own unless given. FileError where no row can be used.
    """
    asked: list[Trial] = []
    skipped: list[Skipped] = []
    rows = list(read_benchmark(file, stated or Stated()))
    base = find_engine(engine) if engine else _most_used(rows)
    if not base.inherits or base.ideal:
        raise UsageError(
            f"{base.name} has constants of its own, that measurements of other chips do not move",
            "start from another with --engine, like vllm or default",
        )
    for row in rows:
        found = Skipped(row.id, row.reason, broken=True) if isinstance(row, Broken) else trial(row, base)
        if isinstance(found, Skipped):
            skipped.append(found)
        elif found.task == MEMORY:
            skipped.append(Skipped(row.id, "sizes do not move the constants of speeds"))
        else:
            asked.append(found)
    whole = base.constants if base.name == "default" else presets.load_engine("default").constants
    done = calibrated(asked, base, whole, name, file, tuple(skipped))
    if done is None:
        first = f": {skipped[0].id}: {skipped[0].reason}" if skipped else ""
        raise FileError(f"{file}: no row can be used{first}", "docs/accuracy.md names the fields of a row")
    return done


def _predicted(asked: Trial) -> list[Outcome] | Skipped:
    try:
        return outcomes(asked)
    except MemcalcError as error:
        return Skipped(asked.row.id, error.message)


def _most_used(rows: list[Measurement | Broken]) -> Engine:
    """The engine, in its release, that most rows ran on."""
    found = [trial(row) for row in rows if isinstance(row, Measurement)]
    engines = [one.request.engine for one in found if isinstance(one, Trial)]
    names = [engine.name for engine in engines]
    return presets.load_engine(max(sorted(set(names)), key=names.count) if names else "default")


def _without(asked: Trial, fold: Fold) -> Trial:
    """The trial on the constants and with the bands of a fold that held its row out."""
    request = asked.request
    name, family = request.engine.name, request.chip.family
    known = name if name in fold.engines else request.engine.release_of or name
    engine = replace(
        request.engine,
        constants=fold.engines.get(known, {}),
        bands=fold.bands.get(known, {}),
        points=fold.points.get(known, {}),
    )
    constants = resolve(fold.constants, engine, Family(family, fold.families.get(family, {})))
    return asked._replace(request=replace(request, engine=engine, constants=constants))
