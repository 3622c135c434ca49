"""Models, chips and engines written as the TOML that `memcalc.readers.user_files` reads back to the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import tomli_w

from memcalc.chip import Chip
from memcalc.engine import Engine
from memcalc.model import Model

#: What a reader decides anew, and what says nothing where it is a default.
_NOT_WRITTEN = ("origin",)
#: From here on a float is written with an exponent.
_LARGE = 1e7


def model_toml(model: Model) -> str:
    """The TOML preset of a model: what differs from the defaults, layers last.

    >>> from memcalc.readers.presets import load_model
    >>> print(model_toml(load_model("qwen3-8b")).splitlines()[0])
    name = "qwen3-8b"
    """
    table = _table(model)
    layers = table.pop("layers")
    sources = table.pop("sources", {})
    text = "".join(f"{key} = {_inline(value)}\n" for key, value in table.items())
    for group in layers:
        text += "\n[[layers]]\n"
        for key, value in group.items():
            text += f"{key} = {_inline(value)}\n"
    if sources:
        text += "\n[sources]\n"
        text += "".join(f"{_quoted(figure)} = {_inline(source)}\n" for figure, source in sources.items())
    return text


def chip_toml(chip: Chip) -> str:
    """The TOML preset of a chip: what differs from the defaults, sources last.

    >>> from memcalc.readers.presets import load_chip
    >>> print(chip_toml(load_chip("h100-sxm")).partition("[memory.hbm]")[2].partition("home")[0])
    <BLANKLINE>
    capacity_bytes = 85520809984
    bandwidth_bytes_per_s = 3.35e12
    <BLANKLINE>
    """
    table = _table(chip)
    memory, sources = table.pop("memory"), table.pop("sources", {})
    tables = {f"memory.{name}": tier for name, tier in memory.items()}
    tables |= {
        name: table.pop(name)
        for name in ("compute", "links", "layer_floor", "hardwired", "power")
        if name in table
    }
    if sources:
        tables["sources"] = sources
    text = "".join(f"{key} = {_inline(value)}\n" for key, value in table.items())
    for name, values in tables.items():
        # An empty table says that there is such a tier, of which nothing is known.
        text += f"\n[{name}]\n" + "".join(f"{_quoted(k)} = {_inline(v)}\n" for k, v in values.items())
    return text


def engine_toml(engine: Engine) -> str:
    """The TOML preset of an engine: what differs from the defaults, tables last.

    >>> from memcalc.readers.presets import load_engine
    >>> print(engine_toml(load_engine("vllm")).splitlines()[0])
    name = "vllm"
    """
    table = _table(engine)
    tables: dict[str, Any] = {
        key: table.pop(key) for key in ("constants", "points", "bands", "sources") if key in table
    }
    tables |= {f"bands.{_quoted(family)}": by for family, by in tables.pop("bands", {}).items()}
    tables["sources"] = tables.pop("sources", {})
    text = "".join(f"{key} = {_inline(value)}\n" for key, value in table.items())
    for name, values in tables.items():
        if values:
            text += f"\n[{name}]\n" + "".join(f"{_quoted(k)} = {_inline(v)}\n" for k, v in values.items())
    return text


def _table(noun: Any) -> dict[str, Any]:
    """The fields of a noun that differ from their defaults; `kind` of a mixer always."""
    found = {}
    # What a mixer is stands before its figures.
    for entry in sorted(fields(noun), key=lambda entry: entry.name != "kind"):
        value = getattr(noun, entry.name)
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        plain = entry.name == "kind" or value != default
        if plain and value is not None and entry.name not in _NOT_WRITTEN:
            found[entry.name] = _value(value)
    return found


def _value(value: Any) -> Any:
    if is_dataclass(value):
        return _table(value)
    if isinstance(value, Mapping):
        return {key: _value(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [_value(entry) for entry in value]
    return value


def _inline(value: Any) -> str:
    """A value on one line, tables too: a layer reads best as one."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_quoted(key)} = {_inline(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(entry) for entry in value) + "]"
    if isinstance(value, float) and value >= _LARGE:
        # As 3.35e12, which a person can check against a data sheet.
        mantissa, _, exponent = f"{value:.16e}".partition("e")
        short = f"{float(mantissa):.15g}e{int(exponent)}"
        return short if float(short) == value else repr(value)
    return tomli_w.dumps({"x": value}).removeprefix("x = ").rstrip("\n")


def _quoted(key: str) -> str:
    """A key as TOML wants it: bare, or quoted where it has dots."""
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else f'"{key}"'
