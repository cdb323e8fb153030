"""Shards: WebDataset tars of images with their token grids, which any tar tool can list."""
