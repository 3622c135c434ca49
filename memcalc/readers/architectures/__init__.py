"""Architectures by the names that `config.json` gives them: each has rules that turn it into a `Model`.

The rules are grouped in modules that are imported when one of theirs is asked for. A name that is not here
is refused: nothing is guessed from likeness.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from memcalc.readers.architectures.config import Rules

#: `model_type` of a config (of its text part, where it has one) to module and function of its rules.
BY_TYPE: Mapping[str, str] = {
    "llama": "dense:llama",
}
#: Architectures whose code is not in Transformers, or whose `model_type` is another's, by class name.
BY_CLASS: Mapping[str, str] = {}


def rules(model_type: str, architecture: str) -> Rules | None:
    """The rules of an architecture, None where it is not known.

    >>> rules("llama", "LlamaForCausalLM").__name__
    'llama'
    """
    found = BY_CLASS.get(architecture) or BY_TYPE.get(model_type)
    if found is None:
        return None
    module, _, function = found.partition(":")
    chosen: Rules = getattr(import_module("memcalc.readers.architectures." + module), function)
    return chosen
