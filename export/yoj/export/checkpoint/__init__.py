"""Files of a trained model: weights, adapters, value heads and settings, read and checked."""
