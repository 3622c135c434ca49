"""The catalogue: built-in presets of a kind, a row each with the main figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memcalc.chip import Chip, System
from memcalc.core.ledger import ledger
from memcalc.engine import Engine
from memcalc.model import KINDS as EVIDENCE
from memcalc.model import Model, source_of
from memcalc.readers import presets
from memcalc.workload import Precision, Prices

Row = dict[str, Any]


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
    return {"name": system.name, "title": system.title, "chip": system.chip.name, "chips": system.count}


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
