"""Tensors as files of weights state them: name, shape, type and bytes, never values; and what their names mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple


class StoredTensor(NamedTuple):
    """One tensor of a checkpoint file.

    `type` is the file's own word for the element type ("BF16", "F8_E4M3", "U8"; of a GGUF file "Q4_K"),
    `bytes` what the data take in the file, scales inside blocks included.

    >>> StoredTensor("model.norm.weight", (4096,), "BF16", 8192).elements
    4096
    """

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int

    @property
    def elements(self) -> int:
        """Elements of the shape; 1 for a scalar."""
        product = 1
        for size in self.shape:
            product *= size
        return product


def model_name(word: str) -> str:
    """A name of the letters that names may have.

    >>> model_name("Qwen3-8B (copy)")
    'qwen3-8b-copy'
    """
    name = re.sub(r"[^a-z0-9._-]+", "-", word.lower()).strip("-._")[:80]
    return name or "unnamed"


#: Parts of tensor names by class, the first that is found decides.
_NAMED: Mapping[str, tuple[str, ...]] = {
    "vision": (
        r"(^|\.)(vision|visual|vit|image_|img_|multi_modal|multimodal|mm_|audio|embed_vision|embed_audio)",
        r"(^|\.)(connector|patch_embed|aligner|sam_model|speech)",
    ),
    "mtp": (r"(^|\.)mtp\.|(^|\.)nextn", r"\.(eh_proj|enorm|hnorm|shared_head)\."),
    "experts": (r"\.experts?\.|\.experts_|_exps\b|\.experts$", r"block_sparse_moe\.(input|output)_linear"),
    "shared": (r"shared_expert|shared_mlp|_shexp\b|residual_mlp|fc_latent",),
    "router": (
        r"\.(mlp|block_sparse_moe|feed_forward|ffn|moe|mixer)\.(gate|router)\b|\.router\b",
        r"e_score|expert_bias|gate\.wg|ffn_gate_inp|exp_probs",
    ),
    "attention": (r"\.mixer\.([qkvo]|qkv|out)_proj\b|\.mixer\.(q|k)_norm\b",),
    "dense": (
        r"\.mixer\.(up|down|gate)_proj\b",
        r"\.(mlp|feed_forward|ffn|fc|fc_in|fc_out|ffn_up|ffn_down|ffn_gate)\b",
        r"dense_h_to_h",
    ),
    "recurrent": (
        r"\.(linear_attn|mamba|mixer|ssm|conv|rglru|recurrent|time_mix|short_conv|shortconv)[._]",
        r"\.ssm_|A_log|dt_bias",
    ),
    "layer": (r"(^|\.)(layers|h|blocks|blk|block)\.\.",),
    "head": (
        r"(^|\.)(lm_head|embed_out|output_layer|output|output_norm)\.",
        r"(^|\.)(final_layernorm|ln_f|norm|final_norm|norm_f)\.",
    ),
    "embedding": (r"embed|wte|wpe|token_embd|position_embd",),
}
_PATTERNS = [(tensor, re.compile("|".join(patterns))) for tensor, patterns in _NAMED.items()]
_LAYER = re.compile(r"(?:layers|blk|blocks|block|h)\.(\d{1,6})\.")
_DIGITS = re.compile(r"\d+")


def tensor_class(name: str, depth: int) -> str:
    """The class of a tensor by its name, in a model of `depth` layers; layers beyond them are for MTP.

    >>> tensor_class("model.layers.3.mlp.experts.0.up_proj.weight", 32), tensor_class("lm_head.weight", 32)
    ('experts', 'head')
    """
    found = _class_of(_DIGITS.sub("", name))
    if found not in ("vision", "head", "embedding"):
        layer = _LAYER.search(name)
        if layer and int(layer[1]) >= depth:
            return "mtp"
    return found


def tensor_classes(names: Sequence[str], depth: int) -> list[str]:
    """The classes of many tensors at once, which a set of shards has: as `tensor_class` of each.

    >>> tensor_classes(["lm_head.weight", "model.layers.0.mlp.up_proj.weight"], 1)
    ['head', 'dense']
    """
    joined = "\n".join(names)
    plain = joined.encode("utf-8", "replace").translate(None, b"0123456789").decode().split("\n")
    # Layers beyond the model's own begin with the one after its last.
    beyond = any(f"{word}.{depth}." in joined for word in ("layers", "blk", "blocks", "block", "h"))
    if beyond or len(plain) != len(names):
        return [tensor_class(name, depth) for name in names]
    known = {name: _class_of(name) for name in set(plain)}
    return [known[name] for name in plain]


@lru_cache(maxsize=4096)
def _class_of(name: str) -> str:
    """The class by a name whose digits are taken out, of which a model has few."""
    found = next((tensor for tensor, pattern in _PATTERNS if pattern.search(name)), "layer")
    return "attention" if found == "layer" else found
