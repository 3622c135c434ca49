"""Built-in presets: TOML files opened by path and read straight into the nouns.

They are checked by the tests, so nothing is validated here: start-up is part of every run. Files of the
user go through `memcalc.readers.user_files`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from memcalc.chip import Chip, Hardwired, LayerFloor, Links, Pool, Power, System, Tier
from memcalc.engine import Constants, Engine, Family, resolve
from memcalc.errors import UsageError, did_you_mean
from memcalc.figures import set_figure
from memcalc.model import MIXERS, FeedForward, Indexer, Layers, Model, RecurrentMixer, Source, source_of
from memcalc.workload import Prices

Origin = Literal["preset", "file", "assumed"]
#: Kinds of presets, as `memcalc presets list` names them.
KINDS = ("chips", "systems", "models", "engines", "prices")

#: Of a name that is longer a message shows the beginning.
LONGEST_NAME = 60
_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_INSTALLED = os.path.join(_HERE, "presets")
#: In a wheel the presets lie in the package, in a checkout beside it.
ROOT = _INSTALLED if os.path.isdir(_INSTALLED) else os.path.join(os.path.dirname(_HERE), "presets")


def names(kind: str) -> list[str]:
    """The names of all presets of a kind, from the file names alone.

    >>> "h100-sxm" in names("chips")
    True
    """
    files = os.listdir(os.path.join(ROOT, kind))
    return sorted(name[:-5] for name in files if name.endswith(".toml"))


def find(kind: str, name: str) -> str | None:
    """The file name (without ending) of a preset by name or alias, None where there is none.

    >>> find("models", "llama-3.3-70b")
    'llama-3.1-70b'
    """
    word = name.lower()
    if not re.fullmatch(r"[a-z0-9][a-z0-9._+-]*", word):
        return None
    if os.path.isfile(os.path.join(ROOT, kind, word + ".toml")):
        return word
    # An alias is a rare case: look for the word as text before anything is parsed.
    for candidate in names(kind):
        with open(os.path.join(ROOT, kind, candidate + ".toml"), encoding="utf-8") as file:
            line = next((text for text in file if text.startswith("aliases")), "")
        if f'"{word}"' in line:
            return candidate
    return None


def read(kind: str, name: str) -> dict[str, Any]:
    """The table of a preset by name or alias; UsageError with the nearest name where there is none."""
    found = find(kind, name)
    if found is None:
        raise unknown(kind, name)
    with open(os.path.join(ROOT, kind, found + ".toml"), "rb") as file:
        return tomllib.load(file)


def text(kind: str, name: str) -> str:
    """The file of a preset as it is, with its sources."""
    found = find(kind, name)
    if found is None:
        raise unknown(kind, name)
    with open(os.path.join(ROOT, kind, found + ".toml"), encoding="utf-8") as file:
        return file.read()


def unknown(kind: str, name: str, also: tuple[str, ...] = ()) -> UsageError:
    """The error for a name that is no preset of the kind (or of the kinds `also`)."""
    near = did_you_mean(name, [known for one in (kind, *also) for known in names(one)])
    shown = f"'memcalc presets list {kind}' shows all"
    hint = f"{near} {shown}" if near else shown
    word = "price scenario" if kind == "prices" else kind[:-1]
    shortened = name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "..."
    return UsageError(f"unknown {word} {shortened!r}", hint)


def load_model(name: str) -> Model:
    """A built-in model.

    >>> load_model("llama-3.1-8b").parameters
    8030261248
    """
    return build_model(read("models", name))


def load_chip(name: str) -> Chip:
    """A built-in chip.

    >>> load_chip("h100-sxm").memory["hbm"].bandwidth_bytes_per_s
    3350000000000.0
    """
    return build_chip(read("chips", name))


def load_system(name: str) -> System:
    """A built-in system: chips of one kind, counted."""
    return build_system(read("systems", name))


def load_engine(name: str) -> Engine:
    """A built-in engine."""
    return build_engine(read("engines", name))


def load_prices(name: str) -> Prices:
    """A built-in price scenario."""
    return build_prices(read("prices", name))


def load_family(name: str) -> Family:
    """What is known of a chip family under any software; nothing where it has no file."""
    path = os.path.join(ROOT, "chips", "families", name + ".toml")
    if not os.path.isfile(path):
        return Family(name)
    with open(path, "rb") as file:
        data = tomllib.load(file)
    return Family(name, data["constants"], _sources(data))


def load_constants(chip: Chip, engine: Engine) -> Constants:
    """The constants of an engine on the family of a chip."""
    if not engine.inherits:
        return resolve({}, engine, Family(chip.family))
    base = engine if engine.name == "default" and engine.origin == "preset" else load_engine("default")
    return resolve(base.constants, engine, load_family(chip.family))


def scenarios_with(chip: str) -> list[str]:
    """The price scenarios that have a price for a chip.

    >>> scenarios_with("trainium2")
    ['aws-capacity-blocks-2026-10']
    """
    return [name for name in names("prices") if chip in load_prices(name).usd_per_chip_hour]


def _sources(data: Mapping[str, Any]) -> dict[str, Source]:
    return {figure: Source(**entry) for figure, entry in data.get("sources", {}).items()}


def _plain(data: Mapping[str, Any], *taken: str) -> dict[str, Any]:
    """The entries that go into the noun as they are; lists become tuples."""
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in data.items()
        if key not in taken
    }


def build_model(data: Mapping[str, Any], origin: Origin = "preset") -> Model:
    """A model from the table of a preset."""
    return Model(
        **_plain(data, "layers", "sources"),
        layers=tuple(_layers(data["layers"])),
        origin=origin,
        sources=_sources(data),
    )


def _layers(groups: list[Mapping[str, Any]]) -> Iterator[Layers]:
    for group in groups:
        attention = dict(group["attention"])
        if "indexer" in attention:
            attention["indexer"] = Indexer(**attention["indexer"])
        beside = group.get("beside")
        yield Layers(
            **_plain(group, "attention", "feed_forward", "beside"),
            beside=RecurrentMixer(**beside) if beside else None,
            attention=MIXERS[attention["kind"]](**attention),
            feed_forward=FeedForward(**group["feed_forward"]),
        )


def build_chip(data: Mapping[str, Any], origin: Origin = "preset") -> Chip:
    """A chip from the table of a preset."""
    return Chip(
        **_plain(data, "memory", "links", "power", "layer_floor", "hardwired", "sources"),
        memory={name: Tier(**tier) for name, tier in data["memory"].items()},
        links=Links(**data.get("links", {})),
        power=Power(**data.get("power", {})),
        layer_floor=LayerFloor(**data["layer_floor"]) if "layer_floor" in data else None,
        hardwired=Hardwired(**data["hardwired"]) if "hardwired" in data else None,
        origin=origin,
        sources=_sources(data),
    )


def build_system(data: Mapping[str, Any], origin: Origin = "preset") -> System:
    """A system from the table of a preset; its chips are presets by name.

    `set` changes figures of the main chip, like the memory of a node that its chips share.
    """
    pools: dict[str, Any] = {
        name: Pool(**{**data[name], "chip": load_chip(data[name]["chip"])})
        for name in ("feed_forward", "prefill")
        if name in data
    }
    sources = _sources(data)
    return System(
        **_plain(data, "chip", "set", "sources", *pools),
        **pools,
        chip=with_figures(load_chip(data["chip"]), data.get("set", {}), sources),
        origin=origin,
        sources=sources,
    )


def with_figures(chip: Chip, figures: Mapping[str, Any], sources: Mapping[str, Source]) -> Chip:
    """The chip as it is in a system: with some figures changed, and the sources of these."""
    for path, value in figures.items():
        chip = set_figure(chip, path, value)
    return with_sources(chip, figures, sources)


def with_sources(chip: Chip, figures: Iterable[str], sources: Mapping[str, Source]) -> Chip:
    """The chip with the sources that its system has for these of its figures."""
    own = {figure: source for figure in figures if (source := source_of(sources, figure))}
    return replace(chip, sources={**chip.sources, **own}) if own else chip


def build_engine(data: Mapping[str, Any], origin: Origin = "preset") -> Engine:
    """An engine from the table of a preset."""
    return Engine(**_plain(data, "sources"), origin=origin, sources=_sources(data))


def build_prices(data: Mapping[str, Any]) -> Prices:
    """A price scenario from the table of a preset."""
    return Prices(**_plain(data))
