"""Studies beside the paper's method: each a folder with its settings, computation, cost and page section."""
