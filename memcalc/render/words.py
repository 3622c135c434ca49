"""The sentences and numbers of a screen, from a report alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from memcalc.chip import BEYOND, ON_CHIP
from memcalc.core.remarks import term_title, tier_title
from memcalc.core.report import PoolFacts, Report, TierRow
from memcalc.units import format_bytes, format_seconds

#: Of weights beyond the chip less than this is the embedding table, of which a few rows are read.
_SPILLED = 0.02


def verdict_phrase(report: Report) -> str:
    """The verdict as a person reads it: "in HBM", "fits in SRAM", "weights in SRAM, KV cache in HBM".

    Of unlike pools each says its own.
    """
    if not report.fits:
        return "does not fit"
    pools = report.system.pools
    if len(pools) < 2:
        rows = {row.tensor: row.tiers for row in report.placement}
        return _phrase(report.verdict, rows)
    parts = []
    for pool in pools:
        phrase = _phrase(pool.verdict, pool.placement)
        parts.append(f"{pool.role} {phrase.removeprefix('fits ')}")
    return ", ".join(parts)


def _phrase(verdict: str, rows: Mapping[str, Mapping[str, int]]) -> str:
    """A verdict with the tiers that it means."""
    weights, cache = rows["weights"], rows["kv_cache"] or rows["state"]
    near = _titles(tier for tier in ON_CHIP if tier in weights or tier in cache)
    beyond = dict.fromkeys(tier for tier in (*weights, *cache) if tier not in ON_CHIP)
    if verdict == "on-chip":
        return f"fits in {near}"
    if verdict == "weights-on-chip":
        return f"weights in {near}, KV cache in {_titles(cache)}"
    if verdict == "kv-on-chip":
        return f"KV cache in {_titles(cache)}, weights in {_titles(weights)}"
    if verdict == "split":
        parts = [(_share(weights), "weights"), (_share(cache), "KV cache")]
        inside = [f"{_percent(share)} of the {what}" for share, what in parts if share]
        return f"partly in {near}: {', '.join(inside)}"
    if verdict == "dram":
        return f"in {_titles(beyond)}"
    spilled = [
        what
        for what, tiers in (("weights", weights), ("KV cache", cache))
        if sum(size for tier, size in tiers.items() if tier in BEYOND) > _SPILLED * sum(tiers.values())
    ]
    return f"{' and '.join(spilled)} in {_titles(t for t in beyond if t in BEYOND)}"


def _titles(tiers: Iterable[str]) -> str:
    return " and ".join(tier_title(tier) for tier in tiers)


def _share(tiers: Mapping[str, int]) -> float:
    """The share of bytes that lie on the chip."""
    total = sum(tiers.values())
    return sum(size for tier, size in tiers.items() if tier in ON_CHIP) / total if total else 0.0


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "under 1%"


def answer(report: Report) -> str:
    """The first line of a screen: the answer, and how far it is from another one."""
    where = chips(report)
    if not report.fits:
        text = f"Does not fit: {report.reason}"
        if report.remedies:
            ways = [remedy.options for remedy in report.remedies[:3]]
            text += "; would fit with " + ", or ".join(ways)
        return text
    pools = report.system.pools
    if len(pools) > 1:
        text = "Fits: " + ", ".join(_pool(report, pool) for pool in pools)
    else:
        homes = [tier for tier in report.tiers if tier.used_bytes]
        phrase = verdict_phrase(report)
        phrase = phrase[0].upper() + phrase[1:] if phrase.startswith("fits") else f"Fits: {phrase}"
        if len(homes) == 1:
            used = f"{_of_usable(homes[0])} usable"
            phrase = f"Fits in {tier_title(homes[0].tier)}"
        else:
            used = ", ".join(f"{_of_usable(tier)} of the {tier_title(tier.tier)}" for tier in homes)
        text = f"{phrase}: {used} on {where}"
    most = report.limits.max_batch
    if most:
        room = most / report.workload.batch
        shown = f"{room:,.1f}" if room < 10 else f"{room:,.0f}"
        text += f", room for {shown} times the batch" if room >= 1.05 else ", no room for a larger batch"
    return text


def _pool(report: Report, pool: PoolFacts) -> str:
    """What a pool does, where and how full it is."""
    homes = [tier for tier in report.tiers if tier.pool == pool.role and tier.used_bytes]
    used = ", ".join(f"{_of_usable(tier)} of the {tier_title(tier.tier)}" for tier in homes)
    return f"{pool.role} on {pool.chips:,} × {pool.title} ({used})"


def _of_usable(tier: TierRow) -> str:
    """Used and usable bytes, the unit once where it is the same."""
    used, usable = format_bytes(tier.used_bytes), format_bytes(tier.usable_bytes)
    number, _, unit = used.partition(" ")
    return f"{number if usable.endswith(' ' + unit) else used} of {usable}"


def chips(report: Report) -> str:
    """The system in words, like "8 × H100 SXM".

    A system with a name of its own keeps it.
    """
    system = report.system
    if system.name == system.chip and len(system.pools) == 1:
        return f"{system.chips:,} × {system.title}"
    if system.title.startswith(f"{system.chips} × "):
        return system.title
    return f"{system.title} ({system.chips:,} chip{'s' if system.chips > 1 else ''})"


def merged_notes(reports: Iterable[Report]) -> list[str]:
    """The warnings of several reports, those that differ in the name of a chip alone as one."""
    found: dict[str, list[str]] = {}
    for report in reports:
        names = ["hypothetical " * pool.hypothetical + pool.chip for pool in report.system.pools]
        for text in report.warnings:
            name = next((name for name in names if name in text), "")
            template = text.replace(name, "\0") if name else text
            chips = found.setdefault(template, [])
            if name and name not in chips:
                chips.append(name)
    return [template.replace("\0", ", ".join(chips)) for template, chips in found.items()]


def _parameters(report: Report) -> str:
    """How many parameters a model has, and how many a token uses where those are fewer."""
    model = report.model

    def short(count: int) -> str:
        return f"{count / 1e9:,.1f} B" if count >= 1e9 else f"{count / 1e6:,.1f} M"

    active = model.active_parameters
    idle = model.parameters - model.vision_parameters > active
    return f"{short(model.parameters)} parameters" + f", {short(active)} active" * idle


def asked(report: Report) -> str:
    """What was asked, resolved to integers, in one line."""
    work, model = report.workload, report.model
    parts = [
        f"{model.name} ({_parameters(report)})",
        work.workflow,
        f"batch {work.batch:,}",
        f"context {work.context_tokens:,}"
        + (f" of it {work.output_tokens:,} output" if work.output_tokens else ""),
        f"{report.precision.weights} weights, {report.precision.kv} KV cache",
        f"engine {report.engine}" + " (hypothetical)" * (report.evidence["decode"] == "hypothetical"),
    ]
    if work.draft_tokens:
        parts.insert(4, f"{work.draft_tokens} drafted, {work.acceptance:.0%} accepted")
    if report.layout:
        parts.append(layout(report))
    return " · ".join(parts)


def layout(report: Report) -> str:
    """The parallel layout in words; "one chip" where there is nothing to divide."""
    found = report.layout
    if found is None:
        return ""
    if found.spatial:
        copies = f", {found.data_parallel} replicas" if found.data_parallel > 1 else ""
        return ("layers side by side on all chips" if report.system.chips > 1 else "one chip") + copies
    named = {
        "tensor": found.tensor_parallel,
        "pipeline": found.pipeline_parallel,
        "attention data": found.attention_data_parallel,
        "expert": found.expert_parallel,
        "data": found.data_parallel,
        "context": found.context_parallel,
    }
    parts = [f"{name} {degree}" for name, degree in named.items() if degree > 1]
    return "parallel: " + ", ".join(parts) if parts else "one chip"


def terms(values: Mapping[str, float], step: float) -> list[tuple[str, float, float]]:
    """Terms that matter, largest first: title, seconds, share of the step."""
    found = [(term_title(term), taken, taken / step) for term, taken in values.items() if taken > 0]
    return sorted(found, key=lambda entry: -entry[1])


def bar(share: float, width: int) -> str:
    """A bar of eighths of a character.

    >>> bar(0.5, 4)
    '██'
    """
    eighths = max(1, round(share * width * 8))
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]


def speed(value: float) -> str:
    """Tokens a second with three digits or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 10 else f"{value:,.2f}"


def money(value: float | None) -> str:
    """US dollars with at least three digits, "unknown" where there is none.

    >>> money(1.9231), money(0.0123), money(None)
    ('1.92', '0.0123', 'unknown')
    """
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.2f}" if value >= 0.1 else f"{value:.3g}"


def joules(value: float | None) -> str:
    """Joules with two or three digits, "unknown" where there are none."""
    return "unknown" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def watts(value: float | None) -> str:
    """Watts in watts or kilowatts."""
    return "unknown" if value is None else f"{value / 1000:,.1f} kW" if value >= 1000 else f"{value:,.0f} W"


def limits(report: Report) -> str:
    """How far batch and context can grow by memory alone."""
    found = report.limits
    most = "any batch" if found.max_batch is None else f"batch ≤ {found.max_batch:,}"
    longest = "any context" if found.max_context_tokens is None else f"context ≤ {found.max_context_tokens:,}"
    least = "no number of chips"
    if found.min_chips is not None:
        least = f"at least {found.min_chips:,} chip{'s' if found.min_chips > 1 else ''}"
    return f"{most} at this context · {longest} at this batch · {least}"


def seconds(value: float | None) -> str:
    """A time, "unknown" where there is none."""
    return "unknown" if value is None else format_seconds(value)
