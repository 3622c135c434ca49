"""Chips and systems: memory tiers, arithmetic, links, power and what is known of their floors.

All figures are per chip in base units: bytes, bytes/s (one way), FLOP/s (dense), seconds, watts.
An unknown figure is None, never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from memcalc.model import Source
from memcalc.noun import noun

#: The tiers in the order of the contract; `host` is memory of the node or the system.
TIERS = ("rom", "sram", "hbm", "gddr", "lpddr", "ddr", "host", "flash")
#: Tiers on the die: a tensor here is "on chip".
ON_CHIP = ("rom", "sram")
#: Memory of the node or the system: it is reached over the host link.
BEYOND = ("host", "flash")
#: How a person reads the name of a tier.
TIER_TITLES = {"rom": "ROM", "sram": "SRAM", "hbm": "HBM", "gddr": "GDDR", "lpddr": "LPDDR",
               "ddr": "DDR", "host": "host memory", "flash": "flash"}  # fmt: skip

Plan = Literal["on-chip", "weights-on-chip", "dram"]


@noun
class Tier:
    """One memory of a chip (or the chip's share of a memory of its node).

    Tensors may live here only where `home` is true, and only those that it `holds` (`cache`: KV cache and
    activations); else `role` says what it is. `usable` is the
    share that tensors may fill, None for the engine's. `effective_bytes_per_s` is what decode has
    been seen to draw where the nominal bandwidth is not reachable.
    """

    capacity_bytes: int | None = None
    bandwidth_bytes_per_s: float | None = None
    effective_bytes_per_s: float | None = None
    home: bool = False
    role: Literal["home", "cache", "scratchpad", "attached"] = "home"
    holds: Literal["all", "weights", "cache"] = "all"
    usable: float | None = None
    energy_j_per_byte: float | None = None
    detail: str = ""


@noun
class Power:
    """Watts and joules of a chip. `flop_j` is by compute format.

    `tdp_w` is the rated power of the chip alone, `all_in_w` with its share of host, network and
    cooling, as far as its source counts them. `static_w` flows whatever the chip does.
    """

    tdp_w: float | None = None
    all_in_w: float | None = None
    static_w: float | None = None
    flop_j: Mapping[str, float] = field(default_factory=dict)
    link_j_per_byte: float | None = None


@noun
class Links:
    """What connects a chip, bytes/s one way. `scale_up_domain_chips` share the fast links."""

    scale_up_bytes_per_s: float | None = None
    scale_up_domain_chips: int = 1
    scale_up_kind: Literal["switched", "mesh", "pcie", "none"] = "switched"
    scale_out_bytes_per_s: float | None = None
    host_bytes_per_s: float | None = None
    detail: str = ""


@noun
class LayerFloor:
    """Least time a layer takes whatever it holds: control, synchronisation, pipeline fill.

    floor = base_s + per_1024_width_s * D / 1024, plus moe_s in a layer with experts.
    `includes_network`: it was measured over several chips, so collectives are in it.
    `rests_on` says on how many published points, `throughput_rests_on` on which figure of many users at
    once the claim rests that they share the machine without loss (batch / step); empty: on none.
    """

    base_s: float
    per_1024_width_s: float = 0.0
    moe_s: float = 0.0
    includes_network: bool = True
    rests_on: str = ""
    throughput_rests_on: str = ""

    def seconds(self, width: int) -> float:
        """The floor of one layer of a model of that width, without its experts [s].

        >>> round(LayerFloor(8.6e-6, 7.35e-7).seconds(4096) * 1e6, 2)
        11.54
        """
        return self.base_s + self.per_1024_width_s * width / 1024


@noun
class Hardwired:
    """A chip whose masks fix the model and the format of its weights."""

    model: str
    weights: str


@noun
class Chip:
    """A chip as its preset describes it.

    `execution`: `time-shared` chips run one operator after another on all units; `spatial` ones
    give each layer its own units, and a token flows through. `plan` is what the chip is built for.
    `family` names the efficiency constants, `engine` the software assumed by default.
    """

    name: str
    title: str
    maker: str
    family: str
    engine: str
    memory: Mapping[str, Tier]
    compute: Mapping[str, float] = field(default_factory=dict)
    execution: Literal["time-shared", "spatial"] = "time-shared"
    plan: Plan = "dram"
    links: Links = field(default_factory=Links)
    layer_floor: LayerFloor | None = None
    hardwired: Hardwired | None = None
    power: Power = field(default_factory=Power)
    largest_system_chips: int | None = None
    tier_overlap: float = 0.0
    hypothetical: bool = False
    year: int | None = None
    status: str = ""
    aliases: tuple[str, ...] = ()
    notes: str = ""
    origin: Literal["preset", "file", "assumed"] = "preset"
    sources: Mapping[str, Source] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name in a sentence: one of a chip without published figures says so wherever it stands.

        >>> from memcalc.readers.presets import load_chip
        >>> load_chip("h100-sxm").label, load_chip("matx-one").label
        ('h100-sxm', 'hypothetical matx-one')
        """
        return f"hypothetical {self.name}" if self.hypothetical else self.name

    @property
    def homes(self) -> tuple[tuple[str, Tier], ...]:
        """The tiers where tensors may live, fastest first: the die, the chip's own DRAM, what lies beyond."""
        found = [(name, tier) for name, tier in self.memory.items() if tier.home]
        return tuple(sorted(found, key=_speed))


def _speed(item: tuple[str, Tier]) -> tuple[int, float]:
    name, tier = item
    kind = 0 if name == "rom" else 1 if name in ON_CHIP else 3 if name in BEYOND else 2
    return kind, -(tier.bandwidth_bytes_per_s or 0.0)


@noun
class Pool:
    """`count` chips of another kind that take over a part of the work, and what connects them to the main pool.

    `bytes_per_s` is that of all links together one way; None where none is given: then it follows from the
    links of both sides. `latency_s` is the time of one hand-over.
    """

    chip: Chip
    count: int
    bytes_per_s: float | None = None
    latency_s: float | None = None


@noun
class System:
    """`count` chips of one kind that work on one job, and pools of unlike chips beside them.

    `feed_forward` chips hold the feed-forward weights and work on them in decode, while the main pool has
    attention, the cache and prefill (and so all weights). `prefill` chips take the prompts and hand the
    cache over.
    """

    name: str
    title: str
    chip: Chip
    count: int
    feed_forward: Pool | None = None
    prefill: Pool | None = None
    origin: Literal["preset", "file", "assumed"] = "preset"
    aliases: tuple[str, ...] = ()
    notes: str = ""
    sources: Mapping[str, Source] = field(default_factory=dict)

    @property
    def pools(self) -> tuple[Pool, ...]:
        """All pools, the main one first."""
        beside = (self.feed_forward, self.prefill)
        return (Pool(self.chip, self.count), *(pool for pool in beside if pool))
