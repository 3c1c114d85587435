"""`yoj-calibrate` as ``python -m yoj.calibration``."""

from .cli import main

if __name__ == "__main__":
    main()
