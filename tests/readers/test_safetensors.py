"""Headers of .safetensors files: as their own library writes them, and as nobody should."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from memcalc.errors import FileError
from memcalc.readers.regular import file_name, open_regular, read_fully, read_head, shown
from memcalc.readers.safetensors import (
    ELEMENT_BITS,
    LARGEST_HEADER_BYTES,
    LARGEST_INDEX_BYTES,
    MOST_SHARDS,
    find_weights,
    read_safetensors,
    read_safetensors_index,
)
from memcalc.readers.tensors import StoredTensor

ONE = {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}


def packed(header: object, data: int = 0) -> bytes:
    """A file with this header, a table or bytes, and so many bytes of data."""
    content = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return len(content).to_bytes(8, "little") + content + bytes(data)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def one(content: bytes, name: str = "my.safetensors") -> str:
        file = tmp_path / name
        file.write_bytes(content)
        return str(file)

    return one


def problem(read: Callable[[str], Any], path: str) -> str:
    """What is wrong, without the name of the file."""
    with pytest.raises(FileError) as caught:
        read(path)
    error = caught.value
    assert error.exit_code == 3
    assert error.message.isprintable()
    assert error.hint is None or error.hint.isprintable()
    assert len(error.message) < 400 + len(path)
    return error.message.removeprefix(f"{file_name(path)}: ")


def outcome(read: Callable[[str], Any], path: str) -> Any:
    """What is read, or the one error that is meant for the user."""
    try:
        return read(path)
    except FileError as error:
        return error


def indexed(folder: Path, shards: dict[str, dict[str, np.ndarray]], **more: Any) -> str:
    """A sharded set with its index."""
    weight_map = {}
    for shard, tensors in shards.items():
        save_file(tensors, folder / shard, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, shard)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map, **more}))
    return str(index)


def test_a_file_of_the_library_is_read(tmp_path: Path) -> None:
    arrays = {
        "model.embed_tokens.weight": np.zeros((32, 16), np.float16),
        "model.norm.weight": np.zeros(16, np.float32),
        "scalar": np.zeros((), np.float64),
        "empty": np.zeros((0, 7), np.int8),
        "mask": np.zeros((3, 3), np.bool_),
        "complex": np.zeros((2, 2), np.complex64),
        "größe": np.zeros((1, 4, 1), np.uint16),
    }
    file = tmp_path / "model.safetensors"
    save_file(arrays, file, metadata={"format": "pt", "quote": 'a "quoted" \\ text'})
    found = {tensor.name: tensor for tensor in read_safetensors(str(file))}
    assert set(found) == set(arrays)
    with safe_open(file, "numpy") as opened:
        for name, array in arrays.items():
            part = opened.get_slice(name)
            assert found[name] == (name, array.shape, part.get_dtype(), array.nbytes)
            assert type(found[name]) is StoredTensor


@pytest.mark.parametrize("kind", ELEMENT_BITS)
def test_every_dtype_has_its_width(kind: str, write: Callable[..., str]) -> None:
    size = 3 * 8 * ELEMENT_BITS[kind] // 8
    path = write(packed({"w": {"dtype": kind, "shape": [3, 8], "data_offsets": [0, size]}}, size))
    assert read_safetensors(path) == (("w", (3, 8), kind, size),)
    # The library itself agrees.
    with safe_open(path, "numpy") as opened:
        assert opened.get_slice("w").get_shape() == [3, 8]


def test_the_order_of_the_header_is_kept_and_that_of_the_data_does_not_matter(
    write: Callable[..., str],
) -> None:
    header = {
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [4, 12]},
        "none": {"dtype": "F32", "shape": [0], "data_offsets": [4, 4]},
        "a": {"data_offsets": [0, 4], "shape": [], "dtype": "F32"},
    }
    found = read_safetensors(write(packed(header, 12)))
    assert [tensor.name for tensor in found] == ["b", "none", "a"]
    assert [tensor.bytes for tensor in found] == [8, 0, 4]


def test_an_empty_file_of_tensors_and_keys_besides(write: Callable[..., str]) -> None:
    assert read_safetensors(write(packed({}))) == ()
    assert read_safetensors(write(packed({"__metadata__": None}))) == ()
    assert read_safetensors(write(packed(b"  {}   "))) == ()
    more = {"w": {**ONE["w"], "strides": ["x", {"y": "z"}]}, "__metadata__": {"a": "b"}}
    assert read_safetensors(write(packed(more, 24)))[0].bytes == 24


BAD_HEADERS: dict[str, tuple[Any, int, str]] = {
    "cut short": (ONE, 20, "is cut short: 4 bytes are missing"),
    "too long": (ONE, 25, "is 1 bytes longer than its header says"),
    "not UTF-8": (b'{"\xff":1}', 0, "is not UTF-8 text at byte 2"),
    "not JSON": (b"{'a': 1}", 0, "has JSON that cannot be read"),
    "empty": (b"", 0, "has JSON that cannot be read"),
    "byte order mark": (b"\xef\xbb\xbf{}", 0, "has JSON that cannot be read"),
    "a list": ([1], 0, "has JSON that is no object"),
    "a number": (b"1", 0, "has JSON that is no object"),
    "NaN": (b'{"a":NaN}', 0, "NaN and Infinity are not JSON"),
    "deep list": (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", 0, "is nested too deeply"),
    "deep object": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 0, "is nested too deeply"),
    "many values": (b'{"a":[' + b"[]," * 1_000_000 + b"[]]}", 0, "has more than 700000 values"),
    "long numbers": (
        b'{"a":[' + (b"9" * 4000 + b",") * 500 + b"1]}",
        0,
        "has a number of more than 1000 digits",
    ),
    "long number": (b'{"a":' + b"9" * 10_000 + b"}", 0, "has JSON that cannot be read"),
    "huge shape": (
        b'{"a":{"dtype":"U8","shape":[' + b"9" * 4000 + b'],"data_offsets":[0,1]}}',
        0,
        "below 2^63",
    ),
    "huge offsets": (
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,' + b"9" * 4300 + b"]}}",
        0,
        "bytes of data, and its shape and dtype take 1",
    ),
    "a tensor that is no object": ({"w": 3}, 0, "tensor 'w' is 3, and must be an object"),
    "a tensor that is a list": ({"w": ["dtype", "shape"]}, 0, "must be an object"),
    "no dtype": ({"w": {"shape": [], "data_offsets": [0, 0]}}, 0, "tensor 'w' has no dtype"),
    "no shape": ({"w": {"dtype": "F32", "data_offsets": [0, 0]}}, 0, "tensor 'w' has no shape"),
    "no offsets": ({"w": {"dtype": "F32", "shape": []}}, 0, "tensor 'w' has no data_offsets"),
    "a terminal escape": ({"\x1b[2J\x07": 1}, 0, r"tensor '\x1b[2J\x07' is 1"),
    "a mark of direction": ({"a\u202eb": 1}, 0, r"tensor 'a\u202eb' is 1"),
    "a tensor named as a part of an index": ({"weight_map": None}, 0, "tensor 'weight_map' is None"),
    "a long name": ({"q" * 10**6: 1}, 0, "tensor 'qqq"),
    "half a character": (b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}', 0, "is not text"),
}


@pytest.mark.parametrize(("header", "data", "expected"), BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_problems_of_a_header(header: Any, data: int, expected: str, write: Callable[..., str]) -> None:
    assert expected in problem(read_safetensors, write(packed(header, data)))


BAD_TENSORS: list[tuple[dict[str, Any], str]] = [
    ({"dtype": "F33"}, "has the dtype 'F33', which is not known"),
    ({"dtype": "f32"}, "has the dtype 'f32'"),
    ({"dtype": None}, "has the dtype None"),
    ({"dtype": ["F32"]}, "has the dtype ['F32']"),
    ({"dtype": "\x1b[31m"}, r"has the dtype '\x1b[31m'"),
    ({"shape": None}, "has the shape None"),
    ({"shape": "23"}, "has the shape '23'"),
    ({"shape": {}}, "has the shape {}"),
    ({"shape": 6}, "has the shape 6"),
    ({"shape": [2, -3]}, "has the shape [2, -3], and must have whole numbers"),
    ({"shape": [-2, -3]}, "and must have whole numbers"),
    ({"shape": [True, 6]}, "has the shape [True, 6]"),
    ({"shape": ["2", 3]}, "and must have whole numbers"),
    ({"shape": [[2], 3]}, "and must have whole numbers"),
    ({"shape": [2.0, 3]}, "a number with a point"),
    ({"shape": [2**62, 2**62]}, "which has no size in whole bytes below 2^63"),
    ({"dtype": "F4", "shape": [3]}, "which has no size in whole bytes below 2^63"),
    ({"dtype": "F6_E2M3", "shape": [2, 3]}, "which has no size in whole bytes below 2^63"),
    ({"shape": [2, 4]}, "has 24 bytes of data, and its shape and dtype take 32"),
    ({"data_offsets": [0]}, "has the data_offsets [0], and must have two whole numbers"),
    ({"data_offsets": [0, 24, 24]}, "must have two whole numbers"),
    ({"data_offsets": {}}, "must have two whole numbers"),
    ({"data_offsets": "ab"}, "must have two whole numbers"),
    ({"data_offsets": [False, 24]}, "has the data_offsets [False, 24]"),
    ({"data_offsets": ["0", "24"]}, "must have two whole numbers"),
    ({"data_offsets": [24, 0]}, "which are no range"),
    ({"data_offsets": [-24, 0]}, "which are no range"),
    ({"data_offsets": [8, 32]}, "has data that leave a gap of 8 bytes"),
    ({"data_offsets": [2**70, 2**70 + 24]}, "has data that leave a gap of"),
]


@pytest.mark.parametrize(("change", "expected"), BAD_TENSORS, ids=[str(change) for change, _ in BAD_TENSORS])
def test_problems_of_a_tensor(change: dict[str, Any], expected: str, write: Callable[..., str]) -> None:
    bad = {**ONE["w"], **change}
    assert expected in problem(read_safetensors, write(packed({"w": bad}, 24)))
    # The same after a good one of the same size, which must not vouch for it.
    second = {"a": {**ONE["w"], "dtype": "F32"}, "w": bad}
    assert problem(read_safetensors, write(packed(second, 48)))


def test_true_is_no_size_where_one_was_seen(write: Callable[..., str]) -> None:
    def two(shape: str, begin: str, end: str) -> bytes:
        first = '"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
        second = f'"b":{{"dtype":"U8","shape":{shape},"data_offsets":[{begin},{end}]}}'
        return packed(f"{{{first},{second}}}".encode(), 2)

    assert len(read_safetensors(write(two("[1]", "1", "2")))) == 2
    assert "has the shape [True]" in problem(read_safetensors, write(two("[true]", "1", "2")))
    assert "has the data_offsets [True, 2]" in problem(read_safetensors, write(two("[1]", "true", "2")))
    assert "a number with a point" in problem(read_safetensors, write(two("[1.0]", "1", "2")))
    assert "a number with a point" in problem(read_safetensors, write(two("[1]", "1e0", "2")))


def test_data_that_overlap(write: Callable[..., str]) -> None:
    header = {"a": ONE["w"], "b": {**ONE["w"], "data_offsets": [12, 36]}}
    assert "tensor 'b' has data that overlap" in problem(read_safetensors, write(packed(header, 36)))
    header = {"a": ONE["w"], "b": ONE["w"]}
    assert "tensor 'b' has data that overlap" in problem(read_safetensors, write(packed(header, 24)))


@pytest.mark.parametrize(
    "text",
    [
        '{"w":W,"w":W}',
        '{"w":1,"w":W}',
        '{"w":null,"w":W}',
        '{"\\u0077":W,"w":W}',
        '{"w":{"dtype":"U8","dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}',
        '{"w":{"shape":[9],"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}',
        '{"__metadata__":{"a":"b"},"__metadata__":{"a":"b"},"w":W}',
        '{"__metadata__":{"a":"b","a":"c"},"w":W}',
    ],
)
def test_a_key_that_stands_twice(text: str, write: Callable[..., str]) -> None:
    header = text.replace("W", json.dumps(ONE["w"])).encode()
    assert "twice" in problem(read_safetensors, write(packed(header, 24)))


def test_lengths_that_lie(write: Callable[..., str]) -> None:
    assert "has 0 bytes" in problem(read_safetensors, write(b""))
    assert "has 7 bytes" in problem(read_safetensors, write(bytes(7)))
    for length in (2**63, 2**64 - 1, LARGEST_HEADER_BYTES + 1):
        path = write(length.to_bytes(8, "little") + b"{}")
        assert f"states a header of {length} bytes" in problem(read_safetensors, path)
    path = write(LARGEST_HEADER_BYTES.to_bytes(8, "little") + b"{}")
    assert f"{LARGEST_HEADER_BYTES - 2} bytes of its header are missing" in problem(read_safetensors, path)


def test_a_pointer_of_git_lfs_is_named(write: Callable[..., str]) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 999\n"
    assert "is a pointer of Git LFS" in problem(read_safetensors, write(pointer))
    assert "is a pointer of Git LFS" in problem(read_safetensors_index, write(pointer))


def test_every_cut_of_a_file_is_found(tmp_path: Path, write: Callable[..., str]) -> None:
    whole = tmp_path / "whole.safetensors"
    save_file({"a": np.zeros((2, 2), np.float32), "b": np.zeros(3, np.int8)}, whole)
    content = whole.read_bytes()
    for end in range(len(content)):
        assert "is cut short" in problem(read_safetensors, write(content[:end]))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 250), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes_are_read_or_refused(changes: list[tuple[int, int]], tmp_path: Path) -> None:
    header = {
        "__metadata__": {"a": "b"},
        **ONE,
        "v": {"dtype": "U8", "shape": [1, 4], "data_offsets": [24, 28]},
    }
    content = bytearray(packed(header, 28))
    for place, byte in changes:
        content[place % len(content)] = byte
    file = tmp_path / "changed.safetensors"
    file.write_bytes(content)
    found = outcome(read_safetensors, str(file))
    if isinstance(found, FileError):
        assert found.message.isprintable()
    else:
        assert sum(tensor.bytes for tensor in found) <= len(content)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.dictionaries(
        st.sampled_from(["w", "__metadata__", "weight_map", "metadata", "\x1b"]),
        st.recursive(
            st.one_of(
                st.none(), st.booleans(), st.integers(-9, 2**65), st.floats(), st.sampled_from(["F32", "x"])
            ),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "total_size"]), inner)
            ),
            max_leaves=8,
        ),
    )
)
def test_any_json_is_read_or_refused(table: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "any.safetensors"
    for read, content in (
        (read_safetensors, packed(table, 8)),
        (read_safetensors_index, json.dumps(table).encode()),
    ):
        file.write_bytes(content)
        found = outcome(read, str(file))
        assert not isinstance(found, FileError) or found.message.isprintable()


SHARDS = {
    "model-00001-of-00002.safetensors": {"a": np.zeros((4, 4), np.float16), "b": np.zeros(4, np.float32)},
    "model-00002-of-00002.safetensors": {"c": np.zeros((4, 4), np.float16)},
}


def test_an_index_is_read_with_its_shards(tmp_path: Path) -> None:
    index = read_safetensors_index(indexed(tmp_path, SHARDS, metadata={"total_size": 80}))
    assert index.total_size == 80
    assert index.names == ("a", "b", "c")
    assert index.tensors == (("a", (4, 4), "F16", 32), ("b", (4,), "F32", 16), ("c", (4, 4), "F16", 32))


def test_an_index_alone_has_names_but_no_tensors(tmp_path: Path) -> None:
    path = indexed(tmp_path, SHARDS, metadata={"total_size": 80.0, "format": ["pt", {"more": "x"}]})
    os.remove(tmp_path / "model-00002-of-00002.safetensors")
    assert read_safetensors_index(path) == (None, 80, ("a", "b", "c"))
    assert read_safetensors_index(indexed(tmp_path, SHARDS)).total_size is None
    assert read_safetensors_index(indexed(tmp_path, SHARDS, metadata={})).total_size is None


def test_an_index_that_is_named_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed(tmp_path, SHARDS)
    monkeypatch.chdir(tmp_path)
    tensors = read_safetensors_index("model.safetensors.index.json").tensors
    assert tensors
    assert len(tensors) == 3


def test_a_shard_that_lacks_a_tensor_or_is_broken(tmp_path: Path) -> None:
    path = indexed(tmp_path, SHARDS)
    save_file({"d": np.zeros(1, np.int8)}, tmp_path / "model-00002-of-00002.safetensors")
    found = problem(read_safetensors_index, path)
    assert found == "names the tensor 'c', which is not in 'model-00002-of-00002.safetensors'"
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"x")
    assert "00002-of-00002.safetensors: is cut short" in problem(read_safetensors_index, path)
    os.remove(tmp_path / "model-00002-of-00002.safetensors")
    os.mkdir(tmp_path / "model-00002-of-00002.safetensors")
    assert "00002-of-00002.safetensors: is a folder" in problem(read_safetensors_index, path)
    os.rmdir(tmp_path / "model-00002-of-00002.safetensors")
    os.symlink("model-00002-of-00002.safetensors", tmp_path / "model-00002-of-00002.safetensors")
    assert "cannot be read: too many levels of symbolic links" in problem(read_safetensors_index, path)


@pytest.mark.parametrize(
    "shard",
    [
        "../secret.safetensors",
        "/etc/x.safetensors",
        "a/b.safetensors",
        "a\\b.safetensors",
        "C:x.safetensors",
        "..",
        ".",
        "",
        ".safetensors",
        "a\0.safetensors",
        "pytorch_model.bin",
        "q" * 300 + ".safetensors",
        "\x1b[2J/.safetensors",
        7,
        None,
        True,
        ["a.safetensors"],
        {"a": "b"},
    ],
)
def test_a_shard_lies_beside_its_index(shard: object, write: Callable[..., str]) -> None:
    found = problem(
        read_safetensors_index, write(json.dumps({"weight_map": {"a": shard}}).encode(), "i.json")
    )
    assert "not the plain name of a .safetensors file" in found or "no name of a file" in found


BAD_INDEXES: list[tuple[bytes, str]] = [
    (b"", "has JSON that cannot be read"),
    (b"[]", "has JSON that is no object"),
    (b"\xff", "is not UTF-8 text"),
    (b"{}", "has no weight_map"),
    (b'{"weight_map":[]}', "has no weight_map"),
    (b'{"weight_map":{},"metadata":3}', "has metadata that is no object"),
    (b'{"weight_map":{},"metadata":{"total_size":-1}}', "has the total_size -1"),
    (b'{"weight_map":{},"metadata":{"total_size":true}}', "has the total_size True"),
    (b'{"weight_map":{},"metadata":{"total_size":1.5}}', "has the total_size 1.5"),
    (b'{"weight_map":{},"metadata":{"total_size":1e999}}', "has the total_size inf"),
    (
        b'{"weight_map":{},"metadata":{"total_size":9223372036854775808}}',
        "has the total_size 9223372036854775808",
    ),
    (b'{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}', "has 'a' twice"),
    (b'{"weight_map":{},"weight_map":{"a":"x.safetensors"}}', "has 'weight_map' twice"),
    (b'{"weight_map":{"\\udc80":"x.safetensors"}}', "has a name that is not text"),
    (b'{"weight_map":{"a":"\\ud800.safetensors"}}', "is not the name of a file"),
    (b'{"metadata":' + b"[" * 5000 + b"]" * 5000 + b"}", "is nested too deeply"),
]


@pytest.mark.parametrize(
    ("content", "expected"), BAD_INDEXES, ids=[str(content[:40]) for content, _ in BAD_INDEXES]
)
def test_problems_of_an_index(content: bytes, expected: str, write: Callable[..., str]) -> None:
    assert expected in problem(read_safetensors_index, write(content, "model.safetensors.index.json"))


def test_an_index_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors.index.json"
    with open(file, "wb") as out:
        out.truncate(LARGEST_INDEX_BYTES + 1)
    assert problem(read_safetensors_index, str(file)) == "is larger than 50 MB"
    many = {f"t{number}": f"{number}.safetensors" for number in range(MOST_SHARDS + 1)}
    file.write_text(json.dumps({"weight_map": many}))
    assert problem(read_safetensors_index, str(file)) == "names 10001 shards, and may name 10000 at most"


def test_the_weights_of_a_folder(tmp_path: Path) -> None:
    def put(name: str) -> str:
        (tmp_path / name).write_bytes(b"")
        return str(tmp_path / name)

    assert find_weights(tmp_path) is None
    put("config.json")
    put("._model.safetensors")
    assert find_weights(tmp_path) is None
    other = put("consolidated.safetensors")
    assert find_weights(str(tmp_path)) == other
    put("model-00001-of-00002.safetensors")
    assert find_weights(tmp_path) is None
    model = put("model.safetensors")
    assert find_weights(tmp_path) == model
    variant = put("model.fp16.safetensors.index.json")
    assert find_weights(tmp_path) == variant
    index = put("model.safetensors.index.json")
    assert find_weights(tmp_path) == index


def test_a_folder_that_cannot_be_listed(write: Callable[..., str], tmp_path: Path) -> None:
    assert problem(find_weights, write(b"")) == "is not a folder"
    assert problem(find_weights, str(tmp_path / "none")) == "there is no such folder"
    assert problem(find_weights, "a\0b").endswith("is not the name of a folder")
    os.symlink("loop", tmp_path / "loop")
    assert "cannot be listed: too many levels" in problem(find_weights, str(tmp_path / "loop"))


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.symlink("loop", tmp_path / "loop")
    os.symlink("nowhere", tmp_path / "broken")
    for read in (read_safetensors, read_safetensors_index):
        assert problem(read, str(tmp_path / "pipe")) == "is not a regular file"
        assert problem(read, str(tmp_path)) == "is a folder"
        assert problem(read, "/dev/zero") == "is not a regular file"
        assert "too many levels of symbolic links" in problem(read, str(tmp_path / "loop"))
        assert problem(read, str(tmp_path / "broken")) == "there is no such file"
        assert problem(read, "a\0b").endswith("is not the name of a file")
        assert problem(read, "\ud800").endswith("is not the name of a file")
        assert problem(read, str(tmp_path / ("q" * 300))) == "cannot be read: file name too long"


def test_a_link_to_a_file_is_followed(tmp_path: Path, write: Callable[..., str]) -> None:
    os.symlink(write(packed(ONE, 24)), tmp_path / "link.safetensors")
    assert read_safetensors(str(tmp_path / "link.safetensors"))[0].bytes == 24


def test_a_file_name_cannot_command_a_terminal(tmp_path: Path) -> None:
    path = str(tmp_path / "\x1b[2J.safetensors")
    with pytest.raises(FileError, match=r"\\x1b\[2J\.safetensors': there is no such file") as caught:
        read_safetensors(path)
    assert caught.value.message.isprintable()


def test_heads_of_files(write: Callable[..., str]) -> None:
    path = write(b"0123456789")
    assert read_head(path, 4) == (b"0123", 10)
    assert read_head(path, 99) == (b"0123456789", 10)
    assert read_head(write(b""), 4) == (b"", 0)
    with open_regular(write(b"0123456789")) as file:
        assert read_fully(file, 4) == b"0123"
        assert read_fully(file, 99) == b"456789"
        with pytest.raises(FileError, match="cannot be read: input/output error"), open_regular(path):
            raise OSError(5, "Input/output error")
    assert file.closed


@pytest.mark.parametrize(
    "value",
    [
        "q" * 10**6,
        "\x1b" * 60,
        "é" * 60,
        [1] * 10**6,
        [["é\x1b"]],
        10**5000,
        {"a": {"b": {}}},
        None,
        1.5,
        b"\xff\x1b",
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_shown_short_and_plain(value: object) -> None:
    word = shown(value)
    assert len(word) <= 60
    assert word.isascii()
    assert word.isprintable()
