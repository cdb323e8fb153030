"""Bias: does a neutral set of images lean to one of two groups (METHOD.md, section 7)?"""

# The lists of a group's tokens: those most counted, as published, and those counted more often than in the other group.
METHODS = ("concept", "contrast")
