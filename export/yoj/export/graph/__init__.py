"""Traced modules, and the ONNX graphs that are written of them."""
