"""The errors that memcalc raises on purpose: each says what is wrong and what would do."""

from __future__ import annotations

from collections.abc import Iterable


class MemcalcError(Exception):
    """Base of every error meant for the user.

    `message` says what is wrong, `hint` what would do. `exit_code` is the status of the command
    line: 2 for a wrong word or number, 3 for a file that cannot be used.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(MemcalcError):
    """An unknown option, unit, preset or an impossible combination of them."""


class FileError(MemcalcError):
    """A file that cannot be read, parsed or written; `problems` lists all that is wrong in it."""

    exit_code = 3

    def __init__(self, message: str, hint: str | None = None, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.problems = problems


class ReaderGoneError(Exception):
    """Whoever read the output has closed it, as `head` does: there is nobody left to tell."""


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The question that names what is nearest to `word`, or None where nothing is near.

    >>> did_you_mean("h10", ["h100-pcie", "h100-sxm", "b200"])
    "did you mean 'h100-sxm' or 'h100-pcie'?"
    """
    # Imported here: only an error needs it.
    from difflib import get_close_matches

    names = list(known)
    near = get_close_matches(word.lower(), names, n=3, cutoff=0.6)
    # The beginning of a name: the shortest such names are nearest.
    begun = sorted((name for name in names if word and name.startswith(word.lower())), key=len)
    near = near or begun[:3]
    return f"did you mean {' or '.join(repr(name) for name in near)}?" if near else None
