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


#: How the class of a language model ends; the class names its architecture, `model_type` may be another's.
_ENDINGS = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")


def rules(model_type: str, architecture: str) -> Rules | None:
    """The rules of an architecture by its class, or where no class is named by its type; None if unknown.

    >>> rules("kimi", "LlamaForCausalLM").__name__, rules("llama", "").__name__
    ('llama', 'llama')
    >>> rules("llama", "LlamaForSequenceClassification") is None
    True
    """
    found = _by_class(architecture) if architecture else BY_TYPE.get(model_type)
    if found is None:
        return None
    module, _, function = found.partition(":")
    chosen: Rules = getattr(import_module("memcalc.readers.architectures." + module), function)
    return chosen


def _by_class(architecture: str) -> str | None:
    """The place of the rules for a class: `Qwen3MoeForCausalLM` is of type `qwen3_moe`."""
    if architecture in BY_CLASS:
        return BY_CLASS[architecture]
    ending = next((end for end in _ENDINGS if architecture.endswith(end)), None)
    if ending is None:
        return None
    word = architecture.removesuffix(ending).lower().replace("_", "")
    # Where text and wrapper have types of their own, ForCausalLM is the text alone.
    wanted = (word + "text", word) if ending != "ForConditionalGeneration" else (word, word + "text")
    known = {name.replace("_", ""): place for name, place in BY_TYPE.items()}
    return next((known[name] for name in wanted if name in known), None)
