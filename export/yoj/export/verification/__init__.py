"""Verification: the agreement of a bundle with the stock model, and the values that a precision has to hold."""
