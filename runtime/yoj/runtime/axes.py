"""The names of the dynamic axes: the same letter in code suffixes, ONNX graphs, manifests and error texts.

A name such as ``scores_BN`` is an array of shape [B, N].
"""

AXES = {
    "B": "requests in a batch",
    "L": "tokens in a row",
    "N": "responses of a request",
    "V": "visual tokens: rows of the vision graph's output",
    "C": "image crops that the vision tower encodes",
    "F": "frames of a video",
    "P": "patches of a crop or frame",
    "D": "hidden size of the backbone's text trunk",
    "K": "patches pooled into one visual token (Molmo2: 4 for an image, 9 for a frame)",
}
