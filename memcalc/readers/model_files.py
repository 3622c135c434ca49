"""Models from the files that people have: a `config.json`, a folder, safetensors, a GGUF.

The config says what the model is, by its architecture's rules; headers of weight files say what is
stored, and where both are at hand the stored bytes win.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from memcalc.errors import FileError, did_you_mean
from memcalc.model import GroupedAttention, Layers, Model, Source
from memcalc.precision import CLASSES, weight_formats
from memcalc.readers import architectures
from memcalc.readers.architectures.config import BY_HAND, Config, alike
from memcalc.readers.regular import file_name, read_head, shown
from memcalc.readers.tensors import StoredTensor, model_name, tensor_classes

#: Configs in use have a few kilobytes; lists of quantised modules make the largest a few hundred.
MOST_CONFIG_BYTES = 10 * 2**20
#: One of these must be stated before anything is taken from the defaults of a class.
SIZES = (
    "vocab_size", "padded_vocab_size", "hidden_size", "n_embd", "d_model", "dim", "num_hidden_layers",
    "n_layer", "num_layers", "n_layers", "num_attention_heads", "n_head", "num_heads", "n_heads",
)  # fmt: skip
#: The text part of a multimodal config, by its spellings.
TEXT_PARTS = ("text_config", "llm_config", "language_config")
#: Number formats by the words of configs and of safetensors.
FORMATS = {
    "bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float": "fp32",
    "BF16": "bf16", "F16": "fp16", "F32": "fp32", "F8_E4M3": "fp8", "F8_E5M2": "fp8",
}  # fmt: skip


def read_model_files(path: str) -> Model:
    """The model that a `config.json`, a folder, a safetensors file, its index or a GGUF file describes.

    A folder is read with the weights in it; a config alone is read alone. FileError where a file cannot
    be used, or its architecture is not known.
    """
    lower = path.lower()
    if os.path.isdir(path):
        return _read_folder(path)
    if lower.endswith(".gguf"):
        from memcalc.readers.gguf_models import read_gguf_model

        return read_gguf_model(path)
    if lower.endswith(".safetensors.index.json"):
        return _with_index(_beside(path), path)
    if lower.endswith(".safetensors"):
        from memcalc.readers.safetensors import read_safetensors

        return stored_as(_beside(path), read_safetensors(path))
    return read_config(path)


def _read_folder(path: str) -> Model:
    config = os.path.join(path, "config.json")
    if not os.path.lexists(config):
        try:
            found = sorted(name for name in os.listdir(path) if name.lower().endswith(".gguf"))
        except OSError as error:
            raise FileError(
                f"{file_name(path)}: cannot be read: {(error.strerror or 'failed').lower()}"
            ) from None
        hint = (
            f"name one of its GGUF files, like {shown(found[0])}"
            if found
            else "name a folder with a config.json"
        )
        raise FileError(f"{file_name(path)}: has no config.json", hint)
    model = read_config(config)
    from memcalc.readers.safetensors import find_weights, read_safetensors

    weights = find_weights(path)
    if weights is None:
        return model
    if weights.endswith(".json"):
        return _with_index(model, weights)
    return stored_as(model, read_safetensors(weights))


def read_hub_model(name: str) -> Model:
    """The model of `org/name` on the Hub: its config, and the headers of its weights, which are not fetched."""
    from memcalc.readers.hub import fetch

    found = fetch(name)
    model = read_config(os.path.join(found.folder, "config.json"))
    model = replace(model, name=model_name(name.partition("@")[0].rpartition("/")[2]))
    return (
        stored_total(model, found.total_bytes) if found.tensors is None else stored_as(model, found.tensors)
    )


def _with_index(model: Model, path: str) -> Model:
    """A model with the bytes of a sharded set: of its tensors, or of the total alone where shards are absent."""
    from memcalc.readers.safetensors import read_safetensors_index

    index = read_safetensors_index(path)
    if index.tensors is not None:
        return stored_as(model, index.tensors)
    return stored_total(model, index.total_size)


def _beside(path: str) -> Model:
    """The model of the config beside a file of weights, which say neither heads nor windows."""
    config = os.path.join(os.path.dirname(path), "config.json")
    if not os.path.lexists(config):
        raise FileError(
            f"{file_name(path)}: has no config.json beside it",
            "weights alone do not tell heads, windows or routing: put the model's config.json in the same folder",
        )
    return read_config(config)


def read_config(path: str) -> Model:
    """The model that a `config.json` describes.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "config.json")
    ...     with open(file, "w", encoding="utf-8") as out:
    ...         _ = out.write('{"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4,'
    ...             '"num_hidden_layers": 2, "intermediate_size": 128, "vocab_size": 1000}')
    ...     read_config(file).parameters
    210240
    """
    file = file_name(path)
    table = read_json(path, MOST_CONFIG_BYTES)
    folder, base = os.path.split(os.path.abspath(path))
    stem = base.removesuffix(".json")
    name = model_name(os.path.basename(folder) if stem == "config" else stem)
    quantization = None
    beside = os.path.join(folder, "hf_quant_config.json")
    if stem == "config" and "quantization_config" not in table and os.path.isfile(beside):
        quantization = read_json(beside, MOST_CONFIG_BYTES).get("quantization")
    return model_from(table, file, name, quantization)


def model_from(table: Mapping[str, Any], file: str, name: str, quantization: Any = None) -> Model:
    """The model that the table of a config describes; `quantization` is that of a file beside it."""
    text = next((table[part] for part in TEXT_PARTS if isinstance(table.get(part), dict)), None)
    stated = table if text is None else text
    if not any(stated.get(size) is not None for size in SIZES):
        where = "its text_config" if text is not None else "it"
        raise FileError(
            f"{file}: {where} states no size: no vocabulary, hidden size, layers or heads",
            "give the config.json of a language model",
        )
    config = Config(table, file)
    listed = table.get("architectures")
    kind, architecture = config.word("model_type"), ""
    if isinstance(listed, list) and listed and isinstance(listed[0], str):
        architecture = listed[0]
    rules = architectures.rules(kind, architecture)
    if rules is None:
        raise _not_known(file, kind, architecture, text)
    model = replace(rules(config), name=name)
    named = architecture or kind
    source = Source(
        "vendor", f"config.json of {name} ({named})" if named.isprintable() else f"config.json of {name}"
    )
    model = _as_stored(model, config, text or {}, quantization)
    return replace(model, layers=alike(_in_effect(model)), sources={"layers": source})


def _in_effect(model: Model) -> Iterator[Layers]:
    """The layers; a window that no context of the model outgrows is none (Phi-3 states such)."""
    limit = model.context_limit_tokens
    for group in model.layers:
        window = getattr(group.attention, "window", None)
        if limit and window and window >= limit and isinstance(group.attention, GroupedAttention):
            yield replace(group, attention=replace(group.attention, window=None))
        else:
            yield group


def _as_stored(model: Model, config: Config, text: Mapping[str, Any], quantization: Any) -> Model:
    """The model in the format of its checkpoint: that of its numbers, or that of its quantisation."""
    table = config.table
    dtype = next((t[key] for t in (table, text) for key in ("dtype", "torch_dtype") if t.get(key)), None)
    base = FORMATS.get(str(dtype).removeprefix("torch."), "bf16")
    model = replace(model, checkpoint=base, base_format=base)
    found = table.get("quantization_config") or text.get("quantization_config") or quantization
    if found is None:
        return model
    if not isinstance(found, dict):
        raise config.error("quantization_config", "must be a table")
    from memcalc.readers.quantization import quantised

    expert = table.get("expert_dtype")
    return quantised(model, found, config.file, expert if isinstance(expert, str) else None)


def _not_known(file: str, kind: str, architecture: str, text: Mapping[str, Any] | None) -> FileError:
    words = [shown(word) for word in (architecture, kind) if word]
    named = " (model_type ".join(words) + ")" * (len(words) > 1)
    if not words:
        return FileError(f"{file}: names no architecture: neither model_type nor architectures", BY_HAND)
    inner = text.get("model_type") if text else None
    if isinstance(inner, str) and architectures.rules(inner, ""):
        hint = f"its text part, {shown(inner)}, is known: save text_config as a config.json of its own"
    else:
        near = did_you_mean(kind, architectures.BY_TYPE) if kind else None
        hint = f"{near} {BY_HAND}" if near else BY_HAND
    return FileError(f"{file}: architecture {named} is not known", hint)


def read_json(path: str, most: int) -> Mapping[str, Any]:
    """The object in a JSON file of at most `most` bytes; bare Infinity and NaN are let through."""
    name = file_name(path)
    content, size = read_head(path, most)
    if size > most:
        raise FileError(f"{name}: is larger than {most // 2**20} MiB", "a config.json has a few kilobytes")
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise FileError(f"{name}: is not UTF-8 text", "a config.json is JSON in UTF-8") from None
    except RecursionError:
        raise FileError(f"{name}: is nested too deeply", "a config.json has a few levels") from None
    except ValueError as error:
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise FileError(f"{name}: is not JSON{where}", "give a config.json as published") from None
    if not isinstance(found, dict):
        raise FileError(f"{name}: is not a JSON object", "give a config.json as published")
    return found


def stored_as(model: Model, tensors: Sequence[StoredTensor]) -> Model:
    """The model with the bytes of its tensors as the files hold them; a note says where the config tells other.

    Scales and zero points lie in the class of their tensor.
    """
    if not tensors:
        raise FileError(f"{model.name}: the files of weights hold no tensors", "give a complete download")
    depth, sizes = model.depth, dict.fromkeys((*CLASSES, "mtp"), 0)
    floats: dict[str, int] = {}
    classes = tensor_classes([tensor.name for tensor in tensors], depth)
    for tensor, found in zip(tensors, classes, strict=True):
        sizes[found] += tensor.bytes
        form = FORMATS.get(tensor.type)
        if form:
            floats[form] = floats.get(form, 0) + tensor.bytes
    _fold(sizes, model)
    computed = computed_bytes(model)
    if model.checkpoint == model.base_format and floats:
        # Without a quantisation the type that most bytes have is that of the checkpoint.
        form = max(floats, key=lambda name: floats[name])
        model = replace(model, checkpoint=form, base_format=form if form != "fp8" else model.base_format)
    known = {name: size for name, size in sizes.items() if size}
    model = replace(model, checkpoint_bytes=known)
    return _compared(model, sum(known.values()), computed)


#: Where the bytes of a class go that the model has none of: names do not always tell classes apart.
_INSTEAD = {
    "experts": "dense",
    "shared": "dense",
    "router": "dense",
    "recurrent": "attention",
    "dense": "experts",
}


def _fold(sizes: dict[str, int], model: Model) -> None:
    """Put bytes into classes that the model has."""
    elements = model.elements()
    for tensor, other in _INSTEAD.items():
        if sizes[tensor] and not elements[tensor].total:
            wanted = other if elements[other].total else "attention"
            sizes[wanted] += sizes[tensor]
            sizes[tensor] = 0


def stored_total(model: Model, total: int | None) -> Model:
    """The model with a note where the total of an index differs from what its config tells."""
    return model if total is None else _compared(model, total, computed_bytes(model), apart="index")


def computed_bytes(model: Model) -> tuple[int, int]:
    """Bytes of the weights by the config alone: without the MTP layers, and of these [B]."""
    if model.checkpoint_bytes:
        mtp = model.checkpoint_bytes.get("mtp", 0)
        return sum(model.checkpoint_bytes.values()) - mtp, mtp
    elements = model.elements()
    formats = weight_formats(model.checkpoint, model.base_format, model.checkpoint_formats)
    whole = sum(formats[c].bytes_of(elements[c].matrix, elements[c].vector) for c in CLASSES)
    form = formats["experts" if elements["experts"].total else "dense"]
    return whole, form.bytes_of(model.mtp_parameters, 0)


def _compared(model: Model, total: int, computed: tuple[int, int], apart: str = "files") -> Model:
    """The model with a note where stored and computed bytes differ."""
    whole, mtp = computed
    if total in (whole, whole + mtp):
        return model
    what = "holds" if apart == "index" else "hold"
    taken = "the config is taken" if apart == "index" else "the files are taken"
    more = f" ({mtp:,} more with MTP layers)" if mtp else ""
    note = f"the {apart} {what} {total:,} bytes of weights, by the config they are {whole:,}{more}: {taken}"
    return replace(model, notes=(*model.notes, note))
