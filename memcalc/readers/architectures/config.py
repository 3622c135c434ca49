"""A `config.json` as its architecture's rules read it: checked values, spellings, defaults of the class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from memcalc.errors import FileError
from memcalc.model import Layers, Model
from memcalc.readers.regular import shown

#: No published model comes near these; beyond them a file is broken or hostile.
MOST = 2**40
MOST_LAYERS = 1_000
#: What would do where an architecture is not known.
BY_HAND = (
    "describe the model by hand in a TOML file: 'memcalc presets show models llama-3.1-8b' shows one; "
    "give layers, attention and feed_forward of yours"
)


class Config:
    """One table of a `config.json`, with the defaults that its class fills in.

    Values are held to their types and ranges where they are asked for; FileError names file and key.

    >>> config = Config({"hidden_size": 64, "n_head": 4}, "config.json", {"num_hidden_layers": 2})
    >>> config.count("num_attention_heads", "n_head"), config.count("num_hidden_layers")
    (4, 2)
    """

    def __init__(
        self, table: Mapping[str, Any], file: str, defaults: Mapping[str, Any] | None = None, path: str = ""
    ) -> None:
        self.table, self.file, self.defaults, self.path = table, file, dict(defaults or {}), path

    def with_defaults(self, defaults: Mapping[str, Any]) -> Config:
        """The same table with the defaults of a class: what the file omits comes from them."""
        return Config(self.table, self.file, {**self.defaults, **defaults}, self.path)

    def get(self, *names: str) -> Any:
        """The first of these spellings that is given and not null, else the first with a default, else None."""
        for name in names:
            if self.table.get(name) is not None:
                return self.table[name]
        return next((self.defaults[name] for name in names if name in self.defaults), None)

    def given(self, name: str) -> bool:
        """Whether the file itself states a value that is not null."""
        return self.table.get(name) is not None

    def count(self, *names: str, default: int | None = None, least: int = 1) -> int:
        """A whole number by the first spelling that is given; FileError where it is missing or out of range."""
        value = self.get(*names)
        if value is None:
            if default is None:
                raise self.error(names[0], "is missing")
            return default
        return self._whole(names, value, least)

    def maybe(self, *names: str, least: int = 1) -> int | None:
        """A whole number, None where it is absent or null."""
        value = self.get(*names)
        return None if value is None else self._whole(names, value, least)

    def counts(self, name: str, length: int | None = None, least: int = 0) -> list[int] | None:
        """A list of whole numbers, None where it is absent."""
        values = self._list(name, length)
        return None if values is None else [self._whole((name,), value, least) for value in values]

    def words(self, name: str, length: int | None = None) -> list[str] | None:
        """A list of words, None where it is absent."""
        values = self._list(name, length)
        if values is not None and not all(isinstance(value, str) for value in values):
            raise self.error(name, "must be a list of words")
        return values

    def word(self, *names: str, default: str = "") -> str:
        """A word."""
        value = self.get(*names)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.error(names[0], "must be a word")
        return value

    def number(self, *names: str, default: float | None = None) -> float:
        """A finite number above zero."""
        value = self.get(*names)
        if value is None:
            if default is None:
                raise self.error(names[0], "is missing")
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < MOST:
            raise self.error(names[0], "must be a number above zero")
        return float(value)

    def flag(self, *names: str, default: bool = False) -> bool:
        """True or false."""
        value = self.get(*names)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(names[0], "must be true or false")
        return value

    def section(self, name: str, defaults: Mapping[str, Any] | None = None) -> Config | None:
        """A table inside, None where it is absent or null."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.error(name, "must be a table")
        return Config(value, self.file, defaults, f"{self.path}{name}.")

    def table_at(self, name: str) -> Mapping[str, Any]:
        """A table inside as it is, empty where it is absent."""
        section = self.section(name)
        return section.table if section else {}

    def layers(self, *names: str) -> int:
        """The number of layers, held to a bound: rules walk them one by one."""
        names = names or ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
        count = self.count(*names)
        if count > MOST_LAYERS:
            raise self.error(names[0], f"must be at most {MOST_LAYERS}")
        return count

    def error(self, name: str, what: str) -> FileError:
        """The error that names a key of the file, with its value where there is one."""
        value = self.table.get(name)
        said = "" if value is None or isinstance(value, dict | list) else f" = {shown(value)}"
        return FileError(f"{self.file}: {self.path}{name}{said}: {what}")

    def _whole(self, names: tuple[str, ...], value: Any, least: int) -> int:
        name = next((name for name in names if self.table.get(name) is value), names[0])
        if isinstance(value, float) and value.is_integer() and abs(value) < MOST:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(name, "must be a whole number")
        if not least <= value <= MOST:
            raise self.error(
                name, f"must be at least {least}" if value < least else f"must be at most {MOST}"
            )
        return value

    def _list(self, name: str, length: int | None) -> list[Any] | None:
        values = self.get(name)
        if values is None:
            return None
        if not isinstance(values, list):
            raise self.error(name, "must be a list")
        if len(values) > MOST_LAYERS:
            raise self.error(name, f"has {len(values)} entries, and may have {MOST_LAYERS} at most")
        if length is not None and len(values) < length:
            raise self.error(name, f"has {len(values)} entries for {length} layers")
        return values


def alike(layers: Iterable[Layers]) -> tuple[Layers, ...]:
    """Layers that are equal become one group with a count; the order among groups is that of their first.

    >>> from memcalc.model import FeedForward, NoMixer
    >>> one, other = Layers(1, NoMixer(), FeedForward(8)), Layers(1, NoMixer(), FeedForward(16))
    >>> [group.count for group in alike([one, other, one])]
    [2, 1]
    """
    counts: dict[Layers, int] = {}
    for layer in layers:
        key = replace(layer, count=1)
        counts[key] = counts.get(key, 0) + layer.count
    return tuple(replace(layer, count=count) for layer, count in counts.items())


def model_of(config: Config, layers: Iterable[Layers], *, tied: bool = False, **more: Any) -> Model:
    """A model with the facts that nearly every config states alike; `tied` is the default of its class.

    The layers stay in their order, which the formats of quantised checkpoints refer to; the reader
    groups those that are alike when it has seen them.
    """
    limit = config.maybe(
        "max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "n_ctx"
    )
    facts: dict[str, Any] = {
        "name": "unnamed",
        "width": config.count("hidden_size", "n_embd", "d_model", "dim"),
        "vocabulary": config.count("vocab_size"),
        "context_limit_tokens": limit,
        "tied_embeddings": config.flag("tie_word_embeddings", default=tied),
        "origin": "file",
    }
    return Model(layers=tuple(layers), **(facts | more))


#: The rules of one architecture: from its config to the model.
Rules = Callable[[Config], Model]
