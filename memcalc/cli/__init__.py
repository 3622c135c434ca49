"""The command line: parse, call, render. Each command is a file; only the one typed is imported."""

from __future__ import annotations

import sys

from memcalc._version import __version__

# Not from typing: importing that costs more than all of `memcalc --version`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Commands and what each does, in the order of the help.
COMMANDS = {
    "fit": "Does a model fit, where does each byte live, how fast, how dear.",
    "compare": "The same for several chips or systems, side by side.",
    "presets": "The chips, systems, models, engines and prices that come with memcalc.",
}


def main() -> None:
    """Entry point of the `memcalc` command."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        print(f"memcalc {__version__}")
        return
    # A run lives for milliseconds: collecting its garbage costs more than its memory.
    import gc

    gc.set_threshold(100_000)
    status = run(sys.argv[1:])
    gc.freeze()  # nor need the interpreter look through it all once more as it ends
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """Run one command line; the exit status. Errors go to stderr, as JSON where JSON was asked for."""
    from memcalc.errors import MemcalcError

    import typer

    usage_error = typer.BadParameter.__bases__[0]
    click_error = usage_error.__bases__[0]
    try:
        command, rest, name = _command(arguments)
        status = command.main(args=rest, prog_name=name, standalone_mode=False)
        _flush()
    except MemcalcError as error:
        return _complain(error.message, error.hint, error.exit_code, arguments, getattr(error, "problems", ()))
    except click_error as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "memcalc"
        hint = f"'{path} --help' shows all options"
        near = getattr(error, "possibilities", None)
        if near:
            hint = f"did you mean {' or '.join(sorted(near))}? {hint}"
        return _complain(error.format_message().rstrip("."), hint, 2, arguments)
    except BrokenPipeError:
        # The reader has what it wanted; the interpreter must not complain when it flushes once more.
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return 130
    return int(status or 0)


def _command(arguments: list[str]) -> tuple[Any, list[str], str]:
    """The click command to run, its arguments and its name: one command alone, or all for help."""
    import typer.main

    first = arguments[0] if arguments else ""
    if first in COMMANDS:
        return typer.main.get_command(_app([first])), arguments[1:], f"memcalc {first}"
    app = _app(list(COMMANDS), group=True)
    if first and not first.startswith("-") :
        from memcalc.errors import UsageError, did_you_mean

        near = did_you_mean(first, COMMANDS)
        hint = f"did you mean {near!r}? " if near else ""
        raise UsageError(f"unknown command {first!r}", hint + "commands: " + ", ".join(COMMANDS))
    return typer.main.get_command(app), arguments or ["--help"], "memcalc"


def _app(names: list[str], *, group: bool = False) -> Any:
    from importlib import import_module

    import typer

    settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
    app = typer.Typer(
        add_completion=group,
        no_args_is_help=group,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=settings,
        help="Where the bytes of a language model live, and what a token costs.",
        epilog="memcalc fit llama-3.1-70b --chip h100-sxm --chips 8 -b 32 -c 32k",
    )
    for name in names:
        module = import_module(f"memcalc.cli.{name}")
        if hasattr(module, "app"):
            if not group:
                return module.app
            app.add_typer(module.app, name=name)
        else:
            app.command(name, help=module.HELP, short_help=COMMANDS[name])(getattr(module, name))
    if group:

        def version(
            shown: bool = typer.Option(False, "--version", "-V", is_eager=True, help="Print the version."),
        ) -> None:
            if shown:
                print(f"memcalc {__version__}")
                raise typer.Exit

        app.callback()(version)
    return app


def _flush() -> None:
    sys.stdout.flush()


def _complain(
    message: str, hint: str | None, status: int, arguments: list[str], problems: tuple[str, ...] = ()
) -> int:
    """Print one error, plain or as a JSON object, on stderr."""
    shown = [_harmless(line) for line in problems if line != message]
    if wants_json(arguments):
        import json

        error = {"error": _harmless(message), "hint": hint and _harmless(hint), "exit_code": status}
        print(json.dumps({**error, "problems": shown}), file=sys.stderr)
        return status
    print(f"error: {_harmless(message)}", file=sys.stderr)
    for line in shown:
        print(f"  {line}", file=sys.stderr)
    if hint:
        print(f"\nhint: {_harmless(hint)}", file=sys.stderr)
    return status


def _harmless(text: str) -> str:
    """The text without control characters: a name from a file must not drive the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def wants_json(arguments: list[str]) -> bool:
    """Whether the command line asks for JSON, even where it cannot be parsed otherwise.

    >>> wants_json(["fit", "--format", "json"]), wants_json(["fit", "--format=table"])
    (True, False)
    """
    if "--json" in arguments or "--format=json" in arguments or "--format=jsonl" in arguments:
        return True
    pairs = zip(arguments, arguments[1:], strict=False)
    return any(option == "--format" and value in ("json", "jsonl") for option, value in pairs)
