"""Names in files that an export writes and others read."""

QUANTISATION = "quantisation.json"
"""The plan inside a bundle."""
VISION = "vision."
"""Before the names of the vision graph's modules in plans and statistics; those of the scorers have nothing before."""
