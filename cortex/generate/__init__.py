"""Draw class-balanced synthetic images and their token grids from a VQGAN-type generator."""
