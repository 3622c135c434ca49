"""Files opened safely, and their words shown safely."""

from __future__ import annotations


def shown(text: object) -> str:
    """A value from a file for a message: short, and harmless to a terminal."""
    word = ascii(text)
    return word if len(word) <= 60 else word[:57] + "..."
