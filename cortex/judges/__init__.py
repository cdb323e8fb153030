"""Judges: image classifiers that never saw a token, asked what a masked or changed image still shows."""
