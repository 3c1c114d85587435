"""Names in files that an export writes and others read."""

QUANTISATION = "quantisation.json"
"""Name of a quantisation config, in a folder of its own and inside a bundle."""
VISION_PREFIX = "vision."
"""Prefix of the vision graph's modules in quantisation configs and statistics; those of the scorers have none."""
