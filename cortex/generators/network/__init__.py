"""Generators made of networks: a tokenizer, and a prior of its token grids or none.

What families of such generators share: weights files and their metadata, loading, the sampler of priors that draw
tokens row by row, likelihoods, cost, and the conversion of published files. A family (:mod:`.family`) adds networks.
"""
