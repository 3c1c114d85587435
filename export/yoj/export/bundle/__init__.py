"""Checkpoint -> bundle: settings of an export, the build, its description, and changes of a bundle in place."""
