"""Screens, drawn with Rich: the only importer of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from memcalc.core.remarks import term_title, tier_title
from memcalc.core.report import Report
from memcalc.render import words
from memcalc.studies.compare import Comparison, label, price, speed
from memcalc.units import format_bytes

#: Columns of the bar that shows where a step goes.
BAR = 16
_LABELS = {"kv_cache": "KV cache"}


def _console(stream: TextIO, colour: bool, width: int) -> Console:
    return Console(
        file=stream,
        width=width,
        highlight=False,
        markup=False,
        emoji=False,
        force_terminal=colour,
        color_system="standard" if colour else None,
    )


def _grid(title: str, *columns: str) -> Table:
    """A table without lines: a title and right-aligned columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=True)
    table.add_column(title, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def fit_screen(report: Report, stream: TextIO, colour: bool, width: int) -> None:
    """The screen of `memcalc fit`."""
    console = _console(stream, colour, width)
    console.print(Text(words.answer(report), style="bold green" if report.fits else "bold red"), soft_wrap=width > 100)
    console.print(Text(words.asked(report)), soft_wrap=width > 100)
    console.print()
    if not report.fits:
        _misfit(console, report)
    else:
        console.print(_bytes(report))
        console.print()
        if report.decode:
            console.print(_speeds(report))
            console.print()
        if report.cost:
            console.print(_costs(report))
            console.print()
    console.print(_closing(report, width))


def _misfit(console: Console, report: Report) -> None:
    sizes = [
        f"{_LABELS.get(row.tensor, row.tensor)} {format_bytes(row.bytes)}" for row in report.placement if row.bytes
    ]
    console.print("  " + " · ".join(sizes))
    console.print()
    if not report.remedies:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2), show_header=False)
    console.print("  what would do", style="bold")
    for remedy in report.remedies:
        table.add_row(remedy.options, remedy.outcome)
    console.print(table)
    console.print()


def _bytes(report: Report) -> Table:
    """Tensors by tier, over the whole system."""
    tiers = report.tiers
    titles = [tier_title(t.tier) + ("" if t.role == "home" else f" ({t.role})") for t in tiers]
    table = _grid("  where the bytes live", "needed", "on the system", *titles)
    for row in report.placement:
        if not row.bytes:
            continue
        name = _LABELS.get(row.tensor, row.tensor)
        if row.tensor == "kv_cache":
            name += f"  {report.kv_cache.bytes_per_token:,} B/token"
        here = [format_bytes(row.tiers[t.tier]) if row.tiers.get(t.tier) else "–" for t in tiers]
        table.add_row(f"  {name}", format_bytes(row.bytes), format_bytes(sum(row.tiers.values())), *here)
    usable = [f"of {format_bytes(t.usable_bytes)}" if t.usable_bytes else "no home" for t in tiers]
    table.add_row("  usable", "", format_bytes(sum(t.usable_bytes for t in tiers)), *usable)
    return table


def _speeds(report: Report) -> Table:
    decode, prefill = report.decode, report.prefill
    assert decode is not None
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("  how fast", no_wrap=True)
    table.add_column("likely", justify="right", no_wrap=True)
    table.add_column("80 % band", no_wrap=True)
    low, high = decode.low["tokens_per_s_per_user"], decode.high["tokens_per_s_per_user"]
    user = decode.tokens_per_s_per_user
    table.add_row("  tokens/s per user", words.speed(user), f"{words.speed(low)} to {words.speed(high)}")
    table.add_row(
        "  tokens/s, system · per chip",
        f"{words.speed(decode.tokens_per_s)} · {words.speed(decode.tokens_per_s_per_chip)}",
    )
    table.add_row("  decode step", words.seconds(decode.step_s), _split(decode.terms_s, decode.step_s))
    if prefill:
        low, high = prefill.low["time_to_first_token_s"], prefill.high["time_to_first_token_s"]
        bound = f"bound by {term_title(prefill.bottleneck)}"
        first = prefill.time_to_first_token_s
        band = f"{words.seconds(low)} to {words.seconds(high)}, {bound}"
        table.add_row("  time to first token", words.seconds(first), band)
    if report.request and report.request.latency_s is not None:
        table.add_row("  whole request", words.seconds(report.request.latency_s))
    return table


def _split(terms: object, step: float) -> str:
    """Where a step goes: each term with its time and a bar."""
    parts = [
        f"{title} {words.seconds(seconds)} {words.bar(share, BAR)}"
        for title, seconds, share in words.terms(terms, step)
        if share >= 0.005
    ]
    return "  ".join(parts)


def _costs(report: Report) -> Table:
    cost = report.cost
    assert cost is not None
    hour = "no price" if cost.usd_per_chip_hour is None else f"{words.money(cost.usd_per_chip_hour)} USD per chip-hour"
    basis = f"{report.prices}: {hour}" + (f" ({cost.price_kind}, {cost.price_date})" if cost.price_kind else "")
    basis += f", utilization {cost.utilization:.0%}"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("  how dear", no_wrap=True)
    table.add_column("likely", justify="right", no_wrap=True)
    table.add_column("80 % band", no_wrap=True)
    for name, key, value in (
        ("USD per million tokens out", "usd_per_million_output_tokens", cost.usd_per_million_output_tokens),
        ("USD per million tokens in", "usd_per_million_input_tokens", cost.usd_per_million_input_tokens),
    ):
        if value is not None:
            band = f"{words.money(cost.low[key])} to {words.money(cost.high[key])}"
            table.add_row(f"  {name}", words.money(value), band)
    if cost.joules_per_output_token is not None:
        key = "joules_per_output_token"
        band = f"{words.joules(cost.low[key])} to {words.joules(cost.high[key])}, at {words.watts(cost.watts)}"
        table.add_row("  joules per token out", words.joules(cost.joules_per_output_token), band)
    table.add_row("  price", "", basis)
    return table


def _closing(report: Report, width: int) -> Table:
    """Limits, evidence, what is left out and what to know: label and wrapped text."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column("", no_wrap=True, style="bold")
    table.add_column("", overflow="fold")
    if report.fits:
        table.add_row("  limits", words.limits(report))
    if report.why:
        table.add_row("  why there", report.why)
    for change in report.degrades_at:
        table.add_row("  degrades", f"at {change.what} {change.value:,}: {change.verdict}")
    top = [s for s in report.sensitivity if abs(s.tokens_per_s_per_user) >= 0.005][:4]
    if top:
        text = " · ".join(f"{s.figure} {s.tokens_per_s_per_user:+.1%}" for s in top)
        table.add_row("  +10 % of", f"{text} tokens/s per user")
    evidence = f"decode: {report.evidence['decode']} · chip figures: {report.evidence['chip']}"
    table.add_row("  evidence", evidence)
    table.add_row("  not modelled", ", ".join(report.not_modeled))
    for warning in report.warnings:
        table.add_row("  note", warning)
    return table


def compare_screen(comparison: Comparison, stream: TextIO, colour: bool, width: int) -> None:
    """The screen of `memcalc compare`: a row a system, a star at the best of each column."""
    console = _console(stream, colour, width)
    reports = comparison.results
    first = reports[0]
    work = first.workload
    models = ", ".join(dict.fromkeys(r.model.name for r in reports))
    console.print(Text(_headline(comparison), style="bold"), soft_wrap=width > 100)
    formats = ", ".join(
        dict.fromkeys(f"{r.precision.weights} weights, {r.precision.kv} KV cache" for r in reports)
    )
    console.print(
        f"{models} · {work.workflow} · batch {work.batch:,} · context {work.context_tokens:,} · {formats} · "
        f"prices {first.prices} · * best of the column",
        soft_wrap=width > 100,
    )
    console.print()
    table = _grid("  system")
    table.add_column("verdict")
    for column in ("tok/s/user", "tok/s/chip", "TTFT", "USD/Mtok out", "J/token"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("bound by", no_wrap=True)
    table.add_column("evidence", no_wrap=True)
    stars = [
        _best(reports, speed, most=True),
        _best(reports, lambda r: r.decode.tokens_per_s_per_chip if r.decode else None, most=True),
        _best(reports, lambda r: r.prefill.time_to_first_token_s if r.prefill else None, most=False),
        _best(reports, price, most=False),
        _best(reports, lambda r: r.cost.joules_per_output_token if r.cost else None, most=False),
    ]
    for place, report in enumerate(reports):
        cells = _cells(report)
        marked = [f"{cell} *" if star == place else f"{cell}  " for cell, star in zip(cells, stars, strict=True)]
        bound = term_title(report.decode.bottleneck) if report.decode else "–"
        evidence = report.evidence["decode"]
        phrase = words.verdict_phrase(report)
        if report.fits and report.limits.max_batch:
            phrase += f", batch ≤ {report.limits.max_batch:,}"
        table.add_row(f"  {label(report, reports)}", phrase, *marked, bound, evidence)
    console.print(table)
    console.print()
    closing = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    closing.add_column("", no_wrap=True, style="bold")
    closing.add_column("", overflow="fold")
    for sentence in comparison.why:
        closing.add_row("  why", sentence)
    closing.add_row("  not modelled", ", ".join(dict.fromkeys(x for r in reports for x in r.not_modeled)))
    for note in dict.fromkeys(w for r in reports for w in r.warnings):
        closing.add_row("  note", note)
    console.print(closing)


def _headline(comparison: Comparison) -> str:
    """The answer in words: how many fit, who is fastest."""
    reports = comparison.results
    fitting = [r for r in reports if r.fits]
    if not fitting:
        return f"None of {len(reports)} fits"
    text = f"{len(fitting)} of {len(reports)} fit"
    fast = _best(reports, speed, most=True)
    if fast is not None:
        text += f"; fastest per user: {label(reports[fast], reports)} with {words.speed(speed(reports[fast]) or 0)} tok/s"
    cheap = _best(reports, price, most=False)
    if cheap is not None:
        text += f"; cheapest: {label(reports[cheap], reports)} with {words.money(price(reports[cheap]))} USD/Mtok out"
    return text


def _best(reports: Sequence[Report], figure: object, *, most: bool) -> int | None:
    """The place of the best report in a column; None where none has a figure."""
    known = [(value, place) for place, r in enumerate(reports) if (value := figure(r)) is not None]  # type: ignore[operator]
    return (max if most else min)(known)[1] if known else None


def _cells(report: Report) -> list[str]:
    decode, prefill, cost = report.decode, report.prefill, report.cost
    return [
        words.speed(decode.tokens_per_s_per_user) if decode else "–",
        words.speed(decode.tokens_per_s_per_chip) if decode else "–",
        words.seconds(prefill.time_to_first_token_s) if prefill else "–",
        words.money(cost.usd_per_million_output_tokens) if cost and cost.usd_per_million_output_tokens else "–",
        words.joules(cost.joules_per_output_token) if cost and cost.joules_per_output_token else "–",
    ]
