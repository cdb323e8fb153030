"""Stability of token importance over noise seeds and sample counts."""
