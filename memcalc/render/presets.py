"""Screens of `memcalc presets`: rows of figures in plain columns, one preset with the source of each figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from memcalc.model import Source, source_of
from memcalc.render.export import to_json, write_out
from memcalc.studies.catalogue import Unknown
from memcalc.units import format_bytes

#: What a preset is, before its figures; a year needs no source.
_FACTS = ("maker", "year", "date", "basis", "status", "execution", "plan", "family", "engine", "chip", "hypothetical",
          "aliases")  # fmt: skip
#: Words that stand elsewhere.
_ELSEWHERE = ("name", "title", "notes", "sources", *_FACTS)
_UP = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_DOWN = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))
_NO_SOURCE = "no source is given"


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    write_out(to_json(value))


def print_text(text: str) -> None:
    """Print text as it is."""
    write_out(text)


def print_rows(rows: Sequence[dict[str, Any]], *, json: bool = False) -> None:
    """Print rows of like keys: as JSON, or in columns under their names."""
    if json:
        print_json(list(rows))
        return
    keys = list(rows[0])
    cells = [[_cell(key, row[key]) for key in keys] for row in rows]
    heads = [_head(key) for key in keys]
    widths = [max(len(line[place]) for line in [heads, *cells]) for place in range(len(keys))]
    numbers = [any(isinstance(row[key], int | float) for row in rows) for key in keys]
    text = ""
    for line in [heads, *cells]:
        padded = (
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, numbers, strict=True)
        )
        text += "  ".join(padded).rstrip() + "\n"
    write_out(text)


def _head(key: str) -> str:
    """The name of a column; figures with a unit of their own in each cell lose it here."""
    for ending, unit in (
        ("_bytes_per_s", " bandwidth"),
        ("_flops_per_s", " peak"),
        ("_bytes", ""),
        ("_w", ""),
    ):
        if key.endswith(ending):
            return key.removesuffix(ending).replace("_", " ") + unit
    return key.replace("_", " ")


def _cell(key: str, value: Any) -> str:
    """A figure with its unit."""
    if value is None:
        return "unknown" if key.endswith(("_bytes", "_per_s", "_w")) else "–"
    if key.endswith("_flops_per_s"):
        return f"{value / 1e12:,.0f} TFLOP/s"
    if key.endswith("_bytes_per_s"):
        return f"{value / 1e12:,.2f} TB/s"
    if key.endswith("_bytes"):
        return format_bytes(value)
    if key.endswith("_w"):
        return f"{value:,.0f} W"
    return f"{value:,}" if isinstance(value, int) else str(value)


class _Line(NamedTuple):
    """A figure and what it rests on, or (without `kind`) words."""

    path: str
    value: str
    kind: str = ""
    source: str = ""
    conflicts: str = ""


def listing(table: Mapping[str, Any], unknown: Sequence[Unknown] = ()) -> str:
    r"""A preset for a reader: what it is, each figure with its source, what is unknown, the notes.

    >>> chip = {"name": "x", "memory": {"hbm": {"capacity_bytes": 96_000_000_000, "home": True}}}
    >>> sources = {"memory.hbm": {"kind": "vendor", "source": "data sheet", "grade": "C", "conflicts": "80 GB"}}
    >>> text = listing({**chip, "sources": sources}, [Unknown("power", "no energy")])
    >>> print(text.replace("\n\n", "\n"), end="")
    x
    memory.hbm.capacity_bytes  96 GB  vendor [C]  of memory.hbm: data sheet
                               conflicts: 80 GB
    memory.hbm.home            yes
    power  unknown: no energy
    """
    name, title = str(table["name"]), str(table.get("title") or "")
    blocks = [f"{title} ({name})\n" if title and title != name else f"{name}\n"]
    facts = [(key.replace("_", " "), _word(table[key])) for key in _FACTS if table.get(key)]
    blocks[0] += _columns([("  " + key, value) for key, value in facts])
    figures = list(_lines(table))
    width = max((len(line.path) for line in figures), default=0)
    value_width = max((len(line.value) for line in figures if line.kind), default=0)
    kind_width = max((len(line.kind) for line in figures), default=0)
    text = ""
    for line in figures:
        shown = f"{line.path:{width}}  {line.value}"
        if line.kind:
            value = f"{line.value:{value_width}}  {line.kind:{kind_width}}"
            shown = f"{line.path:{width}}  {value}  {line.source}"
        text += shown.rstrip() + "\n"
        if line.conflicts:
            text += f"{'':{width}}  conflicts: {line.conflicts}\n"
    blocks.append(text)
    blocks.append(_columns([(figure, f"unknown: {without}") for figure, without in unknown]))
    blocks.append(f"notes: {table['notes']}\n" if table.get("notes") else "")
    return "\n".join(block for block in blocks if block)


def _columns(pairs: Sequence[tuple[str, str]]) -> str:
    width = max((len(key) for key, _ in pairs), default=0)
    return "".join(f"{key:{width}}  {value}\n" for key, value in pairs)


def _word(value: Any) -> str:
    """What is no figure: a word, yes or no, several names."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _lines(table: Mapping[str, Any]) -> Iterator[_Line]:
    """The lines of all figures in the order of the file; what is told by one source is doubted once."""
    sources, told = _sources(table), set()
    for path, value in _walk({key: entry for key, entry in table.items() if key not in _ELSEWHERE}):
        # A system changes figures of its chip; their sources are named as those of a chip.
        names = (path, path.removeprefix("set."))
        source = next((found for name in names if (found := source_of(sources, name))), None)
        # The shape of a model is from where its layers are.
        source = source or (sources.get("layers") if "layers" in table else None)
        own = any(name in sources for name in names)
        if isinstance(value, str | bool) and not own:
            yield _Line(path, _word(value))
            continue
        shown = _word(value) if isinstance(value, str | bool) else figure_text(path, value)
        if source is None:
            yield _Line(path, shown, "–", _NO_SOURCE)
            continue
        group = next((key for key, one in sources.items() if one is source), "")
        said = source.source if own else f"of {group}: {source.source}" if group else source.source
        kind = f"{source.kind} [{source.grade}]" if source.grade else source.kind
        yield _Line(path, shown, kind, said, "" if group in told else source.conflicts)
        told.add(group)


def _sources(table: Mapping[str, Any]) -> dict[str, Source]:
    """The sources of a preset by figure; those of a price scenario are words, and one holds for the rest."""
    given = table.get("sources", {})
    if "usd_per_chip_hour" not in table:
        return {figure: Source(**entry) for figure, entry in given.items()}
    kind = table["kind"]
    chips = {f"usd_per_chip_hour.{chip}": Source(kind, text) for chip, text in given.items()}
    return {"usd_per_chip_hour": Source(kind, table["source"]), **chips}


def _walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths of all that stands in a table; groups of layers are one line each."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _walk(entry, f"{path}.{key}" if path else key)
    elif path == "layers":
        yield path, sum(group["count"] for group in value)
        for index, group in enumerate(value):
            rest = {key: entry for key, entry in group.items() if key != "count"}
            yield f"{path}[{index}]", f"{group['count']} × {_inside(rest)}"
    elif isinstance(value, list | tuple):
        yield path, _word(value)
    else:
        yield path, value


def _inside(group: Mapping[str, Any]) -> str:
    """A group of layers in words: `attention (grouped, heads 32), feed_forward (width 14,336)`."""
    parts = []
    for key, entry in group.items():
        if isinstance(entry, Mapping):
            parts.append(f"{key} ({_inside(entry)})")
        elif isinstance(entry, bool):
            parts.append(key if entry else f"no {key}")
        elif isinstance(entry, int | float):
            parts.append(f"{key} {figure_text(key, entry)}")
        else:
            parts.append(_word(entry) if key in ("kind", "variant") else f"{key} {_word(entry)}")
    return ", ".join(parts)


def figure_text(path: str, value: float) -> str:
    """A figure with the unit that its name or its table asks for.

    >>> figure_text("memory.hbm.bandwidth_bytes_per_s", 3.35e12), figure_text("compute.int8", 1.979e15)
    ('3.35 TB/s', '1.979 POP/s')
    >>> figure_text("layer_floor.per_1024_width_s", 7.35e-7), figure_text("points.hopper", 32)
    ('735 ns', '32')
    """
    table, _, name = path.rpartition(".")
    group = table.rpartition(".")[2]
    if group == "compute":
        return _scaled(value, "OP/s" if name.startswith("int") else "FLOP/s", _UP)
    if group == "flop_j":
        return _scaled(value, "J", _DOWN)
    if group == "usd_per_chip_hour":
        return f"{value:,g} USD/h"
    if group == "checkpoint_bytes" or ("bytes" in name and not name.endswith("_per_s")):
        return _scaled(value, "B", _UP)
    for ending, unit, steps in (("bytes_per_s", "B/s", _UP), ("_j_per_byte", "J/B", _DOWN), ("_s", "s", _DOWN),
                                ("_w", "W", ((1.0, ""),))):  # fmt: skip
        if name.endswith(ending) and not (unit == "s" and value >= 1e3):
            return _scaled(value, unit, steps)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _scaled(value: float, unit: str, steps: Sequence[tuple[float, str]]) -> str:
    """A value in the largest of the units that it reaches, with four digits.

    >>> _scaled(85520809984, "B", _UP), _scaled(0, "s", _DOWN)
    ('85.52 GB', '0 s')
    """
    factor, prefix = next(
        ((size, name) for size, name in sorted(steps, reverse=True) if value >= size * 0.99995),
        (1.0, "") if not value else min(steps),
    )
    number = value / factor
    text = f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"
    return f"{text} {prefix}{unit}"
