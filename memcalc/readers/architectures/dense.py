"""Dense decoders: Llama and its many relatives."""

from __future__ import annotations

from memcalc.model import FeedForward, GroupedAttention, Layers, Model
from memcalc.readers.architectures.config import Config, model_of

#: What `LlamaConfig` fills in where a file omits it (Transformers 5).
LLAMA = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "max_position_embeddings": 2048,
}  # fmt: skip


def llama(config: Config) -> Model:
    """LlamaForCausalLM: grouped attention and SwiGLU; one bias flag each for attention and feed-forward part."""
    config = config.with_defaults(LLAMA)
    heads = config.count("num_attention_heads")
    bias = config.flag("attention_bias")
    attention = GroupedAttention(
        heads=heads,
        kv_heads=config.count("num_key_value_heads", default=heads),
        head_dim=config.count("head_dim", default=config.count("hidden_size") // heads),
        qkv_bias=bias,
        output_bias=bias,
    )
    feed_forward = FeedForward(config.count("intermediate_size"), bias=config.flag("mlp_bias"))
    return model_of(config, [Layers(config.layers(), attention, feed_forward)])
