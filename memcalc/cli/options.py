"""The options of `fit` and `compare`, each declared once.

All values arrive as text: units, ranges and names are the library's to read and to refuse. A command
takes its options as one dictionary; the signature that Typer reads is built from the declarations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, Optional

import typer

from memcalc.errors import UsageError
from memcalc.readers.presets import names


class Declared(NamedTuple):
    """An option: its flags, what a value is called ("" for a switch), its help, presets to complete."""

    name: str
    flags: tuple[str, ...]
    value: str
    help: str
    complete: tuple[str, ...] = ()
    repeats: bool = False


#: What a job is; defaults are in brackets.
JOB = (
    Declared("batch", ("-b", "--batch"), "N", "Sequences decoded at once, over the whole system (1)."),
    Declared("context", ("-c", "--context"), "TOKENS",
             "Tokens a sequence holds: memory is sized and the step timed for it (8192)."),
    Declared("output", ("--output",), "TOKENS",
             "How many of the context are generated; the rest is the prompt (0)."),
)  # fmt: skip
FORMATS = (
    Declared("weights", ("-w", "--weights"), "FORMAT",
             "Weights: bf16 fp8 int8 mxfp4 nvfp4 int4-g128 q4_k_m ... (the checkpoint's)."),
    Declared("kv", ("--kv",), "FORMAT", "KV cache (bf16 unless the checkpoint says otherwise)."),
    Declared("activations", ("--activations",), "FORMAT", "Activations (what kernels for such weights use)."),
    Declared("engine", ("--engine",), "NAME",
             "Software stack, 'ideal' for the bare roofline, or a TOML file (the chip's usual one).", ("engines",)),
)  # fmt: skip
LAYOUT = (
    Declared("tp", ("--tp",), "N", "Tensor parallelism (searched)."),
    Declared("pp", ("--pp",), "N", "Pipeline parallelism (searched)."),
    Declared("ep", ("--ep",), "N", "Expert parallelism (searched)."),
    Declared("dp", ("--dp",), "N", "Data parallelism, the number of replicas (searched)."),
    Declared("cp", ("--cp",), "N", "Context parallelism (1)."),
    Declared("attention_dp", ("--attention-dp",), "N", "Attention data parallelism, for experts (searched)."),
)
MONEY = (
    Declared("prices", ("--prices",), "NAME", "Price scenario (owning-neocloud-2026).", ("prices",)),
    Declared(
        "usd_per_chip_hour", ("--usd-per-chip-hour",), "USD", "A chip-hour's price instead of a scenario's."
    ),
    Declared("usd_per_chip", ("--usd-per-chip",), "USD", "A chip's price: the cost of owning instead."),
    Declared("depreciation_years", ("--depreciation-years",), "YEARS", "Life of an owned chip (4)."),
    Declared("usd_per_kwh", ("--usd-per-kwh",), "USD", "Electricity of an owned chip (0.11)."),
    Declared("pue", ("--pue",), "X", "Total power over computing power, for an owned chip (1)."),
    Declared("utilization", ("--utilization",), "SHARE", "Share of the day spent at this load (1)."),
)
MORE = (
    Declared("accept", ("--accept",), "SHARE", "Speculative decoding: chance that a draft token is accepted."),
    Declared("draft", ("--draft",), "N", "Speculative decoding: tokens drafted a step."),
    Declared("offload", ("--offload",), "TIER",
             "Let what does not fit the chip's own memory live in host memory or flash: host, flash."),
    Declared("prefill_system", ("--prefill-system",), "SYSTEM",
             "Another system for the prompts; the cache is handed over.", ("systems",)),
    Declared("set", ("--set",), "KEY=VALUE", "Change one figure of chip or engine for this run; repeatable.",
             repeats=True),
)  # fmt: skip
SHOW = (
    Declared("json", ("--json",), "", "JSON: the same as --format json."),
    Declared("format", ("--format",), "NAME", "table, json, jsonl, csv or markdown (table)."),
    Declared("file", ("-o",), "FILE", "Write to a file instead of the screen ('-': the screen)."),
    Declared("no_color", ("--no-color",), "", "No colour, even on a terminal."),
    Declared("exit_zero", ("--exit-zero",), "", "Status 0 also where it does not fit."),
)
#: The same where there is nothing to fit.
SHOW_ALWAYS = SHOW[:-1]


class Given(NamedTuple):
    """What stands after the command: its name, what it is called, its help, presets to complete."""

    name: str
    value: str
    help: str
    complete: tuple[str, ...] = ()
    needed: bool = True


def model_argument(help_: str) -> Given:
    """The model of a command."""
    return Given("model", "MODEL", help_, ("models",))


def takes(argument: Given, *options: Declared) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command its signature: what stands after it, and these options."""

    def declare(command: Callable[..., Any]) -> Callable[..., Any]:
        word = typer.Argument(
            help=argument.help,
            metavar=argument.value,
            show_default=False,
            autocompletion=_completion(argument.complete) if argument.complete else None,
        )
        after: Any = str if argument.needed else Optional[str]  # noqa: UP045  read at run time
        missing = inspect.Parameter.empty if argument.needed else None
        parameters = [_parameter(argument.name, Annotated[after, word], missing)]
        for option in options:
            info = typer.Option(
                *option.flags,
                help=option.help,
                metavar=option.value or None,
                show_default=False,
                autocompletion=_completion(option.complete) if option.complete else None,
            )
            kind: Any = Optional[list[str]] if option.repeats else Optional[str]  # noqa: UP045  read at run time
            if option.value:
                parameters.append(_parameter(option.name, Annotated[kind, info], None))
            else:
                parameters.append(_parameter(option.name, Annotated[bool, info], False))
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return command

    return declare


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _completion(kinds: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Completion from the file names alone."""

    def matching(incomplete: str) -> list[str]:
        found = (name for kind in kinds for name in names(kind))
        return [name for name in found if name.startswith(incomplete)]

    return matching


def words(options: dict[str, Any]) -> dict[str, Any]:
    """What was given, for the library: without the options of the output, `--set` as a mapping."""
    shown = {option.name for option in SHOW}
    given = {name: value for name, value in options.items() if value is not None and name not in shown}
    if "set" in given:
        changes = {}
        for text in given["set"]:
            key, equals, value = text.partition("=")
            if not equals or not key or not value:
                raise UsageError(
                    f"--set {text!r} is not KEY=VALUE", "like --set memory.hbm.bandwidth_bytes_per_s=4.8TB/s"
                )
            changes[key.strip()] = value.strip()
        given["set"] = changes
    return given


def output_format(options: dict[str, Any]) -> str:
    """The format that was asked for; UsageError for an unknown one or a contradiction."""
    known = ("table", "json", "jsonl", "csv", "markdown")
    asked = options.get("format")
    if asked is not None and asked not in known:
        raise UsageError(f"unknown format {asked!r}", "one of " + " ".join(known))
    if options.get("json"):
        if asked not in (None, "json"):
            raise UsageError(f"--json and --format {asked} exclude each other", "give one of them")
        return "json"
    return asked or "table"
