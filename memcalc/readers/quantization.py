"""Quantised checkpoints: which matrices a `quantization_config` converts, and what they take as stored.

Each matrix of each layer is asked by the names that checkpoints give it; its bytes include scales, zero points
and group indices. Embeddings, norms, convolutions, vision and, unless a config names them, routers and head stay
in the base format. Sources: Transformers' quantisation configs, AutoGPTQ, AutoAWQ, compressed-tensors, NVIDIA ModelOpt
and bitsandbytes, by the tensors that their checkpoints hold; DeepSeek-V3 (arXiv:2412.19437) for 128 x 128 blocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, NamedTuple

from memcalc.errors import FileError
from memcalc.model import (
    Attention,
    CompressedAttention,
    FeedForward,
    GroupedAttention,
    LatentAttention,
    Model,
    RecurrentMixer,
)
from memcalc.precision import CLASSES, format_named, format_names
from memcalc.readers.regular import shown

#: Bounds of what configs in use list, by far; they keep hostile ones short.
_MOST_PATTERNS, _LONGEST = 20_000, 300
#: Steps that all regular expressions together may take at worst.
_MOST_STEPS = 2e7
_HINT = "give -w and the config of the unquantised model, or the folder with the weights"


class Matrix(NamedTuple):
    """A matrix of a layer: its names inside the layer, tensor class, shape, and how many there are of it."""

    names: tuple[str, ...]
    tensor: str
    rows: int
    columns: int
    copies: int = 1

    @property
    def elements(self) -> int:
        """Elements of all copies."""
        return self.rows * self.columns * self.copies


class Scheme(NamedTuple):
    """How a converted matrix is stored: a format for the math, and the bytes of rows x columns."""

    format: str
    bytes_of: Callable[[int, int], int]


def quantised(model: Model, table: Mapping[str, Any], file: str, expert_dtype: str | None = None) -> Model:
    """The model with formats and bytes of its checkpoint by the `quantization_config` in `table`.

    `expert_dtype` is that of DeepSeek-V4's experts. FileError names a method that is not understood.

    >>> from memcalc.readers.presets import load_model
    >>> method = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    >>> sum(quantised(load_model("gpt-oss-20b"), method, "config.json").checkpoint_bytes.values())
    13761264768
    """
    choose = _chooser(table, file, expert_dtype)
    elements = model.elements()
    base = format_named(model.base_format)
    sizes = {name: base.bytes_of(elements[name].total) for name in CLASSES if elements[name].total}
    converted: dict[str, dict[str, int]] = {}
    decisions: dict[tuple[Matrix, Scheme | None], int] = {}
    for prefix, matrix, count in _matrices(model):
        scheme = choose(tuple(prefix + name for name in matrix.names), matrix.tensor)
        key = (matrix, scheme)
        decisions[key] = decisions.get(key, 0) + count
    for (matrix, scheme), count in decisions.items():
        if scheme is None:
            continue
        number = matrix.copies * count
        sizes[matrix.tensor] -= number * base.bytes_of(matrix.rows * matrix.columns)
        sizes[matrix.tensor] += number * scheme.bytes_of(matrix.rows, matrix.columns)
        by_format = converted.setdefault(matrix.tensor, {})
        by_format[scheme.format] = by_format.get(scheme.format, 0) + matrix.elements * count
    formats = {name: max(found, key=lambda form: found[form]) for name, found in converted.items()}
    if not formats:
        return replace(model, kv_format=_kv_format(table, model))
    totals: dict[str, int] = {}
    for found in converted.values():
        for form, number in found.items():
            totals[form] = totals.get(form, 0) + number
    main = max(totals, key=lambda form: totals[form])
    if model.mtp_parameters:
        like = formats.get("experts") or formats.get("dense")
        sizes["mtp"] = (format_named(like) if like else base).bytes_of(model.mtp_parameters)
    return replace(
        model,
        checkpoint=main,
        checkpoint_formats=formats,
        checkpoint_bytes=sizes,
        kv_format=_kv_format(table, model),
    )


def _kv_format(table: Mapping[str, Any], model: Model) -> str:
    scheme = table.get("kv_cache_scheme")
    word = table.get("kv_cache_quant_algo")
    eight = isinstance(scheme, dict) and scheme.get("num_bits") == 8 and scheme.get("type") == "float"
    return "fp8" if eight or (isinstance(word, str) and word.upper() == "FP8") else model.kv_format


# ----------------------------------------------------------------------------- which matrices a layer has


def _matrices(model: Model) -> Iterator[tuple[str, Matrix, int]]:
    """All matrices that a conversion may touch, with the name of their layer; alike layers one by one."""
    index = 0
    for group in model.layers:
        inside = [matrix for mixer in group.mixers for matrix in _of_mixer(mixer, model.width)]
        inside += _of_feed_forward(group.feed_forward, model.width)
        for _ in range(group.count):
            for matrix in inside:
                yield f"model.layers.{index}.", matrix, 1
            index += 1
    if not model.tied_embeddings:
        yield "", Matrix(("lm_head",), "head", model.vocabulary, model.width), 1


def _of_mixer(mixer: Attention, width: int) -> list[Matrix]:
    def one(name: str, rows: int, columns: int, *more: str) -> Matrix:
        return Matrix(tuple("self_attn." + n for n in (name, *more)), "attention", rows, columns)

    if isinstance(mixer, GroupedAttention):
        keys = mixer.kv_heads * mixer.head_dim
        query = mixer.heads * mixer.head_dim * (1 + mixer.gate)
        found = [
            one("q_proj", query, width, "qkv_proj"),
            one("o_proj", width, mixer.heads * mixer.value_width, "out_proj"),
        ]
        if mixer.projections != "q":
            found.append(one("k_proj", keys, width, "qkv_proj"))
        if mixer.projections == "qkv":
            found.append(one("v_proj", mixer.kv_heads * mixer.value_width, width, "qkv_proj"))
        return found
    if isinstance(mixer, LatentAttention):
        query = mixer.heads * (mixer.nope_dim + mixer.rope_dim)
        found = [
            one("kv_a_proj_with_mqa", mixer.latent_dim + mixer.rope_dim, width),
            one("kv_b_proj", mixer.heads * (mixer.nope_dim + mixer.value_dim), mixer.latent_dim),
            one("o_proj", width, mixer.heads * mixer.value_dim),
        ]
        rank = mixer.query_rank
        if rank is None:
            found.append(one("q_proj", query, width))
        else:
            found += [one("q_a_proj", rank, width), one("q_b_proj", query, rank)]
        if mixer.indexer:
            wide = mixer.indexer.heads * mixer.indexer.head_dim
            found += [
                one("indexer.wq_b", wide, rank or width),
                one("indexer.wk", mixer.indexer.head_dim, width),
            ]
        return found
    if isinstance(mixer, CompressedAttention):
        inner = mixer.heads * mixer.head_dim
        found = [
            one("q_a_proj", mixer.query_rank, width, "wq_a"),
            one("q_b_proj", inner, mixer.query_rank, "wq_b"),
            one("kv_proj", mixer.head_dim, width, "wkv"),
            one("o_a_proj", mixer.output_groups * mixer.output_rank, inner // mixer.output_groups, "wo_a"),
            one("o_b_proj", width, mixer.output_groups * mixer.output_rank, "wo_b"),
        ]
        if mixer.indexer:
            wide = mixer.indexer.heads * mixer.indexer.head_dim
            found.append(one("indexer.q_b_proj", wide, mixer.query_rank, "indexer.wq_b"))
        return found
    if isinstance(mixer, RecurrentMixer) and mixer.variant == "gated-delta-net":
        inner = mixer.heads * mixer.value_dim
        parts = {
            "in_proj_qkv": (mixer.conv_channels, width), "in_proj_z": (inner, width), "out_proj": (width, inner),
            "in_proj_b": (mixer.heads, width), "in_proj_a": (mixer.heads, width),
        }  # fmt: skip
        fused = {"in_proj_qkv": "in_proj_qkvz", "in_proj_z": "in_proj_qkvz", "in_proj_b": "in_proj_ba",
                 "in_proj_a": "in_proj_ba"}  # fmt: skip
        return [
            Matrix(
                ("linear_attn." + name, "linear_attn." + fused.get(name, name)), "recurrent", rows, columns
            )
            for name, (rows, columns) in parts.items()
        ]
    if isinstance(mixer, RecurrentMixer) and mixer.variant == "mamba2":
        inner = mixer.heads * mixer.value_dim
        return [
            Matrix(("mamba.in_proj", "mixer.in_proj"), "recurrent", mixer.matrix // width - inner, width),
            Matrix(("mamba.out_proj", "mixer.out_proj"), "recurrent", width, inner),
        ]
    if isinstance(mixer, RecurrentMixer) and mixer.matrix:
        # Only the sum is known; its projections have the width of the model on one side.
        names = ("linear_attn.in_proj", "linear_attn.in_proj_qkv", "linear_attn", "mamba.in_proj", "mamba",
                 "mixer.in_proj", "mixer", "self_attn")  # fmt: skip
        return [Matrix(names, "recurrent", -(-mixer.matrix // width), width)]
    return []


def _of_feed_forward(part: FeedForward, width: int) -> list[Matrix]:
    def three(places: tuple[str, ...], tensor: str, outer: int, inner: int, copies: int = 1) -> list[Matrix]:
        parts = [("up_proj", "w3", "gate_up_proj"), ("gate_proj", "w1", "gate_up_proj")][: 1 + part.gated]
        found = [
            Matrix(tuple(place + n for place in places for n in names), tensor, inner, outer, copies)
            for names in parts
        ]
        names = tuple(place + n for place in places for n in ("down_proj", "w2"))
        return [*found, Matrix(names, tensor, outer, inner, copies)]

    if not part.experts:
        return three(("mlp.", "feed_forward.", "mixer."), "dense", width, part.width) if part.width else []
    places = ("mlp.experts.0.", "block_sparse_moe.experts.0.", "mlp.experts.", "feed_forward.experts.",
              "mixer.experts.0.", "ffn.experts.0.")  # fmt: skip
    found = three(places, "experts", part.latent_width or width, part.width, part.experts)
    if part.shared_width:
        places = ("mlp.shared_experts.", "mlp.shared_expert.", "mixer.shared_experts.", "ffn.shared_experts.",
                  "feed_forward.shared_expert.", "shared_mlp.")  # fmt: skip
        found += three(places, "shared", width, part.shared_width)
    if part.latent_width:
        found.append(Matrix(("mixer.fc1_latent_proj",), "shared", part.latent_width, width))
        found.append(Matrix(("mixer.fc2_latent_proj",), "shared", width, part.latent_width))
    routers = (
        "mlp.gate",
        "mlp.router",
        "block_sparse_moe.gate",
        "feed_forward.router",
        "mixer.gate",
        "ffn.gate",
    )
    return [*found, Matrix(routers, "router", part.experts, width)]


# ----------------------------------------------------------------------------- what a list of names means


_INDEX = re.compile(r"\.\d+\.")
#: How wrappers spell the layers of the text.
_SPELLED = ("model.language_model.model.layers.", "model.language_model.layers.", "language_model.model.layers.",
            "language_model.layers.", "backbone.layers.", "transformer.h.")  # fmt: skip


class _Names:
    """A list of modules: whole names and parts of names, wildcards, regular expressions."""

    def __init__(self, entries: Any, file: str, key: str) -> None:
        if entries is None:
            entries = []
        if isinstance(entries, str):
            entries = [entries]
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise FileError(f"{file}: quantization_config.{key}: must be a list of names")
        if len(entries) > _MOST_PATTERNS or any(len(entry) > _LONGEST for entry in entries):
            raise FileError(f"{file}: quantization_config.{key}: has more or longer names than any model")
        self.parts: set[str] = set()
        self.globs: list[str] = []
        self.patterns: list[re.Pattern[str]] = []
        steps = 0.0
        for entry in entries:
            if entry.startswith("re:"):
                steps += _steps(entry[3:], file, key)
                self.patterns.append(_compiled(entry[3:], file, key))
                continue
            for spelled in _SPELLED:
                entry = entry.replace(spelled, "model.layers.")  # noqa: PLW2901 - as checkpoints without a wrapper
            entry = entry.replace("language_model.lm_head", "lm_head")  # noqa: PLW2901
            plain = entry.removesuffix("*").removesuffix(".").removeprefix("*").removeprefix(".")
            if "*" in plain or "?" in plain or "[" in plain:
                steps += 1e4
                self.globs.append(entry)
            else:
                self.parts.add(plain)
        if steps > _MOST_STEPS:
            raise FileError(f"{file}: quantization_config.{key}: has more patterns than can be tried", _HINT)
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self.parts or self.globs or self.patterns)

    def hold(self, names: Iterable[str]) -> bool:
        """Whether one of the names of a module is meant."""
        if not self:
            return False
        if not self._indexed:
            # No entry tells layers apart: what holds for one holds for all.
            names = [_INDEX.sub(".0.", name) for name in names]
        return any(self._holds(name) for name in names)

    @cached_property
    def _indexed(self) -> bool:
        """Whether an entry names a layer by its number, or may do so."""
        return bool(self.globs or self.patterns) or any(_INDEX.search(f".{part}.") for part in self.parts)

    def _holds(self, name: str) -> bool:
        if name not in self._known:
            self._known[name] = self._look_up(name)
        return self._known[name]

    def _look_up(self, name: str) -> bool:
        pieces = name.split(".")
        for start in range(len(pieces)):
            for end in range(start + 1, len(pieces) + 1):
                if ".".join(pieces[start:end]) in self.parts:
                    return True
        if not self.globs and not self.patterns:
            return False
        # Wrappers put a prefix before the layers, which patterns may spell out.
        spelled = (name, "model.language_" + name, "language_model." + name)
        return any(
            any(fnmatchcase(one, glob) for glob in self.globs)
            or any(pattern.match(one) for pattern in self.patterns)
            for one in spelled
        )


def _steps(pattern: str, file: str, key: str) -> float:
    """About how many steps a pattern takes at worst on one name; FileError for one that could take for ever."""
    if (
        re.search(r"\)\s*[*+{?]", pattern)
        or re.search(r"\(\?[^:]", pattern)
        or re.search(r"\\[1-9]", pattern)
    ):
        raise FileError(
            f"{file}: quantization_config.{key}: {shown('re:' + pattern)} is not a pattern of the usual kind",
            _HINT,
        )
    return 1e2 * 40.0 ** len(re.findall(r"[*+{]", pattern))


def _compiled(pattern: str, file: str, key: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        raise FileError(
            f"{file}: quantization_config.{key}: {shown('re:' + pattern)} is no regular expression"
        ) from None


# ----------------------------------------------------------------------------- what methods do

_Choose = Callable[[tuple[str, ...], str], Scheme | None]


def _chooser(table: Mapping[str, Any], file: str, expert_dtype: str | None) -> _Choose:
    """What the method of a config does to a matrix: its scheme, None where it stays as it is."""
    word = table.get("quant_method", table.get("quant_algo"))
    if not isinstance(word, str):
        raise FileError(f"{file}: quantization_config.quant_method: must be a word", _HINT)
    method = word.lower()
    if method in ("modelopt", "modelopt_fp4") or "quant_algo" in table:
        return _modelopt(table, file)
    found = _METHODS.get(method)
    if found is None:
        known = ", ".join(sorted((*_METHODS, "modelopt")))
        raise FileError(
            f"{file}: quantization_config: method {shown(word)} is not known", f"known: {known}; or {_HINT}"
        )
    return found(table, file, expert_dtype)


def _kept(table: Mapping[str, Any], file: str, *keys: str) -> _Names:
    key = next((name for name in keys if table.get(name) is not None), keys[0])
    return _Names(table.get(key), file, key)


def _whole(table: Mapping[str, Any], key: str, file: str, default: int | None = None) -> int:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value <= 2**30:
        raise FileError(f"{file}: quantization_config.{key}: must be a whole number")
    return value


def _ordinary(tensor: str) -> bool:
    """Whether a conversion of all linear layers is meant to touch a class: routers and head stay."""
    return tensor not in ("router", "head")


def _fp8(table: Mapping[str, Any], file: str, expert_dtype: str | None) -> _Choose:
    kept = _kept(table, file, "modules_to_not_convert", "ignored_layers")
    block = table.get("weight_block_size")
    # DeepSeek-V4 stores powers of two in one byte, its forerunners in four.
    scale = 1 if expert_dtype == "fp4" else 4
    if block is None:
        static = 4 * (table.get("activation_scheme") == "static")
        scheme = Scheme("fp8", lambda rows, columns: rows * columns + 4 + static)
    else:
        if not (isinstance(block, list) and len(block) == 2 and all(_positive(size) for size in block)):
            raise FileError(f"{file}: quantization_config.weight_block_size: must be two numbers above 0")
        high, wide = block
        scheme = Scheme(
            "fp8-b128" if high * wide == 128 * 128 else "fp8",
            lambda rows, columns: rows * columns + scale * -(-rows // high) * -(-columns // wide),
        )
    experts = _MXFP4 if expert_dtype == "fp4" else scheme

    def choose(names: tuple[str, ...], tensor: str) -> Scheme | None:
        if not _ordinary(tensor) or kept.hold(names):
            return None
        return experts if tensor == "experts" else scheme

    return choose


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 2**30


_MXFP4 = Scheme("mxfp4", lambda rows, columns: -(-rows * columns // 2) + rows * -(-columns // 32))


def _mxfp4(table: Mapping[str, Any], file: str, _: str | None) -> _Choose:
    kept = _kept(table, file, "modules_to_not_convert")
    return lambda names, tensor: _MXFP4 if tensor == "experts" and not kept.hold(names) else None


def _grouped_ints(
    bits: int, group: int, *, zeros: bool, index: bool, shape: int = 0, file: str = ""
) -> Scheme:
    """Integers with a 16-bit scale a group: AWQ, GPTQ and packed compressed-tensors."""
    if bits not in (2, 3, 4, 8) or group == 0:
        raise FileError(
            f"{file}: quantization_config: integers of {bits} bits in groups of {group} are not known"
        )

    def bytes_of(rows: int, columns: int) -> int:
        groups = 1 if group < 0 else -(-columns // group)
        packed = rows * -(-columns * bits // 32) * 4
        zero = groups * -(-rows * bits // 32) * 4 * zeros
        return packed + groups * rows * 2 + zero + 4 * columns * index + shape

    name = f"int{bits}-g{group}"
    if name not in format_names():
        name = "int8-g128" if bits == 8 else "int4-g128"
    return Scheme(name, bytes_of)


def _awq(table: Mapping[str, Any], file: str, _: str | None) -> _Choose:
    kept = _kept(table, file, "modules_to_not_convert")
    zeros = table.get("zero_point", True) is not False
    group = _whole(table, "group_size", file, _whole(table, "q_group_size", file, 128))
    bits = _whole(table, "bits", file, _whole(table, "w_bit", file, 4))
    scheme = _grouped_ints(bits, group, zeros=zeros, index=False, file=file)
    return lambda names, tensor: scheme if _ordinary(tensor) and not kept.hold(names) else None


def _gptq(table: Mapping[str, Any], file: str, _: str | None) -> _Choose:
    kept = _kept(table, file, "modules_to_not_convert")
    head = table.get("lm_head") is True
    # Zero points are stored of symmetric weights too, and the index of each column's group always.
    scheme = _grouped_ints(
        _whole(table, "bits", file), _whole(table, "group_size", file), zeros=True, index=True, file=file
    )

    def choose(names: tuple[str, ...], tensor: str) -> Scheme | None:
        touched = head if tensor == "head" else _ordinary(tensor)
        return scheme if touched and not kept.hold(names) else None

    return choose


def _bitsandbytes(table: Mapping[str, Any], file: str, _: str | None) -> _Choose:
    kept = _kept(table, file, "llm_int8_skip_modules")
    if table.get("load_in_8bit") is True:
        scheme = Scheme("int8", lambda rows, columns: rows * columns + 4 * rows)
    elif table.get("load_in_4bit") is True:
        double = table.get("bnb_4bit_use_double_quant") is True

        def bytes_of(rows: int, columns: int) -> int:
            blocks = -(-rows * columns // 64)
            # Sixteen levels, and with double quantisation 256 more and the second scales.
            scales = blocks + 4 * -(-blocks // 256) + 1024 + 4 if double else 4 * blocks
            return -(-rows * columns // 2) + scales + 64

        scheme = Scheme("int4-g64", bytes_of)
    else:
        raise FileError(f"{file}: quantization_config: neither load_in_4bit nor load_in_8bit is set", _HINT)
    return lambda names, tensor: scheme if _ordinary(tensor) and not kept.hold(names) else None


def _fbgemm(table: Mapping[str, Any], file: str, _: str | None) -> _Choose:
    kept = _kept(table, file, "modules_to_not_convert")
    scheme = Scheme("fp8", lambda rows, columns: rows * columns + 4 * rows)
    return lambda names, tensor: scheme if _ordinary(tensor) and not kept.hold(names) else None


def _float_scheme(bits: int, strategy: str, group: int, *, static: bool, file: str, scale: int = 2) -> Scheme:
    """fp8 by tensor, channel, group or block, and fp4 in groups (NVFP4 with a scale of fp8 for sixteen)."""
    if bits == 4:
        return Scheme(
            "nvfp4" if group == 16 else "mxfp4",
            lambda rows, columns: (
                -(-rows * columns // 2) + rows * -(-columns // group) + (4 + 4 * static) * (group == 16)
            ),
        )
    if bits != 8:
        raise FileError(f"{file}: quantization_config: floats of {bits} bits are not known", _HINT)
    if strategy == "group" and group == 32:
        return Scheme("mxfp8", lambda rows, columns: rows * columns + rows * -(-columns // 32))
    if strategy == "block":
        return Scheme(
            "fp8-b128", lambda rows, columns: rows * columns + scale * -(-rows // 128) * -(-columns // 128)
        )
    more = scale * static
    if strategy == "channel":
        return Scheme("fp8", lambda rows, columns: rows * columns + scale * rows + more)
    return Scheme("fp8", lambda rows, columns: rows * columns + scale + more)


def _compressed(table: Mapping[str, Any], file: str, _: str | None, scale: int = 2) -> _Choose:
    groups = table.get("config_groups")
    if not isinstance(groups, dict) or not groups or len(groups) > 100:
        raise FileError(f"{file}: quantization_config.config_groups: must be a table of groups", _HINT)
    ignored = _Names(table.get("ignore"), file, "ignore")
    ways = []
    for key, group in groups.items():
        if not isinstance(group, dict) or not isinstance(group.get("weights"), dict):
            raise FileError(
                f"{file}: quantization_config.config_groups.{key}: must have a table of weights", _HINT
            )
        form = group.get("format") or table.get("format")
        scheme = _weights(group["weights"], group.get("input_activations"), form, file, scale)
        targets = group.get("targets")
        linear = targets in (None, "Linear") or (isinstance(targets, list) and "Linear" in targets)
        ways.append((linear, _Names(targets, file, "targets"), scheme))

    def choose(names: tuple[str, ...], tensor: str) -> Scheme | None:
        if ignored.hold(names):
            return None
        for linear, targets, scheme in ways:
            # A head that is meant to stay is ignored by name; routers are no linear layers.
            meant = tensor != "router" and (tensor != "head" or bool(ignored))
            if targets.hold(names) or (linear and meant):
                return scheme
        return None

    return choose


def _weights(weights: Mapping[str, Any], activations: Any, form: Any, file: str, scale: int) -> Scheme:
    bits, strategy = _whole(weights, "num_bits", file), weights.get("strategy") or "tensor"
    group = weights.get("group_size")
    group = _whole(weights, "group_size", file) if group is not None else -1
    static = isinstance(activations, dict) and activations.get("dynamic") in (False, "local")
    if weights.get("type") == "float":
        if group == 0 or (bits == 4 and group < 1):
            raise FileError(f"{file}: quantization_config: group_size {group} is not known", _HINT)
        return _float_scheme(bits, str(strategy), group, static=static, file=file, scale=scale)
    zeros = weights.get("symmetric") is False
    if form == "pack-quantized":
        index = weights.get("actorder") in ("group", True)
        return _grouped_ints(bits, group, zeros=zeros, index=index, shape=16, file=file)
    if bits != 8:
        raise FileError(
            f"{file}: quantization_config: integers of {bits} bits as {shown(form)} are not known", _HINT
        )
    return Scheme("int8", lambda rows, columns: rows * columns + 2 * (rows if strategy == "channel" else 1))


def _modelopt(table: Mapping[str, Any], file: str) -> _Choose:
    if isinstance(table.get("config_groups"), dict) and table["config_groups"]:
        return _compressed(
            {**table, "ignore": table.get("ignore") or table.get("exclude_modules")}, file, None, 4
        )
    algorithm = str(table.get("quant_algo", "")).upper()
    kept = _kept(table, file, "exclude_modules", "ignore")

    def scheme_of(word: str, details: Mapping[str, Any]) -> Scheme:
        if word in ("NVFP4", "W4A16_NVFP4", "NVFP4_AWQ"):
            return _float_scheme(4, "group", _whole(details, "group_size", file, 16), static=True, file=file)
        if word == "FP8":
            return _float_scheme(8, "tensor", -1, static=True, file=file, scale=4)
        if word in ("FP8_PB_WO", "FP8_PB_REAL_QUANT"):
            return _float_scheme(8, "block", -1, static=False, file=file, scale=4)
        if word in ("W4A16_AWQ", "W4A8_AWQ"):
            group = _whole(details, "group_size", file, 128)
            return _grouped_ints(4, group, zeros=False, index=False, file=file)
        raise FileError(f"{file}: quantization_config.quant_algo: {shown(word)} is not known", _HINT)

    if algorithm != "MIXED_PRECISION":
        scheme = scheme_of(algorithm, table)
        return lambda names, tensor: scheme if _ordinary(tensor) and not kept.hold(names) else None
    layers = table.get("quantized_layers")
    if not isinstance(layers, dict):
        raise FileError(f"{file}: quantization_config.quantized_layers: must be a table", _HINT)
    by_word: dict[tuple[str, int], list[str]] = {}
    for name, details in layers.items():
        if not isinstance(details, dict) or not isinstance(details.get("quant_algo"), str):
            raise FileError(
                f"{file}: quantization_config.quantized_layers: must name a quant_algo for each", _HINT
            )
        key = (details["quant_algo"].upper(), _whole(details, "group_size", file, 16))
        by_word.setdefault(key, []).append(name)
    ways = [
        (_Names(names, file, "quantized_layers"), scheme_of(word, {"group_size": group}))
        for (word, group), names in by_word.items()
    ]
    return lambda names, _: next((scheme for chosen, scheme in ways if chosen.hold(names)), None)


_METHODS: Mapping[str, Callable[[Mapping[str, Any], str, str | None], _Choose]] = {
    "fp8": _fp8, "mxfp4": _mxfp4, "awq": _awq, "gptq": _gptq, "compressed-tensors": _compressed,
    "bitsandbytes": _bitsandbytes, "fbgemm_fp8": _fbgemm,
}  # fmt: skip
