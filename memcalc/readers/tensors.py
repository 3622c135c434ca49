"""A tensor as a file of weights states it: name, shape, type and bytes, never its values."""

from __future__ import annotations

from typing import NamedTuple


class StoredTensor(NamedTuple):
    """One tensor of a checkpoint file.

    `type` is the file's own word for the element type ("BF16", "F8_E4M3", "U8"; of a GGUF file "Q4_K"),
    `bytes` what the data take in the file, scales inside blocks included.

    >>> StoredTensor("model.norm.weight", (4096,), "BF16", 8192).elements
    4096
    """

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int

    @property
    def elements(self) -> int:
        """Elements of the shape; 1 for a scalar."""
        product = 1
        for size in self.shape:
            product *= size
        return product
