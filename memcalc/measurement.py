"""Measurements: what somebody measured, as one row states it, and which of its figures are compared.

A row says what it knows and leaves out the rest: an absent field is unknown. Units stand in the names
of the metrics. The figure that a row is held to is its headline: the first speed that it has, in the
order of `SPEEDS`, or every size of `SIZES` for a row about memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from memcalc.noun import noun

Workflow = Literal["decode", "prefill", "serving-throughput", "training", "finetuning", "memory"]
WORKFLOWS: tuple[Workflow, ...] = (
    "decode", "prefill", "serving-throughput", "training", "finetuning", "memory",
)  # fmt: skip

#: Speeds in the order in which a row is held to them; times are turned into rates.
SPEEDS = (
    "tok_s_user", "tok_s_instance_output", "tok_s_chip_output", "tok_s_chip_total", "prefill_tok_s",
    "prefill_tok_s_chip", "tok_s_total", "model_tflops_chip", "mfu_pct", "tpot_ms", "ttft_ms",
    "e2e_output_tok_s",
)  # fmt: skip
#: Sizes, each of which a row about memory is held to.
SIZES = ("peak_mem_gib", "kv_tokens", "kv_cache_gib", "weights_gib")


@noun
class Measurement:
    """One published or own measurement. `batch` counts sequences at once, unless `notes` say otherwise.

    `context_tokens` is the mean length of the KV cache during decode. `metrics` have their unit in the
    key. `core`: part of the balanced subset for a headline error. `reproducible`: the row states enough
    to be predicted without assumptions about the configuration.
    """

    id: str
    workflow: Workflow
    model: str
    metrics: Mapping[str, float]
    engine: str = "unknown"
    chip: str | None = None
    n_chips: int | None = None
    software: str = ""
    weights: str | None = None
    kv: str | None = None
    acts: str | None = None
    tp: int | None = None
    pp: int | None = None
    ep: int | None = None
    dp: int | None = None
    batch: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    context_tokens: int | None = None
    kind: Literal["independent", "vendor measured", "vendor claim"] = "independent"
    core: bool = False
    reproducible: bool = True
    date: str = ""
    source: str = ""
    notes: str = ""

    @property
    def headlines(self) -> tuple[str, ...]:
        """The metrics that this row is held to; none where it has only others.

        >>> Measurement("a", "decode", "llama-2-7b", {"ttft_ms": 9.0, "tok_s_user": 50.0}).headlines
        ('tok_s_user',)
        """
        names = SIZES if self.workflow == "memory" else SPEEDS
        found = tuple(name for name in names if name in self.metrics)
        return found if self.workflow == "memory" else found[:1]

    def says(self, *words: str) -> bool:
        """Whether software or notes contain one of the words, in small letters.

        >>> Measurement("a", "decode", "m", {}, notes="Batch is per GPU").says("per gpu")
        True
        """
        text = f"{self.software} {self.notes}".lower()
        return any(word in text for word in words)
