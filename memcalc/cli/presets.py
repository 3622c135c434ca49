"""`memcalc presets`: what comes with memcalc, and what its figures rest on."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from memcalc.cli.new_chip import new
from memcalc.errors import UsageError, did_you_mean
from memcalc.model import Model
from memcalc.readers import presets as built_in

HELP = """The chips, systems, models, engines and price scenarios that come with memcalc.

\b
  memcalc presets list chips
  memcalc presets show chip h100-sxm
  memcalc presets new chip -o my-chip.toml"""

_KIND = typer.Argument(help="chips, systems, models, engines or prices (singular too).", show_default=False)
_JSON = typer.Option("--json", help="JSON.", show_default=False)


def _kind(word: str) -> str:
    """The kind that a word means, singular or plural."""
    for kind in built_in.KINDS:
        if word in (kind, kind.removesuffix("s")):
            return kind
    near = did_you_mean(word, built_in.KINDS)
    listed = "kinds: " + ", ".join(built_in.KINDS)
    raise UsageError(f"unknown kind of preset {word!r}", f"{near} {listed}" if near else listed)


def list_(
    kind: Annotated[str | None, _KIND] = None,
    *,
    json: Annotated[bool, _JSON] = False,
) -> None:
    """List the presets of a kind with their main figures, or the kinds with their number."""
    from memcalc.render.presets import print_rows
    from memcalc.studies.catalogue import catalogue, counts

    print_rows(counts() if kind is None else catalogue(_kind(kind)), json=json)


def show(
    kind: Annotated[str, _KIND],
    name: Annotated[str, typer.Argument(help="Name or alias, or a TOML file.", show_default=False)],
    *,
    json: Annotated[bool, _JSON] = False,
    toml: Annotated[
        bool, typer.Option("--toml", help="Its file as it is, to be edited.", show_default=False)
    ] = False,
) -> None:
    """Show one preset: each figure with its source, what other sources have instead, and what is unknown."""
    from memcalc.render.presets import listing, print_json, print_text
    from memcalc.studies.catalogue import unknown_figures

    wanted = _kind(kind)
    if json and toml:
        raise UsageError("--json and --toml exclude each other", "give one of them")
    table, text = _described(wanted, name)
    if toml:
        print_text(text)
        return
    chip = built_in.build_chip(table) if wanted == "chips" else None
    unknown = unknown_figures(chip) if chip else []
    if json:
        lacking = [{"figure": figure, "without_it": without} for figure, without in unknown]
        more = {"unknown": lacking} if chip else {}
        print_json({"kind": wanted.removesuffix("s"), **table, **more})
        return
    # What a chip is by default is not in its file.
    facts = {"execution": chip.execution, "plan": chip.plan} if chip else {}
    print_text(listing({**table, **facts}, unknown))


def _described(kind: str, word: str) -> tuple[dict[str, Any], str]:
    """The table of a preset or of a file of the user's, in base units, and its text."""
    from memcalc.resolve import is_file

    if not is_file(word) or kind == "prices":
        return built_in.read(kind, word), built_in.text(kind, word)
    import tomllib

    from memcalc.readers import preset_files, user_files
    from memcalc.readers.regular import read_head

    if kind == "systems":
        user_files.read_system(word)
        plain = None
    elif kind == "chips":
        plain = preset_files.chip_toml(user_files.read_chip(word))
    elif kind == "models":
        plain = preset_files.model_toml(user_files.read_model(word))
    else:
        plain = preset_files.engine_toml(user_files.read_engine(word))
    text = read_head(word, user_files.LARGEST_FILE_BYTES)[0].decode("utf-8")
    return tomllib.loads(text if plain is None else plain), text


def check(
    file: Annotated[
        str | None, typer.Argument(help="TOML file; all built-in presets if none.", show_default=False)
    ] = None,
) -> None:
    """Check a preset file of one's own, or all that come with memcalc: types, units, ranges."""
    from memcalc.readers import user_files
    from memcalc.render.presets import print_text

    if file is not None:
        print_text(f"{file}: a usable {user_files.check(file)} preset\n")
        return
    print_text(
        "".join(f"{kind}: {number} presets, all usable\n" for kind, number in user_files.check_all().items())
    )


def import_(
    model: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A config.json, a folder with one, a .safetensors file, its index, a .gguf, or org/name.",
            show_default=False,
        ),
    ],
    *,
    file: Annotated[
        str,
        typer.Option("-o", metavar="FILE", help="Where to write it ('-': the screen).", show_default=False),
    ] = "-",
    name: Annotated[
        str | None,
        typer.Option("--name", help="The name that it gets; else that of the file.", show_default=False),
    ] = None,
) -> None:
    """Write a model preset from the files of a model; it reads back to the same model."""
    from memcalc.readers.preset_files import model_toml
    from memcalc.render.export import write_file
    from memcalc.render.presets import print_text

    if not file:
        raise UsageError("-o is empty", "give a file name, or '-' for the screen")
    text = model_toml(_named(model, name))
    if file == "-":
        print_text(text)
        return
    write_file(file, text)
    print_text(f"{file}: written; use it as 'memcalc fit {file} --chip CHIP'\n")


def _named(word: str, name: str | None) -> Model:
    """The model that a word means, under a name of the user's."""
    from dataclasses import replace

    from memcalc.readers.tensors import model_name
    from memcalc.resolve import find_model

    found = find_model(word)
    if name is None:
        return found
    if name != model_name(name):
        raise UsageError(
            f"--name {name!r}: a name is of a-z, 0-9, '.', '_' and '-'", f"like {model_name(name)!r}"
        )
    return replace(found, name=name)


SUBCOMMANDS: dict[str, Any] = {"list": list_, "show": show, "check": check, "import": import_, "new": new}
