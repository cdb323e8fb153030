"""Token grids and images: drawn, imported, kept in shards, packed for training."""
