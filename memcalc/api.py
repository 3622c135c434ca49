"""The library: words and plain numbers in, reports out.

The command line passes its options through as they were typed, so that both accept and refuse the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Unpack

from memcalc.core.report import Report
from memcalc.core.search import Request
from memcalc.errors import UsageError
from memcalc.model import Model
from memcalc.resolve import CompareOptions, Options, on_larger_chips, resolve
from memcalc.studies.whatif import answer

if TYPE_CHECKING:
    from memcalc.studies.compare import Comparison
    from memcalc.studies.explain import Explanation


def fit(model: str | Model, **options: Unpack[Options]) -> Report:
    """Does it fit, where does each byte live, how fast, how dear: the report of `memcalc fit`.

    The keywords are those of `Options`; text with units and plain numbers are both understood.
    Raises `memcalc.errors.MemcalcError` for words, numbers and files that cannot be used.

    >>> report = fit("llama-3.1-70b", chip="h100-sxm", chips=8, batch=32, context="32k", weights="fp8")
    >>> report.fits, report.verdict, report.layout.tensor_parallel
    (True, 'dram', 8)
    """
    asked = request(model, **options)
    return answer(asked, "fit", on_larger_chips)


def request(model: str | Model, **options: Unpack[Options]) -> Request:
    """The question that these words ask, resolved; UsageError or FileError where they cannot be.

    >>> request("70b", chip="b200", batch="8", context="128k").workload.context_tokens
    131072
    """
    return resolve(model, options, default_chips=1)


def explain(model: str | Model, **options: Unpack[Options]) -> Explanation:
    """How the report of `fit` comes about: each formula with its numbers, and the command that starts the layout.

    The keywords are those of `fit`.

    >>> found = explain("llama-3.1-8b", chip="h100-sxm")
    >>> [step.result for step in found.steps if step.name == "KV cache of one more token"]
    [131072]
    """
    # Loaded here: `fit` starts without it.
    from memcalc.studies.explain import explain as step_by_step

    return step_by_step(request(model, **options), on_larger_chips)


def compare(model: str | Model | Sequence[str | Model], **options: Unpack[CompareOptions]) -> Comparison:
    """Several models, chips, systems, formats or engines side by side: the comparison of `memcalc compare`.

    As `fit`, but models, `chip`, `system`, `weights`, `kv` and `engine` may be lists or text like
    "a,b,c", and `chips` is the fewest that hold the job unless given.

    >>> both = compare("llama-3.1-70b", chip="h100-sxm,wse-3", weights="fp8", kv="fp8")
    >>> [report.verdict for report in both.results]
    ['dram', 'on-chip']
    """
    # Loaded here: `fit` starts without it.
    from memcalc.studies.compare import compare as side_by_side

    rest: dict[str, Any] = dict(options)
    # A chip and a system are two names for one axis: the place where it runs.
    places = [
        {name: word} for name in ("chip", "system", "decode_system") for word in _each(rest.pop(name, None))
    ]
    axes: list[list[dict[str, Any]]] = [places or [{}]]
    for name in ("weights", "kv", "engine"):
        words = _each(rest.pop(name, None))
        axes.append([{name: word} for word in words] or [{}])
    models = [model] if isinstance(model, Model) else _each(model)
    if not models:
        raise UsageError("no model is named", "give a preset name, a size like 70b, or a file")
    requests = []
    for one, *chosen in product(models, *axes):
        words_of_one: Options = {**rest, **{k: v for part in chosen for k, v in part.items()}}  # type: ignore[typeddict-item]
        requests.append(resolve(one, words_of_one, default_chips=None))
    return side_by_side(requests, on_larger_chips)


def _each(value: Any) -> list[Any]:
    """The entries of a list, or of text like "a,b,c"."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    if isinstance(value, list | tuple):
        return [entry for item in value for entry in _each(item)]
    return [] if value is None else [value]
