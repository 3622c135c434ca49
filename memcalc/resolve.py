"""Resolving: what a user says becomes a `Request`. Names, sizes, files, units and their defaults.

Everything that can be wrong with the words is refused here, with what would be allowed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypedDict, TypeVar

from memcalc.chip import BEYOND, TIER_TITLES, Chip, Pool, System
from memcalc.core.layout import Given, refuse_impossible
from memcalc.core.search import Request, Stack, sized
from memcalc.engine import Constants, Engine
from memcalc.errors import UsageError, did_you_mean
from memcalc.figures import set_figure
from memcalc.model import Model
from memcalc.precision import MATH, format_named, weight_formats
from memcalc.readers import presets
from memcalc.units import parse_count, parse_dollars, parse_fraction, parse_number, parse_tokens
from memcalc.workload import Payment, Precision, Workload

#: Text as a user types it, or the number itself.
Word = str | int | float
Value = TypeVar("Value")

DEFAULT_PRICES = "owning-neocloud-2026"
#: More chips than any machine has.
MOST_CHIPS = 10**6
#: Chips to suggest where a request does not fit, by rising memory.
LARGER_CHIPS = ("h100-sxm", "h200-sxm", "b200", "mi300x", "b300", "mi355x")
#: Endings that make a word a file.
FILE_ENDINGS = (".toml", ".json", ".safetensors", ".gguf")


class _Common(TypedDict, total=False):
    """What `fit` and `compare` take alike; the defaults are those of the command line."""

    chips: Word
    batch: Word
    context: Word
    output: Word
    activations: str
    tp: Word
    pp: Word
    ep: Word
    dp: Word
    cp: Word
    attention_dp: Word
    prices: str
    usd_per_chip_hour: Word
    usd_per_chip: Word
    depreciation_years: Word
    usd_per_kwh: Word
    pue: Word
    utilization: Word
    accept: Word
    draft: Word
    set: Mapping[str, Word]
    offload: str
    prefill_system: str


class Options(_Common, total=False):
    """The options of `fit`, each as a user types it or as a plain number."""

    chip: str
    system: str
    decode_system: str
    weights: str
    kv: str
    engine: str


class CompareOptions(_Common, total=False):
    """The options of `compare`: those that may be several are lists, or text like "a,b,c"."""

    chip: str | Sequence[str]
    system: str | Sequence[str]
    decode_system: str | Sequence[str]
    weights: str | Sequence[str]
    kv: str | Sequence[str]
    engine: str | Sequence[str]


def resolve(model_word: str | Model, options: Options, default_chips: int | None) -> Request:
    """Resolve one model on one chip or system. `default_chips` None: the fewest that hold the job."""
    known = Options.__required_keys__ | Options.__optional_keys__
    for name in options:
        if name not in known:
            raise UsageError(f"unknown option {name!r}", did_you_mean(name, known))
        if options.get(name) == "":
            raise UsageError(f"--{name.replace('_', '-')} is empty", "leave it away for the default")
    model = model_word if isinstance(model_word, Model) else find_model(model_word)
    system, auto = _system(options, default_chips)
    system = _with_prefill(system, options)
    notes = [model.assumption] if model.assumption else []
    notes += model.notes
    engine = find_engine(options.get("engine") or system.chip.engine)
    system, engine, constants, changed = _set(system, engine, options.get("set") or {})
    system = _offload(system, options.get("offload"))
    changed += [f"offload = {options['offload']}"] if options.get("offload") else []
    if changed:
        notes.append("changed for this run: " + ", ".join(changed))
    workload = _workload(options)
    if workload.draft_tokens and not model.mtp_layers:
        notes.append(f"{model.name} has no layers for multi-token prediction: a draft model is assumed free")
    asked = Request(
        model=model,
        system=system,
        engine=engine,
        constants=constants,
        workload=workload,
        precision=_precision(options, model, system.chip, notes),
        payment=_payment(options, system, notes),
        given=_given(options),
        auto=auto,
        changed=bool(changed),
        notes=tuple(notes),
        others=stacks_beside(system, engine),
    )
    refuse_impossible(model, system.chip, None if auto else system.count, asked.given)
    return sized(asked)


def on_larger_chips(asked: Request) -> Iterator[Request]:
    """The same request on as many chips with more memory, where its chip has DRAM of its own."""
    if asked.chip.plan != "dram" or asked.system.origin != "preset" or asked.changed:
        return
    mine = sum(room.usable for room in asked.rooms)
    for name in LARGER_CHIPS:
        chip = presets.load_chip(name)
        engine = presets.load_engine(chip.engine)
        other = replace(
            asked,
            system=System(chip.name, chip.title, chip, asked.system.count),
            engine=engine,
            constants=presets.load_constants(chip, engine),
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
    """A model by preset name, size, a file or folder of its own, or `org/name` on the Hub."""
    if is_file(word):
        if word.lower().endswith(".toml") and not os.path.isdir(word):
            from memcalc.readers.user_files import read_model

            return read_model(word)
        from memcalc.readers import model_files

        if not os.path.lexists(word):
            from memcalc.readers.hub import is_hub_name

            if is_hub_name(word):
                return model_files.read_hub_model(word)
        return model_files.read_model_files(word)
    if presets.find("models", word):
        return presets.load_model(word)
    from memcalc.sizes import is_size, typical_model

    if is_size(word):
        return typical_model(word)
    if os.path.isdir(word):
        from memcalc.readers.model_files import read_model_files

        return read_model_files(word)
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
        return System(word, f"{int(count)} × {found.title}", found, _chip_count(count, "--system"))
    return None


def _chip_count(word: str, what: str) -> int:
    """A number of chips; more than MOST_CHIPS are no system."""
    count = parse_count(word, what)
    if count > MOST_CHIPS:
        raise UsageError(f"{what} {count}: no system has so many chips", f"at most {MOST_CHIPS:,}")
    return count


def _system(options: Options, default_chips: int | None) -> tuple[System, bool]:
    """The chips that were asked for, and whether their number is still to be found."""
    chip_word, system_word, chips = options.get("chip"), options.get("system"), options.get("chips")
    if options.get("decode_system") is not None:
        if system_word is not None or chip_word is not None:
            raise UsageError("--decode-system and --chip or --system exclude each other", "give one of them")
        system_word = options.get("decode_system")
    if chip_word is not None and system_word is not None:
        raise UsageError("--chip and --system exclude each other", "give one of them")
    if system_word is not None and chips is not None:
        raise UsageError("--chips with --system: a system has its own number of chips", "leave one away")
    word = chip_word if system_word is None else system_word
    if not word:
        raise UsageError(
            "no chip is named", "give --chip NAME or --system NAME; 'memcalc presets list chips'"
        )
    if system_word is not None:
        system = find_system(word)
        if system:
            return system, False
        if presets.find("chips", word) is None:
            raise presets.unknown("systems", word, ("chips",))
    elif not is_file(word) and presets.find("chips", word) is None and presets.find("systems", word):
        if chips is not None:
            raise UsageError(f"{word!r} is a system with its own number of chips", "leave --chips away")
        return presets.load_system(word), False
    chip = find_chip(word)
    wanted = default_chips if chips is None else chips
    auto = wanted is None or str(wanted).lower() == "auto"
    count = 1 if auto else _chip_count(str(wanted), "--chips")
    return System(chip.name, chip.title, chip, count, origin=chip.origin), auto


def _with_prefill(system: System, options: Options) -> System:
    """The system with the chips of another one to take the prompts."""
    word = options.get("prefill_system")
    if word is None:
        if options.get("decode_system") is not None:
            raise UsageError(
                "--decode-system goes with --prefill-system", "for one system for both there is --system"
            )
        return system
    if system.prefill:
        raise UsageError(
            f"--prefill-system: {system.name} has chips for prefill already", "name a system without"
        )
    found = find_system(word)
    if found is None:
        if not is_file(word) and presets.find("chips", word) is None:
            raise presets.unknown("systems", word, ("chips",))
        chip = find_chip(word)
        found = System(chip.name, chip.title, chip, 1)
    if found.feed_forward or found.prefill:
        raise UsageError(
            f"--prefill-system: {found.name} has unlike pools itself", "name a system of one kind"
        )
    return replace(system, prefill=Pool(found.chip, found.count))


def _offload(system: System, tier: str | None) -> System:
    """The system with host memory or flash as a home of what does not fit into the chip's own."""
    if tier is None:
        return system
    if tier not in BEYOND:
        raise UsageError(
            f"--offload {tier}: no memory beyond a chip is called so", "one of " + " ".join(BEYOND)
        )
    held = system.chip.memory.get(tier)
    if held is None or held.capacity_bytes is None:
        raise UsageError(
            f"--offload {tier}: no {TIER_TITLES[tier]} of {_named(system)} is known",
            f"give what a chip has of it: --set memory.{tier}.capacity_bytes=256GB "
            f"--set memory.{tier}.bandwidth_bytes_per_s=50GB/s",
        )
    return replace(system, chip=set_figure(system.chip, f"memory.{tier}.home", True))


def _named(system: System) -> str:
    """The name of a system; that of a chip without published figures says so."""
    return system.chip.label if system.name == system.chip.name else system.name


def stacks_beside(system: System, engine: Engine) -> dict[str, Stack]:
    """The pools beside the main one, each on the engine that its chip has by default.

    A bound is one for all, and so is an engine where both chips have the same by default.
    """
    found = {}
    for name, pool in (("feed-forward", system.feed_forward), ("prefill", system.prefill)):
        if pool:
            chip = pool.chip
            same = engine.ideal or chip.engine == system.chip.engine
            own = engine if same else presets.load_engine(chip.engine)
            found[name] = Stack(
                System(chip.name, chip.title, chip, pool.count), own, presets.load_constants(chip, own)
            )
    return found


def _set(
    system: System, engine: Engine, changes: Mapping[str, Word]
) -> tuple[System, Engine, Constants, list[str]]:
    """Apply `--set`: figures of the chip, or with `engine.` (or a name that only it has) of the engine.

    A constant is set as it holds on this chip family, not as the family then moves it.
    """
    said = []
    constants = presets.load_constants(system.chip, engine)
    chip = system.chip
    engine_names = {f.name for f in fields(Engine)} - {f.name for f in fields(Chip)}
    constant_names = {f.name for f in fields(Constants)}
    for path, value in changes.items():
        group, _, rest = path.partition(".")
        if group in ("feed_forward", "prefill"):
            system = _set_pool(system, group, rest, path, value)
        elif group == "engine" or group in engine_names:
            inner = (rest if group == "engine" else path).removeprefix("constants.")
            if inner in constant_names:
                constants = set_figure(constants, inner, value)
            else:
                engine = set_figure(engine, inner, value)
        else:
            chip = set_figure(chip, rest if group == "chip" else path, value)
        said.append(f"{path} = {value}")
    return replace(system, chip=chip), engine, constants, said


def _set_pool(system: System, name: str, figure: str, path: str, value: Word) -> System:
    """The system with a figure of a pool beside the main one changed, of its link or of its chip."""
    pool: Pool | None = getattr(system, name)
    if pool is None:
        raise UsageError(
            f"--set {path}: {_named(system)} has no {name.replace('_', '-')} pool",
            "--prefill-system adds one" if name == "prefill" else "vr200-nvl72-groq-3-lpx has one",
        )
    if figure == "count":
        return replace(system, **{name: replace(pool, count=_chip_count(str(value), f"--set {path}"))})  # type: ignore[arg-type]
    try:
        if figure in ("bytes_per_s", "latency_s"):
            changed = set_figure(pool, figure, value)
        else:
            changed = replace(pool, chip=set_figure(pool.chip, figure, value))
    except UsageError as error:
        message = "--set " + error.message.removeprefix("--set ").replace(figure, path, 1)
        raise UsageError(message, f"{error.hint}; of the pool: count, bytes_per_s, latency_s") from None
    return replace(system, **{name: changed})  # type: ignore[arg-type]


def _read(options: Options, name: str, reader: Callable[[str, str], Value]) -> Value | None:
    """An option read by its unit; None where it was not given."""
    word: Any = options.get(name)
    return None if word is None else reader(str(word), "--" + name.replace("_", "-"))


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was given: the rest has the defaults of its noun."""
    return {name: value for name, value in values.items() if value is not None}


def _workload(options: Options) -> Workload:
    work = Workload(
        **_known(
            {
                "batch": _read(options, "batch", parse_count),
                "context_tokens": _read(options, "context", parse_tokens),
                "output_tokens": _read(options, "output", lambda t, w: parse_tokens(t, w, least=0)),
                "draft_tokens": _read(options, "draft", lambda t, w: parse_count(t, w, least=0)),
                "acceptance": _read(options, "accept", parse_fraction),
            }
        )
    )
    if work.output_tokens >= work.context_tokens:
        raise UsageError(
            f"--output {work.output_tokens} leaves no prompt in a context of {work.context_tokens} tokens",
            "the output is part of the context: give a longer --context",
        )
    if (options.get("accept") is None) != (options.get("draft") is None):
        raise UsageError("--accept and --draft go together", "like --accept 0.8 --draft 1")
    return work


def _precision(options: Options, model: Model, chip: Chip, notes: list[str]) -> Precision:
    weights = str(options.get("weights") or model.checkpoint).lower()
    if chip.hardwired:
        if options.get("weights") and weights != chip.hardwired.weights:
            notes.append(f"the masks of {chip.name} fix the weights: {chip.hardwired.weights}, not {weights}")
        weights = chip.hardwired.weights
    kv = str(options.get("kv") or model.kv_format).lower()
    weight_formats(weights, model.base_format, None)  # refuses unknown names
    format_named(kv)
    activations = str(options.get("activations") or "").lower() or None
    if activations and activations not in MATH:
        raise UsageError(
            f"--activations {activations}: no arithmetic runs in that format", "one of " + " ".join(MATH)
        )
    return Precision(weights, kv, activations)


def _payment(options: Options, system: System, notes: list[str]) -> Payment:
    scenario = presets.load_prices(options.get("prices") or DEFAULT_PRICES)
    payment = Payment(
        scenario,
        **_known(
            {
                "usd_per_chip_hour": _read(
                    options, "usd_per_chip_hour", lambda t, w: parse_dollars(t, w, "/h")
                ),
                "usd_per_chip": _read(options, "usd_per_chip", parse_dollars),
                "depreciation_years": _read(
                    options, "depreciation_years", lambda t, w: parse_number(t, w, least=0.1, most=100)
                ),
                "usd_per_kwh": _read(options, "usd_per_kwh", lambda t, w: parse_dollars(t, w, "/kWh")),
                "pue": _read(options, "pue", lambda t, w: parse_number(t, w, least=1, most=10)),
                "utilization": _read(options, "utilization", lambda t, w: parse_fraction(t, w, least=0.001)),
            }
        ),
    )
    priced = payment.usd_per_chip_hour, payment.usd_per_chip
    if None not in priced:
        raise UsageError("--usd-per-chip-hour and --usd-per-chip exclude each other", "give one of them")
    for pool in system.pools if priced == (None, None) else ():
        if pool.chip.name not in scenario.usd_per_chip_hour:
            others = presets.scenarios_with(pool.chip.name)
            known = "scenarios that have one: " + ", ".join(others) if others else "no scenario has one"
            notes.append(f"{scenario.name} has no price for {pool.chip.label}; {known}")
    return payment


def _given(options: Options) -> Given:
    named = {"tensor": "tp", "pipeline": "pp", "expert": "ep", "data": "dp", "context": "cp"}
    degrees = {part: _read(options, name, parse_count) for part, name in named.items()}
    return Given(**degrees, attention_data=_read(options, "attention_dp", parse_count))
