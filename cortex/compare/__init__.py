"""Runs side by side: the same classes by other generators, or one generator by other seeds or settings."""
