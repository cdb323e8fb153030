"""The dictionary: a look-up of every code of the codebook, and of every code and class (METHOD.md, section 12)."""

# Interventions on a sample of test images: the code's own positions, and the random control of equal area.
CODE, RANDOM = "code", "random"
