"""Where the bytes of a language model live, and what a token costs.

>>> import memcalc
>>> report = memcalc.fit("llama-3.1-70b", chip="h100-sxm", chips=8, batch=32, context="32k", weights="fp8")
>>> report.verdict
'dram'
"""

from __future__ import annotations

from memcalc._version import __version__

# Not from typing: importing that costs more than all of `memcalc --version`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from memcalc.api import compare, explain, fit, request
    from memcalc.errors import MemcalcError

__all__ = ["MemcalcError", "__version__", "compare", "explain", "fit", "request"]

_HOMES = {
    "compare": "memcalc.api",
    "explain": "memcalc.api",
    "fit": "memcalc.api",
    "request": "memcalc.api",
    "MemcalcError": "memcalc.errors",
}


def __getattr__(name: str) -> object:
    # Loaded on first use: `memcalc --version` and shell completion must not pay for the estimator.
    if name not in _HOMES:
        raise AttributeError(f"module 'memcalc' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
