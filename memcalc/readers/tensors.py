"""Tensors as files of weights state them: name, shape, type and bytes, never values; and what their names mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
    "shared": (r"shared_expert|shared_mlp|_shexp\b|residual_mlp|fc[12]_latent",),
    "router": (
        r"\.(mlp|block_sparse_moe|feed_forward|ffn|moe|mixer)\.(gate|router)\b|\.router\b",
        r"e_score|expert_bias|gate\.wg|ffn_gate_inp|exp_probs",
    ),
    "recurrent": (
        r"\.(linear_attn|mamba|mixer|ssm|conv|rglru|recurrent|time_mix|short_conv|shortconv)[._]",
        r"\.ssm_|A_log|dt_bias",
    ),
    "dense": (
        r"\.(mlp|feed_forward|ffn|fc1|fc2|fc_in|fc_out|ffn_up|ffn_down|ffn_gate)\b",
        r"dense_h_to_4h|dense_4h_to_h",
    ),
    "attention": (r"(^|\.)(layers|h|blocks|blk|block)\.0\.",),
    "head": (
        r"(^|\.)(lm_head|embed_out|output_layer|output|output_norm)\.",
        r"(^|\.)(final_layernorm|ln_f|norm|final_norm|norm_f)\.",
    ),
    "embedding": (r"embed|wte|wpe|token_embd|position_embd",),
}
_PATTERNS = [(tensor, re.compile("|".join(patterns))) for tensor, patterns in _NAMED.items()]
_LAYER_LISTS = ("layers", "h", "blocks", "blk", "block")


def tensor_class(name: str, depth: int) -> str:
    """The class of a tensor by its name, in a model of `depth` layers; layers beyond them are for MTP.

    >>> tensor_class("model.layers.3.mlp.experts.0.up_proj.weight", 32), tensor_class("lm_head.weight", 32)
    ('experts', 'head')
    """
    parts = name.split(".")
    for at, part in enumerate(parts):
        if part.isdecimal():
            if len(part) < 7 and int(part) >= depth and parts[at - 1] in _LAYER_LISTS and "vis" not in name:
                return "mtp"
            parts[at] = "0"
    return _class_of(".".join(parts))


@lru_cache(maxsize=4096)
def _class_of(name: str) -> str:
    """The class by a name whose numbers are taken out, of which a model has few."""
    return next((tensor for tensor, pattern in _PATTERNS if pattern.search(name)), "attention")
