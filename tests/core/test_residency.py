"""KV cache as a model needs it and as engines reserve it: pages, windows, copies and layouts of latents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memcalc import api
from memcalc.core.ledger import Cache, ledger
from memcalc.core.residency import Residency
from memcalc.engine import Engine
from memcalc.errors import UsageError
from memcalc.model import CompressedAttention, Indexer, LatentAttention, Model
from memcalc.precision import cache_bytes
from memcalc.readers.presets import load_chip, load_engine, load_model
from memcalc.render.tables import fit_screen
from memcalc.workload import Layout, Precision

#: Layers, window and elements a token and layer of gemma-3-27b: config.json of google/gemma-3-27b-it.
WINDOWED, FULL, WINDOW, GEMMA = 52, 10, 1024, 2 * 16 * 128


def held(model: str | Model, engine: str | Engine, *, kv: str = "bf16", tensor: int = 1) -> Residency:
    book = ledger(load_model(model) if isinstance(model, str) else model, Precision(kv=kv))
    stack = load_engine(engine) if isinstance(engine, str) else engine
    return Residency(book, Layout(tensor=tensor), load_chip("h200-sxm"), stack)


def sparse() -> Model:
    """DeepSeek-V3.2: V3 with an indexer of 64 heads of 128 in each layer (config.json)."""
    model = load_model("deepseek-v3")
    layers = []
    for group in model.layers:
        assert isinstance(group.attention, LatentAttention)
        attention = replace(group.attention, top_k=2048, indexer=Indexer(64, 128))
        layers.append(replace(group, attention=attention))
    return replace(model, name="sparse", layers=tuple(layers))


@pytest.mark.parametrize(
    ("engine", "windowed", "full"),
    [
        ("ideal", 1024, 33_000),
        # A window that begins inside a page of 16 touches one page more.
        ("vllm", 1024 + 16, 33_008),
        ("tensorrt-llm", 1024 + 32, 33_024),
        # A pool with 0.8 of the tokens of the other.
        ("sglang", 26_400, 33_000),
        # Window and micro-batch, padded to 256 cells.
        ("llama.cpp", 1024 + 512, 33_024),
    ],
)
def test_what_engines_reserve_for_windows(engine: str, windowed: int, full: int) -> None:
    reserved = held("gemma-3-27b", engine).paged_kv(33_000)
    assert reserved == 2 * GEMMA * (WINDOWED * windowed + FULL * full)


def test_an_engine_that_reserves_windows_whole_takes_all_layers_alike() -> None:
    whole = replace(load_engine("vllm"), window_share=1.0)
    assert held("gemma-3-27b", whole).paged_kv(32_768) == 2 * GEMMA * (WINDOWED + FULL) * 32_768


def test_windows_alone_are_not_tied_to_the_context() -> None:
    # SGLang, `set_num_tokens_hybrid_swa`: a model of windowed layers has one pool.
    assert held("mistral-7b-v0.1", "sglang").paged_kv(32_768) == 32 * 4096 * 4096


def test_windows_longer_than_the_context_change_nothing() -> None:
    assert held("gemma-3-27b", "sglang").paged_kv(512) == held("gemma-3-27b", "ideal").paged_kv(512)


def test_latent_caches_have_pages_of_their_own_in_vllm() -> None:
    assert held("deepseek-v3", "vllm").page_tokens == 64
    assert held("llama-3.1-8b", "vllm").page_tokens == 16
    assert held("deepseek-v3", "vllm").paged_kv(100) == 61 * 1152 * 128


@given(
    st.integers(1, 10**6), st.integers(1, 10**5), st.integers(0, 4096), st.integers(1, 512), st.floats(0, 1)
)
def test_no_engine_reserves_less_than_the_model_needs_or_more_than_the_context(
    context: int, window: int, slack: int, page: int, share: float
) -> None:
    cache = Cache(1, window=window)
    reserved = cache.entries(context, slack, page, share)
    assert cache.entries(context) <= reserved < context + page
    assert reserved <= cache.entries(context, slack, page, 1.0)


def test_a_longer_context_never_reserves_less() -> None:
    found = held("gemma-3-27b", "sglang")
    sizes = [found.paged_kv(context) for context in range(1000, 3000)]
    assert sizes == sorted(sizes)


# FlashMLA's README: 512 fp8 values, four fp32 scales, 64 rotary values in bf16. vLLM's indexer: 128 fp8, one fp32.
def test_bytes_of_the_layout_of_latents() -> None:
    assert cache_bytes("fp8-ds-mla", "latent", 576) == 512 + 4 * 4 + 64 * 2
    assert cache_bytes("fp8-ds-mla", "latent", 128) == 128 + 4
    assert ledger(sparse(), Precision(kv="fp8-ds-mla")).kv_bytes_per_token(0) == 61 * (656 + 132)
    assert ledger(sparse(), Precision()).kv_bytes_per_token(0) == 61 * 2 * (576 + 128)
    report = api.fit("deepseek-v3", chip="h200-sxm", chips=8, kv="FP8-DS-MLA", context="32k")
    assert report.precision.kv == "fp8-ds-mla"
    assert report.kv_cache.bytes_per_token == 61 * 656


def test_bytes_of_the_layout_of_compressed_entries() -> None:
    # DeepSeek-V4-Flash: heads of 512, of which 64 rotary; vLLM stores 448 in fp8, 64 in bf16, eight bytes of scales.
    attention = CompressedAttention(64, 512, 1024, 8, 1024, 128, 4, top_k=512, indexer=Indexer(64, 128))
    model = sparse()
    model = replace(model, layers=(replace(model.layers[0], count=1, attention=attention),))
    book = ledger(model, Precision(kv="fp8-ds-mla"))
    assert book.kv_bytes_per_sequence(8192) == 128 * 584 + 2048 * (584 + 132)


@pytest.mark.parametrize("model", ["llama-3.1-8b", "gpt-oss-20b"])
def test_other_attention_has_no_such_layout(model: str) -> None:
    with pytest.raises(UsageError, match="layout of DeepSeek's latent caches") as refused:
        api.fit(model, chip="h100-sxm", kv="fp8-ds-mla")
    assert "fp8" in (refused.value.hint or "")


def test_no_weights_are_in_a_layout_of_the_cache() -> None:
    with pytest.raises(UsageError, match="layout of the KV cache"):
        api.fit("deepseek-v3", chip="h200-sxm", chips=8, weights="fp8-ds-mla")


@pytest.mark.parametrize(("kv", "size"), [("bf16", 2), ("fp8", 1), ("fp8-ds-mla", 1)])
def test_what_latent_attention_saves(kv: str, size: int) -> None:
    # DeepSeek-V3: keys of 128 + 64 and values of 128 for each of 128 heads, in 61 layers.
    report = api.fit("deepseek-v3", chip="h200-sxm", chips=8, kv=kv)
    assert report.kv_cache.uncompressed_bytes_per_token == 61 * 128 * (192 + 128) * size


def test_only_latent_attention_has_an_uncompressed_size() -> None:
    assert api.fit("llama-3.1-8b", chip="h100-sxm").kv_cache.uncompressed_bytes_per_token is None


def test_the_report_says_why_more_is_reserved() -> None:
    report = api.fit("gemma-3-27b", chip="h100-sxm", chips=4, tp=4, context=33_000, engine="sglang")
    assert report.kv_cache.page_tokens == 1
    assert report.kv_cache.reserved_because == ("windowed layers for 80% of the context",)
    report = api.fit("qwen3-30b-a3b", chip="h100-sxm", chips=8, tp=8, context=33_001, engine="vllm")
    assert report.kv_cache.replication == 2.0
    assert report.kv_cache.reserved_because == ("pages of 16 tokens", "2 copies over 8 chips")
    said = "vllm reserves 6.5 GB a sequence for 3.2 GB: pages of 16 tokens, 2 copies over 8 chips"
    assert said in fit_screen(report, colour=False, width=400)


def test_the_screen_says_nothing_where_the_engine_reserves_what_is_needed() -> None:
    report = api.fit("llama-3.1-8b", chip="h100-sxm")
    assert report.kv_cache.reserved_because == ()
    assert "reserves" not in fit_screen(report, colour=False, width=100)


def test_a_file_describes_how_an_engine_reserves(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\npage_tokens = 16\nlatent_page_tokens = 128\nwindow_share = 1\n')
    report = api.fit("gemma-3-27b", chip="h100-sxm", engine=str(file), context="32k")
    assert report.kv_cache.engine_reserved_bytes_per_sequence == 2 * GEMMA * (WINDOWED + FULL) * 32_768
    assert api.fit("deepseek-v3", chip="h200-sxm", chips=8, engine=str(file)).kv_cache.page_tokens == 128


@pytest.mark.parametrize("share", ["0", "1", "80%"])
def test_the_share_of_windows_can_be_set(share: str) -> None:
    report = api.fit("gemma-3-27b", chip="h100-sxm", context="32k", set={"engine.window_share": share})
    tokens = {"0": 1024 + 16, "1": 32_768, "80%": 26_224}[share]
    reserved = report.kv_cache.engine_reserved_bytes_per_sequence
    assert reserved == 2 * GEMMA * (WINDOWED * tokens + FULL * 32_768)
