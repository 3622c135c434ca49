"""Typical architectures by size alone: `70b`, `235b-a22b`.

The shape is that of open models near the size (Llama 3, Qwen3 and DeepSeek-V3 configurations); depth, inner
width and the number of experts are then solved so that the parameters add up to what was asked.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from memcalc.errors import UsageError
from memcalc.model import FeedForward, GroupedAttention, Layers, Model
from memcalc.units import parse_parameters

_SIZE = re.compile(r"([0-9.]+[bmt])(?:-a([0-9.]+[bmt]))?", re.IGNORECASE)


class _Shape(NamedTuple):
    """A typical shape: parameters that it goes with, depth, width, query and KV heads, head width."""

    parameters: float
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int


_DENSE = (
    _Shape(0.6e9, 28, 1024, 16, 8, 128, 151936),
    _Shape(1.2e9, 16, 2048, 32, 8, 64, 128256),
    _Shape(3.2e9, 28, 3072, 24, 8, 128, 128256),
    _Shape(8.0e9, 32, 4096, 32, 8, 128, 128256),
    _Shape(14.8e9, 40, 5120, 40, 8, 128, 151936),
    _Shape(32.8e9, 64, 5120, 64, 8, 128, 151936),
    _Shape(70.6e9, 80, 8192, 64, 8, 128, 128256),
    _Shape(406e9, 126, 16384, 128, 8, 128, 128256),
)
_SPARSE = (
    _Shape(20e9, 24, 2880, 64, 8, 64, 201088),
    _Shape(30.5e9, 48, 2048, 32, 4, 128, 151936),
    _Shape(235e9, 94, 4096, 64, 4, 128, 151936),
    _Shape(1000e9, 61, 7168, 64, 8, 128, 163840),
)
#: Experts that a token uses, and the inner width of a dense layer as a multiple of D (SwiGLU).
_TOP_K, _INNER = 8, 3.5
_LEAST_INNER, _MOST_INNER = 2.2, 5.5
#: Models up to here mostly share one table between embedding and head.
_TIED_BELOW = 4e9


def is_size(word: str) -> bool:
    """Whether a word is a size rather than a name.

    >>> is_size("70b"), is_size("235b-a22b"), is_size("b200")
    (True, True, False)
    """
    return _SIZE.fullmatch(word) is not None


def typical_model(word: str) -> Model:
    """A typical model of that size, labelled as assumed.

    >>> model = typical_model("70b")
    >>> round(model.parameters / 70e9, 3), model.origin
    (1.0, 'assumed')
    """
    match = _SIZE.fullmatch(word)
    if match is None:
        raise UsageError(f"{word!r} is not a size", "write it like 70b or 235b-a22b")
    total = parse_parameters(match[1], "model size")
    active = parse_parameters(match[2], "active size") if match[2] else None
    if not 1e8 <= total <= 1e13:
        raise UsageError(
            f"model size {match[1]} is out of range", "sizes from 100m to 10t have typical shapes"
        )
    if active is not None and not 0 < active < total:
        raise UsageError(f"{word}: the active part must be smaller than the whole", "write it like 235b-a22b")
    return _dense(word, total) if active is None else _sparse(word, total, active)


def _nearest(shapes: tuple[_Shape, ...], total: float) -> _Shape:
    return min(shapes, key=lambda shape: max(shape.parameters / total, total / shape.parameters))


def _dense(word: str, total: int) -> Model:
    shape = _nearest(_DENSE, total)
    tied = total < _TIED_BELOW
    attention = GroupedAttention(shape.heads, shape.kv_heads, shape.head_dim)
    table = shape.vocabulary * shape.width * (1 if tied else 2)
    one = attention.elements(shape.width).matrix
    depth = shape.layers
    inner = (total - table - depth * one) / (depth * 3 * shape.width)
    if not _LEAST_INNER <= inner / shape.width <= _MOST_INNER:
        # Too far from the shape to be had with its depth.
        depth = max(1, round((total - table) / (one + 3 * shape.width * shape.width * _INNER)))
        inner = (total - table - depth * one) / (depth * 3 * shape.width)
    width = max(8, round(inner / 8) * 8)
    model = Model(
        name=word,
        width=shape.width,
        vocabulary=shape.vocabulary,
        layers=(Layers(depth, attention, FeedForward(width)),),
        tied_embeddings=tied,
        origin="assumed",
        assumption=(
            f"{word}: a typical dense architecture of that size is assumed: {depth} layers of width "
            f"{shape.width}, {shape.heads} heads, {shape.kv_heads} KV heads of {shape.head_dim}"
        ),
    )
    return _checked(model, word, total)


def _sparse(word: str, total: int, active: int) -> Model:
    shape = _nearest(_SPARSE, total)
    attention = GroupedAttention(shape.heads, shape.kv_heads, shape.head_dim)
    base = 2 * shape.vocabulary * shape.width + shape.layers * attention.elements(shape.width).matrix
    if active <= base:
        raise UsageError(
            f"{word}: {active / 1e9:.3g} billion active parameters are fewer than attention and embeddings alone",
            "describe the model in a TOML file instead",
        )
    routed = total - base
    experts = max(_TOP_K + 8, round(_TOP_K * routed / (active - base) / 8) * 8)
    inner = max(8, round(routed / (shape.layers * 3 * shape.width * experts) / 8) * 8)
    model = Model(
        name=word,
        width=shape.width,
        vocabulary=shape.vocabulary,
        layers=(Layers(shape.layers, attention, FeedForward(inner, experts=experts, top_k=_TOP_K)),),
        origin="assumed",
        assumption=(
            f"{word}: a typical mixture of experts of that size is assumed: {shape.layers} layers of width "
            f"{shape.width}, {experts} experts of {inner}, {_TOP_K} per token, {shape.kv_heads} KV heads"
        ),
    )
    return _checked(model, word, total)


def _checked(model: Model, word: str, total: int) -> Model:
    """A shape that misses the size by more than 3 % is not what was asked for."""
    if abs(model.parameters / total - 1.0) > 0.03:
        raise UsageError(
            f"{word}: no typical shape comes near that size", "describe the model in a TOML file instead"
        )
    return model
