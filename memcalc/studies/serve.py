"""The command line that starts a layout in its engine, and what cannot be said on it.

Flags are those of the engines' own documentation: docs.vllm.ai (`vllm serve`), docs.sglang.io (server
arguments), nvidia.github.io/TensorRT-LLM (`trtllm-serve`), llama.cpp (tools/server/README.md).
"""

from __future__ import annotations

import re

from memcalc.core.search import Choice, Request
from memcalc.model import Model
from memcalc.noun import noun
from memcalc.precision import format_named

#: Stands for a model whose name on the Hugging Face Hub is not known.
PLACEHOLDER = "MODEL"
_HUB_NAME = re.compile(r"config\.json of ([\w.-]+/[\w.-]+)")
#: Weight formats that an engine makes from a 16-bit checkpoint as it loads it.
_MADE_ON_LOADING = {"vllm": {"fp8": "fp8"}, "sglang": {"fp8": "fp8"}}
#: Bits of the formats that an engine keeps the KV cache in unless told otherwise.
_WIDE_BITS = 16
#: What each engine calls the formats of the KV cache.
_CACHE_NAMES = {
    "vllm": {"fp8": "fp8", "fp8-ds-mla": "fp8_ds_mla"},
    "sglang": {"fp8": "fp8_e4m3"},
    "llama.cpp": {
        "fp32": "f32", **{name: name for name in ("q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")},
    },
}  # fmt: skip


@noun
class Serve:
    """A command line, and what must be said elsewhere or cannot be said at all."""

    command: str
    notes: tuple[str, ...]


def serve(request: Request, choice: Choice | None) -> Serve | None:
    """How the engine of a request starts the layout that was chosen.

    None where nothing fits, for pools of unlike chips, and for engines whose command line is not known.

    >>> from memcalc.api import request
    >>> from memcalc.core.search import choose
    >>> asked = request("llama-3.1-70b", chip="h100-sxm", chips=8, batch=32, kv="fp8", weights="fp8")
    >>> print(serve(asked, choose(asked)).command)
    vllm serve meta-llama/Llama-3.1-70B --tensor-parallel-size 8 --max-model-len 8192 --max-num-seqs 32\
 --quantization fp8 --kv-cache-dtype fp8
    """
    engine = request.engine.release_of or request.engine.name
    build = {"vllm": _vllm, "sglang": _sglang, "tensorrt-llm": _tensorrt, "llama.cpp": _llama_cpp}.get(engine)
    if choice is None or build is None or len(request.pools) > 1:
        return None
    notes: list[str] = []
    words = build(request, choice, notes)
    if PLACEHOLDER in " ".join(words):
        notes.append(f"{PLACEHOLDER} stands for the checkpoint of {request.model.name}")
    if request.workload.draft_tokens:
        notes.append("drafting is not on this command line: it needs the engine's speculative options")
    if choice.placement.verdict == "host":
        notes.append(
            "what lies beyond the chips' own memory is not on this command line: see the engine's offloading"
        )
    return Serve(" ".join(words), tuple(notes))


def hub_name(model: Model) -> str:
    """The name of a model on the Hub, as the source of its preset has it; else a placeholder.

    >>> from memcalc.readers.presets import load_model
    >>> hub_name(load_model("qwen3-8b"))
    'Qwen/Qwen3-8B'
    """
    for source in model.sources.values():
        found = _HUB_NAME.search(source.source)
        if found:
            return found[1]
    return PLACEHOLDER


def _flags(*pairs: tuple[str, int | str | None]) -> list[str]:
    """Flags with their values; those without a value to say, and degrees of one, are left out."""
    return [word for flag, value in pairs if value not in (None, 1) for word in (flag, str(value))]


def _each(request: Request, choice: Choice) -> int:
    """Sequences of one replica's attention group."""
    return choice.job.held.sequences(request.workload.batch)


def _weights(request: Request, engine: str, notes: list[str]) -> str | None:
    """The word for weights that the engine makes itself; else a note where the checkpoint has others."""
    asked, own = request.precision.weights, request.model.checkpoint
    if asked == own:
        return None
    made = _MADE_ON_LOADING.get(engine, {}).get(asked)
    narrow = bool(request.model.checkpoint_formats) or own not in ("bf16", "fp16", "fp32")
    if made is None or narrow:
        notes.append(f"{asked} weights need a checkpoint in that format: name it in place of the model")
        return None
    return made


def _cache(request: Request, engine: str, notes: list[str]) -> str | None:
    """The engine's word for the format of the KV cache; None where its default is meant."""
    kv = request.precision.kv
    if format_named(kv).bits == _WIDE_BITS:
        return None  # what an engine keeps by default
    word = _CACHE_NAMES[engine].get(kv)
    if word is None:
        notes.append(f"a KV cache in {kv} cannot be asked for on this command line")
    return word


def _no_context_parallelism(choice: Choice, notes: list[str]) -> None:
    if choice.job.layout.context > 1:
        notes.append(f"context parallelism {choice.job.layout.context} is not on this command line")


def _copies(choice: Choice, notes: list[str], server: str) -> None:
    if choice.job.layout.data > 1:
        notes.append(
            f"start {choice.job.layout.data} such {server} behind a load balancer: each is a replica"
        )


def _vllm(request: Request, choice: Choice, notes: list[str]) -> list[str]:
    layout, experts = choice.job.layout, any(group.feed_forward.experts for group in request.model.layers)
    # Of a mixture of experts data parallel ranks share the experts: they are attention groups, not replicas.
    groups = layout.attention_data if experts else layout.data
    if experts:
        _copies(choice, notes, "servers")
    words = ["vllm", "serve", hub_name(request.model)]
    # Decode context parallelism has no chips of its own: it takes those of tensor parallelism.
    words += _flags(
        ("--tensor-parallel-size", layout.tensor * layout.context),
        ("--pipeline-parallel-size", layout.pipeline),
        ("--data-parallel-size", groups),
        ("--decode-context-parallel-size", layout.context),
    )
    if layout.context > 1:
        notes.append("the chips that share a context divide the weights too, which is not counted here")
    words += ["--enable-expert-parallel"] * (layout.expert > 1)
    words += ["--max-model-len", str(request.workload.context_tokens)]
    words += ["--max-num-seqs", str(_each(request, choice))]
    quantization = _weights(request, "vllm", notes)
    return words + _flags(
        ("--quantization", quantization), ("--kv-cache-dtype", _cache(request, "vllm", notes))
    )


def _sglang(request: Request, choice: Choice, notes: list[str]) -> list[str]:
    layout = choice.job.layout
    groups = layout.attention_data
    each = _each(request, choice)
    _no_context_parallelism(choice, notes)
    words = ["python", "-m", "sglang.launch_server", "--model-path", hub_name(request.model)]
    # With attention groups --tp counts all their chips, and --max-running-requests all their sequences.
    words += _flags(("--tp-size", layout.tensor * groups), ("--pp-size", layout.pipeline))
    if groups > 1:
        words += ["--dp-size", str(groups), "--enable-dp-attention"]
        _copies(choice, notes, "servers")
    else:
        words += _flags(("--dp-size", layout.data))
    words += _flags(("--ep-size", layout.expert))
    words += ["--context-length", str(request.workload.context_tokens)]
    words += ["--max-running-requests", str(each * groups)]
    quantization = _weights(request, "sglang", notes)
    return words + _flags(
        ("--quantization", quantization), ("--kv-cache-dtype", _cache(request, "sglang", notes))
    )


def _tensorrt(request: Request, choice: Choice, notes: list[str]) -> list[str]:
    layout, settings = choice.job.layout, []
    groups = layout.attention_data
    if groups > 1:
        settings.append("enable_attention_dp: true")
        if layout.tensor > 1:
            notes.append("attention data parallelism gives each chip a group of its own, not each "
                         f"{layout.tensor} chips")  # fmt: skip
    if request.precision.kv not in ("bf16", "fp16"):
        settings.append(f"kv_cache_config: {{dtype: {request.precision.kv}}}")
    _weights(request, "tensorrt-llm", notes)
    _copies(choice, notes, "servers")
    words = ["trtllm-serve", hub_name(request.model)]
    words += _flags(
        ("--tp_size", layout.tensor * groups),
        ("--pp_size", layout.pipeline),
        ("--cp_size", layout.context),
        ("--ep_size", layout.expert),
    )
    words += ["--max_batch_size", str(_each(request, choice))]
    words += ["--max_seq_len", str(request.workload.context_tokens)]
    words += ["--kv_cache_free_gpu_memory_fraction", f"{request.engine.usable_memory:g}"]
    if settings:
        words += ["--config", "FILE.yaml"]
        notes.append("FILE.yaml holds: " + "; ".join(settings))
    return words


def _llama_cpp(request: Request, choice: Choice, notes: list[str]) -> list[str]:
    layout, work = choice.job.layout, request.workload
    slots = _each(request, choice)
    _no_context_parallelism(choice, notes)
    _copies(choice, notes, "servers")
    name = PLACEHOLDER if hub_name(request.model) == PLACEHOLDER else request.model.name
    words = ["llama-server", "-m", f"{name}-{request.precision.weights}.gguf"]
    notes.append(f"{words[-1]} stands for a GGUF file of the model in {request.precision.weights}")
    # All slots share the context that is given.
    words += ["-c", str(work.context_tokens * slots), "-np", str(slots), "-ngl", "99"]
    if layout.chips > layout.data:
        words += ["--split-mode", "layer" if request.engine.splits == "layers" else "row"]
    cache = _cache(request, "llama.cpp", notes)
    if cache is not None:
        words += ["--cache-type-k", cache, "--cache-type-v", cache]
    return words
