"""Placement is an optimiser: its candidates hold the best of all ways to spread parts over two tiers."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcalc.api import fit
from memcalc.core.placement import HOT_WEIGHTS, ORDERS, Room, balance, enough, fill

PARTS = (*HOT_WEIGHTS, "kv")
SIZES = st.fixed_dictionaries(dict.fromkeys(PARTS, st.integers(0, 12)))
#: Weights that each token uses are read once; experts and cache at most that.
HEATS = st.fixed_dictionaries(
    {
        "attention": st.just(1.0),
        "ffn": st.just(1.0),
        "experts": st.sampled_from([0.03, 0.25, 0.6, 1.0]),
        "kv": st.sampled_from([0.1, 0.5, 1.0]),
    }
)


def seconds(reads, rates, overlap):
    """T = max + (1 - w) (sum - max) over two tiers."""
    times = [read / rate for read, rate in zip(reads, rates, strict=True)]
    return max(times) + (1.0 - overlap) * (sum(times) - max(times))


@settings(max_examples=150, deadline=None)
@given(
    SIZES,
    HEATS,
    st.integers(1, 40),
    st.sampled_from([1.0, 1.5, 3.0, 10.0]),
    st.sampled_from([0.0, 0.5, 0.8, 0.95, 1.0]),
)
def test_orders_and_balance_point_are_exact_on_two_tiers(sizes, heats, capacity, ratio, overlap):
    total = sum(sizes.values())
    rooms = Room("sram", float(capacity), "all"), Room("hbm", float(total + 1), "all")
    rates = ratio, 1.0
    whole = {**{part: float(size) for part, size in sizes.items()}, "cold": 0.0, "overhead": 0.0}
    by_part = [dict.fromkeys(PARTS, rate) for rate in rates]

    found = []
    for order in ORDERS:
        for cap in (None, balance(whole, heats, by_part, order)):
            shares, _, left = fill(whole, rooms, order, cap)
            assert left == pytest.approx(0.0, abs=1e-6)
            reads = dict.fromkeys(("sram", "hbm"), 0.0)
            for part in PARTS:
                for tier, share in shares[part]:
                    reads[tier] += share * whole[part] * heats[part]
            held = sum(
                share * whole[part] for part in PARTS for tier, share in shares[part] if tier == "sram"
            )
            assert held <= capacity + 1e-6
            found.append(seconds(reads.values(), rates, overlap))

    # Every whole byte of each part in the one tier or the other, and for the last part any share.
    best = float("inf")
    for inside in product(*(range(sizes[part] + 1) for part in PARTS)):
        if sum(inside) <= capacity:
            near = sum(count * heats[part] for part, count in zip(PARTS, inside, strict=True))
            far = sum(sizes[part] * heats[part] for part in PARTS) - near
            best = min(best, seconds((near, far), rates, overlap))
    assert min(found) <= best * (1 + 1e-9) + 1e-12


def test_heat_decides_what_cold_experts_may_displace():
    sizes = {"attention": 1.0, "ffn": 1.0, "experts": 100.0, "kv": 10.0, "cold": 0.0, "overhead": 0.0}
    rooms = Room("sram", 12.0, "all"), Room("hbm", 1000.0, "all")
    assert fill(sizes, rooms, "kv-before-experts")[0]["kv"] == (("sram", 1.0),)
    assert fill(sizes, rooms, "weights-first")[0]["kv"] == (("hbm", 1.0),)


def test_a_tier_for_the_cache_takes_no_weights_and_masks_no_cache():
    sizes = {"attention": 5.0, "ffn": 5.0, "experts": 0.0, "kv": 4.0, "cold": 1.0, "overhead": 0.0}
    streamed = Room("sram", 8.0, "cache"), Room("host", 50.0, "weights")
    shares, free, left = fill(sizes, streamed, "weights-first")
    assert left == 0.0
    assert shares["kv"] == (("sram", 1.0),)
    assert shares["ffn"] == (("host", 1.0),)
    assert free == {"sram": 4.0, "host": 39.0}
    assert fill({**sizes, "kv": 9.0}, streamed, "weights-first")[2] == pytest.approx(1.0)


ROOMS = st.lists(
    st.tuples(st.sampled_from(["rom", "sram", "hbm", "host"]), st.integers(1, 30), st.sampled_from(["all", "weights", "cache"])),
    min_size=1, max_size=4, unique_by=lambda room: room[0],
).filter(lambda rooms: any(holds != "weights" for _, _, holds in rooms))  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    ROOMS,
    SIZES,
    st.integers(0, 6),
    st.integers(0, 6),
    st.sampled_from(list(ORDERS)),
    st.none() | st.integers(0, 20),
)
def test_what_is_enough_finds_room_and_what_finds_room_is_enough(rooms, sizes, cold, overhead, order, cap):
    places = tuple(Room(tier, float(usable), holds) for tier, usable, holds in rooms)
    whole = {
        **{part: float(size) for part, size in sizes.items()},
        "cold": float(cold),
        "overhead": float(overhead),
    }
    rest = whole["kv"] + whole["overhead"]
    weights = sum(whole.values()) - rest
    shares, free, left = fill(whole, places, order, cap)
    assert enough(places, weights - 32, rest - 32) or left > 0
    # Within the 64 bytes that rounding may take, both say the same.
    exact = tuple(room._replace(usable=room.usable - 1e-9) for room in places)
    fits_exactly = (
        weights + rest <= sum(room.usable for room in exact)
        and weights <= sum(room.usable for room in exact if room.holds != "cache")
        and rest <= sum(room.usable for room in exact if room.holds != "weights")
    )
    if fits_exactly:
        assert left == pytest.approx(0.0, abs=1e-6)
    assert all(room >= -1e-9 for room in free.values())
    for part, where in shares.items():
        for tier, share in where:
            holds = next(room.holds for room in places if room.tier == tier)
            if whole[part] and share and left <= 1e-6:
                assert holds == "all" or (holds == "cache") == (part in ("kv", "overhead"))


def test_stages_without_the_head_fill_their_sram_with_layers():
    """Only the end of a pipeline holds the head; what it takes there is free on all other stages."""
    report = fit("llama-3.1-70b", chip="matx-one", chips=64, batch=256, context="32k", weights="fp8")
    sram = next(tier for tier in report.tiers if tier.tier == "sram")
    weights = next(row for row in report.placement if row.tensor == "weights").tiers
    assert weights["hbm"] > 0  # there would be more to put into SRAM
    assert 0.98 * sram.usable_bytes < sram.used_bytes <= sram.usable_bytes
