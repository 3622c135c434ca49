"""The job, the formats it runs in, the layout of its parallelism and the price of an hour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal, NamedTuple

from memcalc.noun import noun


class Layout(NamedTuple):
    """How the chips share the work.

    A replica of the model takes `pipeline * tensor * context * attention_data` chips; `data`
    replicas serve the batch together. `attention_data` groups hold whole attention layers for a
    part of the sequences while the feed-forward part is divided over all of them; `expert` is the
    number of chips over which whole experts are spread (1: every expert is cut). `context` chips
    share the cache of a sequence.
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


@noun
class Precision:
    """Formats by name. `activations` None: what kernels for such weights use on the chip."""

    weights: str = "bf16"
    kv: str = "bf16"
    activations: str | None = None


@noun
class Workload:
    """What is asked: `batch` sequences decoded at once, each holding `context_tokens`.

    `output_tokens` of the context are generated, the rest is the prompt. With `draft_tokens` a step
    verifies that many proposed tokens, each accepted with probability `acceptance`.
    """

    batch: int = 1
    context_tokens: int = 8192
    output_tokens: int = 0
    draft_tokens: int = 0
    acceptance: float = 0.0
    workflow: Literal["decode"] = "decode"

    @property
    def prompt_tokens(self) -> int:
        """Tokens before the first generated one."""
        return self.context_tokens - self.output_tokens

    @property
    def tokens_per_step(self) -> float:
        """Expected tokens a sequence gains in a step: (1 - a^(g+1)) / (1 - a), with bonus token.

        >>> round(Workload(draft_tokens=1, acceptance=0.8).tokens_per_step, 6)
        1.8

        Reference: Leviathan 2022 (arXiv:2211.17192), equation 1.
        """
        if self.acceptance >= 1.0:
            return self.draft_tokens + 1.0
        accepted: float = 1.0 - self.acceptance ** (self.draft_tokens + 1)
        return accepted / (1.0 - self.acceptance)


@noun
class Prices:
    """A price scenario: US dollars for an hour of a chip, by chip name.

    A chip that is not in it has no price there. `placeholders` are chips whose price the source
    itself only extrapolated.
    """

    name: str
    date: str
    basis: str
    kind: Literal["vendor", "independent", "derived", "estimate"]
    source: str
    includes_power: bool = True
    usd_per_chip_hour: Mapping[str, float] = field(default_factory=dict)
    placeholders: tuple[str, ...] = ()
    notes: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)


@noun
class Payment:
    """What an hour of a chip is taken to cost: by scenario, by a given price, or by owning it.

    With `usd_per_chip` the hour costs depreciation and electricity. 0.11 USD/kWh is the average of
    the United States in 2024 (EIA, at second hand). `utilization` is the share of the day spent at
    this load.
    """

    scenario: Prices | None = None
    usd_per_chip_hour: float | None = None
    usd_per_chip: float | None = None
    depreciation_years: float = 4.0
    usd_per_kwh: float = 0.11
    pue: float = 1.0
    utilization: float = 1.0
