"""The application around the commands: which one is meant, what an error looks like, the exit status."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from itertools import pairwise
from typing import Annotated, Any

import typer
import typer.main

from memcalc._version import __version__
from memcalc.errors import FileError, MemcalcError, ReaderGoneError, UsageError, did_you_mean

#: Commands and what each does, in the order of the help.
COMMANDS = {
    "fit": "Does a model fit, where does each byte live, how fast, how dear.",
    "compare": "The same for several chips or systems, side by side.",
    "explain": "Each formula behind the answer of fit, with its numbers filled in.",
    "validate": "How far off the predictions are, against published or own measurements.",
    "calibrate": "An engine preset from your own measurements.",
    "presets": "The chips, systems, models, engines and prices that come with memcalc.",
}
_ABOUT = """Where the bytes of a language model live, and what a token costs.

\b
  memcalc fit llama-3.1-70b --chip h100-sxm --chips 8 -b 32 -c 32k
  memcalc compare llama-3.1-70b --chip h100-sxm,b200,groq-lpu-v1,wse-3 -w fp8 --kv fp8
  memcalc presets list chips"""

# Typer carries click inside and does not export its errors; their classes are above the one it exports.
_CLICK_USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]
_CLICK_ERROR: type[Exception] = _CLICK_USAGE_ERROR.__bases__[0]


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit status; errors go to stderr, as JSON if that was asked for."""
    try:
        command, rest, name = _command(arguments)
        status = command.main(args=rest, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except MemcalcError as error:
        problems = error.problems if isinstance(error, FileError) else ()
        return _complain(error.message, error.hint, error.exit_code, problems, arguments)
    except (ReaderGoneError, BrokenPipeError, SystemExit):
        # The reader has what it wanted; the interpreter must not complain when it flushes once more.
        # (Of its own accord Typer exits only so, when its help goes into a closed pipe.)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except typer.Abort:
        return 130
    except _CLICK_ERROR as error:
        return _complain(*_of_click(error), 2, (), arguments)
    return int(status or 0)


def _command(arguments: list[str]) -> tuple[Any, list[str], str]:
    """The command to run, its arguments and its name: one command by itself, or all of them for help."""
    first = arguments[0] if arguments else "--help"
    if first in COMMANDS:
        command = _alone(first)
        rest = arguments[1:] or (["--help"] if hasattr(command, "commands") else [])
        return command, rest, f"memcalc {first}"
    if not first.startswith("-"):
        near = did_you_mean(first, COMMANDS)
        listed = "commands: " + ", ".join(COMMANDS)
        raise UsageError(f"unknown command {first!r}", f"{near} {listed}" if near else listed)
    return _together(), arguments or ["--help"], "memcalc"


def _typer(**settings: Any) -> typer.Typer:
    return typer.Typer(
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        **settings,
    )


def _add(app: typer.Typer, name: str) -> None:
    """Add a command, or a group of them, from its file."""
    module = import_module(f"memcalc.cli.{name}")
    if hasattr(module, "SUBCOMMANDS"):
        group = _typer(no_args_is_help=True, help=module.HELP)
        for word, function in module.SUBCOMMANDS.items():
            group.command(word, help=function.__doc__)(function)
        app.add_typer(group, name=name, short_help=COMMANDS[name])
    else:
        app.command(name, help=module.HELP, short_help=COMMANDS[name])(getattr(module, name))


def _alone(name: str) -> Any:
    """One command without the others, whose files stay unread."""
    app = _typer(add_completion=False)
    _add(app, name)
    if app.registered_groups:
        return typer.main.get_command(app.registered_groups[0].typer_instance)  # type: ignore[arg-type]
    return typer.main.get_command(app)


def _together() -> Any:
    """All commands, for the help and for shell completion."""
    app = _typer(no_args_is_help=True, help=_ABOUT)
    for name in COMMANDS:
        _add(app, name)

    def version(
        *,
        shown: Annotated[
            bool, typer.Option("--version", "-V", is_eager=True, help="Print the version.")
        ] = False,
    ) -> None:
        if shown:
            print(f"memcalc {__version__}")
            raise typer.Exit

    app.callback()(version)
    return typer.main.get_command(app)


def _of_click(error: Any) -> tuple[str, str]:
    """Message and hint of an error in the options themselves."""
    path = error.ctx.command_path if getattr(error, "ctx", None) else "memcalc"
    near = sorted(getattr(error, "possibilities", None) or ())
    hint = f"'{path} --help' shows all options"
    message = error.format_message().split(" (Possible options")[0].split(" Did you mean")[0]
    message = message.replace("No such option:", "unknown option").replace("Missing argument", "missing")
    return message.rstrip("."), f"did you mean {' or '.join(near)}? {hint}" if near else hint


def _complain(
    message: str, hint: str | None, status: int, problems: tuple[str, ...], arguments: list[str]
) -> int:
    """Print one error, plain or as a JSON object, on stderr; stdout stays empty."""
    message, hint = _harmless(message), hint and _harmless(hint)
    listed = [_harmless(line) for line in problems]
    if wants_json(arguments):
        error = {"error": message, "hint": hint, "exit_code": status, "problems": listed}
        print(json.dumps(error), file=sys.stderr)
        return status
    print(f"error: {message}", file=sys.stderr)
    for line in listed:
        if line not in message:
            print(f"  {line}", file=sys.stderr)
    if hint:
        print(f"\nhint: {hint}", file=sys.stderr)
    return status


def _harmless(text: str) -> str:
    """The text without control characters: a name from a file must not drive the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def wants_json(arguments: list[str]) -> bool:
    """Whether the command line asks for JSON, even where it cannot be parsed otherwise.

    >>> wants_json(["fit", "--format", "json"]), wants_json(["fit", "--format=table"])
    (True, False)
    """
    if any(word in ("--json", "--format=json", "--format=jsonl") for word in arguments):
        return True
    return any(option == "--format" and value in ("json", "jsonl") for option, value in pairwise(arguments))
