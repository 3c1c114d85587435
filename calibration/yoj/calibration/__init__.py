"""Samples become statistics, and statistics a plan of which layers run in 8 bits."""
