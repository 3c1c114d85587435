"""Samples become statistics, and statistics a plan of which matrices run in 8 bits; temperatures for probabilities."""
