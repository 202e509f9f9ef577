"""Draws the pages of docs/ from finished runs; run from the root of the repository, not installed."""
