"""The names of the dynamic axes: the same letter in code suffixes, ONNX graphs, manifests and error texts.

A name such as ``scores_BN`` is an array of shape [B, N].
"""

REQUESTS = "B"
"""Requests in a batch."""
TOKENS = "L"
"""Tokens in a row."""
RESPONSES = "N"
"""Responses of a request."""
VISUAL = "V"
"""Visual tokens: rows of the vision graph's output."""
CROPS = "C"
"""Image crops that the vision tower encodes."""
FRAMES = "F"
"""Frames of a video."""
PATCHES = "P"
"""Patches of a crop or frame."""
HIDDEN = "D"
"""Hidden size of the backbone's text trunk."""
POOLED = "K"
"""Patches pooled into one visual token (Molmo2: 4 for an image)."""
