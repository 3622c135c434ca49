"""`memcalc presets new chip`: the few figures of a spec sheet, asked for or given, become a chip preset."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, NamedTuple, Optional

import typer

from memcalc.chip import TIER_TITLES, Chip, LayerFloor, Links, Power, Tier
from memcalc.cli import options as declared
from memcalc.cli.options import Declared, Given
from memcalc.errors import MemcalcError, UsageError
from memcalc.figures import expected_unit, read_figure
from memcalc.model import Source, source_of
from memcalc.readers import presets

HELP = """Write a chip preset of your own from the figures of its spec sheet.

\b
  memcalc presets new chip
  memcalc presets new chip my-chip --like h100-sxm --hbm 96GB --hbm-bandwidth 4TB/s \\
      --bf16 1000TFLOP/s --tdp 600W -o my.toml

What is not given is asked for on standard error and read from standard input, a line an answer; with
--yes nothing is asked. An empty answer leaves a figure unknown: it stays absent, and what needs it says so.
--like decides the efficiency constants, the software, the plan and the floors per layer."""

_DRAM = ("hbm", "gddr", "lpddr", "ddr")
_MATH = ("bf16", "fp8", "fp4", "int8")
OPTIONS = (
    Declared("like", ("--like",), "CHIP", "Known chip it is most like (typical constants).", ("chips",)),
    Declared("maker", ("--maker",), "TEXT", "Its maker."),
    Declared("memory", ("--memory",), "KIND", "Kind of the main memory: hbm gddr lpddr ddr none."),
    *(
        option
        for kind in _DRAM
        for option in (
            Declared(kind, (f"--{kind}",), "BYTES", f"Capacity of the {TIER_TITLES[kind]}, like 96GB."),
            Declared(
                f"{kind}_bandwidth",
                (f"--{kind}-bandwidth",),
                "RATE",
                f"Bandwidth of the {TIER_TITLES[kind]}, like 4TB/s.",
            ),
        )
    ),
    Declared("sram", ("--sram",), "BYTES", "Capacity of the SRAM, like 50MB."),
    Declared("sram_home", ("--sram-home",), "yes|no", "Whether tensors may live in the SRAM (no)."),
    Declared("sram_bandwidth", ("--sram-bandwidth",), "RATE", "Bandwidth of the SRAM, like 80TB/s."),
    *(
        Declared(form, (f"--{form}",), "RATE", f"Dense peak of {form} math, like 1000TFLOP/s.")
        for form in _MATH
    ),
    Declared("link", ("--link",), "RATE", "Bandwidth to other chips, one way, like 450GB/s."),
    Declared("link_chips", ("--link-chips",), "N", "How many chips share those links."),
    Declared("tdp", ("--tdp",), "WATTS", "Rated power, like 700W."),
    Declared("source", ("--source",), "TEXT", "Where the figures come from: a data sheet, an address."),
    Declared("yes", ("-y", "--yes"), "", "Ask nothing: what is not given stays unknown."),
    Declared("force", ("--force",), "", "Overwrite the file if it is there."),
    Declared("file", ("-o",), "FILE", "Where to write it (NAME.toml; '-': the screen)."),
)


class _Bounds(NamedTuple):
    """What a figure of a chip in use lies between: outside it a unit was forgotten."""

    least: float
    most: float


_BOUNDS: Mapping[str, _Bounds] = {
    "capacity_bytes": _Bounds(1e5, 1e15),
    "bandwidth_bytes_per_s": _Bounds(1e6, 1e18),
    "scale_up_bytes_per_s": _Bounds(1e6, 1e18),
    "scale_up_domain_chips": _Bounds(1, 1e5),
    "compute": _Bounds(1e8, 1e21),
    "tdp_w": _Bounds(0.1, 1e6),
}


@declared.takes(Given("kind", "KIND", "What to write: chip."), *OPTIONS)
def new(kind: str, name: str | None, **given: Any) -> None:
    """Ask for what is not given, write the preset, and say what is unknown of it."""
    from memcalc.readers.preset_files import chip_toml
    from memcalc.render import write

    if kind not in ("chip", "chips"):
        raise UsageError(
            f"only a chip can be written from questions, not {kind!r}",
            "models: 'memcalc presets import FILE'; engines: 'memcalc calibrate FILE'",
        )
    if given["file"] == "":
        raise UsageError("-o is empty", "give a file name, or '-' for the screen")
    questions = Questions({**given, "name": name}, ask=not given["yes"])
    name = questions.answer("name", "Name of the chip", _name, needed=True)
    file = given["file"] or f"{name}.toml"
    if file != "-" and os.path.lexists(file) and not given["force"]:
        _refuse_unless_wanted(file, questions)
    chip = _chip(str(name), questions)
    write(chip_toml(chip), file)
    if file != "-":
        _say_what_next(chip, file)


def _with_name(command: Callable[..., Any]) -> None:
    """Put the name of the chip after the kind in the signature that Typer reads."""
    given = inspect.signature(command)
    word = typer.Argument(help="Its name: a-z, 0-9, '.', '_', '-'.", metavar="[NAME]", show_default=False)
    name = inspect.Parameter(
        "name",
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[Optional[str], word],  # noqa: UP045  read at run time
        default=None,
    )
    kind, *rest = given.parameters.values()
    command.__signature__ = given.replace(parameters=[kind, name, *rest])  # type: ignore[attr-defined]
    command.__doc__ = HELP


_with_name(new)


class Questions:
    """Answers by option, else from standard input; what is wrong is asked again on a terminal alone."""

    def __init__(self, given: Mapping[str, Any], *, ask: bool) -> None:
        self.given, self.ask = given, ask
        self.terminal = ask and sys.stdin is not None and sys.stdin.isatty()
        self._begun = False

    def has(self, *names: str) -> bool:
        """Whether any of these answers was given as an option."""
        return any(self.given.get(name) is not None for name in names)

    def answer(
        self, name: str, asks: str, read: Callable[[str], Any], *, needed: bool = False, skip: bool = False
    ) -> Any:
        """An answer, read; None where it is left open. `skip`: taken where given, but not asked for."""
        word = self.given.get(name)
        if word is not None:
            flag = "the name" if name == "name" else "--" + name.replace("_", "-")
            return self._read(str(word).strip(), flag, read, needed=needed)
        if skip or not self.ask:
            return self._read("", asks, read, needed=needed)
        if not self.terminal:
            return self._read(self._line(asks), asks, read, needed=needed)
        while True:
            text = self._line(asks)
            try:
                return self._read(text, "", read, needed=needed)
            except MemcalcError as error:
                self._say(f"{error.message}; {error.hint}" if error.hint else error.message)

    @staticmethod
    def _read(text: str, what: str, read: Callable[[str], Any], *, needed: bool) -> Any:
        """A text, read; a UsageError begins with `what` was read."""
        begins = f"{what}: " if what else ""
        if text:
            try:
                return read(text)
            except UsageError as error:
                raise UsageError(f"{begins}{error.message}", error.hint) from None
        if needed:
            raise UsageError(f"{begins}this must be known", "give it as an option, or answer the question")
        return None

    def _line(self, asks: str) -> str:
        if not self._begun:
            self._begun = True
            self._say("An empty answer leaves a figure unknown. Figures take their unit, like 96GB or 4TB/s.")
        # In a pipe there is no one whose Enter ends the line.
        print(f"{asks}:", end=" " if self.terminal else "\n", file=sys.stderr, flush=True)
        try:
            text = sys.stdin.readline(_LONGEST_LINE) if sys.stdin is not None else ""
        except (UnicodeDecodeError, OSError):
            raise UsageError(f"{asks}: the answer cannot be read", "answer in UTF-8 text") from None
        if not text:
            raise UsageError(
                f"the input ended before this was answered: {asks}",
                "answer every question (an empty line: unknown), or give --yes and options",
            )
        if len(text) == _LONGEST_LINE and not text.endswith("\n"):
            raise UsageError(f"{asks}: the answer is too long", "a line has 1,000 characters at most")
        return text.strip()

    @staticmethod
    def _say(text: str) -> None:
        print("".join(c if c.isprintable() else repr(c)[1:-1] for c in text), file=sys.stderr)


_LONGEST_LINE = 4096


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,79}", text):
        from memcalc.readers.tensors import model_name

        raise UsageError(
            f"{text[:80]!r}: a name is of a-z, 0-9, '.', '_' and '-'", f"like {model_name(text[:80])!r}"
        )
    # Prices are found by the name of a chip: those of another must not be taken for its own.
    if presets.find("chips", text) or presets.find("systems", text):
        raise UsageError(f"{text!r} is a preset already", "give it a name of its own")
    return text


def _words(most: int) -> Callable[[str], str]:
    """Reads text on one line."""

    def read(text: str) -> str:
        if len(text) > most or not text.isprintable():
            raise UsageError("this must be plain text on one line", f"of {most} characters at most")
        return text

    return read


def _like(text: str) -> Chip:
    """A known chip: preset or file of the user's."""
    from memcalc.resolve import find_chip

    return find_chip(text)


def _memory(text: str) -> str:
    if text.lower() not in (*_DRAM, "none"):
        raise UsageError(f"{text[:40]!r} is no kind of memory", "one of hbm gddr lpddr ddr none")
    return text.lower()


def _yes_or_no(text: str) -> bool:
    word = text.lower()
    if word not in ("y", "yes", "true", "n", "no", "false"):
        raise UsageError(f"{text[:40]!r} is neither yes nor no", "write yes or no")
    return word in ("y", "yes", "true")


def _figure(path: str) -> Callable[[str], Any]:
    """Reads a figure in the unit that its name asks for, within what chips in use have."""

    def read(text: str) -> Any:
        try:
            value = read_figure(path, text)
        except UsageError as error:
            raise UsageError(error.message.removeprefix(f"{path}: "), error.hint) from None
        group, _, name = path.rpartition(".")
        least, most = _BOUNDS["compute" if group == "compute" else name]
        if not least <= value <= most:
            off = "less than any chip has" if value < least else "more than any chip has"
            raise UsageError(f"{text!r} is {off}", f"write {expected_unit(path)}")
        return value

    return read


def _refuse_unless_wanted(file: str, questions: Questions) -> None:
    """UsageError where a file is there already, unless whoever sits at the terminal lets it go."""
    if questions.terminal and questions.answer("overwrite", f"{file} is there already: overwrite it (yes, no)",
                                               _yes_or_no):  # fmt: skip
        return
    raise UsageError(f"{file}: is there already", "--force overwrites it, -o FILE writes another")


def _chip(name: str, questions: Questions) -> Chip:
    """The chip of all answers."""
    answer = questions.answer
    like: Chip | None = answer(
        "like",
        "Which known chip is it most like? It decides efficiency constants, software, plan and floors",
        _like,
    )
    maker = answer("maker", "Maker", _words(120))
    memory = _main_memory(questions)
    sram = _sram(questions, like, alone=not memory)
    if sram:
        memory = {"sram": sram, **memory}
    if not any(tier.home for tier in memory.values()):
        raise UsageError(
            "there is no memory that tensors could live in: nothing could be answered",
            "give a main memory like --hbm 96GB, or --sram 500MB --sram-home yes",
        )
    compute = {
        form: peak
        for form in _MATH
        if (peak := answer(form, f"Dense peak in {form}, like 1000TFLOP/s", _figure(f"compute.{form}")))
    }
    link = answer(
        "link", "Bandwidth to other chips, one way, like 450GB/s", _figure("links.scale_up_bytes_per_s")
    )
    links = Links(
        scale_up_bytes_per_s=link,
        scale_up_domain_chips=answer(
            "link_chips",
            "Chips that share these links",
            _figure("links.scale_up_domain_chips"),
            skip=not link,
        )
        or 1,
        scale_up_kind=like.links.scale_up_kind if like else "switched",
    )
    tdp = answer("tdp", "Rated power, like 700W", _figure("power.tdp_w"))
    source = answer("source", "Where these figures come from", _words(900))
    given = Source("vendor", source) if source else Source("estimate", "given without a source")
    groups = [f"memory.{tier}" for tier in memory]
    groups += [
        group for group, known in (("compute", compute), ("links", link), ("power.tdp_w", tdp)) if known
    ]
    chip = Chip(
        name=name,
        title=name,
        maker=maker or "",
        family=like.family if like else "default",
        engine=like.engine if like else "default",
        memory=memory,
        compute=compute,
        links=links,
        power=Power(tdp_w=tdp),
        plan=_plan(memory, like),
        sources=dict.fromkeys(groups, given),
        origin="file",
    )
    return _taken_over(chip, like) if like else chip


def _main_memory(questions: Questions) -> dict[str, Tier]:
    """The chip's own DRAM; several kinds only as options."""
    kinds = [kind for kind in _DRAM if questions.has(kind, f"{kind}_bandwidth")]
    asked = questions.answer(
        "memory", "Main memory: hbm, gddr, lpddr, ddr or none", _memory, skip=bool(kinds)
    )
    if asked == "none" and kinds:
        raise UsageError(f"--memory none and --{kinds[0]} exclude each other", "give one of them")
    if asked not in (None, "none", *kinds):
        kinds.append(asked)
    found = {}
    for kind in kinds:
        title, path = TIER_TITLES[kind], f"memory.{kind}."
        found[kind] = Tier(
            capacity_bytes=questions.answer(
                kind, f"Capacity of the {title}, like 96GB", _figure(path + "capacity_bytes"), needed=True
            ),
            bandwidth_bytes_per_s=questions.answer(
                f"{kind}_bandwidth",
                f"Bandwidth of the {title}, like 4TB/s",
                _figure(path + "bandwidth_bytes_per_s"),
            ),
            home=True,
        )
    return found


def _sram(questions: Questions, like: Chip | None, *, alone: bool) -> Tier | None:
    """The memory on the die; a home by default where it is the only memory, or one in the like chip."""
    figure = _figure("memory.sram.capacity_bytes")
    capacity = questions.answer("sram", "Capacity of the SRAM on the die, like 50MB", figure)
    if capacity is None:
        for name in ("sram_home", "sram_bandwidth"):
            if questions.has(name):
                raise UsageError(f"--{name.replace('_', '-')} without a capacity of the SRAM", "give --sram")
        return None
    kin = like.memory.get("sram") if like else None
    usual = alone or (kin is not None and kin.home)
    word = "yes" if usual else "no"
    home = questions.answer(
        "sram_home", f"May weights and KV cache live in it: yes or no ({word})", _yes_or_no
    )
    home = usual if home is None else home
    return Tier(
        capacity_bytes=capacity,
        bandwidth_bytes_per_s=questions.answer(
            "sram_bandwidth",
            "Bandwidth of the SRAM, like 80TB/s",
            _figure("memory.sram.bandwidth_bytes_per_s"),
        ),
        home=home,
        role="home" if home else "scratchpad" if kin and kin.role == "scratchpad" else "cache",
    )


def _plan(memory: Mapping[str, Tier], like: Chip | None) -> Any:
    """What the chip is built for: that of the like chip, as far as its memory allows."""
    if not ("sram" in memory and memory["sram"].home):
        return "dram"
    if len(memory) == 1:
        return "on-chip"
    return like.plan if like else "weights-on-chip"


def _taken_over(chip: Chip, like: Chip) -> Chip:
    """The chip with what a spec sheet does not say, as the like chip has it; each figure says so."""
    sources = dict(chip.sources)

    def note(figure: str, what: str) -> None:
        sources[figure] = Source("estimate", f"as {like.name}: {what}", grade="D")

    memory = {}
    for name, tier in chip.memory.items():
        kin, nominal = like.memory.get(name), tier.bandwidth_bytes_per_s
        drawn = kin.effective_bytes_per_s if kin else None
        if kin and drawn and kin.bandwidth_bytes_per_s and nominal:
            share = drawn / kin.bandwidth_bytes_per_s
            tier = replace(tier, effective_bytes_per_s=nominal * share)  # noqa: PLW2901
            note(f"memory.{name}.effective_bytes_per_s", f"decode draws {share:.0%} of its nominal bandwidth")
        if kin and kin.energy_j_per_byte is not None:
            tier = replace(tier, energy_j_per_byte=kin.energy_j_per_byte)  # noqa: PLW2901
            note(f"memory.{name}.energy_j_per_byte", "its joules for a byte")
        memory[name] = tier
    floor: LayerFloor | None = like.layer_floor
    if floor:
        # What was seen of the like chip is no evidence of this one.
        rests_on = f"{floor.rests_on or like.name}; no point of {chip.name}"
        floor = replace(floor, rests_on=rests_on, throughput_rests_on="")
        found = source_of(like.sources, "layer_floor")
        note("layer_floor", found.source if found else "its floor per layer")
    if like.largest_system_chips is not None:
        note("largest_system_chips", "a bound for the search, not a product")
    if like.tier_overlap:
        note("tier_overlap", "its overlap of tiers")
    return replace(
        chip,
        memory=memory,
        execution=like.execution,
        layer_floor=floor,
        tier_overlap=like.tier_overlap,
        largest_system_chips=like.largest_system_chips,
        power=_power(chip, like, note),
        notes=f"Like {like.name}: its efficiency constants ({chip.family}), software ({chip.engine}) and floors are taken.",
        sources=sources,
    )


def _power(chip: Chip, like: Chip, note: Callable[[str, str], None]) -> Power:
    """The rated power, and what splits it: static share and joules of an operation, as the like chip has them."""
    tdp, kin = chip.power.tdp_w, like.power
    if tdp is None or kin.static_w is None or not kin.tdp_w:
        return chip.power
    share = kin.static_w / kin.tdp_w
    note("power.static_w", f"{share:.0%} of the rated power flows whatever it does")
    per_flop = {form: joules for form, joules in kin.flop_j.items() if form in chip.compute}
    if per_flop:
        note("power.flop_j", "its joules for an operation")
    if kin.link_j_per_byte is not None:
        note("power.link_j_per_byte", "its joules for a byte on a link")
    return Power(tdp, static_w=tdp * share, flop_j=per_flop, link_j_per_byte=kin.link_j_per_byte)


def _say_what_next(chip: Chip, file: str) -> None:
    """How to use the file, and what it cannot answer."""
    from memcalc.render.presets import print_text
    from memcalc.resolve import is_file
    from memcalc.studies.catalogue import unknown_figures

    word = file if is_file(file) else f"./{file}"
    text = f"{file}: written; use it as 'memcalc fit llama-3.1-8b --chip {word}'\n"
    lacks = [f"  {figure} unknown: {without}\n" for figure, without in unknown_figures(chip)]
    print_text(text + "".join(lacks))
