"""Files of the user: TOML that becomes a model, chip, system or engine, or says all that is wrong with it.

The nouns are the same frozen dataclasses as everywhere; pydantic checks their shape and types, this module
reads figures written as text (`"80GiB"`), holds them to ranges and words what is wrong. pydantic is slow to
import, so import this module only where such a file is read. Every failure is one `FileError`.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from memcalc.chip import TIERS, Chip, Pool, System
from memcalc.engine import FRACTIONS, Constants, Engine
from memcalc.errors import FileError, UsageError, did_you_mean
from memcalc.figures import expected_unit, read_figure, set_figure
from memcalc.model import MIXERS, Attention, GroupedAttention, Model
from memcalc.precision import CLASSES, MATH, format_named, format_names
from memcalc.readers import presets
from memcalc.readers.regular import file_name, read_head
from memcalc.workload import Prices

Path = str | os.PathLike[str]
Kind = Literal["chip", "system", "model", "engine", "prices"]
_SINGULAR: Mapping[str, Kind] = {"chips": "chip", "systems": "system", "models": "model", "engines": "engine",
                                 "prices": "prices"}  # fmt: skip
#: Where in a table something stands: keys and indexes from the top.
_Place = tuple[str | int, ...]
_Table = dict[str, Any]

#: Bounds that no file in use comes near; they keep hostile ones short.
LARGEST_FILE_BYTES = 2**20
MOST_PROBLEMS = 50
_MOST_ENTRIES, _MOST_KEYS = 10_000, 1_000
_MOST_LAYERS, _MOST_CHIPS = 10**6, 10**6
#: tomllib takes time in the square of the parts of a dotted key.
_MOST_DOTS = 32
_SHOWN = 60

_LARGEST_INT, _LARGEST_FLOAT = 10**15, 1e24
_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
#: Texts that are names, and how long the others may be.
_NAMES = ("name", "family", "engine", "aliases", "placeholders")
_NAME_LENGTH, _TEXT_LENGTH = 80, 1_000
_LENGTHS = {"title": 120, "maker": 120, "model": _NAME_LENGTH, "status": 120}
#: Formats of weights may be mixtures of types, those of single tensors may not.
_WEIGHT_FORMATS, _TENSOR_FORMATS = (
    ("checkpoint", "weights"),
    ("base_format", "kv_format", "state_format", "widest_quantized"),
)
#: Tables whose keys are free in the noun but known by name.
_KNOWN_KEYS: Mapping[str, tuple[str, ...]] = {
    "memory": TIERS,
    "compute": tuple(MATH),
    "flop_j": tuple(MATH),
    "constants": tuple(f.name for f in fields(Constants)),
    "checkpoint_formats": CLASSES,
    "checkpoint_bytes": (*CLASSES, "mtp"),
}
#: Tables whose keys are names of families or chips.
_NAMED_KEYS = ("points", "bands", "usd_per_chip_hour")
_EXAMPLES = {"chip": "chips h100-sxm", "system": "systems dgx-h100", "model": "models llama-3.1-8b",
             "engine": "engines vllm", "prices": "prices market-median-2026-05"}  # fmt: skip


class _Range(NamedTuple):
    """The least and the most that a figure may be."""

    least: float
    most: float


_COUNT = _Range(1, _LARGEST_INT)
_COUNT_OR_NONE = _Range(0, _LARGEST_INT)
_SMALL_COUNT = _Range(1, 10**6)
_SMALL_COUNT_OR_NONE = _Range(0, 10**6)
_QUANTITY = _Range(0.0, _LARGEST_FLOAT)
_POWER = _Range(1e-24, _LARGEST_FLOAT)
#: Below one byte or operation a second nothing is meant, and times would overflow.
_RATE = _Range(1.0, _LARGEST_FLOAT)
_FRACTION = _Range(0.0, 1.0)
#: Efficiencies become log-odds, which a share of nothing has not.
_EFFICIENCY = _Range(1e-6, 1.0)
_BAND = _Range(1.0, 1e6)

#: By the name of a figure, or of the table it stands in; the others are `_COUNT` or `_QUANTITY`.
_RANGES: Mapping[str, _Range] = {
    "heads": _SMALL_COUNT,
    "kv_heads": _SMALL_COUNT,
    "experts": _SMALL_COUNT_OR_NONE,
    "top_k": _SMALL_COUNT_OR_NONE,
    "norms": _SMALL_COUNT_OR_NONE,
    "mtp_layers": _SMALL_COUNT_OR_NONE,
    "rope_dim": _COUNT_OR_NONE,
    "shared_width": _COUNT_OR_NONE,
    **dict.fromkeys(
        (
            "vision_parameters",
            "lookup_parameters",
            "matrix",
            "vector",
            "other_matrix",
            "other_vector",
            "ratio",
            "key_dim",
            "value_dim",
            "conv_channels",
            "conv_kernel",
            "final_norms",
            "checkpoint_bytes",
        ),
        _COUNT_OR_NONE,
    ),
    "mtp_parameters": _COUNT_OR_NONE,
    "reserved_bytes_per_chip": _COUNT_OR_NONE,
    "reserved_bytes_per_linked_chip": _COUNT_OR_NONE,
    "window_slack_tokens": _COUNT_OR_NONE,
    "points": _COUNT_OR_NONE,
    # The search for the fewest chips tries every number up to it.
    "largest_system_chips": _Range(1, 10**5),
    "count": _Range(1, _MOST_CHIPS),
    "year": _Range(1900, 2200),
    "compute": _RATE,
    "bandwidth_bytes_per_s": _RATE,
    "effective_bytes_per_s": _RATE,
    "scale_up_bytes_per_s": _RATE,
    "scale_out_bytes_per_s": _RATE,
    "host_bytes_per_s": _RATE,
    "bytes_per_s": _RATE,
    "latency_s": _Range(0.0, 1.0),
    "tdp_w": _POWER,
    "all_in_w": _POWER,
    "usable": _FRACTION,
    "usable_memory": _FRACTION,
    "window_share": _FRACTION,
    "tier_overlap": _FRACTION,
    "prefill_compute_efficiency": _EFFICIENCY,
    **dict.fromkeys(FRACTIONS, _EFFICIENCY),
    "band": _BAND,
    "bands": _BAND,
    "max_sequences": _Range(1, 10**6),
    "usd_per_chip_hour": _Range(1e-6, 1e6),
}


def read_model(path: Path) -> Model:
    r"""The model that a TOML file describes; FileError with all that is wrong in it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "tiny.toml")
    ...     with open(file, "w", encoding="utf-8") as out:
    ...         _ = out.write('name = "tiny"\nwidth = 512\nvocabulary = 32000\n[[layers]]\ncount = 4\n'
    ...             'attention = {heads = 8, kv_heads = 2, head_dim = 64}\nfeed_forward = {width = 2048}')
    ...     read_model(file).parameters
    47976960
    """
    model: Model = _noun("model", path, _load(path))
    return model


def read_chip(path: Path) -> Chip:
    """The chip that a TOML file describes; FileError with all that is wrong in it.

    Figures are in base units (bytes, bytes/s, FLOP/s, s, W), or text with a unit: `"80GiB"`, `"3.35TB/s"`.
    `title`, `maker`, `family` and `engine` may be left out; at least one tier is a home with a capacity.
    """
    chip: Chip = _noun("chip", path, _load(path))
    return chip


def read_system(path: Path) -> System:
    """The system that a TOML file describes; FileError with all that is wrong in it.

    Its `chip` is the name of a preset, or the path of a chip file relative to the file.
    """
    system: System = _noun("system", path, _load(path))
    return system


def read_engine(path: Path) -> Engine:
    """The engine that a TOML file describes; FileError with all that is wrong in it."""
    engine: Engine = _noun("engine", path, _load(path))
    return engine


def check(path: Path) -> Kind:
    """What a TOML file describes, once it has been read as such; FileError with all that is wrong in it.

    `memory` makes it a chip, `chip` or `count` a system, `layers` a model, `usd_per_chip_hour` prices, and
    all else an engine.

    >>> check(os.path.join(presets.ROOT, "systems", "dgx-h100.toml"))
    'system'
    """
    table = _load(path)
    kind = _kind(table)
    _noun(kind, path, table)
    return kind


def check_all() -> dict[str, int]:
    """How many built-in presets of each kind there are, once all were checked as if they were the user's.

    FileError with what is wrong in the first that cannot be used. Names are those of the files.
    """
    counts = {}
    for kind in presets.KINDS:
        names = presets.names(kind)
        for name in names:
            path = os.path.join(presets.ROOT, kind, name + ".toml")
            noun = _noun(_SINGULAR[kind], path, _load(path))
            if noun.name != name:
                raise FileError(f"{file_name(path)}: name = {noun.name!r}: is not that of the file")
        counts[kind] = len(names)
    return counts


def _kind(table: _Table) -> Kind:
    if "memory" in table:
        return "chip"
    if "chip" in table or "count" in table:
        return "system"
    if "usd_per_chip_hour" in table:
        return "prices"
    return "model" if "layers" in table else "engine"


def _load(path: Path) -> _Table:
    """The table of a TOML file, in bounded time; FileError where there is none."""
    name = file_name(path)
    content = _content(path, name)
    if content.startswith(b"\xef\xbb\xbf"):
        raise FileError(f"{name}: starts with a byte order mark", "save it as UTF-8 without one")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileError(f"{name}: line {line} is not UTF-8 text", "save it as UTF-8") from None
    _refuse_long_keys(name, text)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"{name}: is not TOML: {_one_line(str(error))}", _toml_hint(str(error))) from None
    except RecursionError:
        raise FileError(f"{name}: is nested too deeply", "a preset has no more than four levels") from None
    except ValueError as error:
        # Beyond the grammar: numbers of thousands of digits, dates that no calendar has.
        raise FileError(f"{name}: has a value that cannot be read: {_one_line(str(error))}") from None


def _content(path: Path, name: str) -> bytes:
    content, size = read_head(path, LARGEST_FILE_BYTES)
    if size > LARGEST_FILE_BYTES:
        raise FileError(f"{name}: is larger than 1 MiB", "a preset is a few kilobytes of TOML")
    return content


def _refuse_long_keys(name: str, text: str) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        # A key lies between two equal signs, or alone in a header.
        if line.count(".") > _MOST_DOTS and any(part.count(".") > _MOST_DOTS for part in line.split("=")):
            raise FileError(f"{name}: line {number} has more than {_MOST_DOTS} dots", "break it up")


def _toml_hint(reason: str) -> str | None:
    if reason.startswith(("Invalid value", "Expected newline or end of document after a statement")):
        return 'a figure with a unit is text and needs quotes: capacity_bytes = "80GiB"'
    return None


class _EnoughError(Exception):
    """So many problems were found that no more are looked for."""


class _Sheet:
    """The problems found in one file, in words."""

    def __init__(self, file: str, table: _Table) -> None:
        self.file, self.table = file, table
        self.found: list[tuple[_Place, str]] = []
        self.places: set[_Place] = set()

    def add(self, place: _Place, what: str, unit: str | None = None) -> None:
        """Note what is wrong at a place (once), with its value and the unit that is expected.

        What lies below a place that has a problem already is passed over.
        """
        if any(place[:length] in self.places for length in range(len(place) + 1)):
            return
        self.places.add(place)
        shown = _shown(_look_up(self.table, place))
        line = f"{self.file}: {_dotted(place)}{f' = {shown}' if shown else ''}: {what}"
        self.add_line(place, f"{line} ({unit})" if unit and unit not in what else line)

    def add_line(self, place: _Place, line: str) -> None:
        """Note a problem that is worded already."""
        if len(self.found) == MOST_PROBLEMS:
            raise _EnoughError
        self.found.append((place, line))

    def error(self, kind: Kind, *, more: bool) -> FileError:
        """The one error that lists them."""
        hint = f"'memcalc presets show {_EXAMPLES[kind]}' shows one that is right"
        lines = tuple(line for _, line in sorted(self.found, key=lambda one: _rank(self.table, one[0])))
        if len(lines) == 1:
            return FileError(lines[0], hint, lines)
        count = f"more than {MOST_PROBLEMS}" if more else str(len(lines))
        return FileError(f"{self.file}: {count} problems", hint, lines)


_NOUNS: Mapping[Kind, type] = {"chip": Chip, "system": System, "model": Model, "engine": Engine,
                                "prices": Prices}  # fmt: skip


def _noun(kind: Kind, path: Path, table: _Table) -> Any:
    """The noun of a table; FileError with all its problems."""
    sheet = _Sheet(file_name(path), table)
    noun = None
    try:
        figures = table.get("set") if kind == "system" else None
        rest = {key: value for key, value in table.items() if key != "set"} if figures is not None else table
        clean = _clean_table(_NOUNS[kind], rest, (), sheet)
        _add_defaults(kind, clean)
        if kind == "system":
            _add_chips(clean, figures, path, sheet)
        noun = _validated(_NOUNS[kind], clean, sheet)
        _CROSS_CHECKS[kind](clean, sheet)
    except _EnoughError:
        raise sheet.error(kind, more=True) from None
    if sheet.found:
        raise sheet.error(kind, more=False)
    if kind == "system" and figures:
        noun = replace(noun, chip=presets.with_sources(noun.chip, figures, noun.sources))
    return noun


def _add_defaults(kind: Kind, clean: _Table) -> None:
    """What the presets say but a user need not."""
    if kind == "prices":
        return
    name = clean.get("name")
    if kind != "model":
        clean.setdefault("title", name if isinstance(name, str) else "?")
    if kind == "chip":
        clean.setdefault("maker", "")
        clean.setdefault("family", "default")
        clean.setdefault("engine", "default")
    clean["origin"] = "file"


def _validated(noun: type, clean: _Table, sheet: _Sheet) -> Any:
    try:
        # As JSON, because strict checks of Python objects would want dataclasses and tuples already.
        return _adapter(noun).validate_json(json.dumps([clean]))[0]
    except ValidationError as errors:
        for error in errors.errors(include_url=False, include_input=False):
            _add_type_problem(noun, clean, error, sheet)
        if not sheet.found:
            sheet.add((), f"cannot be used: {_one_line(str(errors))[:200]}")
    return None


@cache
def _adapter(noun: type) -> TypeAdapter[Any]:
    # A dataclass of the standard library takes no settings at the top, but inherits those around it.
    settings = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    return TypeAdapter(list[noun], config=settings)  # type: ignore[valid-type]


def _add_type_problem(noun: type, clean: _Table, error: Any, sheet: _Sheet) -> None:
    """Word an error of pydantic, unless its place has a problem already."""
    place = _place(error["loc"][1:], clean)
    if place is None:
        return
    hint, kind = _hint_at(noun, place), error["type"]
    what = _TYPE_PROBLEMS.get(kind) or _one_line(error["msg"])
    if kind == "literal_error":
        known = tuple(MIXERS) if place[0] == "layers" else get_args(hint)
        what = "must be one of " + ", ".join(known)
    if kind == "int_type" and isinstance(_look_up(sheet.table, place), float):
        what = "must be a whole number, without point or exponent"
    sheet.add(place, what, _unit(place, hint))


_TYPE_PROBLEMS = {
    "missing": "is missing",
    "unexpected_keyword_argument": "is not a key here",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text in quotes",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "mapping_type": "must be a table",
    "dataclass_type": "must be a table",
}


def _place(location: _Place, clean: _Table) -> _Place | None:
    """Where pydantic's location is in the file; None in the kind of attention that is not meant."""
    labels = {mixer.__name__ for mixer in MIXERS.values()}
    if len(location) > 3 and location[0] == "layers" and location[3] in labels:
        table = _look_up(clean, location[:3])
        return location[:3] + location[4:] if location[3] == _attention(table).__name__ else None
    return location


@cache
def _hints(noun: type) -> Mapping[str, Any]:
    hints = {name: _without_none(hint) for name, hint in get_type_hints(noun).items()}
    return hints | {"chip": str} if noun in (System, Pool) else hints


@cache
def _nullable(noun: type) -> tuple[str, ...]:
    """Fields without a default that may be None: TOML has no word for it, so absent ones are."""
    hints = get_type_hints(noun)
    bare = [f.name for f in fields(noun) if f.default is MISSING and f.default_factory is MISSING]
    return tuple(name for name in bare if NoneType in get_args(hints[name]))


def _without_none(hint: Any) -> Any:
    if get_origin(hint) not in (Union, UnionType):
        return hint
    left = [one for one in get_args(hint) if one is not NoneType]
    return left[0] if len(left) == 1 else hint


def _attention(table: Any) -> type:
    """The kind of attention that a table means, by its word or else by its keys."""
    table = table if isinstance(table, dict) else {}
    word = table.get("kind")
    if isinstance(word, str) and word in MIXERS:
        return MIXERS[word]
    return MIXERS["latent"] if "latent_dim" in table else GroupedAttention


def _hint_at(hint: Any, place: _Place) -> Any:
    """The declared type at a place, None where there is none."""
    for key in place:
        if hint == Attention:
            # The kinds agree on the fields that they share.
            hint = {name: one for mixer in MIXERS.values() for name, one in _hints(mixer).items()}.get(
                str(key)
            )
        elif is_dataclass(hint):
            hint = _hints(hint).get(str(key))  # type: ignore[arg-type]
        elif get_origin(hint) is Mapping:
            hint = get_args(hint)[1]
        elif get_origin(hint) is tuple:
            hint = get_args(hint)[0]
        else:
            return None
    return hint


def _clean(hint: Any, value: Any, place: _Place, sheet: _Sheet) -> Any:
    """A value with its figures read and held to their ranges; None where it has been refused."""
    if hint == Attention:
        hint = _attention(value)
    if isinstance(value, dict):
        if is_dataclass(hint):
            return _clean_table(hint, value, place, sheet)  # type: ignore[arg-type]
        # Where no table is wanted, an empty one is enough for pydantic to say so.
        return _clean_mapping(get_args(hint)[1], value, place, sheet) if get_origin(hint) is Mapping else {}
    if isinstance(value, list):
        return _clean_list(get_args(hint)[0], value, place, sheet) if get_origin(hint) is tuple else []
    if not _possible(value, place, hint, sheet):
        return None
    if hint in (int, float):
        return _clean_figure(hint, value, place, sheet)
    return _clean_text(value, place, sheet) if hint is str and isinstance(value, str) else value


def _clean_table(noun: type, table: _Table, place: _Place, sheet: _Sheet) -> _Table:
    if _too_many(table, _MOST_KEYS, place, sheet):
        return {}
    hints, clean = _hints(noun), {}
    for key, value in table.items():
        if key == "origin" and not place:
            sheet.add((key,), "cannot be given: it says where a description came from")
        elif key in hints:
            clean[key] = _clean(hints[key], value, (*place, key), sheet)
        else:
            _add_unknown((*place, key), tuple(hints), "is not a key here", sheet)
    for name in _nullable(noun):
        clean.setdefault(name, None)
    return clean


def _clean_mapping(hint: Any, table: _Table, place: _Place, sheet: _Sheet) -> _Table:
    if _too_many(table, _MOST_KEYS, place, sheet):
        return {}
    known = _KNOWN_KEYS.get(str(place[-1]))
    clean = {}
    for key, value in table.items():
        inner = (*place, key)
        if known and key not in known:
            _add_unknown(inner, known, f"is not known in {place[-1]}", sheet)
            continue
        if not known:
            wrong = _wrong_name(key) if place[-1] in _NAMED_KEYS else _wrong_text(key, _TEXT_LENGTH)
            if wrong:
                sheet.add(inner, f"the key {wrong}")
                continue
        clean[key] = _clean(hint, value, inner, sheet)
    return clean


def _clean_list(hint: Any, values: list[Any], place: _Place, sheet: _Sheet) -> list[Any] | None:
    if _too_many(values, _MOST_ENTRIES, place, sheet):
        return None
    return [_clean(hint, value, (*place, index), sheet) for index, value in enumerate(values)]


def _too_many(values: Any, most: int, place: _Place, sheet: _Sheet) -> bool:
    if len(values) > most:
        sheet.add(place, f"has {len(values)} entries, and may have {most} at most")
    return len(values) > most


def _add_unknown(place: _Place, known: tuple[str, ...], what: str, sheet: _Sheet) -> None:
    near = did_you_mean(str(place[-1])[:_SHOWN], [word for word in known if word != "origin"])
    rest = "" if len(known) > 10 else "known: " + ", ".join(known)
    sheet.add(place, "; ".join(filter(None, (what, near or rest))))


def _possible(value: Any, place: _Place, hint: Any, sheet: _Sheet) -> bool:
    """Whether any noun could hold such a value; JSON could not carry the others to pydantic."""
    if isinstance(value, bool | str):
        return True
    if isinstance(value, int | float):
        # Python compares its integers with floats exactly, however long they are.
        if abs(value) <= _LARGEST_FLOAT:
            return True
        finite = isinstance(value, int) or isfinite(value)
        most = _LARGEST_INT if hint is int else _LARGEST_FLOAT
        what = f"must be at most {_plain(most)}" if finite else "must be finite"
        sheet.add(place, what, _unit(place, hint))
        return False
    sheet.add(place, "is a date or a time of day, which nothing here takes")
    return False


def _clean_figure(hint: type, value: Any, place: _Place, sheet: _Sheet) -> Any:
    if isinstance(value, str):
        value = _from_text(hint, value, place, sheet)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    least, most = _range(place, hint)
    unit = _unit(place, hint)
    if least == 0 and most == 1 and not least <= value <= most:
        sheet.add(place, "must lie between 0 and 1", unit)
    elif value < least:
        bound = "above 0" if value <= 0 and least > 0 else f"at least {_plain(least)}"
        sheet.add(place, f"must be {bound}", unit)
    elif value > most:
        sheet.add(place, f"must be at most {_plain(most)}", unit)
    return float(value) if hint is float else value


def _from_text(hint: type, text: str, place: _Place, sheet: _Sheet) -> int | float | None:
    """A figure written as text, read in the unit that its key asks for."""
    key = ".".join(part for part in place if isinstance(part, str))
    unit = _unit(place, hint)
    if len(text) > _SHOWN:
        sheet.add(place, "is too long for a figure", unit)
        return None
    try:
        number: int | float = read_figure(key, text)
    except UsageError as error:
        reason = error.message.removeprefix(f"{key}: ").removeprefix(f"{text!r} ")
        if unit and ("plain number" in unit or "whole number" in unit):
            reason = "must be a number of zero or more, without a unit"
        sheet.add(place, reason, unit)
        return None
    if hint is int and number != int(number):
        sheet.add(place, "is not a whole number", unit)
        return None
    return int(number) if hint is int else float(number)


def _range(place: _Place, hint: type) -> _Range:
    name, group = place[-1], place[-2] if len(place) > 1 else ""
    if place[0] == "layers" and name == "count":
        return _Range(1, _MOST_LAYERS)
    if name == "width" and group == "feed_forward":
        return _COUNT_OR_NONE  # a layer may have no such part
    found = _RANGES.get(str(group)) or _RANGES.get(str(name))
    return found or (_COUNT if hint is int else _QUANTITY)


def _unit(place: _Place, hint: Any) -> str | None:
    """What a figure is expected in, None where it is no figure."""
    if hint not in (int, float):
        return None
    unit = expected_unit(".".join(part for part in place if isinstance(part, str)))
    return "a whole number" if hint is int and unit.startswith("a plain number") else unit


def _clean_text(text: str, place: _Place, sheet: _Sheet) -> str | None:
    """A text whose words are known, as far as they have to be; None where it has been refused."""
    field = next(part for part in reversed(place) if isinstance(part, str))
    if field in _WEIGHT_FORMATS or field in _TENSOR_FORMATS or place[0] == "checkpoint_formats":
        text = text.lower()
        wrong = _wrong_format(text, mixtures=field in _WEIGHT_FORMATS)
    elif field in _NAMES:
        wrong = _wrong_name(text)
        if not wrong and field == "engine" and not presets.find("engines", text):
            wrong = _unknown_preset("engines", text)
    else:
        wrong = _wrong_text(text, _LENGTHS.get(field, _TEXT_LENGTH))
        if field == "title" and not text:
            wrong = "must not be empty"
    if wrong:
        sheet.add(place, wrong)
    return None if wrong else text


def _wrong_name(text: str) -> str | None:
    if len(text) > _NAME_LENGTH:
        return f"must have {_NAME_LENGTH} characters at most"
    if not _NAME.fullmatch(text):
        return "must be of a-z, 0-9, '.', '_', '+' and '-', and begin with a letter or digit"
    return None


def _wrong_text(text: str, most: int) -> str | None:
    if len(text) > most:
        return f"must have {most} characters at most"
    # Control characters could command a terminal, direction marks could disguise what is shown.
    return None if text.isprintable() else "must have no control characters and be on one line"


def _wrong_format(word: str, *, mixtures: bool) -> str | None:
    if mixtures and word in format_names():
        return None
    try:
        format_named(word[:_SHOWN])
    except UsageError as error:
        return f"is no format; {_one_line(error.hint or '')}"
    return None if len(word) <= _SHOWN else "is no format"


def _unknown_preset(kind: str, word: str) -> str:
    return f"is not among the presets; {presets.unknown(kind, word[:_SHOWN]).hint}"


def _check_chip(clean: _Table, sheet: _Sheet) -> None:
    memory = clean.get("memory")
    if not isinstance(memory, dict) or ("memory",) in sheet.places:
        return
    tiers = {name: tier for name, tier in sheet.table["memory"].items() if isinstance(tier, dict)}
    if any(tier.get("home") is True and "capacity_bytes" in tier for tier in tiers.values()):
        return
    homes = [name for name, tier in tiers.items() if tier.get("home") is True]
    if any(("memory", name, "home") in sheet.places for name in tiers):
        return
    if homes:
        sheet.add(("memory", homes[0], "capacity_bytes"), "is missing", expected_unit("capacity_bytes"))
    else:
        sheet.add(("memory",), "no tier is a home: say home = true where tensors may live")


def _check_model(clean: _Table, sheet: _Sheet) -> None:
    groups = clean.get("layers")
    if not isinstance(groups, list):
        return
    if not groups:
        sheet.add(("layers",), "needs at least one group")
    for index, group in enumerate(groups):
        if isinstance(group, dict):
            _check_attention(group.get("attention"), ("layers", index, "attention"), sheet)
            _check_experts(group.get("feed_forward"), ("layers", index, "feed_forward"), sheet)
    depth = sum(_number(group, "count") or 0 for group in groups)
    if depth > _MOST_LAYERS and not any(("layers", at, "count") in sheet.places for at in range(len(groups))):
        sheet.add(("layers",), f"are {depth} layers together, and may be {_MOST_LAYERS} at most")


def _check_attention(attention: Any, place: _Place, sheet: _Sheet) -> None:
    heads, kv_heads = _number(attention, "heads"), _number(attention, "kv_heads")
    if heads and kv_heads and heads > 0 and kv_heads > 0 and heads % kv_heads:
        sheet.add((*place, "kv_heads"), f"must divide the {heads} heads", "a whole number")


def _check_experts(feed_forward: Any, place: _Place, sheet: _Sheet) -> None:
    if not isinstance(feed_forward, dict):
        return
    if any((*place, key) in sheet.places for key in ("experts", "top_k")):
        return
    experts, top_k = _number(feed_forward, "experts") or 0, _number(feed_forward, "top_k") or 0
    if top_k > experts:
        sheet.add((*place, "top_k"), f"must be at most the number of experts, {experts}", "a whole number")
    elif experts > 0 and not top_k:
        sheet.add((*place, "top_k"), "must be at least 1 where there are experts", "a whole number")
    if not experts and _number(feed_forward, "shared_width"):
        sheet.add((*place, "shared_width"), "means nothing without experts", "a whole number")


def _check_nothing(clean: _Table, sheet: _Sheet) -> None:
    pass


_CROSS_CHECKS: Mapping[Kind, Callable[[_Table, _Sheet], None]] = {
    "chip": _check_chip,
    "model": _check_model,
    "system": _check_nothing,
    "engine": _check_nothing,
    "prices": _check_nothing,
}


def _number(table: Any, key: str) -> int | None:
    value = table.get(key) if isinstance(table, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _add_chips(clean: _Table, figures: Any, path: Path, sheet: _Sheet) -> None:
    """Put the chips that a system names into its table, the main one with the figures that it sets."""
    for name in ("feed_forward", "prefill"):
        pool = clean.get(name)
        if isinstance(pool, dict):
            found = _chip_of(pool.get("chip"), (name, "chip"), path, sheet)
            pool["chip"] = found and asdict(found)
    chip = _chip_of(clean.get("chip"), ("chip",), path, sheet)
    if chip and figures is not None and not isinstance(figures, dict):
        sheet.add(("set",), "must be a table of figures of the chip")
    elif chip and figures:
        for figure, value in figures.items():
            try:
                if not isinstance(value, str | int | float):
                    raise UsageError("must be a figure, true or false, or text with a unit")  # noqa: TRY301
                chip = set_figure(chip, figure, value)
            except UsageError as error:
                what = error.message.removeprefix(f"--set {figure}: ")
                sheet.add(("set", figure), f"{what}; {error.hint}" if error.hint else what)
    clean["chip"] = chip and asdict(chip)


def _chip_of(word: Any, place: _Place, path: Path, sheet: _Sheet) -> Chip | None:
    """The chip that a system names at a place; None where it cannot be had."""
    if not isinstance(word, str):
        if _look_up(sheet.table, place) is not None:
            sheet.add(place, "must be the name of a chip, or the path of its file")
        else:
            sheet.add(place, "is missing: the name of a chip, or the path of its file")
        return None
    if "/" in word or os.sep in word or word.endswith(".toml"):
        try:
            return read_chip(os.path.join(os.path.dirname(os.fspath(path)), word))
        except FileError as error:
            sheet.places.add(place)
            for line in error.problems or (error.message,):
                sheet.add_line(place, line)
            return None
    if presets.find("chips", word) is None:
        sheet.add(place, _unknown_preset("chips", word))
        return None
    return presets.load_chip(word)


def _look_up(table: Any, place: _Place) -> Any:
    """The value at a place, None where there is none."""
    for key in place:
        if isinstance(table, dict):
            table = table.get(str(key))
        elif isinstance(table, list) and isinstance(key, int) and key < len(table):
            table = table[key]
        else:
            return None
    return table


def _rank(table: Any, place: _Place) -> list[int]:
    """Sorts places as they follow each other in the file; what is missing comes last in its table."""
    ranks = []
    for key in place:
        keys = list(table) if isinstance(table, dict) else []
        ranks.append(key if isinstance(key, int) else keys.index(key) if key in keys else len(keys))
        table = _look_up(table, (key,))
    return ranks


def _shown(value: Any) -> str:
    r"""A value for a message: short, and harmless to a terminal.

    >>> _shown("80 GiB\x1b[2J"), _shown(True), _shown({"a": 1})
    ("'80 GiB\\x1b[2J'", 'true', '')
    """
    if value is None or isinstance(value, dict | list):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) > 10**_SHOWN:
        # Python refuses to write out numbers of thousands of digits.
        return f"{'-' if value < 0 else ''}(more than {_SHOWN} digits)"
    # Cut before and after: an escape sequence is longer than the character.
    text = repr(value[: _SHOWN + 1]) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _dotted(place: _Place) -> str:
    """A place as a user would write it.

    >>> _dotted(("layers", 0, "feed_forward", "width"))
    'layers[0].feed_forward.width'
    """
    text = ""
    for key in place:
        if isinstance(key, int):
            text += f"[{key}]"
            continue
        word = key if len(key) <= _SHOWN and _BARE_KEY.fullmatch(key) else _shown(key)
        text += f".{word}" if text else word
    return text or "the file"


def _plain(number: float) -> str:
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{number:g}")


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
