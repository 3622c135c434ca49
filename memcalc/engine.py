"""Engines: what a software stack gets out of a chip family, and what memory it keeps for itself.

The constants are few and physical. Each is a global value, moved by the engine and moved by the chip
family, without interactions: fractions add up as log-odds, times and counts multiply. So an engine
needs no row for every chip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from math import exp, log
from typing import Literal

from memcalc.model import Source
from memcalc.noun import noun

#: Constants between 0 and 1, which add up as log-odds.
FRACTIONS = (
    "memory_efficiency",
    "compute_efficiency",
    "attention_efficiency",
    "kv_efficiency",
    "link_efficiency",
    "weight_only_efficiency",
    "serving_efficiency",
    "expert_efficiency",
)
#: Constants above zero, which multiply.
POSITIVES = (
    "layer_s",
    "sequence_s",
    "saturation_tokens",
    "unpack_ops",
    "k_quant_factor",
    "collective_s",
    "activation_bytes",
    "collective_growth",
    "pcie_collective_factor",
    "vector_tokens",
    "least_tile_tokens",
    "byte_unpack_share",
)


#: Tasks that have bands of their own.
BAND_TASKS = ("decode", "batch", "prefill", "serving")


@noun
class Constants:
    """What shapes the time of a step, resolved for one engine on one chip family.

    memory_efficiency        share of DRAM bandwidth that streaming weights reach
    compute_efficiency       share of peak that large matrix products reach
    attention_efficiency     attention core against `compute_efficiency`
    kv_efficiency            KV reads against `memory_efficiency`
    link_efficiency          share of link bandwidth that collectives reach
    weight_only_efficiency   compute share left when weights are expanded first
    expert_efficiency        compute share of routed experts against `compute_efficiency`
    serving_efficiency       share of the time that a loaded server spends in its steps
    layer_s                  launches and gaps per layer [s]
    sequence_s               host work per sequence and step [s]
    saturation_tokens        tokens at which matrix products reach half of their rate
    unpack_ops               vector operations to expand one 4-bit weight
    k_quant_factor           the same for k-quants, as a multiple
    collective_s             latency of one collective over two chips [s]
    activation_bytes         unfused traffic per token, layer and element of width [B]
    collective_growth        growth of that latency with each doubling of the chips beyond two
    pcie_collective_factor   the same latency over PCIe, as a multiple
    vector_tokens            up to so many tokens a product is one of matrix and vector, on the vector units
    least_tile_tokens        below so many tokens the matrix units run no better
    byte_unpack_share        `unpack_ops` of 8-bit formats against 4-bit ones
    """

    memory_efficiency: float = 1.0
    compute_efficiency: float = 1.0
    attention_efficiency: float = 1.0
    kv_efficiency: float = 1.0
    link_efficiency: float = 1.0
    weight_only_efficiency: float = 1.0
    serving_efficiency: float = 1.0
    expert_efficiency: float = 1.0
    layer_s: float = 0.0
    sequence_s: float = 0.0
    saturation_tokens: float = 0.0
    unpack_ops: float = 0.0
    k_quant_factor: float = 1.0
    collective_s: float = 0.0
    activation_bytes: float = 0.0
    collective_growth: float = 0.0
    pcie_collective_factor: float = 1.0
    vector_tokens: float = 0.0
    least_tile_tokens: float = 1.0
    byte_unpack_share: float = 1.0


@noun
class Engine:
    """A software stack: its constants on the default family, its memory habits, its record.

    `combine`: an operator takes the larger of compute and memory time (`max`), or the root of their
    squares (`root-sum-square`), which fits measurements better. With `inherits` a constant that the
    engine does not name has the global value, moved by the chip family; without, it is neutral.
    `ideal` is the bare roofline: nominal bandwidth, no floors, all of the memory. KV cache is reserved in
    pages of `page_tokens` (`latent_page_tokens` for latent attention, None: the same). Of a windowed layer
    the window and `window_slack_tokens` are reserved, or `window_share` of the context if that is more and
    other layers keep all of it: 1 where an engine treats its layers as if they had no window. `points` says on
    how many measurements the constants rest for each chip family. An engine that `splits` layers over
    chips runs one batch at a time through them. Of a quantised model it holds no matrix but the router's in a
    wider format than `widest_quantized`, whatever the checkpoint leaves alone. A scheduler runs at most `max_sequences` on a replica.

    `bands` are the factors around a speed that hold 80 % of measurements, by chip family (`any`: over all)
    and task: decode of one sequence, decode of a batch, prefill, serving. `band` holds where there is none.
    An engine whose releases differ has a preset for the older ones: it is a `release_of` the other, `until`
    the month in which it ended (YYYY-MM).
    """

    name: str
    title: str
    constants: Mapping[str, float] = field(default_factory=dict)
    combine: Literal["max", "root-sum-square"] = "root-sum-square"
    inherits: bool = True
    ideal: bool = False
    usable_memory: float = 1.0
    reserved_bytes_per_chip: int = 0
    reserved_bytes_per_linked_chip: int | None = None
    page_tokens: int = 1
    latent_page_tokens: int | None = None
    window_slack_tokens: int = 0
    window_share: float = 0.0
    prefill_chunk_tokens: int = 8192
    splits: Literal["tensors", "layers"] = "tensors"
    widest_quantized: str | None = None
    max_sequences: int = 4096
    prefill_compute_efficiency: float | None = None
    band: float = 2.0
    bands: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    points: Mapping[str, int] = field(default_factory=dict)
    evidence: Literal["calibrated", "roofline", "vendor-claim", "estimate", "hypothetical"] = "estimate"
    release_of: str | None = None
    until: str | None = None
    notes: str = ""
    origin: Literal["preset", "file", "assumed"] = "preset"
    sources: Mapping[str, Source] = field(default_factory=dict)


@noun
class Family:
    """What any software gets out of a chip family, as constants under the default engine."""

    name: str
    constants: Mapping[str, float] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)


def resolve(base: Mapping[str, float], engine: Engine, family: Family) -> Constants:
    """The constants of `engine` on `family`; `base` are the global ones.

    log-odds(z) = log-odds(engine) + log-odds(family) - log-odds(base) for fractions, the same with
    logarithms for the others. An engine that does not inherit has its own constants and no others.

    >>> vllm = Engine("vllm", "vLLM", {"memory_efficiency": 0.848})
    >>> hopper = Family("hopper", {"memory_efficiency": 0.883})
    >>> round(resolve({"memory_efficiency": 0.858}, vllm, hopper).memory_efficiency, 2)
    0.87
    """
    if not engine.inherits:
        return Constants(**engine.constants)
    values = {}
    for name in FRACTIONS:
        whole = base.get(name, 1.0)
        mine, theirs = engine.constants.get(name, whole), family.constants.get(name, whole)
        # At 0 or 1 there is nothing to move: such a constant is meant as it stands.
        fixed = mine >= 1.0 or whole >= 1.0
        values[name] = mine if fixed else _expit(_logit(mine) + _logit(theirs) - _logit(whole))
    for name in POSITIVES:
        whole = base.get(name, 0.0)
        mine, theirs = engine.constants.get(name, whole), family.constants.get(name, whole)
        values[name] = mine * theirs / whole if whole else mine
    return Constants(**values)


def _logit(share: float) -> float:
    return log(share / (1.0 - share))


def _expit(value: float) -> float:
    return 1.0 / (1.0 + exp(-value))
