"""What the rules of many architectures share: grouped attention by its usual names, windows by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from memcalc.model import GroupedAttention
from memcalc.readers.architectures.config import Config


def null(config: Config, *names: str) -> bool:
    """Whether the file states one of these as null, which is not the same as leaving it to the class."""
    return any(name in config.table and config.table[name] is None for name in names)


def stated(config: Config, name: str, least: int = 1) -> int | None:
    """A whole number, None where the file says null: unlike an omission that hides the default of the class."""
    return None if null(config, name) else config.maybe(name, least=least)


def width_of(config: Config) -> int:
    """The model width D."""
    return config.count("hidden_size", "n_embd", "d_model", "dim")


def heads_of(config: Config) -> int:
    """The number of query heads."""
    return config.count("num_attention_heads", "n_head", "num_heads", "n_heads", "attention_heads")


def even_head_dim(config: Config) -> int:
    """Head width where heads share the model width: D over the number of heads."""
    heads = heads_of(config)
    if width_of(config) % heads:
        raise config.error("num_attention_heads", f"does not divide the width {width_of(config)}")
    return width_of(config) // heads


def grouped(
    config: Config,
    *,
    heads: int | None = None,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    even: bool = True,
    **more: Any,
) -> GroupedAttention:
    """Grouped attention as most files spell it: absent or null key-value heads are as many as query heads.

    Where no width of a head is given the heads share D evenly; without `even` a rest is dropped, as classes do
    whose own defaults leave one.
    """
    heads = heads or heads_of(config)
    kv_heads = kv_heads or stated(config, "num_key_value_heads") or heads
    if heads % kv_heads:
        raise config.error("num_key_value_heads", f"does not divide the {heads} heads")
    head_dim = head_dim or stated(config, "head_dim")
    if head_dim is None:
        head_dim = even_head_dim(config) if even else max(1, width_of(config) // heads)
    return GroupedAttention(heads=heads, kv_heads=kv_heads, head_dim=head_dim, **more)


def window(config: Config, name: str = "sliding_window") -> int | None:
    """The size of the window; null or 0 turns it off."""
    return stated(config, name, least=0) or None


def windows(
    config: Config,
    slides: Callable[[int], bool],
    size: int | None,
    kinds: Sequence[str] = ("sliding_attention",),
    *,
    on: bool = True,
) -> list[int | None]:
    """The window of each layer, None for full attention: by `layer_types`, else by what `slides` says of a layer.

    `kinds` are the words of layers that have the window; a list of another length than the layers, or with
    other words, is refused, and so are layers with a window that has no size, unless `on` switches all off.
    """
    depth = config.layers()
    words = config.words("layer_types", depth)
    if words is None:
        return [size if on and slides(layer) else None for layer in range(depth)]
    wrong = set(words) - {*kinds, "full_attention", "attention"}
    if wrong:
        raise config.error("layer_types", f"has {min(wrong)!r}, which is not known here")
    if len(words) != depth:
        raise config.error("layer_types", f"has {len(words)} entries for {depth} layers")
    if on and size is None and not set(kinds).isdisjoint(words):
        raise config.error("layer_types", "has layers with a window, and the window is not given")
    return [size if on and word in kinds else None for word in words]
