"""The steps of memory and placement: what a model needs, what an engine reserves, what one chip holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from memcalc.core.ledger import Cache
from memcalc.core.placement import Placement
from memcalc.core.remarks import tier_title
from memcalc.core.residency import WEIGHT_PARTS, Residency, cache_copies
from memcalc.core.search import Request
from memcalc.model import (
    GroupedAttention,
    Held,
    LatentAttention,
    Layers,
    RecurrentMixer,
)
from memcalc.precision import cache_bytes, format_named
from memcalc.studies.explain.formula import evaluate
from memcalc.studies.explain.pools import Laid
from memcalc.studies.explain.steps import (
    Kept,
    Numbers,
    Steps,
    caches_named,
    cited,
    entries_kept,
    inner,
    part_name,
    summed,
    tensor_row,
)

Mixer = Any
_ATTENTION_SOURCES = {
    "grouped": "Ainslie 2023 (arXiv:2305.13245)",
    "latent": "DeepSeek-V2 (arXiv:2405.04434), section 2.1",
    "compressed": "DeepSeek-V4 (arXiv:2606.19348), section 2.3",
    "recurrent": "Gu 2023 (arXiv:2312.00752), Dao 2024 (arXiv:2405.21060), Yang 2024 (arXiv:2412.06464)",
}
_PART_TITLES = {"attention": "attention and head", "ffn": "feed-forward", "experts": "experts",
                "cold": "looked up"}  # fmt: skip


def memory_steps(steps: Steps, held: Residency | None) -> None:
    """What the model needs, whatever holds it: weights, caches, states."""
    request, report, book = steps.request, steps.report, steps.request.book
    model = request.model
    elements = model.elements()
    counted: Numbers = {f"{name}_parameters": n for name, n in report.model.parameters_by_class.items()}
    steps.add("parameters", summed(list(counted)), counted, "parameters",
              cited(model.sources, "published_parameters", "layers"), report.model.parameters)  # fmt: skip
    _active(steps)
    same = request.precision.weights == model.checkpoint
    for name, size in book.weight_bytes.items():
        if not size:
            continue
        whole = elements[name]
        if same and model.checkpoint_bytes:
            values: Numbers = {"elements": whole.total}
            if whole.total:
                values["bits"] = 8 * size / whole.total
                formula = "elements * bits / 8"
            else:
                values, formula = {"checkpoint_bytes": size}, "checkpoint_bytes"
            steps.add(f"weights: {name}", formula, values, "B",
                      cited(model.sources, "checkpoint_bytes"), size)  # fmt: skip
            continue
        form = book.formats[name]
        if name == "embedding" and model.tied_embeddings and book.formats["head"].main.weight_only:
            form = book.formats["head"]
        pieces, values, left = [], {}, whole.matrix
        for share in form.shares[1:]:
            part = whole.matrix * share.numerator // share.denominator
            left -= part
            pieces.append(_stored(share.format.name, part, share.format.bits, values))
        pieces.insert(0, _stored("matrix", left, form.main.bits, values))
        if whole.vector:
            pieces.append(_stored("vector", whole.vector, form.vectors.bits, values))
        formats = dict.fromkeys((form.main.name, *(s.format.name for s in form.shares[1:])))
        steps.add(f"weights: {name}", summed(pieces), values, "B",
                  f"{', '.join(formats)}, scales included (memcalc/precision.py)", size)  # fmt: skip
    classes: Numbers = {f"{name}_bytes": size for name, size in book.weight_bytes.items() if size}
    if book.mtp_bytes:
        classes["mtp_bytes"] = book.mtp_bytes
    steps.add("weights", summed(list(classes)), classes, "B", (), book.total_weight_bytes)
    _caches(steps)
    _reserved(steps, held)


def _stored(name: str, elements: int, bits: float, values: Numbers) -> str:
    """The piece of a formula for elements of so many bits; whole bytes."""
    values[f"{name}_elements"], values[f"{name}_bits"] = elements, bits
    piece = f"{name}_elements * {name}_bits / 8"
    return piece if elements * bits % 8 == 0 else f"ceil({piece})"


def _active(steps: Steps) -> None:
    model, report = steps.request.model, steps.report
    kinds: dict[tuple[int, int, int], int] = {}
    for group in model.layers:
        ff = group.feed_forward
        if ff.experts:
            kind = ff.experts, ff.top_k, ff.expert_elements(model.width).total
            kinds[kind] = kinds.get(kind, 0) + group.count
    if not kinds:
        return
    values: Numbers = {"parameters": report.model.parameters}
    formula = "parameters"
    if model.vision_parameters:
        values["vision_parameters"] = model.vision_parameters
        formula += " - vision_parameters"
    for place, ((experts, top_k, size), layers) in enumerate(kinds.items()):
        end = f"_{place + 1}" if place else ""
        values |= {f"moe_layers{end}": layers, f"experts{end}": experts, f"top_k{end}": top_k,
                   f"expert_parameters{end}": size}  # fmt: skip
        formula += f" - moe_layers{end} * (experts{end} - top_k{end}) * expert_parameters{end}"
    steps.add("active parameters", formula, values, "parameters", (), report.model.active_parameters)


def _caches(steps: Steps) -> None:
    """What a token adds to the cache by kind of attention, and what a sequence keeps."""
    request, report, book = steps.request, steps.report, steps.request.book
    kv, context = request.precision.kv, request.workload.context_tokens
    kept = caches_named(book.caches)
    for one in kept:
        pieces: list[str] = []
        values: Numbers = {}
        kinds: dict[str, None] = {}
        alike: dict[tuple[Mixer, Held], list[Layers]] = {}
        for group in request.model.layers:
            for mixer in group.mixers:
                for held in mixer.held():
                    if held.elements and _same(one.cache, held):
                        alike.setdefault((mixer, held), []).append(group)
        for place, ((mixer, held), groups) in enumerate(alike.items()):
            end = f"_{place + 1}" if place else ""
            layers = replace(groups[0], count=sum(group.count for group in groups))
            if held.state:
                size = format_named(held.format or "bf16").bytes_of(held.elements)
            else:
                size = cache_bytes(kv, mixer.kind, held.elements)
            elements = _entry(layers, mixer, held, end, values)
            values[f"bits{end}"] = 8 * size / held.elements
            pieces.append(f"layers{end} * {elements} * bits{end} / 8")
            kinds[mixer.kind] = None
        unit = (
            "B per sequence" if one.cache.state else "B per entry" if one.cache.ratio > 1 else "B per token"
        )
        what = "state" if one.cache.state else f"KV cache: {one.title}"
        steps.add(what, summed(pieces), values, unit,
                  tuple(_ATTENTION_SOURCES[kind] for kind in kinds if kind in _ATTENTION_SOURCES), one.cache.bytes_per_entry)  # fmt: skip
    stored = [one for one in kept if one.cache.stored]
    cached = [one for one in stored if not one.cache.state]
    if cached:
        growing = [o for o in cached if o.cache.window is None or context < o.cache.window]
        values = {f"{o.name}_bytes": o.cache.bytes_per_entry for o in growing}
        pieces = [f"{o.name}_bytes" for o in growing]
        for place, one in enumerate(growing):
            if one.cache.ratio > 1:
                values[f"{one.name}_tokens"] = one.cache.ratio
                pieces[place] = f"floor({one.name}_bytes / {one.name}_tokens)"
        steps.add("KV cache of one more token", summed(pieces) or "0", values, "B per token", (),
                  report.kv_cache.bytes_per_token)  # fmt: skip
        values, pieces = {}, []
        for one in cached:
            values[f"{one.name}_bytes"] = one.cache.bytes_per_entry
            pieces.append(f"{one.name}_bytes * {entries_kept(one, context, values)}")
        steps.add("KV cache of a sequence", summed(pieces), values, "B", (),
                  report.kv_cache.bytes_per_sequence)  # fmt: skip
        steps.add("KV cache of the batch", "batch * sequence_bytes",
                  {"batch": request.workload.batch, "sequence_bytes": report.kv_cache.bytes_per_sequence}, "B", (),
                  tensor_row(report, "kv_cache").bytes)  # fmt: skip
    states = [one for one in stored if one.cache.state]
    if states:
        values = {f"{one.name}_bytes": one.cache.bytes_per_entry for one in states}
        steps.add("state of a sequence", summed(list(values)), values, "B", (),
                  report.kv_cache.state_bytes_per_sequence)  # fmt: skip
        steps.add("state of the batch", "batch * sequence_bytes",
                  {"batch": request.workload.batch,
                   "sequence_bytes": report.kv_cache.state_bytes_per_sequence}, "B", (),
                  tensor_row(report, "state").bytes)  # fmt: skip


def _same(cache: Cache, held: Held) -> bool:
    mine = cache.window, cache.ratio, cache.reads, cache.stored, cache.state, cache.shards
    return mine == (held.window, held.ratio, held.reads, held.stored, held.state, held.shards)


def _entry(group: Layers, mixer: Mixer, held: Held, end: str, values: Numbers) -> str:
    """The formula of the elements that a layer keeps in an entry."""
    named: Numbers
    if isinstance(mixer, GroupedAttention):
        if mixer.value_width == mixer.head_dim:
            formula, named = "2 * kv_heads * head_dim", {}
        else:
            formula, named = "kv_heads * (head_dim + value_dim)", {"value_dim": mixer.value_width}
        named |= {"kv_heads": mixer.kv_heads, "head_dim": mixer.head_dim}
    elif isinstance(mixer, LatentAttention) and held.elements == mixer.latent_dim + mixer.rope_dim:
        formula = "(latent_dim + rope_dim)"
        named = {"latent_dim": mixer.latent_dim, "rope_dim": mixer.rope_dim}
    elif isinstance(mixer, RecurrentMixer) and held.elements == mixer.heads * mixer.key_dim * mixer.value_dim:
        formula = "heads * key_dim * value_dim"
        named = {"heads": mixer.heads, "key_dim": mixer.key_dim, "value_dim": mixer.value_dim}
    elif isinstance(mixer, RecurrentMixer):
        formula = "conv_channels * conv_kernel"
        named = {"conv_channels": mixer.conv_channels, "conv_kernel": mixer.conv_kernel}
    else:
        formula, named = "entry_elements", {"entry_elements": held.elements}
    for name in sorted(named, key=len, reverse=True):
        formula = formula.replace(name, name + end) if end else formula
    values |= {name + end: value for name, value in named.items()}
    values[f"layers{end}"] = group.count
    return formula


def _reserved(steps: Steps, held: Residency | None) -> None:
    """What the engine reserves of the cache of one sequence."""
    request, report = steps.request, steps.report
    if held is None:
        return
    cached = [one for one in caches_named(request.book.caches) if one.cache.stored and not one.cache.state]
    if not cached:
        return
    values: Numbers = {}
    pieces = []
    for one in cached:
        values[f"{one.name}_bytes"] = one.cache.bytes_per_entry
        pieces.append(f"{one.name}_bytes * {_paged(steps, held, one, values)}")
    engine = request.engine
    figures = ["latent_page_tokens" if held.page_tokens != engine.page_tokens else "page_tokens"]
    if any(one.cache.window is not None for one in cached):
        figures += ["window_slack_tokens", "window_share"]
    steps.add(f"KV cache that {engine.name} reserves for a sequence", summed(pieces), values, "B",
              steps.engine(*figures), report.kv_cache.engine_reserved_bytes_per_sequence)  # fmt: skip


def _paged(steps: Steps, held: Residency, one: Kept, values: Numbers) -> str:
    """The formula of the entries that an engine reserves: whole pages, windows with their slack."""
    request = steps.request
    values["context_tokens"] = request.workload.context_tokens
    tokens = "context_tokens"
    if one.cache.window is not None:
        values |= {f"{one.name}_tokens": one.cache.window, "slack_tokens": request.engine.window_slack_tokens}
        least = f"{one.name}_tokens + slack_tokens"
        # A pool of windows is tied to the context only beside layers that keep all of it.
        whole = any(c.window is None and c.ratio == 1 and not c.state for c in request.book.caches)
        if whole and request.engine.window_share:
            values["window_share"] = request.engine.window_share
            least = f"max({least}, ceil(context_tokens * window_share))"
        tokens = f"min(context_tokens, {least})"
    if held.page_tokens > 1:
        values["page_tokens"] = held.page_tokens
        tokens = f"ceil({tokens} / page_tokens) * page_tokens"
    if one.cache.ratio > 1:
        values[f"{one.name}_ratio"] = one.cache.ratio
        tokens = f"floor({tokens} / {one.name}_ratio)"
    return tokens


def system_steps(steps: Steps, held: Residency) -> None:
    """Caches with their copies over the system, activations and what the runtime keeps."""
    request, report, layout = steps.request, steps.report, held.layout
    engine, work, model = request.engine, request.workload, request.model
    copied: Numbers = {}
    pieces: dict[str, list[str]] = {"kv_cache": [], "state": []}
    numbers: dict[str, Numbers] = {"kv_cache": {}, "state": {}}
    for one in caches_named(request.book.caches):
        if not one.cache.stored or request.role == "feed-forward":
            continue
        tensor = "state" if one.cache.state else "kv_cache"
        entries = 1 if one.cache.state else evaluate(_paged(steps, held, one, copied), copied)
        name = f"{one.name}_reserved_bytes"
        numbers[tensor][name] = one.cache.bytes_per_entry * entries
        piece = name
        if cache_copies(one.cache, layout, request.chip, engine) != 1.0:
            numbers[tensor] |= {"tensor": layout.tensor, f"{one.name}_shards": one.cache.shards}
            piece += f" * max(1, tensor / {one.name}_shards)"
        pieces[tensor].append(piece)
    for tensor, title in (("kv_cache", "KV cache"), ("state", "state")):
        if pieces[tensor]:
            values = {"batch": work.batch, **numbers[tensor]}
            found = held.resident_kv(work.batch, work.context_tokens, state=tensor == "state")
            steps.add(f"{title} over the system, with pages and copies", f"batch * {inner(pieces[tensor])}", values, "B",
                      "tensor parallelism beyond the key-value heads copies them: Pope 2022 (arXiv:2211.05102)", found)  # fmt: skip
    alone = len(report.system.pools) == 1
    activations = round(held.activations(work.batch, work.context_tokens) * held.chips)
    if activations:
        ff = max(
            (group.feed_forward for group in model.layers),
            key=lambda f: f.matrices * (f.width * max(1, f.top_k) + f.shared_width),
        )
        values = {
            "chunk_tokens": engine.prefill_chunk_tokens, "context_tokens": work.context_tokens,
            "sequences": held.sequences(work.batch), "width": model.width, "matrices": ff.matrices,
            "feed_forward_width": ff.width, "top_k": max(1, ff.top_k), "shared_width": ff.shared_width,
            "tensor": layout.tensor, "groups": layout.attention_data, "vocabulary": model.vocabulary,
            "chips": held.chips,
        }  # fmt: skip
        wide = "matrices * (feed_forward_width * top_k + shared_width) / (tensor * groups)"
        steps.add(
            "activations: a chunk in one layer, 16-bit, and 32-bit logits",
            f"chips * (max(min(chunk_tokens, context_tokens), sequences) * 2 * (2 * width + {wide})"
            " + sequences * 4 * vocabulary / tensor)",
            values, "B", steps.engine("prefill_chunk_tokens"),
            tensor_row(report, "activations").bytes if alone else activations,
        )  # fmt: skip
    if held.reserved:
        linked = held.reserved == engine.reserved_bytes_per_linked_chip
        figure = f"reserved_bytes_per_{'linked_' if linked else ''}chip"
        steps.add("reserved by the runtime", "reserved_bytes_per_chip * chips",
                  {"reserved_bytes_per_chip": held.reserved, "chips": held.chips}, "B", steps.engine(figure),
                  tensor_row(report, "reserved").bytes if alone else held.reserved * held.chips)  # fmt: skip


def placement_steps(steps: Steps, pool: Laid, held: Residency) -> None:
    """What the fullest chip of a pool holds, and what of it is usable."""
    request, layout, chip = steps.request, held.layout, steps.request.chip
    work, model, stored = request.workload, request.model, request.book.weight_bytes
    degrees: Numbers = {
        "tensor": layout.tensor, "pipeline": layout.pipeline, "attention_groups": layout.attention_data,
        "data": layout.data, "context_chips": layout.context,
    }  # fmt: skip
    used = {name: degree for name, degree in degrees.items() if degree > 1 or name == "tensor"}
    steps.add("chips of the layout", " * ".join(used), used, "chips", pool.why, held.chips)
    if request.role != "feed-forward":
        groups = layout.data * layout.attention_data
        steps.add("sequences of the fullest group", "ceil(batch / groups)",
                  {"batch": work.batch, "groups": groups}, "sequences", (), held.sequences(work.batch))  # fmt: skip
    table, tied = stored["embedding"], model.tied_embeddings
    rows = table * (model.vocabulary * model.width) // model.elements()["embedding"].matrix if tied else 0
    spatial = chip.execution == "spatial"
    attention, head = stored["attention"] + stored["recurrent"], stored["head"] + rows
    ffn = stored["dense"] + stored["shared"] + stored["router"] + request.book.mtp_bytes
    cold = stored["vision"] + table - rows
    if tied and layout.pipeline > 1 and not spatial:
        cold += rows  # the other end of a pipeline has a copy
    sizes: dict[str, Numbers] = {
        "attention": {"attention_bytes": attention, "head_bytes": head}, "ffn": {"feed_forward_bytes": ffn},
        "experts": {"experts_bytes": stored["experts"]}, "cold": {"looked_up_bytes": cold},
    }  # fmt: skip
    stage = "" if layout.pipeline == 1 else "ceil(layers / pipeline) / layers * "
    staged: Numbers = {"layers": model.depth, "pipeline": layout.pipeline} if stage else {}
    for part in WEIGHT_PARTS:
        if not held.parts[part]:
            continue
        values = sizes[part]
        if spatial:
            formula = f"replicas * {inner(list(values))} / chips"
            values |= {"replicas": layout.data * layout.context, "chips": held.chips}
        elif part == "attention":
            formula = f"({stage}attention_bytes + head_bytes) / tensor"
            values |= {"tensor": layout.tensor} | staged
        elif part == "cold":
            formula = "looked_up_bytes / tensor"
            if stage:
                values["head_bytes"], formula = head, "max(0, looked_up_bytes - head_bytes) / tensor"
            values["tensor"] = layout.tensor
        else:
            formula = f"{stage}{summed(list(values))} / (tensor * attention_groups)"
            values |= {"tensor": layout.tensor, "attention_groups": layout.attention_data} | staged
        steps.add(f"the fullest chip: {_PART_TITLES[part]}", formula, values, "B", (), held.parts[part])
    _fullest(steps, held, pool.placement, stage, staged)


def _fullest(steps: Steps, held: Residency, placement: Placement | None, stage: str, staged: Numbers) -> None:
    """The cache and the rest of the fullest chip, all that it holds, and what of each tier is usable."""
    request, layout = steps.request, held.layout
    work, spatial = request.workload, request.chip.execution == "spatial"
    sizes = held.sizes(work.batch, work.context_tokens)
    if sizes["kv"]:
        one = held.resident_kv(1, work.context_tokens) + held.resident_kv(1, work.context_tokens, state=True)
        values: Numbers = {
            "sequences": held.sequences(work.batch),
            "sequence_bytes": one,
            "tensor": layout.tensor,
        }
        if spatial:
            values["pipeline"] = layout.pipeline
            formula = "sequences * sequence_bytes / (tensor * pipeline)"
        else:
            values |= staged
            formula = f"sequences * sequence_bytes * {stage}1 / tensor".replace(" * 1 /", " /")
            if layout.context > 1:
                values["context_chips"] = layout.context
                formula = formula.replace("/ tensor", "/ (tensor * context_chips)")
        steps.add(f"the fullest chip: {steps.kept}", formula, values, "B", (), sizes["kv"])
    if sizes["overhead"]:
        values = {"reserved_bytes": held.reserved,
                  "activation_bytes": held.activations(work.batch, work.context_tokens)}  # fmt: skip
        steps.add("the fullest chip: runtime and activations", "reserved_bytes + activation_bytes", values, "B",
                  (), sizes["overhead"])  # fmt: skip
    parts = {f"{part_name(name)}_bytes": size for name, size in sizes.items() if size}
    needed = held.needed(work.batch, work.context_tokens)
    steps.add("the fullest chip holds", summed(list(parts)) or "0", parts, "B", (), needed)
    for room in request.rooms:
        tier = request.chip.memory[room.tier]
        own = tier.usable is not None and not request.engine.ideal
        share = request.engine.usable_memory if tier.usable is None else tier.usable
        share = 1.0 if request.engine.ideal else share
        values = {"capacity_bytes": tier.capacity_bytes or 0, "usable_share": share}
        source = steps.chip(f"memory.{room.tier}.capacity_bytes")
        if own:
            source = (*source, *steps.chip(f"memory.{room.tier}.usable"))
        elif not request.engine.ideal:
            source = (*source, *steps.engine("usable_memory"))
        name, formula = f"usable of a chip: {tier_title(room.tier)}", "capacity_bytes * usable_share"
        steps.add(name, formula, values, "B", source, room.usable)
    if placement and len(request.rooms) > 1:
        shares = placement.shares
        for room in request.rooms:
            values, pieces = {}, []
            for part, size in sizes.items():
                share = dict(shares[part]).get(room.tier, 0.0)
                if size and share:
                    name = part_name(part)
                    values |= {f"{name}_bytes": size, f"{name}_share": share}
                    pieces.append(f"{name}_bytes * {name}_share")
            if pieces:
                steps.add(f"in use of a chip: {tier_title(room.tier)}", summed(pieces), values, "B", (),
                          placement.used[room.tier])  # fmt: skip


def verdict_steps(steps: Steps, pools: Sequence[Laid]) -> None:
    """Whether it fits, where it lives and why: of several pools the worst verdict is that of the whole."""
    report, pieces = steps.report, []
    values: Numbers = {}
    for pool in pools:
        formula, numbers = _bounds(pool, f"{pool.name}_" if len(pools) > 1 else "")
        pieces.append(formula)
        values |= numbers
    if len(pools) > 1:
        each = ", ".join(f"{pool.role} {pool.verdict}" for pool in pools)
        steps.say("verdicts of the pools", f"{each}; the worst holds for the whole")
    whole = " and ".join(pieces) if all(pieces) else ""
    steps.say("verdict", report.verdict, whole, values if whole else {})
    steps.say("reason", report.reason)
    if report.why:
        steps.say("why there", report.why)


def pool_verdict_step(steps: Steps, pool: Laid) -> None:
    """Whether a pool holds its part of the job, and where that lives."""
    formula, values = _bounds(pool)
    steps.say(f"verdict of {pool.role}", pool.verdict, formula, values)


def _bounds(pool: Laid, before: str = "") -> tuple[str, Numbers]:
    """What a chip of the pool holds, each against what is usable for it; empty where no layout is to be judged."""
    request, held, placement = pool.request, pool.held, pool.placement
    values: Numbers = {}
    if held is None or _other_model(request):
        return "", values
    if placement and len(request.rooms) > 1:
        pairs = []
        for room in request.rooms:
            if placement.used.get(room.tier):
                here, usable = f"{before}{room.tier}_bytes", f"{before}{room.tier}_usable_bytes"
                values |= {here: placement.used[room.tier], usable: room.usable}
                pairs.append(f"{here} <= {usable}")
        return " and ".join(pairs), values
    work, chip = request.workload, f"{before}fullest_chip_bytes"
    values = {f"{before}{room.tier}_usable_bytes": room.usable for room in request.rooms}
    pairs = [f"{chip} <= {summed(list(values)) or '0'}"]
    values[chip] = held.needed(work.batch, work.context_tokens)
    weights = sum(held.parts.values())
    for kind, size in (("weights", weights), ("cache", values[chip] - weights)):
        # Masks take weights alone, and some tiers the cache alone.
        takes = [f"{before}{room.tier}_usable_bytes" for room in request.rooms if room.holds in ("all", kind)]
        if len(takes) < len(request.rooms):
            values[f"{before}{kind}_bytes"] = size
            pairs.append(f"{before}{kind}_bytes <= {summed(takes) or '0'}")
    return " and ".join(pairs), values


def _other_model(request: Request) -> bool:
    """Whether the masks of these chips hold another model, so that no number of bytes decides."""
    wired, model = request.chip.hardwired, request.model
    return wired is not None and wired.model not in (model.name, *model.aliases)
