"""Running the command line inside the test process, and reading its JSON strictly."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, NoReturn

import pytest

from memcalc.cli.app import run


class Ran(NamedTuple):
    """What a command line left: exit status, standard output, standard error."""

    status: int
    out: str
    err: str


def run_line(*words: str) -> Ran:
    """Run a command line of these words, each as it stands."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(list(words))
    return Ran(status, out.getvalue(), err.getvalue())


def strict(text: str) -> Any:
    """The value of a JSON text; NaN and Infinity, which json.loads would take, fail."""

    def refuse(word: str) -> NoReturn:
        raise AssertionError(f"{word} in JSON")

    return json.loads(text, parse_constant=refuse)


@cache
def _answered(words: tuple[str, ...]) -> tuple[int, str]:
    done = run_line(*words, "--json")
    assert done.err == ""
    return done.status, done.out


def answer(command: str, *texts: str) -> Any:
    """The JSON of a command line that can be computed; its status is held against `fits`.

    Texts are split at blanks. The same command line is run once in a session.
    """
    status, out = _answered((command, *" ".join(texts).split()))
    found = strict(out)
    fits = found["fits"] if command == "fit" else any(report["fits"] for report in found["results"])
    assert status == (0 if fits else 1)
    return found


@pytest.fixture(scope="session")
def line() -> Callable[..., Ran]:
    """Run a command line; its status, output and errors."""
    return run_line


@pytest.fixture(scope="session")
def fit() -> Callable[..., Any]:
    """The report of `memcalc fit ... --json`."""
    return lambda *texts: answer("fit", *texts)


@pytest.fixture(scope="session")
def compare() -> Callable[..., Any]:
    """The comparison of `memcalc compare ... --json`."""
    return lambda *texts: answer("compare", *texts)
