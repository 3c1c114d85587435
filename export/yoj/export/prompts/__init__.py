"""Chat template of a checkpoint, rendered once and kept as literal pieces."""
