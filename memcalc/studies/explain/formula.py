"""Formulas as text that can be worked out: arithmetic over named numbers, and nothing else.

What `explain` prints is what it computes: the text of a formula is the formula.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from math import ceil, floor, log2, sqrt

#: The functions that a formula may call.
FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "ceil": ceil, "floor": floor, "log2": log2, "max": max, "min": min, "sqrt": sqrt,
}  # fmt: skip
_OPERATORS: Mapping[type, Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}  # fmt: skip


def evaluate(formula: str, values: Mapping[str, float]) -> float:
    """The number that a formula gives for these values.

    Raises ValueError for anything but arithmetic over them.

    >>> evaluate("bytes / (chips * bytes_per_s)", {"bytes": 6e9, "chips": 2, "bytes_per_s": 3e12})
    0.001
    >>> evaluate("sqrt(a**2 + b**2)", {"a": 3, "b": 4})
    5.0
    """
    return _value(ast.parse(formula, mode="eval").body, values)


def _value(node: ast.expr, values: Mapping[str, float]) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.Name) and node.id in values:
        return values[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, values), _value(node.right, values))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
        return FUNCTIONS[node.func.id](*(_value(argument, values) for argument in node.args))
    raise ValueError(f"not arithmetic over {', '.join(values)}: {ast.unparse(node)}")
