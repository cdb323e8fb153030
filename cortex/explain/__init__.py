"""Which tokens carry a concept: in an image, over a concept's images, over the whole codebook."""
