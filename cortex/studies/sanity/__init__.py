"""Does importance depend on learned weights? Cascading randomisation (Adebayo et al., NeurIPS 2018)."""
