"""Vector-quantized image generators: what a class looks like, as a token grid and as an image."""
