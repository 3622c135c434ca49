"""The report: one answer, self-contained, every number with its terms, as the JSON contract has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields, is_dataclass
from typing import Any

from memcalc.noun import noun
from memcalc.workload import Layout, Precision

SCHEMA_VERSION = 1


@noun
class ModelFacts:
    """The model: parameters without MTP layers, those that one token uses, and all by tensor class.

    `active_parameters_without_embedding` leaves out tables that are only looked up.
    """

    name: str
    source: str
    parameters: int
    active_parameters: int
    active_parameters_without_embedding: int
    parameters_by_class: Mapping[str, int]
    vision_parameters: int
    mtp_parameters: int
    layers: int
    context_limit_tokens: int | None


@noun
class PoolFacts:
    """The chips of one kind in a system, what they do there, and whether their part fits them.

    `role`: `all`, or of unlike pools `attention` (with cache, and prefill unless another pool has it),
    `feed-forward`, `prefill` or `decode`. `min_chips` are the fewest that hold the part, `placement` the
    bytes of each tensor by tier over the pool, copies included.
    """

    role: str
    chip: str
    title: str
    chips: int
    engine: str
    hypothetical: bool
    verdict: str
    reason: str
    min_chips: int | None
    usd_per_chip_hour: float | None
    placement: Mapping[str, Mapping[str, int]]


@noun
class SystemFacts:
    """The chips of all pools. `hypothetical` ones have figures that no maker published."""

    name: str
    title: str
    chip: str
    chips: int
    source: str
    hypothetical: bool
    pools: tuple[PoolFacts, ...] = ()


@noun
class WorkloadFacts:
    """What was asked, resolved to integers."""

    workflow: str
    batch: int
    context_tokens: int
    prompt_tokens: int
    output_tokens: int
    draft_tokens: int
    acceptance: float | None


@noun
class LayoutFacts:
    """The degrees of parallelism. `spatial`: the layers lie side by side over all chips of a replica."""

    tensor_parallel: int
    pipeline_parallel: int
    expert_parallel: int
    data_parallel: int
    context_parallel: int
    attention_data_parallel: int
    spatial: bool

    @property
    def layout(self) -> Layout:
        """The layout itself."""
        return Layout(
            self.tensor_parallel,
            self.pipeline_parallel,
            self.expert_parallel,
            self.data_parallel,
            self.context_parallel,
            self.attention_data_parallel,
        )


@noun
class PlacementRow:
    """A tensor: `bytes` without copies, and where its copies are resident over the system [B].

    `read_bytes_per_step` is what a decode step reads of it over the system: of experts those that are
    touched, weights once for each micro-batch; None where it is not read or does not fit.
    """

    tensor: str
    bytes: int
    tiers: Mapping[str, int]
    read_bytes_per_step: int | None = None


@noun
class KvCache:
    """The KV cache as the model needs it, and as the engine reserves it; `replication` is copies.

    `uncompressed_bytes_per_token` is what latent layers would add if they kept keys and values of every
    head; None for other attention. Pages have `page_tokens`; `reserved_because` says why more is reserved.
    """

    bytes_per_token: int
    bytes_per_sequence: int
    state_bytes_per_sequence: int
    engine_reserved_bytes_per_sequence: int
    replication: float
    uncompressed_bytes_per_token: int | None = None
    page_tokens: int = 1
    reserved_because: tuple[str, ...] = ()


@noun
class TierRow:
    """A memory tier over all chips of a pool; `bandwidth_bytes_per_s` is nominal, None where unknown.

    `pool` is what the pool does, as in `PoolFacts.role`.
    """

    pool: str
    chip: str
    tier: str
    capacity_bytes: int | None
    usable_bytes: int
    used_bytes: int
    bandwidth_bytes_per_s: float | None
    role: str


@noun
class Limits:
    """What memory alone allows, each with the rest of the request held; None where endless or never."""

    max_batch: int | None
    max_context_tokens: int | None
    min_chips: int | None


@noun
class Change:
    """The first value of `what` at which the verdict becomes a worse one."""

    what: str
    value: int
    verdict: str


@noun
class Decode:
    """A decode step. `terms_s` are exposed times that add up to `step_s`; low and high are its band."""

    step_s: float
    tokens_per_s_per_user: float
    tokens_per_s: float
    tokens_per_s_per_chip: float
    bottleneck: str
    terms_s: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]


@noun
class Prefill:
    """Prefill of one prompt alone on the system; `batch_s` is for the prompts of the whole batch.

    Where other chips decode, the cache of the prompt is handed over in `kv_transfer_s`. It leaves layer by
    layer while the next ones are computed; what shows of it is in the term `network`.
    """

    time_to_first_token_s: float
    tokens_per_s: float
    batch_s: float
    bottleneck: str
    terms_s: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]
    kv_transfer_bytes: int | None = None
    kv_transfer_s: float | None = None


@noun
class RequestTime:
    """From the prompt to the last generated token, over the growing context [s]; None without output."""

    latency_s: float | None
    low: Mapping[str, float] = field(default_factory=dict)
    high: Mapping[str, float] = field(default_factory=dict)


@noun
class Cost:
    """Dollars and joules. `energy_terms_j` add up to `joules_per_output_token`; None where unknown.

    With unlike pools the price of a chip-hour stands with each pool.
    """

    usd_per_chip_hour: float | None
    usd_per_million_output_tokens: float | None
    usd_per_million_input_tokens: float | None
    utilization: float
    price_kind: str | None
    price_date: str | None
    watts: float | None
    joules_per_output_token: float | None
    energy_terms_j: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]


@noun
class Sensitivity:
    """What +10 % (`change`) of a figure would change in the speed, as a fraction."""

    figure: str
    change: float
    tokens_per_s_per_user: float


@noun
class Remedy:
    """Options that make a request fit, and how it then fits."""

    options: str
    outcome: str


@noun
class Report:
    """The answer to one request. Where it does not fit, decode, prefill, request and cost are None.

    The keys and units are those of the JSON output; `to_dict` gives exactly that.
    """

    schema_version: int
    memcalc_version: str
    command: str
    model: ModelFacts
    system: SystemFacts
    workload: WorkloadFacts
    precision: Precision
    engine: str
    prices: str
    layout: LayoutFacts | None
    fits: bool
    verdict: str
    reason: str
    placement: tuple[PlacementRow, ...]
    kv_cache: KvCache
    tiers: tuple[TierRow, ...]
    limits: Limits
    decode: Decode | None
    prefill: Prefill | None
    request: RequestTime | None
    cost: Cost | None
    evidence: Mapping[str, str]
    not_modeled: tuple[str, ...]
    warnings: tuple[str, ...]
    degrades_at: tuple[Change, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()
    why: str = ""

    @property
    def reports(self) -> tuple[Report, ...]:
        """The report as the only one of its kind, as a comparison has several."""
        return (self,)

    def to_dict(self) -> dict[str, Any]:
        """The report as the JSON contract has it: plain dictionaries, lists, numbers and None."""
        plain: dict[str, Any] = _plain(self)
        # The contract lists remedies as option strings; how each then fits stands beside them.
        plain["remedy_outcomes"] = [remedy.outcome for remedy in self.remedies]
        plain["remedies"] = [remedy.options for remedy in self.remedies]
        return plain


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value
