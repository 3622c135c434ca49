"""The version, as a literal: reading it must not cost an import."""

__version__ = "0.1.0"
