"""The catalogue: built-in presets of a kind, a row each with the main figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from memcalc.chip import BEYOND, ON_CHIP, Chip, System
from memcalc.core.ledger import ledger
from memcalc.engine import Engine
from memcalc.model import KINDS as EVIDENCE
from memcalc.model import Model, source_of
from memcalc.precision import format_named, math_format
from memcalc.readers import presets
from memcalc.workload import Precision, Prices

Row = dict[str, Any]
#: Math that current checkpoints ask for.
_USUAL_MATH = ("bf16", "fp8", "int8", "fp4")


class Unknown(NamedTuple):
    """A figure that chips usually have and this one lacks, and what cannot be said without it."""

    figure: str
    without_it: str


def counts() -> list[Row]:
    """How many presets there are of each kind."""
    return [{"kind": kind, "presets": len(presets.names(kind))} for kind in presets.KINDS]


def catalogue(kind: str) -> list[Row]:
    """All presets of a kind; units stand in the keys, unknown figures are None.

    >>> [row["name"] for row in catalogue("chips") if row["name"].startswith("h200")]
    ['h200-nvl', 'h200-sxm']
    """
    load, row = _KINDS[kind]
    return [row(load(name)) for name in presets.names(kind)]


def unknown_figures(chip: Chip) -> list[Unknown]:
    """What is not known of a chip, in the order of its file.

    >>> for figure, without_it in unknown_figures(presets.load_chip("qualcomm-ai200"))[1:4]:
    ...     print(f"{figure}: {without_it}")
    memory.lpddr.bandwidth_bytes_per_s: no time of what is read there
    compute: no time of any arithmetic
    links.scale_up_bytes_per_s: no time for several chips
    """
    found = [*_of_memory(chip), *_of_compute(chip), *_of_links(chip)]
    die = [tier for name, tier in chip.memory.items() if name in ON_CHIP and tier.home]
    if die and chip.layer_floor is None:
        nominal = chip.plan != "on-chip" and any(tier.bandwidth_bytes_per_s for tier in die)
        rest = " but what its nominal bandwidth would take, which no machine reaches" if nominal else ""
        found.append(("layer_floor", f"no time of what lies on the die{rest}"))
    found += _of_power(chip)
    return [Unknown(*each) for each in found]


def _of_memory(chip: Chip) -> Iterator[tuple[str, str]]:
    if "sram" not in chip.memory:
        yield "memory.sram", "whether anything could stay on the die"
    for name, tier in chip.memory.items():
        if tier.capacity_bytes is None:
            yield f"memory.{name}.capacity_bytes", "how much it could hold"
        if name == "rom" or tier.bandwidth_bytes_per_s or tier.effective_bytes_per_s:
            continue
        figure = f"memory.{name}.bandwidth_bytes_per_s"
        if name in BEYOND:
            if chip.links.host_bytes_per_s is None:
                yield figure, "no time to fetch what lies there"
        elif not tier.home:
            yield figure, f"no time where it is made a home (--set memory.{name}.home=true)"
        elif name in ON_CHIP and chip.layer_floor:
            yield figure, "its time is left out: the floor per layer stands for it"
        else:
            yield figure, "no time of what is read there"


def _of_compute(chip: Chip) -> Iterator[tuple[str, str]]:
    if not chip.compute:
        yield "compute", "no time of any arithmetic"
        return
    for form in _USUAL_MATH:
        if form in chip.compute or (form == "bf16" and "fp16" in chip.compute):
            continue
        runs = math_format(format_named(form), form, chip.compute)
        without = f"there is none, or none is published: such math runs in {runs}"
        yield f"compute.{form}", without if runs else f"no time of {form} math"


def _of_links(chip: Chip) -> Iterator[tuple[str, str]]:
    links, most = chip.links, chip.largest_system_chips
    holds = chip.layer_floor is not None and chip.layer_floor.includes_network
    if most != 1 and links.scale_up_kind != "none" and not holds:
        domain = links.scale_up_domain_chips
        if links.scale_up_bytes_per_s is None:
            yield "links.scale_up_bytes_per_s", "no time for several chips"
        elif domain == 1:
            yield "links.scale_up_domain_chips", "no chips are taken to share the fast links"
        elif links.scale_out_bytes_per_s is None and (most or 0) > domain:
            yield "links.scale_out_bytes_per_s", f"no time beyond {domain} chips"
    if links.host_bytes_per_s is None:
        yield "links.host_bytes_per_s", "no time for what spills to the host or is parked there"


def _of_power(chip: Chip) -> Iterator[tuple[str, str]]:
    power = chip.power
    if power.tdp_w is None and power.all_in_w is None:
        yield "power", "no energy, no cost of owning"
    elif power.static_w is None:
        yield "power.static_w", "no energy"
    elif power.static_w != power.tdp_w:
        for name, tier in chip.homes:
            if tier.energy_j_per_byte is None:
                yield f"memory.{name}.energy_j_per_byte", "no energy where it is read"
        for form in chip.compute:
            if form not in power.flop_j and form != "fp32":
                yield f"power.flop_j.{form}", f"no energy of {form} math"
        if power.link_j_per_byte is None and chip.largest_system_chips != 1:
            yield "power.link_j_per_byte", "no energy for several chips"


def _chip(chip: Chip) -> Row:
    sram = chip.memory.get("sram")
    dram = next((tier for name, tier in chip.homes if name not in ("rom", "sram", "host", "flash")), None)
    kinds = [
        found.kind
        for name, _ in chip.homes
        if (found := source_of(chip.sources, f"memory.{name}.capacity_bytes"))
    ]
    return {
        "name": chip.name,
        "title": chip.title,
        "sram_bytes": sram.capacity_bytes if sram else None,
        "sram_role": ("home" if sram.home else sram.role) if sram else None,
        "dram_bytes": dram.capacity_bytes if dram else None,
        "dram_bytes_per_s": dram.bandwidth_bytes_per_s if dram else None,
        "bf16_flops_per_s": chip.compute.get("bf16") or chip.compute.get("fp16"),
        "tdp_w": chip.power.tdp_w,
        "plan": chip.plan,
        "engine": chip.engine,
        "evidence": "hypothetical" if chip.hypothetical else max(kinds, key=EVIDENCE.index, default=None),
    }


def _model(model: Model) -> Row:
    book = ledger(model, Precision(model.checkpoint, model.kv_format))
    return {
        "name": model.name,
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "checkpoint": model.checkpoint,
        "weights_bytes": book.total_weight_bytes,
        "kv_bytes_per_token": book.kv_bytes_per_token(1),
        "kv_bytes_per_token_windows_full": book.kv_bytes_per_token(2**40),
        "context_limit_tokens": model.context_limit_tokens,
    }


def _system(system: System) -> Row:
    beside = {"feed-forward": system.feed_forward, "prefill": system.prefill}
    return {
        "name": system.name,
        "title": system.title,
        "chip": system.chip.name,
        "chips": system.count,
        "beside": ", ".join(
            f"{pool.count} x {pool.chip.name} ({role})" for role, pool in beside.items() if pool
        ),
    }


def _engine(engine: Engine) -> Row:
    return {
        "name": engine.name,
        "title": engine.title,
        "evidence": engine.evidence,
        "points": sum(engine.points.values()),
        "families": ", ".join(engine.points),
        "decode_band": engine.bands.get("any", {}).get("decode", engine.band),
        "prefill_band": engine.bands.get("any", {}).get("prefill", engine.band),
    }


def _prices(prices: Prices) -> Row:
    return {
        "name": prices.name,
        "date": prices.date,
        "kind": prices.kind,
        "basis": prices.basis,
        "chips": len(prices.usd_per_chip_hour),
    }


_KINDS: dict[str, tuple[Callable[[str], Any], Callable[[Any], Row]]] = {
    "chips": (presets.load_chip, _chip),
    "systems": (presets.load_system, _system),
    "models": (presets.load_model, _model),
    "engines": (presets.load_engine, _engine),
    "prices": (presets.load_prices, _prices),
}
