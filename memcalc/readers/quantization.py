"""Quantised checkpoints as they are stored: which matrices a `quantization_config` converts, and to how many bytes.

Every matrix of every layer is asked by the names that checkpoints give it; its bytes include scales, zero points
and group indices. Embeddings, norms, convolutions, vision and, unless a config names them, routers and head stay
in the base format. Buffers that no noun counts (correction bias of a router, rotary tables) are left out.

Sources: the tensors that these tools save (Transformers, AutoGPTQ, AutoAWQ, compressed-tensors, NVIDIA ModelOpt,
bitsandbytes); README_WEIGHTS of DeepSeek-V3 for blocks of 128 x 128; OCP Microscaling Formats v1.0 for mxfp4.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from memcalc.errors import FileError
from memcalc.model import (
    CompressedAttention,
    Layers,
    Model,
)
from memcalc.precision import CLASSES, CONVERTED, Format, format_named
from memcalc.readers.architectures.config import Config
from memcalc.readers.matrices import Matrix, matrices_of
from memcalc.readers.module_names import MOST_STEPS, Meter, Names
from memcalc.readers.regular import shown

#: Bounds of what configs list, by far: names (each expert of a large mixture), their letters, and groups.
_MOST_NAMES, _LONGEST, _MOST_GROUPS = 200_000, 300, 200
_HINT = "give -w and the bf16 config, or a folder with the weights"


class Scheme(NamedTuple):
    """How a converted matrix is stored: a format for the math, and the bytes of rows x columns."""

    format: str
    bytes_of: Callable[[int, int], int]


class Way(NamedTuple):
    """What happens to matrices that a list names, and to those of some classes whatever their name.

    Without a scheme they stay as they are.
    """

    scheme: Scheme | None
    names: Names | None = None
    tensors: frozenset[str] = frozenset()


#: The classes that "all linear layers" means; with the head where a tool does not spare it by itself.
_LINEAR = frozenset(CONVERTED)
_LINEAR_AND_HEAD = _LINEAR | {"head"}


def quantised(model: Model, table: Mapping[str, Any], file: str, expert_dtype: str | None = None) -> Model:
    """The model with formats and bytes of its checkpoint by the `quantization_config` in `table`.

    The layers of `model` stand in their order. `expert_dtype` is that of DeepSeek-V4's experts, which stands
    beside the table. FileError names file and key where a method is not understood or a value is of a wrong
    type.

    >>> from memcalc.readers.presets import load_model
    >>> method = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    >>> sum(quantised(load_model("gpt-oss-20b"), method, "config.json").checkpoint_bytes.values())
    13761264768
    """
    inner = table.get("quantization")
    if "quant_method" not in table and isinstance(inner, dict):
        table = inner  # a whole hf_quant_config.json
    config = Config(table, file, path="quantization_config.")
    base = format_named(model.base_format)
    ways = _ways(_Job(config, model, base, expert_dtype, Meter(MOST_STEPS)))
    model = replace(model, kv_format=_kv_format(config, model))
    tally = _Tally(model, base)
    for index, count, inside in _places(model, ways):
        tally.add(ways, index, inside, count)
    if not tally.converted:
        return model
    formats = tally.formats()
    mtp = _mtp_bytes(model, ways, base, formats)
    return replace(
        model,
        checkpoint=tally.headline(),
        checkpoint_formats=formats,
        checkpoint_bytes=tally.sizes | ({"mtp": mtp} if model.mtp_parameters else {}),
    )


class _Tally:
    """Bytes by class, and elements by class and format, of what was decided so far."""

    def __init__(self, model: Model, base: Format) -> None:
        self.base = base
        elements = model.elements()
        self.sizes = {name: base.bytes_of(elements[name].total) for name in CLASSES if elements[name].total}
        self.left = {name: elements[name].matrix for name in CLASSES}
        self.converted: dict[str, dict[str, int]] = {}
        wide = sum(_wide_vectors(group) for group in model.layers)
        if wide:
            self.sizes["attention"] += _widened(base, wide + model.other_vector)

    def add(self, ways: tuple[Way, ...], index: int | None, inside: Iterable[Matrix], count: int) -> None:
        """Count the matrices of `count` layers that are decided alike."""
        for matrix in inside:
            elements = matrix.rows * matrix.columns
            for scheme, copies in _decided(ways, index, matrix):
                number = copies * count
                self.sizes[matrix.tensor] -= number * self.base.bytes_of(elements)
                self.sizes[matrix.tensor] += number * scheme.bytes_of(matrix.rows, matrix.columns)
                self.left[matrix.tensor] -= number * elements
                found = self.converted.setdefault(matrix.tensor, {})
                found[scheme.format] = found.get(scheme.format, 0) + number * elements

    def formats(self) -> dict[str, str]:
        """The format that most of a class has; classes that mostly stay are left out, unless all do."""
        most = {name: max(found, key=lambda form: found[form]) for name, found in self.converted.items()}
        mainly = {name: form for name, form in most.items() if self.converted[name][form] >= self.left[name]}
        return mainly or most

    def headline(self) -> str:
        """The format that most of the converted elements have."""
        totals: dict[str, int] = {}
        for found in self.converted.values():
            for form, number in found.items():
                totals[form] = totals.get(form, 0) + number
        return max(totals, key=lambda form: totals[form])


def _decided(ways: tuple[Way, ...], index: int | None, matrix: Matrix) -> Iterator[tuple[Scheme, int]]:
    """The schemes of a matrix with the number of copies that have each; the first way that means it decides."""
    left = matrix.copies
    for way in ways:
        if matrix.tensor in way.tensors:
            hit = left
        else:
            hit = min(left, way.names.copies(index, matrix)) if way.names else 0
        left -= hit
        if hit and way.scheme:
            yield way.scheme, hit


def _places(model: Model, ways: tuple[Way, ...]) -> Iterator[tuple[int | None, int, tuple[Matrix, ...]]]:
    """Layers whose matrices are decided alike: the number of one of them, how many there are, the matrices.

    The tables outside the layers come last, without a number.
    """
    lists = [way.names for way in ways if way.names and way.names.tells_layers]
    found: dict[tuple[Hashable, Hashable], list[int]] = {}
    inside: dict[Hashable, tuple[Matrix, ...]] = {}
    start = 0
    for group in model.layers:
        kind: Hashable = (group.attention, group.feed_forward, group.beside)
        if kind not in inside:
            inside[kind] = tuple(matrices_of(group, model.width))
        counts = {start: group.count} if not lists else dict.fromkeys(range(start, start + group.count), 1)
        for index, count in counts.items():
            key = (kind, tuple([names.key(index) for names in lists]))
            found.setdefault(key, [index, 0])[1] += count
        start += group.count
    for (kind, _), (index, count) in found.items():
        yield index, count, inside[kind]
    table = (model.vocabulary, model.width)
    tables = [Matrix(("embed_tokens", "embeddings", "wte"), "embedding", *table)]
    if not model.tied_embeddings:
        tables.append(Matrix(("lm_head", "output", "embed_out", "output_layer", "head"), "head", *table))
    yield None, 1, tuple(tables)


def _kv_format(config: Config, model: Model) -> str:
    """The format of the KV cache where the config quantises it, else that of the model."""
    scheme, word = config.section("kv_cache_scheme"), config.word("kv_cache_quant_algo").lower()
    if scheme is not None and scheme.word("type") == "float":
        word = {8: "fp8", 4: "nvfp4"}.get(scheme.count("num_bits"), "")
    return word if word in ("fp8", "nvfp4") else model.kv_format


def _widened(base: Format, elements: int) -> int:
    """Bytes that elements take beyond the base format where they are kept in fp32."""
    return 4 * elements - base.bytes_of(elements)


def _wide_vectors(group: Layers) -> int:
    """Elements that DeepSeek-V4 keeps in fp32: sinks, positions of the compressors, hyper-connections."""
    mixer = group.attention
    if not isinstance(mixer, CompressedAttention):
        return 0
    positions = 0
    if mixer.ratio:
        positions = mixer.ratio * mixer.head_dim * (2 if mixer.indexer else 1)
    if mixer.indexer:
        positions += mixer.ratio * 2 * mixer.indexer.head_dim
    return group.count * (mixer.heads + positions + group.other_vector)


def _mtp_bytes(model: Model, ways: tuple[Way, ...], base: Format, formats: Mapping[str, str]) -> int:
    """Bytes of the MTP layers: each is a last layer, and what joins it to the model in the base format.

    Where it cannot be such a layer, all of it is in the format of the experts or the dense part.
    """
    if not model.mtp_layers:
        return 0
    last, count = _mtp_layer(model.layers[-1]), model.mtp_layers
    one = Model("mtp", model.width, 0, (last,), final_norms=0)
    rest = model.mtp_parameters // count - one.parameters
    if rest < 0:
        form = formats.get("experts") or formats.get("dense")
        return (format_named(form) if form else base).bytes_of(model.mtp_parameters)
    inside = matrices_of(last, model.width)
    total = base.bytes_of(model.mtp_parameters)
    if isinstance(last.attention, CompressedAttention):
        joins = ("e_proj", "h_proj")
        inside += [Matrix((name,), "attention", model.width, model.width) for name in joins]
        bias = last.feed_forward.experts
        total += count * _widened(base, _wide_vectors(last) + model.other_vector + bias)
    for number in range(count):
        for matrix in inside:
            size = base.bytes_of(matrix.rows * matrix.columns)
            for scheme, copies in _decided(ways, model.depth + number, matrix):
                total += copies * (scheme.bytes_of(matrix.rows, matrix.columns) - size)
    return total


def _mtp_layer(last: Layers) -> Layers:
    """What an MTP layer is like: the last layer; of DeepSeek-V4 with the window alone."""
    mixer = last.attention
    if isinstance(mixer, CompressedAttention):
        mixer = replace(mixer, ratio=0, top_k=None, indexer=None)
    return replace(last, count=1, attention=mixer)


# ----------------------------------------------------------------------------- what methods do


class _Job(NamedTuple):
    """What a method needs to know: its table, the model, the format of what is not converted."""

    config: Config
    model: Model
    base: Format
    expert_dtype: str | None
    meter: Meter

    def fail(self, key: str, what: str) -> FileError:
        """An error that names file and key."""
        key = key if key.isprintable() and len(key) <= _LONGEST else shown(key)
        return FileError(f"{self.config.file}: {self.config.path}{key}: {what}", _HINT)

    def names(self, key: str, entries: Any, kind: str) -> Names:
        """A list of names, checked."""

        def fail(what: str) -> FileError:
            return self.fail(key, what)

        entries = [entries] if isinstance(entries, str) else ([] if entries is None else entries)
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise fail("must be a list of names")
        if len(entries) > _MOST_NAMES or any(len(entry) > _LONGEST for entry in entries):
            raise fail("has more or longer names than any model")
        return Names([entry for entry in entries if entry], kind, self.model.depth, fail, self.meter)

    def kept(self, kind: str, *keys: str) -> Way:
        """The list of what stays as it is, by the first of these keys that is given."""
        key = next((name for name in keys if self.config.given(name)), keys[0])
        return Way(None, self.names(key, self.config.get(key), kind))


def _ways(job: _Job) -> tuple[Way, ...]:
    """What the method of a config does, by its name."""
    config = job.config
    word = config.get("quant_method", "quant_algo")
    if word is None and config.given("kv_cache_quant_algo"):
        return ()  # weights as they were, the cache alone is quantised
    if not isinstance(word, str):
        raise job.fail("quant_method", "must be a word")
    method = word.lower()
    if method.startswith("modelopt") or config.given("quant_algo"):
        return _modelopt(job)
    found = _METHODS.get(method)
    if found is None:
        known = ", ".join(sorted((*_METHODS, "modelopt")))
        what = f"{shown(word)} is not known; known are {known}"
        raise job.fail("quant_method", what)
    return found(job)


def _blocks(high: int, wide: int, scale: int) -> Scheme:
    """Eight bits an element, a scale of so many bytes for each block, those at the edges included."""
    return Scheme(
        "fp8-b128" if high == wide == 128 else "fp8",
        lambda rows, columns: rows * columns + scale * -(-rows // high) * -(-columns // wide),
    )


_MXFP4 = Scheme("mxfp4", lambda rows, columns: rows * -(-columns // 2) + rows * -(-columns // 32))
_MXFP8 = Scheme("mxfp8", lambda rows, columns: rows * columns + rows * -(-columns // 32))


def _fp8(job: _Job) -> tuple[Way, ...]:
    """FP8 by blocks or by tensor. DeepSeek-V4 stores scales, powers of two, in one byte, its forerunners in four."""
    config = job.config
    kept = job.kept("parts", "modules_to_not_convert", "ignored_layers")
    expert_dtype = job.expert_dtype or config.word("expert_dtype") or "fp8"
    if expert_dtype not in ("fp8", "fp4"):
        raise job.fail("expert_dtype", f"{shown(expert_dtype)} is not known; fp8 and fp4 are")
    if config.given("weight_block_size"):
        block = config.counts("weight_block_size", 2, least=1) or []
        if len(block) != 2:
            raise job.fail("weight_block_size", "must be two numbers")
        scheme = _blocks(block[0], block[1], 1 if expert_dtype == "fp4" else 4)
    else:
        static = 4 * (config.word("activation_scheme") == "static")
        scheme = Scheme("fp8", lambda rows, columns: rows * columns + 4 + static)
    experts = _MXFP4 if expert_dtype == "fp4" else scheme
    return (kept, Way(experts, tensors=frozenset({"experts"})), Way(scheme, tensors=_LINEAR))


def _mxfp4(job: _Job) -> tuple[Way, ...]:
    kept = job.kept("parts", "modules_to_not_convert")
    return (kept, Way(_MXFP4, tensors=frozenset({"experts"})))


def _fbgemm(job: _Job) -> tuple[Way, ...]:
    kept = job.kept("parts", "modules_to_not_convert")
    return (kept, Way(Scheme("fp8", lambda rows, columns: rows * columns + 4 * rows), tensors=_LINEAR))


class _Packed(NamedTuple):
    """Integers packed into words of 32 bits, with a scale of `scale` bytes a group (below 1: a row).

    `zeros`: packed zero points. `order`: the group of each column in 32 bits. `more`: bytes beside.
    """

    bits: int
    group: int
    zeros: bool
    order: bool
    scale: int = 2
    more: int = 0

    def scheme(self) -> Scheme:
        """The bytes of a matrix, and the nearest format for the math."""
        if self.bits == 8:
            return Scheme("int8-g128", self.bytes_of)
        near = next((size for size in (32, 64) if 0 < self.group <= size), 128)
        return Scheme(f"int4-g{near}", self.bytes_of)

    def bytes_of(self, rows: int, columns: int) -> int:
        """Bytes of a matrix.

        >>> _Packed(4, 128, zeros=True, order=False).bytes_of(128, 256)
        17024
        """
        groups = 1 if self.group < 1 else -(-columns // self.group)
        words = rows * -(-columns * self.bits // 32) + self.zeros * groups * -(-rows * self.bits // 32)
        return 4 * (words + columns * self.order) + self.scale * groups * rows + self.more


def _packed(job: _Job, config: Config, defaults: tuple[int, int] | None = None, **more: bool) -> Scheme:
    """The scheme of a table that says `bits` and `group_size`."""
    bits, group = defaults or (None, None)
    bits = config.count("bits", "w_bit", default=bits)
    group = config.count("group_size", "q_group_size", default=group, least=-1)
    if bits not in (2, 3, 4, 8):
        raise job.fail("bits", f"integers of {bits} bits are not known")
    if group == 0:
        raise job.fail("group_size", "groups of 0 are none")
    return _Packed(bits, group, **more).scheme()


def _awq(job: _Job) -> tuple[Way, ...]:
    config = job.config
    version = config.word("version", default="gemm").lower()
    if version not in ("gemm", "exllama", "marlin"):
        raise job.fail("version", f"{shown(version)} is not known; gemm is")
    zeros = config.flag("zero_point", default=True)
    scheme = _packed(job, config, (4, 128), zeros=zeros, order=False)
    return (job.kept("parts", "modules_to_not_convert"), Way(scheme, tensors=_LINEAR))


def _gptq(job: _Job) -> tuple[Way, ...]:
    """Zero points are stored of symmetric weights too, and the group of each column whatever the order."""
    config = job.config
    form = config.word("checkpoint_format", default="gptq")
    if form not in ("gptq", "gptq_v2"):
        raise job.fail("checkpoint_format", f"{shown(form)} is not known; gptq is")
    scheme = _packed(job, config, zeros=True, order=True)
    ways = [job.kept("parts", "modules_to_not_convert"), *_dynamic(job)]
    if config.flag("lm_head"):
        ways.append(Way(scheme, tensors=frozenset({"head"})))
    listed = config.get("modules_in_block_to_quantize")
    if listed is None:
        return (*ways, Way(scheme, tensors=_LINEAR))
    if not isinstance(listed, list):
        raise job.fail("modules_in_block_to_quantize", "must be a list of names")
    flat = [name for part in listed for name in (part if isinstance(part, list) else [part])]
    return (*ways, Way(scheme, job.names("modules_in_block_to_quantize", flat, "parts")))


def _dynamic(job: _Job) -> list[Way]:
    """GPTQModel's exceptions: patterns of names that stay (`-:`), or that have bits and groups of their own."""
    config, ways = job.config, []
    section = config.section("dynamic")
    for pattern, more in section.table.items() if section else ():
        if not isinstance(more, dict):
            raise job.fail("dynamic", "must have a table for each pattern")
        names = job.names("dynamic", ["re:" + pattern.removeprefix("-:").removeprefix("+:")], "parts")
        own = Config({**config.table, **more}, config.file, path=config.path)
        stays = pattern.startswith("-:")
        ways.append(Way(None if stays else _packed(job, own, zeros=True, order=True), names))
    return ways


#: The word for a base format in the JSON that bitsandbytes stores beside each matrix.
_TORCH = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def _bitsandbytes(job: _Job) -> tuple[Way, ...]:
    """Four bits in blocks of 64, or eight bits with a scale a row and one byte for the layout.

    With double quantisation a block's scale is a byte, 256 of which share one in fp32; the JSON then holds an
    offset whose digits vary, of which 19 are usual.
    """
    config = job.config
    kept = job.kept("parts", "llm_int8_skip_modules")
    if config.flag("load_in_8bit") or config.flag("_load_in_8bit"):
        eight = Scheme("int8", lambda rows, columns: rows * columns + 4 * rows + 1)
        return (kept, Way(eight, tensors=_LINEAR))
    if not (config.flag("load_in_4bit") or config.flag("_load_in_4bit")):
        raise job.fail("load_in_4bit", "neither load_in_4bit nor load_in_8bit is set")
    double = config.flag("bnb_4bit_use_double_quant")
    kind = config.word("bnb_4bit_quant_type", default="fp4")
    storage = config.word("bnb_4bit_quant_storage", default="uint8")
    if kind not in ("nf4", "fp4") or storage not in _STORAGE:
        raise job.fail("bnb_4bit_quant_type", f"{shown(kind)} in {shown(storage)} is not known")

    def bytes_of(rows: int, columns: int) -> int:
        state = (
            f'{{"quant_type": "{kind}", "blocksize": 64, "dtype": "{_TORCH.get(job.base.name, "float32")}", '
        )
        size = len(state) + len(f'"shape": [{rows}, {columns}]}}') + 16 * 4 - (-rows * columns // 2)
        blocks = -(-rows * columns // 64)
        if not double:
            return size + 4 * blocks
        nested = len(', "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": ') + 19
        return size + nested + blocks + 4 * -(-blocks // 256) + 256 * 4

    return (kept, Way(Scheme("int4-g64", bytes_of), tensors=_LINEAR))


_STORAGE = ("uint8", "int8", "bfloat16", "float16", "float32")


# ----------------------------------------------------------------------------- compressed-tensors


class _Weights(NamedTuple):
    """How compressed-tensors and ModelOpt describe weights: `scale` bytes a scale, by tensor, row, group or block."""

    bits: int
    floating: bool
    strategy: str
    group: int
    block: tuple[int, int]
    symmetric: bool
    scale: int

    def scales(self, rows: int, columns: int) -> int:
        """How many scales a matrix has."""
        if self.strategy == "tensor":
            return 1
        if self.strategy == "channel":
            return rows
        if self.strategy == "block":
            return -(-rows // self.block[0]) * -(-columns // self.block[1])
        return rows * -(-columns // self.group)


def _compressed(job: _Job) -> tuple[Way, ...]:
    """Names are heard before classes of modules; what is ignored stays."""
    config = job.config
    groups = config.section("config_groups")
    if groups is None or not groups.table:
        raise job.fail("config_groups", "must be a table of groups")
    sparsity = config.section("sparsity_config")
    if sparsity is not None and sparsity.word("format", default="dense") != "dense":
        raise job.fail("sparsity_config", "sparse weights are not known")
    named, by_class = [], []
    for key, group in _groups(job, groups):
        if "weights" not in group.table:
            raise job.fail(f"config_groups.{key}", "must have a table of weights")
        if group.given("weights"):
            names, tensors = _targets(job, group, key)
            scheme = _group_scheme(job, group)
            named.append(Way(scheme, names))
            by_class.append(Way(scheme, tensors=tensors))
    ignore = job.kept("exact", "ignore")
    listed = config.get("ignore")
    classes = [name for name in listed if name in _MODULES] if isinstance(listed, list) else []
    spared = frozenset(tensor for name in classes for tensor in _MODULES[name])
    return (ignore._replace(tensors=spared), *named, *by_class)


def _groups(job: _Job, groups: Config) -> Iterator[tuple[str, Config]]:
    """The groups of a config, whose names come into messages."""
    if len(groups.table) > _MOST_GROUPS or not all(
        key.isprintable() and len(key) < 100 for key in groups.table
    ):
        raise job.fail("config_groups", "has more or other groups than any model")
    for key in groups.table:
        group = groups.section(key)
        if group is None:
            raise job.fail(f"config_groups.{key}", "must have a table of weights")
        yield key, group


#: Classes of modules that a target may name.
_MODULES = {"Linear": _LINEAR_AND_HEAD, "LinearBase": _LINEAR_AND_HEAD, "Embedding": frozenset({"embedding"})}


def _targets(job: _Job, group: Config, key: str) -> tuple[Names, frozenset[str]]:
    listed = group.get("targets")
    listed = ["Linear"] if listed is None else listed
    where = f"config_groups.{key}.targets"
    names = job.names(where, listed, "exact")
    listed = [listed] if isinstance(listed, str) else listed
    classes = [name for name in listed if name.isidentifier() and name[:1].isupper()]
    unknown = [name for name in classes if name not in _MODULES]
    if unknown:
        raise job.fail(where, f"modules of the class {shown(unknown[0])} are not known")
    return names, frozenset(tensor for name in classes for tensor in _MODULES[name])


def _weights(job: _Job, group: Config, scale: int) -> _Weights:
    """The description of a group's weights; the strategy follows from the group where it is not stated."""
    table = group.section("weights")
    if table is None:
        raise job.fail("config_groups", "must have a table of weights")
    bits, size = table.count("num_bits", default=8), table.maybe("group_size", least=-1)
    usual = "tensor" if size is None else "group" if size > 0 else "channel"
    strategy = table.word("strategy", default=usual).lower()
    block = table.counts("block_structure", 2, least=1) if strategy == "block" else None
    if strategy not in ("tensor", "channel", "group", "tensor_group", "block"):
        raise job.fail("config_groups", f"the strategy {shown(strategy)} is not known")
    if strategy == "block" and block is None:
        raise job.fail("config_groups", "blocks need a block_structure")
    if strategy.endswith("group") and not (size and size > 0):
        raise job.fail("config_groups", "groups need a group_size")
    kind = table.word("type", default="int").lower()
    if kind not in ("int", "float"):
        raise job.fail("config_groups", f"weights of the type {shown(kind)} are not known")
    pair = (block[0], block[1]) if block else (1, 1)
    symmetric = table.flag("symmetric", default=True)
    return _Weights(bits, kind == "float", strategy, size or 0, pair, symmetric, scale)


def _group_scheme(job: _Job, group: Config) -> Scheme:
    """How a group of compressed-tensors is stored: by its own format, that of the whole, or what follows."""
    weights = _weights(job, group, job.base.bytes_of(1))
    form = group.word("format") or job.config.word("format")
    if form in ("", "mixed-precision"):
        form = _usual_format(weights, active=group.given("input_activations"))
    more = _activation_bytes(group, weights)
    if form == "pack-quantized" and not weights.floating:
        return _pack_quantized(job, group, weights, more)
    if form in ("nvfp4-pack-quantized", "mxfp4-pack-quantized") and weights.bits == 4 and weights.floating:
        if form.startswith("mx") or weights.group != 16:
            return _MXFP4 if weights.group == 32 else _no_format(job, weights, form)
        return _nvfp4(4 + more)
    if form in ("float-quantized", "int-quantized", "naive-quantized", "mxfp8-quantized"):
        if weights.floating and weights.bits == 8:
            return _eight_bit_floats(weights, more)
        if not weights.floating and weights.bits <= 8:
            # Narrower integers take a byte each here; asymmetric ones have a zero point of a byte a scale.
            each = weights.scale + (not weights.symmetric)
            name = "int8" if group.given("input_activations") else "int8-g128"
            return Scheme(
                name, lambda rows, columns: rows * columns + each * weights.scales(rows, columns) + more
            )
    return _no_format(job, weights, form)


def _no_format(job: _Job, weights: _Weights, form: str) -> Scheme:
    kind = "floats" if weights.floating else "integers"
    raise job.fail("format", f"{kind} of {weights.bits} bits as {shown(form)} are not known")


def _usual_format(weights: _Weights, *, active: bool) -> str:
    """The format that compressed-tensors chooses for such weights."""
    if weights.floating:
        return "nvfp4-pack-quantized" if weights.bits == 4 else "float-quantized"
    return "int-quantized" if active and weights.bits == 8 else "pack-quantized"


def _activation_bytes(group: Config, weights: _Weights) -> int:
    """Bytes of the scales of activations that are not found anew each time."""
    total = 0
    for key in ("input_activations", "output_activations"):
        table = group.section(key)
        if table is None or table.get("dynamic") is True:
            continue
        if weights.bits == 4 and weights.floating:
            total += 4 * (weights.group == 16)
        elif table.get("dynamic") in (None, False):
            total += weights.scale + (not table.flag("symmetric", default=True))
    return total


def _pack_quantized(job: _Job, group: Config, weights: _Weights, more: int) -> Scheme:
    """Packed integers with their shape: two numbers of 64 bits, of 32 where the library did not write the file."""
    if weights.strategy not in ("tensor", "channel", "group") or not 2 <= weights.bits <= 8:
        return _no_format(job, weights, "pack-quantized")
    table = group.section("weights")
    order = table.get("actorder") if table else None
    more += 16 if job.config.given("version") else 8
    size = weights.group if weights.strategy == "group" else 0
    packed = _Packed(
        weights.bits, size, not weights.symmetric, order in ("group", "dynamic", True), weights.scale, more
    )
    if weights.strategy != "tensor":
        return packed.scheme()
    alone = packed._replace(zeros=False, scale=0, more=more + weights.scale + (not weights.symmetric))
    return alone.scheme()


def _nvfp4(more: int) -> Scheme:
    """Pairs in a byte, an fp8 scale for sixteen, and `more` bytes of scales in fp32."""
    return Scheme("nvfp4", lambda rows, columns: rows * -(-columns // 2) + rows * -(-columns // 16) + more)


def _eight_bit_floats(weights: _Weights, more: int) -> Scheme:
    if weights.strategy == "group" and weights.group == 32:
        return _MXFP8
    name = "fp8-b128" if weights.block == (128, 128) else "fp8"
    return Scheme(
        name, lambda rows, columns: rows * columns + weights.scale * weights.scales(rows, columns) + more
    )


# ----------------------------------------------------------------------------- ModelOpt


def _algorithm(job: _Job, key: str, word: str, group: int) -> Scheme:
    """The scheme of ModelOpt's word: scales in fp32, one of the input where activations are quantised."""
    if word in ("NVFP4", "W4A8_NVFP4_FP8", "W4A16_NVFP4") and group == 16:
        return _nvfp4(4 if word == "W4A16_NVFP4" else 8)
    simple: dict[str, Callable[[int, int], int]] = {
        "FP8": lambda rows, columns: rows * columns + 8,
        "FP8_PER_CHANNEL_PER_TOKEN": lambda rows, columns: rows * columns + 4 * rows,
    }
    if word in simple:
        return Scheme("fp8", simple[word])
    if word == "FP8_PB_WO":
        return _blocks(128, 128, 4)
    if word in ("MXFP8", "MXFP4"):
        return _MXFP8 if word == "MXFP8" else _MXFP4
    what = (
        f"{shown(word)} in groups of {group} is not known"
        if "NVFP4" in word
        else f"{shown(word)} is not known"
    )
    raise job.fail(key, what)


def _modelopt(job: _Job) -> tuple[Way, ...]:
    config = job.config
    kept = job.kept("glob", "exclude_modules", "ignore")
    word = config.word("quant_algo").upper()
    if word and word != "MIXED_PRECISION":
        scheme = _algorithm(job, "quant_algo", word, config.count("group_size", default=16))
        return (kept, Way(scheme, tensors=_LINEAR))
    layers = config.section("quantized_layers")
    if layers is not None:
        return (kept, *_by_layer(job, layers))
    groups = config.section("config_groups")
    if groups is None or not groups.table:
        if not word and config.given("kv_cache_quant_algo"):
            return ()
        raise job.fail("quantized_layers", "must be a table of layers")
    ways = []
    for key, group in _groups(job, groups):
        if not group.given("weights"):
            raise job.fail(f"config_groups.{key}", "must have a table of weights")
        names, tensors = _targets(job, group, key)
        ways.append(Way(_group_algorithm(job, group, key), names, tensors - {"head"}))
    return (kept, *ways)


def _group_algorithm(job: _Job, group: Config, key: str) -> Scheme:
    """The algorithm that a group of ModelOpt's describes without its word."""
    weights = _weights(job, group, 4)
    if not weights.floating:
        raise job.fail(f"config_groups.{key}", "integers are not known")
    if weights.bits == 8:
        return _algorithm(job, "config_groups", "FP8", 0)
    word = "NVFP4" if group.given("input_activations") else "W4A16_NVFP4"
    return _algorithm(job, "config_groups", word, weights.group)


def _by_layer(job: _Job, layers: Config) -> list[Way]:
    """Mixed precision: each module by its name."""
    found: dict[tuple[str, int], list[str]] = {}
    for name, details in layers.table.items():
        if not isinstance(details, dict) or not isinstance(details.get("quant_algo"), str):
            raise job.fail("quantized_layers", "must name a quant_algo for each")
        group = Config(details, job.config.file, path=layers.path + "*.").count("group_size", default=16)
        found.setdefault((details["quant_algo"].upper(), group), []).append(name)
    if len(found) > _MOST_GROUPS:
        raise job.fail("quantized_layers", "has more algorithms than there are")
    return [
        Way(_algorithm(job, "quantized_layers", word, group), job.names("quantized_layers", names, "glob"))
        for (word, group), names in found.items()
    ]


_METHODS: Mapping[str, Callable[[_Job], tuple[Way, ...]]] = {
    "fp8": _fp8, "mxfp4": _mxfp4, "awq": _awq, "gptq": _gptq, "compressed-tensors": _compressed,
    "bitsandbytes": _bitsandbytes, "fbgemm_fp8": _fbgemm,
}  # fmt: skip
