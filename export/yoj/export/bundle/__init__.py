"""Checkpoint -> bundle: what an export is asked for, how it is built, described, and put or changed in place."""
