"""Collectives: what the chips of a layout send each other in one pass, and how long it takes.

r ranks, m bytes per rank, al latency of a collective over two ranks, el share of the link reached.

References: Thakur 2005 for the ring's 2(r-1)/r * m; the growth of the latency with the logarithm of the
ranks is fitted (docs/cost-model.md).
"""

from __future__ import annotations

from math import log2
from typing import NamedTuple

from memcalc.chip import Chip
from memcalc.engine import Constants
from memcalc.workload import Layout

#: Bytes of an activation on the wire (bf16), and of dispatch (fp8) with combine (bf16) of an expert.
ACTIVATION, DISPATCH_AND_COMBINE = 2.0, 3.0


class Network(NamedTuple):
    """Time and bytes of the collectives of one pass: a constant and a part per token.

    `per_token_s` counts tokens of an attention group, `seconds` the latencies; bytes are those that
    one chip sends for a token of its group.
    """

    seconds: float
    per_token_s: float
    per_token_bytes: float
    missing: str | None = None


#: A single chip, or a floor that was measured over several chips and holds the collectives.
NO_NETWORK = Network(0.0, 0.0, 0.0)


def network(
    chip: Chip,
    constants: Constants,
    layout: Layout,
    width: int,
    depth: int,
    moe_layers: int,
    top_k: int,
    *,
    attention: bool = True,
    feed_forward: bool = True,
) -> Network:
    """The collectives of one pass through all layers; `missing` names an unknown link that it needs.

    Tensor parallelism: two all-reduces a layer. Attention groups: an all-reduce after attention within
    the group, and an all-to-all out to the experts and back in layers that have them. Context
    parallelism: one all-reduce of partial outputs a layer. A pipeline: one hop between stages. Where unlike
    pools share a layer, each has the collectives of its own part.

    >>> from memcalc.readers.presets import load_chip
    >>> one = network(load_chip("h100-sxm"), Constants(collective_s=1e-5), Layout(), 4096, 32, 0, 0)
    >>> one.seconds, one.per_token_bytes
    (0.0, 0.0)
    """
    links = chip.links
    tensor, groups, context = layout.tensor, layout.attention_data, layout.context
    ranks = tensor * groups * context
    if (ranks == 1 and layout.pipeline == 1) or (chip.layer_floor and chip.layer_floor.includes_network):
        return NO_NETWORK
    near = ranks <= links.scale_up_domain_chips
    link = links.scale_up_bytes_per_s if near else links.scale_out_bytes_per_s
    if link is None:
        field = "links.scale_up_bytes_per_s" if near else "links.scale_out_bytes_per_s"
        return Network(0.0, 0.0, 0.0, field)
    latency = constants.collective_s * (
        constants.pcie_collective_factor if links.scale_up_kind == "pcie" else 1
    )
    grow = constants.collective_growth
    rate = link * constants.link_efficiency
    message = width * ACTIVATION
    seconds = sent = 0.0

    def all_reduce(count: int, over: int) -> None:
        nonlocal seconds, sent
        if over > 1:
            seconds += count * latency * (1.0 + grow * (log2(over) - 1.0))
            sent += count * 2.0 * (over - 1) / over * message

    if attention:
        all_reduce(depth, tensor)
        all_reduce(depth, context)
    if not feed_forward:
        pass
    elif groups == 1:
        all_reduce(depth, tensor)
    else:
        over = tensor * groups
        all_reduce(depth - moe_layers, over)
        seconds += 2 * moe_layers * latency * (1.0 + grow * (log2(over) - 1.0))
        dispatched = moe_layers / tensor * width * DISPATCH_AND_COMBINE
        if near or links.scale_up_bytes_per_s is None:
            sent += (over - 1) / over * min(top_k, over) * dispatched
        else:
            # A token crosses to each other node once, whose chips hand it on over their fast links.
            nodes = over / links.scale_up_domain_chips
            sent += (nodes - 1.0) * (1.0 - (1.0 - 1.0 / nodes) ** top_k) * dispatched
    if layout.pipeline > 1:
        # A stage hands its activations on; beyond the fast domain over the slower network.
        stages = layout.pipeline
        inside = ranks * stages <= links.scale_up_domain_chips
        hop = links.scale_up_bytes_per_s if inside else links.scale_out_bytes_per_s
        if hop is None:
            field = "scale_up_bytes_per_s" if inside else "scale_out_bytes_per_s"
            return Network(0.0, 0.0, 0.0, f"links.{field}")
        seconds += (stages - 1) * latency
        sent_hops = (stages - 1) * message / tensor
        per_token = sent / rate + sent_hops / (hop * constants.link_efficiency)
        return Network(seconds, per_token, sent + sent_hops)
    return Network(seconds, sent / rate, sent)
