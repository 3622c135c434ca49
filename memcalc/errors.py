"""The errors that memcalc raises on purpose: each says what is wrong and what would do."""

from __future__ import annotations


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

    def __init__(
        self, message: str, hint: str | None = None, problems: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, hint)
        self.problems = problems


def did_you_mean(word: str, known: object) -> str | None:
    """The known name nearest to `word`, or None where nothing is near.

    >>> did_you_mean("h10", ["h100-sxm", "b200"])
    'h100-sxm'
    """
    # Imported here: only an error needs it.
    from difflib import get_close_matches

    names = [str(name) for name in known]  # type: ignore[attr-defined]
    near = get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    if near:
        return near[0]
    starting = sorted(name for name in names if word and name.startswith(word.lower()))
    return starting[0] if starting else None
