"""`memcalc fit`: one model on one chip or system."""

from __future__ import annotations

from typing import Any

from memcalc import api
from memcalc.cli import options as declared
from memcalc.cli.options import Declared

HELP = """Does a model fit, where does each byte live, how fast, how dear.

\b
  memcalc fit llama-3.1-70b --chip h100-sxm --chips 8 -b 32 -c 32k -w fp8 --kv fp8
  memcalc fit 70b --chip b200 --json | jq .decode.tokens_per_s_per_user
  memcalc fit deepseek-v3 --system dgx-b200 -b 64 --engine ideal

Status: 0 it fits, 1 it does not, 2 usage, 3 a file that cannot be used."""

CHIPS = (
    Declared("chip", ("--chip",), "CHIP", "Chip: preset name or TOML file.", ("chips",)),
    Declared("system", ("--system",), "SYSTEM", "System: preset name, CHIP-xN or TOML file.", ("systems",)),
    Declared(
        "decode_system",
        ("--decode-system",),
        "SYSTEM",
        "The same as --system, beside --prefill-system.",
        ("systems",),
    ),
    Declared("chips", ("--chips",), "N|auto", "Number of chips; auto: the fewest that hold the job (1)."),
)


@declared.takes(
    declared.model_argument("Preset name, a size like 70b or 235b-a22b, or a TOML file."),
    *CHIPS, *declared.JOB, *declared.FORMATS, *declared.LAYOUT, *declared.MORE, *declared.MONEY, *declared.SHOW,
)  # fmt: skip
def fit(model: str, **options: Any) -> int:
    """Answer, print, and say by the status whether it fits."""
    form = declared.output_format(options)
    report = api.fit(model, **declared.words(options))
    from memcalc.render import show

    show(report, form, options["file"], no_color=options["no_color"])
    return 0 if report.fits or options["exit_zero"] else 1
