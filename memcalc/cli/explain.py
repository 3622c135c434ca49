"""`memcalc explain`: each formula behind an answer, with its numbers filled in."""

from __future__ import annotations

from typing import Any

from memcalc import api
from memcalc.cli import options as declared
from memcalc.cli.fit import CHIPS

HELP = """Each formula behind the answer of fit, with its numbers filled in, and the command that starts the layout.

\b
  memcalc explain llama-3.1-70b --chip h100-sxm --chips 8 -b 32 -c 32k -w fp8 --kv fp8
  memcalc explain deepseek-v3 --system dgx-b200 -b 64 --json | jq -r .serve
  memcalc explain 8b --chip wse-3 --format csv

Status: 0 it fits, 1 it does not, 2 usage, 3 a file that cannot be used."""


@declared.takes(
    declared.model_argument("Preset name, a size like 70b or 235b-a22b, or a TOML file."),
    *CHIPS, *declared.JOB, *declared.FORMATS, *declared.LAYOUT, *declared.MORE, *declared.MONEY, *declared.SHOW,
)  # fmt: skip
def explain(model: str, **options: Any) -> int:
    """Explain, print, and say by the status whether it fits."""
    form = declared.output_format(options)
    found = api.explain(model, **declared.words(options))
    from memcalc.render import show

    show(found, form, options["file"], no_color=options["no_color"])
    return 0 if found.fits or options["exit_zero"] else 1
