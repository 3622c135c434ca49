"""Models from GGUF files: what each block holds is read from its tensors, how it attends from the metadata.

A GGUF states every tensor, so parameters and bytes are those of the file. The metadata give heads,
windows and routing; an architecture whose rules for these are not known here is refused by its name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from memcalc.errors import FileError, did_you_mean
from memcalc.model import (
    Attention,
    Elements,
    FeedForward,
    GroupedAttention,
    Indexer,
    LatentAttention,
    Layers,
    Model,
    NoMixer,
    RecurrentMixer,
    Source,
)
from memcalc.precision import CLASSES, format_names
from memcalc.readers.architectures.config import BY_HAND, MOST_LAYERS, alike
from memcalc.readers.gguf import GGUF, read_gguf
from memcalc.readers.regular import file_name, shown
from memcalc.readers.tensors import StoredTensor, model_name

#: Which layers have a window is a list in the file, one entry a layer.
_LISTED = -1
#: Architectures of llama.cpp by the spacing of their full layers: 1 where no layer has a window whatever the file
#: states, n where all have it but each n-th (`load_arch_hparams` of src/models, `llama_hparams::set_swa_pattern`).
KNOWN: Mapping[str, int] = {
    **dict.fromkeys(
        (
            "apertus", "arcee", "arctic", "baichuan", "bailingmoe", "bailingmoe2", "bitnet", "bloom",
            "chatglm", "codeshell", "command-r", "dbrx", "deci", "deepseek", "deepseek2", "deepseek32",
            "dots1", "ernie4_5", "ernie4_5-moe", "exaone", "falcon", "falcon-h1", "gemma", "glm-dsa",
            "glm4", "glm4moe", "gpt2", "gptneox", "granite", "granitehybrid", "granitemoe", "grok",
            "hunyuan-dense", "hunyuan-moe", "internlm2", "jais", "jamba", "kimi-linear", "lfm2", "lfm2moe",
            "llama", "mamba", "mamba2", "minicpm", "minicpm3", "minimax-m2", "mistral3", "mpt", "nemotron",
            "nemotron_h", "nemotron_h_moe", "olmo", "olmoe", "openelm", "orion", "pangu-embedded", "phi2",
            "phi3", "phimoe", "plamo", "plm", "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen35",
            "qwen35moe", "qwen3moe", "qwen3next", "qwen3vl", "qwen3vlmoe", "refact", "seed_oss", "smollm3",
            "stablelm", "starcoder", "starcoder2", "xverse",
        ),
        1,
    ),
    "afmoe": 4, "cohere2": 4, "exaone4": 4, "gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "llama4": 4,
    "olmo2": 4, "plamo3": 8, "smallthinker": 4, "gemma4": _LISTED, "mimo2": _LISTED, "step35": _LISTED,
}  # fmt: skip
#: The window where a file states none, and where what it states is not read.
_DEFAULT_WINDOWS = {"exaone4": 4096, "gemma2": 4096, "llama4": 8192}
_FIXED_WINDOWS = {"llama4": 8192, "smallthinker": 4096}
#: The first layer of each few is the full one, not the last.
_FULL_FIRST = ("smallthinker",)
#: Layers from this one on read the caches of earlier ones.
_OWN_CACHES = {"gemma3n": 20}
#: The projection of the queries brings their gate.
_GATED = ("qwen3next", "qwen35", "qwen35moe")
#: Names of llama.cpp's file types by number (`enum llama_ftype`).
_FILE_TYPES = {
    0: "fp32", 1: "fp16", 2: "q4_0", 3: "q4_1", 7: "q8_0", 8: "q5_0", 9: "q5_1", 10: "q2_k", 11: "q3_k_s",
    12: "q3_k_m", 13: "q3_k_l", 14: "q4_k_s", 15: "q4_k_m", 16: "q5_k_s", 17: "q5_k_m", 18: "q6_k", 19: "iq2_xxs",
    20: "iq2_xs", 21: "q2_k_s", 22: "iq3_xs", 23: "iq3_xxs", 24: "iq1_s", 25: "iq4_nl", 26: "iq3_s", 27: "iq3_m",
    28: "iq2_s", 29: "iq2_m", 30: "iq4_xs", 31: "iq1_m", 32: "bf16", 38: "mxfp4",
}  # fmt: skip
#: Tables for rotary embeddings are computed, not learned.
_COMPUTED = ("rope_freqs.", "rope_factors_")
#: Tables of which a token reads a row.
_TABLES = ("position_embd.weight", "per_layer_token_embd.weight")
_TYPES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
#: Old files have a tensor for each expert.
_EXPERT = re.compile(r"ffn_(gate|up|down)\.(\d{1,4})\.weight")
#: What is no language model, by `general.type` or `general.architecture`.
_OTHERS = {
    "adapter": ("is an adapter (LoRA), not a model", "give the GGUF file of the model that it adapts"),
    "clip": (
        "is the encoder of images or sound (mmproj), not a language model",
        "give the GGUF file of the language model that lies beside it",
    ),
    "imatrix": ("is an importance matrix, not a model", "give the GGUF file of a model"),
    "controlvector": ("is a control vector, not a model", "give the GGUF file of the model that it steers"),
}
_OTHERS["mmproj"] = _OTHERS["clip"]

Block = dict[str, StoredTensor]


class _Facts:
    """The metadata of one file, with the prefix of its architecture."""

    def __init__(self, found: GGUF, file: str) -> None:
        self.table, self.file, self.depth = found.metadata, file, 0
        kind, word = self.table.get("general.type"), self.table.get("general.architecture")
        for said in (kind, word):
            if isinstance(said, str) and said in _OTHERS:
                what, hint = _OTHERS[said]
                raise FileError(f"{file}: {what}", hint)
        if not isinstance(word, str):
            raise FileError(f"{file}: names no general.architecture", "give a GGUF file of a language model")
        if word not in KNOWN:
            near = did_you_mean(word, KNOWN)
            named = f"{file}: architecture {shown(word)} is not known"
            raise FileError(named, f"{near} {BY_HAND}" if near else BY_HAND)
        self.word = word

    def get(self, key: str) -> Any:
        """A value of the architecture, None where it is absent."""
        return self.table.get(f"{self.word}.{key}")

    def whole(self, key: str, layer: int = 0, default: int | None = None, least: int = 0) -> int:
        """A whole number, of one layer where the file has one for each."""
        value = self.get(key)
        if value is None:
            if default is None:
                raise self.error(f"{self.word}.{key} is missing", "give a complete GGUF file")
            return default
        if isinstance(value, list):
            if layer >= len(value):
                raise self.error(f"{self.word}.{key} has {len(value)} entries, none for layer {layer}")
            value = value[layer]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 2**40:
            raise self.error(f"{self.word}.{key} = {shown(value)}: must be a whole number from {least} on")
        return value

    def error(self, what: str, hint: str | None = None) -> FileError:
        return FileError(f"{self.file}: {what}", hint)

    def differs(self, index: int) -> FileError:
        """The error of a block whose tensors are not those that the metadata describe."""
        return self.error(
            f"the tensors of block {index} do not have the shapes that its metadata tell", BY_HAND
        )


def read_gguf_model(path: str) -> Model:
    """The model in a GGUF file, split or whole; FileError where it cannot be used or is not understood."""
    found = read_gguf(path)
    facts = _Facts(found, file_name(path))
    if not found.tensors:
        raise facts.error("has no tensors, a vocabulary at most", "give the GGUF file of a model")
    blocks, rest = _by_block(found.tensors, facts)
    vocabulary, width = _embedding(facts, rest)
    facts.depth = depth = len(blocks) - facts.whole("nextn_predict_layers", default=0)
    if depth < 1:
        raise facts.error("has no blocks", "give a complete GGUF file")
    layers = [_layer(facts, index, block, width) for index, block in enumerate(blocks[:depth])]
    more = [block for block in blocks[depth:] if block]
    title = facts.table.get("general.name")
    model = Model(
        name=model_name(title if isinstance(title, str) and title else os.path.basename(path)[:-5]),
        width=width,
        vocabulary=vocabulary,
        layers=alike(layers),
        context_limit_tokens=facts.whole("context_length", default=0) or None,
        tied_embeddings="output.weight" not in rest,
        origin="file",
        mtp_layers=len(more),
        mtp_parameters=sum(t.elements for block in more for t in block.values()),
        notes=_notes(facts, layers, blocks),
        sources={"layers": Source("vendor", f"tensors of a GGUF file ({facts.word}), read from its header")},
    )
    return _as_stored(_rest(model, rest), blocks, rest, facts)


def _by_block(tensors: Sequence[StoredTensor], facts: _Facts) -> tuple[list[Block], Block]:
    """The tensors of each block by their names inside it, and those outside of blocks."""
    count = facts.whole("block_count")
    if count > MOST_LAYERS:
        raise facts.error(f"{facts.word}.block_count = {count}: must be at most {MOST_LAYERS}")
    blocks: list[Block] = [{} for _ in range(count)]
    rest: Block = {}
    for tensor in tensors:
        name = tensor.name
        if name.startswith("blk."):
            number, _, name = name[4:].partition(".")
            plain = name and number.isascii() and number.isdecimal() and len(number) < 7
            if not plain or int(number) >= count:
                raise facts.error(f"tensor {shown(tensor.name)} is of none of the {count} blocks")
            if not name.startswith(_COMPUTED):
                blocks[int(number)][name] = tensor
        elif not name.startswith(_COMPUTED):
            rest[name] = tensor
    if any("ffn_down.0.weight" in block for block in blocks):
        blocks = [_merged(facts, index, block) for index, block in enumerate(blocks)]
    return blocks, rest


def _merged(facts: _Facts, index: int, block: Block) -> Block:
    """A block with the tensors of its experts joined, as files have them since 2024."""
    apart: dict[str, dict[int, StoredTensor]] = {}
    merged: Block = {}
    for name, tensor in block.items():
        match = _EXPERT.fullmatch(name)
        if match:
            apart.setdefault(match[1], {})[int(match[2])] = tensor
        else:
            merged[name] = tensor
    for word, experts in apart.items():
        first = experts.get(0)
        if first is None or any(n >= len(experts) or t.shape != first.shape for n, t in experts.items()):
            raise facts.differs(index)
        size = sum(tensor.bytes for tensor in experts.values())
        name = f"ffn_{word}_exps.weight"
        merged[name] = StoredTensor(name, (len(experts), *first.shape), first.type, size)
    return merged


def _embedding(facts: _Facts, rest: Block) -> tuple[int, int]:
    """The rows and the width of the embedding table."""
    table, head = rest.get("token_embd.weight"), rest.get("output.weight")
    if table is None:
        raise facts.error("has no tensor token_embd.weight", "give the GGUF file of a language model")
    if len(table.shape) != 2 or not all(table.shape) or (head and head.shape != table.shape):
        raise facts.error("the tensors token_embd.weight and output.weight do not have one shape")
    vocabulary, width = table.shape
    if facts.whole("embedding_length", default=width) != width:
        raise facts.error(f"{facts.word}.embedding_length is not the width of token_embd.weight, {width}")
    return vocabulary, width


def _layer(facts: _Facts, index: int, block: Block, width: int) -> Layers:
    """One block. What its two parts do not account for, biases and norms included, stands beside them."""
    if not block and facts.word != "deci":
        raise facts.error(f"has no tensors of block {index}", "give a complete GGUF file of the model")
    mixer, beside = _mixers(facts, index, block, width)
    feed_forward = _feed_forward(facts, index, block, width)
    matrix = vector = norms = 0
    for name, tensor in block.items():
        count = tensor.elements
        if _matrix(name, tensor):
            matrix += count
        else:
            vector += count
            norms += tensor.shape == (width,) and name.endswith("norm.weight")
    mine = mixer.elements(width)
    if beside:
        more = beside.elements(width)
        mine = Elements(mine.matrix + more.matrix, mine.vector + more.vector)
    one, shared = feed_forward.expert_elements(width), feed_forward.shared_elements(width)
    copies = max(1, feed_forward.experts)
    matrix -= mine.matrix + copies * one.matrix
    vector -= mine.vector + copies * one.vector
    if feed_forward.experts:
        matrix -= shared.matrix + width * feed_forward.experts
        vector -= shared.vector + feed_forward.experts * feed_forward.router_bias
    if matrix < 0 or vector < 0:
        raise facts.differs(index)
    norms = min(norms, vector // width)
    return Layers(1, mixer, feed_forward, norms, matrix, vector - norms * width, beside)


def _convolution(name: str) -> bool:
    return "conv" in name and name.endswith(".weight") and "proj" not in name


def _matrix(name: str, tensor: StoredTensor) -> bool:
    """Whether a conversion would touch a tensor: no bias, decay, norm, gate of a vector or convolution."""
    if len(tensor.shape) < 2 or not name.endswith(".weight") or "norm" in name or name == _SHARED_GATE:
        return False
    return not _convolution(name)


_SHARED_GATE = "ffn_gate_inp_shexp.weight"


def _rows(block: Block, name: str) -> int:
    """Rows (outputs) of a matrix of a block, 0 where it is absent."""
    tensor = block.get(name + ".weight")
    return tensor.shape[-2] if tensor and len(tensor.shape) > 1 else 0


def _mixers(facts: _Facts, index: int, block: Block, width: int) -> tuple[Attention, RecurrentMixer | None]:
    """What mixes tokens in a block: attention, a recurrent part, or both side by side."""
    if not any(name.startswith(("ssm_", "shortconv.")) for name in block):
        return _attention(facts, index, block, width), None
    if facts.word == "falcon-h1":
        return _attention(facts, index, block, width), _recurrent(facts, index, block)
    return _recurrent(facts, index, block), None


def _attention(facts: _Facts, index: int, block: Block, width: int) -> Attention:
    if "attn_kv_a_mqa.weight" in block:
        return _latent(facts, index, block, width)
    if "attn_q.weight" in block or "attn_qkv.weight" in block:
        return _grouped(facts, index, block, width)
    if facts.word != "deci" and any(
        name.startswith("attn_") and not name.startswith("attn_norm") for name in block
    ):
        raise facts.error(
            f"the attention of block {index} is not understood", "give the config.json of the model instead"
        )
    return NoMixer()


def _grouped(facts: _Facts, index: int, block: Block, width: int) -> GroupedAttention:
    heads = facts.whole("attention.head_count", index)
    kv_heads = facts.whole("attention.head_count_kv", index, heads)
    if not heads or not kv_heads or heads % kv_heads:
        raise facts.error(f"block {index} has {heads} heads and {kv_heads} KV heads")
    window = _window(facts, index)
    suffix = "_swa" if window and facts.get("attention.key_length_swa") is not None else ""
    key = facts.whole("attention.key_length" + suffix, index, width // heads, least=1)
    value = facts.whole("attention.value_length" + suffix, index, width // heads, least=1)
    gate = facts.word in _GATED
    query = heads * key * (1 + gate)
    fused = "attn_qkv.weight" in block
    expected = {
        "attn_q": query, "attn_k": kv_heads * key, "attn_v": kv_heads * value,
        "attn_qkv": query + kv_heads * (key + value),
    }  # fmt: skip
    output = block.get("attn_output.weight")
    if any(_rows(block, name) not in (0, rows) for name, rows in expected.items()) or (
        output and output.shape[-1:] != (heads * value,)
    ):
        raise facts.differs(index)
    return GroupedAttention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=key,
        value_dim=None if value == key else value,
        window=window,
        projections="qkv" if fused or "attn_v.weight" in block
        else "qk" if "attn_k.weight" in block else "q",
        cache="own" if index < _own_caches(facts) else "shared",
        gate=gate,
    )  # fmt: skip


def _own_caches(facts: _Facts) -> int:
    """How many of the first layers keep caches that no other layer does."""
    if facts.word != "gemma4":
        return _OWN_CACHES.get(facts.word, facts.depth)
    shared = facts.whole("attention.shared_kv_layers", default=0)
    if shared >= facts.depth:
        raise facts.error(f"gemma4.attention.shared_kv_layers = {shared}: leaves no layer a cache of its own")
    return facts.depth - shared


def _window(facts: _Facts, index: int) -> int | None:
    """The window of a layer, None where it attends to all tokens."""
    spacing = KNOWN[facts.word]
    # Of EXAONE 4 only the large model has windows.
    if spacing == 1 or (facts.word == "exaone4" and facts.depth != 64):
        return None
    window = facts.whole("attention.sliding_window", default=_DEFAULT_WINDOWS.get(facts.word, 0))
    window = _FIXED_WINDOWS.get(facts.word, window) if window else 0
    limit = facts.whole("context_length", default=0)
    if not window or (limit and window >= limit):
        return None
    return window if _windowed(facts, index, spacing) else None


def _windowed(facts: _Facts, index: int, spacing: int) -> bool:
    """Whether a layer is one of those with the window: as the file lists them, else by the spacing."""
    key = "attention.sliding_window_pattern"
    pattern: Any = facts.get(key)
    if isinstance(pattern, list):
        if index >= len(pattern) or not isinstance(pattern[index], int):
            raise facts.error(f"{facts.word}.{key} has no yes or no for layer {index}")
        return bool(pattern[index])
    if spacing == _LISTED:
        return bool(facts.whole(key))
    spacing = facts.whole(key, default=spacing)
    if not spacing:
        return True
    return index % spacing != (0 if facts.word in _FULL_FIRST else spacing - 1)


def _latent(facts: _Facts, index: int, block: Block, width: int) -> LatentAttention:
    heads = facts.whole("attention.head_count", index, least=1)
    latent, rope = facts.whole("attention.kv_lora_rank", least=1), facts.whole("rope.dimension_count")
    # Files of recent converters state the widths before absorption under names of their own.
    suffix = "_mla" if facts.get("attention.key_length_mla") is not None else ""
    key = facts.whole("attention.key_length" + suffix, default=width // heads)
    value = facts.whole("attention.value_length" + suffix, default=width // heads, least=1)
    if key <= rope:
        raise facts.error(f"keys of {key} elements are not wider than their rotary part of {rope}")
    indexer = None
    if "indexer.attn_k.weight" in block:
        indexer = Indexer(
            facts.whole("attention.indexer.head_count", least=1),
            facts.whole("attention.indexer.key_length", least=1),
        )
    expected = {
        "attn_q": heads * key, "attn_q_b": heads * key, "attn_kv_a_mqa": latent + rope,
        "attn_kv_b": heads * (key - rope + value), "indexer.attn_k": indexer.head_dim if indexer else 0,
    }  # fmt: skip
    if any(_rows(block, name) not in (0, rows) for name, rows in expected.items()):
        raise facts.differs(index)
    return LatentAttention(
        heads=heads,
        latent_dim=latent,
        rope_dim=rope,
        nope_dim=key - rope,
        value_dim=value,
        query_rank=_rows(block, "attn_q_a") or None,
        top_k=facts.whole("attention.indexer.top_k", default=0) or None,
        indexer=indexer,
    )


def _recurrent(facts: _Facts, index: int, block: Block) -> RecurrentMixer:
    """A state-space block, or the gated delta rule, or a short convolution: the state from the metadata."""
    beside = facts.word == "falcon-h1"
    matrix = vector = channels = kernel = 0
    for name, tensor in block.items():
        if not _is_recurrent(name, beside=beside):
            continue
        if _matrix(name, tensor):
            matrix += tensor.elements
            continue
        vector += tensor.elements
        if _convolution(name) and tensor.shape and tensor.shape[-1]:
            kernel = tensor.shape[-1]
            channels += tensor.elements // kernel
    common: dict[str, Any] = {
        "matrix": matrix, "vector": vector, "conv_channels": channels, "conv_kernel": kernel,
    }  # fmt: skip
    if any(name.startswith("shortconv.") for name in block):
        return RecurrentMixer("short-conv", 1, 0, 0, **common)
    if facts.word == "kimi-linear":
        heads, width = (
            facts.whole("attention.head_count", index, least=1),
            facts.whole("kda.head_dim", least=1),
        )
        if channels != 3 * heads * width:
            raise facts.differs(index)
        return RecurrentMixer("kimi-delta", heads, width, width, **common)
    inner, state = facts.whole("ssm.inner_size", least=1), facts.whole("ssm.state_size", least=1)
    if "ssm_x.weight" in block:
        decay = block.get("ssm_a")
        if channels != inner or decay is None or decay.elements != inner * state:
            raise facts.differs(index)
        return RecurrentMixer("mamba", inner, state, 1, **common)
    heads, groups = facts.whole("ssm.time_step_rank", least=1), facts.whole("ssm.group_count", least=1)
    if inner % heads or channels != inner + 2 * groups * state:
        raise facts.differs(index)
    variant = "gated-delta-net" if facts.word in _GATED else "mamba2"
    return RecurrentMixer(variant, heads, state, inner // heads, **common)


def _is_recurrent(name: str, *, beside: bool) -> bool:
    """Whether a tensor is part of a recurrent mixer, in a block with one; `beside` attention it is not alone."""
    if name.startswith(("ssm_", "shortconv.")):
        return True
    return not beside and name.startswith("attn_") and not name.startswith(("attn_norm", "attn_post_norm"))


def _feed_forward(facts: _Facts, index: int, block: Block, width: int) -> FeedForward:
    experts, dense = block.get("ffn_down_exps.weight"), block.get("ffn_down.weight")
    if experts is None:
        if dense is None or len(dense.shape) != 2 or not dense.shape[1]:
            return FeedForward(0)
        inner = dense.shape[1]
        gated = "ffn_gate.weight" in block or _rows(block, "ffn_up") == 2 * inner
        biased = {"ffn_down.bias", "ffn_up.bias"} | (
            {"ffn_gate.bias"} if "ffn_gate.weight" in block else set()
        )
        return FeedForward(inner, gated=gated, bias=biased <= block.keys())
    if len(experts.shape) != 3 or not all(experts.shape):
        raise facts.differs(index)
    count, out, inner = experts.shape
    top_k = facts.whole("expert_used_count")
    if not 0 < top_k <= count or facts.whole("expert_count", default=count) != count:
        raise facts.error(f"{facts.word}.expert_used_count = {top_k}: block {index} has {count} experts")
    gated = "ffn_gate_exps.weight" in block or "ffn_gate_up_exps.weight" in block
    biased = {"ffn_down_exps.bias", "ffn_up_exps.bias"} | ({"ffn_gate_exps.bias"} if gated else set())
    shared = block.get("ffn_down_shexp.weight", dense)
    return FeedForward(
        inner,
        gated=gated,
        experts=count,
        top_k=top_k,
        shared_width=shared.shape[1] if shared and len(shared.shape) == 2 else 0,
        shared_gate=_SHARED_GATE in block,
        latent_width=None if out == width else out,
        router_bias="exp_probs_b.bias" in block or "ffn_gate_inp.bias" in block,
        bias=biased <= block.keys(),
    )


def _notes(facts: _Facts, layers: Sequence[Layers], blocks: Sequence[Block]) -> tuple[str, ...]:
    """Where llama.cpp runs a file otherwise than the model was meant."""
    notes = []
    window, limit = (facts.get(key) for key in ("attention.sliding_window", "context_length"))
    if facts.word == "phi3" and isinstance(window, int) and isinstance(limit, int) and 0 < window < limit:
        notes.append(f"llama.cpp runs this model without its sliding window of {window:,} tokens")
    whole = next((n for n, block in enumerate(blocks[: facts.depth]) if "attn_kv_b.weight" in block), None)
    if whole is not None:
        mixer = layers[whole].attention
        if isinstance(mixer, LatentAttention) and "attn_k_b.weight" not in blocks[whole]:
            notes.append(
                "llama.cpp keeps uncompressed keys and values for this file "
                f"({mixer.expanded_elements:,} elements a token and layer, not {mixer.kv_elements:,}): "
                "its attn_kv_b is not split"
            )
    return tuple(notes)


def _rest(model: Model, rest: Block) -> Model:
    """The model with what stands outside of its blocks."""
    more = {
        name: t for name, t in rest.items() if name not in ("token_embd.weight", "output.weight", *_TABLES)
    }
    bias = "output.bias" in more and more["output.bias"].elements == model.vocabulary
    vectors = sum(t.elements for name, t in more.items() if not _matrix(name, t))
    vectors -= model.vocabulary * bias
    norms = min(sum(1 for name in more if name.startswith("output_norm.")), vectors // model.width)
    return replace(
        model,
        head_bias=bias,
        final_norms=norms,
        lookup_parameters=sum(rest[name].elements for name in _TABLES if name in rest),
        other_matrix=sum(t.elements for name, t in more.items() if _matrix(name, t)),
        other_vector=vectors - norms * model.width,
    )


def _class_in_block(name: str, block: Block, *, recurrent: bool, beside: bool) -> str:
    """The tensor class of a tensor of a block, as the parts above count it."""
    if recurrent and _is_recurrent(name, beside=beside):
        return "recurrent"
    if name.startswith(("ffn_gate_inp.", "exp_probs_b")):
        return "router"
    if "_exps." in name and not name.startswith("ffn_norm"):
        return "experts"
    if "_shexp." in name or name.startswith("ffn_latent"):
        return "shared"
    if name.startswith(("ffn_gate.", "ffn_up.", "ffn_down.")):
        return "shared" if "ffn_down_exps.weight" in block else "dense"
    return "attention"


def _classes(blocks: Sequence[Block], rest: Block, facts: _Facts) -> dict[str, dict[str, int]]:
    """Bytes by class and by type."""
    sizes: dict[str, dict[str, int]] = {}
    beside = facts.word == "falcon-h1"

    def add(found: str, tensor: StoredTensor) -> None:
        by_type = sizes.setdefault(found, {})
        by_type[tensor.type] = by_type.get(tensor.type, 0) + tensor.bytes

    for index, block in enumerate(blocks):
        recurrent = any(name.startswith(("ssm_", "shortconv.")) for name in block)
        for name, tensor in block.items():
            found = "mtp"
            if index < facts.depth:
                found = _class_in_block(name, block, recurrent=recurrent, beside=beside)
            add(found, tensor)
    for name, tensor in rest.items():
        table = name == "token_embd.weight" or name in _TABLES
        add("embedding" if table else "head" if name.startswith("output") else "attention", tensor)
    return sizes


def _as_stored(model: Model, blocks: Sequence[Block], rest: Block, facts: _Facts) -> Model:
    """The model with the bytes and the types of its tensors."""
    sizes = _classes(blocks, rest, facts)
    known = format_names()
    formats = {}
    for name in CLASSES:
        by_type = sizes.get(name)
        if by_type:
            main = max(by_type, key=lambda word: by_type[word])
            form = _TYPES.get(main, main.lower())
            # A type without a format of its own is unpacked like the others of its kind.
            formats[name] = form if form in known else "q2_k"
    of_file = facts.table.get("general.file_type")
    whole = _FILE_TYPES.get(of_file) if isinstance(of_file, int) else None
    elements = model.elements()
    largest = max(formats, key=lambda name: elements[name].total)
    totals = {name: sum(sizes[name].values()) for name in (*CLASSES, "mtp") if name in sizes}
    return replace(
        model,
        checkpoint=whole if whole in known else formats[largest],
        checkpoint_formats=formats,
        checkpoint_bytes={name: size for name, size in totals.items() if size},
        base_format="fp16",
    )
