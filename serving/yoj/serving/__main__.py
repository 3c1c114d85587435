"""`yoj-serve` as ``python -m yoj.serving``."""

from .cli import main

if __name__ == "__main__":
    main()
