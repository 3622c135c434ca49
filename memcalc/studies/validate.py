"""Validation: measurements beside their predictions, and how far off groups of them are.

A trial is a measurement that was turned into a request. Speeds are compared as rates, sizes as they are.
An error is the factor between prediction and measurement, less one: 0.1 for 10 % above and for 1/1.1 of it,
so that being twice too fast counts as much as half too fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields, replace
from math import exp, log
from statistics import median
from typing import Any, NamedTuple

from memcalc._version import __version__
from memcalc.core.job import Job
from memcalc.core.placement import Placement
from memcalc.core.remarks import band_of
from memcalc.core.report import SCHEMA_VERSION
from memcalc.core.residency import Residency
from memcalc.core.search import Request, choose, nearest
from memcalc.core.serving import continuous, saturated, static_batch_s
from memcalc.engine import Constants
from memcalc.measurement import Measurement
from memcalc.noun import noun
from memcalc.workload import Layout

#: Kinds of questions that a measurement answers.
DECODE, REQUEST, PREFILL = "decode", "request", "prefill"
STATIC, CLOSED, SATURATED, MEMORY = "static batch", "known concurrency", "saturated", "memory"
#: Tasks in which sequences may wait.
LOADED = (CLOSED, SATURATED)
#: How a step of several sequences is called in the record; its trials are as those of one.
BATCHED = "decode of a batch"
TASKS = (DECODE, BATCHED, REQUEST, PREFILL, STATIC, CLOSED, SATURATED, MEMORY)
#: Sizes are counted, not fitted: logs are held to this factor.
MEMORY_BAND = 1.05
GIB = 2.0**30
#: The load with which an engine is taken to look for the peak of its activations where a log leaves it out: 256
#: sequences, long vLLM's default of max_num_seqs, and a chunk of prefill as its preset has it.
PROFILED_SEQUENCES, PROFILED_TOKENS = 256, 8192
#: So many of the worst are shown.
WORST = 10


class Trial(NamedTuple):
    """A measurement as a request: its task, tokens in and out, and what had to be assumed.

    `most` is the largest number of sequences that the load allowed and `step_s` the longest step, None
    where nothing limits them. Their rate counts `batch` sequences.
    """

    row: Measurement
    request: Request
    task: str
    prompt: int
    output: int
    assumed: tuple[str, ...] = ()
    most: int | None = None
    step_s: float | None = None


class Skipped(NamedTuple):
    """A measurement that is not predicted, and why. A `broken` one could not even be read."""

    id: str
    reason: str
    broken: bool = False


@noun
class Outcome:
    """A measured figure and its prediction, in the unit of the metric (times as rates), with the 80 % band.

    `tokens_per_step` are those that the prediction accepts in a decode step, None where the figure is no such step.
    """

    id: str
    workflow: str
    task: str
    engine: str
    family: str
    kind: str
    chip: str
    chips: int
    metric: str
    measured: float
    predicted: float
    low: float
    high: float
    reproducible: bool
    assumed: tuple[str, ...] = ()
    tokens_per_step: float | None = None

    @property
    def tokens_per_step_to_explain(self) -> float | None:
        """Tokens accepted in a step that alone would explain the measurement: speculation, where above 1.

        >>> seen = dict(measured=300.0, predicted=100.0, low=50.0, high=200.0, reproducible=True)
        >>> names = dict(id="a", workflow="decode", task="decode", engine="e", family="f", kind="independent")
        >>> Outcome(**names, chip="c", chips=1, metric="tok_s_user", tokens_per_step=1.0, **seen).tokens_per_step_to_explain
        3.0
        """
        return None if self.tokens_per_step is None else self.tokens_per_step / self.ratio

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.measured

    @property
    def error(self) -> float:
        """The factor between the two, less one."""
        return exp(abs(log(self.ratio))) - 1.0


@noun
class Record:
    """How far off a group of predictions is; errors and bias are fractions, the bias is signed."""

    n: int
    median_abs_error: float
    p90_abs_error: float
    bias: float
    band_coverage: float


@noun
class Group:
    """The record of one workflow on one engine, chip family and kind of source."""

    workflow: str
    task: str
    engine: str
    family: str
    kind: str
    record: Record


class ChipRecord(NamedTuple):
    """The record of one task on one chip, all of its rows, and the row that is furthest off."""

    chip: str
    task: str
    record: Record
    worst: Outcome


@noun
class Validation:
    """All outcomes, what was skipped, and the records over them.

    `overall` counts all, `speeds` the speeds of rows that state enough to be predicted, `by_task` those and
    the sizes by task. `held_out`: each row was predicted by constants that were fitted without its source and chip.
    `chips` are those that were asked for, none for all; `floors` says of a chip on how much its layer floor rests,
    `hypothetical` names those without published figures.
    """

    outcomes: tuple[Outcome, ...]
    skipped: tuple[Skipped, ...]
    groups: tuple[Group, ...]
    by_task: Mapping[str, Record]
    overall: Record | None
    speeds: Record | None
    held_out: bool = False
    file: str | None = None
    engine: str | None = None
    chips: tuple[str, ...] = ()
    hypothetical: tuple[str, ...] = ()
    floors: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The whole as the JSON contract has it: groups and records, and what was skipped."""
        return {
            "schema_version": SCHEMA_VERSION,
            "memcalc_version": __version__,
            "command": "validate",
            "inputs": {
                "file": self.file,
                "engine": self.engine,
                "held_out": self.held_out,
                "chips": list(self.chips),
            },
            "warnings": [f"the layer floor of {chip} rests on {text}" for chip, text in self.floors.items()],
            "groups": [
                {
                    "workflow": group.workflow,
                    "task": group.task,
                    "engine": group.engine,
                    "family": group.family,
                    "kind": group.kind,
                    **_figures(group.record),
                }
                for group in self.groups
            ],
            "overall": _figures(self.overall) if self.overall else None,
            "speeds": _figures(self.speeds) if self.speeds else None,
            "by_task": [{"task": task, **_figures(record)} for task, record in self.by_task.items()],
            "worst": [_row(one) for one in self.worst],
            "skipped": [{"id": one.id, "reason": one.reason, "broken": one.broken} for one in self.skipped],
            **(self._listed() if self.chips else {}),
        }

    def _listed(self) -> dict[str, Any]:
        """What is shown besides where chips were asked for: each row, and the record of each chip."""
        records = [
            {"chip": one.chip, "task": one.task, **_figures(one.record), "worst": one.worst.id}
            for one in self.by_chip
        ]
        return {"by_chip": records, "rows": self.rows()}

    def rows(self) -> list[dict[str, object]]:
        """A line for each figure, predicted beside measured."""
        return [_row(one) for one in self.outcomes]

    def lines(self) -> list[dict[str, object]]:
        """The same, and a line with the reason for each row that was not predicted."""
        reasons: list[dict[str, object]] = [{"id": one.id, "reason": one.reason} for one in self.skipped]
        return [*self.rows(), *reasons]

    @property
    def by_chip(self) -> tuple[ChipRecord, ...]:
        """The record of each task on each chip, over all rows that could be predicted."""
        keyed: dict[tuple[str, str], list[Outcome]] = {}
        for one in self.outcomes:
            keyed.setdefault((one.chip, one.task), []).append(one)
        order = {chip: place for place, chip in enumerate(self.chips)}
        places = sorted(keyed, key=lambda key: (order.get(key[0], 0), key[0], TASKS.index(key[1])))
        return tuple(
            ChipRecord(*key, record(keyed[key]), max(keyed[key], key=lambda one: one.error)) for key in places
        )

    @property
    def broken(self) -> tuple[Skipped, ...]:
        """Rows that could not be read."""
        return tuple(entry for entry in self.skipped if entry.broken)

    @property
    def worst(self) -> tuple[Outcome, ...]:
        """The largest errors of speeds that rows state enough of to be predicted, the largest first."""
        sure = (one for one in self.outcomes if one.reproducible and one.task != MEMORY)
        return tuple(sorted(sure, key=lambda one: -one.error)[:WORST])


class Setup(NamedTuple):
    """How a trial is run: the layout that was chosen, where its bytes live, sequences at once."""

    layout: Layout
    placement: Placement
    batch: int


def setup(trial: Trial) -> Setup | None:
    """The fastest way to run a trial as far as its row leaves that open; None where it does not fit.

    What was measured did fit, so where our reserves alone are in the way they are left out.
    """
    for asked in (trial.request, _without_reserves(trial.request)):
        if trial.task in (SATURATED, CLOSED):
            served = saturated(asked, trial.prompt, trial.output, most=trial.most, step_s=trial.step_s)
            if served:
                return Setup(served.job.layout, served.placement, served.batch)
        else:
            choice = choose(asked)
            if choice:
                return Setup(choice.job.layout, choice.placement, asked.workload.batch)
    return None


def _without_reserves(asked: Request) -> Request:
    free = replace(
        asked.engine, usable_memory=1.0, reserved_bytes_per_chip=0, reserved_bytes_per_linked_chip=None
    )
    return replace(asked, engine=free)


def tokens_per_s(trial: Trial, how: Setup, constants: Constants) -> float:
    """Output tokens a second over the whole system, prompt tokens for a prefill [tokens/s]."""
    asked = trial.request
    job = Job(asked.book, asked.chip, constants, asked.engine, how.layout, asked.activations)
    placement, batch, prompt, output = how.placement, how.batch, trial.prompt, trial.output
    if trial.task == DECODE:
        work = asked.workload
        return work.tokens_per_step * batch / job.step(work, placement).seconds
    if trial.task == PREFILL:
        return batch * prompt / job.prefill(batch, prompt, placement).seconds
    if trial.task in (CLOSED, SATURATED):
        return continuous(job, placement, batch, prompt, output)
    return batch * output / static_batch_s(job, placement, batch, prompt, output)


def measured_tokens_per_s(trial: Trial, sequences: int) -> float:
    """The measured headline as tokens a second over the whole system, as `tokens_per_s` counts them."""
    metric = trial.row.headlines[0]
    found = trial.row.metrics[metric]
    return (1.0 / found if metric.endswith("_ms") else found) * _scale(trial, sequences)


def _scale(trial: Trial, sequences: int) -> float:
    """What a headline (times inverted) is multiplied with to count the tokens of the whole system."""
    metric, chips = trial.row.headlines[0], trial.request.system.count
    scales: dict[str, float] = {
        "tok_s_user": sequences,
        "tpot_ms": 1000.0 * sequences,
        "ttft_ms": 1000.0 * sequences * trial.prompt,
        "tok_s_chip_output": chips,
        "prefill_tok_s_chip": chips,
    }
    if metric in ("tok_s_chip_total", "tok_s_total"):
        share = trial.output / (trial.prompt + trial.output) if trial.output else 1.0
        return share * (chips if metric == "tok_s_chip_total" else 1)
    return scales.get(metric, 1.0)


def outcomes(trial: Trial, constants: Constants | None = None) -> list[Outcome] | Skipped:
    """The figures of a row beside their predictions; a reason where there are none.

    `constants` stand for those of the request.
    """
    if trial.task == MEMORY:
        return _memory(trial)
    how = setup(trial)
    if how is None:
        possible = nearest(trial.request) is not None
        reason = (
            "does not fit, even without reserves" if possible else "no layout divides it so over its chips"
        )
        return Skipped(trial.row.id, reason)
    try:
        speed = tokens_per_s(trial, how, constants or trial.request.constants)
    except ZeroDivisionError:
        return Skipped(trial.row.id, "a figure of the chip that its time needs is unknown")
    if trial.row.headlines[0] not in _RATES:
        return Skipped(trial.row.id, f"{trial.row.headlines[0]} is no rate of {trial.row.workflow}")
    sequences = trial.request.workload.batch if trial.task not in (CLOSED, SATURATED) else how.batch
    if trial.task == CLOSED:
        # Those that wait count too: a user's rate is the rate of all over all.
        sequences = trial.most or how.batch
    factor = band_of(trial.request, band_task(trial))
    scale = _scale(trial, sequences)
    predicted = speed / scale
    metric = trial.row.headlines[0]
    found = trial.row.metrics[metric]
    measured = 1.0 / found if metric.endswith("_ms") else found
    unit = 1000.0 * (trial.prompt if metric == "ttft_ms" else 1) if metric.endswith("_ms") else 1.0
    return [_outcome(trial, metric, measured * unit, predicted * unit, factor)]


#: Headlines that are rates of tokens, or times that become such.
_RATES = (
    "tok_s_user", "tok_s_instance_output", "tok_s_chip_output", "tok_s_chip_total", "prefill_tok_s",
    "prefill_tok_s_chip", "tok_s_total", "tpot_ms", "ttft_ms", "e2e_output_tok_s",
)  # fmt: skip


def _outcome(trial: Trial, metric: str, measured: float, predicted: float, factor: float) -> Outcome:
    row, asked = trial.row, trial.request
    return Outcome(
        id=row.id,
        workflow=row.workflow,
        task=BATCHED if trial.task == DECODE and asked.workload.batch > 1 else trial.task,
        engine=asked.engine.name,
        family=asked.chip.family if row.chip else "any",
        kind=row.kind,
        chip=asked.chip.name,
        chips=asked.system.count,
        metric=metric,
        measured=measured,
        predicted=predicted,
        low=predicted / factor,
        high=predicted * factor,
        reproducible=row.reproducible,
        assumed=trial.assumed,
        tokens_per_step=asked.workload.tokens_per_step if trial.task == DECODE else None,
    )


def band_task(trial: Trial) -> str:
    """The task whose record makes the band of a trial."""
    if trial.task in (DECODE, REQUEST):
        return "decode" if trial.request.workload.batch == 1 else "batch"
    return {PREFILL: "prefill", STATIC: "batch"}.get(trial.task, "serving")


def _memory(trial: Trial) -> list[Outcome] | Skipped:
    """Weights, room for the KV cache and its tokens on one chip, from what the log says of the rest [GiB]."""
    row, asked = trial.row, trial.request
    metrics = row.metrics
    layout = Layout(tensor=row.tp or asked.system.count)
    held = Residency(asked.book, layout, asked.chip, asked.engine)
    weights = sum(held.parts.values()) / GIB
    found = []
    reason = ""
    for metric in row.headlines:
        predicted: float | None = None
        if metric == "weights_gib":
            predicted = weights
        elif metric == "kv_cache_gib":
            predicted = _kv_room_gib(row, asked, held)
        elif metric == "kv_tokens":
            room = _stated_cache_gib(metrics) or _kv_room_gib(row, asked, held)
            predicted = None if room is None else room * GIB / held.kv(1, 2**20) * 2**20
        if predicted is None or predicted <= 0:
            reason = f"{metric} needs the chip's capacity, which is not stated"
            continue
        found.append(_outcome(trial, metric, metrics[metric], predicted, MEMORY_BAND))
    return found or Skipped(row.id, reason)


def _stated_cache_gib(metrics: Mapping[str, float]) -> float | None:
    """The cache of one chip as the log has it [GiB]."""
    if "k_gib_per_chip" in metrics and "v_gib_per_chip" in metrics:
        return metrics["k_gib_per_chip"] + metrics["v_gib_per_chip"]
    return metrics.get("kv_cache_gib_per_chip", metrics.get("kv_cache_gib"))


def _kv_room_gib(row: Measurement, asked: Request, held: Residency) -> float | None:
    """What is left for the cache on one chip: share of the capacity, less weights, runtime, activations."""
    metrics = row.metrics
    total = metrics.get("total_gpu_gib")
    if total is None:
        if row.chip is None:
            return None
        total = max(tier.capacity_bytes or 0 for _, tier in asked.chip.homes) / GIB
    share = metrics.get("gpu_memory_utilization", asked.engine.usable_memory)
    weights = metrics.get("weights_gib_per_chip", sum(held.parts.values()) / GIB)
    runtime = metrics.get("non_torch_gib", held.reserved / GIB)
    activations = metrics.get(
        "activation_peak_gib", held.activations(PROFILED_SEQUENCES, PROFILED_TOKENS) / GIB
    )
    return total * share - weights - runtime - activations


def _figures(one: Record) -> dict[str, Any]:
    return {field.name: getattr(one, field.name) for field in fields(Record)}


def _row(one: Outcome) -> dict[str, object]:
    return {
        "id": one.id,
        "workflow": one.workflow,
        "metric": one.metric,
        "measured": one.measured,
        "predicted": one.predicted,
        "ratio": one.ratio,
        "low": one.low,
        "high": one.high,
        "task": one.task,
        "engine": one.engine,
        "chip": one.chip,
        "chips": one.chips,
        "family": one.family,
        "kind": one.kind,
        "reproducible": one.reproducible,
        "tokens_per_step_to_explain": one.tokens_per_step_to_explain,
        "assumed": "; ".join(one.assumed),
    }


def validation(
    found: Iterable[list[Outcome] | Skipped],
    *,
    held_out: bool = False,
    file: str | None = None,
    engine: str | None = None,
    chips: tuple[str, ...] = (),
    floors: Mapping[str, str] | None = None,
    hypothetical: tuple[str, ...] = (),
) -> Validation:
    """Gather outcomes and reasons into records by group, by task, and over all."""
    done: list[Outcome] = []
    skipped: list[Skipped] = []
    for entry in found:
        if isinstance(entry, Skipped):
            skipped.append(entry)
        else:
            done += entry
    keyed: dict[tuple[str, str, str, str, str], list[Outcome]] = {}
    for one in done:
        keyed.setdefault((one.workflow, one.task, one.engine, one.family, one.kind), []).append(one)
    groups = [Group(*key, record(ones)) for key, ones in sorted(keyed.items())]
    sure = [one for one in done if one.reproducible]
    tasks = {task: [one for one in sure if one.task == task] for task in TASKS}
    speeds = [one for one in sure if one.task != MEMORY]
    return Validation(
        outcomes=tuple(done),
        skipped=tuple(skipped),
        groups=tuple(groups),
        by_task={task: record(ones) for task, ones in tasks.items() if ones},
        overall=record(done) if done else None,
        speeds=record(speeds) if speeds else None,
        held_out=held_out,
        file=file,
        engine=engine,
        chips=chips,
        hypothetical=hypothetical,
        floors=floors or {},
    )


def record(ones: list[Outcome]) -> Record:
    """Median and 90th percentile of the errors, the median ratio less one, share inside the bands."""
    errors = sorted(one.error for one in ones)
    inside = sum(one.low <= one.measured <= one.high for one in ones)
    return Record(
        n=len(ones),
        median_abs_error=median(errors),
        p90_abs_error=quantile(errors, 0.9),
        bias=median(one.ratio for one in ones) - 1.0,
        band_coverage=inside / len(ones),
    )


def quantile(ascending: list[float], share: float) -> float:
    """The value below which a share of an ascending list lies, by linear interpolation.

    >>> quantile([1.0, 2.0, 3.0], 0.9)
    2.8
    """
    place = share * (len(ascending) - 1)
    low = int(place)
    high = min(low + 1, len(ascending) - 1)
    return ascending[low] + (place - low) * (ascending[high] - ascending[low])


def in_folds(keys: Iterable[tuple[str, str]], count: int) -> dict[tuple[str, str], int]:
    """Divide groups of rows over folds of like size, largest first; the same rows give the same folds.

    >>> in_folds([("a", "x"), ("a", "x"), ("b", "x"), ("c", "x")], 2)
    {('a', 'x'): 0, ('b', 'x'): 1, ('c', 'x'): 1}
    """
    sizes: dict[tuple[str, str], int] = {}
    for key in keys:
        sizes[key] = sizes.get(key, 0) + 1
    load = [0] * count
    fold_of = {}
    for key, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        fold = load.index(min(load))
        fold_of[key] = fold
        load[fold] += size
    return fold_of


def sources(rows: Iterable[Measurement]) -> Callable[[Measurement], str]:
    """What counts as one source: many files of one folder with a row each are one, as are the parts of a round.

    Gives the key of a row's source.
    """
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.source] = counts.get(row.source, 0) + 1
    folders: dict[str, int] = {}
    for source, n in counts.items():
        if n <= 2:
            folder = source.rpartition("/")[0]
            folders[folder] = folders.get(folder, 0) + 1

    def key(row: Measurement) -> str:
        source = row.source
        if "mlcommons/" in source:
            return source.partition(",")[0]
        folder = source.rpartition("/")[0]
        return folder if counts.get(source, 0) <= 2 and folders.get(folder, 0) >= 10 else source

    return key
