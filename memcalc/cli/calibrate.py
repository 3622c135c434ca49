"""`memcalc calibrate`: an engine preset from one's own measurements."""

from __future__ import annotations

from typing import Any

from memcalc.cli import options as declared
from memcalc.cli.options import Declared, Given
from memcalc.errors import UsageError

HELP = """An engine preset of your own from your own measurements, with what it rests on.

\b
  memcalc calibrate mine.jsonl -o mine.toml
  memcalc calibrate bench.json --model llama-3.1-8b --chip h100-sxm -o mine.toml
  memcalc fit llama-3.1-8b --chip h100-sxm --engine mine.toml

FILE has rows as validate reads them, or is what llama-bench -o json, vllm bench serve --save-result or
trtllm-bench --report_json wrote. Three rows are enough to move the band; the screen says how much.
Status: 0 done, 1 a row was broken, 2 usage, 3 a file that cannot be used."""

OPTIONS = (
    Declared("engine", ("--engine",), "NAME", "Start from this engine: preset or TOML file (the rows' own).",
             ("engines",)),
    Declared("name", ("--name",), "NAME", "Name of the new engine (that of the -o file, else calibrated)."),
    Declared("model", ("--model",), "MODEL", "The model that was run, where the file does not say.", ("models",)),
    Declared("chip", ("--chip",), "CHIP", "The chip it ran on, where the file does not say.", ("chips",)),
    Declared("chips", ("--chips",), "N", "Number of chips, where the file does not say."),
    Declared("weights", ("-w", "--weights"), "FORMAT", "Format of the weights, where the file does not say."),
    Declared("kv", ("--kv",), "FORMAT", "Format of the KV cache, where the file does not say."),
    Declared("tp", ("--tp",), "N", "Tensor parallelism, where the file does not say."),
)  # fmt: skip
SHOW = tuple(
    option._replace(help="Write the engine preset to a file ('-': to the screen instead of the summary).")
    if option.name == "file"
    else option
    for option in declared.SHOW_ALWAYS
)


@declared.takes(
    Given("path", "FILE", "Measurements: JSON lines, or the JSON of a benchmark."), *OPTIONS, *SHOW
)
def calibrate(path: str, file: str | None, **options: Any) -> int:
    """Fit, say what moved, write the preset, and say by the status whether a row was broken."""
    from memcalc import accuracy
    from memcalc.readers.benchmarks import Stated
    from memcalc.render import show, write
    from memcalc.units import parse_count

    form = declared.output_format(options)
    if file == "":
        raise UsageError("-o is empty", "give a file, or '-' for the screen")
    counts = {name: options[name] and parse_count(options[name], f"--{name}") for name in ("chips", "tp")}
    stated = Stated(
        model=options["model"],
        chip=options["chip"],
        chips=counts["chips"],
        weights=options["weights"],
        kv=options["kv"],
        tp=counts["tp"],
    )
    found = accuracy.calibrate(path, options["engine"], _name(options["name"], file), stated)
    if file != "-":
        show(found, form, None, no_color=options["no_color"])
    if file is not None:
        from memcalc.readers.preset_files import engine_toml

        write(engine_toml(found.engine), file)
    return 1 if found.broken else 0


def _name(name: str | None, file: str | None) -> str:
    """The name of the new engine; UsageError where it is none."""
    from memcalc.readers.tensors import model_name

    if name is None:
        stem = (file or "").replace("\\", "/").rpartition("/")[2].removesuffix(".toml")
        return model_name(stem) if stem not in ("", "-") else "calibrated"
    if name != model_name(name):
        raise UsageError(
            f"--name {name!r}: a name is of a-z, 0-9, '.', '_' and '-'", f"like {model_name(name)!r}"
        )
    return name
