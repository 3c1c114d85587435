"""Calibration: samples give statistics, statistics the choice of matrices in 8 bits, rankings the temperatures."""
