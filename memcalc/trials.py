"""Trials: a measurement becomes a question that the estimator can be asked, or a reason why not.

What a row leaves out is assumed, and said. Beside `resolve`: both turn words into requests.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

from memcalc.chip import Chip, System
from memcalc.core.layout import Given
from memcalc.core.search import Request, choose, max_batch, sized
from memcalc.engine import Constants, Engine
from memcalc.errors import MemcalcError
from memcalc.measurement import Measurement
from memcalc.model import Model
from memcalc.precision import format_named, format_names, math_format, weight_formats
from memcalc.readers import presets
from memcalc.studies.validate import (
    CLOSED,
    DECODE,
    MEMORY,
    PREFILL,
    REQUEST,
    SATURATED,
    STATIC,
    Skipped,
    Trial,
)
from memcalc.workload import Precision, Workload

#: Where a row does not say how long the context is.
ASSUMED_CONTEXT = 1024
#: Mean prompts and answers of the data sets of MLPerf Inference 5.1 [tokens], which its results leave out.
#: 405B and R1: mlcommons.org/2025/04/llm-inference-v5 and 2025/09/deepseek-inference-5-1. 8B: 2025/09/small-llm-inference-5-1,
#: its answers end at the limit of 128 (mlcommons/inference, issue 2256). Llama 2: others who tokenised the prompts.
MLPERF_PROMPTS = {"llama-2-70b": 221, "llama-3.1-405b": 9400, "llama-3.1-8b": 778, "deepseek-r1": 800}
MLPERF_OUTPUTS = {"llama-3.1-8b": 129}
#: Default engines of chips that are not their maker's own stack.
_EVERYBODYS = ("vllm", "llama.cpp", "jax")
_BOUNDLESS_BYTES = 2**50


class _UnclearError(Exception):
    """A row that cannot become a request."""


def trial(row: Measurement, engine: Engine | None = None) -> Trial | Skipped:
    """One row as a question, or the reason why it cannot be asked; `engine` stands for the row's own."""
    try:
        return _trial(row, engine)
    except _UnclearError as error:
        return Skipped(row.id, str(error))
    except MemcalcError as error:
        # What is near, without where to see the rest: a reason is one line.
        near = (error.hint or "").partition("?")
        return Skipped(row.id, f"{error.message}: {near[0]}?" if near[1] else error.message)


def _trial(row: Measurement, given: Engine | None) -> Trial:
    if row.workflow in ("training", "finetuning"):
        raise _UnclearError(f"{row.workflow} is not predicted yet")
    if not row.headlines:
        raise _UnclearError("has none of the metrics that are compared")
    if any(row.metrics[name] <= 0 for name in row.headlines):
        raise _UnclearError(f"{row.headlines[0]} is not above zero")
    assumed: list[str] = []
    task = _task(row)
    model = _model(row)
    system, auto = _system(row, task, assumed)
    engine = given or _engine(row, system.chip, assumed)
    precision, model = _precision(row, model, system.chip, engine, assumed)
    prompt, output, context = _tokens(row, task, assumed)
    batch, most = _batch(row, task, system, engine, prompt, assumed)
    workload = _speculation(row, Workload(batch=max(1, batch), context_tokens=max(1, context)), assumed)
    asked = Request(
        model=model,
        system=system,
        engine=engine,
        constants=_constants(system.chip, engine),
        workload=workload,
        precision=precision,
        given=_given(row, model, system, assumed),
        auto=auto,
        notes=tuple(assumed),
    )
    asked = _narrowed(row, sized(asked), assumed)
    if batch == 0:
        batch = max_batch(asked) or 1
        replicas = (asked.given.data or 1) * (asked.given.attention_data or 1)
        batch = min(batch, engine.max_sequences * replicas)
        asked = replace(asked, workload=replace(workload, batch=batch))
        assumed.append(f"{batch} sequences, as many as memory holds")
    return Trial(row, asked, task, prompt, output, tuple(assumed), most, _longest_step(row))


def _task(row: Measurement) -> str:
    if row.workflow == "memory":
        return MEMORY
    if row.workflow == "prefill":
        return PREFILL
    if row.workflow == "decode":
        latency, output = row.metrics.get("request_latency_s"), row.output_tokens
        speed = row.metrics.get("tok_s_user")
        if latency and output and speed and abs(output / latency / speed - 1) < 0.02:
            return REQUEST  # its speed counts the prefill too
        return DECODE
    if "e2e_output_tok_s" in row.metrics:
        return STATIC
    if row.engine == "vendor" and row.input_tokens is None:
        return DECODE
    if row.batch is None or row.says("max_num_seqs", "saturating", "request rate", "number of prompts"):
        return SATURATED
    if row.says("static batch", "concurrency "):
        return STATIC if row.says("static batch") else CLOSED
    if row.engine in ("gaudi", "gpt-fast", "llama.cpp") or (
        row.engine == "tensorrt-llm" and row.date < "2024-06"
    ):
        return STATIC
    return CLOSED


def _model(row: Measurement) -> Model:
    if presets.find("models", row.model) is None:
        raise presets.unknown("models", row.model)
    return _load_model(row.model)


@cache
def _load_model(name: str) -> Model:
    return presets.load_model(name)


@cache
def _load_chip(name: str) -> Chip:
    return presets.load_chip(name)


@cache
def _load_engine(name: str) -> Engine:
    return presets.load_engine(name)


@cache
def _load_constants(chip: str, engine: str) -> Constants:
    return presets.load_constants(_load_chip(chip), _load_engine(engine))


def _constants(chip: Chip, engine: Engine) -> Constants:
    if engine.origin == "preset":
        return _load_constants(chip.name, engine.name)
    return presets.load_constants(chip, engine)


@cache
def _old_releases() -> tuple[Engine, ...]:
    """Engines that are releases which have ended, the oldest first."""
    found = [engine for engine in map(_load_engine, presets.names("engines")) if engine.until]
    return tuple(sorted(found, key=lambda engine: engine.until or ""))


def _system(row: Measurement, task: str, assumed: list[str]) -> tuple[System, bool]:
    """The chips of a row, and whether their number is still to be found: the fewest that hold the job."""
    if row.chip is None:
        if task != MEMORY:
            raise _UnclearError("the chip is not stated")
        chip = _load_chip("h100-sxm")  # sizes of weights and caches are the same anywhere
    elif presets.find("chips", row.chip) is None:
        raise presets.unknown("chips", row.chip)
    else:
        chip = _load_chip(row.chip)
    count, auto = row.n_chips, False
    if count is None:
        count = (row.tp or 1) * (row.pp or 1) * (row.dp or 1)
        if count == 1 and not chip.hardwired:
            # Where the model lies in SRAM the floor per layer decides, so the number of chips matters little.
            auto = chip.plan == "on-chip" and task != MEMORY
            if auto:
                assumed.append("the fewest chips that hold it")
            elif row.engine == "vendor" and chip.engine not in _EVERYBODYS:
                # A maker's own service runs on the system that it sells.
                count = chip.largest_system_chips or 1
                assumed.append(f"{count} chips, the maker's system")
    if row.says("subset of layers"):
        # Layers were timed by themselves and added up. In decode each has a region of its own, as on the wafers
        # that hold them all; in prefill all of the wafer works on one layer after the other.
        if task == DECODE:
            auto = True
            assumed.append("as many chips as hold all layers, of which some were run and scaled")
        else:
            chip = _roomy(chip)
            assumed.append("room for all layers, of which some were run and scaled")
    return System(chip.name, chip.title, chip, count), auto


def _roomy(chip: Chip) -> Chip:
    """The chip with so much memory in its homes that capacity is never in the way."""
    memory = {
        name: replace(tier, capacity_bytes=_BOUNDLESS_BYTES) if tier.home and tier.capacity_bytes else tier
        for name, tier in chip.memory.items()
    }
    return replace(chip, memory=memory)


def _narrowed(row: Measurement, asked: Request, assumed: list[str]) -> Request:
    """The request in 8 bit where the row leaves the format open and its chips do not hold the checkpoint's.

    What was measured did fit. Machines without DRAM are served in 8 bit where 16 are too many.
    """
    chip = asked.chip
    if row.workflow == "memory" or row.weights or row.n_chips is None:
        return asked
    if chip.plan != "on-chip" or "int8" not in chip.compute or asked.precision.weights == "int8":
        return asked
    if choose(asked):
        return asked
    less = replace(asked, precision=replace(asked.precision, weights="int8"))
    if not choose(less):
        return asked
    was = asked.precision.weights
    assumed[assumed.index(f"{was} weights")] = f"int8 weights, as {was} ones do not fit"
    return replace(less, notes=tuple(assumed))


def _engine(row: Measurement, chip: Chip, assumed: list[str]) -> Engine:
    name = row.engine
    if name == "vendor":
        # The maker's own stack, which is what its chip runs by default unless that is everybody's.
        name = "default" if chip.engine in _EVERYBODYS else chip.engine
    elif name == "unknown" or presets.find("engines", name) is None:
        if name != "unknown":
            assumed.append(f"{name} is not known: a typical stack")
        name = "default"
    return _load_engine(_release(name, row.date))


def _release(name: str, date: str) -> str:
    """The preset for the release of an engine at a date: those that end before have names of their own."""
    old = (one.name for one in _old_releases() if one.release_of == name and date[:7] <= (one.until or ""))
    return next(old, name) if date else name


#: Words for formats that rows use besides the names that memcalc has, the first that is found.
_FORMAT_WORDS = (
    (r"f16|float16|half", "fp16"),
    (r"bfloat16", "bf16"),
    (r"f8|float8|fp8[-_](e4m3|e5m2).*|e4m3|e5m2|w8a8-fp8", "fp8"),
    (r"w8a8|int8.*|w8a16", "int8"),
    (r"(u?int4|awq|gptq|w4a16|4-?bit)(?!-g).*", "int4-g128"),
)


def _format(word: str, assumed: list[str]) -> str:
    """The format that a row names, in memcalc's words; what stands in brackets is a remark."""
    text = re.sub(r"\(.*?\)", "", word).strip().lower()
    first = re.split(r" or |/| ", text)[0]
    if first in format_names() and first != "int4":  # checkpoints of four bits have scales
        found = first
    else:
        found = next((name for pattern, name in _FORMAT_WORDS if re.fullmatch(pattern, first)), first)
    if first != text or (found != first and found not in ("fp16", "bf16")):
        assumed.append(f"{found} for {word!r}")
    return found


def _left_open(word: str, model: Model) -> bool:
    """Whether a row does not know which of several formats it was, like "bf16/fp8 not stated", the checkpoint's one of them.

    "a or b" has the likelier first, which is taken.
    """
    beside = re.match(r"[\w-]+(/[\w-]+)+", word.lower())
    own = model.checkpoint.partition("-")[0]
    return beside is not None and "not stated" in word.lower() and own in beside[0].split("/")


def _within(form: str, chip: Chip) -> str:
    """A 16-bit format, or int8 on a chip that has no arithmetic as wide."""
    if form not in ("bf16", "fp16") or "int8" not in chip.compute:
        return form
    return form if math_format(format_named(form), form, chip.compute) else "int8"


def _precision(
    row: Measurement, model: Model, chip: Chip, engine: Engine, assumed: list[str]
) -> tuple[Precision, Model]:
    if chip.hardwired:
        weights = chip.hardwired.weights
    elif row.weights is None or _left_open(row.weights, model):
        weights = _within(model.checkpoint, chip)
        if row.workflow != "memory":
            assumed.append(f"{weights} weights")
    else:
        mixed = re.fullmatch(r"(\w+) moe(/dense)?, (\w+) attention", row.weights.lower())
        if mixed:
            # A checkpoint that converts some classes alone.
            wide = mixed[1]
            kept = {"experts": wide, **({"dense": wide, "shared": wide} if mixed[2] else {})}
            if mixed[3] not in ("bf16", "fp16"):
                kept["attention"] = mixed[3]
            model = replace(model, checkpoint=wide, checkpoint_formats=kept, checkpoint_bytes={})
            weights = wide
        else:
            native = "native" in row.weights.lower() and model.checkpoint.startswith("fp8")
            weights = model.checkpoint if native else _format(row.weights, assumed)
            if weights == "fp4":
                weights = "nvfp4" if chip.maker == "NVIDIA" else "mxfp4"
            if weights == "fp8" and model.checkpoint.startswith("fp8"):
                weights = model.checkpoint
    kv = row.kv
    if kv is None:
        kv = _within(model.kv_format, chip)
        if engine.name.startswith("tensorrt-llm") and weights in ("fp8", "nvfp4", "fp4"):
            kv = "fp8"
        if row.workflow != "memory":
            assumed.append(f"{kv} KV cache")
    kv = _format(kv, [])
    acts = None if row.acts is None else _format(row.acts, [])
    if acts is not None:
        acts = {"nvfp4": "fp4", "mxfp8": "fp8", "mxfp4": "fp4", "int8": "int8"}.get(acts, acts)
        if acts not in ("fp32", "bf16", "fp16", "fp8", "fp4", "int8") or acts not in chip.compute:
            acts = None
    format_named(kv)
    weight_formats(weights, model.base_format, None)  # refuses what it does not know
    return Precision(weights, kv, acts), model


def _tokens(row: Measurement, task: str, assumed: list[str]) -> tuple[int, int, int]:
    """Tokens of a prompt, tokens of an answer, and the mean context during decode."""
    prompt, output, context = row.input_tokens, row.output_tokens, row.context_tokens
    if task == SATURATED and row.model in MLPERF_PROMPTS and row.says("mlperf") and prompt is None:
        prompt = MLPERF_PROMPTS[row.model]
        assumed.append(f"prompts of {prompt} tokens, the mean of the data set")
        if output is None:
            output = MLPERF_OUTPUTS.get(row.model, ASSUMED_CONTEXT)
            assumed.append(f"answers of {output} tokens")
    if task == MEMORY:
        return prompt or 0, output or 0, context or prompt or 1
    if task in (DECODE, REQUEST):
        if context is None and prompt is not None:
            context = prompt + (output or 0) // 2
        if context is None:
            context = ASSUMED_CONTEXT
            assumed.append(f"a context of {context} tokens")
        return prompt or 0, output or 0, max(1, context)
    if prompt is None:
        prompt = context or ASSUMED_CONTEXT
        assumed.append(f"prompts of {prompt} tokens")
    if task == PREFILL:
        return max(1, prompt), 0, max(1, prompt)
    if not output:
        output = ASSUMED_CONTEXT
        assumed.append(f"answers of {output} tokens")
    return prompt, output, prompt + output


def _batch(
    row: Measurement, task: str, system: System, engine: Engine, prompt: int, assumed: list[str]
) -> tuple[int, int | None]:
    """Sequences at once over the whole system, and the most that the load allowed."""
    batch = row.batch
    if batch is not None and re.search(r"batch[^.;,]* per (gpu|chip|device|rank|card)", row.notes.lower()):
        batch *= system.count
    if task in (SATURATED, CLOSED):
        return batch or 1, batch  # more may wait than run
    if batch is None and task == PREFILL and (row.ep or row.dp or 1) > 1:
        # Each rank prefills a whole chunk.
        batch = max(1, engine.prefill_chunk_tokens * system.count // max(1, prompt))
        assumed.append(f"{batch} prompts at once, a full chunk for each chip")
    if batch is None and task == DECODE and "chip" in row.headlines[0]:
        return 0, None  # a loaded system: found once the request stands
    if batch is None:
        batch = 1
        if task != MEMORY:
            assumed.append("one sequence")
    return batch, None


def _speculation(row: Measurement, work: Workload, assumed: list[str]) -> Workload:
    """The drafting that a row states: so many drafts (mtp3) with a mean accepted length."""
    found = re.search(r"mtp[- ]?(\d+)", f"{row.software} {row.notes}".lower())
    length = row.metrics.get("accepted_len")
    if not found or row.says("no mtp"):
        return work
    drafts = int(found[1])
    if length is None:
        share = re.search(r"(\d+) ?% acceptance", row.notes)
        acceptance = int(share[1]) / 100 if share else 0.8
        if not share:
            assumed.append("drafts accepted 8 times in 10")
    else:
        acceptance = _acceptance(length, drafts)
    return replace(work, draft_tokens=drafts, acceptance=acceptance)


#: Longest time per output token that the scenarios of MLPerf Inference 5.1 allow at their 99th percentile [s]
#: (mlcommons/inference, loadgen/mlperf.conf).
_MLPERF_TPOT_S = {
    ("llama-2-70b", "server"): 0.2, ("llama-2-70b", "interactive"): 0.04,
    ("llama-3.1-405b", "server"): 0.175, ("llama-3.1-405b", "interactive"): 0.08,
    ("mixtral-8x7b", "server"): 0.2, ("llama-3.1-8b", "server"): 0.1, ("llama-3.1-8b", "interactive"): 0.03,
    ("deepseek-r1", "server"): 0.08,
}  # fmt: skip


def _longest_step(row: Measurement) -> float | None:
    """The mean step that keeps a limit of the 99th percentile: 0.7 of it."""
    scenario = next((word for word in ("server", "interactive") if row.id.endswith(word)), "")
    limit = _MLPERF_TPOT_S.get((row.model, scenario)) if row.says("mlperf") else None
    return None if limit is None else 0.7 * limit


def _acceptance(length: float, drafts: int) -> float:
    """The acceptance whose expected length (1 - a^(g+1)) / (1 - a) is the one measured."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        expected = sum(middle**i for i in range(drafts + 1))
        low, high = (middle, high) if expected < length else (low, middle)
    return low


def _given(row: Measurement, model: Model, system: System, assumed: list[str]) -> Given:
    """The layout as far as the row states it."""
    experts = max(group.feed_forward.experts for group in model.layers)
    tensor, pipeline, expert, data = row.tp, row.pp, row.ep, row.dp
    groups = None
    count = system.count
    if system.chip.execution == "spatial":
        return Given()
    if experts and (expert or 1) > 1 and not tensor:
        # Wide expert parallelism: every chip has the attention for sequences of its own.
        groups, tensor, data = data or expert, 1, None
        if row.dp is None:
            assumed.append("attention by sequence on each chip")
    if tensor and count % tensor:
        raise _UnclearError(f"tensor parallelism of {tensor} does not divide {count} chips")
    if expert is not None and (not experts or expert == 1 or experts % expert):
        expert = None
    return Given(tensor, pipeline, expert, data, None, groups)
