"""CPU kernels of the hot paths, each with a plain formulation to fall back on."""
