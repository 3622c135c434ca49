"""The job, the formats it runs in, and the layout of its parallelism."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple


class Layout(NamedTuple):
    """How the chips share the work.

    A replica of the model takes `pipeline * tensor * attention_data * context` chips; `data`
    replicas serve the batch together. `attention_data` groups hold whole attention layers for a
    part of the sequences while the feed-forward part is divided over all of them; `expert` is the
    number of chips over which whole experts are spread (1: every expert is cut).
    """

    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    data: int = 1
    context: int = 1
    attention_data: int = 1

    @property
    def chips(self) -> int:
        """Chips that the layout occupies.

        >>> Layout(tensor=8, pipeline=2).chips
        16
        """
        return self.tensor * self.pipeline * self.data * self.context * self.attention_data


@dataclass(frozen=True)
class Precision:
    """Formats by name. `activations` None: what kernels for such weights use on the chip."""

    weights: str = "bf16"
    kv: str = "bf16"
    activations: str | None = None


@dataclass(frozen=True)
class Workload:
    """What is asked: `batch` sequences decoded at once, each holding `context_tokens`.

    `output_tokens` of the context are generated, the rest is the prompt. With `draft_tokens` a step
    verifies that many proposed tokens, each accepted with probability `acceptance`.
    """

    batch: int = 1
    context_tokens: int = 8192
    output_tokens: int = 0
    draft_tokens: int = 0
    acceptance: float | None = None
    workflow: Literal["decode"] = "decode"

    @property
    def prompt_tokens(self) -> int:
        """Tokens before the first generated one."""
        return self.context_tokens - self.output_tokens

    @property
    def tokens_per_step(self) -> float:
        """Expected tokens a sequence gains in a step: (1 - a^(g+1)) / (1 - a), with bonus token.

        >>> Workload(draft_tokens=1, acceptance=0.8).tokens_per_step
        1.8

        Reference: Leviathan 2022 (arXiv:2211.17192), equation 1.
        """
        if not self.draft_tokens or self.acceptance is None:
            return 1.0
        if self.acceptance >= 1.0:
            return self.draft_tokens + 1.0
        accepted: float = 1.0 - self.acceptance ** (self.draft_tokens + 1)
        return accepted / (1.0 - self.acceptance)


@dataclass(frozen=True)
class Prices:
    """What a chip costs an hour, by scenario or by owning it.

    With `usd_per_chip` the hour costs depreciation plus electricity; else `usd_per_chip_hour`, which
    then includes power. `utilization` is the share of the day spent at this load.
    """

    scenario: str
    usd_per_chip_hour: float | None = None
    usd_per_chip: float | None = None
    depreciation_years: float = 4.0
    usd_per_kwh: float | None = None
    pue: float = 1.0
    utilization: float = 1.0
    kind: str | None = None
    date: str | None = None
    source: str | None = None
