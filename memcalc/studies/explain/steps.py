"""The steps of an explanation: formulas over named numbers, with the source of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from memcalc.core.ledger import Cache
from memcalc.core.report import PlacementRow, Report
from memcalc.core.search import Request
from memcalc.model import Source, source_of
from memcalc.noun import noun
from memcalc.studies.explain.formula import evaluate

#: The headings under which steps stand, in the order of data flow; of a pool followed by what it does.
GROUPS = ("memory", "placement", "decode step", "prefill", "cost")
Numbers = dict[str, float]
#: Pieces of a sum, and the numbers in them.
Pieces = tuple[list[str], Numbers]
#: Where a formula or its figures come from, one or several.
Sources = tuple[str, ...]


@noun
class Step:
    """A formula, the numbers that stand in it, and what it gives; `unit` is that of the result.

    `sources` say where the formula, or the figures in it, come from. A verdict is text, and so may its formula be.
    """

    group: str
    name: str
    formula: str
    values: Mapping[str, float]
    result: float | str
    unit: str
    sources: Sources = ()

    def to_dict(self) -> dict[str, Any]:
        """The step as the JSON contract has it."""
        return {
            "group": self.group,
            "name": self.name,
            "formula": self.formula,
            "values": dict(self.values),
            "result": self.result,
            "unit": self.unit,
            "source": "; ".join(self.sources) or None,
        }


class Steps:
    """The steps so far, for one request and its report."""

    def __init__(self, request: Request, report: Report) -> None:
        self.request, self.report = request, report
        self.found: list[Step] = []
        self.group = GROUPS[0]

    def on(self, request: Request, group: str) -> Steps:
        """The same steps going on under another heading, of the chips of another request."""
        other = Steps(request, self.report)
        other.found, other.group = self.found, group
        return other

    @property
    def chips(self) -> str:
        """What the chips that work at a time are called: of layers side by side each has a part of a chip."""
        return "chips_per_layer" if self.request.chip.execution == "spatial" else "chips"

    @property
    def kept(self) -> str:
        """What is kept of a sequence: a cache, a state, or both."""
        kinds = {cache.state for cache in self.request.book.caches}
        return "state" if kinds == {True} else "KV cache and state" if True in kinds else "KV cache"

    def add(
        self,
        name: str,
        formula: str,
        values: Mapping[str, float],
        unit: str,
        source: Sources | str = (),
        result: float | None = None,
    ) -> float:
        """Add a step and return its result: the estimator's where given, else what the formula gives."""
        if result is None:
            result = evaluate(formula, values)
        sources = (source,) if isinstance(source, str) else tuple(dict.fromkeys(source))
        self.found.append(Step(self.group, name, formula, dict(values), result, unit, sources))
        return result

    def say(self, name: str, text: str, formula: str = "", values: Mapping[str, float] | None = None) -> None:
        """Add a step whose result is text."""
        self.found.append(Step(self.group, name, formula, values or {}, text, ""))

    def chip(self, *figures: str) -> Sources:
        """Where figures of the chip come from."""
        return cited(self.request.chip.sources, *figures)

    def engine(self, *figures: str) -> Sources:
        """Where figures of the engine come from."""
        return cited(self.request.engine.sources, *figures)


def cited(sources: Mapping[str, Source], *figures: str) -> Sources:
    """The sources of figures, each with its kind, and its grade where it has one.

    >>> cited({"compute": Source("vendor", "datasheet", "C")}, "compute.bf16", "power.tdp_w")
    ('datasheet (vendor, grade C)',)
    """
    said = []
    for figure in figures:
        source = source_of(sources, figure)
        if source:
            worth = source.kind + (f", grade {source.grade}" if source.grade else "")
            said.append(f"{source.source} ({worth})")
    return tuple(said)


def summed(pieces: Sequence[str]) -> str:
    """The formula of a sum.

    >>> summed(["a", "b * c"])
    'a + b * c'
    """
    return " + ".join(pieces)


def inner(pieces: Sequence[str]) -> str:
    """A sum that is a factor of something.

    >>> inner(["a", "b"]), inner(["a"])
    ('(a + b)', 'a')
    """
    return f"({summed(pieces)})" if len(pieces) > 1 else summed(pieces)


class Kept(NamedTuple):
    """A cache of the ledger under a name of its own."""

    name: str
    title: str
    cache: Cache


def caches_named(caches: Sequence[Cache]) -> list[Kept]:
    """Caches with names of their own, which formulas and readers can tell apart."""
    found: list[Kept] = []
    for cache in caches:
        if cache.state:
            name, title = "state", "state"
        else:
            name = "full" if cache.window is None else f"window_{cache.window}"
            title = "all tokens" if cache.window is None else f"window of {cache.window:,}"
            if cache.ratio > 1:
                name, title = f"{name}_per_{cache.ratio}", f"{title}, one entry for {cache.ratio}"
            if cache.reads is not None:
                name, title = f"{name}_top_{cache.reads}", f"{title}, {cache.reads:,} read"
            if not cache.stored:
                name, title = f"{name}_shared", f"{title}, of another layer"
        count = sum(kept.name.split("__")[0] == name for kept in found)
        end = f"__{count + 1}" if count else ""
        found.append(Kept(name + end, title + (f" ({count + 1})" if count else ""), cache))
    return found


def tensor_row(report: Report, tensor: str) -> PlacementRow:
    """The row of a tensor in the report."""
    return next(row for row in report.placement if row.tensor == tensor)


def entries_kept(one: Kept, context: int, values: Numbers, tokens: str = "context_tokens") -> str:
    """The formula of the entries that are kept of a context."""
    if one.cache.state:
        return "1"
    values[tokens] = context
    if one.cache.window is not None:
        values[f"{one.name}_tokens"] = one.cache.window
        tokens = f"min({tokens}, {one.name}_tokens)"
    if one.cache.ratio > 1:
        values[f"{one.name}_ratio"] = one.cache.ratio
        return f"floor({tokens} / {one.name}_ratio)"
    return tokens


def entries_read(one: Kept, context: int, values: Numbers, tokens: str = "context_tokens") -> str:
    """The formula of the entries that the query of a token is multiplied with."""
    entries = entries_kept(one, context, values, tokens)
    if one.cache.reads is not None and not one.cache.state:
        values[f"{one.name}_reads"] = one.cache.reads
        return f"min({entries}, {one.name}_reads)"
    return entries


def part_name(name: str) -> str:
    """What a part of the bytes is called in a formula."""
    return {"ffn": "feed_forward", "cold": "looked_up", "kv": "kv_cache"}.get(name, name)


def term_name(term: str) -> str:
    """What a term is called in a formula.

    >>> term_name("memory:hbm")
    'hbm'
    """
    return term.removeprefix("memory:")


def terms_of(values: Mapping[str, float], unit: str) -> Numbers:
    """The terms that count, named as in a formula with their unit.

    >>> terms_of({"compute": 0.1, "memory:hbm": 0.2, "network": 0.0}, "s")
    {'compute_s': 0.1, 'hbm_s': 0.2}
    """
    return {f"{term_name(term)}_{unit}": value for term, value in values.items() if value}
