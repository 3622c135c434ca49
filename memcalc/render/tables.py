"""Screens, drawn with Rich: the only importer of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from memcalc.core.placement import ROUNDING_BYTES
from memcalc.core.remarks import term_title, tier_title
from memcalc.core.report import Cost, Decode, PoolFacts, Prefill, Report, RequestTime
from memcalc.render import words
from memcalc.studies.compare import Comparison, best, label, price, speed
from memcalc.units import format_bytes

if TYPE_CHECKING:
    from memcalc.studies.calibrate import Calibration
    from memcalc.studies.explain import Explanation
    from memcalc.studies.validate import Record, Validation

#: Columns of a table on a terminal at most.
TERMINAL_WIDTH = 100
#: Columns of the bar that shows where a step goes, and the smallest share of a step that has one.
BAR, SMALLEST_SHARE = 24, 0.005
#: Who measured, in a word.
_KINDS = {"vendor measured": "vendor", "vendor claim": "claim"}
#: So many broken rows are listed; the JSON has all.
_MOST_BROKEN = 20
_LABELS = {"kv_cache": "KV cache"}


class _Screen:
    """Lines drawn by Rich, for a width and with or without colour."""

    def __init__(self, *, colour: bool, width: int) -> None:
        self._stream = StringIO()
        self._wide = width > TERMINAL_WIDTH
        self._console = Console(
            file=self._stream,
            width=width,
            highlight=False,
            markup=False,
            emoji=False,
            force_terminal=colour,
            color_system="standard" if colour else None,
        )

    def line(self, text: str, style: str = "") -> None:
        """A line of text; off a terminal it is not broken, however long."""
        self._console.print(Text(text, style=style), soft_wrap=self._wide)

    def block(self, table: Table) -> None:
        """A table with an empty line after it."""
        self._console.print(table)
        self._console.print()

    def text(self) -> str:
        """What was drawn, without the blanks that fill up columns."""
        lines = self._stream.getvalue().rstrip().split("\n")
        return "".join(line.rstrip() + "\n" for line in lines)


def _plain_table(*, header: bool = True) -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=header)


def _grid(title: str, *columns: str) -> Table:
    """A table without lines: a title and right-aligned columns."""
    table = _plain_table()
    table.add_column(title, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def fit_screen(report: Report, *, colour: bool, width: int) -> str:
    """The screen of `memcalc fit`."""
    screen = _Screen(colour=colour, width=width)
    screen.line(words.answer(report), "bold green" if report.fits else "bold red")
    screen.line(words.asked(report))
    screen.line("")
    if report.fits and len(report.system.pools) > 1:
        for pool in report.system.pools:
            screen.block(_pool_bytes(report, pool))
    elif report.fits:
        screen.block(_bytes(report, width))
    else:
        _misfit(screen, report)
    if report.decode:
        screen.block(_speeds(report, report.decode))
    if report.cost:
        screen.block(_costs(report, report.cost))
    screen.block(_closing(report))
    return screen.text()


def _misfit(screen: _Screen, report: Report) -> None:
    sizes = [f"{_title(row.tensor)} {format_bytes(row.bytes)}" for row in report.placement if row.bytes]
    screen.line("  needs  " + " · ".join(sizes))
    screen.line("")
    if report.remedies:
        table = _grid("  what would do")
        table.add_column("")
        for remedy in report.remedies:
            table.add_row(f"  {remedy.options}", remedy.outcome)
        screen.block(table)


def _title(tensor: str) -> str:
    return _LABELS.get(tensor, tensor)


def _bytes(report: Report, width: int) -> Table:
    """Tensors by tier, over the whole system; caches and scratchpads where there is room for them."""
    shown = ("home", "cache", "scratchpad") if width >= TERMINAL_WIDTH else ("home",)
    tiers = [t for t in report.tiers if t.role in shown]
    titles = [tier_title(t.tier) + ("" if t.role == "home" else f"\n({t.role})") for t in tiers]
    table = _grid("  where the bytes live", "needed", "on the\nsystem", *titles, "read per\nstep")
    for row in report.placement:
        if not row.bytes:
            continue
        name = _title(row.tensor)
        if row.tensor == "kv_cache":
            name += f"  {report.kv_cache.bytes_per_token:,} B/token" * (report.kv_cache.bytes_per_token > 0)
        # What a tier is rounded up by is not worth a cell.
        least = ROUNDING_BYTES * report.system.chips
        here = [format_bytes(row.tiers[t.tier]) if row.tiers.get(t.tier, 0) > least else "–" for t in tiers]
        read = "–" if row.read_bytes_per_step is None else format_bytes(row.read_bytes_per_step)
        table.add_row(
            f"  {name}", format_bytes(row.bytes), format_bytes(sum(row.tiers.values())), *here, read
        )
    usable = [format_bytes(t.usable_bytes) if t.usable_bytes else "–" for t in tiers]
    table.add_row("  usable", "", format_bytes(sum(t.usable_bytes for t in tiers)), *usable)
    return table


def _pool_bytes(report: Report, pool: PoolFacts) -> Table:
    """Tensors by tier over one of several pools: its homes."""
    tiers = [t for t in report.tiers if t.pool == pool.role and t.role == "home"]
    title = f"  {pool.role}: {pool.chips:,} × {pool.title}"
    table = _grid(title, *(tier_title(t.tier) for t in tiers))
    for tensor, where in pool.placement.items():
        if any(where.values()):
            cells = (format_bytes(where[t.tier]) if where.get(t.tier) else "–" for t in tiers)
            table.add_row(f"    {_title(tensor)}", *cells)
    table.add_row("    usable", *(format_bytes(t.usable_bytes) for t in tiers))
    return table


def _speeds(report: Report, decode: Decode) -> Table:
    """Decode and prefill: likely values, bands, and where a step goes."""
    table = _banded("  how fast")

    def ends(figure: str, block: Decode | Prefill | RequestTime, form: Callable[[float], str]) -> str:
        low, high = block.low[figure], block.high[figure]
        return f"{form(low)} to {form(high)}" if low < high else ""

    for title, figure in (
        ("  tokens/s per user", "tokens_per_s_per_user"),
        ("  tokens/s, whole system", "tokens_per_s"),
        ("  tokens/s per chip", "tokens_per_s_per_chip"),
    ):
        value = words.speed(getattr(decode, figure))
        table.add_row(title, value, ends(figure, decode, words.speed) or "a bound: no software is faster")
    step = ends("step_s", decode, words.seconds), f"bound by {term_title(decode.bottleneck)}"
    table.add_row("  decode step", words.seconds(decode.step_s), ", ".join(filter(None, step)))
    for title, seconds, share in words.terms(decode.terms_s, decode.step_s):
        if share >= SMALLEST_SHARE:
            table.add_row(f"    {title}", words.seconds(seconds), f"{words.bar(share, BAR)} {share:.0%}")
    prefill = report.prefill
    if prefill:
        first = ends("time_to_first_token_s", prefill, words.seconds)
        bound = ", ".join(filter(None, (first, f"bound by {term_title(prefill.bottleneck)}")))
        table.add_row("  time to first token", words.seconds(prefill.time_to_first_token_s), bound)
        if prefill.kv_transfer_s is not None and prefill.kv_transfer_bytes is not None:
            size = format_bytes(prefill.kv_transfer_bytes)
            handed = f"{size} of KV cache to the chips that decode, under way during prefill"
            table.add_row("    hand-over", words.seconds(prefill.kv_transfer_s), handed)
    if report.request and report.request.latency_s is not None:
        latency = words.seconds(report.request.latency_s)
        table.add_row("  whole request", latency, ends("latency_s", report.request, words.seconds))
    return table


def _banded(title: str) -> Table:
    """A table of likely values with their bands; the bands give way where a terminal is narrow."""
    table = _grid(title, "likely")
    table.add_column("80 % band")
    return table


def _costs(report: Report, cost: Cost) -> Table:
    """Dollars and joules with their bands, and the price that they rest on."""
    hours = {pool.title: pool.usd_per_chip_hour for pool in report.system.pools}
    hour = " and ".join(
        ("no price" if usd is None else f"{words.money(usd)} USD per chip-hour")
        + (f" of {title}" if len(hours) > 1 else "")
        for title, usd in hours.items()
    )
    basis = f"{report.prices}: {hour}" + (
        f" ({cost.price_kind}, {cost.price_date})" if cost.price_kind else ""
    )
    basis += f", utilization {cost.utilization:.0%}"
    table = _banded("  how dear")
    for name, key, value in (
        ("USD per million tokens out", "usd_per_million_output_tokens", cost.usd_per_million_output_tokens),
        ("USD per million tokens in", "usd_per_million_input_tokens", cost.usd_per_million_input_tokens),
    ):
        if value is not None:
            band = f"{words.money(cost.low[key])} to {words.money(cost.high[key])}"
            table.add_row(f"  {name}", words.money(value), band)
    if cost.joules_per_output_token is not None:
        key = "joules_per_output_token"
        band = (
            f"{words.joules(cost.low[key])} to {words.joules(cost.high[key])}, at {words.watts(cost.watts)}"
        )
        table.add_row("  joules per token out", words.joules(cost.joules_per_output_token), band)
    table.add_row("  price", "", basis)
    return table


def _closing(report: Report) -> Table:
    """Limits, evidence, what is left out and what to know: label and wrapped text."""
    table = _plain_table(header=False)
    table.add_column("", no_wrap=True, style="bold")
    table.add_column("", overflow="fold")
    if report.fits:
        table.add_row("  limits", words.limits(report))
    if report.why:
        table.add_row("  why there", report.why)
    cache = report.kv_cache
    if cache.reserved_because:
        held = round(cache.engine_reserved_bytes_per_sequence * cache.replication)
        table.add_row(
            "  KV cache",
            f"{'hypothetical ' * (report.evidence['decode'] == 'hypothetical')}{report.engine} reserves {format_bytes(held)} a sequence for {format_bytes(cache.bytes_per_sequence)}: "
            + ", ".join(cache.reserved_because),
        )
    for change in report.degrades_at:
        table.add_row("  degrades", f"at {change.what} {change.value:,}: {change.verdict}")
    top = [s for s in report.sensitivity if abs(s.tokens_per_s_per_user) >= 0.005][:4]
    if top:
        text = " · ".join(f"{s.figure} {s.tokens_per_s_per_user:+.1%}" for s in top)
        table.add_row("  +10 % of", f"{text} tokens/s per user")
    rests = f" ({report.evidence['rests_on']})" if "rests_on" in report.evidence else ""
    evidence = f"decode: {report.evidence['decode']}{rests} · chip figures: {report.evidence['chip']}"
    if "prefill" in report.evidence:
        evidence += f" · prefill: {report.evidence['prefill']}"
    table.add_row("  evidence", evidence)
    table.add_row("  not modelled", ", ".join(report.not_modeled))
    for warning in report.warnings:
        table.add_row("  note", warning)
    return table


def compare_screen(comparison: Comparison, *, colour: bool, width: int) -> str:
    """The screen of `memcalc compare`: a row a system, a star at the best of each column."""
    screen = _Screen(colour=colour, width=width)
    reports = comparison.results
    work = reports[0].workload
    models = ", ".join(dict.fromkeys(r.model.name for r in reports))
    formats = [f"{r.precision.weights} weights, {r.precision.kv} KV cache" for r in reports]
    # What a chip's masks fix stands in its row.
    usual = dict.fromkeys(f for f in formats if formats.count(f) > 1) or dict.fromkeys(formats)
    screen.line(_headline(comparison), "bold")
    screen.line(
        f"{models} · {work.workflow} · batch {work.batch:,} · context {work.context_tokens:,} · "
        f"{' or '.join(usual)} · prices {reports[0].prices}{_utilization(reports)} · * best of the column"
    )
    screen.line("")
    narrow = width <= TERMINAL_WIDTH
    table = _plain_table()
    table.add_column("  system", no_wrap=not narrow)
    table.add_column("verdict", no_wrap=not narrow)
    for column in ("tok/s\n/user", "tok/s\n/chip", "TTFT", "USD/Mtok\nout", "J/token"):
        table.add_column(column if narrow else column.replace("\n", " ").replace(" /", "/"), justify="right")
    table.add_column("bound by", no_wrap=True)
    if not narrow:
        table.add_column("evidence", no_wrap=True)
        table.add_column("80 % of tok/s/user", no_wrap=True)
    stars = [best(reports, figure, most=most) for figure, _, most in _FIGURES]
    for place, report in enumerate(reports):
        cells = [
            (show(value) if (value := figure(report)) is not None else "–")
            + (" *" if star == place else "  ")
            for (figure, show, _), star in zip(_FIGURES, stars, strict=True)
        ]
        bound = term_title(report.decode.bottleneck) if report.decode else "–"
        row = [f"  {label(report, reports)}", _verdict(report), *cells, bound]
        table.add_row(*row, *([] if narrow else [report.evidence["decode"], _speed_band(report)]))
    screen.block(table)
    closing = _plain_table(header=False)
    closing.add_column("", no_wrap=True, style="bold")
    closing.add_column("", overflow="fold")
    if narrow:
        for worth in dict.fromkeys(r.evidence["decode"] for r in reports):
            those = [label(r, reports) for r in reports if r.evidence["decode"] == worth]
            closing.add_row("  evidence", f"{worth}: {', '.join(those)}")
    for report in reports:
        if not report.fits:
            closing.add_row("  does not fit", f"{label(report, reports)}: {report.reason}")
    for sentence in comparison.why:
        closing.add_row("  why", sentence)
    closing.add_row("  not modelled", ", ".join(dict.fromkeys(x for r in reports for x in r.not_modeled)))
    for note in words.merged_notes(reports):
        closing.add_row("  note", note)
    screen.block(closing)
    return screen.text()


def _headline(comparison: Comparison) -> str:
    """The answer in words: how many fit, who is fastest."""
    reports = comparison.results
    fitting = [r for r in reports if r.fits]
    if not fitting:
        return f"None of {len(reports)} fits"
    text = f"{len(fitting)} of {len(reports)} fit"
    fast = best(reports, speed, most=True)
    if fast is not None:
        text += f"; fastest per user: {label(reports[fast], reports)} with {words.speed(speed(reports[fast]) or 0)} tok/s"
        text += _unless_calibrated(reports[fast])
    cheap = best(reports, price, most=False)
    if cheap is not None:
        text += f"; cheapest: {label(reports[cheap], reports)} with {words.money(price(reports[cheap]))} USD/Mtok out"
        text += _unless_calibrated(reports[cheap])
    return text


def _unless_calibrated(report: Report) -> str:
    """What a figure is worth that does not rest on a record."""
    worth = report.evidence["decode"]
    return "" if worth == "calibrated" else f" ({worth})"


def _utilization(reports: Sequence[Report]) -> str:
    """The share of the day at this load, on which all costs of a comparison rest."""
    return next((f", utilization {r.cost.utilization:.0%}" for r in reports if r.cost), "")


def _verdict(report: Report) -> str:
    phrase = words.verdict_phrase(report)
    most = report.limits.max_batch
    if not report.fits or not most:
        return phrase
    # Up to where this verdict holds, and how many fit with another.
    other = next((change for change in report.degrades_at if change.what == "batch"), None)
    here = most if other is None else min(most, other.value - 1)
    text = f"{phrase}, 1 user" if here == 1 else f"{phrase}, ≤ {here:,} users"
    return text if here == most or other is None else f"{text} ({other.verdict}: ≤ {most:,})"


def _speed_band(report: Report) -> str:
    """The band of the speed of a user."""
    if report.decode is None:
        return "–"
    low, high = (end["tokens_per_s_per_user"] for end in (report.decode.low, report.decode.high))
    return f"{words.speed(low)} to {words.speed(high)}" if low < high else "a bound"


#: The figures of the columns, how each is shown, and whether the largest is the best.
_FIGURES: tuple[tuple[Callable[[Report], float | None], Callable[[float], str], bool], ...] = (
    (speed, words.speed, True),
    (lambda r: r.decode.tokens_per_s_per_chip if r.decode else None, words.speed, True),
    (lambda r: r.prefill.time_to_first_token_s if r.prefill else None, words.seconds, False),
    (price, words.money, False),
    (lambda r: r.cost.joules_per_output_token if r.cost else None, words.joules, False),
)


def validation_screen(found: Validation, *, colour: bool, width: int) -> str:
    """The screen of `memcalc validate`."""
    screen = _Screen(colour=colour, width=width)
    screen.line(_accuracy(found), "bold")
    predicted = len({one.id for one in found.outcomes})
    counts = [f"{predicted + len(found.skipped):,} rows", f"{predicted:,} predicted"]
    counts.append(f"{len(found.skipped) - len(found.broken):,} skipped")
    if found.broken:
        counts.append(f"{len(found.broken):,} broken")
    screen.line(f"{found.file or 'the published record'} · " + " · ".join(counts))
    screen.line("")
    for entry in found.broken[:_MOST_BROKEN]:
        screen.line(f"  broken  {entry.id}: {entry.reason}", "red")
    if found.broken:
        screen.line("")
    if found.chips:
        _list_rows(screen, found)
        return screen.text()
    table = _grid("  how far off", "figures", "median", "9 in 10", "bias", "in 80 % band")
    for task, record in found.by_task.items():
        table.add_row(f"  {task}", *_record(record))
    if found.overall and found.overall.n != sum(record.n for record in found.by_task.values()):
        table.add_row("  all, with rows that state too little", *_record(found.overall))
    if found.by_task:
        screen.block(table)
    if found.groups:
        table = _plain_table()
        for title in ("  task", "engine", "chips", "source"):
            table.add_column(title, no_wrap=True)
        for title in ("n", "median", "9 in 10", "bias", "band"):
            table.add_column(title, justify="right", no_wrap=True)
        for group in found.groups:
            kind = _KINDS.get(group.kind, group.kind)
            table.add_row(f"  {group.task}", group.engine, group.family, kind, *_record(group.record))
        screen.block(table)
    if found.worst:
        table = _grid("  the worst, tokens/s as each row counts them", "measured", "predicted", "ratio")
        for one in found.worst:
            figures = words.speed(one.measured), words.speed(one.predicted), f"{one.ratio:.2f}"
            table.add_row(f"  {one.id}", *figures)
        screen.block(table)
    reasons: dict[str, list[str]] = {}
    for entry in found.skipped:
        if not entry.broken:
            reasons.setdefault(entry.reason, []).append(entry.id)
    if reasons:
        table = _plain_table()
        table.add_column("skipped", justify="right")
        table.add_column("why")
        for reason, ids in sorted(reasons.items(), key=lambda item: -len(item[1])):
            table.add_row(str(len(ids)), reason if len(ids) > 1 else f"{reason} ({ids[0]})")
        screen.block(table)
    return screen.text()


def _list_rows(screen: _Screen, found: Validation) -> None:
    """Each row of the chips that were asked for, their records, and what was assumed or skipped."""
    marks: dict[str, str] = {}
    for one in found.outcomes:
        for text in one.assumed:
            marks.setdefault(text, _mark(len(marks)))
    explained = False
    for group in found.by_chip:
        ones = [one for one in found.outcomes if (one.chip, one.task) == (group.chip, group.task)]
        # Where a floor decides, a speed that no floor explains tells of speculation.
        shown = group.chip in found.floors and any(one.tokens_per_step for one in ones)
        explained = explained or shown
        heads = ("by", "chips", "measured", "predicted", "ratio", *(["tokens\na step"] if shown else []))
        table = _grid(f"  {group.chip}: {group.task}", *heads)
        table.add_column("assumed", no_wrap=True)
        for one in ones:
            by = "outside" if one.kind == "independent" else _KINDS[one.kind]
            cells = [by, f"{one.chips:,}", words.speed(one.measured), words.speed(one.predicted)]
            cells.append(f"{one.ratio:.2f}")
            factor = one.tokens_per_step_to_explain
            if shown:
                cells.append("" if factor is None else f"{factor:.2f}")
            table.add_row(f"  {one.id}", *cells, " ".join(sorted(marks[text] for text in one.assumed)))
        screen.block(table)
    if found.outcomes:
        table = _grid("  how far off", "rows", "median", "worst")
        table.add_column("which", no_wrap=True)
        for chip, task, record, worst in found.by_chip:
            figures = f"{record.n}", f"{record.median_abs_error:.1%}", f"{worst.error:.1%}"
            table.add_row(f"  {chip}: {task}", *figures, worst.id)
        screen.block(table)
    notes = _plain_table(header=False)
    notes.add_column("", no_wrap=True, style="bold")
    notes.add_column("", overflow="fold")
    for chip, text in found.floors.items():
        named = f"hypothetical {chip}" if chip in found.hypothetical else chip
        notes.add_row("  layer floor", f"of {named} rests on {text}")
    if explained:
        notes.add_row(
            "  tokens a step", "measured over predicted: so many accepted in each step would explain the row"
        )
    for text, mark in marks.items():
        notes.add_row(f"  assumed {mark}", text)
    for entry in found.skipped:
        if not entry.broken:
            notes.add_row("  skipped", f"{entry.id}: {entry.reason}")
    if not found.outcomes and not found.skipped:
        notes.add_row("  no rows", f"of {_labels(found)}")
    screen.block(notes)


def _labels(found: Validation) -> str:
    """The chips that were asked for; those without published figures say so."""
    return ", ".join("hypothetical " * (chip in found.hypothetical) + chip for chip in found.chips)


def _mark(place: int) -> str:
    """The letters that stand for the assumption at a place: a, b, ..., z, aa, ab, ...

    >>> _mark(0), _mark(25), _mark(26)
    ('a', 'z', 'aa')
    """
    rest, letter = divmod(place, 26)
    return (_mark(rest - 1) if rest else "") + chr(ord("a") + letter)


def _accuracy(found: Validation) -> str:
    """The one sentence that a validation comes down to."""
    record = found.speeds or found.overall
    if record is None:
        return "Nothing could be predicted"
    if found.chips and found.overall:
        # Of a few rows each counts, also those that state too little.
        worst = max(found.outcomes, key=lambda one: one.error)
        figures = "1 figure" if found.overall.n == 1 else f"{found.overall.n:,} figures"
        half = f"half of {figures} within {found.overall.median_abs_error:.1%}"
        return f"{_labels(found)}: {half}, the worst off by {worst.error:.0%} ({worst.id})"
    how = "Held out by source and chip, half" if found.held_out else "Half"
    what = "speeds" if found.speeds else "figures"
    near, far = f"{record.median_abs_error:.1%}", f"{record.p90_abs_error:.0%}"
    return f"{how} of {record.n:,} {what} are predicted within {near}, nine in ten within {far}"


def _record(record: Record) -> tuple[str, ...]:
    return (
        f"{record.n:,}",
        f"{record.median_abs_error:.1%}",
        f"{record.p90_abs_error:.1%}",
        f"{record.bias:+.1%}",
        f"{record.band_coverage:.0%}",
    )


def calibration_screen(found: Calibration, *, colour: bool, width: int) -> str:
    """The screen of `memcalc calibrate`."""
    screen = _Screen(colour=colour, width=width)
    before, after = f"{found.error_before:.1%}", f"{found.error_after:.1%}"
    screen.line(
        f"{found.engine.name}: off by {after} on {_rows(found.used)}, {found.base} by {before}", "bold"
    )
    if found.used > 1:
        screen.line(f"a row that is held out is off by {found.error_held_out:.1%} (medians all)")
    for warning in found.warnings:
        screen.line(f"note: {warning}", "yellow")
    screen.line("")
    table = _grid("  the 80 % band", "rows", "before", "now")
    for band in found.bands:
        title = f"  {band.task} on {band.family}"
        table.add_row(title, f"{band.rows:,}", f"×/÷ {band.before:.2f}", f"×/÷ {band.after:.2f}")
    screen.block(table)
    if found.moved:
        table = _grid("  what moved", "before", "now")
        for one in found.moved:
            table.add_row(f"  {one.constant}", f"{one.before:.4g}", f"{one.after:.4g}")
        screen.block(table)
    for entry in found.skipped[:_MOST_BROKEN]:
        screen.line(f"  {'broken' if entry.broken else 'skipped'}  {entry.id}: {entry.reason}")
    rest = len(found.skipped) - _MOST_BROKEN
    if rest > 0:
        screen.line(f"  and {rest:,} more")
    return screen.text()


def _rows(count: int) -> str:
    return f"{count:,} rows" if count != 1 else "1 row"


#: How the lines of an explanation are shown; the words carry the meaning.
_STYLES = {"heading": "bold", "name": "bold", "source": "dim", "note": "yellow", "formula": "cyan"}


def explain_screen(found: Explanation, *, colour: bool, width: int) -> str:
    """The screen of `memcalc explain`: the answer, what was asked, each formula with its numbers."""
    from memcalc.render.explain import lines

    screen = _Screen(colour=colour, width=width)
    screen.line(words.answer(found.report), "bold green" if found.fits else "bold red")
    screen.line(words.asked(found.report))
    screen.line("")
    for text, kind in lines(found, width if width <= TERMINAL_WIDTH else None):
        screen.line(text, _STYLES.get(kind, ""))
    return screen.text()
