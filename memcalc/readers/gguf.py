"""Headers of GGUF files: their metadata and which tensors there are, never the values of tensors.

The format is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3,
little-endian. Nothing in a file is believed before it is checked; every failure is one `FileError`.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

from memcalc.errors import FileError
from memcalc.readers.regular import Path, file_name, open_regular, read_fully, shown
from memcalc.readers.tensors import StoredTensor


class _Type(NamedTuple):
    """A tensor type of ggml: its name, the elements of one block and the bytes that the block takes."""

    name: str
    block: int
    bytes: int


#: By the number that a file states.
TENSOR_TYPES: Mapping[int, _Type] = {
    0: _Type("F32", 1, 4),
    1: _Type("F16", 1, 2),
    2: _Type("Q4_0", 32, 18),
    3: _Type("Q4_1", 32, 20),
    6: _Type("Q5_0", 32, 22),
    7: _Type("Q5_1", 32, 24),
    8: _Type("Q8_0", 32, 34),
    9: _Type("Q8_1", 32, 40),
    10: _Type("Q2_K", 256, 84),
    11: _Type("Q3_K", 256, 110),
    12: _Type("Q4_K", 256, 144),
    13: _Type("Q5_K", 256, 176),
    14: _Type("Q6_K", 256, 210),
    15: _Type("Q8_K", 256, 292),
    16: _Type("IQ2_XXS", 256, 66),
    17: _Type("IQ2_XS", 256, 74),
    18: _Type("IQ3_XXS", 256, 98),
    19: _Type("IQ1_S", 256, 50),
    20: _Type("IQ4_NL", 32, 18),
    21: _Type("IQ3_S", 256, 110),
    22: _Type("IQ2_S", 256, 82),
    23: _Type("IQ4_XS", 256, 136),
    24: _Type("I8", 1, 1),
    25: _Type("I16", 1, 2),
    26: _Type("I32", 1, 4),
    27: _Type("I64", 1, 8),
    28: _Type("F64", 1, 8),
    29: _Type("IQ1_M", 256, 56),
    30: _Type("BF16", 1, 2),
    34: _Type("TQ1_0", 256, 54),
    35: _Type("TQ2_0", 256, 66),
    39: _Type("MXFP4", 32, 17),
    40: _Type("NVFP4", 64, 36),
    41: _Type("Q1_0", 128, 18),
}
#: Types that ggml once had; their numbers were not given to others.
_REMOVED: Mapping[int, str] = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}

#: Arrays that are longer are skipped: vocabularies have hundreds of thousands of entries.
LONGEST_ARRAY = 4096
#: Bounds that no file in use comes near, over all parts of a split file; they keep hostile ones short.
LARGEST_HEADER_BYTES = 128 * 2**20
MOST_KEYS = 50_000
MOST_TENSORS = 100_000
MOST_PARTS = 10_000
_MOST_KEPT_TEXT_BYTES = 16 * 2**20
_MOST_KEPT_ENTRIES = 500_000
_MOST_SKIPPED_TEXTS = 2_500_000
_MOST_ELEMENTS = 2**63
#: Of ggml.
_MOST_DIMENSIONS, _DEFAULT_ALIGNMENT = 4, 32
_LEAST_WINDOW, _LARGEST_WINDOW = 2**16, 2**20

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
#: The least that a key with its value and a tensor take.
_KEY_BYTES, _TENSOR_BYTES = 13, 24
#: Formats of plain values by the number that a file states.
_SCALARS: Mapping[int, struct.Struct] = {
    number: struct.Struct("<" + letter)
    for number, letter in {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
                           12: "d"}.items()
}  # fmt: skip
_TEXT, _ARRAY = 8, 9
_U32, _U64, _ARRAY_HEAD = struct.Struct("<I"), struct.Struct("<Q"), struct.Struct("<IQ")
_FILE_HEAD = struct.Struct("<4sIQQ")
#: Dimensions, type and offset of a tensor by the number of its dimensions.
_TENSORS = tuple(struct.Struct(f"<{count}QIQ") for count in range(_MOST_DIMENSIONS + 1))
_PART = re.compile(r"(.*-)(\d{5})-of-(\d{5})(\.gguf)", re.DOTALL)

Value = int | float | bool | str | list[Any]


class GGUF(NamedTuple):
    """What the header of a GGUF file says, of a split one what all parts say together.

    `metadata` is that of the first part, without arrays of more than 4,096 entries; `lengths` has how many
    entries each array has. Shapes are in the order of numpy and PyTorch, so the reverse of the file's own.
    `file_bytes` are those of all parts [B].
    """

    metadata: dict[str, Value]
    lengths: dict[str, int]
    tensors: tuple[StoredTensor, ...]
    file_bytes: int


def read_gguf(path: Path) -> GGUF:
    r"""The header of a GGUF file, with the bytes that each tensor takes in it.

    Of a split file any part may be named; all must lie in one folder. FileError where it is no GGUF file of
    version 2 or 3, is cut short, contradicts itself, or lacks a part.

    >>> import tempfile
    >>> tensor = _U64.pack(1) + b"w" + _U32.pack(2) + _TENSORS[2].pack(64, 3, 8, 0)
    >>> header = _FILE_HEAD.pack(b"GGUF", 3, 1, 0) + tensor
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "tiny.gguf")
    ...     with open(file, "wb") as out:
    ...         _ = out.write(header.ljust(96, b"\0") + bytes(3 * 2 * 34))
    ...     read_gguf(file).tensors
    (StoredTensor(name='w', shape=(3, 64), type='Q8_0', bytes=204),)
    """
    path = os.fspath(path)
    budget = _Budget()
    one = _read(path, budget)
    count = _split_count(path, one.metadata)
    return one if count == 1 else _read_parts(path, one, count, budget)


class _Budget:
    """What may still be read, over all parts of a file."""

    def __init__(self) -> None:
        self.header_bytes = LARGEST_HEADER_BYTES
        self.keys, self.tensors = MOST_KEYS, MOST_TENSORS
        self.text_bytes, self.entries = _MOST_KEPT_TEXT_BYTES, _MOST_KEPT_ENTRIES
        self.skipped = _MOST_SKIPPED_TEXTS


def _read_parts(path: str, one: GGUF, count: int, budget: _Budget) -> GGUF:
    """All parts of a split file, of which `one` was read as it was named."""
    folder, own = os.path.split(path)
    match = _PART.fullmatch(own)
    if match is None or int(match[3]) != count or not 1 <= int(match[2]) <= count:
        what = f"{file_name(path)}: is one of {count} parts, and its name does not say which"
        raise FileError(what, f"name the first part NAME-00001-of-{count:05}.gguf, and the others likewise")
    parts: list[GGUF] = []
    tensors: list[StoredTensor] = []
    names: set[str] = set()
    file_bytes = 0
    for number in range(1, count + 1):
        place = os.path.join(folder, f"{match[1]}{number:05}-of-{match[3]}{match[4]}")
        part = one if number == int(match[2]) else _read_part(place, budget)
        name = file_name(place)
        if part.metadata.get("split.count") != count or part.metadata.get("split.no") != number - 1:
            raise FileError(f"{name}: does not say that it is part {number} of {count}", "download it again")
        for tensor in part.tensors:
            if tensor.name in names:
                raise FileError(f"{name}: tensor {shown(tensor.name)} is in a part before it, too")
            names.add(tensor.name)
        tensors += part.tensors
        file_bytes += part.file_bytes
        parts.append(part)
    first = parts[0]
    stated = first.metadata.get("split.tensors.count", len(tensors))
    if type(stated) is not int or stated != len(tensors):
        what = f"{file_name(path)}: its parts hold {len(tensors)} tensors, and should hold {shown(stated)}"
        raise FileError(what, "download its parts again")
    return GGUF(first.metadata, first.lengths, tuple(tensors), file_bytes)


def _read_part(path: str, budget: _Budget) -> GGUF:
    try:
        os.stat(path)
    except FileNotFoundError:
        raise FileError(f"{file_name(path)}: there is no such part", "all parts lie in one folder") from None
    except (OSError, ValueError):
        # The reader says what is wrong.
        pass
    return _read(path, budget)


def _split_count(path: str, metadata: Mapping[str, Value]) -> int:
    count = metadata.get("split.count", 1)
    if type(count) is not int or not 0 <= count <= MOST_PARTS:
        raise FileError(f"{file_name(path)}: has {shown(count)} parts, and may have {MOST_PARTS} at most")
    return count or 1


def _read(path: str, budget: _Budget) -> GGUF:
    name = file_name(path)
    with open_regular(path) as file:
        return _header(_Source(name, file, os.fstat(file.fileno()).st_size, budget))


class _Source:
    """The bytes of a header in their order, through a window that moves over the file."""

    def __init__(self, name: str, file: BinaryIO, size: int, budget: _Budget) -> None:
        self.name, self.file, self.size, self.budget = name, file, size, budget
        #: `at` is the place in the window, `ahead` that in the file at which the window ends.
        self.window, self.at, self.ahead = b"", 0, 0
        self.step = _LEAST_WINDOW

    @property
    def position(self) -> int:
        return self.ahead - len(self.window) + self.at

    @property
    def left(self) -> int:
        return self.size - self.position

    def error(self, what: str, hint: str | None = None) -> FileError:
        return FileError(f"{self.name}: {what}", hint)

    def need(self, count: int) -> int:
        """The place in the window of the next `count` bytes, which are then counted as read."""
        at = self.at
        if at + count > len(self.window):
            self._fill(count)
            at = self.at
        self.at = at + count
        return at

    def skip(self, count: int) -> None:
        """Leaves out bytes, which may lie beyond the window."""
        if count > self.left:
            raise self._cut_short()
        self.at += count
        beyond = self.at - len(self.window)
        if beyond > 0:
            self.file.seek(beyond, os.SEEK_CUR)
            self.budget.header_bytes -= beyond
            self.window, self.at, self.ahead = b"", 0, self.ahead + beyond

    def unpack(self, packed: struct.Struct) -> tuple[Any, ...]:
        at = self.need(packed.size)
        return packed.unpack_from(self.window, at)

    def number(self) -> int:
        found: int = self.unpack(_U64)[0]
        return found

    def text(self, errors: str = "strict") -> str:
        """The next text; of those that are only shown what is not UTF-8 may be replaced."""
        length = self.number()
        if length > self.left:
            raise self._cut_short()
        self.budget.text_bytes -= length
        if self.budget.text_bytes < 0:
            raise self.error("has more than 16 MiB of text in its metadata")
        at = self.need(length)
        try:
            return self.window[at : at + length].decode("utf-8", errors)
        except UnicodeDecodeError:
            raise self.error(
                f"has the name {shown(self.window[at : at + length][:60])}, which is not UTF-8"
            ) from None

    def skip_texts(self, count: int) -> None:
        self.budget.skipped -= count
        if self.budget.skipped < 0:
            raise self.error(f"has more than {_MOST_SKIPPED_TEXTS} texts in its arrays")
        length = _U64.unpack_from
        while count:
            window, at = self.window, self.at
            try:
                # The one loop that matters: a vocabulary and its merges have 300,000 texts or more.
                for waiting in range(count, 0, -1):  # noqa: B007
                    at += 8 + length(window, at)[0]
            except (struct.error, OverflowError):
                # The next length stands across the end of the window or beyond it.
                count = waiting
                self.skip(at - self.at)
                self._fill(8)
            else:
                count = 0
                self.skip(at - self.at)

    def _fill(self, count: int) -> None:
        rest = self.window[self.at :]
        wanted = max(self.step, count) - len(rest)
        more = read_fully(self.file, min(wanted, self.size - self.ahead))
        self.step = min(2 * self.step, _LARGEST_WINDOW)
        self.window, self.at, self.ahead = rest + more, 0, self.ahead + len(more)
        if len(self.window) < count:
            raise self._cut_short()
        self.budget.header_bytes -= len(more)
        if self.budget.header_bytes < 0:
            raise self.error(f"has a header of more than {LARGEST_HEADER_BYTES // 2**20} MiB")

    def _cut_short(self) -> FileError:
        return self.error(
            f"is cut short: its header goes on beyond its {self.size} bytes", "download it again"
        )


def _header(source: _Source) -> GGUF:
    tensor_count, key_count = _counts(source)
    metadata: dict[str, Value] = {}
    lengths: dict[str, int] = {}
    for _ in range(key_count):
        key = source.text()
        if key in metadata or key in lengths:
            raise source.error(f"has the key {shown(key)} twice")
        kind: int = source.unpack(_U32)[0]
        if kind == _ARRAY:
            kind, length = source.unpack(_ARRAY_HEAD)
            lengths[key] = length
            kept = _array(source, key, kind, length)
            if kept is not None:
                metadata[key] = kept
        else:
            metadata[key] = _value(source, key, kind)
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise source.error(f"has the alignment {shown(alignment)}, which is not a power of two")
    tensors, ends = _tensors(source, tensor_count, alignment)
    if tensors:
        missing = -(-source.position // alignment) * alignment + ends - source.size
        if missing > 0:
            raise source.error(f"is cut short: {missing} bytes are missing", "download it again")
    return GGUF(metadata, lengths, tensors, source.size)


def _counts(source: _Source) -> tuple[int, int]:
    """How many tensors and keys a file says that it has, once that is possible."""
    magic = read_fully(source.file, min(source.size, 64))
    source.file.seek(0)
    if magic.startswith(b"version https://git-lfs"):
        raise source.error("is a pointer of Git LFS, not the file itself", "fetch it with git lfs pull")
    if not magic.startswith(_MAGIC):
        raise source.error(f"is no GGUF file: starts with {shown(magic[:4])}", "a GGUF file starts with GGUF")
    version = int.from_bytes(magic[4:8], "little")
    if len(magic) >= 8 and version not in _VERSIONS:
        swapped = int.from_bytes(magic[4:8], "big")
        if swapped in (1, *_VERSIONS):
            raise source.error("is big-endian", "convert the model to a little-endian file")
        raise source.error(
            f"is of GGUF version {version}", "convert the model again: versions 2 and 3 are read"
        )
    _, _, tensors, keys = source.unpack(_FILE_HEAD)
    for what, count, least, most in (
        ("tensors", tensors, _TENSOR_BYTES, source.budget.tensors),
        ("keys", keys, _KEY_BYTES, source.budget.keys),
    ):
        if count * least > source.left:
            raise source.error(f"is cut short or broken: states {count} {what}, more than it has room for")
        if count > most:
            raise source.error(f"states {count} {what}, more than are read")
    source.budget.tensors -= tensors
    source.budget.keys -= keys
    return tensors, keys


def _value(source: _Source, key: str, kind: int) -> Value:
    if kind == _TEXT:
        return source.text("replace")
    scalar = _SCALARS.get(kind)
    if scalar is None:
        raise source.error(f"key {shown(key)} has a value of type {kind}, which is not known")
    found: int | float | bool = source.unpack(scalar)[0]
    return found


def _array(source: _Source, key: str, kind: int, length: int) -> list[Any] | None:
    """The entries of an array, None where there are too many to keep."""
    scalar = _SCALARS.get(kind)
    if scalar is None and kind != _TEXT:
        what = "arrays" if kind == _ARRAY else f"type {kind}, which is not known"
        raise source.error(f"key {shown(key)} has an array of {what}")
    # A text has at least its own length.
    if length * (scalar.size if scalar else 8) > source.left:
        raise source.error(
            f"is cut short or broken: key {shown(key)} has {length} entries, more than it has room for"
        )
    if length > LONGEST_ARRAY:
        if scalar:
            source.skip(length * scalar.size)
        else:
            source.skip_texts(length)
        return None
    source.budget.entries -= length
    if source.budget.entries < 0:
        raise source.error(f"has more than {_MOST_KEPT_ENTRIES} entries in its short arrays")
    if scalar is None:
        return [source.text("replace") for _ in range(length)]
    at = source.need(length * scalar.size)
    return list(struct.unpack_from(f"<{length}{scalar.format[1:]}", source.window, at))


def _tensors(source: _Source, count: int, alignment: int) -> tuple[tuple[StoredTensor, ...], int]:
    """The tensors, and where the data of the last of them end [B from the start of the data]."""
    tensors, ranges, names = [], [], set[str]()
    for _ in range(count):
        name = source.text()
        if name in names:
            raise source.error(f"has the tensor {shown(name)} twice")
        names.add(name)
        dimensions: int = source.unpack(_U32)[0]
        if dimensions > _MOST_DIMENSIONS:
            what = (
                f"tensor {shown(name)} has {dimensions} dimensions, and may have {_MOST_DIMENSIONS} at most"
            )
            raise source.error(what)
        packed = _TENSORS[dimensions]
        *sizes, number, offset = source.unpack(packed)
        kind = TENSOR_TYPES.get(number) or _no_type(source, name, number)
        # The file lists the dimension that lies closest in memory first.
        innermost = sizes[0] if sizes else 1
        elements = 1
        for size in sizes:
            elements *= size
        if max(elements, *sizes, 0) > _MOST_ELEMENTS:
            raise source.error(
                f"tensor {shown(name)} has the shape {shown(sizes[::-1])}, of more than 2^63 elements"
            )
        if innermost % kind.block:
            what = f"tensor {shown(name)} has rows of {innermost}, and {kind.name} has blocks of {kind.block}"
            raise source.error(what)
        if offset % alignment:
            what = f"tensor {shown(name)} has data at {offset}, which is not a multiple of {alignment}"
            raise source.error(what)
        taken = elements // kind.block * kind.bytes
        tensors.append(StoredTensor(name, tuple(sizes[::-1]), kind.name, taken))
        ranges.append((offset, offset + taken, name))
    end = 0
    for begin, after, name in sorted(ranges):
        if begin < end:
            raise source.error(f"tensor {shown(name)} has data that overlap those before them")
        end = after
    return tuple(tensors), end


def _no_type(source: _Source, name: str, number: int) -> _Type:
    removed = _REMOVED.get(number)
    if removed:
        what = f"tensor {shown(name)} has the type {removed}, which ggml has removed"
        raise source.error(what, "quantise the model again")
    raise source.error(f"tensor {shown(name)} has a type that is not known: {number}")
