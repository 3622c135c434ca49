"""Headers of GGUF files: as their own library writes them, and as nobody should."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memcalc.errors import FileError
from memcalc.readers import gguf as reader
from memcalc.readers.gguf import GGUF, LONGEST_ARRAY, MOST_KEYS, MOST_TENSORS, TENSOR_TYPES, read_gguf

U8, I8, U16, U32, F32, BOOL, TEXT, ARRAY, U64 = 0, 1, 2, 4, 6, 7, 8, 9, 10


def text(word: str | bytes) -> bytes:
    content = word.encode() if isinstance(word, str) else word
    return struct.pack("<Q", len(content)) + content


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def array(name: str, kind: int, length: int, entries: bytes) -> bytes:
    return key(name, ARRAY, struct.pack("<IQ", kind, length) + entries)


def tensor(name: str | bytes, sizes: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    """A tensor with its sizes in the order of the file, the innermost first."""
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


def packed(
    keys: list[bytes] | None = None,
    tensors: list[bytes] | None = None,
    data: int = 0,
    *,
    version: int = 3,
    alignment: int = 32,
) -> bytes:
    """A file with these keys and tensors and so many bytes of data."""
    keys, tensors = keys or [], tensors or []
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys + tensors)
    return head + bytes(-len(head) % alignment + data)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def one(content: bytes, name: str = "my.gguf") -> str:
        file = tmp_path / name
        file.write_bytes(content)
        return str(file)

    return one


def problem(path: str) -> str:
    """What is wrong, without the name of the file."""
    with pytest.raises(FileError) as caught:
        read_gguf(path)
    error = caught.value
    assert error.exit_code == 3
    assert error.message.isprintable()
    assert error.hint is None or error.hint.isprintable()
    assert len(error.message) < 400 + len(path)
    return error.message.removeprefix(f"{path}: ")


def outcome(path: str) -> GGUF | FileError:
    """What is read, or the one error that is meant for the user."""
    try:
        return read_gguf(path)
    except FileError as error:
        return error


def finished(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_types_are_those_of_ggml() -> None:
    known = {
        int(kind): (kind.name, *size) for kind, size in gguf.GGML_QUANT_SIZES.items() if kind in TENSOR_TYPES
    }
    assert {number: tuple(kind) for number, kind in TENSOR_TYPES.items()} == known


def test_a_file_of_the_library_is_read(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_int64("negative", -5)
    writer.add_float32("llama.rope.freq_base", 1.5)
    writer.add_float64("double", 0.1)
    writer.add_bool("flag", val=True)
    writer.add_string("general.name", "größe \x1b[2J")
    writer.add_array("heads", [8, 8, 2])
    writer.add_array("flags", [True, False])
    writer.add_array("few", ["a", "bc", ""])
    writer.add_token_list([f"token {number}" for number in range(5000)])
    writer.add_token_scores([0.5] * 5000)
    rng = np.random.default_rng(0)
    plain = rng.random((8, 512), np.float32)
    writer.add_tensor("f32", plain)
    writer.add_tensor("f16", plain.astype(np.float16).reshape(4, 2, 512))
    kinds = (Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q5_1, Type.TQ1_0, Type.TQ2_0, Type.MXFP4)
    for kind in kinds:
        writer.add_tensor(kind.name.lower(), gguf.quantize(plain, kind), raw_dtype=kind)
    writer.add_tensor("norm", np.zeros(512, np.float32))
    finished(writer)

    found = read_gguf(str(file))
    assert found.file_bytes == os.path.getsize(file)
    assert found.metadata == {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "negative": -5,
        "llama.rope.freq_base": 1.5,
        "double": 0.1,
        "flag": True,
        "general.name": "größe \x1b[2J",
        "heads": [8, 8, 2],
        "flags": [True, False],
        "few": ["a", "bc", ""],
    }
    assert found.metadata["flag"] is True
    lengths = {"heads": 3, "flags": 2, "few": 3, "tokenizer.ggml.tokens": 5000, "tokenizer.ggml.scores": 5000}
    assert found.lengths == lengths
    theirs = {one.name: one for one in gguf.GGUFReader(file).tensors}
    assert [one.name for one in found.tensors] == list(theirs)
    for one in found.tensors:
        assert one.shape == tuple(int(size) for size in theirs[one.name].shape[::-1])
        assert one.type == theirs[one.name].tensor_type.name
        assert one.bytes == theirs[one.name].n_bytes
        assert one.elements == theirs[one.name].n_elements
    assert found.tensors[0].shape == (8, 512)
    assert found.tensors[1].shape == (4, 2, 512)


@pytest.mark.parametrize("number", TENSOR_TYPES)
def test_every_type_has_its_blocks(number: int, write: Callable[..., str]) -> None:
    name, block, size = TENSOR_TYPES[number]
    path = write(packed([], [tensor("w", (2 * block, 3), number)], 6 * size))
    assert read_gguf(path).tensors == (("w", (3, 2 * block), name, 6 * size),)
    if block > 1:
        found = problem(write(packed([], [tensor("w", (2 * block + 1, 3), number)], 9 * size)))
        assert found == f"tensor 'w' has rows of {2 * block + 1}, and {name} has blocks of {block}"


def test_version_2_and_other_alignments(write: Callable[..., str]) -> None:
    path = write(
        packed([key("general.alignment", U32, struct.pack("<I", 64))], [tensor("w", (5,))], 20, alignment=64)
    )
    assert read_gguf(path).tensors[0].bytes == 20
    assert read_gguf(write(packed([], [tensor("w", (5,))], 20, version=2))).tensors[0].shape == (5,)


def test_scalars_empty_tensors_and_empty_files(write: Callable[..., str]) -> None:
    assert read_gguf(write(packed())) == GGUF({}, {}, (), 32)
    found = read_gguf(write(packed([], [tensor("s", ()), tensor("none", (0, 4), 0, 32)], 32))).tensors
    assert found == (("s", (), "F32", 4), ("none", (4, 0), "F32", 0))
    assert found[0].elements == 1


def test_long_arrays_are_skipped_across_windows(write: Callable[..., str]) -> None:
    few, many = LONGEST_ARRAY, LONGEST_ARRAY + 1
    words = b"".join(text("x" * (number % 300)) for number in range(many * 20))
    keys = [
        array("kept", U8, few, bytes(few)),
        array("numbers", 5, many, bytes(4 * many)),
        array("words", TEXT, many * 20, words),
        array("long words", TEXT, many, text("y" * 200_000) + text("") * (many - 2) + text("z" * 2_000_000)),
        array("none", U8, 0, b""),
        key("after", U16, struct.pack("<H", 7)),
    ]
    found = read_gguf(write(packed(keys, [tensor("w", (2,))], 8)))
    assert found.lengths == {"kept": few, "numbers": many, "words": many * 20, "long words": many, "none": 0}
    assert found.metadata == {"kept": [0] * few, "none": [], "after": 7}
    assert found.tensors[0].bytes == 8


def test_texts_that_are_not_utf8(write: Callable[..., str]) -> None:
    keys = [key("value", TEXT, text(b"a\xff")), array("words", TEXT, 1, text(b"\xe2\x96"))]
    assert read_gguf(write(packed(keys))).metadata == {"value": "a\ufffd", "words": ["\ufffd"]}
    found = problem(write(packed([], [tensor(b"\xff\x1b", (2,))], 8)))
    assert found == r"has the name b'\xff\x1b', which is not UTF-8"


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is no GGUF file"),
    "magic": (b"GGML" + bytes(60), "is no GGUF file: starts with b'GGML'"),
    "escape as magic": (b"\x1b[2J" + bytes(60), r"is no GGUF file: starts with b'\x1b[2J'"),
    "magic alone": (b"GGUF", "is cut short"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a pointer of Git LFS"),
    "version 1": (packed(version=1), "is of GGUF version 1"),
    "version 4": (packed(version=4), "is of GGUF version 4"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + bytes(32), "is big-endian"),
    "tensors": (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0) + bytes(64), "states 1152921504606846976 tensors"),
    "keys": (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60) + bytes(64), "states 1152921504606846976 keys"),
    "most tensors": (
        b"GGUF" + struct.pack("<IQQ", 3, MOST_TENSORS + 1, 0) + bytes(24 * MOST_TENSORS + 24),
        "states 100001 tensors, more than are read",
    ),
    "most keys": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, MOST_KEYS + 1) + bytes(13 * MOST_KEYS + 13),
        "states 50001 keys, more than are read",
    ),
    "long key": (packed([struct.pack("<Q", 2**63) + bytes(9)]), "is cut short"),
    "long text": (packed([key("a", TEXT, struct.pack("<Q", 2**64 - 1))]), "is cut short"),
    "key twice": (packed([key("a", U8, b"1"), key("a", U8, b"2")]), "has the key 'a' twice"),
    "array twice": (packed([array("a", U8, 5000, bytes(5000)), key("a", U8, b"2")]), "has the key 'a' twice"),
    "kind": (packed([key("a", 13, bytes(8))]), "key 'a' has a value of type 13, which is not known"),
    "kind of array": (packed([array("a", 99, 1, bytes(8))]), "key 'a' has an array of type 99"),
    "nested": (packed([array("a", ARRAY, 1, bytes(24))]), "key 'a' has an array of arrays"),
    "escape": (packed([key("\x1b[2J\n", 13, bytes(8))]), r"key '\x1b[2J\n' has a value"),
    "long array": (
        packed([array("a", U8, 2**60, b"")]),
        "key 'a' has 1152921504606846976 entries, more than",
    ),
    "long array of texts": (
        packed([array("a", TEXT, 2**61, b"")]),
        "has 2305843009213693952 entries, more than",
    ),
    "text in an array": (
        packed([array("a", TEXT, 5000, text("a") * 3 + struct.pack("<Q", 2**64 - 1) + bytes(40_000))]),
        "is cut short",
    ),
    "texts beyond the end": (packed([array("a", TEXT, 5000, text("abcdefgh") * 4000)]), "is cut short"),
    "entries": (
        packed([array(str(n), U8, 4096, bytes(4096)) for n in range(130)]),
        "more than 500000 entries",
    ),
    "text": (
        packed([key(str(n), TEXT, text(bytes(2**20))) for n in range(17)]),
        "has more than 16 MiB of text",
    ),
    "alignment": (packed([key("general.alignment", U32, struct.pack("<I", 48))]), "has the alignment 48"),
    "alignment 0": (packed([key("general.alignment", U32, bytes(4))]), "has the alignment 0"),
    "alignment -32": (packed([key("general.alignment", I8, b"\xe0")]), "has the alignment -32"),
    "alignment in words": (
        packed([key("general.alignment", TEXT, text("\x1b"))]),
        r"has the alignment '\x1b'",
    ),
    "alignment true": (packed([key("general.alignment", BOOL, b"\1")]), "has the alignment True"),
    "alignment 32.0": (
        packed([key("general.alignment", F32, struct.pack("<f", 32))]),
        "has the alignment 32.0",
    ),
    "huge alignment": (
        packed([key("general.alignment", U64, struct.pack("<Q", 2**63))], [tensor("w", (5,))], 20),
        "is cut short",
    ),
    "tensor twice": (
        packed([], [tensor("w", (2,)), tensor("w", (2,), 0, 32)], 40),
        "has the tensor 'w' twice",
    ),
    "dimensions": (packed([], [tensor("w", (1, 1, 1, 1, 1))], 4), "has 5 dimensions, and may have 4 at most"),
    "many dimensions": (
        packed([], [text("w") + struct.pack("<I", 2**32 - 1) + bytes(20)]),
        "4294967295 dimensions",
    ),
    "shape": (
        packed([], [tensor("w", (2**40, 2**40))]),
        "has the shape [1099511627776, 1099511627776], of more",
    ),
    "shape with 0": (packed([], [tensor("w", (0, 2**64 - 1))]), "of more than 2^63 elements"),
    "type": (packed([], [tensor("w", (2,), 99)], 8), "tensor 'w' has a type that is not known: 99"),
    "removed type": (
        packed([], [tensor("w", (32,), 31)], 18),
        "has the type Q4_0_4_4, which ggml has removed",
    ),
    "offset": (packed([], [tensor("w", (2,), 0, 8)], 16), "has data at 8, which is not a multiple of 32"),
    "far": (
        packed([], [tensor("w", (2,), 0, 2**63)], 8),
        "is cut short: 9223372036854775808 bytes are missing",
    ),
    "overlap": (
        packed([], [tensor("v", (16,)), tensor("w", (16,), 0, 32)], 99),
        "tensor 'w' has data that overlap",
    ),
    "no data": (packed([], [tensor("w", (5,))], 0), "is cut short: 20 bytes are missing"),
    "cut data": (packed([], [tensor("w", (5,))], 19), "is cut short: 1 bytes are missing"),
}


@pytest.mark.parametrize(("content", "expected"), BAD.values(), ids=BAD)
def test_problems_of_a_file(content: bytes, expected: str, write: Callable[..., str]) -> None:
    assert expected in problem(write(content))


def test_a_large_file_of_nothing_is_refused_soon(tmp_path: Path) -> None:
    # Sparse: no such file takes room, and none may take time or memory.
    for head in (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + array("a", TEXT, 2**34, b""),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + array("a", U8, 2**39, b""),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key("a", TEXT, struct.pack("<Q", 2**39)),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**39),
        b"GGUF" + struct.pack("<IQQ", 3, 2**33, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + array("a", TEXT, 5000, struct.pack("<Q", 2**30)),
    ):
        file = tmp_path / "sparse.gguf"
        with open(file, "wb") as out:
            out.write(head)
            out.truncate(2**40)
        assert problem(str(file))


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.symlink("loop", tmp_path / "loop")
    assert problem(str(tmp_path / "pipe")) == "is not a regular file"
    assert problem(str(tmp_path)) == "is a folder"
    assert problem("/dev/zero") == "is not a regular file"
    assert problem(str(tmp_path / "none.gguf")) == "there is no such file"
    assert "too many levels of symbolic links" in problem(str(tmp_path / "loop"))
    with pytest.raises(FileError, match="is not the name of a file"):
        read_gguf("a\0b")


def test_every_cut_of_a_file_is_found(write: Callable[..., str]) -> None:
    keys = [key("a", TEXT, text("word")), array("b", U16, 2, bytes(4)), array("c", TEXT, 5000, bytes(40_000))]
    content = packed(keys, [tensor("v", (2, 3)), tensor("w", (32,), 8, 32)], 66)
    head = 200
    for end in (*range(head), *range(40_000, len(content))):
        assert "is cut short" in (found := problem(write(content[:end]))) or (end < 4 and "no GGUF" in found)
    assert read_gguf(write(content)).tensors[1].bytes == 34


SMALL = packed(
    [key("a", TEXT, text("word")), array("b", U16, 2, bytes(4)), array("c", TEXT, 2, text("d") + text("ef"))],
    [tensor("v", (2, 3)), tensor("w", (32,), 8, 32)],
    66,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=6),
    long=st.sampled_from([0, 1, 4096]),
)
def test_changed_bytes_are_read_or_refused(changes: list[tuple[int, int]], long: int, tmp_path: Path) -> None:
    content = bytearray(SMALL)
    for place, byte in changes:
        content[place % len(content)] = byte
    file = tmp_path / "changed.gguf"
    file.write_bytes(content)
    # So that arrays of texts are skipped, too.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "LONGEST_ARRAY", long)
        found = outcome(str(file))
    if isinstance(found, FileError):
        assert found.message.isprintable()
    else:
        assert sum(one.bytes for one in found.tensors) <= len(content)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tail=st.binary(max_size=200), keys=st.integers(0, 3), tensors=st.integers(0, 3))
def test_any_bytes_are_read_or_refused(tail: bytes, keys: int, tensors: int, tmp_path: Path) -> None:
    file = tmp_path / "any.gguf"
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + tail)
    found = outcome(str(file))
    assert not isinstance(found, FileError) or found.message.isprintable()


def split(folder: Path, tensors: int = 5) -> list[str]:
    """A split file of the library, two tensors a part."""
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama", split_max_tensors=2)
    writer.add_uint32("llama.block_count", 2)
    writer.add_array("heads", [1, 2])
    for number in range(tensors):
        writer.add_tensor(f"blk.{number}.weight", np.zeros((number + 1, 8), np.float32))
    finished(writer)
    return sorted(str(file) for file in folder.glob("model-*.gguf"))


def test_all_parts_of_a_split_file_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = split(tmp_path)
    assert [os.path.basename(part) for part in parts] == [f"model-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    found = read_gguf(parts[0])
    assert [one.name for one in found.tensors] == [f"blk.{number}.weight" for number in range(5)]
    assert found.tensors[4] == ("blk.4.weight", (5, 8), "F32", 160)
    assert found.metadata["general.architecture"] == "llama"
    assert found.lengths == {"heads": 2}
    assert found.file_bytes == sum(os.path.getsize(part) for part in parts)
    # Whichever part is named.
    assert read_gguf(parts[1]) == read_gguf(parts[2]) == found
    monkeypatch.chdir(tmp_path)
    assert read_gguf("model-00002-of-00003.gguf") == found


def test_a_part_that_is_missing_or_misplaced(tmp_path: Path) -> None:
    parts = split(tmp_path)
    os.rename(parts[1], tmp_path / "aside")
    assert problem(parts[0]).endswith("model-00002-of-00003.gguf: there is no such part")
    os.symlink("model-00002-of-00003.gguf", parts[1])
    assert "model-00002-of-00003.gguf: cannot be read: too many levels" in problem(parts[0])
    os.remove(parts[1])
    os.link(parts[2], parts[1])
    assert problem(parts[0]).endswith("model-00002-of-00003.gguf: does not say that it is part 2 of 3")
    os.remove(parts[1])
    os.rename(tmp_path / "aside", parts[1])
    os.remove(parts[0])
    assert problem(parts[2]).endswith("model-00001-of-00003.gguf: there is no such part")


def test_a_part_by_another_name(tmp_path: Path) -> None:
    parts = split(tmp_path)
    for name in (
        "renamed.gguf",
        "model-00001-of-00004.gguf",
        "model-00009-of-00003.gguf",
        "model-00000-of-00003.gguf",
    ):
        os.link(parts[0], tmp_path / name)
        assert problem(str(tmp_path / name)) == "is one of 3 parts, and its name does not say which"


def parted(number: int, tensors: list[bytes], total: bytes = b"", count: bytes = b"\2\0") -> bytes:
    """One of two parts."""
    keys = [key("split.no", U16, struct.pack("<H", number)), key("split.count", U16, count)]
    return packed(keys + ([key("split.tensors.count", 5, total)] if total else []), tensors, 8)


def test_parts_that_do_not_agree(write: Callable[..., str]) -> None:
    first, second = "x-00001-of-00002.gguf", "x-00002-of-00002.gguf"
    path = write(parted(0, [tensor("v", (2,))]), first)
    write(parted(1, [tensor("w", (2,))]), second)
    assert [one.name for one in read_gguf(path).tensors] == ["v", "w"]
    write(parted(1, [tensor("v", (2,))]), second)
    assert problem(path).endswith("00002-of-00002.gguf: tensor 'v' is in a part before it, too")
    write(parted(1, [tensor("w", (2,))], count=b"\3\0"), second)
    assert problem(path).endswith("00002-of-00002.gguf: does not say that it is part 2 of 2")
    write(parted(1, []), second)
    write(parted(0, [tensor("v", (2,))], struct.pack("<i", 2)), first)
    assert problem(path) == "its parts hold 1 tensors, and should hold 2"
    write(parted(0, [tensor("v", (2,))], struct.pack("<i", -1)), first)
    assert problem(path) == "its parts hold 1 tensors, and should hold -1"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (U16, struct.pack("<H", 10_001), "has 10001 parts, and may have 10000 at most"),
        (I8, b"\xff", "has -1 parts"),
        (TEXT, text("\x1b"), r"has '\x1b' parts"),
        (F32, struct.pack("<f", 2), "has 2.0 parts"),
        (BOOL, b"\1", "has True parts"),
        (ARRAY, struct.pack("<IQ", U8, 1) + b"\1", "has [1] parts"),
    ],
)
def test_counts_of_parts(kind: int, value: bytes, expected: str, write: Callable[..., str]) -> None:
    assert expected in problem(write(packed([key("split.count", kind, value)])))


@pytest.mark.parametrize("count", [0, 1])
def test_one_part_is_no_split_file(count: int, write: Callable[..., str]) -> None:
    content = packed([key("split.count", U16, struct.pack("<H", count))], [tensor("w", (2,))], 8)
    found: Any = read_gguf(write(content))
    assert len(found.tensors) == 1


def test_bounds_hold_over_all_parts(write: Callable[..., str]) -> None:
    first = write(parted(0, [tensor("v", (2,))]), "x-00001-of-00002.gguf")
    keys = [array(str(n), U8, 4096, bytes(4096)) for n in range(100)]
    write(
        packed([key("split.no", U16, b"\1\0"), key("split.count", U16, b"\2\0"), *keys]),
        "x-00002-of-00002.gguf",
    )
    assert len(read_gguf(first).tensors) == 1
    write(
        packed([key("split.no", U16, b"\0\0"), key("split.count", U16, b"\2\0"), *keys]),
        "x-00001-of-00002.gguf",
    )
    assert "has more than 500000 entries in its short arrays" in problem(first)
