"""CPU time that reading a model's files adds to `memcalc fit --json`: config, index of 300 shards, GGUF of 2,000 tensors.

Run as `python benchmarks/readers.py`; needs the development extra for safetensors and gguf. Files are made in a
temporary folder and hold no weights: what lies behind the headers is a hole.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import struct
import subprocess
import sys
import tempfile

RUNS = 15
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32, "vocab_size": 128256,
    "torch_dtype": "bfloat16",
}  # fmt: skip


def cpu_ms(*words: str) -> float:
    """Median CPU time of a run [ms]."""
    times = []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "memcalc", *words], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return 1e3 * statistics.median(times)


def sparse_file(path: str, head: bytes, size: int) -> None:
    """A file with that beginning and a hole behind it."""
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(size)


def shards(folder: str, count: int, tensors: int) -> None:
    """A sharded set with its index and config."""
    weight_map = {}
    for shard in range(count):
        name, header, end = f"model-{shard + 1:05}-of-{count:05}.safetensors", {}, 0
        for number in range(tensors):
            tensor = f"model.layers.{shard % 32}.mlp.experts.{shard}.{number}.weight"
            header[tensor] = {"dtype": "BF16", "shape": [64, 64], "data_offsets": [end, end + 8192]}
            end += 8192
            weight_map[tensor] = name
        text = json.dumps(header).encode()
        sparse_file(os.path.join(folder, name), struct.pack("<Q", len(text)) + text, 8 + len(text) + end)
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
        json.dump({"metadata": {"total_size": count * tensors * 8192}, "weight_map": weight_map}, file)


def gguf_file(path: str, tensors: int, words: int) -> None:
    """A GGUF file with that many tensors and words of vocabulary."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(path, "llama")
    blocks = tensors // 9
    writer.add_block_count(blocks)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(128)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_token_list([f"token{number}" for number in range(words)])
    writer.add_token_scores([0.0] * words)
    writer.add_token_types([1] * words)
    shapes = {
        "attn_q": (64, 64), "attn_k": (32, 64), "attn_v": (32, 64), "attn_output": (64, 64), "ffn_gate": (128, 64),
        "ffn_up": (128, 64), "ffn_down": (64, 128), "attn_norm": (64,), "ffn_norm": (64,),
    }  # fmt: skip
    writer.add_tensor("token_embd.weight", np.zeros((100, 64), np.float32))
    writer.add_tensor("output_norm.weight", np.zeros(64, np.float32))
    for block in range(blocks):
        for name, shape in shapes.items():
            writer.add_tensor(f"blk.{block}.{name}.weight", np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Print what each kind of file adds to the run of a preset."""
    with tempfile.TemporaryDirectory() as folder:
        sharded = os.path.join(folder, "sharded")
        os.mkdir(sharded)
        for place in (folder, sharded):
            with open(os.path.join(place, "config.json"), "w", encoding="utf-8") as file:
                json.dump(CONFIG, file)
        shards(sharded, 300, 100)
        gguf_file(os.path.join(folder, "model.gguf"), 2000, 150_000)
        preset = cpu_ms("fit", "llama-3.1-8b", "--chip", "h100-sxm", "--json")
        print(f"fit of a preset                       {preset:6.1f} ms")
        for title, path in (
            ("config.json", os.path.join(folder, "config.json")),
            ("folder, 300 shards of 100 tensors", sharded),
            ("GGUF, 2,000 tensors, 150,000 words", os.path.join(folder, "model.gguf")),
        ):
            print(f"{title:36} +{cpu_ms('fit', path, '--chip', 'h100-sxm', '--json') - preset:6.1f} ms")


if __name__ == "__main__":
    main()
