"""Measure a real accelerator: `python benchmarks/accelerator.py --chip h100-sxm > rows.jsonl`.

Decode and prefill steps of blocks shaped like Llama 3.1 8B and Qwen3 30B-A3B, with random weights, at several
batches and contexts, printed as the rows that `memcalc validate` and `memcalc calibrate` read. Copy bandwidth
and rates of matrix products go to the other stream, for people. A few layers are run and the whole model
is worked out from them: layers of the model / layers run * blocks + head. Needs torch (extra `accelerator`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Shape(NamedTuple):
    """The shape of a model's layers; dense without experts. `depth` and `vocabulary` are the whole model's."""

    model: str
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    depth: int
    vocabulary: int
    experts: int = 0
    top_k: int = 0


SHAPES = {
    "llama-8b": Shape("llama-3.1-8b", 4096, 32, 8, 128, 14336, 32, 128256),
    "moe": Shape("qwen3-30b-a3b", 2048, 32, 4, 128, 768, 48, 151936, 128, 8),
}
TINY = {
    "llama-8b": Shape("tiny-llama", 64, 4, 2, 16, 128, 4, 256),
    "moe": Shape("tiny-moe", 64, 4, 2, 16, 32, 4, 256, 8, 2),
}
#: Names of devices as torch has them, and the chips that they are.
DEVICES = {
    "NVIDIA H100 80GB HBM3": "h100-sxm", "NVIDIA H100 PCIe": "h100-pcie", "NVIDIA H100 NVL": "h100-nvl",
    "NVIDIA H200": "h200-sxm", "NVIDIA B200": "b200", "NVIDIA GB200": "gb200", "NVIDIA L40S": "l40s", "NVIDIA L4": "l4",
    "NVIDIA A100-SXM4-80GB": "a100-sxm-80gb", "NVIDIA A100-SXM4-40GB": "a100-sxm-40gb",
    "NVIDIA A100 80GB PCIe": "a100-pcie-80gb", "NVIDIA GeForce RTX 4090": "rtx-4090",
    "NVIDIA GeForce RTX 3090": "rtx-3090", "NVIDIA GeForce RTX 5090": "rtx-5090", "AMD Instinct MI300X": "mi300x",
}  # fmt: skip
#: Shortest time of a point, and the fewest and most repetitions.
LEAST, MOST = 5, 200


class Block:
    """One layer with random weights and its KV cache, [sequences, KV heads, tokens, head width]."""

    def __init__(self, shape: Shape, batch: int, tokens: int, device: str, dtype: torch.dtype) -> None:
        import torch

        def random(*sizes: int) -> Tensor:
            return torch.randn(*sizes, device=device, dtype=dtype) * sizes[-1] ** -0.5

        self.shape = shape
        rows = shape.heads * shape.head_dim
        self.qkv = random(rows + 2 * shape.kv_heads * shape.head_dim, shape.width)
        self.output = random(shape.width, rows)
        many = (shape.experts,) if shape.experts else ()
        self.gate_up = random(*many, 2 * shape.hidden, shape.width)
        self.down = random(*many, shape.width, shape.hidden)
        self.router = random(shape.experts, shape.width) if shape.experts else None
        sizes = (2, batch, shape.kv_heads, tokens, shape.head_dim)
        self.cache = torch.zeros(sizes, device=device, dtype=dtype)

    def __call__(self, x: Tensor, start: int) -> Tensor:
        """The layer on tokens [sequences, tokens, width] that stand at `start` of their contexts."""
        from torch.nn import functional

        x = x + self.attention(normed(x), start)
        if self.router is not None:
            return x + self.mixture(normed(x))
        gate, up = functional.linear(normed(x), self.gate_up).chunk(2, dim=-1)
        return x + functional.linear(functional.silu(gate) * up, self.down)

    def attention(self, x: Tensor, start: int) -> Tensor:
        """Grouped attention with rotary positions over the cache and the tokens themselves."""
        from torch.nn import functional

        shape = self.shape
        batch, tokens, _ = x.shape
        heads = functional.linear(x, self.qkv).view(batch, tokens, -1, shape.head_dim).transpose(1, 2)
        q, k, v = heads.split((shape.heads, shape.kv_heads, shape.kv_heads), dim=1)
        end = start + tokens
        self.cache[0, :, :, start:end] = rotated(k, start)
        self.cache[1, :, :, start:end] = v
        keys, values = self.cache[0, :, :, :end], self.cache[1, :, :, :end]
        # A prompt attends to itself causally, a single token to all that is there.
        found = functional.scaled_dot_product_attention(
            rotated(q, start), keys, values, is_causal=tokens > 1, enable_gqa=True
        )
        return functional.linear(found.transpose(1, 2).reshape(batch, tokens, -1), self.output)

    def mixture(self, x: Tensor) -> Tensor:
        """Routed experts: tokens sorted by expert, one product for each expert that has any."""
        from torch.nn import functional

        assert self.router is not None  # noqa: S101
        flat = x.reshape(-1, x.shape[-1])
        weights, chosen = functional.linear(flat, self.router).float().softmax(-1).topk(self.shape.top_k)
        weights = (weights / weights.sum(-1, keepdim=True)).to(x.dtype)
        order = chosen.flatten().argsort()
        tokens = order // self.shape.top_k
        counts = chosen.flatten().bincount(minlength=self.shape.experts).tolist()
        found = flat.new_zeros(flat.shape)
        done = 0
        for expert, count in enumerate(counts):
            if count:
                mine = tokens[done : done + count]
                gate, up = functional.linear(flat[mine], self.gate_up[expert]).chunk(2, dim=-1)
                out = functional.linear(functional.silu(gate) * up, self.down[expert])
                share = weights.flatten()[order[done : done + count]]
                found.index_add_(0, mine, out * share[:, None])
                done += count
        return found.view_as(x)


def normed(x: Tensor) -> Tensor:
    """Root mean square norm over the width."""
    from torch.nn import functional

    return functional.rms_norm(x, (x.shape[-1],))


def rotated(x: Tensor, start: int) -> Tensor:
    """Rotary positions from `start` on, halves of a head's width against each other."""
    import torch

    half = x.shape[-1] // 2
    positions = torch.arange(start, start + x.shape[-2], device=x.device, dtype=torch.float32)
    speeds = 10000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = positions[:, None] * speeds
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def synchronise(device: str) -> None:
    """Wait until the device has done all that it was given."""
    import torch

    if device != "cpu":
        getattr(torch, device.partition(":")[0]).synchronize()


def timed(run: Callable[[], object], device: str, seconds: float) -> float:
    """Median time of a call, after two to warm up [s]."""
    for _ in range(2):
        run()
    synchronise(device)
    found: list[float] = []
    begun = time.perf_counter()
    while len(found) < LEAST or (len(found) < MOST and time.perf_counter() - begun < seconds):
        start = time.perf_counter()
        run()
        synchronise(device)
        found.append(time.perf_counter() - start)
    return median(found)


def graphed(run: Callable[[], object], device: str) -> tuple[Callable[[], object], bool]:
    """The call as a CUDA graph, without launches; as it is where it cannot be captured."""
    import torch

    if not device.startswith("cuda"):
        return run, False
    try:
        run()
        synchronise(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
    except RuntimeError:
        synchronise(device)
        return run, False
    return graph.replay, True


class Point(NamedTuple):
    """A step that was measured: new tokens of each of `batch` sequences behind `context` others [s]."""

    batch: int
    tokens: int
    context: int
    seconds: float
    graph: bool


def points(shape: Shape, asked: argparse.Namespace) -> Iterator[Point]:
    """Decode steps at each batch and context, and prefills of each context as a prompt."""
    import torch
    from torch.nn import functional

    dtype = torch.bfloat16
    head = torch.randn(shape.vocabulary, shape.width, device=asked.device, dtype=dtype)
    work = [(batch, 1, context) for batch in asked.batches for context in asked.contexts]
    work += [(1, context, 0) for context in asked.contexts]
    for batch, tokens, context in work:
        try:
            layers = [Block(shape, batch, context + tokens, asked.device, dtype) for _ in range(asked.layers)]
            x = torch.randn(batch, tokens, shape.width, device=asked.device, dtype=dtype)

            def blocks(layers: list[Block] = layers, x: Tensor = x, start: int = context) -> None:
                for layer in layers:
                    x = layer(x, start)

            def last(x: Tensor = x) -> None:
                functional.linear(normed(x[:, -1]), head)

            with torch.inference_mode():
                run, graph = graphed(blocks, asked.device) if not shape.experts else (blocks, False)
                body = timed(run, asked.device, asked.seconds)
                tail = timed(last, asked.device, asked.seconds)
        except torch.OutOfMemoryError:
            say(f"{shape.model}: batch {batch}, {tokens} tokens behind {context}: does not fit")
            continue
        yield Point(batch, tokens, context, shape.depth / asked.layers * body + tail, graph)


def row(shape: Shape, point: Point, asked: argparse.Namespace) -> dict[str, Any]:
    """A point as a row of measurements."""
    import torch

    decode = point.tokens == 1
    told = f"worked out from {asked.layers} of {shape.depth} layers and the head; random weights, eager torch"
    own: dict[str, Any] = {
        "workflow": "decode",
        "context_tokens": point.context + 1,
        "metrics": {"tok_s_user": round(1.0 / point.seconds, 4)},
    }
    if not decode:
        speed = point.batch * point.tokens / point.seconds
        own = {
            "workflow": "prefill",
            "input_tokens": point.tokens,
            "metrics": {"prefill_tok_s": round(speed, 3)},
        }
    return {
        "id": f"own-{asked.chip}-{shape.model}-b{point.batch}-{point.tokens}-behind-{point.context}",
        "model": shape.model,
        "chip": asked.chip,
        "n_chips": 1,
        "engine": asked.engine,
        "software": f"torch {torch.__version__}, CUDA {torch.version.cuda}"
        + (", CUDA graph" if point.graph else ""),
        "weights": "bf16",
        "kv": "bf16",
        "acts": "bf16",
        "tp": 1,
        "batch": point.batch,
        **own,
        "kind": "independent",
        "core": False,
        "reproducible": not asked.tiny,
        "date": datetime.now(UTC).date().isoformat(),
        "source": "own measurement, benchmarks/accelerator.py",
        "notes": told,
    }


def rates(asked: argparse.Namespace) -> None:
    """Copy bandwidth and rates of matrix products, for people; small ones on a processor."""
    import torch

    small = asked.tiny or asked.device == "cpu"
    size = 2**20 if small else 2**28
    source = torch.empty(size, device=asked.device, dtype=torch.float32)
    target = torch.empty_like(source)
    seconds = timed(lambda: target.copy_(source), asked.device, asked.seconds)
    say(f"copy, read and written     {8 * size / seconds / 1e9:12,.0f} GB/s")
    side = 256 if small else 8192
    for name in ("float32", "float16", "bfloat16"):
        square = torch.randn(side, side, device=asked.device).to(getattr(torch, name))
        for rows in (1, 8, 64, side):
            thin = square[:rows]
            seconds = timed(lambda a=thin, b=square: a @ b, asked.device, asked.seconds)  # type: ignore[misc]
            title = f"{name} {rows} x {side} x {side}"
            say(f"{title:27}{2 * rows * side * side / seconds / 1e12:12,.3f} TFLOP/s")


def say(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)


def numbers(text: str) -> list[int]:
    """Counts separated by commas."""
    found = [int(part) for part in text.split(",")]
    if min(found) < 1:
        raise ValueError(text)
    return found


def options(words: list[str] | None) -> argparse.Namespace:
    """The options; status 2 for what cannot be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--chip", help="preset of the chip (from the name of the device)")
    parser.add_argument("--engine", default="torch", help="engine that the rows name")
    parser.add_argument("--device", help="cuda, mps or cpu (the first that is there)")
    parser.add_argument("--models", default="llama-8b,moe", help="shapes: llama-8b, moe")
    parser.add_argument("--layers", type=int, default=8, help="layers to run (8)")
    parser.add_argument("--batches", type=numbers, help="sequences at once (1,4,16,64)")
    parser.add_argument("--contexts", type=numbers, help="tokens (512,4096,16384)")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each point (1)")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, to try the script")
    asked = parser.parse_args(words)
    asked.models = asked.models.split(",")
    if asked.layers < 1 or not set(asked.models) <= set(SHAPES):
        parser.error("--layers is at least 1, --models of llama-8b and moe")
    asked.batches = asked.batches or ([1, 2] if asked.tiny else [1, 4, 16, 64])
    asked.contexts = asked.contexts or ([16, 32] if asked.tiny else [512, 4096, 16384])
    return asked


def main(words: list[str] | None = None) -> int:
    """Measure and print; status 2 without torch or without a known chip."""
    asked = options(words)
    try:
        import torch
    except ImportError:
        say("error: torch is not installed; pip install 'memcalc[accelerator]'")
        return 2
    if asked.device is None:
        mps = torch.backends.mps.is_available()
        asked.device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if asked.chip is None:
        name = torch.cuda.get_device_name() if asked.device.startswith("cuda") else asked.device
        asked.chip = DEVICES.get(name)
        if asked.chip is None:
            say(f"error: the chip of {name!r} is not known; give --chip")
            return 2
    rates(asked)
    shapes = TINY if asked.tiny else SHAPES
    for word in asked.models:
        for point in points(shapes[word], asked):
            print(json.dumps(row(shapes[word], point, asked)), flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
