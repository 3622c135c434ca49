"""Headers of `.safetensors` files, and the index of a sharded set: which tensors there are, never their values.

A file is 8 bytes with the length of its header, the header (a JSON object), and the data of the tensors
without gaps: https://github.com/huggingface/safetensors#format. Nothing in it is believed before it is
checked; every failure is one `FileError`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, BinaryIO, NamedTuple, NoReturn

from memcalc.errors import FileError
from memcalc.readers.regular import Path, file_name, open_regular, read_fully, read_head, shown
from memcalc.readers.tensors import StoredTensor

#: Bits of one element by the file's word for its type.
ELEMENT_BITS: Mapping[str, int] = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}

#: Bounds that no file in use comes near; they keep hostile ones short. The format itself allows headers of
#: 100 MB, but 70,000 tensors take 10 MB.
LARGEST_HEADER_BYTES = 32 * 10**6
LARGEST_INDEX_BYTES = 50 * 10**6
#: A text with characters beyond ASCII takes up to four times its bytes.
LARGEST_WIDE_BYTES = 16 * 10**6
MOST_SHARDS = 10_000
MOST_TENSORS = 300_000
#: Values in one file, which take far more memory than their bytes; a tensor has about nine.
_MOST_VALUES = 700_000
#: Python takes time in the square of the digits.
_MOST_DIGITS = 1_000
_AS_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_MOST_ELEMENTS = 2**63
_MOST_ENTRIES = 100_000
_LENGTH = 8
_LONGEST_NAME = 255
_ENDING, _INDEX = ".safetensors", ".safetensors.index.json"

#: Shape, type and bytes by type and shape, of those that were checked.
_Known = tuple[tuple[int, ...], str, int]
_Sizes = dict[tuple[Any, ...], _Known]


class Index(NamedTuple):
    """What a `*.safetensors.index.json` says of a sharded set.

    `names` are the tensors of its weight map. `tensors` are the same ones in the order of their shards, as
    the headers of the shards state them, or None where a shard is not beside the index. `total_size` is
    the index's own figure in bytes, None where it states none.
    """

    tensors: tuple[StoredTensor, ...] | None
    total_size: int | None
    names: tuple[str, ...]


def read_safetensors(path: Path) -> tuple[StoredTensor, ...]:
    r"""The tensors of one `.safetensors` file in the order of its header, with their bytes in the file.

    FileError where it is no such file, is cut short, or its header contradicts itself or the file's size.

    >>> import tempfile
    >>> header = b'{"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}'
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "tiny.safetensors")
    ...     with open(file, "wb") as out:
    ...         _ = out.write(len(header).to_bytes(8, "little") + header + bytes(12))
    ...     read_safetensors(file)
    (StoredTensor(name='w', shape=(2, 3), type='BF16', bytes=12),)
    """
    return _read(path, {})


def read_safetensors_index(path: Path) -> Index:
    """What the index of a sharded set says, with the headers of its shards where all lie beside it.

    FileError where the index cannot be used, where a shard cannot, or where a tensor is not in its shard.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "model.safetensors.index.json")
    ...     with open(file, "w", encoding="utf-8") as out:
    ...         json.dump({"metadata": {"total_size": 12}, "weight_map": {"w": "one.safetensors"}}, out)
    ...     read_safetensors_index(file)
    Index(tensors=None, total_size=12, names=('w',))
    """
    shards, names, total_size = _index(path)
    return Index(_read_shards(path, shards), total_size, names)


def find_weights(folder: Path) -> str | None:
    """The file to read the tensors of a folder from, None where there is none or where several could be meant.

    That is the index if there is one, else `model.safetensors`, else the only `*.safetensors`. FileError
    where the folder cannot be listed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("model-00001-of-00001.safetensors", "model.safetensors.index.json"):
    ...         open(os.path.join(folder, name), "wb").close()
    ...     os.path.basename(find_weights(folder))
    'model.safetensors.index.json'
    """
    name = file_name(folder)
    try:
        with os.scandir(folder) as entries:
            # By name alone: a link that leads nowhere is for the reader to refuse. Hidden files are shadows
            # that other systems leave beside the real ones.
            names = [e.name for e in islice(entries, _MOST_ENTRIES) if not e.name.startswith(".")]
    except NotADirectoryError:
        raise FileError(f"{name}: is not a folder") from None
    except FileNotFoundError:
        raise FileError(f"{name}: there is no such folder") from None
    except OSError as error:
        raise FileError(f"{name}: cannot be listed: {(error.strerror or '').lower()}") from None
    except ValueError:
        raise FileError(f"{name}: is not the name of a folder") from None
    for ending in (_INDEX, _ENDING):
        found = [each for each in names if each.endswith(ending)]
        if "model" + ending in found:
            return os.path.join(folder, "model" + ending)
        if len(found) == 1:
            return os.path.join(folder, found[0])
    return None


def _index(path: Path) -> tuple[dict[str, list[str]], tuple[str, ...], int | None]:
    """Tensors by shard, all tensors and the total size that an index states; its text is not kept."""
    name = file_name(path)
    content, size = read_head(path, LARGEST_INDEX_BYTES)
    if size > LARGEST_INDEX_BYTES:
        raise FileError(f"{name}: is larger than 50 MB", "an index is a few megabytes of JSON")
    _refuse_pointer(name, content)
    table, text = _parse(name, content, "an index is a JSON object with a weight_map")
    weight_map = table.get("weight_map")
    if not isinstance(weight_map, dict):
        raise FileError(f"{name}: has no weight_map", "an index maps each tensor to its shard there")
    if len(weight_map) > MOST_TENSORS:
        raise FileError(f"{name}: names {len(weight_map)} tensors, and may name {MOST_TENSORS} at most")
    rest = {key: value for key, value in table.items() if key != "weight_map"}
    _refuse_duplicates(name, text, 1 + 2 * len(weight_map) + _strings(rest), weight_map)
    return _shards(name, weight_map), tuple(weight_map), _total_size(name, table.get("metadata"))


def _read(path: Path, sizes: _Sizes) -> tuple[StoredTensor, ...]:
    name = file_name(path)
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        header = _header(name, file, size)
    tensors, end = parse_header(name, header, sizes)
    data = size - _LENGTH - len(header)
    if end > data:
        raise FileError(f"{name}: is cut short: {end - data} bytes are missing", "download it again")
    if end < data:
        raise FileError(f"{name}: is {data - end} bytes longer than its header says", "download it again")
    return tensors


def parse_header(
    name: str, header: bytes, sizes: _Sizes | None = None
) -> tuple[tuple[StoredTensor, ...], int]:
    """The tensors that a header states, in its order, and where their data end [B]; `name` is for messages.

    FileError with what is wrong in it. `sizes` may be shared by the headers of a set.

    >>> parse_header("w.safetensors", b'{"w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}')[1]
    12
    """
    sizes = {} if sizes is None else sizes
    table, text = _parse(name, header, "its header should be a JSON object", _no_fraction)
    strings = 5 * len(table)
    if "__metadata__" in table:
        strings += _strings(table.pop("__metadata__")) - 4
    if len(table) > MOST_TENSORS:
        raise FileError(f"{name}: holds {len(table)} tensors, and may hold {MOST_TENSORS} at most")
    # A tensor has five texts: its name, three keys and its dtype.
    _refuse_duplicates(name, text, strings, table)
    return _in_order(table, sizes) or _in_any_order(name, table, sizes)


def _header(name: str, file: BinaryIO, size: int) -> bytes:
    if size < _LENGTH:
        raise FileError(f"{name}: is cut short: has {size} bytes, and its header's length alone has 8")
    first = read_fully(file, _LENGTH)
    length = int.from_bytes(first, "little")
    if first == b"version ":
        _refuse_pointer(name, first + read_fully(file, min(size, 64)))
    if length > LARGEST_HEADER_BYTES:
        what = f"{name}: is no safetensors file, or broken: states a header of {length} bytes"
        raise FileError(what, f"{LARGEST_HEADER_BYTES} bytes are the most that is read")
    if length > size - _LENGTH:
        missing = length - (size - _LENGTH)
        raise FileError(
            f"{name}: is cut short: {missing} bytes of its header are missing", "download it again"
        )
    header = read_fully(file, length)
    if len(header) < length:
        raise FileError(f"{name}: became shorter while it was read")
    return header


def _refuse_pointer(name: str, start: bytes) -> None:
    if start.startswith(b"version https://git-lfs"):
        raise FileError(f"{name}: is a pointer of Git LFS, not the file itself", "fetch it with git lfs pull")


def _parse(
    name: str, content: bytes, hint: str, fraction: Callable[[str], Any] = float
) -> tuple[dict[str, Any], str]:
    """A JSON object and its text, in bounded time and memory; FileError where it is none."""
    # Counted before anything is built from them: two bytes can become a hundred.
    if len(content) > _MOST_VALUES:
        if sum(map(content.count, (b"[", b"{", b","))) > _MOST_VALUES:
            raise FileError(f"{name}: has more than {_MOST_VALUES} values", hint)
        if b"0" * _MOST_DIGITS in content.translate(_AS_ZEROS):
            raise FileError(f"{name}: has a number of more than {_MOST_DIGITS} digits", hint)
    if len(content) > LARGEST_WIDE_BYTES and not content.isascii():
        raise FileError(f"{name}: has more than 16 MB of JSON with characters beyond ASCII", hint)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(f"{name}: is not UTF-8 text at byte {error.start} of its JSON", hint) from None
    try:
        table = json.loads(text, parse_float=fraction, parse_constant=_no_number)
    except RecursionError:
        raise FileError(f"{name}: has JSON that is nested too deeply", hint) from None
    except ValueError as error:
        # Beyond the grammar: whole numbers of thousands of digits.
        raise FileError(f"{name}: has JSON that cannot be read: {str(error)[:80]}", hint) from None
    if not isinstance(table, dict):
        raise FileError(f"{name}: has JSON that is no object", hint)
    return table, text


def _no_fraction(_: str) -> NoReturn:
    # 1.0 equals 1 where sizes are looked up.
    raise ValueError("a number with a point or an exponent")


def _no_number(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _strings(value: Any) -> int:
    """How many texts a value from JSON holds, keys included."""
    count, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            count += 1
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            count += len(item)
            waiting += item.values()
    return count


def _refuse_duplicates(name: str, text: str, strings: int, tensors: Iterable[str]) -> None:
    """FileError where a key stands twice in an object, of which JSON keeps the last, or a tensor has no name.

    `strings` texts were kept. Where the quotes are just theirs nothing was dropped, and a second reading
    that watches each pair is saved.
    """
    if "\\" not in text and text.count('"') == 2 * strings:
        return

    def watch(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise FileError(f"{name}: has {shown(twice)} twice")

    try:
        json.loads(text, object_pairs_hook=watch)
        # Halves of characters can be written as escapes, and no terminal or file could take them.
        "".join(tensors).encode("utf-8")
    except UnicodeEncodeError:
        raise FileError(f"{name}: has a name that is not text") from None
    except RecursionError:
        raise FileError(f"{name}: has JSON that is nested too deeply") from None


def _in_order(table: dict[str, Any], sizes: _Sizes) -> tuple[tuple[StoredTensor, ...], int] | None:
    """The tensors and the end of their data, where types and shapes are known and the data are in order.

    That is nearly every tensor of nearly every file; a set may have 100,000. Otherwise None.
    """
    tensors, at = [], 0
    # Past the checks of a call by name, which would be half of the time.
    make = StoredTensor._make
    try:
        for name, info in table.items():
            kind, given, offsets = info["dtype"], info["shape"], info["data_offsets"]
            known = sizes.get((kind, *given)) or _size((kind, *given), sizes)
            if known is None or type(given) is not list:
                return None
            shape, kind, size = known
            end = at + size
            # True equals 1, and False 0.
            if (
                offsets != [at, end]
                or (at < 2 and type(offsets[0]) is bool)
                or (end < 2 and type(offsets[1]) is bool)
            ):
                return None
            tensors.append(make((name, shape, kind, size)))
            at = end
    except (KeyError, IndexError, TypeError):
        return None
    return tuple(tensors), at


def _in_any_order(name: str, table: dict[str, Any], sizes: _Sizes) -> tuple[tuple[StoredTensor, ...], int]:
    """The tensors and the end of their data, each checked; FileError with what is wrong in the first bad one."""
    tensors, ranges = [], []
    for key, info in table.items():
        where = f"{name}: tensor {shown(key)}"
        if not isinstance(info, dict):
            raise FileError(f"{where} is {shown(info)}, and must be an object")
        missing = [field for field in ("dtype", "shape", "data_offsets") if field not in info]
        if missing:
            raise FileError(f"{where} has no {missing[0]}")
        kind, given, offsets = info["dtype"], info["shape"], info["data_offsets"]
        if not isinstance(kind, str) or kind not in ELEMENT_BITS:
            raise FileError(f"{where} has the dtype {shown(kind)}, which is not known")
        if not isinstance(given, list) or not all(type(one) is int and one >= 0 for one in given):
            raise FileError(f"{where} has the shape {shown(given)}, and must have whole numbers")
        known = sizes.get((kind, *given)) or _size((kind, *given), sizes)
        if known is None:
            raise FileError(
                f"{where} has the shape {shown(given)}, which has no size in whole bytes below 2^63"
            )
        if not (isinstance(offsets, list) and len(offsets) == 2 and all(type(one) is int for one in offsets)):
            raise FileError(f"{where} has the data_offsets {shown(offsets)}, and must have two whole numbers")
        begin, end = offsets
        shape, kind, size = known
        if not 0 <= begin <= end:
            raise FileError(f"{where} has the data_offsets {shown(offsets)}, which are no range")
        if end - begin != size:
            what = f"{where} has {shown(end - begin)} bytes of data, and its shape and dtype take {size}"
            raise FileError(what)
        tensors.append(StoredTensor(key, shape, kind, size))
        ranges.append((begin, end, key))
    at = 0
    for begin, end, key in sorted(ranges):
        if begin != at:
            what = "overlap those before them" if begin < at else f"leave a gap of {shown(begin - at)} bytes"
            raise FileError(f"{name}: tensor {shown(key)} has data that {what}")
        at = end
    return tuple(tensors), at


def _size(key: tuple[Any, ...], sizes: _Sizes) -> _Known | None:
    """Shape, type and bytes of a type and a shape, kept in `sizes`; None where they are none."""
    kind, *shape = key
    bits = ELEMENT_BITS.get(kind)
    if bits is None:
        return None
    for one in shape:
        if type(one) is not int or one < 0:
            return None
        bits *= one
        if bits > 8 * _MOST_ELEMENTS:
            return None
    if bits % 8:
        return None
    known = tuple(shape), kind, bits // 8
    if 0 not in shape and 1 not in shape:
        # False equals 0 and True 1, so a shape with either would vouch for what is no number.
        sizes[key] = known
    return known


def _shards(name: str, weight_map: dict[str, Any]) -> dict[str, list[str]]:
    """The names of the tensors by shard; FileError where a shard is not a plain name of a file."""
    shards: dict[str, list[str]] = {}
    try:
        for shard in dict.fromkeys(weight_map.values()):
            _refuse_path(name, shard)
            shards[shard] = []
    except TypeError:
        # An object or a list, which no set can hold.
        raise FileError(f"{name}: maps a tensor to what is no name of a file") from None
    if len(shards) > MOST_SHARDS:
        raise FileError(f"{name}: names {len(shards)} shards, and may name {MOST_SHARDS} at most")
    for tensor, shard in weight_map.items():
        shards[shard].append(tensor)
    return shards


def _refuse_path(name: str, shard: object) -> None:
    """FileError where a shard could lie elsewhere than beside the index."""
    plain = (
        isinstance(shard, str)
        and shard.endswith(_ENDING)
        and len(shard) <= _LONGEST_NAME
        and not shard.startswith(".")
        and not any(mark in shard for mark in "/\\:\0")
    )
    if not plain:
        what = f"{name}: names the shard {shown(shard)}, which is not the plain name of a .safetensors file"
        raise FileError(what, "shards lie beside their index")


def _read_shards(path: Path, shards: dict[str, list[str]]) -> tuple[StoredTensor, ...] | None:
    name, folder = file_name(path), os.path.dirname(os.fspath(path))
    places = {shard: os.path.join(folder, shard) for shard in shards}
    if any(_absent(place) for place in places.values()):
        return None
    found: list[StoredTensor] = []
    sizes: _Sizes = {}
    for shard, names in shards.items():
        tensors = _read(places[shard], sizes)
        table = {tensor.name: tensor for tensor in tensors}
        try:
            found += [table[tensor] for tensor in names]
        except KeyError as error:
            what = f"{name}: names the tensor {shown(error.args[0])}, which is not in {shown(shard)}"
            raise FileError(what, "download the index and its shards again") from None
    return tuple(found)


def _absent(path: str) -> bool:
    try:
        os.stat(path)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        # It is there, or no name at all: the reader says what is wrong.
        return False
    return False


def _total_size(name: str, metadata: object) -> int | None:
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise FileError(f"{name}: has metadata that is no object")
    size = metadata.get("total_size")
    if size is None:
        return None
    # Some tools write it with a point.
    if isinstance(size, float) and size.is_integer():
        size = int(size)
    if type(size) is not int or not 0 <= size < _MOST_ELEMENTS:
        raise FileError(f"{name}: has the total_size {shown(size)}, and must have bytes")
    return size
