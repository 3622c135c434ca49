"""Number formats: what an element costs in memory with its scales, and what math it can use.

Sizes are kept as a ratio of whole bytes to elements (`mxfp4`: 17 bytes for 32 elements), so that
byte counts stay integers.

Sources: OCP Microscaling Formats v1.0 (mxfp8, mxfp6, mxfp4: one 8-bit scale for 32 elements); NVIDIA
NVFP4 (one fp8 scale for 16 elements); DeepSeek-V3 (arXiv:2412.19437, section 3.3: one fp32 scale for
a 128 x 128 block); GPTQ and AWQ groups of 128 with an fp16 scale; ggml block structures (ggml-common.h);
layouts of latent caches as the kernels store them (FlashMLA, vLLM; at `_LAYOUTS`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from memcalc.errors import UsageError, did_you_mean


class Format(NamedTuple):
    """A storage format: `size_bytes` for every `size_elements` elements, scales included.

    `element` is the format of one element in arithmetic. `weight_only`: kernels expand the weights
    to 16 bits before the math. `unpacking` names the cost class of that expansion.
    """

    name: str
    size_bytes: int
    size_elements: int
    element: str
    weight_only: bool = False
    unpacking: str = "none"  # none | 8-bit | 4-bit | k-quant

    def bytes_of(self, elements: int) -> int:
        """Bytes that hold `elements` elements, rounded up to a whole byte.

        >>> format_named("mxfp4").bytes_of(64)
        34
        """
        return -(-elements * self.size_bytes // self.size_elements)

    @property
    def bits(self) -> float:
        """Bits per element, scales included.

        >>> format_named("nvfp4").bits
        4.5
        """
        return 8 * self.size_bytes / self.size_elements


def _gguf(name: str, size_bytes: int, size_elements: int, unpacking: str) -> Format:
    return Format(name, size_bytes, size_elements, "fp16", True, unpacking)


_FORMATS = {
    f.name: f
    for f in (
        Format("fp32", 4, 1, "fp32"),
        Format("bf16", 2, 1, "bf16"),
        Format("fp16", 2, 1, "fp16"),
        Format("fp8", 1, 1, "fp8"),
        Format("fp8-b128", 128 * 128 + 4, 128 * 128, "fp8"),
        Format("int8", 1, 1, "int8"),
        Format("fp6", 3, 4, "fp6"),
        Format("int4", 1, 2, "int4", True, "4-bit"),
        Format("fp4", 1, 2, "fp4"),
        Format("mxfp8", 33, 32, "fp8"),
        Format("mxint8", 33, 32, "int8"),
        Format("mxfp6", 25, 32, "fp6"),
        Format("mxfp4", 17, 32, "fp4"),
        Format("nvfp4", 9, 16, "fp4"),
        Format("int8-g128", 130, 128, "int8", True, "8-bit"),
        Format("int4-g128", 66, 128, "int4", True, "4-bit"),
        Format("int4-g64", 34, 64, "int4", True, "4-bit"),
        Format("int4-g32", 18, 32, "int4", True, "4-bit"),
        # One tensor type each; the names people give to files (q4_k_m, ...) are mixtures, below.
        _gguf("q8_0", 34, 32, "8-bit"),
        _gguf("q6_k", 210, 256, "k-quant"),
        _gguf("q5_k", 176, 256, "k-quant"),
        _gguf("q5_1", 24, 32, "4-bit"),
        _gguf("q5_0", 22, 32, "4-bit"),
        _gguf("q4_k", 144, 256, "k-quant"),
        _gguf("q4_1", 20, 32, "4-bit"),
        _gguf("q4_0", 18, 32, "4-bit"),
        _gguf("q3_k", 110, 256, "k-quant"),
        _gguf("q2_k", 84, 256, "k-quant"),
        _gguf("iq4_nl", 18, 32, "4-bit"),
        _gguf("iq4_xs", 136, 256, "k-quant"),
        _gguf("iq3_s", 110, 256, "k-quant"),
        _gguf("iq3_xxs", 98, 256, "k-quant"),
        _gguf("iq2_s", 82, 256, "k-quant"),
        _gguf("iq2_xs", 74, 256, "k-quant"),
        _gguf("iq2_xxs", 66, 256, "k-quant"),
        _gguf("iq1_m", 56, 256, "k-quant"),
        _gguf("iq1_s", 50, 256, "k-quant"),
        # Taalas HC1: "3-bit base with 6-bit parts"; 4.0 GB hold Llama 3.1 8B, so the ratio is an
        # average derived from two totals (derived; see presets/chips/taalas-hc1.toml).
        Format("hc1-3-6", 4_000_000_000, 8_030_261_248, "int8", True, "none"),
        # Latents alone; the other entries of such a cache stand in `_LAYOUTS`.
        Format("fp8-ds-mla", 656, 576, "fp8"),
    )
}

#: Layouts that hold a cache entry otherwise than element by element: by kind of attention, bytes of an entry
#: by its elements. Latent: 512 values in fp8, four fp32 scales, 64 rotary values in bf16 (deepseek-ai/FlashMLA,
#: README), and an indexer's key of 128 values in fp8 with one fp32 scale (vLLM, deepseek_v2.py, `Indexer`).
#: Compressed: 448 values in fp8, 64 in bf16, seven 8-bit scales and a byte to align them, for windows as well
#: (vLLM, models/deepseek_v4/sparse_mla.py).
_LAYOUTS: dict[str, dict[str, dict[int, int]]] = {
    "fp8-ds-mla": {"latent": {576: 656, 128: 132}, "compressed": {512: 584, 1024: 584, 128: 132}}
}

#: Files of llama.cpp mix tensor types. Each entry: the type of most matrices, then the types of parts that
#: have another, in all layers or (`-eighth`, ...) in some of them (llama.cpp, src/llama-quant.cpp,
#: `llama_tensor_get_type`; grouped attention, and for i-quants an importance matrix, assumed). `head` also
#: holds for a tied embedding.
_MIXTURES: dict[str, dict[str, str]] = {
    "q2_k": {"base": "q2_k", "value": "q4_k", "down": "q3_k", "output": "q3_k", "head": "q6_k"},
    "q2_k_s": {"base": "q2_k", "value": "q4_k", "down-eighth": "q4_k", "head": "q6_k"},
    "q3_k_s": {"base": "q3_k", "head": "q6_k"},
    "q3_k_m": {
        "base": "q3_k", "value": "q4_k", "value-two": "q5_k", "down": "q4_k", "down-sixteenth": "q5_k",
        "output": "q4_k", "head": "q6_k",
    },
    "q3_k_l": {"base": "q3_k", "value": "q5_k", "down": "q5_k", "output": "q5_k", "head": "q6_k"},
    "q4_k_s": {"base": "q4_k", "value-four": "q5_k", "down-eighth": "q5_k", "head": "q6_k"},
    "q4_k_m": {"base": "q4_k", "value-half": "q6_k", "down-half": "q6_k", "head": "q6_k"},
    "q5_k_s": {"base": "q5_k", "head": "q6_k"},
    "q5_k_m": {"base": "q5_k", "value-half": "q6_k", "down-half": "q6_k", "head": "q6_k"},
    "iq3_xxs": {
        "base": "iq3_xxs", "value": "q4_k", "query-key": "iq2_s", "output": "iq3_s", "head": "q5_k",
        "embedding": "iq3_s",
    },
    "iq3_xs": {
        "base": "iq3_s", "value": "q4_k", "query-key": "iq3_xxs", "gate-up-middle": "iq3_xxs", "head": "q6_k",
    },
    "iq3_s": {"base": "iq3_s", "value": "q4_k", "head": "q6_k"},
    "iq3_m": {"base": "iq3_s", "value": "q4_k", "output": "q4_k", "down-eighth": "q4_k", "head": "q6_k"},
}  # fmt: skip
_MIXTURES |= {name: {"base": name} for name in ("q8_0", "q6_k")}
_MIXTURES |= {name: {"base": name, "head": "q6_k"} for name in ("q5_1", "q5_0", "q4_1", "q4_0")}
_MIXTURES |= {name: {"base": name, "value": "q5_k", "head": "q6_k"} for name in ("iq4_nl", "iq4_xs")}
_MIXTURES |= {
    name: {
        "base": base, "value": "q4_k", "down-eighth": wide, "output": output, "head": "q5_k",
        "embedding": wide,
    }
    for name, base, wide, output in (
        ("iq1_s", "iq1_s", "q2_k", "iq2_xxs"), ("iq1_m", "iq1_m", "q2_k", "iq2_xxs"),
        ("iq2_xxs", "iq2_xxs", "q2_k", "iq2_xxs"), ("iq2_xs", "iq2_xs", "q2_k", "iq2_xs"),
        ("iq2_s", "iq2_xs", "iq3_s", "iq3_s"), ("iq2_m", "iq2_s", "iq3_s", "iq3_s"),
    )
}  # fmt: skip
#: Models of so many layers are "70B" to llama.cpp, whose value projections never have fewer bits than q5_k.
_DEEP = 80


def _some_layers(which: str, depth: int) -> int:
    """How many of `depth` layers such a word means.

    >>> [_some_layers(which, 80) for which in ("half", "eighth", "middle", "two")]
    [40, 10, 60, 2]
    """
    first, last = depth // 8, 7 * depth // 8
    if which == "half":  # the first and last eighth and every third layer between
        return first + depth - last + (last - first) // 3
    return {
        "eighth": first, "sixteenth": depth // 16, "middle": last - first,
        "two": min(2, depth), "four": min(4, depth),
    }[which]  # fmt: skip


#: The classes whose matrices a conversion to a narrow format converts.
CONVERTED = ("attention", "recurrent", "dense", "shared", "experts")
#: The tensor classes of a model's weights.
CLASSES = ("embedding", "attention", "recurrent", "dense", "shared", "router", "experts", "head", "vision")
#: Formats with at least this many bits convert every class, norms and router included.
_WIDE_BITS = 16


def format_names() -> tuple[str, ...]:
    """All names that `-w`, `--kv` and `--activations` accept."""
    return tuple(dict.fromkeys((*_FORMATS, *_MIXTURES)))


def format_named(name: str) -> Format:
    """The storage format of that name; UsageError where there is none.

    >>> format_named("bf16").bytes_of(10)
    20
    """
    found = _FORMATS.get(name.lower())
    if found is None:
        near = did_you_mean(name, format_names())
        hint = near or "known: " + " ".join(format_names())
        if name.lower() in _MIXTURES:
            hint = "it is a mixture of types for weights; for the KV cache use q8_0 or q4_0"
        raise UsageError(f"unknown precision {name!r}", hint)
    return found


def cache_bytes(name: str, kind: str, elements: int) -> int:
    """Bytes of a cache entry of `elements` elements in format `name`, for attention of that kind.

    UsageError where the format is a layout that this attention's entries do not fit.

    >>> cache_bytes("bf16", "latent", 576), cache_bytes("fp8-ds-mla", "latent", 576)
    (1152, 656)
    """
    layout = _LAYOUTS.get(name.lower())
    if layout is None:
        return format_named(name).bytes_of(elements)
    found = layout.get(kind, {}).get(elements)
    if found is None:
        raise UsageError(
            f"{name} is a layout of DeepSeek's latent caches: this model's attention keeps no such entries",
            "for its KV cache use fp8, or leave --kv away",
        )
    return found


class Share(NamedTuple):
    """A part of a class: the fraction of its matrix elements stored in `format`."""

    format: Format
    numerator: int
    denominator: int


class ClassFormat(NamedTuple):
    """How one tensor class is stored: matrices by shares of formats, vectors in `vectors`."""

    shares: tuple[Share, ...]
    vectors: Format

    def bytes_of(self, matrix: int, vector: int) -> int:
        """Bytes of a class with that many matrix and vector elements."""
        total = self.vectors.bytes_of(vector)
        left = matrix
        for share in self.shares[1:]:
            part = matrix * share.numerator // share.denominator
            left -= part
            total += share.format.bytes_of(part)
        return total + self.shares[0].format.bytes_of(left)

    @property
    def main(self) -> Format:
        """The format of most of the class."""
        return self.shares[0].format


def _plain(fmt: Format, vectors: str = "bf16") -> ClassFormat:
    return ClassFormat((Share(fmt, 1, 1),), _FORMATS[vectors])


def weight_formats(
    name: str, own: str, formats: Mapping[str, str] | None, value_share: float = 0.1, depth: int = 32
) -> dict[str, ClassFormat]:
    """How each tensor class is stored when the weights are in format `name`.

    `own` is the checkpoint's base format: what a narrow format leaves alone (embeddings, head,
    router, norms, vision) keeps it. `formats` are those of a quantised checkpoint by class, empty or
    None for the usual five in format `name`. `value_share` is the value projection's share of the attention weights
    (it gets more bits in llama.cpp's mixtures), `depth` the number of layers.

    >>> weight_formats("fp8", "bf16", None)["head"].main.name
    'bf16'
    """
    name = name.lower()
    for wanted in (name, *(formats or {}).values()):
        if wanted in _LAYOUTS:
            raise UsageError(
                f"{wanted} is a layout of the KV cache, not a format of weights", "give it to --kv"
            )
    kept = _plain(format_named(own), own)
    if formats:
        return {c: _plain(format_named(formats[c]), own) if c in formats else kept for c in CLASSES}
    if name in _MIXTURES:
        return _gguf_formats(_MIXTURES[name], value_share, depth)
    fmt = format_named(name)
    if name.startswith("hc1-"):
        return dict.fromkeys(CLASSES, ClassFormat((Share(fmt, 1, 1),), fmt))
    if fmt.bits >= _WIDE_BITS:
        return dict.fromkeys(CLASSES, _plain(fmt, name))
    converted = _plain(fmt, own)
    return {c: converted if c in CONVERTED else kept for c in CLASSES}


def no_wider(formats: Mapping[str, ClassFormat], widest: str) -> dict[str, ClassFormat]:
    """The formats of quantised weights on a stack that then holds no matrix but the router's in a wider one.

    >>> kept = weight_formats("int8", "bf16", None)
    >>> kept["head"].main.name, no_wider(kept, "int8")["head"].main.name
    ('bf16', 'int8')
    >>> whole = weight_formats("bf16", "bf16", None)
    >>> no_wider(whole, "int8")["head"].main.name
    'bf16'
    """
    limit = format_named(widest)
    if all(formats[c].main.bits >= _WIDE_BITS for c in CONVERTED):
        return dict(formats)
    return {
        c: ClassFormat((Share(limit, 1, 1),), form.vectors)
        if c in (*CONVERTED, "embedding", "head") and form.main.bits >= limit.bits + 1  # scales do not count
        else form
        for c, form in formats.items()
    }


def _gguf_formats(mixture: dict[str, str], value_share: float, depth: int) -> dict[str, ClassFormat]:
    base = _FORMATS[mixture["base"]]
    f32 = _FORMATS["fp32"]

    def shares(part: str, share: float) -> tuple[Share, ...]:
        """The formats of a part with that share of its class, where they are not the base."""
        layers = {}
        for key, name in mixture.items():
            if key.startswith(part + "-"):
                layers[name] = _some_layers(key.removeprefix(part + "-"), depth)
        rest = mixture.get(part, base.name)
        deep = depth == _DEEP and not base.name.startswith(("iq1", "iq2"))
        if part == "value" and deep and rest in ("q3_k", "q4_k"):
            rest = "q5_k"
        if rest != base.name:
            layers[rest] = layers.get(rest, 0) + depth - sum(layers.values())
        return tuple(
            Share(_FORMATS[name], round(share * count / depth * 10**6), 10**6)
            for name, count in layers.items()
        )

    first = Share(base, 1, 1)
    feed_forward = (first, *shares("down", 1 / 3), *shares("gate-up", 2 / 3))
    # The output projection is as large as the query's, and the key's as the value's.
    attention = (
        first,
        *shares("value", value_share),
        *shares("output", 0.5 - value_share),
        *shares("query-key", 0.5),
    )
    head = _plain(_FORMATS[mixture.get("head", base.name)], "fp32")
    embedding = _plain(_FORMATS[mixture.get("embedding", base.name)], "fp32")
    return {
        "embedding": embedding,
        "attention": ClassFormat(attention, f32),
        "recurrent": ClassFormat((first,), f32),
        "dense": ClassFormat(feed_forward, f32),
        "shared": ClassFormat(feed_forward, f32),
        "experts": ClassFormat(feed_forward, f32),
        "router": _plain(f32, "fp32"),
        "head": head,
        "vision": _plain(_FORMATS["fp16"], "fp32"),
    }


#: Width in bits and kind of the formats that arithmetic units know.
MATH = {
    "fp32": (32, "float"), "bf16": (16, "float"), "fp16": (16, "float"), "fp8": (8, "float"),
    "fp6": (6, "float"), "fp4": (4, "float"), "int8": (8, "int"), "int4": (4, "int"),
}  # fmt: skip


def default_activations(weights: Format, compute: object) -> str:
    """The activations that kernels for such weights use on a chip with these compute formats.

    Formats with kernels of their own (fp8, int8, nvfp4) run natively where the chip has them;
    mxfp4 weights meet fp8 activations on chips with fp4 units; all else is expanded to bf16.

    >>> default_activations(format_named("fp8"), {"bf16": 1, "fp8": 2})
    'fp8'
    >>> default_activations(format_named("int4-g128"), {"bf16": 1, "int8": 2})
    'bf16'
    """
    has: set[str] = set(compute)  # type: ignore[call-overload]
    element = weights.element
    if weights.name == "mxfp4":
        return "fp8" if {"fp4", "fp8"} <= has else "bf16"
    if not weights.weight_only and element in has:
        return element
    if not has & {"bf16", "fp16", "fp32"} and MATH[element][1] == "int" and "int8" in has:
        return "int8"  # a machine with integer units alone
    return "fp16" if element == "fp16" and not weights.weight_only else "bf16"


def math_format(weights: Format, activations: str, compute: object) -> str | None:
    """The narrowest compute format that is at least as wide as weights and activations, or None.

    Floats never run on integer units; integers may run on wider float units.

    >>> math_format(format_named("fp8"), "bf16", {"bf16": 1, "fp8": 2, "int8": 2})
    'bf16'
    """
    width, kind = MATH[weights.element]
    act_width, act_kind = MATH[activations]
    width = max(width, act_width)
    kind = "float" if "float" in (kind, act_kind) else "int"
    if weights.weight_only:
        width, kind = act_width, act_kind
    candidates = []
    for index, name in enumerate(MATH):
        if name not in compute:  # type: ignore[operator]
            continue
        have, have_kind = MATH[name]
        if have < width or (kind == "float" and have_kind == "int"):
            continue
        if kind == "int" and have_kind == "float" and have < 2 * width:
            continue  # int8 needs 16-bit floats to be exact
        same = name in (weights.element, activations)
        candidates.append((have, have_kind != kind, not same, index, name))
    return min(candidates)[-1] if candidates else None
