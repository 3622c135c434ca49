"""One exporter for each format that a program reads: JSON, JSON lines, CSV, Markdown."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from memcalc.core.report import Report
from memcalc.errors import FileError, ReaderGoneError


def to_json(value: Any) -> str:
    """JSON for people and programs; never NaN or Infinity."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def rows(reports: Sequence[Report], form: str) -> str:
    """Reports a line each, as JSON lines, CSV or Markdown."""
    if form == "jsonl":
        return json_lines(report.to_dict() for report in reports)
    return table([{name: get(report) for name, get in COLUMNS.items()} for report in reports], form)


def json_lines(values: Iterable[Any]) -> str:
    """Values a line each; never NaN or Infinity."""
    return "".join(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n" for value in values)


def table(lines: Sequence[dict[str, object]], form: str) -> str:
    """Lines of like keys as CSV or Markdown, under a head of their keys."""
    heads = list(lines[0]) if lines else []
    cells = [[_cell(value) for value in line.values()] for line in lines]
    if form == "csv":
        import csv
        from io import StringIO

        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows(cells)
        return text.getvalue()
    head = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return "\n".join([*head, *body]) + "\n"


def _cell(value: object) -> str:
    return "" if value is None else ("true" if value else "false") if isinstance(value, bool) else str(value)


def _bytes(tensor: str) -> Callable[[Report], int]:
    return lambda report: next(row.bytes for row in report.placement if row.tensor == tensor)


def _of(part: str, figure: str) -> Callable[[Report], object]:
    """A figure of a part of the report that may be absent."""

    def get(report: Report) -> object:
        block = getattr(report, part)
        return None if block is None else getattr(block, figure)

    return get


#: The columns of CSV and Markdown; units stand in the names.
COLUMNS: dict[str, Callable[[Report], object]] = {
    "model": _of("model", "name"),
    "parameters": _of("model", "parameters"),
    "system": _of("system", "name"),
    "chips": _of("system", "chips"),
    "pools": lambda report: " + ".join(
        f"{pool.chips} x {'hypothetical ' * pool.hypothetical}{pool.chip} ({pool.role}, {pool.verdict})"
        for pool in report.system.pools
    ),
    "hypothetical": _of("system", "hypothetical"),
    "batch": _of("workload", "batch"),
    "context_tokens": _of("workload", "context_tokens"),
    "output_tokens": _of("workload", "output_tokens"),
    "weights": _of("precision", "weights"),
    "kv": _of("precision", "kv"),
    "activations": _of("precision", "activations"),
    "engine": lambda report: report.engine,
    "prices": lambda report: report.prices,
    "tensor_parallel": _of("layout", "tensor_parallel"),
    "pipeline_parallel": _of("layout", "pipeline_parallel"),
    "expert_parallel": _of("layout", "expert_parallel"),
    "data_parallel": _of("layout", "data_parallel"),
    "fits": lambda report: report.fits,
    "verdict": lambda report: report.verdict,
    "reason": lambda report: report.reason,
    "weights_bytes": _bytes("weights"),
    "kv_cache_bytes": _bytes("kv_cache"),
    "max_batch": _of("limits", "max_batch"),
    "max_context_tokens": _of("limits", "max_context_tokens"),
    "min_chips": _of("limits", "min_chips"),
    "step_s": _of("decode", "step_s"),
    "tokens_per_s_per_user": _of("decode", "tokens_per_s_per_user"),
    "tokens_per_s": _of("decode", "tokens_per_s"),
    "tokens_per_s_per_chip": _of("decode", "tokens_per_s_per_chip"),
    "bottleneck": _of("decode", "bottleneck"),
    "time_to_first_token_s": _of("prefill", "time_to_first_token_s"),
    "latency_s": _of("request", "latency_s"),
    "usd_per_chip_hour": _of("cost", "usd_per_chip_hour"),
    "usd_per_million_output_tokens": _of("cost", "usd_per_million_output_tokens"),
    "usd_per_million_input_tokens": _of("cost", "usd_per_million_input_tokens"),
    "utilization": _of("cost", "utilization"),
    "watts": _of("cost", "watts"),
    "joules_per_output_token": _of("cost", "joules_per_output_token"),
    "evidence": lambda report: report.evidence["decode"],
}


def write_out(text: str) -> None:
    """Write to stdout at once; ReaderGoneError where it was closed.

    Typer would take the broken pipe for a failure of its own if it saw it.
    """
    # What a terminal's character set lacks is replaced, not an error.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderGoneError from error


def write_file(path: str, text: str) -> None:
    """Write a file beside its place and rename it, so that no reader sees half of it."""
    beside = f"{path}.{os.getpid()}.part"
    try:
        with open(beside, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(beside, path)
    except OSError as error:
        if os.path.exists(beside):
            os.unlink(beside)
        raise FileError(f"{path}: cannot be written: {error.strerror}", "give another -o FILE") from error
