"""Effect of removing tokens one by one and together, beside Shapley values."""
