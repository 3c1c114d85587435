"""Matrices in 8 or 4 bits: the schemes, and the config that says which matrices take one."""
