"""Names in files that an export writes and others read."""

QUANTISATION = "quantisation.json"
"""The quantisation config, in the folder that holds one and inside a bundle."""
VISION_PREFIX = "vision."
"""Prefix of the names of the vision graph's modules in quantisation configs and statistics; those of the scorers have
none."""
