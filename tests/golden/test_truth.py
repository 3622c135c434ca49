"""Every architecture of the shared truth table, from its config and from its preset: to the last parameter and byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memcalc.core.ledger import ledger
from memcalc.model import Model
from memcalc.readers import presets
from memcalc.readers.model_files import read_config
from memcalc.workload import Precision

TRUTH = Path(__file__).resolve().parents[3] / "shared" / "data" / "models" / "truth.jsonl"
if not TRUTH.is_file():
    pytest.skip("no shared data beside the repository", allow_module_level=True)

ROWS = [json.loads(line) for line in TRUTH.read_text(encoding="utf-8").splitlines() if line.strip()]
#: Each row with the model that memcalc makes of its config, and of its preset where there is one.
CASES = [pytest.param(row, "config", id=f"{row['name']}-config") for row in ROWS]
CASES += [
    pytest.param(row, "preset", id=f"{row['name']}-preset")
    for row in ROWS
    if presets.find("models", row["name"])
]
cases = pytest.mark.parametrize(("row", "origin"), CASES)


def model_of(row: dict[str, Any], origin: str) -> Model:
    if origin == "preset":
        return presets.load_model(row["name"])
    return read_config(str(TRUTH.parent / row["config_file"]))


def test_every_row_is_tried() -> None:
    assert len(ROWS) >= 63
    assert len(CASES) >= 120


@cases
def test_parameters(row: dict[str, Any], origin: str) -> None:
    model, truth = model_of(row, origin), row["params"]
    assert model.parameters == truth["total"]
    assert model.parameters - model.vision_parameters == truth["text_only"]
    assert model.vision_parameters == truth["vision_audio"]
    assert model.tied_embeddings == truth["tied_embeddings"]


@cases
def test_active_parameters(row: dict[str, Any], origin: str) -> None:
    model, truth = model_of(row, origin), row["params"]
    if "active_per_token_incl_embeddings" not in truth:
        pytest.skip("the table does not say")
    assert model.active_parameters == truth["active_per_token_incl_embeddings"]
    assert model.active_parameters_without_embedding == truth["active_per_token_excl_input_embedding"]


@cases
def test_parameters_by_part(row: dict[str, Any], origin: str) -> None:
    model, truth = model_of(row, origin), row["params"]
    parts = {name: elements.total for name, elements in model.elements().items()}
    assert parts["experts"] == truth.get("routed_experts", 0)
    # Rows that are only looked up lie in the same class; projections to a latent width are shared.
    assert parts["embedding"] - model.lookup_parameters <= truth["embedding"] <= parts["embedding"]
    assert parts["shared"] + parts["dense"] >= truth.get("shared_experts", 0)


@cases
def test_mtp_layers_are_apart(row: dict[str, Any], origin: str) -> None:
    model, truth = model_of(row, origin), row.get("mtp")
    if truth and model.mtp_layers:
        assert (model.mtp_layers, model.mtp_parameters) == (truth["layers"], truth["params_unique"])


@cases
def test_cache_and_state_of_a_sequence(row: dict[str, Any], origin: str) -> None:
    book = ledger(model_of(row, origin), Precision(kv="bf16"))
    sizes, state = row["kv"]["bytes_per_sequence_bf16"], book.state_bytes_per_sequence
    assert len(sizes) == 4
    assert {context: book.kv_bytes_per_sequence(int(context)) + state for context in sizes} == sizes
    assert state == row["kv"].get("state_per_sequence", {}).get("bytes_hf", 0)


@cases
def test_cache_of_a_token(row: dict[str, Any], origin: str) -> None:
    book, truth = ledger(model_of(row, origin), Precision(kv="bf16")), row["kv"]
    assert book.kv_bytes_per_token(2**20) == truth["bytes_per_token_bf16_growing"]
