"""Plans, the serialised engines of TensorRT and TensorRT-RTX, built from a bundle's graphs."""
