"""`memcalc presets`: what comes with memcalc, and what its figures rest on."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from memcalc.errors import UsageError, did_you_mean
from memcalc.model import Model
from memcalc.readers import presets as built_in

HELP = """The chips, systems, models, engines and price scenarios that come with memcalc.

\b
  memcalc presets list chips
  memcalc presets show chip h100-sxm
  memcalc presets import config.json -o my-model.toml"""

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
    name: Annotated[str, typer.Argument(help="Name or alias.", show_default=False)],
    *,
    json: Annotated[bool, _JSON] = False,
) -> None:
    """Show one preset: its file as it is, with the source of each figure."""
    from memcalc.render.presets import print_json, print_text

    wanted = _kind(kind)
    if json:
        print_json({"kind": wanted.removesuffix("s"), **built_in.read(wanted, name)})
    else:
        print_text(built_in.text(wanted, name))


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


SUBCOMMANDS: dict[str, Any] = {"list": list_, "show": show, "check": check, "import": import_}
