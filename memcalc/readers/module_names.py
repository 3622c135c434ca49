"""Lists of modules in quantisation configs: whole names, parts of names, wildcards and regular expressions.

Patterns come from files, so they run on a matcher without backtracking whose steps are counted: no pattern
takes longer than its length times that of the name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import NamedTuple

from memcalc.errors import FileError
from memcalc.readers.matrices import Matrix
from memcalc.readers.regular import shown

#: Bounds of what configs list, by far.
MOST_PATTERNS = 10_000
#: Steps that all patterns of a config may take together: about half a second.
MOST_STEPS = 2_000_000


class _RefusedError(ValueError):
    """A pattern that is not of the kind that configs use, with the reason."""


class Piece(NamedTuple):
    """A step of a pattern: a text, one letter, one of several sequences of steps, or a place in the name.

    Places are its end, the edge of a word, and what is followed by one of `choices` (`others`: by none of them).

    `text` holds the letters too; `others` stands for all letters but these. A step is taken at least `least`
    times, once at most unless `many`.
    """

    kind: str  # text | letter | group | end | edge | ahead
    text: str = ""
    others: bool = False
    choices: tuple[tuple[Piece, ...], ...] = ()
    least: int = 1
    many: bool = False


_DIGITS = "0123456789"
_WORD = _DIGITS + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
_LETTERS = frozenset(_WORD)
_ANY = Piece("letter", others=True)
_ANYTHING = _ANY._replace(least=0, many=True)
#: Groups in groups that are followed; configs in use have two.
_DEEPEST = 4


class _Parser:
    """A regular expression of the usual kind as steps: letters, classes, groups of alternatives, *, + and ?.

    `loose`: as Transformers' lists are meant, in which a dot is a dot and a star alone is anything.

    >>> _Parser("a|b").steps()[0].kind
    'group'
    """

    def __init__(self, text: str, *, loose: bool = False) -> None:
        self.text, self.loose, self.at = text, loose, 0

    def steps(self) -> tuple[Piece, ...]:
        """The whole expression."""
        choices = self._choices(0)
        if self.at < len(self.text):
            raise _RefusedError("has a bracket too many")
        return choices[0] if len(choices) == 1 else (Piece("group", choices=choices),)

    def _choices(self, depth: int) -> tuple[tuple[Piece, ...], ...]:
        if depth > _DEEPEST:
            raise _RefusedError("has too many brackets in brackets")
        found: list[list[Piece]] = [[]]
        while self.at < len(self.text) and self.text[self.at] != ")":
            if self.text[self.at] == "|":
                self.at += 1
                found.append([])
                continue
            piece, last = self._piece(depth), found[-1][-1:]
            if piece.kind == "text" and last and last[0].kind == "text" and _once(piece) and _once(last[0]):
                found[-1][-1] = last[0]._replace(text=last[0].text + piece.text)
            else:
                found[-1].append(piece)
        return tuple(tuple(one) for one in found)

    def _piece(self, depth: int) -> Piece:
        piece = self._one(depth)
        mark = self.text[self.at : self.at + 1]
        if mark == "{":
            raise _RefusedError("counts how often")
        if mark not in ("*", "+", "?") or (self.loose and piece.kind == "text" and mark == "*"):
            return piece
        self.at += 1
        # A question mark behind it tells how to search, not what is found.
        self.at += self.text[self.at : self.at + 1] == "?"
        return piece._replace(least=int(mark == "+"), many=mark != "?")

    def _one(self, depth: int) -> Piece:
        letter = self.text[self.at]
        self.at += 1
        if letter == "(":
            return self._group(depth)
        if letter == "[":
            return self._class()
        if letter == "\\":
            return self._escaped()
        if letter == ".":
            dot = self.loose and self.text[self.at : self.at + 1] not in ("*", "+")
            return Piece("text", ".") if dot else _ANY
        if letter == "*" and self.loose:
            return _ANYTHING
        if letter == "^" and self.at == 1:
            return Piece("group", choices=((),))
        if letter == "$":
            return Piece("end")
        if letter in "*+?{}^":
            raise _RefusedError(f"has a {letter} out of place")
        return Piece("text", letter)

    def _group(self, depth: int) -> Piece:
        opening = self.text[self.at : self.at + 2]
        known = ("?:",) if self.loose else ("?:", "?=", "?!")
        if opening in known:
            self.at += 2
        elif opening.startswith("?"):
            raise _RefusedError("has a mark behind a bracket that is not known here")
        choices = self._choices(depth + 1)
        if self.at >= len(self.text):
            raise _RefusedError("has an open bracket")
        self.at += 1
        if opening in ("?=", "?!"):
            return Piece("ahead", others=opening == "?!", choices=choices)
        return Piece("group", choices=choices)

    def _escaped(self) -> Piece:
        letter = self.text[self.at : self.at + 1]
        self.at += 1
        if letter in ("d", "w", "D", "W"):
            return Piece("letter", _DIGITS if letter in "dD" else _WORD, letter in "DW")
        if letter == "b":
            return Piece("edge")
        if not letter or letter.isalnum():
            raise _RefusedError("has a backslash that is not known here")
        return Piece("text", letter)

    def _class(self) -> Piece:
        others = self.text.startswith("^", self.at)
        end = self.text.find("]", self.at + others + 1)
        if end < 0:
            raise _RefusedError("has an open bracket")
        inside, self.at = self.text[self.at + others : end], end + 1
        if inside.endswith("\\"):
            raise _RefusedError("has a bracket in a class")
        inside = inside.replace("\\d", "0-9").replace("\\w", "a-zA-Z0-9_").replace("\\", "")
        return Piece("letter", _spread(inside), others)


def _once(piece: Piece) -> bool:
    return piece.least == 1 and not piece.many


def _spread(text: str) -> str:
    """The letters of a class, with ranges written out.

    >>> _spread("a-d_")
    'abcd_'
    """
    found, at = [], 0
    while at < len(text):
        if text[at + 1 : at + 2] == "-" and at + 2 < len(text):
            first, last = ord(text[at]), ord(text[at + 2])
            if not first <= last < 128:
                raise _RefusedError("has a range that is none")
            found.append("".join(map(chr, range(first, last + 1))))
            at += 3
        else:
            found.append(text[at])
            at += 1
    return "".join(found)


def _glob(text: str) -> tuple[Piece, ...]:
    """A wildcard of `fnmatch` as steps."""
    found: list[Piece] = []
    at = 0
    while at < len(text):
        letter, end = text[at], text.find("]", at + 2)
        if letter == "[" and end > 0:
            others = text[at + 1] in "!^"
            found.append(Piece("letter", _spread(text[at + 1 + others : end]), others))
            at = end
        elif letter in "*?":
            found.append(_ANYTHING if letter == "*" else _ANY)
        elif found and found[-1].kind == "text":
            found[-1] = found[-1]._replace(text=found[-1].text + letter)
        else:
            found.append(Piece("text", letter))
        at += 1
    return (*found, Piece("end"))


class Meter:
    """How many steps patterns may still take."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Take some; refuses when there are none left."""
        self.left -= steps
        if self.left < 0:
            raise _RefusedError("takes too long with the others")


def reach(pieces: Sequence[Piece], name: str, starts: set[int], meter: Meter) -> set[int]:
    """Where in `name` the pieces may end that begin at one of `starts`: all ways at once, so none is tried twice.

    >>> reach(_Parser(".*b+").steps(), "abab", {0}, Meter(100))
    {2, 4}
    """
    at = starts
    for number, piece in enumerate(pieces):
        if not at:
            break
        meter.spend(1 + len(at))
        if piece == _ANYTHING:
            after = pieces[number + 1] if number + 1 < len(pieces) else None
            if after and after.kind == "text" and _once(after):
                # Where the text behind it stands is all that matters.
                at = _finds(name, after.text, min(at))
            else:
                at = set(range(min(at), len(name) + 1))
        elif piece.many:
            at = _many(piece, name, at, meter)
        else:
            at = _step(piece, name, at, meter) | (set() if piece.least else at)
    return at


def _finds(name: str, text: str, start: int) -> set[int]:
    found = set()
    at = name.find(text, start)
    while at >= 0:
        found.add(at)
        at = name.find(text, at + 1)
    return found


def _step(piece: Piece, name: str, at: set[int], meter: Meter) -> set[int]:
    if piece.kind == "text":
        return {p + len(piece.text) for p in at if name.startswith(piece.text, p)}
    if piece.kind == "letter":
        return {p + 1 for p in at if p < len(name) and (name[p] in piece.text) != piece.others}
    if piece.kind == "end":
        return at & {len(name)}
    if piece.kind == "edge":
        return {p for p in at if (name[p - 1 : p] in _LETTERS) != (name[p : p + 1] in _LETTERS)}
    if piece.kind == "ahead":
        found = {p for p in at if any(reach(choice, name, {p}, meter) for choice in piece.choices)}
        return at - found if piece.others else found
    return {p for choice in piece.choices for p in reach(choice, name, at, meter)}


def _many(piece: Piece, name: str, at: set[int], meter: Meter) -> set[int]:
    found = set() if piece.least else set(at)
    new = _step(piece, name, at, meter)
    while new - found:
        meter.spend(len(new))
        fresh = new - found
        found |= fresh
        new = _step(piece, name, fresh, meter)
    return found


# ----------------------------------------------------------------------------- what a list of names means

#: Words that stand before the layers of the text; other words stand before those of towers.
_TEXT = {"model", "language_model", "text_model", "transformer", "backbone", "decoder", "llm", ""}
#: Words that in lists of parts mean all layers.
_ALL = ("layers", "model", "language_model")
#: A name up to the number of its layer, and the rest; the same behind a star or as a regular expression.
_LAYERED = re.compile(
    r"\^?(?:\.?\*\\?\.?)?((?:[A-Za-z_]+\\?\.)*)(?:layers|blocks|block|h|(mtp))\\?\.(\d{1,6})(\\?\.|(?=\*)|$)(.*)",
    re.DOTALL,
)
_EXPERT = re.compile(r"(.*\bexperts\.)(\d{1,6})((?:\.[^*?\[]*)?)", re.DOTALL)
#: How files spell the layers of the text, those of most files first.
_SPELLED = ("model.layers.", "model.language_model.layers.", "language_model.model.layers.", "layers.",
            "backbone.layers.", "transformer.h.", "model.decoder.layers.")  # fmt: skip
#: Steps that reading one letter of a pattern counts for, asking one list about one matrix, its key of a layer, and
#: either where the list has nothing on the layer.
_READING, _ASKING, _KEY, _PASSING = 5, 20, 4, 2
#: Marks of a pattern in a list, by what reads the list.
_MARKS = {"exact": "", "glob": "*?[", "parts": "*\\^$()[]|+?{}"}


class _Pattern(NamedTuple):
    """Steps, the kind of list, the spellings of names that it is tried with, and the texts that it cannot miss.

    One that is `negative` says what must not follow: it is held to the usual name, in all spellings.
    """

    steps: tuple[Piece, ...]
    kind: str
    prefixes: tuple[str, ...]
    texts: tuple[str, ...]
    negative: bool = False

    def matches(self, name: str, meter: Meter) -> bool:
        """Whether a name is meant; lists of Transformers may begin behind a dot and end before one."""
        meter.spend(1)
        for text in self.texts:
            if text not in name:
                return False
        if self.kind != "parts":
            return bool(reach(self.steps, name, {0}, meter))
        starts = {0} | {at + 1 for at in _finds(name, ".", 0)}
        ends = reach(self.steps, name, starts, meter)
        return any(at in (0, len(name)) or "." in name[at - 1 : at + 1] for at in ends)


class Names:
    """A list of modules as a config has it: whole names or parts of names, wildcards, regular expressions.

    `kind` says who reads it: "exact" compressed-tensors (whole names, or `re:` and an expression that the name
    begins with), "glob" ModelOpt (wildcards of whole names), "parts" Transformers (names, their beginnings
    and endings, stars). Entries are sorted by the layer that they name, so a long list costs no more than a
    short one; entries of other towers than the text are dropped.

    >>> names = Names(["model.layers.1.mlp*"], "glob", 2, FileError)
    >>> [names.copies(index, Matrix(("mlp.up_proj",), "dense", 8, 8)) for index in (0, 1)]
    [0, 1]
    """

    def __init__(
        self,
        entries: Sequence[str],
        kind: str,
        layers: int,
        fail: Callable[[str], FileError],
        meter: Meter | None = None,
    ) -> None:
        self.kind, self.layers, self.fail = kind, layers, fail
        self.plain: dict[int | None, dict[str, set[int] | None]] = {}
        self.patterns: dict[int | None, list[_Pattern]] = {}
        self.meter, self.count = meter or Meter(MOST_STEPS), 0
        self.tells_layers = False
        self._keys: dict[int, Hashable] = {}
        for entry in entries:
            self._add(entry)

    def key(self, index: int) -> Hashable:
        """What a layer's decisions depend on: layers with the same key are decided alike."""
        if None in self.patterns and self._sensitive:
            self._spend(_PASSING)
            return index
        if index not in self.plain and index not in self.patterns:
            self._spend(_PASSING)
            return None
        self._spend(_KEY)
        if index not in self._keys:
            plain = self.plain.get(index, {})
            known = frozenset((name, ids and frozenset(ids)) for name, ids in plain.items())
            self._keys[index] = (known, tuple(self.patterns.get(index, ())))
        return self._keys[index]

    _sensitive = False

    def copies(self, index: int | None, matrix: Matrix) -> int:
        """How many copies of a matrix of that layer are meant: all, some (experts that are named) or none."""
        if not any(key in table for table in (self.plain, self.patterns) for key in (index, None)):
            self._spend(_PASSING)
            return 0
        self._spend(_ASKING)
        try:
            found = self._named(index, matrix)
            return matrix.copies if found < matrix.copies and self._fits(index, matrix) else found
        except _RefusedError:
            raise self.fail("has more patterns than can be tried") from None

    def _spend(self, steps: int) -> None:
        try:
            self.meter.spend(steps)
        except _RefusedError:
            raise self.fail("has more patterns than can be tried") from None

    def _named(self, index: int | None, matrix: Matrix) -> int:
        """How many copies are meant by their whole names, or by parts of them."""
        best = 0
        tables = [self.plain[key] for key in {index, None} if key in self.plain]
        if index is not None and index >= self.layers and "mtp" in self.plain.get(None, ()):
            return matrix.copies
        for table in tables:
            for name in matrix.names:
                for part in (name,) if self.kind == "exact" else _parts(name):
                    if part in table:
                        ids = table[part]
                        if ids is None:
                            return matrix.copies
                        best = max(best, sum(1 for one in ids if one < matrix.copies))
        return best

    def _fits(self, index: int | None, matrix: Matrix) -> bool:
        """Whether a pattern means a matrix: one for its layer, or one for all."""
        for pattern in self.patterns.get(index, ()) if index is not None else ():
            names = matrix.names[:1] if pattern.negative else matrix.names
            if any(pattern.matches(name, self.meter) for name in names):
                return True
        for pattern in self.patterns.get(None, ()):
            names = matrix.names[:1] if pattern.negative else matrix.names
            tried = (
                pattern.matches(prefix + name, self.meter)
                for prefix in self._prefixes(pattern, index)
                for name in names
            )
            if all(tried) if pattern.negative else any(tried):
                return True
        return False

    def _prefixes(self, pattern: _Pattern, index: int | None) -> list[str]:
        if index is None:
            return ["", "model.", "language_model."]
        if index >= self.layers:
            number = index - self.layers
            return [f"mtp.layers.{number}.", f"model.layers.{index}.", f"mtp.{number}."]
        return [f"{prefix}{index}." for prefix in pattern.prefixes]

    def _add(self, entry: str) -> None:
        expression = entry.startswith("re:")
        kind, text = ("re", entry[3:]) if expression else (self.kind, entry)
        plain = not expression and not any(mark in text for mark in _MARKS[kind])
        found = _LAYERED.fullmatch(text)
        if found is None or (kind == "re" and (found[4] == "" or found[5][:1] in ("*", "+", "?", "{"))):
            while plain and text.partition(".")[0] in _TEXT and "." in text:
                text = text.partition(".")[2]
            if plain and kind == "parts" and text in _ALL:
                text = ""
            self._keep(None, text, kind, plain=plain)
            return
        before, mtp, digits, rest = found[1].replace("\\", ""), found[2], found[3], found[5]
        words = set(before.split("."))
        if not words <= _TEXT | {"mtp"}:
            return
        first = self.layers if mtp or "mtp" in words else 0
        self.tells_layers = True
        numbers = [int(digits)]
        if found[4] == "" and rest:
            if plain:
                return  # a star is but a letter here
            # Layer 1 and a star mean 10 to 19 too.
            numbers = [n for n in range(self.layers) if str(n).startswith(digits)]
        for number in numbers:
            self._keep(first + number, rest, kind, plain=plain)

    def _keep(self, index: int | None, text: str, kind: str, *, plain: bool) -> None:
        if plain:
            table = self.plain.setdefault(index, {})
            found = _EXPERT.fullmatch(text)
            name = f"{found[1]}0{found[3]}" if found else text
            ids = table.setdefault(name, set() if found else None)
            if ids is not None and found:
                ids.add(int(found[2]))
            elif not found:
                table[name] = None
            return
        self.count += 1
        if self.count > MOST_PATTERNS:
            raise self.fail(f"has more than {MOST_PATTERNS} patterns")
        try:
            self.meter.spend(_READING * len(text))
            steps = _glob(text) if kind == "glob" else _Parser(text, loose=kind == "parts").steps()
        except _RefusedError as refused:
            raise self.fail(f"{shown(text)} {refused}, and is not a pattern of the usual kind") from None
        prefixes = _spellings(steps, kind)
        if index is None and prefixes:
            self._sensitive = self._sensitive or _tells_numbers(text)
            self.tells_layers = self.tells_layers or self._sensitive
        texts = tuple(piece.text for piece in steps if piece.kind == "text" and _once(piece))
        negative = kind == "re" and "(?!" in text
        self.patterns.setdefault(index, []).append(_Pattern(steps, kind, prefixes, texts, negative))


def _spellings(steps: tuple[Piece, ...], kind: str) -> tuple[str, ...]:
    """The prefixes of layers that a pattern may begin with; behind a star two of them hold all others."""
    first = steps[0] if steps else _ANYTHING
    if first == _ANYTHING:
        return _SPELLED[1:3]
    if first.kind != "text" or not _once(first) or kind == "parts":
        return _SPELLED[:3]
    return tuple(p for p in _SPELLED if p.startswith(first.text) or first.text.startswith(p))


def _tells_numbers(text: str) -> bool:
    """Whether a pattern may mean some numbers and not others."""
    rest = re.sub(r"\\d[+*]|\[0-9\][+*]", "", text)
    return bool(re.search(r"[0-9\[?]|\\d|\.\.", rest))


@lru_cache(maxsize=4096)
def _parts(name: str) -> tuple[str, ...]:
    """All runs of words between the dots of a name, and the empty one, which stands for the layer.

    >>> _parts("mlp.gate")
    ('', 'mlp', 'mlp.gate', 'gate')
    """
    words = name.split(".")
    spans = [(i, j) for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
    return ("", *(".".join(words[i:j]) for i, j in spans))
