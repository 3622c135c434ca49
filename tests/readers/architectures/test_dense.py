"""Dense architectures: totals and caches that Transformers itself arrives at, published totals, errors."""

from collections import Counter
from typing import Any

import pytest

from memcalc.core.ledger import ledger
from memcalc.errors import FileError
from memcalc.model import Model
from memcalc.readers.architectures import dense, early, latent
from memcalc.readers.architectures.config import Config, Rules
from memcalc.workload import Precision


def model(rule: Rules, table: dict[str, Any]):
    return rule(Config(table, "config.json"))


def shape(*values: int, **more: Any) -> dict[str, Any]:
    """A config: vocabulary, width, inner width, layers, heads, positions, and what else it states."""
    return dense.sizes(*values, **more)


# Small configs; the total and the bf16 bytes of the cache at 10 and at 100 tokens are counted on the model
# that Transformers 5.24 builds from each.
# fmt: off
SMALL = [
    (dense.llama, shape(234, 32, 81, 6, 2, 72, num_key_value_heads=1, attention_bias=False, mlp_bias=False), 80480, 3840, 38400),
    (dense.llama, shape(240, 32, 93, 7, 2, 191, num_key_value_heads=2, head_dim=4, tie_word_embeddings=True, attention_bias=True, mlp_bias=True), 79742, 2240, 22400),
    (dense.llama, shape(310, 48, 4, 8, 6, 39, num_key_value_heads=None, tie_word_embeddings=False, mlp_bias=False), 108912, 15360, 153600),
    (dense.mistral, shape(224, 64, 95, 2, 8, 33, num_key_value_heads=8, sliding_window=17), 98240, 5120, 8704),
    (dense.mistral, shape(32, 32, 3, 8, 4, 238, num_key_value_heads=2, head_dim=8, sliding_window=None, tie_word_embeddings=False), 29472, 5120, 51200),
    (dense.mistral, shape(73, 16, 36, 2, 4, 114, num_key_value_heads=1, layer_types=["full_attention", "sliding_attention"], tie_word_embeddings=True), 5984, 320, 3200),
    (dense.mistral, shape(262, 48, 74, 1, 2, 255, num_key_value_heads=2, head_dim=10, sliding_window=3), 39792, 240, 240),
    (dense.mistral, shape(135, 8, 36, 4, 2, 27, num_key_value_heads=1, head_dim=8, layer_types=["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"], tie_word_embeddings=True), 6144, 1280, 12800),
    (dense.mistral, shape(314, 96, 60, 2, 4, 15, num_key_value_heads=4, head_dim=16, tie_word_embeddings=False), 144480, 5120, 51200),
    (dense.ministral3, shape(310, 48, 36, 5, 6, 226, num_key_value_heads=1), 486288, 25600, 256000),
    (dense.ministral3, shape(99, 8, 37, 5, 2, 179, num_key_value_heads=1, head_dim=2, sliding_window=64, tie_word_embeddings=True), 5800, 400, 2560),
    (dense.ministral3, shape(171, 8, 101, 1, 2, 89, num_key_value_heads=1, sliding_window=None, tie_word_embeddings=False), 11328, 5120, 51200),
    (dense.qwen2, shape(307, 64, 17, 6, 4, 281, num_key_value_heads=2, use_sliding_window=False, max_window_layers=3), 134208, 7680, 76800),
    (dense.qwen2, shape(70, 64, 33, 1, 8, 74, num_key_value_heads=None, sliding_window=3, layer_types=["sliding_attention"], tie_word_embeddings=True, use_sliding_window=True, max_window_layers=3), 27584, 768, 768),
    (dense.qwen2, shape(195, 24, 24, 6, 6, 170, num_key_value_heads=3, sliding_window=None, tie_word_embeddings=False), 30696, 2880, 28800),
    (dense.qwen3, shape(387, 128, 54, 7, 8, 170, num_key_value_heads=8, head_dim=10, attention_bias=True, use_sliding_window=False, max_window_layers=50), 535580, 22400, 224000),
    (dense.qwen3, shape(36, 64, 86, 9, 4, 240, num_key_value_heads=None, sliding_window=None, tie_word_embeddings=False, attention_bias=True, use_sliding_window=True), 1350784, 184320, 1843200),
    (dense.qwen3, shape(288, 32, 40, 8, 8, 186, num_key_value_heads=1, head_dim=2, sliding_window=17, tie_word_embeddings=True, attention_bias=False, use_sliding_window=True, max_window_layers=3), 49728, 640, 3080),
    (dense.gemma, shape(176, 12, 8, 3, 3, 189, num_key_value_heads=3, attention_bias=True), 120600, 92160, 921600),
    (dense.gemma, shape(282, 96, 31, 1, 4, 198, num_key_value_heads=4, head_dim=8, tie_word_embeddings=False, attention_bias=False), 75648, 1280, 12800),
    (dense.gemma, shape(31, 12, 18, 6, 3, 119, num_key_value_heads=1, head_dim=4, tie_word_embeddings=True), 6720, 960, 9600),
    (dense.gemma2, shape(360, 32, 86, 6, 4, 82, num_key_value_heads=2, attention_bias=True), 664160, 122880, 1228800),
    (dense.gemma2, shape(32, 32, 4, 6, 4, 255, num_key_value_heads=1, head_dim=8, sliding_window=64, tie_word_embeddings=True, attention_bias=False), 19488, 1920, 15744),
    (dense.gemma2, shape(376, 32, 59, 2, 4, 243, num_key_value_heads=2, head_dim=4, sliding_window=3, layer_types=["full_attention", "sliding_attention"], tie_word_embeddings=False, attention_bias=True), 38880, 416, 3296),
    (dense.gemma3, shape(52, 72, 19, 3, 3, 42, num_key_value_heads=3, head_dim=2, attention_bias=False, sliding_window_pattern=2, use_bidirectional_attention=False), 22188, 720, 7200),
    (dense.gemma3, shape(283, 24, 65, 9, 3, 264, num_key_value_heads=1, sliding_window=64, tie_word_embeddings=True, attention_bias=True, use_bidirectional_attention=True), 508512, 92160, 372736),
    (dense.gemma3, shape(79, 24, 117, 1, 3, 173, num_key_value_heads=3, head_dim=8, layer_types=["sliding_attention"], tie_word_embeddings=False, attention_bias=False, sliding_window_pattern=7, use_bidirectional_attention=False), 14656, 960, 9600),
    (dense.vaultgemma, shape(211, 32, 54, 7, 2, 271, num_key_value_heads=2, head_dim=4, attention_bias=True), 51080, 2240, 22400),
    (dense.vaultgemma, shape(230, 16, 68, 3, 2, 170, num_key_value_heads=1, sliding_window=17, layer_types=["full_attention", "full_attention", "full_attention"], tie_word_embeddings=True, attention_bias=False), 87312, 30720, 307200),
    (dense.vaultgemma, shape(369, 8, 94, 9, 2, 96, num_key_value_heads=2, sliding_window=64, tie_word_embeddings=False), 173816, 184320, 1474560),
    (early.phi, shape(54, 64, 56, 5, 4, 157, head_dim=4), 65214, 3200, 32000),
    (early.phi, shape(300, 16, 44, 6, 4, 44, num_key_value_heads=1, tie_word_embeddings=True), 18212, 960, 9600),
    (early.phi, shape(242, 48, 106, 5, 6, 298, num_key_value_heads=None, tie_word_embeddings=False), 122740, 9600, 96000),
    (dense.phi3, shape(174, 12, 27, 8, 3, 98, sliding_window=None), 16764, 3840, 38400),
    (dense.phi3, shape(303, 48, 117, 8, 2, 92, num_key_value_heads=1, head_dim=8, tie_word_embeddings=True), 168576, 2560, 25600),
    (dense.phi3, shape(69, 64, 113, 7, 8, 72, num_key_value_heads=None, head_dim=10, sliding_window=64, tie_word_embeddings=False), 305024, 22400, 143360),
    (dense.cohere, shape(341, 32, 60, 9, 8, 260, attention_bias=False, use_qk_norm=False), 99936, 11520, 115200),
    (dense.cohere, shape(20, 144, 91, 3, 6, 279, num_key_value_heads=None, head_dim=8, attention_bias=True, use_qk_norm=True), 205488, 5760, 57600),
    (dense.cohere, shape(22, 16, 44, 9, 2, 37, num_key_value_heads=1, head_dim=2, tie_word_embeddings=False), 21600, 720, 7200),
    (dense.cohere2, shape(257, 72, 46, 3, 3, 101, attention_bias=False, sliding_window_pattern=3), 110808, 8640, 86400),
    (dense.cohere2, shape(74, 48, 79, 1, 3, 136, num_key_value_heads=1, sliding_window=64, layer_types=["full_attention"], tie_word_embeddings=False, attention_bias=True), 24848, 640, 6400),
    (dense.cohere2, shape(257, 8, 117, 4, 2, 80, num_key_value_heads=None, tie_word_embeddings=True), 14352, 1280, 12800),
    (dense.olmo, shape(81, 64, 90, 9, 8, 62, num_key_value_heads=4, attention_bias=True), 278208, 11520, 115200),
    (dense.olmo, shape(296, 48, 49, 8, 6, 111, head_dim=16, tie_word_embeddings=True, attention_bias=False), 218112, 30720, 307200),
    (dense.olmo, shape(77, 32, 120, 4, 8, 72, num_key_value_heads=None, tie_word_embeddings=False, attention_bias=True), 67904, 5120, 51200),
    (dense.olmo2, shape(299, 128, 70, 4, 8, 82, attention_bias=False), 448384, 20480, 204800),
    (dense.olmo2, shape(24, 16, 90, 5, 2, 87, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True, attention_bias=True), 27760, 3200, 32000),
    (dense.olmo2, shape(396, 16, 13, 7, 4, 39, num_key_value_heads=None, head_dim=8, tie_word_embeddings=False, attention_bias=True), 32848, 8960, 89600),
    (dense.olmo3, shape(184, 32, 104, 6, 4, 80, sliding_window=3, attention_bias=True), 97824, 3200, 14720),
    (dense.olmo3, shape(52, 48, 49, 7, 6, 30, num_key_value_heads=6, head_dim=16, tie_word_embeddings=False, attention_bias=False), 185472, 26880, 268800),
    (dense.olmo3, shape(395, 12, 92, 5, 3, 195, num_key_value_heads=None, head_dim=4, sliding_window=64, tie_word_embeddings=True), 24432, 2400, 17088),
    (dense.granite, shape(133, 8, 18, 2, 2, 79, num_key_value_heads=2, attention_bias=True, mlp_bias=True), 3696, 640, 6400),
    (dense.granite, shape(183, 32, 43, 4, 8, 45, num_key_value_heads=4, head_dim=16, tie_word_embeddings=False, attention_bias=False, mlp_bias=False), 77664, 10240, 102400),
    (dense.granite, shape(242, 12, 32, 9, 3, 184, head_dim=4, tie_word_embeddings=True, mlp_bias=True), 19368, 4320, 43200),
    (dense.granite_swa, shape(176, 144, 102, 3, 6, 254, num_key_value_heads=1, attention_bias=True, mlp_bias=False), 304722, 2880, 28800),
    (dense.granite_swa, shape(91, 16, 67, 3, 4, 153, sliding_window=17, tie_word_embeddings=False, attention_bias=False, mlp_bias=True), 16206, 1920, 8576),
    (dense.granite_swa, shape(245, 16, 84, 8, 4, 228, num_key_value_heads=None, sliding_window=17, layer_types=["sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention"], tie_word_embeddings=True, attention_bias=False), 44672, 5120, 14016),
    (dense.hyperclovax, shape(150, 32, 12, 2, 2, 79, attention_bias=False, mlp_bias=True, use_post_norm=False), 20368, 2560, 25600),
    (dense.hyperclovax, shape(291, 72, 25, 6, 3, 150, num_key_value_heads=1, head_dim=4, tie_word_embeddings=False, attention_bias=True, mlp_bias=False, use_post_norm=True), 90480, 960, 9600),
    (dense.hyperclovax, shape(258, 48, 16, 6, 3, 189, num_key_value_heads=None, tie_word_embeddings=True, attention_bias=False, mlp_bias=True), 83184, 11520, 115200),
    (dense.bitnet, shape(184, 32, 37, 1, 4, 89, num_key_value_heads=4, attention_bias=True), 19717, 1280, 12800),
    (dense.bitnet, shape(126, 144, 45, 7, 6, 60, num_key_value_heads=None, tie_word_embeddings=False, attention_bias=False), 756459, 40320, 403200),
    (dense.bitnet, shape(103, 48, 84, 6, 2, 135, num_key_value_heads=1, tie_word_embeddings=True), 120408, 5760, 57600),
    (dense.diffllama, shape(138, 16, 118, 8, 2, 278, head_dim=8, attention_bias=True), 58960, 5120, 51200),
    (dense.diffllama, shape(140, 24, 6, 8, 6, 67, num_key_value_heads=2, tie_word_embeddings=False, attention_bias=False), 23000, 2560, 25600),
    (dense.diffllama, shape(352, 8, 49, 8, 2, 191, num_key_value_heads=None, head_dim=4, tie_word_embeddings=True), 14536, 2560, 25600),
    (early.starcoder2, shape(217, 64, 42, 2, 8, 78, num_key_value_heads=8, use_bias=True), 58772, 5120, 51200),
    (early.starcoder2, shape(362, 16, 41, 6, 2, 193, num_key_value_heads=2, head_dim=4, sliding_window=3, tie_word_embeddings=False, use_bias=False), 22944, 576, 576),
    (early.starcoder2, shape(270, 48, 86, 7, 3, 16, num_key_value_heads=1, head_dim=8, sliding_window=None, tie_word_embeddings=True), 95250, 2240, 22400),
    (early.stablelm, shape(300, 24, 28, 1, 3, 68, num_key_value_heads=3, use_qkv_bias=True, qk_layernorm=False, use_parallel_residual=True), 18888, 960, 9600),
    (early.stablelm, shape(317, 16, 119, 8, 2, 271, num_key_value_heads=2, tie_word_embeddings=False, use_qkv_bias=False, qk_layernorm=True, use_parallel_residual=False), 64832, 5120, 51200),
    (early.stablelm, shape(48, 96, 33, 3, 4, 34, num_key_value_heads=1, tie_word_embeddings=True, use_qkv_bias=True), 104016, 2880, 28800),
    (early.gpt2, {"vocab_size": 377, "n_embd": 48, "n_layer": 9, "n_head": 6, "n_positions": 95, "n_inner": 7}, 115695, 17280, 172800),
    (early.gpt2, {"vocab_size": 329, "n_embd": 24, "n_layer": 3, "n_head": 6, "n_positions": 229, "tie_word_embeddings": True, "n_inner": None}, 35112, 2880, 28800),
    (early.gpt2, {"vocab_size": 44, "n_embd": 72, "n_layer": 1, "n_head": 3, "n_positions": 13, "tie_word_embeddings": False}, 70560, 2880, 28800),
    (early.gpt_bigcode, {"vocab_size": 362, "n_embd": 96, "n_layer": 2, "n_head": 6, "n_positions": 157, "n_inner": 40, "multi_query": True}, 109872, 1280, 12800),
    (early.gpt_bigcode, {"vocab_size": 318, "n_embd": 16, "n_layer": 9, "n_head": 2, "n_positions": 121, "tie_word_embeddings": False, "n_inner": None, "multi_query": False}, 41664, 5760, 57600),
    (early.gpt_bigcode, {"vocab_size": 78, "n_embd": 48, "n_layer": 1, "n_head": 2, "n_positions": 161, "tie_word_embeddings": True, "n_inner": 7}, 19543, 960, 9600),
    (early.gpt_neo, shape(125, 96, 28, 6, 4, 181, attention_types=[[["global", "local"], 3]]), 286632, 23040, 230400),
    (early.gpt_neo, shape(53, 32, 81, 4, 2, 13, tie_word_embeddings=True, attention_types=[[["global", "local"], 2]]), 40388, 5120, 51200),
    (early.gpt_neo, shape(324, 8, 40, 6, 2, 54, tie_word_embeddings=False, attention_types=[[["global", "local"], 3]]), 11536, 1920, 19200),
    (early.openai_gpt, {"vocab_size": 33, "n_embd": 8, "n_layer": 3, "n_head": 2, "n_positions": 278}, 5104, 960, 9600),
    (early.openai_gpt, {"vocab_size": 225, "n_embd": 32, "n_layer": 4, "n_head": 8, "n_positions": 83, "tie_word_embeddings": True}, 60672, 5120, 51200),
    (early.openai_gpt, {"vocab_size": 136, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 64, "tie_word_embeddings": False}, 171456, 7680, 76800),
    (early.gptj, {"vocab_size": 169, "n_embd": 32, "n_layer": 8, "n_head": 2, "n_positions": 32, "tie_word_embeddings": True, "n_inner": 40}, 59977, 10240, 102400),
    (early.gptj, {"vocab_size": 37, "hidden_size": 32, "num_hidden_layers": 8, "num_attention_heads": 4, "max_position_embeddings": 233, "tie_word_embeddings": False, "n_inner": None}, 102565, 10240, 102400),
    (early.gptj, {"vocab_size": 374, "n_embd": 24, "n_layer": 3, "n_head": 3, "n_positions": 97}, 39614, 2880, 28800),
    (early.gptj, {"vocab_size": 33, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 131, "n_inner": 40}, 1537, 320, 3200),
    (early.gptj, {"vocab_size": 51, "n_embd": 72, "n_layer": 9, "n_head": 3, "n_positions": 300, "tie_word_embeddings": True, "n_inner": None}, 568275, 25920, 259200),
    (early.gptj, {"vocab_size": 300, "n_embd": 96, "n_layer": 3, "n_head": 4, "n_positions": 34, "tie_word_embeddings": False}, 391884, 11520, 115200),
    (early.gpt_neox, shape(171, 8, 84, 1, 2, 110, attention_bias=False, use_parallel_residual=False), 4476, 320, 3200),
    (early.gpt_neox, shape(152, 48, 3, 4, 6, 110, tie_word_embeddings=True, attention_bias=True, use_parallel_residual=True), 47148, 7680, 76800),
    (early.gpt_neox, shape(53, 16, 41, 5, 4, 249, tie_word_embeddings=False), 14333, 3200, 32000),
    (early.gpt_neox_japanese, {"vocab_size": 320, "hidden_size": 16, "num_hidden_layers": 9, "num_attention_heads": 2, "max_position_embeddings": 24, "intermediate_multiple_size": 1}, 19568, 5760, 57600),
    (early.gpt_neox_japanese, {"vocab_size": 72, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "max_position_embeddings": 51, "tie_word_embeddings": True}, 3000, 960, 9600),
    (early.gpt_neox_japanese, {"vocab_size": 42, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 13, "tie_word_embeddings": False}, 1496, 320, 3200),
    (early.opt, {"vocab_size": 89, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 183, "enable_bias": False, "layer_norm_elementwise_affine": False, "do_layer_norm_before": False, "ffn_dim": 13, "word_embed_proj_dim": 8}, 3120, 640, 6400),
    (early.opt, {"vocab_size": 350, "hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 8, "max_position_embeddings": 239, "enable_bias": True, "layer_norm_elementwise_affine": True, "do_layer_norm_before": True, "ffn_dim": 22, "word_embed_proj_dim": 192}, 1059780, 46080, 460800),
    (early.opt, {"vocab_size": 296, "hidden_size": 8, "num_hidden_layers": 8, "num_attention_heads": 2, "max_position_embeddings": 290, "tie_word_embeddings": False, "ffn_dim": 9, "word_embed_proj_dim": 8}, 10936, 2560, 25600),
    (early.biogpt, shape(85, 24, 85, 3, 3, 122), 25119, 2880, 28800),
    (early.biogpt, shape(329, 48, 89, 5, 2, 12, tie_word_embeddings=True), 107965, 9600, 96000),
    (early.biogpt, shape(74, 64, 51, 6, 8, 47, tie_word_embeddings=False), 153970, 15360, 153600),
    (early.xglm, {"vocab_size": 344, "d_model": 48, "ffn_dim": 8, "num_layers": 6, "attention_heads": 2, "max_position_embeddings": 26}, 79152, 11520, 115200),
    (early.xglm, {"vocab_size": 47, "d_model": 48, "ffn_dim": 48, "num_layers": 5, "attention_heads": 6, "max_position_embeddings": 84, "tie_word_embeddings": True}, 73872, 9600, 96000),
    (early.xglm, {"vocab_size": 265, "d_model": 64, "ffn_dim": 90, "num_layers": 2, "attention_heads": 4, "max_position_embeddings": 17, "tie_word_embeddings": False}, 91188, 5120, 51200),
    (early.bloom, {"vocab_size": 82, "n_embed": 96, "n_layer": 7, "n_head": 4}, 791136, 26880, 268800),
    (early.bloom, {"vocab_size": 31, "n_embed": 32, "n_layer": 8, "n_head": 8, "tie_word_embeddings": True}, 102752, 10240, 102400),
    (early.bloom, {"vocab_size": 378, "n_embed": 8, "n_layer": 7, "n_head": 2, "tie_word_embeddings": False}, 12184, 2240, 22400),
    (early.mpt, {"vocab_size": 62, "d_model": 8, "n_layers": 7, "n_heads": 2, "max_seq_len": 102}, 5992, 2240, 22400),
    (early.mpt, {"vocab_size": 377, "d_model": 96, "n_layers": 6, "n_heads": 4, "max_seq_len": 87, "tie_word_embeddings": True}, 700992, 23040, 230400),
    (early.mpt, {"vocab_size": 56, "d_model": 96, "n_layers": 3, "n_heads": 6, "max_seq_len": 54, "tie_word_embeddings": False}, 343200, 11520, 115200),
    (early.falcon, {"vocab_size": 351, "hidden_size": 12, "num_hidden_layers": 4, "num_attention_heads": 3, "max_position_embeddings": 276, "alibi": True, "new_decoder_architecture": False, "multi_query": True, "parallel_attn": True, "bias": True, "ffn_hidden_size": 70, "num_ln_in_parallel_attn": 1}, 13044, 640, 6400),
    (early.falcon, {"vocab_size": 296, "hidden_size": 96, "num_hidden_layers": 1, "num_attention_heads": 6, "max_position_embeddings": 9, "tie_word_embeddings": False, "alibi": False, "multi_query": True, "bias": False, "num_kv_heads": 3, "ffn_hidden_size": None}, 152448, 640, 6400),
    (early.falcon, {"vocab_size": 323, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 8, "max_position_embeddings": 234, "multi_query": True, "parallel_attn": False, "bias": True, "num_kv_heads": 1, "ffn_hidden_size": 70, "num_ln_in_parallel_attn": None}, 38744, 640, 6400),
    (early.persimmon, shape(92, 64, 94, 3, 4, 62, qk_layernorm=False), 99162, 7680, 76800),
    (early.persimmon, shape(49, 192, 88, 1, 8, 218, tie_word_embeddings=True, qk_layernorm=True), 192952, 7680, 76800),
    (early.persimmon, shape(70, 12, 44, 9, 3, 80, tie_word_embeddings=False, qk_layernorm=False), 17760, 4320, 43200),
    (dense.nemotron, shape(224, 48, 44, 8, 6, 33, num_key_value_heads=2, attention_bias=False, mlp_bias=True), 106816, 5120, 51200),
    (dense.nemotron, shape(138, 64, 34, 6, 4, 272, num_key_value_heads=2, head_dim=4, tie_word_embeddings=True, attention_bias=True, mlp_bias=False), 55616, 1920, 19200),
    (dense.nemotron, shape(378, 128, 93, 2, 8, 259, num_key_value_heads=2, tie_word_embeddings=False, attention_bias=False), 227584, 2560, 25600),
    (dense.exaone4, shape(161, 64, 98, 5, 4, 96, num_key_value_heads=2, sliding_window=17, sliding_window_pattern=3), 176992, 6400, 21504),
    (dense.exaone4, shape(218, 64, 114, 1, 8, 174, num_key_value_heads=8, head_dim=4, sliding_window=None, tie_word_embeddings=False, sliding_window_pattern=4, layer_types=["full_attention"]), 58184, 1280, 12800),
    (dense.exaone4, shape(368, 48, 67, 7, 2, 171, num_key_value_heads=1, head_dim=8, tie_word_embeddings=True), 102160, 2240, 22400),
    (dense.smollm3, shape(393, 72, 75, 4, 3, 222, num_key_value_heads=3, sliding_window=None, tie_word_embeddings=False, attention_bias=True, mlp_bias=True, use_sliding_window=True, no_rope_layers=[1, 0, 1, 0], no_rope_layer_interval=1), 207024, 11520, 115200),
    (dense.smollm3, shape(174, 8, 22, 4, 2, 44, num_key_value_heads=None, head_dim=2, sliding_window=3, tie_word_embeddings=True, attention_bias=True, mlp_bias=False, use_sliding_window=False), 4168, 640, 6400),
    (dense.smollm3, shape(103, 16, 3, 9, 4, 82, sliding_window=64, layer_types=["full_attention", "full_attention", "full_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention"], use_sliding_window=False, no_rope_layers=[0, 0, 0, 0, 0, 1, 1, 1, 0], no_rope_layer_interval=2), 12464, 5760, 50688),
    (dense.glm, shape(34, 72, 23, 9, 3, 231, num_key_value_heads=3, attention_bias=True), 1056672, 138240, 1382400),
    (dense.glm, shape(49, 48, 16, 4, 6, 86, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True, attention_bias=False), 61152, 5120, 51200),
    (dense.glm, shape(393, 64, 4, 8, 4, 149, num_key_value_heads=1, tie_word_embeddings=False), 719040, 40960, 409600),
    (dense.glm4, shape(256, 8, 53, 1, 2, 93, num_key_value_heads=1, attention_bias=True), 12064, 5120, 51200),
    (dense.glm4, shape(386, 16, 90, 3, 2, 39, num_key_value_heads=2, head_dim=10, tie_word_embeddings=True, attention_bias=False), 23184, 2400, 24000),
    (dense.glm4, shape(79, 48, 29, 8, 3, 105, num_key_value_heads=3, tie_word_embeddings=False), 641616, 122880, 1228800),
    (dense.seed_oss, shape(397, 48, 45, 3, 2, 251, num_key_value_heads=1, attention_bias=True, mlp_bias=False, attention_out_bias=True), 170160, 15360, 153600),
    (dense.seed_oss, shape(21, 32, 29, 4, 2, 46, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True, attention_bias=False, attention_out_bias=False), 28480, 5120, 51200),
    (dense.seed_oss, shape(230, 12, 64, 8, 3, 163, num_key_value_heads=3, tie_word_embeddings=False, attention_bias=False, mlp_bias=True), 172732, 122880, 1228800),
    (dense.ernie4_5, shape(59, 8, 108, 9, 2, 66, use_bias=True), 106680, 92160, 921600),
    (dense.ernie4_5, shape(188, 16, 110, 5, 2, 16, num_key_value_heads=2, head_dim=4, tie_word_embeddings=False, use_bias=False), 35152, 1600, 16000),
    (dense.ernie4_5, shape(57, 64, 26, 5, 4, 91, num_key_value_heads=None, tie_word_embeddings=True), 684672, 102400, 1024000),
    (dense.helium, shape(187, 8, 39, 5, 2, 29, num_key_value_heads=2, attention_bias=False, mlp_bias=True, head_dim=4), 9470, 1600, 16000),
    (dense.helium, shape(65, 16, 103, 5, 4, 20, num_key_value_heads=1, tie_word_embeddings=False, attention_bias=True, mlp_bias=False, head_dim=4), 30296, 800, 8000),
    (dense.helium, shape(343, 96, 83, 6, 4, 182, num_key_value_heads=4, tie_word_embeddings=True, head_dim=24), 398784, 23040, 230400),
    (dense.apertus, shape(68, 16, 109, 3, 2, 98, num_key_value_heads=2, attention_bias=False, hidden_act="silu"), 15872, 1920, 19200),
    (dense.apertus, shape(145, 96, 35, 4, 6, 18, num_key_value_heads=None, head_dim=2, tie_word_embeddings=True, attention_bias=True), 60648, 1920, 19200),
    (dense.apertus, shape(396, 96, 76, 6, 4, 220, tie_word_embeddings=False, attention_bias=False, hidden_act="silu"), 386304, 23040, 230400),
    (dense.arcee, shape(125, 12, 30, 6, 3, 300, num_key_value_heads=1, attention_bias=True, mlp_bias=True), 10224, 960, 9600),
    (dense.arcee, shape(311, 96, 98, 4, 6, 90, num_key_value_heads=None, head_dim=4, attention_bias=False, mlp_bias=False), 172704, 3840, 38400),
    (dense.arcee, shape(347, 72, 31, 4, 3, 98, tie_word_embeddings=True, mlp_bias=True), 126844, 11520, 115200),
    (dense.jais2, shape(279, 32, 104, 8, 8, 189, attention_bias=False, mlp_bias=False), 104960, 10240, 102400),
    (dense.jais2, shape(52, 8, 84, 2, 2, 265, num_key_value_heads=2, head_dim=16, attention_bias=True, mlp_bias=True), 6040, 2560, 25600),
    (dense.jais2, shape(173, 12, 68, 7, 3, 258, num_key_value_heads=None, head_dim=16, tie_word_embeddings=True, mlp_bias=True), 31640, 13440, 134400),
    (dense.hunyuan_v1_dense, shape(54, 12, 65, 9, 3, 146, head_dim=2, attention_bias=True), 25482, 2160, 21600),
    (dense.hunyuan_v1_dense, shape(210, 32, 63, 5, 4, 64, num_key_value_heads=4, head_dim=2, tie_word_embeddings=False, attention_bias=False), 49172, 1600, 16000),
    (dense.hunyuan_v1_dense, shape(36, 24, 5, 7, 3, 64, num_key_value_heads=None, head_dim=4, tie_word_embeddings=True), 11864, 3360, 33600),
    (dense.cwm, shape(38, 64, 9, 2, 4, 134, num_key_value_heads=1, sliding_window=3, mlp_bias=True), 172644, 6656, 52736),
    (dense.cwm, shape(222, 48, 18, 6, 3, 276, num_key_value_heads=1, head_dim=10, layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention", "full_attention"], tie_word_embeddings=True, mlp_bias=False), 49872, 2400, 24000),
    (dense.cwm, shape(228, 32, 93, 7, 2, 199, num_key_value_heads=1, head_dim=4, tie_word_embeddings=False), 82944, 1120, 11200),
    (dense.doge, shape(380, 8, 59, 8, 2, 234, head_dim=4, attention_bias=False, mlp_bias=True), 20936, 2560, 25600),
    (dense.doge, shape(345, 16, 38, 8, 2, 215, num_key_value_heads=2, tie_word_embeddings=False, attention_bias=True, mlp_bias=False), 35280, 5120, 51200),
    (dense.doge, shape(158, 12, 7, 9, 3, 111, num_key_value_heads=1, tie_word_embeddings=True, mlp_bias=True), 8415, 1440, 14400),
    (latent.youtu, shape(115, 32, 32, 4, 4, 84, attention_bias=True, kv_lora_rank=4, q_lora_rank=20, qk_rope_head_dim=4, v_head_dim=6, qk_nope_head_dim=5), 26832, 640, 6400),
    (latent.youtu, shape(327, 96, 14, 1, 4, 62, tie_word_embeddings=True, attention_bias=False, kv_lora_rank=12, q_lora_rank=None, qk_rope_head_dim=6, v_head_dim=2, qk_nope_head_dim=8), 44076, 360, 3600),
    (latent.youtu, shape(76, 96, 43, 7, 6, 9, tie_word_embeddings=False, kv_lora_rank=28, q_lora_rank=None, qk_rope_head_dim=6, v_head_dim=8, qk_nope_head_dim=7), 228076, 4760, 47600),
    (dense.nanochat, shape(29, 32, 41, 5, 2, 244, head_dim=10, attention_bias=False), 27776, 4000, 40000),
    (dense.nanochat, shape(98, 16, 69, 2, 2, 8, num_key_value_heads=2, tie_word_embeddings=True, attention_bias=True), 8160, 1280, 12800),
    (dense.nanochat, shape(117, 32, 41, 6, 8, 283, num_key_value_heads=None, head_dim=4, tie_word_embeddings=False, attention_bias=True), 48576, 7680, 76800),
    (dense.exaone, shape(199, 96, 92, 4, 6, 116, num_key_value_heads=1, attention_bias=True, mlp_bias=False), 231968, 2560, 25600),
    (dense.exaone, shape(133, 96, 92, 5, 6, 298, num_key_value_heads=None, head_dim=10, tie_word_embeddings=True, mlp_bias=True), 262904, 12000, 120000),
    (dense.exaone, shape(228, 48, 26, 9, 6, 35, num_key_value_heads=2, tie_word_embeddings=False, attention_bias=False, mlp_bias=True), 112692, 5760, 57600),
    (dense.iquestcoder, shape(39, 24, 52, 7, 3, 19, num_key_value_heads=3, attention_bias=False, mlp_bias=True), 287384, 107520, 1075200),
    (dense.iquestcoder, shape(313, 128, 8, 4, 8, 120, tie_word_embeddings=True, attention_bias=True, mlp_bias=False), 2163456, 163840, 1638400),
    (dense.iquestcoder, shape(117, 32, 8, 1, 4, 162, num_key_value_heads=None, head_dim=2, tie_word_embeddings=False), 9376, 320, 3200),
    (dense.internlm3, shape(35, 16, 79, 9, 2, 30, num_key_value_heads=2, qkv_bias=False, bias=False), 183008, 92160, 921600),
    (dense.internlm3, shape(381, 16, 11, 1, 2, 259, head_dim=2, tie_word_embeddings=False, qkv_bias=True, bias=True), 13090, 160, 1600),
    (dense.internlm3, shape(357, 96, 76, 6, 6, 273, num_key_value_heads=None, tie_word_embeddings=True, qkv_bias=False, bias=False), 1936320, 184320, 1843200),
]
# fmt: on


@pytest.mark.parametrize(
    ("rule", "table", "total", "short", "long"), SMALL, ids=[f"{row[0].__name__}-{row[2]}" for row in SMALL]
)
def test_small_configs_count_as_transformers_does(rule, table, total, short, long):
    found = model(rule, table)
    assert found.parameters == total
    bf16 = ledger(found, Precision("bf16", "bf16"))
    assert (bf16.kv_bytes_per_sequence(10), bf16.kv_bytes_per_sequence(100)) == (short, long)


OPENELM = {
    "vocab_size": 32000,
    "model_dim": 1280,
    "head_dim": 64,
    "num_transformer_layers": 16,
    "num_query_heads": [12] * 5 + [16] * 7 + [20] * 4,
    "num_kv_heads": [3] * 5 + [4] * 7 + [5] * 4,
    "ffn_multipliers": [
        0.5,
        0.73,
        0.97,
        1.2,
        1.43,
        1.67,
        1.9,
        2.13,
        2.37,
        2.6,
        2.83,
        3.07,
        3.3,
        3.53,
        3.77,
        4.0,
    ],
    "ffn_dim_divisor": 256,
    "normalize_qk_projections": True,
    "share_input_output_layers": True,
}


# fmt: off
PUBLISHED = [
    ("llama-3.1-8b", dense.llama, shape(128256, 4096, 14336, 32, 32, 131072, num_key_value_heads=8), 8030261248, 131072),
    ("mistral-7b", dense.mistral, shape(32000, 4096, 14336, 32, 32, 32768), 7241732096, 131072),
    ("qwen2.5-7b", dense.qwen2, shape(152064, 3584, 18944, 28, 28, 131072, num_key_value_heads=4), 7615616512, 57344),
    ("qwen3-8b", dense.qwen3, shape(151936, 4096, 12288, 36, 32, 40960, num_key_value_heads=8), 8190735360, 147456),
    ("phi-4", dense.phi3, shape(100352, 5120, 17920, 40, 40, 16384, num_key_value_heads=10), 14659507200, 204800),
    ("gemma-2-2b", dense.gemma2, {}, 2614341888, 106496),
    ("mimo-7b", early.mimo, shape(151680, 4096, 11008, 36, 32, 32768, num_key_value_heads=8, num_nextn_predict_layers=1), 7833409536, 147456),
    ("exaone-3.0-7.8b", dense.exaone, {"num_layers": 32}, 7818448896, 131072),
    ("internlm3-8b", dense.internlm3, {}, 8804241408, 49152),
    ("gpt2", early.gpt2, {}, 124439808, 36864),
    ("gpt2-xl", early.gpt2, {"n_embd": 1600, "n_layer": 48, "n_head": 25}, 1557611200, 307200),
    ("gpt-j-6b", early.gptj, {}, 6050882784, 458752),
    ("gpt-neox-20b", early.gpt_neox, {}, 20554567680, 1081344),
    ("opt-6.7b", early.opt, {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "ffn_dim": 16384, "word_embed_proj_dim": 4096}, 6658473984, 524288),
    ("bloom-176b", early.bloom, {"n_embed": 14336, "n_layer": 70, "num_attention_heads": 112}, 176247271424, 4014080),
    ("mpt-7b", early.mpt, {"vocab_size": 50432, "d_model": 4096, "n_heads": 32, "n_layers": 32}, 6649286656, 524288),
    ("falcon-7b", early.falcon, {}, 6921720704, 8192),
    ("falcon-40b", early.falcon, {"hidden_size": 8192, "num_hidden_layers": 60, "num_attention_heads": 128, "num_kv_heads": 8, "new_decoder_architecture": True}, 41303293952, 122880),
    ("falcon-40b-first", early.falcon, {"hidden_size": 8192, "n_layer": 60, "n_head": 128, "n_head_kv": 8, "bias": False, "parallel_attn": True}, 41303293952, 122880),
    ("starcoder", early.gpt_bigcode, {"vocab_size": 49152, "n_embd": 6144, "n_layer": 40, "n_head": 48, "n_positions": 8192}, 15517456384, 20480),
    ("phi-2", early.phi, shape(51200, 2560, 10240, 32, 32, 2048), 2779683840, 327680),
    ("phi-3-small", early.phi3small, {}, 7392272384, 131072),
    ("stablelm-3b-4e1t", early.stablelm, {}, 2795443200, 327680),
    ("qwen-7b", early.qwen, {"intermediate_size": 22016}, 7721324544, 524288),
    ("qwen-14b", early.qwen, shape(152064, 5120, 27392, 40, 40, 8192), 14167290880, 819200),
    ("qwen-72b", early.qwen, shape(152064, 8192, 49152, 80, 64, 32768), 72287920128, 2621440),
    ("baichuan-7b", early.baichuan, {}, 7000559616, 524288),
    ("baichuan2-13b", early.baichuan, shape(125696, 5120, 13696, 40, 40, 4096), 13896668160, 819200),
    ("internlm2-7b", early.internlm2, shape(92544, 4096, 14336, 32, 32, 32768, num_key_value_heads=8, bias=False), 7737708544, 131072),
    ("internlm2-20b", early.internlm2, shape(92544, 6144, 16384, 48, 48, 32768, num_key_value_heads=8, bias=False), 19861149696, 196608),
    ("chatglm3-6b", early.chatglm, {"padded_vocab_size": 65024, "num_layers": 28, "ffn_hidden_size": 13696, "add_qkv_bias": True, "multi_query_attention": True, "multi_query_group_num": 2}, 6243584000, 28672),
    ("glm-4-9b", early.chatglm, {"padded_vocab_size": 151552, "num_layers": 40, "ffn_hidden_size": 13696, "add_qkv_bias": True, "multi_query_attention": True, "multi_query_group_num": 2}, 9399951360, 40960),
    ("yi-6b", early.yi, {}, 6061035520, 65536),
    ("yi-34b", early.yi, shape(64000, 7168, 20480, 60, 56, 4096, num_key_value_heads=8), 34388917248, 245760),
    ("minicpm-2b", early.minicpm, shape(122753, 2304, 5760, 40, 36, 4096), 2724880896, 368640),
    ("openelm-270m", early.openelm, OPENELM, 271527168, 16128),
    ("mobilellm-125m", early.mobilellm, shape(32000, 576, 1536, 30, 9, 2048, num_key_value_heads=3, share_embedding=True), 124635456, 23040),
]
# fmt: on


@pytest.mark.parametrize(
    ("rule", "table", "total", "per_token"), [row[1:] for row in PUBLISHED], ids=[row[0] for row in PUBLISHED]
)
def test_published_totals(rule, table, total, per_token):
    found = model(rule, table)
    assert found.parameters + found.mtp_parameters == total
    assert ledger(found, Precision("bf16", "bf16")).kv_bytes_per_token(0) == per_token


@pytest.mark.parametrize(
    ("rule", "layers", "heads", "windows"),
    [
        (dense.mistral, 32, 32, {4096: 32}),
        (dense.gemma2, 26, 8, {4096: 13, None: 13}),
        (dense.gemma3, 26, 8, {4096: 22, None: 4}),
        (dense.olmo3, 32, 32, {4096: 24, None: 8}),
        (dense.cohere2, 40, 64, {4096: 30, None: 10}),
        (dense.cwm, 64, 48, {8192: 48, None: 16}),
        (dense.qwen2, 32, 32, {None: 32}),
    ],
)
def test_an_empty_file_is_filled_in_by_its_class(rule, layers, heads, windows):
    found = model(rule, {})
    assert found.depth == layers
    assert {group.attention.heads for group in found.layers} == {heads}
    assert windows_in(found) == windows


def windows_in(found: Model) -> Counter[int | None]:
    """How many layers have which window."""
    return Counter(group.attention.window for group in found.layers for _ in range(group.count))


def windows_of(rule: Rules, **more: Any) -> Counter[int | None]:
    return windows_in(model(rule, shape(100, 64, 96, 8, 4, 512, num_key_value_heads=2, **more)))


def test_null_and_zero_switch_a_window_off_and_an_omission_does_not():
    assert windows_of(dense.mistral) == {4096: 8}
    assert windows_of(dense.mistral, sliding_window=None) == {None: 8}
    assert windows_of(dense.cwm, sliding_window=0) == {None: 8}
    assert windows_of(early.starcoder2, sliding_window=0) == {None: 8}


def test_qwen_windows_need_their_flag():
    slides = {"sliding_window": 64, "max_window_layers": 6}
    assert windows_of(dense.qwen2, **slides) == {None: 8}
    assert windows_of(dense.qwen2, use_sliding_window=True, **slides) == {None: 6, 64: 2}
    types = ["sliding_attention"] * 3 + ["full_attention"] * 5
    assert windows_of(dense.qwen3, use_sliding_window=True, layer_types=types, **slides) == {64: 3, None: 5}


def test_exaone_spells_its_pattern_in_letters():
    assert windows_of(dense.exaone4, sliding_window_pattern="LLLG") == {4096: 6, None: 2}
    assert windows_of(dense.exaone4, sliding_window_pattern=0, sliding_window=None) == {None: 8}


def test_falcon_keeps_one_head_or_a_few():
    one = model(early.falcon, {})
    assert one.layers[0].attention.kv_heads == 1
    table = {"hidden_size": 512, "num_attention_heads": 8, "num_kv_heads": 2, "multi_query": True}
    few = model(early.falcon, {**table, "new_decoder_architecture": True})
    assert few.layers[0].attention.kv_heads == 2
    assert few.layers[0].norms == 4


def block(attention: dict[str, Any], feed_forward: dict[str, Any]) -> dict[str, Any]:
    return {"attention": attention, "ffn": feed_forward}


def searched(*blocks: Any) -> dict[str, Any]:
    count = len(blocks)
    return shape(1000, 512, 1024, count, 8, 512, num_key_value_heads=None, block_configs=list(blocks))


def test_searched_layers_leave_parts_out_or_make_them_linear():
    found = model(
        early.decilm,
        searched(
            block({"n_heads_in_group": 4}, {"ffn_mult": 1.5}),
            block({"no_op": True, "n_heads_in_group": None}, {"ffn_mult": 0.5}),
            block({"replace_with_linear": True}, {"no_op": True, "ffn_mult": None}),
            block({"n_heads_in_group": 8, "window_length": 64}, {"replace_with_linear": True}),
        ),
    )
    # By hand: 2 KV heads of 64 and 512 wide; no attention and 256 wide; one square matrix; one of each.
    norm, square = 512, 512 * 512
    assert found.parameters == 2 * 1000 * 512 + norm + sum(
        [
            2 * square + 2 * 512 * 128 + 3 * 512 * 512 + 2 * norm,
            3 * 512 * 256 + norm,
            square + norm,
            2 * square + 2 * 512 * 64 + square + 2 * norm,
        ]
    )
    assert ledger(found, Precision("bf16", "bf16")).kv_bytes_per_sequence(100) == 100 * 256 * 2 + 64 * 128 * 2


def test_deci_layers_may_differ_in_key_value_heads_alone():
    table = shape(32000, 4096, 14336, 2, 32, 4096, num_key_value_heads_per_layer=[4, 1])
    assert [group.attention.kv_heads for group in model(early.decilm, table).layers] == [4, 1]
    table = shape(32000, 4096, 14336, 2, 32, 4096, num_key_value_heads=8)
    assert {group.attention.kv_heads for group in model(early.decilm, table).layers} == {8}


def test_layers_for_multi_token_prediction_are_apart():
    table = shape(100, 64, 96, 2, 4, 512, num_key_value_heads=2)
    without, with_one = model(early.mimo, table), model(early.mimo, {**table, "num_nextn_predict_layers": 1})
    assert with_one.parameters == without.parameters
    assert (without.mtp_layers, without.mtp_parameters) == (0, 0)
    # One layer, a projection of two widths to one, three norms.
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 128 + 3 * 64 * 96 + 2 * 64
    assert (with_one.mtp_layers, with_one.mtp_parameters) == (1, layer + 2 * 64 * 64 + 3 * 64)


PLAIN = shape(100, 64, 96, 4, 4, 512, num_key_value_heads=2)
WORDS = ["full_attention"] * 3


@pytest.mark.parametrize(
    ("rule", "table", "said"),
    [
        (dense.llama, {**PLAIN, "num_key_value_heads": 3}, "num_key_value_heads = 3: does not divide the 4"),
        (
            dense.llama,
            {**PLAIN, "num_attention_heads": 6},
            "num_attention_heads = 6: does not divide the width",
        ),
        (dense.llama, {**PLAIN, "hidden_size": 0}, "hidden_size = 0: must be at least 1"),
        (dense.llama, {**PLAIN, "attention_bias": "yes"}, "attention_bias = 'yes': must be true or false"),
        (dense.llama, {**PLAIN, "num_hidden_layers": 10**6}, "num_hidden_layers"),
        (dense.gemma2, {**PLAIN, "layer_types": WORDS}, "layer_types: has 3 entries for 4 layers"),
        (dense.gemma2, {**PLAIN, "layer_types": WORDS * 2}, "layer_types: has 6 entries for 4 layers"),
        (dense.gemma2, {**PLAIN, "layer_types": [*WORDS, "mamba"]}, "layer_types: has 'mamba'"),
        (
            dense.gemma3,
            {**PLAIN, "sliding_window_pattern": 0},
            "sliding_window_pattern = 0: must be at least 1",
        ),
        (dense.exaone4, {**PLAIN, "sliding_window_pattern": "LLX"}, "sliding_window_pattern = 'LLX'"),
        (dense.exaone4, {**PLAIN, "sliding_window_pattern": ""}, "sliding_window_pattern"),
        (dense.smollm3, {**PLAIN, "no_rope_layers": [1]}, "no_rope_layers: has 1 entries for 4 layers"),
        (dense.diffllama, {**PLAIN, "num_key_value_heads": 1}, "num_key_value_heads = 1: must be even"),
        (dense.helium, {**PLAIN, "head_dim": 24}, "head_dim = 24"),
        (dense.doge, {**PLAIN, "is_moe": True}, "is_moe"),
        (early.decilm, {**PLAIN, "num_key_value_heads_per_layer": [4, 4]}, "has 2 entries for 4 layers"),
        (early.decilm, {**PLAIN, "num_key_value_heads_per_layer": [4] * 5}, "has 5 entries for 4 layers"),
        (early.decilm, {**PLAIN, "block_configs": {}}, "block_configs: must be a list of tables"),
        (early.decilm, {**PLAIN, "block_configs": [{}]}, "block_configs: has 1 entries for 4 layers"),
        (early.decilm, searched({}), "block_configs[0].attention: is missing"),
        (early.decilm, searched({"attention": {}}), "block_configs[0].ffn: is missing"),
        (early.decilm, searched(block({}, {"ffn_mult": 1})), "attention.n_heads_in_group: is missing"),
        (early.decilm, searched(block({"n_heads_in_group": 3}, {"ffn_mult": 1})), "n_heads_in_group = 3"),
        (early.decilm, searched(block({"n_heads_in_group": 4}, {})), "ffn.ffn_mult: is missing"),
        (early.decilm, searched(block({"mamba": {"heads": 1}}, {"ffn_mult": 1})), "attention.mamba: is not"),
        (early.gpt2, {"add_cross_attention": True}, "add_cross_attention"),
        (early.opt, {"word_embed_proj_dim": 512}, "word_embed_proj_dim = 512"),
        (early.mpt, {"no_bias": False}, "no_bias"),
        (early.mpt, {"expansion_ratio": 2}, "expansion_ratio = 2: must be 4"),
        (early.mpt, {"attn_config": {"attn_type": "multiquery_attention"}}, "attn_config.attn_type"),
        (early.mpt, {"attn_config": {"qk_ln": True}}, "attn_config.qk_ln"),
        (early.mpt, {"attn_config": {"alibi": False}}, "attn_config.alibi"),
        (early.qwen, {"intermediate_size": 22015}, "intermediate_size = 22015: must be even"),
        (early.chatglm, {"inner_hidden_size": 16384}, "inner_hidden_size"),
        (early.phi3small, {"ff_dim_multiplier": 4}, "ff_dim_multiplier"),
        (early.minicpm, {**PLAIN, "num_experts": 8}, "num_experts"),
        (early.openelm, {**OPENELM, "num_kv_heads": [3] * 15}, "num_kv_heads: has 15 entries for 16 layers"),
        (early.openelm, {**OPENELM, "num_query_heads": [3] * 17}, "num_query_heads: must be a list of 16"),
        (
            early.openelm,
            {**OPENELM, "num_kv_heads": [5] * 16},
            "num_kv_heads: 5 does not divide 12 query heads",
        ),
        (early.openelm, {**OPENELM, "ffn_multipliers": [1.0]}, "ffn_multipliers: must be a list of 16"),
        (early.openelm, {**OPENELM, "ffn_multipliers": ["x"] * 16}, "ffn_multipliers"),
        (early.mobilellm, {**PLAIN, "layer_sharing": True}, "layer_sharing"),
    ],
)
def test_what_cannot_be_read_is_named(rule, table, said):
    with pytest.raises(FileError) as caught:
        model(rule, table)
    assert said in str(caught.value)
