"""Commands ``draw-<figure>``: read a run's files, draw one figure."""
