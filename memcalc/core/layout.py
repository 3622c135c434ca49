"""Layouts: which divisions of the work over chips are possible."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd
from typing import NamedTuple

from memcalc.chip import Chip
from memcalc.engine import Engine
from memcalc.errors import UsageError
from memcalc.model import Model
from memcalc.workload import Layout


class Given(NamedTuple):
    """The parts of a layout that the user fixed; None: search."""

    tensor: int | None = None
    pipeline: int | None = None
    expert: int | None = None
    data: int | None = None
    context: int | None = None
    attention_data: int | None = None


def divisors(number: int) -> list[int]:
    """All divisors, ascending.

    >>> divisors(12)
    [1, 2, 3, 4, 6, 12]
    """
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return small + [number // d for d in reversed(small) if d * d != number]


def head_divisor(model: Model) -> int:
    """Tensor parallelism must divide this: the greatest common divisor of all head counts."""
    return gcd(*(mixer.heads for group in model.layers for mixer in group.mixers)) or 1


def layouts(model: Model, chip: Chip, engine: Engine, chips: int, given: Given) -> Iterator[Layout]:
    """All layouts of `chips` chips that the model, the engine and the links allow.

    Tensor parallelism divides the heads, KV heads too, and stays within the fast links; a pipeline has at most as
    many stages as layers; attention groups are for mixtures of experts. Spatial chips have one
    layout a replica: the layers laid out over all chips.
    """
    context = given.context or 1
    if chips % context:
        return
    free = chips // context
    if chip.execution == "spatial":
        # Masks that hold a whole model leave nothing to divide: more chips are more copies.
        data = given.data or (chips if chip.hardwired else 1)
        if context == 1 and chips % data == 0 and not (chip.hardwired and data != chips):
            yield _spatial(chips // data, data, model.depth)
        return
    heads, depth = head_divisor(model), model.depth
    # Where the layer floor was seen over many chips, the links are in it and limit nothing.
    whole = chip.layer_floor is not None and chip.layer_floor.includes_network
    fast = chips if whole else chip.links.scale_up_domain_chips
    experts = max(group.feed_forward.experts for group in model.layers)
    tensors = [given.tensor] if given.tensor else [1] if engine.splits == "layers" else divisors(free)
    for tensor in tensors:
        if free % tensor or heads % tensor:
            continue
        if given.tensor is None and tensor > fast:
            break
        if given.tensor is None and not _divides_cache(model, tensor):
            continue
        rest = free // tensor
        for pipeline in [given.pipeline] if given.pipeline else divisors(rest):
            if rest % pipeline:
                continue
            if pipeline > depth:
                break
            left = rest // pipeline
            for groups in [given.attention_data] if given.attention_data else divisors(left):
                data = left // groups
                if left % groups or (given.data is not None and data != given.data):
                    continue
                width = tensor * groups
                if (
                    groups > 1
                    and given.attention_data is None
                    and not (experts and (width <= fast or given.expert))
                ):
                    break
                # Attention groups pair with whole experts: each chip of the group holds some.
                expert = given.expert or (gcd(width, experts) if groups > 1 else 1)
                if width % expert == 0 and expert <= max(experts, 1):
                    yield Layout(tensor, pipeline, expert, data, context, groups)


def _divides_cache(model: Model, tensor: int) -> bool:
    """Whether the chips share the KV heads evenly, or each head has the same number of copies."""
    shards = {held.shards for group in model.layers for mixer in group.mixers for held in mixer.held()}
    return all(tensor % count == 0 or count % tensor == 0 for count in shards)


def _spatial(chips: int, data: int, depth: int) -> Layout:
    """How `chips` chips are named in tensor and pipeline terms: at most a stage for each layer."""
    tensor = next(d for d in divisors(chips) if chips // d <= depth)
    return Layout(tensor=tensor, pipeline=chips // tensor, data=data)


def refuse_impossible(model: Model, chip: Chip, chips: int | None, given: Given) -> None:
    """UsageError where the given parts of a layout can never be: it says what would be allowed."""
    named = {
        "--tp": given.tensor, "--pp": given.pipeline, "--dp": given.data,
        "--cp": given.context, "--attention-dp": given.attention_data,
    }  # fmt: skip
    if chip.execution == "spatial":
        asked = {**named, "--ep": given.expert}
        fixed = [option for option, value in asked.items() if (value or 1) > 1 and option != "--dp"]
        if fixed:
            raise UsageError(
                f"{fixed[0]}: {chip.title} lays the layers out over all of its chips",
                "only --dp can be given",
            )
    product = 1
    for option, value in named.items():
        product *= value or 1
        if value and chips and chips % value:
            allowed = ", ".join(map(str, divisors(chips)))
            raise UsageError(f"{option} {value} does not divide {chips} chips", f"allowed: {allowed}")
    if chips and chips % product:
        raise UsageError(f"the layout needs a multiple of {product} chips, not {chips}", "change --chips")
    complete = chip.execution == "time-shared" and all((given.tensor, given.pipeline, given.data))
    if chips and complete and chips != product:
        raise UsageError(f"the layout takes {product} chips, not {chips}", f"give --chips {product}")
    heads = head_divisor(model)
    if given.tensor and heads % given.tensor:
        allowed = ", ".join(str(d) for d in divisors(heads))
        raise UsageError(
            f"--tp {given.tensor} does not divide the {heads} attention heads of {model.name}",
            f"allowed: {allowed}",
        )
    if given.pipeline and given.pipeline > model.depth:
        raise UsageError(
            f"--pp {given.pipeline} is more than the {model.depth} layers of {model.name}",
            f"it must be at most {model.depth}",
        )
    experts = max(group.feed_forward.experts for group in model.layers)
    if given.expert and given.expert > 1 and not experts:
        raise UsageError(f"--ep {given.expert}: {model.name} has no experts", "leave --ep away")
    if given.expert and chips and chips % given.expert:
        allowed = ", ".join(map(str, divisors(chips)))
        raise UsageError(f"--ep {given.expert} does not divide {chips} chips", f"allowed: {allowed}")
    if given.expert and experts % given.expert:
        allowed = ", ".join(str(d) for d in divisors(experts))
        raise UsageError(
            f"--ep {given.expert} does not divide the {experts} experts of {model.name}",
            f"allowed: {allowed}",
        )
    if given.attention_data and given.attention_data > 1 and not experts:
        raise UsageError(
            f"--attention-dp {given.attention_data}: {model.name} has no experts to divide", "use --dp"
        )
