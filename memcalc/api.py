"""The library: words and plain numbers in, reports out.

`request` resolves what a user says (names, sizes, units) into a `Request`; `fit` and `compare` answer it.
The command line passes its options through as they were typed, so that both accept and refuse the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from memcalc.chip import Chip, System
from memcalc.core.layout import Given, refuse_impossible
from memcalc.core.report import Report
from memcalc.core.search import Request, sized
from memcalc.engine import Constants, Engine
from memcalc.errors import FileError, UsageError
from memcalc.figures import set_figure
from memcalc.model import Model
from memcalc.noun import noun
from memcalc.precision import format_named, weight_formats
from memcalc.readers import presets
from memcalc.studies.whatif import answer
from memcalc.units import parse_count, parse_dollars, parse_fraction, parse_number, parse_tokens
from memcalc.workload import Payment, Precision, Prices, Workload

if TYPE_CHECKING:
    from memcalc.studies.compare import Comparison

#: Text as a user types it, or the number itself.
Word = str | int | float

DEFAULT_PRICES = "owning-neocloud-2026"
#: Chips to suggest where a request does not fit, by rising memory.
LARGER_CHIPS = ("h100-sxm", "h200-sxm", "b200", "mi300x", "b300", "mi355x")
#: Endings that make a word a file.
FILE_ENDINGS = (".toml", ".json", ".safetensors", ".gguf")
#: Readers of model files come with these endings; they are not there yet.
UNREAD_ENDINGS = (".json", ".safetensors", ".gguf")


@noun
class Options:
    """The options of `fit` and `compare`, as words. None: the default that the contract names."""

    chip: str | None = None
    system: str | None = None
    chips: Word | None = None
    batch: Word = 1
    context: Word = 8192
    output: Word = 0
    weights: str | None = None
    kv: str | None = None
    activations: str | None = None
    engine: str | None = None
    tp: Word | None = None
    pp: Word | None = None
    ep: Word | None = None
    dp: Word | None = None
    cp: Word | None = None
    attention_dp: Word | None = None
    prices: str | None = None
    usd_per_chip_hour: Word | None = None
    usd_per_chip: Word | None = None
    depreciation_years: Word | None = None
    usd_per_kwh: Word | None = None
    pue: Word | None = None
    utilization: Word | None = None
    accept: Word | None = None
    draft: Word | None = None
    set: Mapping[str, Word] | None = None


def fit(model: str | Model, **options: object) -> Report:
    """Does it fit, where does each byte live, how fast, how dear: the report of `memcalc fit`.

    The keywords are the fields of `Options`; text with units and plain numbers are both understood.
    Raises `memcalc.errors.MemcalcError` for words, numbers and files that cannot be used.

    >>> report = fit("llama-3.1-70b", chip="h100-sxm", chips=8, batch=32, context="32k", weights="fp8")
    >>> report.fits, report.verdict, report.layout.tensor_parallel
    (True, 'dram', 8)
    """
    asked = request(model, **options)
    return answer(asked, "fit", lambda: _on_other_chips(asked))


def compare(model: str | Sequence[str | Model] | Model, **options: object) -> Comparison:
    """Several models, chips, systems, formats or engines side by side: the comparison of `memcalc compare`.

    As `fit`, but models, `chip`, `system`, `weights`, `kv` and `engine` may be lists or text like
    "a,b,c", and `chips` is the fewest that hold the job unless given.

    >>> both = compare("llama-3.1-70b", chip="h100-sxm,wse-3", weights="fp8", kv="fp8")
    >>> [report.verdict for report in both.results]
    ['dram', 'on-chip']
    """
    from memcalc.studies.compare import compare as side_by_side

    listed = ("weights", "kv", "engine")
    axes = {name: _each(options[name]) for name in listed if options.get(name) is not None}
    places = [
        {name: word} for name in ("chip", "system") for word in _each(options.get(name)) if options.get(name)
    ]
    if not places:
        places = [{}]  # resolved to the error that names what is missing
    models = [model] if isinstance(model, Model) else _each(model)
    if not models:
        raise UsageError("no model is named", "give a preset name, a size like 70b, or a file")
    rest = {name: value for name, value in options.items() if name not in (*listed, "chip", "system")}
    return side_by_side(
        [
            resolve(one, _options({**rest, **place, **dict(zip(axes, values, strict=True))}), None)
            for one in models
            for place in places
            for values in product(*axes.values())
        ]
    )


def _each(value: Any) -> list[Any]:
    """The entries of a list, or of text like "a,b,c"."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    if isinstance(value, list | tuple):
        return [entry for item in value for entry in _each(item)]
    return [] if value is None else [value]


def request(model: str | Model, **options: object) -> Request:
    """The question that these words ask, resolved; UsageError or FileError where they cannot be.

    >>> request("70b", chip="b200", batch="8", context="128k").workload.context_tokens
    131072
    """
    return resolve(model, _options(options), default_chips=1)


def _options(words: Mapping[str, object]) -> Options:
    known = {f.name for f in fields(Options)}
    for name in words:
        if name not in known:
            raise UsageError(f"unknown option {name!r}", "known: " + ", ".join(sorted(known)))
    return Options(**words)  # type: ignore[arg-type]


def resolve(model_word: str | Model, options: Options, default_chips: int | None) -> Request:
    """Resolve one model on one chip or system. `default_chips` None: the fewest that hold the job."""
    model = model_word if isinstance(model_word, Model) else find_model(model_word)
    system, auto = _system(options, default_chips)
    notes = [model.assumption] if model.assumption else []
    engine = find_engine(options.engine or system.chip.engine)
    system, engine, changed = _set(system, engine, options.set or {})
    if changed:
        notes.append("changed for this run: " + ", ".join(changed))
    workload = _workload(options)
    if workload.draft_tokens and not model.mtp_layers:
        notes.append(f"{model.name} has no layers for multi-token prediction: a draft model is assumed free")
    asked = Request(
        model=model,
        system=system,
        engine=engine,
        constants=presets.load_constants(system.chip, engine),
        workload=workload,
        precision=_precision(options, model, system.chip, notes),
        payment=_payment(options, system.chip, notes),
        given=_given(options),
        auto=auto,
        notes=tuple(notes),
    )
    refuse_impossible(model, system.chip, None if auto else system.count, asked.given)
    return sized(asked)


def _on_other_chips(asked: Request) -> Iterator[Request]:
    """The same request on chips with more memory, where it is one of a chip with DRAM of its own."""
    if asked.chip.plan != "dram" or asked.system.origin != "preset":
        return
    mine = sum(room.usable for room in asked.rooms)
    for name in LARGER_CHIPS:
        chip = presets.load_chip(name)
        engine = presets.load_engine(chip.engine)
        system = System(chip.name, chip.title, chip, asked.system.count)
        other = replace(
            asked,
            system=system,
            engine=engine,
            constants=presets.load_constants(chip, engine),
            given=Given(),
        )
        if sum(room.usable for room in other.rooms) > mine:
            yield other


def is_file(word: str) -> bool:
    """Whether a word names a file rather than a preset: it has a slash or a known ending.

    >>> is_file("./my-chip.toml"), is_file("h100-sxm")
    (True, False)
    """
    return "/" in word or os.sep in word or word.lower().endswith(FILE_ENDINGS)


def find_model(word: str) -> Model:
    """A model by preset name, size or TOML file."""
    if is_file(word):
        if word.lower().endswith(UNREAD_ENDINGS) or os.path.isdir(word):
            raise FileError(
                f"{word}: files of this kind are not read yet",
                "give a preset name, a size like 70b, or a model TOML file",
            )
        from memcalc.readers.user_files import read_model

        return read_model(word)
    if presets.find("models", word):
        return presets.load_model(word)
    from memcalc.sizes import is_size, typical_model

    if is_size(word):
        return typical_model(word)
    raise presets.unknown("models", word)


def find_engine(word: str) -> Engine:
    """An engine by preset name or TOML file."""
    if is_file(word):
        from memcalc.readers.user_files import read_engine

        return read_engine(word)
    return presets.load_engine(word)


def find_chip(word: str) -> Chip:
    """A chip by preset name or TOML file."""
    if is_file(word):
        from memcalc.readers.user_files import read_chip

        return read_chip(word)
    if presets.find("chips", word) is None:
        raise presets.unknown("chips", word, ("systems",))
    return presets.load_chip(word)


def find_system(word: str) -> System | None:
    """A system by preset name, TOML file or `<chip>-x<count>`; None where the word is no system."""
    if is_file(word):
        from memcalc.readers.user_files import read_system

        return read_system(word)
    if presets.find("systems", word):
        return presets.load_system(word)
    chip, _, count = word.rpartition("-x")
    if chip and count.isdecimal() and int(count) and presets.find("chips", chip):
        found = presets.load_chip(chip)
        return System(word, f"{int(count)} × {found.title}", found, parse_count(count, "--system"))
    return None


def _system(options: Options, default_chips: int | None) -> tuple[System, bool]:
    """The chips that were asked for, and whether their number is still to be found."""
    if options.chip is None and options.system is None:
        raise UsageError(
            "no chip is named", "give --chip NAME or --system NAME; 'memcalc presets list chips'"
        )
    if options.chip is not None and options.system is not None:
        raise UsageError("--chip and --system exclude each other", "give one of them")
    word = options.system or options.chip or ""
    if options.system is not None:
        if options.chips is not None:
            raise UsageError("--chips with --system: a system has its own number of chips", "leave one away")
        system = find_system(word)
        if system:
            return system, False
        if presets.find("chips", word) is None:
            raise presets.unknown("systems", word, ("chips",))
    elif not is_file(word) and presets.find("chips", word) is None and presets.find("systems", word):
        if options.chips is not None:
            raise UsageError(f"{word!r} is a system with its own number of chips", "leave --chips away")
        return presets.load_system(word), False
    chip = find_chip(word)
    wanted = default_chips if options.chips is None else options.chips
    auto = wanted is None or str(wanted).lower() == "auto"
    count = 1 if auto else parse_count(str(wanted), "--chips")
    return System(chip.name, chip.title, chip, count, origin=chip.origin), auto


def _set(system: System, engine: Engine, changes: Mapping[str, Word]) -> tuple[System, Engine, list[str]]:
    """Apply `--set`: figures of the chip, or with `engine.` (or a name that only it has) of the engine."""
    said = []
    chip = system.chip
    engine_names = {f.name for f in fields(Engine)} - {f.name for f in fields(Chip)}
    constant_names = {f.name for f in fields(Constants)}
    for path, value in changes.items():
        group, _, rest = path.partition(".")
        if group == "engine" or group in engine_names:
            inner = rest if group == "engine" else path
            if inner.partition(".")[0] in constant_names:
                inner = "constants." + inner
            engine = set_figure(engine, inner, value)
        else:
            chip = set_figure(chip, rest if group == "chip" else path, value)
        said.append(f"{path} = {value}")
    return replace(system, chip=chip), engine, said


def _workload(options: Options) -> Workload:
    context = parse_tokens(str(options.context), "--context")
    output = parse_tokens(str(options.output), "--output", least=0)
    if output >= context:
        raise UsageError(
            f"--output {output} leaves no prompt in a context of {context} tokens",
            "the output is part of the context: give a longer --context",
        )
    draft = 0 if options.draft is None else parse_count(str(options.draft), "--draft", least=0)
    accept = 0.0 if options.accept is None else parse_fraction(str(options.accept), "--accept")
    if (options.accept is None) != (options.draft is None):
        raise UsageError("--accept and --draft go together", "like --accept 0.8 --draft 1")
    return Workload(parse_count(str(options.batch), "--batch"), context, output, draft, accept)


def _precision(options: Options, model: Model, chip: Chip, notes: list[str]) -> Precision:
    weights = (options.weights or model.checkpoint).lower()
    if chip.hardwired:
        if options.weights and weights != chip.hardwired.weights:
            notes.append(f"the masks of {chip.name} fix the weights: {chip.hardwired.weights}, not {weights}")
        weights = chip.hardwired.weights
    kv = (options.kv or model.kv_format).lower()
    weight_formats(weights, model.base_format, None)  # refuses unknown names
    format_named(kv)
    activations = options.activations.lower() if options.activations else None
    if activations and format_named(activations).name not in (
        "fp32",
        "bf16",
        "fp16",
        "fp8",
        "fp4",
        "int8",
        "int4",
    ):
        raise UsageError(
            f"--activations {activations}: no arithmetic runs in that format",
            "one of fp32 bf16 fp16 fp8 fp4 int8 int4",
        )
    return Precision(weights, kv, activations)


def _payment(options: Options, chip: Chip, notes: list[str]) -> Payment:
    scenario: Prices = presets.load_prices(options.prices or DEFAULT_PRICES)
    hour = usd = None
    if options.usd_per_chip_hour is not None:
        hour = parse_dollars(str(options.usd_per_chip_hour), "--usd-per-chip-hour", "/h")
    if options.usd_per_chip is not None:
        usd = parse_dollars(str(options.usd_per_chip), "--usd-per-chip")
    if hour is not None and usd is not None:
        raise UsageError("--usd-per-chip-hour and --usd-per-chip exclude each other", "give one of them")
    payment = Payment(scenario, hour, usd)
    if options.depreciation_years is not None:
        years = parse_number(str(options.depreciation_years), "--depreciation-years", most=100)
        if years <= 0:
            raise UsageError("--depreciation-years must be above 0", "like 4")
        payment = replace(payment, depreciation_years=years)
    if options.usd_per_kwh is not None:
        price = parse_dollars(str(options.usd_per_kwh), "--usd-per-kwh", "/kWh")
        payment = replace(payment, usd_per_kwh=price)
    if options.pue is not None:
        pue = parse_number(str(options.pue), "--pue", most=10)
        if pue < 1:
            raise UsageError(
                f"--pue {options.pue} is below 1", "it is total power over computing power, like 1.2"
            )
        payment = replace(payment, pue=pue)
    if options.utilization is not None:
        share = parse_fraction(str(options.utilization), "--utilization")
        if share <= 0:
            raise UsageError("--utilization must be above 0", "like 0.6 or 60%")
        payment = replace(payment, utilization=share)
    if hour is None and usd is None and chip.name not in scenario.usd_per_chip_hour:
        others = presets.scenarios_with(chip.name)
        known = "scenarios that have one: " + ", ".join(others) if others else "no scenario has one"
        notes.append(f"{scenario.name} has no price for {chip.name}; {known}")
    return payment


def _given(options: Options) -> Given:
    def degree(value: Word | None, option: str) -> int | None:
        return None if value is None else parse_count(str(value), option)

    return Given(
        tensor=degree(options.tp, "--tp"),
        pipeline=degree(options.pp, "--pp"),
        expert=degree(options.ep, "--ep"),
        data=degree(options.dp, "--dp"),
        context=degree(options.cp, "--cp"),
        attention_data=degree(options.attention_dp, "--attention-dp"),
    )
