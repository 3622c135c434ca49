"""Placement: which part of a model lives in which memory tier, and what that is called.

A part is filled into the tiers from the fastest on. The order of the parts decides who is left with the
slow tier: by reads per stored byte, weights come before the KV cache, and the cache comes before experts
that few tokens touch. The caller times the orders and keeps the fastest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from memcalc.chip import ON_CHIP, Chip
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
#: Orders in which hot parts may be filled into the tiers, fastest first.
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


class Room(NamedTuple):
    """A tier of one chip with the bytes that tensors may fill."""

    tier: str
    usable: float
    weights_only: bool


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
            found.append(Room(name, usable * tier.capacity_bytes, tier.holds == "weights"))
    return tuple(found)


def capacity(places: tuple[Room, ...], weights: float, tiers: tuple[str, ...] | None = None) -> float:
    """Bytes that the tiers (None: all) can hold together, if `weights` of them are weights [B]."""
    chosen = [room for room in places if tiers is None or room.tier in tiers]
    rom = sum(room.usable for room in chosen if room.weights_only)
    return min(rom, weights) + sum(room.usable for room in chosen if not room.weights_only)


def place(held: Residency, places: tuple[Room, ...], batch: int, context: int, order: str) -> Placement:
    """Fill the parts into the tiers in that order; the verdict says if something is left over.

    Runtime and activations take the slowest tier of the chip itself, and cold weights the slowest room
    that is left, so that neither displaces what a step reads.
    """
    kv, activations = held.kv(batch, context), held.activations(batch, context)
    writable = [room for room in places if not room.weights_only]
    if len(places) == 1 and writable:
        # The common case by itself: one tier holds all or nothing.
        tier, usable, _ = places[0]
        total = held.fixed + kv + activations
        only: Shares = ((tier, 1.0),)
        verdict = "does-not-fit" if total > usable + ROUNDING_BYTES else _only(tier)
        return Placement(
            dict.fromkeys((*WEIGHT_PARTS, "kv", "overhead"), only), {tier: total}, verdict, order
        )
    sizes = {**held.parts, "kv": kv, "overhead": held.reserved + activations}
    free = {room.tier: room.usable for room in places}
    shares: dict[str, Shares] = {}
    own = [room.tier for room in writable if room.tier not in ("host", "flash")]
    slow_first = [room.tier for room in reversed(writable)]
    any_rom = [room.tier for room in places if room.weights_only]
    left = _fill("overhead", sizes, [*reversed(own), *slow_first], free, shares)
    fast = [room.tier for room in places]
    for part in ORDERS[order]:
        tiers = [room.tier for room in writable] if part == "kv" else fast
        left += _fill(part, sizes, tiers, free, shares)
    left += _fill("cold", sizes, [*any_rom, *slow_first], free, shares)
    if not shares["cold"]:
        # The fullest chip may hold none, at the other end of a pipeline from the embedding.
        shares["cold"] = ((slow_first[0], 1.0),)
    used = {room.tier: room.usable - free[room.tier] for room in places}
    verdict = "does-not-fit" if left > ROUNDING_BYTES else _verdict(shares, sizes)
    return Placement(shares, used, verdict, order)


def _fill(
    part: str, sizes: Mapping[str, float], tiers: list[str], free: dict[str, float], shares: dict[str, Shares]
) -> float:
    """Put a part into the tiers in turn; return the bytes that found no room."""
    size = left = sizes[part]
    got = []
    for tier in tiers:
        bytes_here = min(left, free[tier])
        if bytes_here > 0.0:
            free[tier] -= bytes_here
            left -= bytes_here
            got.append((tier, bytes_here / size))
    shares[part] = tuple(got)
    return left


def _only(tier: str) -> str:
    return "on-chip" if tier in ON_CHIP else "host" if tier in ("host", "flash") else "dram"


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
                far += sizes[part] * share * (tier in ("host", "flash"))
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


def on_chip_need(held: Residency, plan: str, batch: int, context: int) -> float:
    """Bytes of the fullest chip that must lie on the die for the plan [B]."""
    if plan == "dram":
        return 0.0
    weights = sum(held.parts[part] for part in HOT_WEIGHTS)
    return weights + (held.kv(batch, context) if plan == "on-chip" else 0.0)
