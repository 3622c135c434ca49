"""Every architecture of the shared truth table that has a preset: parameters and KV cache, to the last one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memcalc.core.ledger import ledger
from memcalc.readers import presets
from memcalc.workload import Precision

TRUTH = Path(__file__).resolve().parents[3] / "shared" / "data" / "models" / "truth.jsonl"
if not TRUTH.is_file():
    pytest.skip("no shared data beside the repository", allow_module_level=True)

ROWS = [json.loads(line) for line in TRUTH.read_text(encoding="utf-8").splitlines() if line.strip()]
KNOWN = [pytest.param(row, id=row["name"]) for row in ROWS if presets.find("models", row["name"])]


def test_most_presets_are_in_the_truth_table() -> None:
    assert len(KNOWN) >= 20


@pytest.mark.parametrize("row", KNOWN)
def test_parameters(row: dict[str, Any]) -> None:
    model, truth = presets.load_model(row["name"]), row["params"]
    assert model.parameters == truth["total"]
    assert model.active_parameters == truth["active_per_token_incl_embeddings"]
    assert model.vision_parameters == truth["vision_audio"]


@pytest.mark.parametrize("row", KNOWN)
def test_parameters_by_part(row: dict[str, Any]) -> None:
    model, truth = presets.load_model(row["name"]), row["params"]
    parts = {name: elements.total for name, elements in model.elements().items()}
    assert model.tied_embeddings == truth["tied_embeddings"]
    assert parts["embedding"] == truth["embedding"]
    assert parts["head"] - model.width == truth["lm_head"]  # the last norm stands with the head
    assert parts["experts"] == truth["routed_experts"]
    assert parts["shared"] == truth["shared_experts"]


@pytest.mark.parametrize("row", KNOWN)
def test_kv_cache_of_a_sequence(row: dict[str, Any]) -> None:
    book = ledger(presets.load_model(row["name"]), Precision(kv="bf16"))
    sizes = row["kv"]["bytes_per_sequence_bf16"]
    assert len(sizes) == 4
    assert {context: book.kv_bytes_per_sequence(int(context)) for context in sizes} == sizes


@pytest.mark.parametrize("row", KNOWN)
def test_kv_cache_of_a_token(row: dict[str, Any]) -> None:
    book, truth = ledger(presets.load_model(row["name"]), Precision(kv="bf16")), row["kv"]
    assert book.kv_bytes_per_token(0) == truth["bytes_per_token_bf16_below_all_windows"]
    assert book.kv_bytes_per_token(2**20) == truth["bytes_per_token_bf16_growing"]
