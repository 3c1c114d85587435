"""Modules that are traced, and the ONNX graphs that are written of them."""
