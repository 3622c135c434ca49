"""Parameters, weight bytes, KV cache and work per token of the presets, against what was published."""

from __future__ import annotations

from decimal import Decimal

import pytest

from memcalc import api, resolve
from memcalc.core.ledger import Ledger, ledger
from memcalc.model import FeedForward, GroupedAttention, Layers, Model
from memcalc.readers.presets import load_model
from memcalc.workload import Precision


def book(name: str, weights: str | None = None, kv: str = "bf16") -> Ledger:
    """The ledger of a preset; its weights in the checkpoint's own format unless another is named."""
    model = load_model(name)
    return ledger(model, Precision(weights or model.checkpoint, kv))


# Parameter counts that Hugging Face shows beside a checkpoint ("Safetensors, model size"), to the last one.
SAFETENSORS_TOTALS = {
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "mistral-7b-v0.1": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
    "gemma-2-9b": 9_241_705_984,
    "gemma-3-27b": 27_432_406_640,  # with the vision tower
    "phi-4": 14_659_507_200,
    "olmo3-7b": 7_298_011_136,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-8b": 8_190_735_360,
    "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    # Meta's own count; the Hugging Face files hold rotary frequencies on top.
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    # 751,632,384 stored, less a second copy of the tied table (151,936 x 1,024).
    "qwen3-0.6b": 751_632_384 - 151_936 * 1_024,
}


@pytest.mark.parametrize(("name", "total"), SAFETENSORS_TOTALS.items())
def test_parameters_equal_the_safetensors_total_on_hugging_face(name: str, total: int) -> None:
    assert load_model(name).parameters == total


# Billions of parameters as papers and model cards print them, all and active for one token; the number after
# them is how much of the vocabulary the active count takes in: 2 both tables, 1 the head, 0 neither.
PRINTED = {
    "deepseek-v3: arXiv 2412.19437": ("deepseek-v3", "671", "37", 1),
    "deepseek-r1: arXiv 2501.12948": ("deepseek-r1", "671", "37", 1),
    "kimi-k2: arXiv 2507.20534, abstract (1 trillion)": ("kimi-k2-instruct", "1.0E+3", "32", 1),
    "mixtral: Mistral's announcement": ("mixtral-8x7b", "46.7", "12.9", 2),
    "qwen3-235b: arXiv 2505.09388": ("qwen3-235b-a22b", "235", "22", 2),
    "qwen3-30b: model card": ("qwen3-30b-a3b", "30.5", "3.3", 2),
    "gpt-oss-120b: model card, table 1": ("gpt-oss-120b", "116.83", "5.13", 1),
    "gpt-oss-20b: model card, table 1": ("gpt-oss-20b", "20.91", "3.61", 1),
    "glm-4.5-air: arXiv 2508.06471": ("glm-4.5-air", "106", "12", 0),
}


@pytest.mark.parametrize(("name", "total", "active", "tables"), PRINTED.values(), ids=PRINTED.keys())
def test_total_and_active_parameters_as_papers_print_them(
    name: str, total: str, active: str, tables: int
) -> None:
    model = load_model(name)
    counted = model.active_parameters - (2 - tables) * model.vocabulary * model.width
    for found, printed in ((model.parameters, Decimal(total)), (counted, Decimal(active))):
        # One unit of the last digit, as some round and some cut off.
        unit = 10.0 ** int(printed.as_tuple().exponent)
        assert found / 1e9 == pytest.approx(float(printed), abs=unit)


def test_scaling_book_question_1_has_18_4_billion_parameters() -> None:
    # jax-ml/scaling-book, inference.md, worked problem 1: L 64, D 4096, F 4D, N 32, K 8, H 256, V 32128, tied.
    layers = Layers(64, GroupedAttention(32, 8, 256), FeedForward(4 * 4096))
    model = Model("question-1", 4096, 32_128, (layers,), tied_embeddings=True)
    assert model.parameters == pytest.approx(18.4e9, rel=0.003)
    assert ledger(model, Precision(kv="int8")).kv_bytes_per_token(0) == 2 * 8 * 256 * 64  # "262 kB"


@pytest.mark.parametrize(
    ("name", "weights", "size"),
    [
        pytest.param("gpt-oss-20b", None, 13_761_264_768, id="gpt-oss-20b: sum of its safetensors files"),
        pytest.param("qwen3-30b-a3b", "bf16", 61_064_245_248, id="qwen3-30b-a3b: bf16, 2 B a parameter"),
        pytest.param("llama-3.1-8b", "bf16", 16_060_522_496, id="llama-3.1-8b: bf16, 2 B a parameter"),
        pytest.param("llama-3.1-70b", "bf16", 141_107_412_992, id="llama-3.1-70b: bf16, 2 B a parameter"),
    ],
)
def test_bytes_of_checkpoints(name: str, weights: str | None, size: int) -> None:
    assert book(name, weights).total_weight_bytes == size


@pytest.mark.parametrize(("name", "gib"), [("gpt-oss-120b", 60.8), ("gpt-oss-20b", 12.8)])
def test_checkpoint_size_of_the_gpt_oss_model_card_table_1(name: str, gib: float) -> None:
    # Half of the last printed digit is 0.05 GiB; the card's 120b comes out at 60.77.
    assert book(name).total_weight_bytes / 2**30 == pytest.approx(gib, abs=0.05)


# Bits per weight over all of Llama-3.1-8B: llama.cpp, tools/quantize/README.md (311c2c9, 2026).
BITS_OF_LLAMA_3_1_8B = {
    "iq1_s": 2.0042, "iq1_m": 2.1460, "iq2_xxs": 2.3824, "iq2_xs": 2.5882, "iq2_s": 2.7403, "iq2_m": 2.9294,
    "iq3_xxs": 3.2548, "iq3_xs": 3.4977, "iq3_s": 3.6606, "iq3_m": 3.7628, "iq4_xs": 4.4597, "iq4_nl": 4.6818,
    "q2_k_s": 2.9697, "q2_k": 3.1593, "q3_k_s": 3.6429, "q3_k_l": 4.2979, "q4_k_s": 4.6672, "q4_k_m": 4.8944,
    "q5_k_s": 5.5704, "q5_k_m": 5.7036, "q6_k": 6.5633, "q8_0": 8.5008,
}  # fmt: skip
# Made without an importance matrix, which gives the first layers more bits; files that are published have one.
WITHOUT_MATRIX = ("iq4_xs", "iq4_nl")


@pytest.mark.parametrize(("form", "bits"), BITS_OF_LLAMA_3_1_8B.items())
def test_bits_per_weight_of_llama_3_1_8b_in_llama_cpp(form: str, bits: float) -> None:
    found = book("llama-3.1-8b", form)
    # One unit of the last digit.
    tolerance = 0.01 * bits if form in WITHOUT_MATRIX else 0.0001
    counted = 8 * found.total_weight_bytes / found.model.parameters
    assert counted == pytest.approx(bits, abs=tolerance)


# The README's older table; its Q2_K (3.35) is from before January 2024 (llama.cpp PR 5060) and left out.
@pytest.mark.parametrize(
    ("form", "bits"),
    [("q3_k_s", 3.50), ("q3_k_m", 3.91), ("q3_k_l", 4.27), ("q4_k_s", 4.58), ("q4_k_m", 4.84),
     ("q5_k_s", 5.52), ("q5_k_m", 5.68), ("q6_k", 6.56)],
)  # fmt: skip
def test_bits_per_weight_of_llama_2_7b_in_llama_cpp(form: str, bits: float) -> None:
    found = book("llama-2-7b", form)
    assert 8 * found.total_weight_bytes / found.model.parameters == pytest.approx(bits, rel=0.02)


# GB of the GGUF files of Llama-3.1-70B-Instruct (huggingface.co/bartowski/Meta-Llama-3.1-70B-Instruct-GGUF).
@pytest.mark.parametrize(
    ("form", "gb"),
    [("q8_0", 74.98), ("q6_k", 57.89), ("q5_k_m", 49.95), ("q5_k_s", 48.66), ("q4_k_m", 42.52),
     ("q4_k_s", 40.35), ("q4_0", 40.12), ("iq4_xs", 37.90), ("q3_k_l", 37.14), ("q3_k_m", 34.27),
     ("iq3_m", 31.94), ("q3_k_s", 30.91)],
)  # fmt: skip
def test_gguf_files_of_llama_3_1_70b(form: str, gb: float) -> None:
    # The files also hold about 8 MB of vocabulary. With an importance matrix q4_0 has more bits in the first layers.
    tolerance = 0.005 * gb if form == "q4_0" else 0.015
    assert book("llama-3.1-70b", form).total_weight_bytes / 1e9 == pytest.approx(gb, abs=tolerance)


# Bytes that one token adds to the KV cache in bf16: 2 x layers x KV heads x head width x 2 from the config.
KV_PER_TOKEN = {
    "DeepSeek ISCA'25 (arXiv 2505.09343), table 1: 70.272 KB": ("deepseek-v3", 70_272),
    "DeepSeek ISCA'25 (arXiv 2505.09343), table 1: 327.680 KB": ("qwen2.5-72b", 327_680),
    "DeepSeek ISCA'25 (arXiv 2505.09343), table 1: 516.096 KB": ("llama-3.1-405b", 516_096),
    "Llama 3 (arXiv 2407.21783), table 3: 80 layers, 8 KV heads of 128": ("llama-3.1-70b", 327_680),
    "Llama 3 (arXiv 2407.21783), table 3: 32 layers, 8 KV heads of 128": ("llama-3.1-8b", 131_072),
    "Mixtral (arXiv 2401.04088), table 1: 32 layers, 8 KV heads of 128": ("mixtral-8x7b", 131_072),
}


@pytest.mark.parametrize(("name", "size"), KV_PER_TOKEN.values(), ids=KV_PER_TOKEN.keys())
def test_kv_cache_bytes_per_token(name: str, size: int) -> None:
    found = book(name)
    assert found.kv_bytes_per_token(8192) == size
    assert found.kv_bytes_per_sequence(8192) == size * 8192


def test_gemma_3_27b_holds_about_10_4_gib_at_131072_tokens() -> None:
    # 10 layers keep all tokens and 52 the last 1,024 (arXiv 2503.19786), each 2 x 16 x 128 x 2 B a token.
    found = book("gemma-3-27b").kv_bytes_per_sequence(131_072)
    assert found == 11_173_625_856
    assert found / 2**30 == pytest.approx(10.4, abs=0.05)


# Step-3 (arXiv 2507.19427), table 2, per decoded token at 8K of context: bytes of an 8-bit KV cache, FLOP of
# the attention core, of the attention's linear layers, and of the feed-forward part.
STEP_3_TABLE_2 = {
    "deepseek-v3": (2.88e8, 1.47e11, 2.28e10, 4.84e10),
    "kimi-k2-instruct": (2.88e8, 7.37e10, 1.23e10, 4.84e10),
    "qwen3-235b-a22b": (7.89e8, 2.52e10, 1.34e10, 2.84e10),
    "qwen3-32b": (1.07e9, 1.72e10, 1.21e10, 5.03e10),
}
# The table has three digits and takes 8K as 8,192: 0.4 % is rounding and router (left out of it).
ROUNDING = 0.004


@pytest.mark.parametrize(("name", "row"), STEP_3_TABLE_2.items())
def test_step_3_table_2(name: str, row: tuple[float, float, float, float]) -> None:
    kv, core, linear, feed_forward = row
    found = book(name, kv="int8")
    flops = dict.fromkeys(("attention", "dense", "shared", "experts"), 0.0)
    flops |= {op.tensor: op.flops_per_token for op in found.operators}
    assert found.kv_bytes_per_sequence(8192) == pytest.approx(kv, rel=ROUNDING)
    assert flops["attention"] == pytest.approx(linear, rel=ROUNDING)
    summed = flops["dense"] + flops["shared"] + flops["experts"]
    assert summed == pytest.approx(feed_forward, rel=ROUNDING)
    counted = sum(cache.decode_flops * cache.core_entries(8192) for cache in found.caches)
    if found.model.layers[0].attention.kind == "latent":
        # The table reads all 576 elements of the latent for the values too; only 512 are values.
        core *= (576 + 512) / (576 + 576)
    assert counted == pytest.approx(core, rel=ROUNDING)


@pytest.mark.parametrize(
    ("word", "total"),
    [("0.6b", 0.6e9), ("3b", 3e9), ("8b", 8e9), ("13b", 13e9), ("32b", 32e9), ("70b", 70e9),
     ("405b", 405e9), ("30b-a3b", 30e9), ("235b-a22b", 235e9), ("1t-a32b", 1e12)],
)  # fmt: skip
def test_a_size_becomes_a_model_of_that_size_that_says_it_is_assumed(word: str, total: float) -> None:
    model = resolve.find_model(word)
    assert model.parameters == pytest.approx(total, rel=0.01)
    assert model.origin == "assumed"
    report = api.fit(word, chip="h100-sxm", chips=64)
    assert report.model.source == "assumed"
    assert any("is assumed" in text and word in text for text in report.warnings)


@pytest.mark.parametrize(("word", "active"), [("30b-a3b", 3e9), ("235b-a22b", 22e9), ("1t-a32b", 32e9)])
def test_a_size_with_an_active_part_uses_about_that_part(word: str, active: float) -> None:
    # The experts come in steps of eight, so the active part is met less closely than the whole.
    assert resolve.find_model(word).active_parameters == pytest.approx(active, rel=0.1)
