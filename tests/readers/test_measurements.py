"""Rows of measurements: what is read, and that a broken one is named while the rest goes on."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memcalc.errors import FileError
from memcalc.measurement import Measurement
from memcalc.readers.measurements import Broken, read_measurements

GOOD = {
    "id": "a", "workflow": "decode", "model": "llama-2-7b", "chip": "rtx-4090", "n_chips": 1, "engine": "llama.cpp",
    "weights": "q4_0", "batch": 1, "context_tokens": 64, "metrics": {"tok_s_user": 150.0}, "unheard_of": [1],
}  # fmt: skip


def rows(tmp_path, *lines):
    file = tmp_path / "rows.jsonl"
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    file.write_bytes(b"\n".join(texts) + b"\n")
    return list(read_measurements(file))


def test_a_row_is_read_and_what_the_schema_lacks_is_ignored(tmp_path):
    [row] = rows(tmp_path, GOOD)
    assert (row.id, row.chip, row.batch, row.metrics) == ("a", "rtx-4090", 1, {"tok_s_user": 150.0})


def test_null_is_as_left_out(tmp_path):
    [row] = rows(tmp_path, {**GOOD, "chip": None, "kv": None, "metrics": {"tok_s_user": 1, "ttft_ms": None}})
    assert row.chip is None
    assert row.metrics == {"tok_s_user": 1}


def test_a_whole_number_may_have_a_point(tmp_path):
    [row] = rows(tmp_path, {**GOOD, "batch": 64.0})
    assert row.batch == 64


def test_empty_lines_are_none(tmp_path):
    assert len(rows(tmp_path, b"", GOOD, b"  ")) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"workflow": "guess"}, "workflow is 'guess', not one of decode"),
        ({"kind": "rumour"}, "kind is 'rumour'"),
        ({"batch": 1.5}, "batch is not a whole number"),
        ({"batch": 0}, "batch is 0, not 1 or more"),
        ({"batch": True}, "batch is not a whole number"),
        ({"n_chips": 10**13}, "n_chips is"),
        ({"model": 7}, "model is not text"),
        ({"core": "yes"}, "core is neither true nor false"),
        ({"metrics": []}, "metrics is not an object"),
        ({"metrics": {"tok_s_user": "fast"}}, "metrics.tok_s_user is not a number"),
        ({"metrics": {"tok_s_user": -1}}, "metrics.tok_s_user is -1"),
        ({"id": ""}, "id is ''"),
    ],
)
def test_a_broken_row_is_named_and_the_rest_goes_on(tmp_path, change, said):
    broken, row = rows(tmp_path, {**GOOD, **change}, {**GOOD, "id": "b"})
    assert isinstance(broken, Broken)
    assert broken.reason.startswith("line 1: ")
    assert said in broken.reason
    assert isinstance(row, Measurement)


@pytest.mark.parametrize("field", ["id", "workflow", "model", "metrics"])
def test_what_a_row_must_have(tmp_path, field):
    [broken] = rows(tmp_path, {k: v for k, v in GOOD.items() if k != field})
    assert f"{field} is missing" in broken.reason


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"7", b"\xff\xfe", b"[" * 100_000, b'{"metrics": {"a": NaN}, "id": "x", "workflow": "decode", "model": "m"}']
)  # fmt: skip
def test_a_line_that_is_no_row(tmp_path, line):
    broken, _ = rows(tmp_path, line, GOOD)
    assert isinstance(broken, Broken)


def test_an_id_twice(tmp_path):
    _, broken = rows(tmp_path, GOOD, GOOD)
    assert "taken by an earlier line" in broken.reason


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_a_file_without_rows(tmp_path, content):
    file = tmp_path / "empty.jsonl"
    file.write_bytes(content)
    with pytest.raises(FileError, match="has no rows"):
        list(read_measurements(file))


def test_no_such_file(tmp_path):
    with pytest.raises(FileError):
        list(read_measurements(tmp_path / "none.jsonl"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "kv"]), inner, max_size=6)
    ),
    max_leaves=12,
)


@given(st.lists(JSON, min_size=1, max_size=4))
def test_whatever_stands_there_is_a_row_or_broken(tmp_path_factory, values):
    file = tmp_path_factory.mktemp("any") / "rows.jsonl"
    file.write_text("\n".join(json.dumps(value) for value in values) + "\n", encoding="utf-8")
    for row in read_measurements(file):
        assert isinstance(row, Measurement | Broken)
