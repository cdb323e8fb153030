"""taming-transformers: a VQGAN and a class-conditional GPT over its tokens (Esser et al., CVPR 2021)."""
