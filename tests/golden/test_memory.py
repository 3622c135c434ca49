"""What engines say about their memory: weights, KV cache and the room for it, from their logs and file lists.

Models that differ in name alone stand for each other: Llama 3 for 3.1 (shapes and vocabulary are the same),
Mistral 7B v0.2 for v0.1 (its weights), Qwen2 7B for 2.5, R1 for V3.

Published logs that are not here, and why:

- vLLM, Qwen3-235B-A22B on 4 H100 (vllm/issues/21348): 8.11 GiB and 178,880 tokens make 48,681 B a token and
  chip, where the model has 48,128. Each rank logs its own memory, and the tokens are those of the smallest.
  The SGLang log of the same report, below, has both of one rank.
- vLLM, DeepSeek-R1 in AWQ on 16 RTX 3090 (vllm/pull/14447): 21.21 GiB a chip. The log does not say the group
  of the format (20.9 GiB at int4-g64, 20.3 at int4-g128, without zero points and the copies of the latent
  projections), and the 1.57 GiB that are left hang on it.
- vLLM, DeepSeek-Coder-V2-Lite on 8 A100: the weights (3.97 GiB a chip; 15.7e9 parameters in fp16 make 3.66).
  R1-Distill-Qwen-32B on two chips: the weights (30.73 GiB a chip; 30.51 by parameters) and the room, since the
  size of the chips is not given. Both notes have no address.
- vLLM, Qwen2.5-0.5B in 4 bit: the weights, whose format is not given. Qwen2.5-1.5B on a T4: the weights (2.89
  GiB; 2.875 by parameters, 0.51 % less). Both models are inferred from their caches, and the notes have no address.
- Groq's capacity for gpt-oss-120b is in test_capacity.py; its layout for Qwen3-235B and the parameters of an
  HC2 are no log of bytes.
"""

from __future__ import annotations

import pytest

from memcalc.core.ledger import ledger
from memcalc.core.residency import Residency
from memcalc.model import FeedForward, GroupedAttention, LatentAttention, Layers, Model
from memcalc.readers.presets import load_chip, load_engine, load_model
from memcalc.workload import Layout, Precision

GIB, MIB = 2**30, 2**20


def dense(name: str, width: int, vocabulary: int, depth: int, heads: tuple[int, int, int], hidden: int,
          *, tied: bool = False, bias: bool = False) -> Model:  # fmt: skip
    """A dense model without a preset; `heads` are query heads, key-value heads and their width."""
    attention = GroupedAttention(*heads, qkv_bias=bias)
    layers = (Layers(depth, attention, FeedForward(hidden)),)
    return Model(name, width, vocabulary, layers, tied_embeddings=tied)


# Shapes from the config.json of each repository on huggingface.co.
OTHERS = {
    "qwen2.5-0.5b": dense("qwen2.5-0.5b", 896, 151936, 24, (14, 2, 64), 4864, tied=True, bias=True),
    "qwen2.5-1.5b": dense("qwen2.5-1.5b", 1536, 151936, 28, (12, 2, 128), 8960, tied=True, bias=True),
    "qwen2.5-3b": dense("qwen2.5-3b", 2048, 151936, 36, (16, 2, 128), 11008, tied=True, bias=True),
    "falcon3-1b": dense("falcon3-1b", 2048, 131072, 18, (8, 4, 256), 8192),
    "deepseek-v2-lite": Model(
        "deepseek-v2-lite", 2048, 102400,
        (
            Layers(1, LatentAttention(16, 512, 64, 128, 128, None), FeedForward(10944)),
            Layers(26, LatentAttention(16, 512, 64, 128, 128, None),
                   FeedForward(1408, experts=64, top_k=6, shared_width=2816)),
        ),
    ),
}  # fmt: skip


def model(name: str) -> Model:
    return OTHERS.get(name) or load_model(name)


def held(name: str, weights: str, chips: int = 1) -> Residency:
    """The bytes of each of the chips that share a model."""
    book = ledger(model(name), Precision(weights=weights))
    return Residency(book, Layout(tensor=chips), load_chip("h100-sxm"), load_engine("vllm"))


def weights_gib(name: str, weights: str, chips: int = 1) -> float:
    return sum(held(name, weights, chips).parts.values()) / GIB


# github.com/XiongjieDai/GPU-Benchmarks-on-LLM-Inference, README.md at aa72e0e (May 2024): sizes of the GGUF files
# of Llama 3 70B in GiB, with 10 MB of metadata each.
@pytest.mark.parametrize(
    ("mixture", "gib"),
    [
        ("iq1_s", 14.29), ("iq1_m", 15.60), ("iq2_xxs", 17.79), ("iq2_xs", 19.69), ("iq2_s", 20.71),
        ("iq2_m", 22.46), ("q2_k_s", 22.79), ("q2_k", 24.56), ("iq3_xxs", 25.58), ("iq3_xs", 27.29),
        ("q3_k_s", 28.79), ("iq3_s", 28.79), ("iq3_m", 29.74), ("q3_k_m", 31.91), ("q3_k_l", 34.59),
        ("iq4_xs", 35.30), ("iq4_nl", 37.30), ("q4_k_s", 37.58), ("q4_k_m", 39.60), ("q5_k_s", 45.32),
        ("q5_k_m", 46.52), ("q6_k", 53.91), ("q8_0", 69.83), ("fp16", 131.43),
    ],
)  # fmt: skip
def test_gguf_files_of_llama_3_70b(mixture: str, gib: float) -> None:
    assert weights_gib("llama-3.1-70b", mixture) == pytest.approx(gib, rel=0.001)


@pytest.mark.parametrize(
    ("name", "mixture", "gib"),
    [
        pytest.param("llama-3.1-8b", "q4_k_m", 4.58, id="llama-3-8b q4_k_m: XiongjieDai, README"),
        pytest.param("llama-3.1-8b", "fp16", 14.96, id="llama-3-8b f16: XiongjieDai, README"),
        pytest.param("llama-3.1-70b", "q4_0", 37.22, id="llama-3.1-70b q4_0: ollama/pull/6279, log"),
        pytest.param("mistral-7b-v0.1", "q5_k_m", 4.78, id="mistral-7b-v0.2 q5_k_m: llama.cpp/issues/5619"),
        pytest.param(
            "llama-2-7b", "q4_0", 3.56, id="llama-2-7b q4_0: llama.cpp, tools/llama-bench/README.md"
        ),
        pytest.param(
            "llama-2-13b", "q4_0", 6.86, id="llama-2-13b q4_0: llama.cpp, tools/llama-bench/README.md"
        ),
        pytest.param(
            "qwen2.5-7b", "q4_k_m", 4.36, id="qwen2-7b q4_k_m: llama.cpp, tools/llama-bench/README.md"
        ),
        pytest.param("falcon3-1b", "q6_k", 1.28, id="falcon3-1b q6_k: llama.cpp log, no address"),
    ],
)
def test_weights_that_llama_cpp_logs(name: str, mixture: str, gib: float) -> None:
    # To the two digits of the log.
    assert weights_gib(name, mixture) == pytest.approx(gib, abs=0.005, rel=0.001)


@pytest.mark.parametrize(
    ("name", "chips", "gib"),
    [
        pytest.param("llama-3.1-8b", 1, 14.96, id="llama-3-8b on 1 H100: vllm/pull/10511"),
        pytest.param("llama-3.1-8b", 2, 7.48, id="llama-3-8b on 2 H100: vllm/pull/10511"),
        pytest.param("llama-3.1-8b", 4, 3.7418, id="llama-3-8b on 4: genlm/genlm-backend/issues/10"),
    ],
)
def test_weights_that_vllm_logs(name: str, chips: int, gib: float) -> None:
    assert weights_gib(name, "bf16", chips) == pytest.approx(gib, rel=0.001)


# Bytes that a token takes on one chip: what the log gives for the cache over the tokens that it holds.
@pytest.mark.parametrize(
    ("name", "chips", "gib", "tokens"),
    [
        pytest.param("qwen3-235b-a22b", 4, 8.23 + 8.23, 367_404, id="sglang, qwen3-235b: vllm/issues/21348"),
        pytest.param("qwen2.5-0.5b", 1, 16.09, 1_405_648, id="vllm, 12 KiB a token: log without address"),
        pytest.param("qwen2.5-1.5b", 1, 2.36, 88_304, id="vllm, 28 KiB a token: log without address"),
    ],
)
def test_kv_cache_that_engines_log(name: str, chips: int, gib: float, tokens: int) -> None:
    assert held(name, "bf16", chips).kv(1, tokens) == pytest.approx(gib * GIB, rel=0.005)


@pytest.mark.parametrize(
    ("name", "context", "mib"),
    [
        pytest.param("llama-2-13b", 512, 400.0, id="llama-2-13b: log without address"),
        pytest.param(
            "qwen2.5-3b", 4096, 144.0, id="36 layers with 256 elements: SciSharp/LLamaSharp/issues/1099"
        ),
    ],
)
def test_kv_self_size_that_llama_cpp_logs(name: str, context: int, mib: float) -> None:
    book = ledger(model(name), Precision(kv="fp16"))
    reserved = Residency(book, Layout(), load_chip("rtx-4090"), load_engine("llama.cpp")).paged_kv(context)
    assert reserved == mib * MIB == book.kv_bytes_per_sequence(context)


# The room that vLLM finds for the cache: share of the chip, less weights, non-torch memory, peak of activations.
@pytest.mark.parametrize(
    ("name", "chips", "usable", "non_torch", "activations", "gib"),
    [
        pytest.param("llama-3.1-8b", 1, 0.9 * 79.22, 1.79, 1.26, 53.29, id="llama-3-8b: vllm/pull/10511"),
        pytest.param(
            "deepseek-v2-lite", 8, 0.9 * 39.39, 2.10, 0.36, 29.02, id="v2-lite: log without address"
        ),
        pytest.param(
            "qwen2.5-1.5b", 1, 0.5 * 14.56, 0.01, 2.02, 2.36, id="1.5 B on a T4: log without address"
        ),
    ],
)
def test_room_for_the_kv_cache(
    name: str, chips: int, usable: float, non_torch: float, activations: float, gib: float
) -> None:
    room = usable - weights_gib(name, "bf16", chips) - non_torch - activations
    assert room == pytest.approx(gib, rel=0.05)


def test_room_that_the_preset_of_vllm_gives() -> None:
    """The same with the preset's own share, reserve and activations: 53.29 GiB in vllm/pull/10511."""
    found, engine = held("llama-3.1-8b", "bf16"), load_engine("vllm")
    assert found.reserved == pytest.approx(1.79 * GIB, rel=0.001)
    room = engine.usable_memory * 79.22 * GIB - found.needed(256, 8192) + found.kv(256, 8192)
    assert room == pytest.approx(53.29 * GIB, rel=0.05)
