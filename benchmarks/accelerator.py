"""Measure a real accelerator: `python benchmarks/accelerator.py > rows.jsonl`.

Decode and prefill steps of layers shaped like Llama 3.1 8B and Qwen3 30B-A3B, with random weights in bf16. A few
layers and the head are timed apart; the step of the whole model is layers of the model / layers run * time of those
+ time of the head. Each becomes a row that `memcalc validate` and `memcalc calibrate` read. Copy bandwidth and rates
of matrix products go to stderr, for people. Needs torch, the extra `accelerator`.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from math import inf
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import Tensor


Point = tuple[str, int, int]  # workflow, sequences and tokens of each
Times = tuple[float, float, str]  # of the layers that are run and of the head [s], and by which means


class Shape(NamedTuple):
    """A model's layers; dense where there are no experts. `hidden` is the width of one feed-forward or expert."""

    model: str
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    layers: int
    vocabulary: int
    experts: int = 0
    top_k: int = 0
    query_key_norm: bool = False

    @property
    def parameters(self) -> int:
        """Parameters of the whole model, with an embedding and a head of their own."""
        attention = 2 * self.width * (self.heads + self.kv_heads) * self.head_dim
        feed_forward = 3 * self.width * self.hidden * (self.experts or 1) + self.width * self.experts
        norms = 2 * self.width + 2 * self.head_dim * self.query_key_norm
        return self.layers * (attention + feed_forward + norms) + (2 * self.vocabulary + 1) * self.width

    def needed_bytes(self, batch: int, context: int) -> int:
        """Weights and KV cache of the whole model in bf16 [B]."""
        return 2 * (self.parameters + 2 * self.layers * self.kv_heads * self.head_dim * batch * context)


#: By the words of --models; a model has the name of its preset.
SHAPES = {
    "llama-8b": Shape("llama-3.1-8b", 4096, 32, 8, 128, 14336, 32, 128256),
    "moe": Shape("qwen3-30b-a3b", 2048, 32, 4, 128, 768, 48, 151936, 128, 8, query_key_norm=True),
}
TINY = {
    "llama-8b": Shape("tiny-llama", 64, 4, 2, 16, 128, 4, 256),
    "moe": Shape("tiny-moe", 64, 4, 2, 16, 32, 4, 256, 8, 2, query_key_norm=True),
}
#: Presets of chips by the name that torch has for the device, where that name tells which chip it is.
CHIPS = {
    "AMD Instinct MI300X": "mi300x", "AMD Instinct MI300X OAM": "mi300x", "AMD Instinct MI325X": "mi325x",
    "AMD Instinct MI355X": "mi355x", "NVIDIA A100 80GB PCIe": "a100-pcie-80gb",
    "NVIDIA A100-SXM4-40GB": "a100-sxm-40gb", "NVIDIA A100-SXM4-80GB": "a100-sxm-80gb", "NVIDIA A40": "a40",
    "NVIDIA B200": "b200", "NVIDIA B300": "b300", "NVIDIA GB200": "gb200", "NVIDIA GB300": "gb300",
    "NVIDIA GeForce RTX 3090": "rtx-3090", "NVIDIA GeForce RTX 4090": "rtx-4090",
    "NVIDIA GeForce RTX 5090": "rtx-5090", "NVIDIA H100 80GB HBM3": "h100-sxm", "NVIDIA H100 NVL": "h100-nvl",
    "NVIDIA H100 PCIe": "h100-pcie", "NVIDIA H200": "h200-sxm", "NVIDIA H200 NVL": "h200-nvl", "NVIDIA L4": "l4",
    "NVIDIA L40S": "l40s", "NVIDIA RTX 6000 Ada Generation": "rtx-6000-ada", "NVIDIA RTX A6000": "rtx-a6000",
}  # fmt: skip
#: Formats of matrix products, as torch names them; a device multiplies one of the two forms of E4M3, or none.
FORMATS = ("bfloat16", "float16", "float32", "float8_e4m3fn", "float8_e4m3fnuz", "int8")
#: Fewest and most samples of a median, and how long a sample should last [s].
FEWEST, MOST, SAMPLE_S = 3, 200, 0.02


class Block:
    """One layer with random weights: RMSNorm, grouped attention with RoPE, RMSNorm, SwiGLU or experts of it."""

    def __init__(self, shape: Shape, device: str, dtype: torch.dtype) -> None:
        import torch

        def random(*sizes: int) -> Tensor:
            return torch.randn(*sizes, device=device, dtype=dtype).mul_(sizes[-1] ** -0.5)

        width, rows, experts = shape.width, shape.heads * shape.head_dim, shape.experts
        each = (experts,) if experts else ()
        self.shape, self.functional = shape, torch.nn.functional
        self.gain = torch.ones(width, device=device, dtype=dtype)
        self.head_gain = self.gain[: shape.head_dim]
        self.qkv = random(rows + 2 * shape.kv_heads * shape.head_dim, width)
        self.output = random(width, rows)
        self.gate_up = random(*each, 2 * shape.hidden, width)
        self.down = random(*each, width, shape.hidden)
        self.router = random(experts, width) if experts else None
        self.numbers = torch.arange(experts, device=device)
        self.grouped_mm = grouped_mm(self.gain) if experts else None

    def __call__(self, x: Tensor, kv: Tensor, start: int, turns: Tensor) -> Tensor:
        """The layer on tokens [batch, tokens, width] at `start`: prompts at 0, or one token behind a context.

        `kv` [2, batch, KV heads, context, head_dim] is written in place; `turns` are `rotations` of its positions.
        """
        x = x + self.attention(self.norm(x, self.gain), kv, start, turns)
        inner = self.norm(x, self.gain)
        if self.router is not None:
            return x + self.mixture(inner, self.router)
        return x + self.gated(inner @ self.gate_up.T) @ self.down.T

    def attention(self, x: Tensor, kv: Tensor, start: int, turns: Tensor) -> Tensor:
        """Attention [batch, tokens, width] of the tokens over the cache and themselves."""
        shape, (batch, tokens, _), end = self.shape, x.shape, start + x.shape[1]
        heads = (x @ self.qkv.T).view(batch, tokens, -1, shape.head_dim).transpose(1, 2)
        turned, v = heads[:, : -shape.kv_heads], heads[:, -shape.kv_heads :]
        if shape.query_key_norm:
            turned = self.norm(turned, self.head_gain)
        cos, sin = turns[:, start:end]
        turned = turned * cos + turned.roll(shape.head_dim // 2, dims=-1) * sin
        q, kv[0, :, :, start:end] = turned[:, : shape.heads], turned[:, shape.heads :]
        kv[1, :, :, start:end] = v
        keys, values = kv[:, :, :, :end]
        attend = self.functional.scaled_dot_product_attention
        # The one token of a decode step may see all that is there.
        found = attend(q, keys, values, is_causal=tokens > 1, enable_gqa=True)
        return found.transpose(1, 2).reshape(batch, tokens, -1) @ self.output.T

    def norm(self, x: Tensor, gain: Tensor) -> Tensor:
        """Root mean square norm over the last axis."""
        return self.functional.rms_norm(x, gain.shape, gain, 1e-6)

    def gated(self, x: Tensor) -> Tensor:
        """SwiGLU [..., hidden] of gates and values side by side [..., 2 * hidden]."""
        gate, up = x.chunk(2, dim=-1)
        return self.functional.silu(gate) * up

    def mixture(self, x: Tensor, router: Tensor) -> Tensor:
        """Weighted experts of each token [batch, tokens, width], one product for all the tokens of an expert."""
        import torch

        top_k, flat = self.shape.top_k, x.reshape(-1, x.shape[-1])
        weights, chosen = (flat @ router.T).float().softmax(-1).topk(top_k)
        weights = (weights / weights.sum(-1, keepdim=True)).to(x.dtype)
        experts, order = chosen.flatten().sort()
        # Where each expert's rows end is searched: to count them, the host would wait, which no graph can hold.
        ends = torch.searchsorted(experts, self.numbers, right=True, out_int32=True)
        inner = self.by_expert(flat[order // top_k], self.gate_up, ends)
        outer = self.by_expert(self.gated(inner), self.down, ends)
        found = torch.empty_like(outer).index_copy_(0, order, outer).view(-1, top_k, x.shape[-1])
        return (weights[:, None] @ found).view_as(x)

    def by_expert(self, rows: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
        """Rows [rows, in], sorted by expert, by weights [experts, out, in]; those of expert e end at ends[e]."""
        if self.grouped_mm is not None:
            return self.grouped_mm(rows, weights.transpose(1, 2), offs=ends)
        found, start = rows.new_empty(rows.shape[0], weights.shape[1]), 0
        for expert, end in enumerate(ends.tolist()):
            if end > start:
                found[start:end] = rows[start:end] @ weights[expert].T
            start = end
        return found


def grouped_mm(like: Tensor) -> Callable[..., Tensor] | None:
    """The matrix product of groups of rows that torch has for the device and type of a tensor, if any."""
    import torch

    product: Any = getattr(torch.nn.functional, "grouped_mm", None) or getattr(torch, "_grouped_mm", None)
    pair, ends = like.new_ones(2, 16, 16), torch.tensor([8, 16], device=like.device, dtype=torch.int32)
    try:
        product(pair[0], pair.transpose(1, 2), offs=ends)
    except (RuntimeError, TypeError):  # TypeError: this torch has none at all
        return None
    return product  # type: ignore[no-any-return]


def rotations(positions: int, head_dim: int, device: str, dtype: torch.dtype) -> Tensor:
    """Cosines and sines of RoPE [2, positions, head_dim], signed for x * cos + (x with its halves swapped) * sin."""
    import torch

    speeds = 500_000.0 ** -torch.arange(0, 1, 2 / head_dim, device=device, dtype=torch.float32)
    angles = torch.arange(positions, device=device, dtype=torch.float32)[:, None] * speeds
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((torch.cat((cos, cos), 1), torch.cat((-sin, sin), 1))).to(dtype)


class Device:
    """An accelerator as torch names it, and how time is taken on it."""

    def __init__(self, name: str | None, seconds: float) -> None:
        """Open the device, the first that is there by default; AssertionError or RuntimeError where it cannot be."""
        import torch

        mps = "mps" if torch.backends.mps.is_available() else "cpu"
        self.name = name or ("cuda" if torch.cuda.is_available() else mps)
        self.kind, self.seconds, self.torch = self.name.partition(":")[0], seconds, torch
        torch.ones(1, device=self.name)
        self.title, self.memory_bytes = self.name, inf  # of a CPU it is not asked
        if self.kind == "cuda":
            torch.cuda.set_device(torch.device(self.name).index or 0)
            self.title = torch.cuda.get_device_name()
            self.memory_bytes = torch.cuda.get_device_properties(self.name).total_memory
        elif self.kind == "mps":
            self.memory_bytes = torch.mps.recommended_max_memory()

    def call(self, verb: str) -> None:
        """`synchronize` or `empty_cache`, which a CPU has no need of."""
        if self.kind != "cpu":
            getattr(getattr(self.torch, self.kind), verb)()

    def timed(self, run: Callable[[], object]) -> float:
        """Median time of a call [s], warmed up; short calls are queued many at a time, so that waits do not count."""

        def sample(calls: int) -> float:
            start = time.perf_counter()
            for _ in range(calls):
                run()
            self.call("synchronize")
            return (time.perf_counter() - start) / calls

        sample(1)
        calls = max(1, round(min(SAMPLE_S, self.seconds / FEWEST) / max(sample(1), 1e-6)))
        begun, samples = time.perf_counter(), [sample(calls) for _ in range(FEWEST)]
        while len(samples) < MOST and time.perf_counter() - begun < self.seconds:
            samples.append(sample(calls))
        return median(samples)

    def graphed(self, run: Callable[[], object]) -> tuple[Callable[[], object], str]:
        """The call as a CUDA graph, or as it is where there are none or it cannot be captured; and which."""
        if self.kind != "cuda":
            return run, "no graph"
        run()  # libraries set themselves up in the first call, which no graph can hold
        graph = self.torch.cuda.CUDAGraph()
        try:
            with self.torch.cuda.graph(graph):
                run()
        except RuntimeError as error:
            say(f"no graph: {str(error).splitlines()[0]}")
            self.call("synchronize")
            return run, "no graph"
        return graph.replay, "CUDA graph"

    @cached_property
    def software(self) -> str:
        """Torch, device, platform and driver with their versions, as far as they can be found."""
        version = self.torch.version
        found = [f"torch {self.torch.__version__} on {self.title}"]
        if self.kind == "cuda":
            found.append(f"ROCm {version.hip}" if version.hip else f"CUDA {version.cuda}")
            nvidia = "nvidia-smi --query-gpu=driver_version --format=csv,noheader"
            command = "cat /sys/module/amdgpu/version" if version.hip else nvidia
            with contextlib.suppress(OSError, subprocess.SubprocessError, IndexError):
                found.append("driver " + subprocess.check_output(command.split(), text=True).split()[0])
        return ", ".join(found)


class Stack:
    """The layers of a shape that are run, and its head."""

    def __init__(self, shape: Shape, layers: int, device: Device) -> None:
        self.shape, self.device = shape, device
        self.kind: dict[str, Any] = {"device": device.name, "dtype": device.torch.bfloat16}
        self.blocks = [Block(shape, **self.kind) for _ in range(min(layers, shape.layers))]
        self.head = device.torch.randn(shape.vocabulary, shape.width, **self.kind)

    def timed(self, batch: int, context: int, start: int) -> Times:
        """Times of a step on the tokens of the context from `start` on."""
        shape, blocks, random = self.shape, self.blocks, self.device.torch.randn
        sizes = (2, batch, shape.kv_heads, context, shape.head_dim)
        caches = [random(sizes, **self.kind) for _ in blocks]  # no zeros, as in a real one
        tokens = random(batch, context - start, shape.width, **self.kind)
        turns = rotations(context, shape.head_dim, **self.kind)

        def layers() -> Any:
            x = tokens
            for block, kv in zip(blocks, caches, strict=True):
                x = block(x, kv, start, turns)
            return x

        run, means = self.device.graphed(layers)
        if shape.experts:
            means += ", experts by grouped_mm" if blocks[0].grouped_mm else ", experts one by one"
        tail, _ = self.device.graphed(lambda: blocks[0].norm(tokens[:, -1], blocks[0].gain) @ self.head.T)
        return self.device.timed(run), self.device.timed(tail), f"{self.device.software}, {means}"


def rows(shape: Shape, device: Device, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of a shape; points that memory does not hold are left out, with a line that says so."""
    stack: Stack | None = None
    work: list[Point] = [("decode", batch, context) for context in asked.contexts for batch in asked.batches]
    # As in engines, prompts at once are capped: together no more tokens than the longest context.
    work += [("prefill", n, m) for _, n, m in work if n == 1 or n * m <= max(asked.contexts)]
    for point in work:
        workflow, batch, context = point
        gc.collect()  # what the last point left behind
        device.call("empty_cache")
        needed, times = shape.needed_bytes(batch, context), None
        try:
            if needed <= device.memory_bytes:
                stack = stack or Stack(shape, asked.layers, device)
                times = stack.timed(batch, context, context - 1 if workflow == "decode" else 0)
        except RuntimeError as error:
            if not any(words in str(error) for words in ("out of memory", "allocate memory")):
                raise
        if times is not None:
            yield row(shape, point, times, asked)
        else:
            whole = f"weights and KV cache of the whole model: {needed / 1e9:,.1f} GB"
            say(f"skipped {shape.model} {workflow}, batch {batch}, context {context}: does not fit; {whole}")


def row(shape: Shape, point: Point, times: Times, asked: argparse.Namespace) -> dict[str, Any]:
    """A point as a row of measurements, its time worked out for the whole model."""
    (workflow, batch, context), (layers_s, head_s, means) = point, times
    run = min(asked.layers, shape.layers)
    seconds = shape.layers / run * layers_s + head_s
    notes = (
        f"extrapolated from {run} of {shape.layers} layers: {shape.layers} / {run} x {1e3 * layers_s:.4g} ms + head"
        f" {1e3 * head_s:.4g} ms (medians); random weights, cache and tokens; no sampling, no scheduler"
    )
    own: dict[str, Any] = {"context_tokens": context, "metrics": {"tok_s_user": 1 / seconds}}
    if workflow == "prefill":
        own = {"input_tokens": context, "metrics": {"prefill_tok_s": batch * context / seconds}}
    return {
        "id": f"own-{asked.chip}-{asked.engine}-{shape.model}-{workflow}-b{batch}-c{context}",
        "workflow": workflow, "model": shape.model, "chip": asked.chip, "n_chips": 1, "engine": asked.engine,
        "software": means, "weights": "bf16", "kv": "bf16", "acts": "bf16", "tp": 1,
        "batch": batch, **own, "kind": "independent", "core": False, "reproducible": not asked.tiny,
        "date": datetime.now(UTC).date().isoformat(), "source": "own measurement, benchmarks/accelerator.py",
        "notes": notes,
    }  # fmt: skip


def rates(device: Device, size: int, side: int) -> None:
    """Print copy bandwidth of so many bytes and rates of products of so wide matrices, for people."""
    source = device.torch.ones(size, device=device.name, dtype=device.torch.uint8)
    target = device.torch.empty_like(source)
    speed = 2 * size / device.timed(lambda: target.copy_(source))
    say(f"copy of {size / 2**20:,.0f} MiB: {speed / 1e9:,.1f} GB/s, read and written together")
    say(f"TFLOP/s of products, M x {side:,} by {side:,} x {side:,}")
    heights = (1, 8, 64, side)
    say(f"{'M =':16}" + "".join(f"{height:>12,}" for height in heights))
    for name in FORMATS:
        found = [(height, product_s(name, height, side, device)) for height in heights]
        if any(seconds for _, seconds in found):
            cells = [f"{2e-12 * height * side**2 / s:,.3f}" if s else "-" for height, s in found]
            say(f"{name:16}" + "".join(f"{cell:>12}" for cell in cells))


def product_s(name: str, height: int, side: int, device: Device) -> float | None:
    """Time of a product of [height, side] by [side, side] in a format [s]; None where the device has none."""
    import torch

    scale = 30 if name == "int8" else 1  # else few numbers but -1, 0 and 1 would be left
    one = torch.ones((), device=device.name)
    try:
        kind = getattr(torch, name)
        a, b = ((scale * torch.randn(n, side, device=device.name)).to(kind) for n in (height, side))
        products: dict[str, Callable[[], Tensor]] = {
            "float8": lambda: torch._scaled_mm(a, b.T, one, one, out_dtype=torch.bfloat16),  # noqa: SLF001
            "int8": lambda: torch._int_mm(a, b.T),  # noqa: SLF001
        }
        return device.timed(products.get(name.partition("_")[0], lambda: a @ b.T))
    except (AttributeError, RuntimeError, TypeError):
        return None


def say(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)


def counts(text: str) -> list[int]:
    """Numbers of one or more, separated by commas, each once."""
    found = sorted({int(part) for part in text.split(",")})
    if found[0] < 1:
        raise ValueError(text)
    return found


def options(words: list[str] | None) -> argparse.Namespace:
    """The options; SystemExit with status 2 for what cannot be."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--chip", help="preset of the chip (by the name of the device)")
    parser.add_argument("--engine", default="torch", help="engine that the rows name (torch)")
    parser.add_argument("--device", help="cuda, cuda:1, mps or cpu (the first that is there)")
    parser.add_argument("--models", default="llama-8b,moe", help="shapes (llama-8b,moe)")
    parser.add_argument("--layers", type=int, help="layers to run (8)")
    parser.add_argument("--batches", type=counts, help="sequences at once (1,4,16,64)")
    parser.add_argument("--contexts", type=counts, help="tokens of contexts and prompts (512,4096,16384)")
    parser.add_argument("--seconds", type=float, default=1.0, help="time to measure each point for (1)")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, to try the script out")
    asked = parser.parse_args(words)
    asked.models = list(dict.fromkeys(asked.models.split(",")))
    asked.layers = (2 if asked.tiny else 8) if asked.layers is None else asked.layers
    asked.batches = asked.batches or ([1, 2] if asked.tiny else [1, 4, 16, 64])
    asked.contexts = asked.contexts or ([16, 32] if asked.tiny else [512, 4096, 16384])
    if not set(asked.models) <= set(SHAPES):
        parser.error(f"--models: {', '.join(SHAPES)}")
    if asked.layers < 1 or not 0 < asked.seconds < inf:
        parser.error("--layers and --seconds are above zero")
    if asked.device and asked.device.partition(":")[0] not in ("cuda", "mps", "cpu"):
        parser.error("--device: cuda, mps or cpu")
    return asked


def main(words: list[str] | None = None) -> int:
    """Measure and print; status 2 for a wrong word, without torch, its device or the name of the chip."""
    asked = options(words)
    try:
        device = Device(asked.device, asked.seconds)
    except ImportError:
        say("error: torch is not installed; pip install 'memcalc[accelerator]'")
        return 2
    except (AssertionError, RuntimeError) as error:
        say(f"error: --device: {str(error).splitlines()[0]}")
        return 2
    asked.chip = asked.chip or CHIPS.get(device.title)
    if not asked.chip:
        say(f"error: no chip is known by {device.title!r}; name its preset with --chip")
        return 2
    # On a GPU sizes that no cache holds.
    sizes = (2**22, 256) if asked.tiny else (2**28, 1024) if device.kind == "cpu" else (2**30, 8192)
    try:
        with device.torch.inference_mode():
            rates(device, *sizes)
            for word in asked.models:
                for one in rows((TINY if asked.tiny else SHAPES)[word], device, asked):
                    print(json.dumps(one), flush=True)
    except KeyboardInterrupt:
        say("stopped; the rows so far stand")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
