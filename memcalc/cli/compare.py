"""`memcalc compare`: one or several models on several chips or systems, side by side."""

from __future__ import annotations

from typing import Any

from memcalc import api
from memcalc.cli import options as declared
from memcalc.cli.options import Declared

HELP = """The same as fit for several chips or systems, side by side; the best of each column has a star.

\b
  memcalc compare llama-3.1-70b --chip h100-sxm,b200,groq-lpu-v1,wse-3 -w fp8 --kv fp8
  memcalc compare llama-3.1-8b,qwen3-8b --chip h100-sxm --weights bf16,fp8
  memcalc compare deepseek-v3 --system dgx-b200 --system mi355x-x8 -b 64 --format csv

Models, chips, systems, weights, KV formats and engines may each be a list: a,b,c.
Status: 0 something fits, 1 nothing does, 2 usage, 3 a file that cannot be used."""

CHIPS = (
    Declared("chip", ("--chip",), "CHIP", "Chip: preset name or TOML file; repeatable, or a,b,c.", ("chips",), True),
    Declared("system", ("--system",), "SYSTEM", "System: preset name, CHIP-xN or TOML file; repeatable, or a,b,c.",
             ("systems",), True),
    Declared("decode_system", ("--decode-system",), "SYSTEM", "The same as --system, beside --prefill-system.",
             ("systems",), True),
    Declared("chips", ("--chips",), "N|auto", "Chips of each kind (auto: the fewest that hold the job)."),
)  # fmt: skip


@declared.takes(
    declared.model_argument("Preset name, size or TOML file; several as a,b,c."),
    *CHIPS, *declared.JOB, *declared.FORMATS, *declared.LAYOUT, *declared.MORE, *declared.MONEY, *declared.SHOW,
)  # fmt: skip
def compare(model: str, **options: Any) -> int:
    """Answer, print, and say by the status whether any of them fits."""
    form = declared.output_format(options)
    comparison = api.compare(model, **declared.words(options))
    from memcalc.render import show

    show(comparison, form, options["file"], no_color=options["no_color"])
    fitting = any(report.fits for report in comparison.results)
    return 0 if fitting or options["exit_zero"] else 1
