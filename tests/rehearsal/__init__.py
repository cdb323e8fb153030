"""The paper's numbers of images through the real rules, with small networks: ``make rehearsal``."""
