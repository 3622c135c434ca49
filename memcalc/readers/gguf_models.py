"""Models from GGUF files: what each block holds is read from its tensors, how it attends from the metadata.

A GGUF states every tensor, so parameters and bytes are those of the file. The metadata give heads,
windows and routing; an architecture whose rules for these are not known here is refused by its name.
"""

from __future__ import annotations

import os
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
from memcalc.readers.architectures.config import MOST_LAYERS, alike
from memcalc.readers.gguf import GGUF, read_gguf
from memcalc.readers.regular import file_name, shown
from memcalc.readers.tensors import StoredTensor, model_name, tensor_class

#: Architectures of llama.cpp by the spacing of their full layers where a window is given: 0 no layer has it,
#: 1 every layer, n all but each n-th (llama.cpp, src/llama-model.cpp).
KNOWN: Mapping[str, int] = {
    **dict.fromkeys(
        (
            "llama", "mistral3", "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe",
            "gemma", "phi2", "phi3", "phimoe", "starcoder", "starcoder2", "command-r", "olmo", "olmoe", "granite",
            "granitemoe", "granitehybrid", "glm4", "glm4moe", "chatglm", "falcon", "gptneox", "gpt2", "gptj", "bloom",
            "mpt", "stablelm", "internlm2", "baichuan", "nemotron", "exaone", "dots1", "ernie4_5", "ernie4_5-moe",
            "hunyuan-moe", "hunyuan-dense", "smollm3", "bailingmoe", "bailingmoe2", "deepseek", "deepseek2", "dbrx",
            "grok", "orion", "xverse", "seed_oss", "arcee", "apertus", "minimax-m2", "codeshell", "jais", "minicpm",
            "minicpm3", "decilm", "deci", "plm", "glm-dsa", "mamba", "mamba2", "jamba", "nemotron_h", "nemotron_h_moe",
            "falcon-h1", "qwen3next", "qwen35", "qwen35moe", "lfm2", "lfm2moe", "mimo2", "pangu-embedded", "arctic",
        ),
        0,
    ),
    "gemma2": 2, "gpt-oss": 2, "gemma3": 6, "cohere2": 4, "llama4": 4, "exaone4": 4, "olmo2": 4,
}  # fmt: skip
#: The window of architectures whose files do not state it.
_WINDOWS = {"llama4": 8192}
#: Names of llama.cpp's file types by number (ggml's `LLAMA_FTYPE`).
_FILE_TYPES = {
    0: "fp32", 1: "fp16", 2: "q4_0", 3: "q4_1", 7: "q8_0", 8: "q5_0", 9: "q5_1", 10: "q2_k", 11: "q3_k_s",
    12: "q3_k_m", 13: "q3_k_l", 14: "q4_k_s", 15: "q4_k_m", 16: "q5_k_s", 17: "q5_k_m", 18: "q6_k", 19: "iq2_xxs",
    20: "iq2_xs", 21: "q2_k_s", 22: "iq3_xs", 23: "iq3_xxs", 24: "iq1_s", 25: "iq4_nl", 26: "iq3_s", 27: "iq3_m",
    28: "iq2_s", 29: "iq2_m", 30: "iq4_xs", 31: "iq1_m", 32: "bf16", 38: "mxfp4",
}  # fmt: skip
#: Tables for rotary embeddings are computed, not learned.
_COMPUTED = ("rope_freqs.", "rope_factors_")
_TYPES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}


class _Facts:
    """The metadata of one file, with the prefix of its architecture."""

    def __init__(self, found: GGUF, file: str) -> None:
        self.table, self.lengths, self.file = found.metadata, found.lengths, file
        word = self.table.get("general.architecture")
        if not isinstance(word, str):
            raise FileError(f"{file}: names no general.architecture", "give a GGUF file of a language model")
        self.word = word

    def get(self, key: str) -> Any:
        """A value of the architecture, None where it is absent."""
        return self.table.get(f"{self.word}.{key}")

    def whole(self, key: str, layer: int = 0, default: int | None = None) -> int:
        """A whole number, of one layer where the file has one for each."""
        value = self.get(key)
        if isinstance(value, list):
            value = value[layer] if layer < len(value) else None
        if value is None and default is not None:
            return default
        if value is None:
            raise FileError(f"{self.file}: {self.word}.{key} is missing", "give a complete GGUF file")
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 2**40:
            raise FileError(
                f"{self.file}: {self.word}.{key} = {shown(value)}: must be a whole number from 0 on"
            )
        return value


def read_gguf_model(path: str) -> Model:
    """The model in a GGUF file, split or whole; FileError where it cannot be used or is not understood."""
    found = read_gguf(path)
    file = file_name(path)
    facts = _Facts(found, file)
    if facts.word not in KNOWN:
        near = did_you_mean(facts.word, KNOWN)
        hint = "describe it by hand in a TOML file: 'memcalc presets show models llama-3.1-8b' shows one"
        named = f"{file}: architecture {shown(facts.word)} is not known"
        raise FileError(named, f"{near} {hint}" if near else hint)
    blocks, rest = _by_block(found.tensors, facts)
    table = rest.get("token_embd.weight")
    if table is None or len(table.shape) != 2:
        raise FileError(f"{file}: has no tensor token_embd.weight", "give the GGUF file of a language model")
    vocabulary, width = table.shape
    depth = len(blocks) - facts.whole("nextn_predict_layers", default=0)
    if depth < 1:
        raise FileError(f"{file}: has no blocks", "give a complete GGUF file")
    layers = [_layer(facts, index, block, width) for index, block in enumerate(blocks[:depth])]
    title = facts.table.get("general.name")
    model = Model(
        name=model_name(title if isinstance(title, str) and title else os.path.basename(path)[:-5]),
        width=width,
        vocabulary=vocabulary,
        layers=alike(layers),
        context_limit_tokens=facts.whole("context_length", default=0) or None,
        tied_embeddings="output.weight" not in rest,
        origin="file",
        mtp_layers=len(blocks) - depth,
        mtp_parameters=sum(t.elements for block in blocks[depth:] for t in block.values()),
        sources={"layers": Source("vendor", f"tensors of a GGUF file ({facts.word}), read from its header")},
    )
    return _as_stored(_rest(model, rest), found.tensors, facts, depth)


def _by_block(
    tensors: Sequence[StoredTensor], facts: _Facts
) -> tuple[list[dict[str, StoredTensor]], dict[str, StoredTensor]]:
    """The tensors of each block by their names inside it, and those outside of blocks."""
    count = facts.whole("block_count")
    if count > MOST_LAYERS:
        raise FileError(f"{facts.file}: {facts.word}.block_count = {count}: must be at most {MOST_LAYERS}")
    blocks: list[dict[str, StoredTensor]] = [{} for _ in range(count)]
    rest = {}
    for tensor in tensors:
        if tensor.name.startswith("blk."):
            number, _, name = tensor.name[4:].partition(".")
            if not (number.isdecimal() and len(number) < 7 and int(number) < count):
                raise FileError(f"{facts.file}: tensor {shown(tensor.name)} is of none of the {count} blocks")
            if not name.startswith(_COMPUTED):
                blocks[int(number)][name] = tensor
        elif not tensor.name.startswith(_COMPUTED):
            rest[tensor.name] = tensor
    return blocks, rest


def _layer(facts: _Facts, index: int, block: Mapping[str, StoredTensor], width: int) -> Layers:
    """One block. What its two parts do not account for, biases and norms included, stands beside them."""
    mixer, beside = _mixers(facts, index, block, width)
    feed_forward = _feed_forward(facts, block, width)
    matrix = sum(t.elements for t in block.values() if _matrix(t))
    vector = sum(t.elements for t in block.values()) - matrix
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
        raise FileError(
            f"{facts.file}: the tensors of block {index} do not have the shapes that its metadata tell",
            "describe the model by hand in a TOML file: 'memcalc presets show models llama-3.1-8b' shows one",
        )
    norms = sum(1 for name, t in block.items() if name.endswith("norm.weight") and t.shape == (width,))
    norms = min(norms, vector // width)
    return Layers(1, mixer, feed_forward, norms, matrix, vector - norms * width, beside)


def _convolution(tensor: StoredTensor) -> bool:
    return "conv" in tensor.name and tensor.name.endswith(".weight") and "proj" not in tensor.name


def _matrix(tensor: StoredTensor) -> bool:
    """Whether a conversion would touch a tensor: no bias, decay, norm or convolution."""
    return len(tensor.shape) > 1 and tensor.name.endswith(".weight") and not _convolution(tensor)


def _rows(block: Mapping[str, StoredTensor], name: str) -> int:
    """Rows (outputs) of a matrix of a block, 0 where it is absent."""
    tensor = block.get(name + ".weight")
    return tensor.shape[-2] if tensor and len(tensor.shape) > 1 else 0


def _mixers(
    facts: _Facts, index: int, block: Mapping[str, StoredTensor], width: int
) -> tuple[Attention, RecurrentMixer | None]:
    """What mixes tokens in a block: attention, a recurrent part, or both side by side."""
    if any(name.startswith(("ssm_", "shortconv.")) for name in block):
        mixer = _recurrent(facts, block)
        both = "attn_q.weight" in block
        return (_grouped(facts, index, block, width), mixer) if both else (mixer, None)
    return _attention(facts, index, block, width), None


def _attention(facts: _Facts, index: int, block: Mapping[str, StoredTensor], width: int) -> Attention:
    if "attn_kv_a_mqa.weight" in block:
        return _latent(facts, index, block)
    if "attn_q.weight" not in block and "attn_qkv.weight" not in block:
        if any(name.startswith("attn_") and not name.startswith("attn_norm") for name in block):
            raise FileError(
                f"{facts.file}: the attention of block {index} is not understood",
                "give the config.json of the model instead",
            )
        return NoMixer()
    return _grouped(facts, index, block, width)


def _grouped(facts: _Facts, index: int, block: Mapping[str, StoredTensor], width: int) -> GroupedAttention:
    heads = facts.whole("attention.head_count", index)
    kv_heads = facts.whole("attention.head_count_kv", index, heads)
    if not heads or not kv_heads or heads % kv_heads:
        raise FileError(f"{facts.file}: block {index} has {heads} heads and {kv_heads} KV heads")
    window = _window(facts, index)
    suffix = "_swa" if window and facts.get("attention.key_length_swa") is not None else ""
    key = facts.whole("attention.key_length" + suffix, index, width // heads)
    value = facts.whole("attention.value_length" + suffix, index, key)
    shared = facts.whole("attention.shared_kv_layers", default=0)
    return GroupedAttention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=key,
        value_dim=None if value == key else value,
        window=window,
        projections="qkv" if "attn_v.weight" in block or "attn_qkv.weight" in block
        else "qk" if "attn_k.weight" in block else "q",
        cache="shared" if index >= facts.whole("block_count") - shared else "own",
        gate=_rows(block, "attn_q") == 2 * heads * key,
    )  # fmt: skip


def _window(facts: _Facts, index: int) -> int | None:
    window = facts.whole("attention.sliding_window", default=_WINDOWS.get(facts.word, 0))
    pattern: Any = facts.get("attention.sliding_window_pattern")
    if isinstance(pattern, list):
        return window or None if index < len(pattern) and pattern[index] else None
    spacing = pattern if isinstance(pattern, int) and not isinstance(pattern, bool) else KNOWN[facts.word]
    if not window or spacing < 1 or (spacing > 1 and index % spacing == spacing - 1):
        return None
    return window


def _latent(facts: _Facts, index: int, block: Mapping[str, StoredTensor]) -> LatentAttention:
    rope = facts.whole("rope.dimension_count")
    # Files of recent converters state the widths before absorption under names of their own.
    key = facts.whole("attention.key_length_mla", default=facts.whole("attention.key_length", default=0))
    value = facts.whole(
        "attention.value_length_mla", default=facts.whole("attention.value_length", default=0)
    )
    indexer = None
    if "indexer.attn_k.weight" in block:
        indexer = Indexer(
            facts.whole("attention.indexer.head_count"), facts.whole("attention.indexer.key_length")
        )
    if key <= rope:
        raise FileError(
            f"{facts.file}: keys of {key} elements are not wider than their rotary part of {rope}"
        )
    return LatentAttention(
        heads=facts.whole("attention.head_count", index),
        latent_dim=facts.whole("attention.kv_lora_rank"),
        rope_dim=rope,
        nope_dim=key - rope,
        value_dim=value,
        query_rank=facts.whole("attention.q_lora_rank", default=0) or None,
        top_k=facts.whole("attention.indexer.top_k", default=0) or None,
        indexer=indexer,
    )


def _recurrent(facts: _Facts, block: Mapping[str, StoredTensor]) -> RecurrentMixer:
    """A state-space block, or the gated delta rule, or a short convolution: the state from the metadata."""
    mine = [
        t for name, t in block.items() if name.startswith(("ssm_", "shortconv.", "attn_qkv", "attn_gate"))
    ]
    matrix = sum(t.elements for t in mine if _matrix(t))
    vector = sum(t.elements for t in mine) - matrix
    conv = next((t for t in mine if _convolution(t)), None)
    channels, kernel = (conv.shape[0], conv.shape[-1]) if conv and len(conv.shape) > 1 else (0, 0)
    common: dict[str, Any] = {
        "matrix": matrix, "vector": vector, "conv_channels": channels, "conv_kernel": kernel,
    }  # fmt: skip
    if any(name.startswith("shortconv.") for name in block):
        return RecurrentMixer("short-conv", 1, 0, 0, **common)
    inner, state = facts.whole("ssm.inner_size"), facts.whole("ssm.state_size")
    groups, heads = facts.whole("ssm.group_count", default=0), facts.whole("ssm.time_step_rank")
    if "ssm_dt.weight" in block or not groups:
        return RecurrentMixer("mamba", inner, state, 1, **common)
    if not heads or inner % heads:
        raise FileError(f"{facts.file}: {heads} heads do not divide the inner size of {inner}")
    variant = "gated-delta-net" if "attn_gate.weight" in block or "ssm_beta.weight" in block else "mamba2"
    return RecurrentMixer(variant, heads, state, inner // heads, **common)


def _feed_forward(facts: _Facts, block: Mapping[str, StoredTensor], width: int) -> FeedForward:
    experts = block.get("ffn_down_exps.weight")
    dense = block.get("ffn_down.weight")
    if experts is None:
        if dense is None or len(dense.shape) != 2:
            return FeedForward(0)
        inner = dense.shape[1]
        fused = _rows(block, "ffn_up") == 2 * inner
        return FeedForward(inner, gated="ffn_gate.weight" in block or fused)
    count, out, inner = experts.shape if len(experts.shape) == 3 else (0, 0, 0)
    top_k = facts.whole("expert_used_count")
    if not 0 < top_k <= count:
        raise FileError(f"{facts.file}: {facts.word}.expert_used_count = {top_k} of {count} experts")
    shared = block.get("ffn_down_shexp.weight", dense)
    return FeedForward(
        inner,
        gated="ffn_gate_exps.weight" in block or "ffn_gate_up_exps.weight" in block,
        experts=count,
        top_k=top_k,
        shared_width=shared.shape[1] if shared and len(shared.shape) == 2 else 0,
        shared_gate="ffn_gate_inp_shexp.weight" in block,
        latent_width=None if out == width else out,
        router_bias="exp_probs_b.bias" in block or "ffn_gate_inp.bias" in block,
        bias="ffn_down_exps.bias" in block,
    )


def _rest(model: Model, rest: Mapping[str, StoredTensor]) -> Model:
    """The model with what stands outside of its blocks."""
    tables = sum(
        t.elements for name, t in rest.items() if name.startswith(("position_embd", "per_layer_token_embd"))
    )
    taken = {"token_embd.weight", "output.weight"}
    more = [t for name, t in rest.items() if name not in taken and not name.startswith(
        ("position_embd", "per_layer_token_embd"))]  # fmt: skip
    vectors = sum(t.elements for t in more if len(t.shape) < 2)
    norms = min(1, vectors // model.width)
    return replace(
        model,
        final_norms=norms,
        lookup_parameters=tables,
        other_matrix=sum(t.elements for t in more if len(t.shape) > 1),
        other_vector=vectors - norms * model.width,
    )


def _as_stored(model: Model, tensors: Sequence[StoredTensor], facts: _Facts, depth: int) -> Model:
    """The model with the bytes and the types of its tensors."""
    sizes = dict.fromkeys((*CLASSES, "mtp"), 0)
    types: dict[str, dict[str, int]] = {}
    for tensor in tensors:
        found = tensor_class(tensor.name, depth)
        sizes[found] += tensor.bytes
        by_type = types.setdefault(found, {})
        by_type[tensor.type] = by_type.get(tensor.type, 0) + tensor.bytes
    known = format_names()
    formats = {}
    for name, by_type in types.items():
        main = max(by_type, key=lambda word: by_type[word])
        form = _TYPES.get(main, main.lower())
        if name != "mtp":
            # A type without a format of its own is unpacked like the others of its kind.
            formats[name] = form if form in known else "q2_k"
    of_file = facts.table.get("general.file_type")
    whole = _FILE_TYPES.get(of_file) if isinstance(of_file, int) else None
    elements = model.elements()
    largest = max(formats, key=lambda name: elements[name].total if name in elements else 0)
    return replace(
        model,
        checkpoint=whole if whole in known else formats[largest],
        checkpoint_formats=formats,
        checkpoint_bytes={name: size for name, size in sizes.items() if size},
        base_format="fp16",
    )
