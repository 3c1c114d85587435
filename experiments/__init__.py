"""Experiments of this repository, which no wheel holds: the shapes task, the small judges and what they show.

Run from the root of the repository, as ``python -m experiments.small_judge``. Nothing in yoj imports them.
"""
