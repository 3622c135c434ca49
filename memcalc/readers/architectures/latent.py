"""Multi-head latent attention and what grew from it: the DeepSeek family, its indexer, GLM-5, LongCat."""

from __future__ import annotations

from typing import Any

from memcalc.model import CompressedAttention, FeedForward, Indexer, LatentAttention, Layers, Model
from memcalc.readers.architectures.config import Config, model_of
from memcalc.readers.architectures.experts import (
    LOCAL,
    mixture,
    next_token_layers,
    sparse_layers,
    stack,
)
from memcalc.readers.architectures.parts import null

ROUTED = ("n_routed_experts", *LOCAL)

DEEPSEEK_V2 = {
    "vocab_size": 102400, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "max_position_embeddings": 2048, "first_k_dense_replace": 0,
    "kv_lora_rank": 512, "q_lora_rank": 1536, "n_routed_experts": 64, "n_shared_experts": 2,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "moe_intermediate_size": 1407,
}  # fmt: skip
DEEPSEEK_V3 = {
    "vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
    "num_hidden_layers": 61, "num_attention_heads": 128, "n_shared_experts": 1, "n_routed_experts": 256,
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "qk_nope_head_dim": 128, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
    "max_position_embeddings": 4096,
}  # fmt: skip
DEEPSEEK_V32 = DEEPSEEK_V3 | {
    "max_position_embeddings": 163840, "index_topk": 2048, "index_head_dim": 128, "index_n_heads": 64,
}  # fmt: skip
GLM4_MOE_LITE = {
    "vocab_size": 154880, "hidden_size": 2048, "intermediate_size": 10240, "moe_intermediate_size": 1536,
    "num_hidden_layers": 47, "num_attention_heads": 20, "n_shared_experts": 1, "n_routed_experts": 64,
    "kv_lora_rank": 512, "q_lora_rank": 768, "qk_rope_head_dim": 64, "v_head_dim": 256,
    "qk_nope_head_dim": 192, "num_experts_per_tok": 4, "max_position_embeddings": 202752,
    "first_k_dense_replace": 1,
}  # fmt: skip
GLM_MOE_DSA = {
    "vocab_size": 154880, "hidden_size": 6144, "intermediate_size": 12288, "moe_intermediate_size": 2048,
    "num_hidden_layers": 78, "num_attention_heads": 64, "n_shared_experts": 1, "n_routed_experts": 256,
    "kv_lora_rank": 512, "q_lora_rank": 2048, "qk_rope_head_dim": 64, "v_head_dim": 256,
    "qk_nope_head_dim": 192, "num_experts_per_tok": 8, "max_position_embeddings": 202752,
    "index_topk": 2048, "index_head_dim": 128, "index_n_heads": 32, "first_k_dense_replace": 3,
}  # fmt: skip
AXK1 = {
    "vocab_size": 163840, "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
    "num_hidden_layers": 61, "num_attention_heads": 64, "n_shared_experts": 1, "n_routed_experts": 192,
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "qk_nope_head_dim": 128, "num_experts_per_tok": 8, "max_position_embeddings": 32768,
    "first_k_dense_replace": 1,
}  # fmt: skip
SARVAM_MLA = {
    "vocab_size": 262144, "hidden_size": 4096, "intermediate_size": 16384, "moe_intermediate_size": 2048,
    "num_hidden_layers": 32, "num_attention_heads": 64, "n_shared_experts": 1, "n_routed_experts": 128,
    "kv_lora_rank": 512, "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128,
    "num_experts_per_tok": 8, "first_k_dense_replace": 1, "max_position_embeddings": 4096,
}  # fmt: skip
MISTRAL4 = {
    "vocab_size": 131072, "hidden_size": 4096, "intermediate_size": 12288, "moe_intermediate_size": 2048,
    "num_hidden_layers": 36, "num_attention_heads": 32, "n_shared_experts": 1, "n_routed_experts": 128,
    "kv_lora_rank": 256, "q_lora_rank": 1024, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "qk_nope_head_dim": 64, "num_experts_per_tok": 4, "first_k_dense_replace": 0,
    "max_position_embeddings": 1048576,
}  # fmt: skip
MINICPM3 = {
    "vocab_size": 73448, "hidden_size": 2560, "intermediate_size": 6400, "num_hidden_layers": 62,
    "num_attention_heads": 40, "max_position_embeddings": 32768, "kv_lora_rank": 256,
    "q_lora_rank": 768, "qk_nope_head_dim": 64, "qk_rope_head_dim": 32,
}  # fmt: skip
YOUTU = {
    "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 32,
    "num_attention_heads": 16, "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64,
    "v_head_dim": 128, "qk_nope_head_dim": 128, "max_position_embeddings": 131072,
}  # fmt: skip
LONGCAT_FLASH = {
    "vocab_size": 131072, "hidden_size": 6144, "num_layers": 28, "num_attention_heads": 64,
    "max_position_embeddings": 131072, "ffn_hidden_size": 12288, "q_lora_rank": 1536,
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "moe_topk": 12, "n_routed_experts": 512, "zero_expert_num": 256, "expert_ffn_hidden_size": 2048,
}  # fmt: skip
DEEPSEEK_V4 = {
    "vocab_size": 129280, "hidden_size": 4096, "moe_intermediate_size": 2048, "num_hidden_layers": 43,
    "num_attention_heads": 64, "num_key_value_heads": 1, "head_dim": 512, "q_lora_rank": 1024,
    "num_experts_per_tok": 6, "n_routed_experts": 256, "n_shared_experts": 1,
    "max_position_embeddings": 1048576, "hc_mult": 4, "sliding_window": 128, "o_groups": 8,
    "o_lora_rank": 1024, "index_n_heads": 64, "index_head_dim": 128, "index_topk": 512,
}  # fmt: skip

#: The words of DeepSeek V4's `layer_types` for the numbers of its `compress_ratios`.
WINDOW, SPARSE, HEAVY = "sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"
RATIOS = {0: WINDOW, 4: SPARSE, 128: HEAVY}


def latent(config: Config, **more: Any) -> LatentAttention:
    """Latent attention by the usual names; `q_lora_rank` null means that queries are not compressed."""
    facts: dict[str, Any] = {
        "heads": config.count("num_attention_heads"),
        "latent_dim": config.count("kv_lora_rank"),
        "rope_dim": config.count("qk_rope_head_dim"),
        "nope_dim": config.count("qk_nope_head_dim"),
        "query_rank": None if null(config, "q_lora_rank") else config.maybe("q_lora_rank"),
        "bias": config.flag("attention_bias"),
    }
    facts["value_dim"] = more.pop("value_dim", None) or config.count("v_head_dim")
    return LatentAttention(**(facts | more))


def _experts(config: Config) -> FeedForward:
    """Routed experts beside shared ones, which are one part as wide as all of them."""
    width = config.count("moe_intermediate_size")
    shared = config.maybe("n_shared_experts", "num_shared_experts", least=0) or 0
    return mixture(config, ROUTED, width=width, shared_width=width * shared)


def _decoder(config: Config, attentions: list[LatentAttention], mtp: LatentAttention | None = None) -> Model:
    """Dense layers and layers with experts, one for each attention; MTP layers have `mtp` or the last."""
    experts, depth = _experts(config), len(attentions)
    dense = FeedForward(config.count("intermediate_size"))
    layers = stack(attentions, sparse_layers(config, depth), experts, dense)
    last = Layers(1, mtp or attentions[-1], experts)
    return model_of(config, layers, **next_token_layers(config, last))


def deepseek_v3(config: Config) -> Model:
    """DeepseekV3ForCausalLM, which is Kimi K2's class too."""
    config = config.with_defaults(DEEPSEEK_V3)
    return _decoder(config, [latent(config)] * config.layers())


def deepseek_v2(config: Config) -> Model:
    """DeepseekV2ForCausalLM: dense parts and shared experts may have biases, routed experts have none."""
    config = config.with_defaults(DEEPSEEK_V2)
    attention, experts, bias = latent(config), _experts(config), config.flag("mlp_bias")
    vector = (2 * experts.shared_width + config.count("hidden_size")) * (bias and experts.shared_width > 0)
    sparse = Layers(1, attention, experts, other_vector=vector)
    dense = Layers(1, attention, FeedForward(config.count("intermediate_size"), bias=bias))
    chosen = sparse_layers(config, config.layers())
    return model_of(config, [sparse if one else dense for one in chosen])


def glm4_moe_lite(config: Config) -> Model:
    """Glm4MoeLiteForCausalLM: DeepSeek V3 with values wider than keys."""
    config = config.with_defaults(GLM4_MOE_LITE)
    return _decoder(config, [latent(config)] * config.layers())


def mistral4(config: Config) -> Model:
    """Mistral4ForCausalLM: DeepSeek V3 with experts in every layer unless stated."""
    config = config.with_defaults(MISTRAL4)
    return _decoder(config, [latent(config)] * config.layers())


def sarvam_mla(config: Config) -> Model:
    """SarvamMLAForCausalLM: DeepSeek V3 whose queries are not compressed unless stated."""
    config = config.with_defaults(SARVAM_MLA)
    return _decoder(config, [latent(config)] * config.layers())


def axk1(config: Config) -> Model:
    """AXK1ForCausalLM: DeepSeek V3 with one norm more behind the experts."""
    config = config.with_defaults(AXK1)
    attention, experts = latent(config), _experts(config)
    sparse = Layers(1, attention, experts, norms=3)
    dense = Layers(1, attention, FeedForward(config.count("intermediate_size")))
    layers = [sparse if one else dense for one in sparse_layers(config, config.layers())]
    return model_of(config, layers, **next_token_layers(config, sparse))


def _indexed(config: Config, *, own: bool) -> LatentAttention:
    """Attention over the tokens that an indexer selects: the layer's own, or that of an earlier layer."""
    if null(config, "q_lora_rank"):
        raise config.error("q_lora_rank", "the indexer needs compressed queries")
    indexer = Indexer(config.count("index_n_heads"), config.count("index_head_dim"))
    return latent(config, top_k=config.count("index_topk"), indexer=indexer if own else None)


def deepseek_v32(config: Config) -> Model:
    """DeepseekV32ForCausalLM: V3 with an indexer in every layer."""
    config = config.with_defaults(DEEPSEEK_V32)
    _only_indexed(config)
    return _decoder(config, [_indexed(config, own=True)] * config.layers())


def _only_indexed(config: Config) -> None:
    words = config.words("layer_types", config.layers())
    if words and set(words) != {"indexed_attention"}:
        raise config.error("layer_types", "must be indexed_attention in every layer")


def glm_moe_dsa(config: Config) -> Model:
    """GlmMoeDsaForCausalLM (GLM-5): as V3.2, where layers may share the selection of an earlier one."""
    config = config.with_defaults(GLM_MOE_DSA)
    _only_indexed(config)
    own = _own_indexer(config, config.layers())
    attentions = [_indexed(config, own=one) for one in own]
    return _decoder(config, attentions, _indexed(config, own=True))


def _own_indexer(config: Config, depth: int) -> list[bool]:
    """Which layers have an indexer: listed as words or letters, else every n-th from an offset."""
    words = config.words("indexer_types", depth)
    name = "indexer_types" if words is not None else "index_topk_pattern"
    if words is None and isinstance(config.get(name), str):
        words = list(config.word(name))
    elif words is None:
        words = config.words(name, depth)
    if words is not None:
        known = {"full": True, "F": True, "shared": False, "S": False}
        if len(words) < depth or not set(words) <= set(known):
            raise config.error(name, f"must say full or shared for each of {depth} layers")
        found = [known[word] for word in words[:depth]]
    else:
        every = max(config.count("index_topk_freq", default=1, least=0), 1)
        offset = config.count("index_skip_topk_offset", default=2, least=0)
        found = [max(index - offset + 1, 0) % every == 0 for index in range(depth)]
    if not found[0]:
        raise config.error(name, "the first layer has no earlier one to share with")
    return found


def minicpm3(config: Config) -> Model:
    """MiniCPM3ForCausalLM: latent attention in a dense model; values of D over heads unless stated."""
    config = config.with_defaults(MINICPM3)
    value = config.count(
        "v_head_dim", default=config.count("hidden_size") // config.count("num_attention_heads")
    )
    feed_forward = FeedForward(config.count("intermediate_size"), bias=config.flag("mlp_bias"))
    return model_of(
        config, [Layers(config.layers(), latent(config, value_dim=value), feed_forward)], tied=True
    )


def youtu(config: Config) -> Model:
    """YoutuForCausalLM: latent attention in a dense model."""
    config = config.with_defaults(YOUTU)
    feed_forward = FeedForward(config.count("intermediate_size"))
    return model_of(config, [Layers(config.layers(), latent(config), feed_forward)], tied=True)


def longcat_flash(config: Config) -> Model:
    """LongcatFlashForCausalLM: a layer has two attentions, two dense parts, and experts beside both.

    It stands here as two layers, the experts in the first. Zero-computation experts are rows of the router
    alone; `top_k` counts them as if each were a real one, which is the most a token can use.
    """
    config = config.with_defaults(LONGCAT_FLASH)
    width, dense = config.count("hidden_size"), config.count("ffn_hidden_size", "intermediate_size")
    zero = config.count("zero_expert_num", default=0, least=0)
    bias = config.flag("router_bias")
    experts = mixture(
        config,
        ROUTED,
        ("moe_topk", "num_experts_per_tok"),
        width=config.count("expert_ffn_hidden_size", "moe_intermediate_size"),
        shared_width=dense,
        router_bias=bias,
    )
    attention = latent(config)
    if attention.query_rank is None:
        raise config.error("q_lora_rank", "this architecture compresses its queries")
    first = Layers(1, attention, experts, other_matrix=zero * width, other_vector=zero * bias)
    pair = [first, Layers(1, attention, FeedForward(dense))]
    total, most = experts.experts + zero, experts.top_k
    note = f"{zero} of the {total} experts compute nothing: a token uses at most {most} others"
    layers = pair * config.layers("num_layers", "num_hidden_layers")
    return model_of(config, layers, notes=(note,) if zero else ())


def deepseek_v4(config: Config) -> Model:
    """DeepseekV4ForCausalLM: a window beside compressed tokens, hyper-connections, experts in every layer.

    Three norms and two products that join its inputs make the MTP layer, with a head of hyper-connections
    of its own; the correction bias of its router counts, as checkpoints store it.
    """
    config = config.with_defaults(DEEPSEEK_V4)
    _fixed(config, "num_key_value_heads")
    _fixed(config, "n_shared_experts")
    width, streams = config.count("hidden_size"), config.count("hc_mult")
    inner = config.count("moe_intermediate_size", "intermediate_size")
    experts = mixture(config, ROUTED, width=inner, shared_width=inner)
    # Kept in full precision whatever the format of the rest, so vectors though they are tables.
    mixing = 2 * ((2 + streams) * streams * (streams * width + 1) + 3)
    vector = mixing + (2 * inner + width) * config.flag("mlp_bias")
    head = streams * streams * width + streams + 1
    words = _v4_words(config, config.layers())
    layers = [Layers(1, _compressed(config, word), experts, other_vector=vector) for word in words]
    mtp = Layers(1, _compressed(config, WINDOW), experts, other_vector=vector + head + experts.experts)
    return model_of(config, layers, other_vector=head, **_v4_mtp(config, mtp))


def _v4_mtp(config: Config, layer: Layers) -> dict[str, Any]:
    """The MTP layers that the file states: each a layer, three norms and two square products."""
    count, width = config.maybe("num_nextn_predict_layers", least=0) or 0, config.count("hidden_size")
    if not count:
        return {}
    alone = Model("mtp", width, 0, (layer,), final_norms=3, other_matrix=2 * width**2)
    return {"mtp_layers": count, "mtp_parameters": count * alone.parameters}


def _fixed(config: Config, name: str) -> None:
    if config.count(name) != 1:
        raise config.error(name, "this architecture has one")


def _v4_words(config: Config, depth: int) -> list[str]:
    """The kind of each layer; `compress_ratios` goes on with entries for the MTP layers."""
    words, ratios = config.words("layer_types", depth), config.counts("compress_ratios", depth)
    if words is None and ratios is None:
        return [SPARSE if index >= 2 and index % 2 else HEAVY for index in range(depth)]
    if words is None:
        unknown = set(ratios or ()) - set(RATIOS)
        if unknown:
            raise config.error("compress_ratios", f"has {min(unknown)}, and may have 0, 4 and 128")
        words = [RATIOS[ratio] for ratio in ratios or ()]
    if not set(words) <= {WINDOW, SPARSE, HEAVY}:
        raise config.error("layer_types", "has a word that this architecture does not know")
    return words[:depth]


def _compressed(config: Config, word: str) -> CompressedAttention:
    rates = config.section("compress_rates", {SPARSE: 4, HEAVY: 128}) or Config(
        {}, config.file, {SPARSE: 4, HEAVY: 128}
    )
    older = {SPARSE: "compress_rate_csa", HEAVY: "compress_rate_hca"}
    ratio = 0 if word == WINDOW else config.maybe(older[word]) or rates.count(word)
    heads, width, groups = (
        config.count("num_attention_heads"),
        config.count("head_dim"),
        config.count("o_groups"),
    )
    if heads * width % groups:
        raise config.error("o_groups", f"does not divide {heads} heads of {width}")
    sparse = word == SPARSE
    return CompressedAttention(
        heads=heads,
        head_dim=width,
        query_rank=config.count("q_lora_rank"),
        output_groups=groups,
        output_rank=config.count("o_lora_rank"),
        window=config.count("sliding_window"),
        ratio=ratio,
        top_k=config.count("index_topk") if sparse else None,
        indexer=Indexer(config.count("index_n_heads"), config.count("index_head_dim")) if sparse else None,
    )
