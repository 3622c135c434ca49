"""Changing one figure of a chip or an engine by its dotted path, as `--set` and what-if studies do.

The unit stands in the name of the figure, so text is read accordingly: `memory.hbm.bandwidth_bytes_per_s`
takes `4.8TB/s`, `memory.sram.home` takes `true`. A tier that the chip lacks comes into being with its first
figure, as memory that is attached but no home.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from memcalc.chip import TIERS, Tier
from memcalc.errors import UsageError, did_you_mean
from memcalc.units import (
    LARGEST,
    parse_byte_rate,
    parse_bytes,
    parse_count,
    parse_flop_rate,
    parse_fraction,
    parse_number,
    parse_seconds,
    parse_tokens,
    parse_watts,
)

Noun = TypeVar("Noun")


def _tokens(text: str, what: str) -> int:
    return parse_tokens(text, what, least=0)


#: How text is read by the end of a figure's name, and the unit that a message names.
_BY_ENDING: tuple[tuple[str, Callable[[str, str], Any], str], ...] = (
    ("bytes_per_s", parse_byte_rate, "bytes per second, like 4.8TB/s"),
    ("_bytes", parse_bytes, "bytes, like 80GiB"),
    ("_bytes_per_chip", parse_bytes, "bytes, like 2GB"),
    ("_bytes_per_linked_chip", parse_bytes, "bytes, like 2GB"),
    ("_j_per_byte", parse_number, "joules per byte, like 9.3e-11"),
    ("_tokens", _tokens, "tokens, like 8192 or 128k"),
    ("usable", parse_fraction, "a share, like 0.9 or 90%"),
    ("usable_memory", parse_fraction, "a share, like 0.9 or 90%"),
    ("window_share", parse_fraction, "a share, like 0.9 or 90%"),
    ("_chips", parse_count, "chips, like 8"),
    ("_s", parse_seconds, "seconds, like 8us"),
    ("_w", parse_watts, "watts, like 700W"),
)
#: Tables whose keys are free; all their figures are read alike.
_TABLES: Mapping[str, tuple[Callable[[str, str], Any], str]] = {
    "compute": (parse_flop_rate, "FLOP per second, like 989TFLOP/s"),
    "flop_j": (parse_number, "joules, like 7e-13"),
}
#: Words that can be changed: what a chip does, and what a tier is for.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "execution": ("time-shared", "spatial"),
    "plan": ("on-chip", "weights-on-chip", "dram"),
    "holds": ("all", "weights", "cache"),
    "scale_up_kind": ("switched", "mesh", "pcie", "none"),
}
#: Groups of figures that a chip may lack altogether.
_GROUPS = ("layer_floor", "hardwired")
#: Ends of names of figures that cannot be zero, and of shares that lie between zero and one.
_ABOVE_ZERO = ("capacity_bytes", "page_tokens", "chunk_tokens", "_chips", "least_tile_tokens")
_SHARES = ("_efficiency", "usable", "usable_memory", "tier_overlap", "window_share")
_TRUE_FALSE = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def expected_unit(path: str) -> str:
    """What the figure of that path is measured in, for a message.

    >>> expected_unit("memory.hbm.capacity_bytes")
    'bytes, like 80GiB'
    """
    return _reader(path)[1]


def read_figure(path: str, text: str) -> Any:
    """Read the text of a figure in the unit that its name asks for; UsageError where it does not.

    >>> read_figure("memory.hbm.bandwidth_bytes_per_s", "4.8TB/s")
    4800000000000.0
    """
    return _reader(path)[0](text, path)


def _reader(path: str) -> tuple[Callable[[str, str], Any], str]:
    table, _, name = path.rpartition(".")
    group = table.rpartition(".")[2]
    if group in _TABLES:
        return _TABLES[group]
    for ending, reader, unit in _BY_ENDING:
        if name.endswith(ending):
            return reader, unit
    return parse_number, "a plain number, like 0.9"


def get_figure(noun: Any, path: str) -> Any:
    """The figure of a noun by its dotted path.

    >>> from memcalc.readers.presets import load_chip
    >>> get_figure(load_chip("h100-sxm"), "memory.hbm.capacity_bytes")
    85520809984
    """
    for step in path.split("."):
        noun = noun[step] if isinstance(noun, Mapping) else getattr(noun, step)
    return noun


def set_figure(noun: Noun, path: str, value: Any) -> Noun:
    """The noun with one figure changed; text is read by the figure's unit, numbers are taken as they are.

    >>> from memcalc.readers.presets import load_chip
    >>> changed = set_figure(load_chip("h100-sxm"), "memory.hbm.capacity_bytes", "96GB")
    >>> changed.memory["hbm"].capacity_bytes
    96000000000
    """
    return _set(noun, path.split("."), path, value)  # type: ignore[no-any-return]


def _set(noun: Any, steps: list[str], path: str, value: Any) -> Any:
    step, rest = steps[0], steps[1:]
    if isinstance(noun, Mapping):
        if rest and step in TIERS and step not in noun and path.startswith("memory."):
            noun = {**noun, step: Tier(role="attached")}
        if rest and step not in noun:
            raise _unknown(step, path, noun)
        if not rest and step not in noun and any(not isinstance(v, float | int) for v in noun.values()):
            raise _unknown(step, path, noun)
        new = _set(noun[step], rest, path, value) if rest else _leaf(noun.get(step, 0.0), path, value)
        return {**noun, step: new}
    if not is_dataclass(noun):
        raise UsageError(f"--set {path}: there is nothing below a plain figure", "name the figure itself")
    known = [f.name for f in fields(noun)]
    if step not in known:
        raise _unknown(step, path, known)
    now = getattr(noun, step)
    if now is None and (rest or step in _GROUPS):
        raise UsageError(f"--set {path}: this preset has no {step}", "describe it in a TOML file of your own")
    new = _set(now, rest, path, value) if rest else _leaf(now, path, value)
    return replace(noun, **{step: new})  # type: ignore[type-var]


def _unknown(step: str, path: str, known: Any) -> UsageError:
    near = did_you_mean(step, known)
    listed = ", ".join(sorted(known))
    return UsageError(
        f"--set {path}: there is no {step!r} here",
        f"{near} known: {listed}" if near else f"known: {listed}",
    )


def _leaf(now: Any, path: str, value: Any) -> Any:
    if isinstance(now, Mapping | tuple) or is_dataclass(now):
        raise UsageError(
            f"--set {path}: this is a group of figures, not one", f"name one of its figures: {path}.…"
        )
    name = path.rpartition(".")[2]
    if name in _WORDS:
        if value not in _WORDS[name]:
            raise UsageError(
                f"--set {path}: {value!r} is none of its words", "one of " + " ".join(_WORDS[name])
            )
        return value
    if path.endswith("hypothetical"):
        raise UsageError("--set hypothetical: that is no figure", "a maker's figures would make it real")
    if not isinstance(value, str):
        if isinstance(value, int | float):
            _refuse_absurd(path, value)
        return value
    if isinstance(now, bool):
        word = _TRUE_FALSE.get(value.lower())
        if word is None:
            raise UsageError(f"--set {path}: {value!r} is neither true nor false", "write true or false")
        return word
    if isinstance(now, str):
        raise UsageError(f"--set {path}: words cannot be changed", "only figures can")
    read = read_figure(path, value)
    _refuse_absurd(path, read)
    return int(read) if isinstance(now, int) else read


def _refuse_absurd(path: str, value: float) -> None:
    """UsageError for a figure that no machine can have: nothing is divided by zero later."""
    table, _, name = path.rpartition(".")
    if not 0 <= value <= LARGEST:
        raise UsageError(f"--set {path}: {str(value)[:40]} is out of range", f"write {expected_unit(path)}")
    # Below one byte or operation a second nothing is meant, and times would overflow.
    if value < 1 and (name.endswith("bytes_per_s") or table.endswith("compute")):
        raise UsageError(f"--set {path}: {value:g} must be at least 1", f"write {expected_unit(path)}")
    if value <= 0 and name.endswith(_ABOVE_ZERO):
        raise UsageError(f"--set {path}: {value:g} must be above 0", f"write {expected_unit(path)}")
    if name.endswith(_SHARES) and not (0 if name in ("tier_overlap", "window_share") else 1e-6) <= value <= 1:
        raise UsageError(f"--set {path}: {value:g} must lie between 0 and 1", "like 0.9")
    if name.endswith("band") and value < 1:
        raise UsageError(
            f"--set {path}: {value:g} must be at least 1", "a band divides and multiplies, like 1.3"
        )
