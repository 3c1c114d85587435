"""A checkpoint's chat template, rendered once and kept as literal pieces."""
