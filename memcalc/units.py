"""Text to numbers in base units and back: tokens, bytes, rates, FLOP/s, seconds, watts, dollars.

SI and IEC prefixes, bits and bytes are kept strictly apart: `80GB` is 80e9 bytes, `80GiB` is
80 * 2**30, `400Gb/s` is 50e9 bytes per second. What is ambiguous is refused with a hint.
"""

from __future__ import annotations

import re

from memcalc.errors import UsageError

_SI = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_SI_SMALL = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9, "p": 1e-12}
_IEC = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_NUMBER = r"\s*([0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)\s*"
#: Beyond this no quantity of this field is meant: it catches slips and hostile input.
LARGEST = 1e24
#: Nor does any number take so many characters.
LONGEST = 60


def _split(text: str, what: str, example: str) -> tuple[float, str]:
    if len(text) > LONGEST:
        raise UsageError(f"{what}: {text[:20]!r}... is too long for a number", f"write it like {example}")
    if text.strip().startswith("-"):
        raise UsageError(f"{what}: {text} is negative", f"write it like {example}")
    match = re.fullmatch(_NUMBER + r"(\S*)\s*", text)
    if not match:
        raise UsageError(f"{what}: {text!r} is not a number with a unit", f"write it like {example}")
    number = float(match[1].replace("_", ""))
    if not number <= LARGEST:
        raise UsageError(f"{what}: {text!r} is beyond any size in use", f"write it like {example}")
    return number, match[2]


def _whole(value: float, text: str, what: str, example: str) -> int:
    if value != int(value):
        raise UsageError(f"{what}: {text!r} is not a whole number", f"write it like {example}")
    return int(value)


def parse_count(text: str | int, what: str = "number", *, least: int = 1) -> int:
    """A plain whole number of at least `least`.

    >>> parse_count("32")
    32
    """
    value = _whole(*_plain(text, what), what, "8")
    if value < least:
        raise UsageError(f"{what}: {text} is too small", f"it must be at least {least}")
    if value > 10**9:
        raise UsageError(f"{what}: {text} is beyond any size in use", "it must be at most 1e9")
    return value


def _plain(text: str | int, what: str) -> tuple[float, str]:
    number, unit = _split(str(text), what, "8")
    if unit:
        raise UsageError(f"{what}: {text!r} has a unit that does not belong", "write it like 8")
    return number, str(text)


def parse_tokens(text: str | int, what: str = "tokens", *, least: int = 1) -> int:
    """Tokens; `k` is 1024 and `M` 1048576, as model makers use them.

    >>> parse_tokens("128k"), parse_tokens("1M"), parse_tokens("8192")
    (131072, 1048576, 8192)
    """
    number, unit = _split(str(text), what, "8192, 128k or 1M")
    factor = {"": 1, "k": 1024, "K": 1024, "M": 1024**2, "m": 1024**2}.get(unit)
    if factor is None:
        raise UsageError(f"{what}: {text!r} is not a count of tokens", "write it like 8192, 128k or 1M")
    value = _whole(number * factor, str(text), what, "8192, 128k or 1M")
    if value < least:
        raise UsageError(f"{what}: {text} is too small", f"it must be at least {least}")
    if value > 10**12:
        raise UsageError(f"{what}: {text} is beyond any size in use", "it must be at most 1e12 tokens")
    return value


def format_tokens(tokens: int) -> str:
    """The shortest text that `parse_tokens` reads back to the same number.

    >>> format_tokens(131072), format_tokens(8000)
    ('128k', '8000')
    """
    for unit, factor in (("M", 1024**2), ("k", 1024)):
        if tokens >= factor and tokens % factor == 0:
            return f"{tokens // factor}{unit}"
    return str(tokens)


def parse_parameters(text: str, what: str = "parameters") -> int:
    """Parameters; `b` is 10**9 and `t` 10**12, never powers of two.

    >>> parse_parameters("8b"), parse_parameters("1.8t")
    (8000000000, 1800000000000)
    """
    number, unit = _split(text, what, "8b or 1.8t")
    factor = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12, "": 1}.get(unit.lower())
    if factor is None:
        raise UsageError(f"{what}: {text!r} is not a parameter count", "write it like 8b or 1.8t")
    return round(number * factor)


def parse_bytes(text: str, what: str = "bytes") -> int:
    """Bytes, SI or IEC. A bare number is bytes.

    >>> parse_bytes("80GB"), parse_bytes("80GiB")
    (80000000000, 85899345920)
    """
    number, unit = _split(text, what, "80GB or 80GiB")
    return round(number * _byte_factor(unit, text, what, "80GB or 80GiB"))


def _byte_factor(unit: str, text: str, what: str, example: str) -> float:
    if unit == "":
        return 1
    if unit.endswith("B"):
        prefix = unit[:-1]
        if prefix in _IEC:
            return _IEC[prefix]
        if prefix in _SI:
            return _SI[prefix]
    if unit.endswith("b") or unit in _SI or unit in _IEC:
        hint = f"say bytes or bits, SI or IEC: write it like {example}"
        raise UsageError(f"{what}: the unit of {text!r} is ambiguous", hint)
    raise UsageError(f"{what}: {text!r} has an unknown unit", f"write it like {example}")


def parse_byte_rate(text: str, what: str = "rate") -> float:
    """Bytes per second; `b` is bits, `B` bytes. A bare number is bytes per second.

    >>> parse_byte_rate("4.8TB/s"), parse_byte_rate("400Gb/s")
    (4800000000000.0, 50000000000.0)
    """
    example = "4.8TB/s or 400Gb/s"
    number, unit = _split(text, what, example)
    if unit == "":
        return number
    if not unit.endswith("/s"):
        raise UsageError(f"{what}: {text!r} is not a rate", f"write it like {example}")
    unit = unit[:-2]
    if unit.endswith("b") and (unit[:-1] in _SI or unit[:-1] in _IEC):
        prefix = unit[:-1]
        return number * (_IEC[prefix] if prefix in _IEC else _SI[prefix]) / 8
    return number * _byte_factor(unit, text, what, example)


def parse_flop_rate(text: str, what: str = "compute") -> float:
    """FLOP per second (or integer operations per second). A bare number is FLOP/s.

    >>> parse_flop_rate("989TFLOP/s")
    989000000000000.0
    """
    example = "989TFLOP/s"
    number, unit = _split(text, what, example)
    if unit == "":
        return number
    match = re.fullmatch(r"([kKMGTPE]?)(FLOPS|FLOPs|FLOP/s|OPS|OP/s)", unit)
    if not match:
        raise UsageError(f"{what}: {text!r} is not a compute rate", f"write it like {example}")
    return number * _SI[match[1]]


def parse_seconds(text: str, what: str = "time") -> float:
    """Seconds. A bare number is seconds.

    >>> parse_seconds("8us"), parse_seconds("3s"), parse_seconds("2min")
    (8e-06, 3.0, 120.0)
    """
    number, unit = _split(text, what, "3s, 20ms or 8us")
    factors = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0}
    if unit in factors:
        return number * factors[unit]
    if unit.endswith("s") and unit[:-1] in _SI_SMALL:
        return number * _SI_SMALL[unit[:-1]]
    raise UsageError(f"{what}: {text!r} is not a time", "write it like 3s, 20ms or 8us")


def parse_watts(text: str, what: str = "power") -> float:
    """Watts. A bare number is watts.

    >>> parse_watts("700W"), parse_watts("1.4kW")
    (700.0, 1400.0)
    """
    number, unit = _split(text, what, "700W or 1.4kW")
    if unit == "" or (unit.endswith("W") and unit[:-1] in _SI):
        return number * _SI[unit[:-1]]
    raise UsageError(f"{what}: {text!r} is not a power", "write it like 700W or 1.4kW")


def parse_dollars(text: str, what: str = "price", per: str = "") -> float:
    """US dollars, bare or with the unit `USD` and the period or quantity that `per` names.

    >>> parse_dollars("2.5USD/h", per="/h"), parse_dollars("28000")
    (2.5, 28000.0)
    """
    example = f"2.5 or 2.5USD{per}"
    number, unit = _split(text.strip().removeprefix("$"), what, example)
    if unit in ("", "USD", "USD" + per, per):
        return number
    raise UsageError(f"{what}: {text!r} is not a price in USD{per}", f"write it like {example}")


def parse_fraction(text: str, what: str = "fraction", *, least: float = 0.0, most: float = 1.0) -> float:
    """A plain number between `least` and `most`; `85%` is 0.85.

    >>> parse_fraction("0.9"), parse_fraction("85%")
    (0.9, 0.85)
    """
    number, unit = _split(text, what, "0.9 or 90%")
    if unit not in ("", "%"):
        raise UsageError(f"{what}: {text!r} is not a fraction", "write it like 0.9 or 90%")
    value = number / 100 if unit == "%" else number
    if not least <= value <= most:
        hint = f"it must lie between {least:g} and {most:g}"
        raise UsageError(f"{what}: {text} is out of range", hint)
    return value


def parse_number(text: str, what: str = "number", *, least: float = 0.0, most: float = LARGEST) -> float:
    """A plain number between `least` and `most`.

    >>> parse_number("0.11")
    0.11
    """
    number, unit = _split(text, what, "0.11")
    if unit:
        raise UsageError(f"{what}: {text!r} has a unit that does not belong", "write a plain number")
    if not least <= number <= most:
        raise UsageError(f"{what}: {text} is out of range", f"it must lie between {least:g} and {most:g}")
    return number


def format_bytes(value: float) -> str:
    """Bytes for people, in SI units with three to four digits.

    >>> format_bytes(16060522496), format_bytes(141107412992), format_bytes(0)
    ('16.1 GB', '141.1 GB', '0 GB')
    """
    if value == 0:
        return "0 GB"
    for unit, factor in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        # Gigabytes reach to 10,000, so that rows of one table keep one unit.
        if value >= factor * (10 if unit == "TB" else 1) * 0.9995:
            return f"{value / factor:,.1f} {unit}"
    return f"{value:,.0f} B"


def format_seconds(value: float) -> str:
    """A time for people.

    >>> format_seconds(0.0164), format_seconds(3.9), format_seconds(2.5e-5)
    ('16.4 ms', '3.90 s', '25.0 µs')
    """
    if value >= 1:
        return f"{value:,.2f} s" if value < 100 else f"{value:,.0f} s"
    if value >= 1e-3:
        return f"{value * 1e3:.1f} ms" if value >= 1e-2 else f"{value * 1e3:.2f} ms"
    return f"{value * 1e6:.1f} µs"
