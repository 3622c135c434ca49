"""Architectures by the names that `config.json` gives them: each has rules that turn it into a `Model`.

The rules are grouped in modules that are imported when one of theirs is asked for. A name that is not here
is refused: nothing is guessed from likeness.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from memcalc.readers.architectures.config import Rules

#: `model_type` of a config (of its text part, where it has one) to module and function of its rules.
BY_TYPE: Mapping[str, str] = {
    "afmoe": "experts:afmoe",
    "apertus": "dense:apertus",
    "arcee": "dense:arcee",
    "arctic": "experts:arctic",
    "axk1": "latent:axk1",
    "aya_vision": "wrappers:aya_vision",
    "baichuan": "early:baichuan",
    "bailing_hybrid": "hybrids:bailing_hybrid",
    "bailing_moe": "experts:bailing_moe",
    "bailing_moe_v2": "experts:bailing_moe_v2",
    "bamba": "recurrent:bamba",
    "biogpt": "early:biogpt",
    "bitnet": "dense:bitnet",
    "bloom": "early:bloom",
    "chatglm": "early:chatglm",
    "code_llama": "dense:llama",
    "codegen": "early:gptj",
    "cohere": "dense:cohere",
    "cohere2": "dense:cohere2",
    "cohere2_vision": "wrappers:cohere2_vision",
    "cwm": "dense:cwm",
    "dbrx": "experts:dbrx",
    "deci": "early:decilm",
    "deepseek": "experts:deepseek",
    "deepseek_v2": "latent:deepseek_v2",
    "deepseek_v3": "latent:deepseek_v3",
    "deepseek_v32": "latent:deepseek_v32",
    "deepseek_v4": "latent:deepseek_v4",
    "deepseek_vl": "wrappers:deepseek_vl",
    "diffllama": "dense:diffllama",
    "doge": "dense:doge",
    "dots1": "experts:dots1",
    "ernie4_5": "dense:ernie4_5",
    "ernie4_5_moe": "experts:ernie4_5_moe",
    "exaone": "dense:exaone",
    "exaone4": "dense:exaone4",
    "exaone_moe": "experts:exaone_moe",
    "falcon": "early:falcon",
    "falcon_h1": "recurrent:falcon_h1",
    "falcon_mamba": "recurrent:mamba",
    "flex_olmo": "experts:flex_olmo",
    "gemma": "dense:gemma",
    "gemma2": "dense:gemma2",
    "gemma3": "wrappers:gemma3",
    "gemma3_text": "dense:gemma3",
    "gemma3n": "wrappers:gemma3n",
    "gemma3n_text": "gemma:gemma3n",
    "gemma4": "wrappers:gemma4",
    "gemma4_text": "gemma:gemma4",
    "glm": "dense:glm",
    "glm4": "dense:glm4",
    "glm46v": "wrappers:glm46v",
    "glm4_moe": "experts:glm4_moe",
    "glm4_moe_lite": "latent:glm4_moe_lite",
    "glm4v": "wrappers:glm4v",
    "glm4v_moe": "wrappers:glm4v_moe",
    "glm4v_moe_text": "wrappers:glm4v_moe_text",
    "glm4v_text": "wrappers:glm4v_text",
    "glm_moe_dsa": "latent:glm_moe_dsa",
    "gpt-sw3": "early:gpt2",
    "gpt2": "early:gpt2",
    "gpt_bigcode": "early:gpt_bigcode",
    "gpt_neo": "early:gpt_neo",
    "gpt_neox": "early:gpt_neox",
    "gpt_neox_japanese": "early:gpt_neox_japanese",
    "gpt_oss": "experts:gpt_oss",
    "gptj": "early:gptj",
    "granite": "dense:granite",
    "granite_swa": "dense:granite_swa",
    "granitemoe": "experts:granitemoe",
    "granitemoe_swa": "experts:granitemoe_swa",
    "granitemoehybrid": "recurrent:granitemoehybrid",
    "granitemoeshared": "experts:granitemoe",
    "grok-1": "experts:grok_1",
    "helium": "dense:helium",
    "hunyuan_v1_dense": "dense:hunyuan_v1_dense",
    "hunyuan_v1_moe": "experts:hunyuan_v1_moe",
    "hy_v3": "experts:hy_v3",
    "hyperclovax": "dense:hyperclovax",
    "idefics2": "wrappers:idefics2",
    "idefics3": "wrappers:idefics3",
    "internlm": "early:internlm",
    "internlm2": "early:internlm2",
    "internlm3": "dense:internlm3",
    "internvl": "wrappers:internvl",
    "internvl_chat": "wrappers:internvl_chat",
    "iquestcoder": "dense:iquestcoder",
    "jais2": "dense:jais2",
    "jamba": "recurrent:jamba",
    "kimi_k2": "latent:deepseek_v3",
    "kimi_k25": "wrappers:kimi",
    "kimi_linear": "recurrent:kimi_linear",
    "kimi_vl": "wrappers:kimi",
    "lara_mini": "hybrids:lara_mini",
    "lfm2": "recurrent:lfm2",
    "lfm2_moe": "recurrent:lfm2_moe",
    "lfm2_vl": "wrappers:lfm2_vl",
    "lfm3": "hybrids:lfm3",
    "llama": "dense:llama",
    "llama4": "wrappers:llama4",
    "llama4_text": "experts:llama4",
    "llava": "wrappers:llava",
    "llava_next": "wrappers:llava_next",
    "llava_onevision": "wrappers:llava_onevision",
    "longcat_flash": "latent:longcat_flash",
    "mamba": "recurrent:mamba",
    "mamba2": "recurrent:mamba2",
    "mimo": "early:mimo",
    "mimo_v2_flash": "experts:mimo_v2_flash",
    "minicpm3": "latent:minicpm3",
    "minimax": "recurrent:minimax",
    "minimax_m2": "experts:minimax_m2",
    "ministral": "dense:mistral",
    "ministral3": "dense:ministral3",
    "mistral": "dense:mistral",
    "mistral3": "wrappers:mistral3",
    "mistral4": "latent:mistral4",
    "mixtral": "experts:mixtral",
    "mllama": "wrappers:mllama",
    "mllama_text_model": "wrappers:mllama_text",
    "mpt": "early:mpt",
    "nanochat": "dense:nanochat",
    "nemotron": "dense:nemotron",
    "nemotron-nas": "early:decilm",
    "nemotron_h": "recurrent:nemotron_h",
    "olmo": "dense:olmo",
    "olmo2": "dense:olmo2",
    "olmo3": "dense:olmo3",
    "olmo_hybrid": "hybrids:olmo_hybrid",
    "olmoe": "experts:olmoe",
    "openai-gpt": "early:openai_gpt",
    "opt": "early:opt",
    "ovis2": "wrappers:ovis2",
    "paligemma": "wrappers:paligemma",
    "persimmon": "early:persimmon",
    "phi": "early:phi",
    "phi3": "dense:phi3",
    "phimoe": "experts:phimoe",
    "qwen": "early:qwen",
    "qwen2": "dense:qwen2",
    "qwen2_5_vl": "wrappers:qwen2_5_vl",
    "qwen2_5_vl_text": "wrappers:qwen2_vl_text",
    "qwen2_audio": "wrappers:qwen2_audio",
    "qwen2_moe": "experts:qwen2_moe",
    "qwen2_vl": "wrappers:qwen2_vl",
    "qwen2_vl_text": "wrappers:qwen2_vl_text",
    "qwen3": "dense:qwen3",
    "qwen3_5": "wrappers:qwen3_5",
    "qwen3_5_moe": "wrappers:qwen3_5_moe",
    "qwen3_5_moe_text": "recurrent:qwen3_5_moe",
    "qwen3_5_text": "recurrent:qwen3_5",
    "qwen3_moe": "experts:qwen3_moe",
    "qwen3_next": "recurrent:qwen3_next",
    "qwen3_vl": "wrappers:qwen3_vl",
    "qwen3_vl_moe": "wrappers:qwen3_vl_moe",
    "qwen3_vl_moe_text": "wrappers:qwen3_vl_moe_text",
    "qwen3_vl_text": "dense:qwen3",
    "recurrent_gemma": "hybrids:recurrent_gemma",
    "rwkv": "hybrids:rwkv",
    "sarvam_mla": "latent:sarvam_mla",
    "sarvam_moe": "experts:sarvam_moe",
    "seed_oss": "dense:seed_oss",
    "smollm3": "dense:smollm3",
    "smolvlm": "wrappers:idefics3",
    "solar_open": "experts:solar_open",
    "stablelm": "early:stablelm",
    "starcoder2": "early:starcoder2",
    "vaultgemma": "dense:vaultgemma",
    "voxtral": "wrappers:voxtral",
    "xglm": "early:xglm",
    "youtu": "latent:youtu",
}
#: Classes whose code is not in Transformers, or whose name is not that of their type.
BY_CLASS: Mapping[str, str] = {
    "AquilaForCausalLM": "early:aquila",
    "BaiChuanForCausalLM": "early:baichuan",
    "BaichuanForCausalLM": "early:baichuan",
    "ChatGLMForCausalLM": "early:chatglm",
    "ChatGLMForConditionalGeneration": "early:chatglm",
    "ChatGLMModel": "early:chatglm",
    "DeciLMForCausalLM": "early:decilm",
    "ExaoneForCausalLM": "dense:exaone",
    "GraniteSWAForCausalLM": "dense:granite_swa",
    "Grok1ModelForCausalLM": "experts:grok_1",
    "HunYuanDenseV1ForCausalLM": "dense:hunyuan_v1_dense",
    "HunYuanMoEV1ForCausalLM": "experts:hunyuan_v1_moe",
    "HyperCLOVAXForCausalLM": "dense:hyperclovax",
    "IQuestCoderForCausalLM": "dense:iquestcoder",
    "InternLM2ForCausalLM": "early:internlm2",
    "InternLM3ForCausalLM": "dense:internlm3",
    "InternLMForCausalLM": "early:internlm",
    "InternVLChatModel": "wrappers:internvl_chat",
    "MiMoForCausalLM": "early:mimo",
    "MiniCPMForCausalLM": "early:minicpm",
    "MiniMaxM1ForCausalLM": "recurrent:minimax",
    "MiniMaxText01ForCausalLM": "recurrent:minimax",
    "MobileLLMForCausalLM": "early:mobilellm",
    "OpenAIGPTLMHeadModel": "early:openai_gpt",
    "OpenELMForCausalLM": "early:openelm",
    "OrionForCausalLM": "early:orion",
    "Phi3SmallForCausalLM": "early:phi3small",
    "QWenLMHeadModel": "early:qwen",
    "RWForCausalLM": "early:falcon",
    "StableLMEpochForCausalLM": "early:stablelm",
    "XverseForCausalLM": "early:xverse",
    "YiForCausalLM": "early:yi",
}
#: How the class of a language model ends; the class names its architecture, `model_type` may be another's.
_ENDINGS = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")


def rules(model_type: str, architecture: str) -> Rules | None:
    """The rules of an architecture by its class, or where no class is named by its type; None if unknown.

    >>> rules("kimi", "LlamaForCausalLM").__name__, rules("llama", "").__name__
    ('llama', 'llama')
    >>> rules("llama", "LlamaForSequenceClassification") is None
    True
    """
    found = _by_class(architecture) if architecture else BY_TYPE.get(model_type)
    if found is None:
        return None
    module, _, function = found.partition(":")
    chosen: Rules = getattr(import_module("memcalc.readers.architectures." + module), function)
    return chosen


def _by_class(architecture: str) -> str | None:
    """The place of the rules for a class: `Qwen3MoeForCausalLM` is of type `qwen3_moe`."""
    if architecture in BY_CLASS:
        return BY_CLASS[architecture]
    ending = next((end for end in _ENDINGS if architecture.endswith(end)), None)
    if ending is None:
        return None
    word = architecture.removesuffix(ending).lower().replace("_", "")
    # Where text and wrapper have types of their own, ForCausalLM is the text alone.
    wanted = (word + "text", word) if ending != "ForConditionalGeneration" else (word, word + "text")
    known = {name.replace("_", ""): place for name, place in BY_TYPE.items()}
    return next((known[name] for name in wanted if name in known), None)
