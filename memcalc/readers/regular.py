"""Files opened safely, and their words shown safely."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from reprlib import Repr
from typing import BinaryIO

from memcalc.errors import FileError, did_you_mean

Path = str | os.PathLike[str]

_SHOWN = 60
#: So many entries of a folder are looked at for a name that is near.
_MOST_NEIGHBOURS = 1_000
_SHORT = Repr()
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 20


def shown(text: object) -> str:
    r"""A value from a file for a message: short, and harmless to a terminal.

    >>> shown("a\x1b[2J"), len(shown("a" * 100))
    ("'a\\x1b[2J'", 60)
    """
    # Cut before it is escaped: a text may have megabytes, a list millions of entries or levels.
    try:
        word = ascii(text[:_SHOWN]) if isinstance(text, str) else _SHORT.repr(text)
    except ValueError:
        # A whole number of more digits than Python writes.
        word = "a huge number"
    if not word.isascii():
        word = ascii(word)
    # A text that was cut has its quotes besides, so it is cut again and never looks whole.
    return word if len(word) <= _SHOWN else word[: _SHOWN - 3] + "..."


def file_name(path: Path) -> str:
    r"""The name of a file for a message, as it was given unless a terminal could take it amiss.

    >>> file_name("models/tiny.gguf"), file_name("a\x1b[2J.gguf")
    ('models/tiny.gguf', "'a\\x1b[2J.gguf'")
    """
    name = os.fspath(path)
    return name if name.isprintable() else ascii(name)


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """A regular file, open to be read without a buffer; never a folder, pipe or device.

    FileError where it cannot be opened, and where reading it fails inside the `with`.

    >>> with open_regular(__file__) as file:
    ...     file.read(3)
    b'\"\"\"'
    >>> with open_regular(os.path.dirname(__file__)) as file:  # doctest: +ELLIPSIS
    ...     pass
    Traceback (most recent call last):
    ...
    memcalc.errors.FileError: ...readers: is a folder
    """
    name = file_name(path)
    try:
        # Asked before it is opened: opening a device may do something, opening a pipe waits.
        _refuse_irregular(os.stat(path).st_mode, name)
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
    except OSError as error:
        raise _unreadable(error, path) from None
    except ValueError:
        # A zero byte, or what no file name can be encoded from.
        raise FileError(f"{name}: is not the name of a file") from None
    try:
        _refuse_irregular(os.fstat(descriptor).st_mode, name)
    except BaseException:
        os.close(descriptor)
        raise
    try:
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            yield file
    except OSError as error:
        raise _unreadable(error, path) from None


def read_fully(file: BinaryIO, count: int) -> bytes:
    """The next `count` bytes of a file without a buffer; fewer only where it ends.

    >>> with open_regular(__file__) as file:
    ...     len(read_fully(file, 10)), len(read_fully(file, 0))
    (10, 0)
    """
    content = file.read(count) if count else b""
    while len(content) < count:
        more = file.read(count - len(content))
        if not more:
            break
        content += more
    return content


def read_head(path: Path, most: int) -> tuple[bytes, int]:
    """The first bytes of a regular file, at most `most`, and its size in bytes; FileError where it has none.

    >>> head, size = read_head(__file__, 8)
    >>> len(head), size == os.stat(__file__).st_size
    (8, True)
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        return read_fully(file, min(most, size)), size


def _neighbour(path: str) -> str | None:
    """A hint with the file of that ending in the same folder whose name is nearest."""
    folder, word = os.path.split(path)
    ending = os.path.splitext(word)[1]
    try:
        with os.scandir(folder or ".") as entries:
            names = [e.name for e in islice(entries, _MOST_NEIGHBOURS) if e.name.endswith(ending)]
    except (OSError, ValueError):
        return None
    return did_you_mean(word[:255], [name for name in names if name.isprintable()])


def _refuse_irregular(mode: int, name: str) -> None:
    if stat.S_ISDIR(mode):
        raise FileError(f"{name}: is a folder", "name a file in it")
    if not stat.S_ISREG(mode):
        raise FileError(f"{name}: is not a regular file", "write it to a file first")


def _unreadable(error: OSError, path: Path) -> FileError:
    name = file_name(path)
    if isinstance(error, FileNotFoundError):
        return FileError(f"{name}: there is no such file", _neighbour(os.fspath(path)))
    return FileError(f"{name}: cannot be read: {(error.strerror or type(error).__name__).lower()}")
