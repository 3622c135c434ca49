"""The decorator of the nouns: a frozen standard-library dataclass that costs nothing to define.

`@dataclass(frozen=True)` writes and compiles six methods for each class at import, about half a
millisecond each; forty classes would be a third of a run of `memcalc fit`. `@noun` lets `dataclass` collect
the fields (so `fields`, `replace`, `asdict` and pydantic work as always) and shares the methods.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from typing import Any, NoReturn, TypeVar, dataclass_transform

Class = TypeVar("Class")


@dataclass_transform(frozen_default=True, field_specifiers=(field, Field))
def noun(cls: type[Class]) -> type[Class]:
    """Make a class a frozen dataclass.

    >>> @noun
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> Point(1), Point(1) == Point(x=1, y=0)
    (Point(x=1, y=0), True)
    """
    made = dataclass(init=False, repr=False, eq=False, match_args=False)(cls)
    described = fields(made)  # type: ignore[arg-type]
    made._names = tuple(entry.name for entry in described)  # type: ignore[attr-defined]
    made._plain = {  # type: ignore[attr-defined]
        entry.name: entry.default for entry in described if entry.default is not MISSING
    }
    made._made = {  # type: ignore[attr-defined]
        entry.name: entry.default_factory for entry in described if entry.default_factory is not MISSING
    }
    for method in (_init, _setattr, _delattr, _repr, _eq, _hash):
        name = f"__{method.__name__.strip('_')}__"
        setattr(made, name, method)
    return made


def _init(self: Any, *values: Any, **named: Any) -> None:
    """Take the fields in their order or by name; defaults fill the rest."""
    names, state = self._names, self.__dict__
    if len(values) > len(names):
        raise TypeError(f"{type(self).__name__} takes {len(names)} values, not {len(values)}")
    state.update(zip(names, values, strict=False))
    for name in named:
        if name not in names or name in state:
            wrong = "given twice" if name in names else "unknown"
            raise TypeError(f"{type(self).__name__}: {name} is {wrong}")
    state.update(named)
    if len(state) < len(names):
        for name in names:
            if name in state:
                continue
            if name in self._plain:
                state[name] = self._plain[name]
            elif name in self._made:
                state[name] = self._made[name]()
            else:
                raise TypeError(f"{type(self).__name__}: {name} is missing")


def _setattr(self: Any, name: str, _value: Any) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to {name} of {type(self).__name__}")


def _delattr(self: Any, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete {name} of {type(self).__name__}")


def _repr(self: Any) -> str:
    inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names)
    return f"{type(self).__qualname__}({inside})"


def _eq(self: Any, other: Any) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    names: tuple[str, ...] = self._names
    return all(getattr(self, name) == getattr(other, name) for name in names)


def _hash(self: Any) -> int:
    return hash(tuple(getattr(self, name) for name in self._names))
