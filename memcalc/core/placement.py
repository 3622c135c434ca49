"""Placement: which part of a model lives in which memory tier, and what that is called.

A part is filled into the tiers from the fastest on. The order of the parts decides who is left with the
slow tier. The heat of a part, its reads per stored byte in a pass, says which order that is: where tiers are
read one after the other, the hottest bytes belong into the fastest tier (exchange two bytes to see it). By
heat the weights that every token uses come first, then routed experts or the KV cache. Where tiers are read
at once it may pay to leave the fast one partly empty: up to the balance point, at which both take as long.
The caller times all candidates and keeps the fastest; where reads decide, that is exact on two tiers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from memcalc.chip import BEYOND, ON_CHIP, Chip
from memcalc.core.residency import WEIGHT_PARTS, Residency
from memcalc.engine import Engine

#: Parts that a step reads; they decide the verdict. `cold` weights never do.
HOT_WEIGHTS = ("attention", "ffn", "experts")
#: Each class of weights is rounded up to whole bytes, which must not overflow a tier that holds just them.
ROUNDING_BYTES = 64.0
#: The part that each tensor class belongs to.
PART_OF: Mapping[str, str] = {
    "attention": "attention", "recurrent": "attention", "head": "attention", "dense": "ffn", "shared": "ffn", "router": "ffn",
    "experts": "experts", "embedding": "cold", "vision": "cold",
}  # fmt: skip
#: Orders in which hot parts may be filled into the tiers, fastest first. By heat it is the first or the second.
ORDERS: Mapping[str, tuple[str, ...]] = {
    "weights-first": ("attention", "ffn", "experts", "kv"),
    "kv-before-experts": ("attention", "ffn", "kv", "experts"),
    "kv-first": ("kv", "attention", "ffn", "experts"),
}
#: Verdicts from best to worst.
VERDICTS = ("on-chip", "weights-on-chip", "kv-on-chip", "split", "dram", "host", "does-not-fit")
#: The verdicts that each plan accepts.
PLANS: Mapping[str, tuple[str, ...]] = {
    "on-chip": ("on-chip",),
    "weights-on-chip": ("on-chip", "weights-on-chip"),
    "dram": ("on-chip", "weights-on-chip", "kv-on-chip", "split", "dram"),
}

Shares = tuple[tuple[str, float], ...]


def worst(verdicts: Iterable[str]) -> str:
    """The worst of several verdicts; of none, that nothing fits.

    >>> worst(["dram", "on-chip"]), worst([])
    ('dram', 'does-not-fit')
    """
    return max(verdicts, key=VERDICTS.index, default="does-not-fit")


class Room(NamedTuple):
    """A tier of one chip with the bytes that tensors may fill, and the parts that may."""

    tier: str
    usable: float
    holds: Literal["all", "weights", "cache"]

    def takes(self, part: str) -> bool:
        """Whether a part may live here: ROM takes no cache, and a tier kept for the cache no weights."""
        return self.holds == "all" or (self.holds == "cache") == (part in ("kv", "overhead"))


class Placement(NamedTuple):
    """Where each part lives: shares by tier that add up to one, bytes used on the fullest chip."""

    shares: Mapping[str, Shares]
    used: Mapping[str, float]
    verdict: str
    order: str

    @property
    def fits(self) -> bool:
        """Whether every byte has a home."""
        return self.verdict != "does-not-fit"


def rooms(chip: Chip, engine: Engine) -> tuple[Room, ...]:
    """The tiers where tensors may live, fastest first, with what of each is usable on one chip [B]."""
    found = []
    for name, tier in chip.homes:
        if tier.capacity_bytes is not None:
            usable = 1.0 if engine.ideal else engine.usable_memory if tier.usable is None else tier.usable
            found.append(Room(name, usable * tier.capacity_bytes, tier.holds))
    return tuple(found)


def on_chip(places: tuple[Room, ...], plan: str, sizes: Mapping[str, float]) -> bool:
    """Whether the die holds what the plan wants there: the weights that are read, and `on-chip` the cache."""
    weights = sum(sizes[part] for part in HOT_WEIGHTS)
    near = tuple(room for room in places if room.tier in ON_CHIP)
    return enough(near, weights, sizes["kv"] if plan == "on-chip" else 0.0)


def capacity(places: tuple[Room, ...], weights: float, tiers: tuple[str, ...] | None = None) -> float:
    """Bytes that the tiers (None: all) can hold together, if `weights` of them are weights [B]."""
    chosen = [room for room in places if tiers is None or room.tier in tiers]
    masked = sum(room.usable for room in chosen if room.holds == "weights")
    return min(masked, weights) + sum(room.usable for room in chosen if room.holds != "weights")


def enough(places: tuple[Room, ...], weights: float, rest: float) -> bool:
    """Whether the tiers hold so many bytes of weights and of all else, each where it may live."""
    total = masked = cache = 0.0
    for _, usable, holds in places:
        total += usable
        if holds == "weights":
            masked += usable
        elif holds == "cache":
            cache += usable
    # What only one kind may fill cannot make up for the other.
    limit = total + ROUNDING_BYTES
    return weights + rest <= limit and weights <= limit - cache and rest <= limit - masked


def place(
    held: Residency,
    places: tuple[Room, ...],
    batch: int,
    context: int,
    order: str,
    cap: float | None = None,
) -> Placement:
    """Fill the parts into the tiers in that order; the verdict says if something is left over.

    Of hot parts the fastest tier takes at most `cap` bytes, unless they find no other room. Runtime and
    activations take the slowest tier of the chip itself, and cold weights the slowest room that is left, so
    that neither displaces what a step reads.
    """
    if len(places) == 1 and places[0].holds == "all":
        # The common case by itself: one tier holds all or nothing.
        tier, usable, _ = places[0]
        total = held.needed(batch, context)
        only: Shares = ((tier, 1.0),)
        verdict = "does-not-fit" if total > usable + ROUNDING_BYTES else _only(tier)
        return Placement(
            dict.fromkeys((*WEIGHT_PARTS, "kv", "overhead"), only), {tier: total}, verdict, order
        )
    sizes = held.sizes(batch, context)
    shares, free, left = fill(sizes, places, order, cap)
    if held.head:
        # Stages between the ends have no head to hold, so more of their layers is in the fast tier.
        inner = held.between_ends(sizes)
        shares = _mean(sizes, shares, inner, fill(inner, places, order, cap)[0], held.layout.pipeline)
    shares |= dict.fromkeys(held.idle, shares["cold"])
    used = {room.tier: room.usable - free[room.tier] for room in places}
    verdict = "does-not-fit" if left > ROUNDING_BYTES else _verdict(shares, sizes)
    return Placement(shares, used, verdict, order)


def _mean(
    end: Mapping[str, float],
    at_end: Mapping[str, Shares],
    inner: Mapping[str, float],
    within: Mapping[str, Shares],
    stages: int,
) -> dict[str, Shares]:
    """Shares of each part over all stages of a pipeline, one of which is the fuller end."""
    mean: dict[str, Shares] = {}
    for part, shares in at_end.items():
        here: dict[str, float] = {}
        for times, sizes, of in ((1, end, shares), (stages - 1, inner, within[part])):
            for tier, share in of:
                here[tier] = here.get(tier, 0.0) + times * share * sizes[part]
        total = end[part] + (stages - 1) * inner[part]
        mean[part] = tuple((tier, size / total) for tier, size in here.items()) if total else shares
    return mean


def fill(
    sizes: Mapping[str, float], places: tuple[Room, ...], order: str, cap: float | None = None
) -> tuple[dict[str, Shares], dict[str, float], float]:
    """Shares of each part by tier, the bytes left free in each tier, and those that found no room [B].

    >>> rooms = Room("sram", 10.0, "all"), Room("hbm", 100.0, "all")
    >>> sizes = {"attention": 6.0, "ffn": 8.0, "experts": 0.0, "kv": 5.0, "cold": 0.0, "overhead": 0.0}
    >>> fill(sizes, rooms, "weights-first")[0]["ffn"]
    (('sram', 0.5), ('hbm', 0.5))
    """
    free = {tier: usable for tier, usable, _ in places}
    got: dict[str, dict[str, float]] = {part: {} for part in sizes}
    kept_apart = any(holds != "all" for _, _, holds in places)
    open_to = _open_to(sizes, places) if kept_apart else {}

    def put(part: str, size: float, tiers: Sequence[Room]) -> float:
        """Put bytes of a part into the tiers in turn; return those that found no room."""
        if size <= 0.0:
            return 0.0
        where, kind = got[part], "cache" if part in ("kv", "overhead") else "weights"
        for room in tiers:
            tier = room.tier
            here = min(size, free[tier])
            if kept_apart:
                here = max(0.0, min(here, open_to[kind])) if room.holds == "all" else here * room.takes(part)
                open_to[kind] -= here * (room.holds == "all")
            if here > 0.0:
                free[tier] -= here
                where[tier] = where.get(tier, 0.0) + here
                size -= here
                if size <= 0.0:
                    return 0.0
        return size

    slow_first = places[::-1]
    left = put("overhead", sizes["overhead"], sorted(slow_first, key=lambda room: room.tier in BEYOND))
    fastest = places[0].tier
    kept = 0.0 if cap is None else max(0.0, free[fastest] - cap)
    free[fastest] -= kept
    homeless = {part: put(part, sizes[part], places) for part in ORDERS[order]}
    free[fastest] += kept
    left += sum(put(part, size, places) for part, size in homeless.items() if size)
    # Masks hold cold weights too; else what is slow, and beyond the chip only what finds no room on it.
    cold_first = sorted(slow_first, key=lambda room: (room.holds != "weights", room.tier in BEYOND))
    left += put("cold", sizes["cold"], cold_first)
    shares = {
        part: tuple((tier, here / sizes[part]) for tier, here in where.items()) for part, where in got.items()
    }
    if not shares["cold"]:
        # The fullest chip may hold none, at the other end of a pipeline from the embedding.
        taking = [room.tier for room in cold_first if room.takes("cold")] or [slow_first[0].tier]
        shares["cold"] = ((max(taking, key=lambda tier: free[tier] > ROUNDING_BYTES), 1.0),)
    return shares, free, left


def _open_to(sizes: Mapping[str, float], places: tuple[Room, ...]) -> dict[str, float]:
    """Bytes of the rooms that take all which each kind may fill: the rest the other kind has nowhere else."""
    shared = sum(room.usable for room in places if room.holds == "all")
    own = {kind: sum(room.usable for room in places if room.holds == kind) for kind in ("weights", "cache")}
    cache = sizes["kv"] + sizes["overhead"]
    weights = sum(sizes.values()) - cache
    return {
        "weights": shared - max(0.0, cache - own["cache"]),
        "cache": shared - max(0.0, weights - own["weights"]),
    }


def balance(
    sizes: Mapping[str, float], heats: Mapping[str, float], rates: Sequence[Mapping[str, float]], order: str
) -> float:
    """Bytes of hot parts in the fastest tier at which it is read for as long as the next one [B].

    In that order the parts go to the fastest tier until R_1 / b_1 = R_2 / b_2, with R the bytes of a tier
    that a pass reads. `heats` are reads per stored byte, `rates` the bytes/s of both tiers by part.

    >>> sizes = {"attention": 60.0, "ffn": 60.0, "experts": 0.0, "kv": 0.0}
    >>> fast, slow = dict.fromkeys(sizes, 3.0), dict.fromkeys(sizes, 1.0)
    >>> balance(sizes, dict.fromkeys(sizes, 1.0), (fast, slow), "weights-first")
    90.0
    """
    fast, slow = rates
    in_fast, in_slow = 0.0, sum(sizes[part] * heats[part] / slow[part] for part in ORDERS[order])
    cap = 0.0
    for part in ORDERS[order]:
        reads = sizes[part] * heats[part]
        more, less = reads / fast[part], reads / slow[part]
        if in_fast + more >= in_slow - less and reads:
            return cap + sizes[part] * (in_slow - in_fast) / (more + less)
        in_fast, in_slow, cap = in_fast + more, in_slow - less, cap + sizes[part]
    return cap


def _only(tier: str) -> str:
    return "on-chip" if tier in ON_CHIP else "host" if tier in BEYOND else "dram"


def _verdict(shares: Mapping[str, Shares], sizes: Mapping[str, float]) -> str:
    """The name of a placement, from what a step reads: hot weights and KV cache."""
    near = far = 0.0
    inside = {}
    for kind, parts in (("weights", HOT_WEIGHTS), ("kv", ("kv",))):
        here = total = 0.0
        for part in parts:
            total += sizes[part]
            for tier, share in shares[part]:
                here += sizes[part] * share * (tier in ON_CHIP)
                far += sizes[part] * share * (tier in BEYOND)
        near += here
        inside[kind] = here >= total - ROUNDING_BYTES
    if far > ROUNDING_BYTES:
        return "host"
    if inside["weights"] and inside["kv"]:
        return "on-chip"
    if inside["weights"]:
        return "weights-on-chip"
    if inside["kv"] and sizes["kv"] > 0.0:
        return "kv-on-chip"
    return "split" if near > ROUNDING_BYTES else "dram"
