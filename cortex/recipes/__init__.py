"""Recipes: make a generator of labelled pictures, for a domain that no published generator knows."""
