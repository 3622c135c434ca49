"""Readers: files in, nouns out. They know nothing of the estimator."""
