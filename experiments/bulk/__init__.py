"""Many rows on one machine: killed at random, against a plain loop, and by Ray."""
