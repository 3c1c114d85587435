"""`yoj-score` as ``python -m yoj.runtime``."""

from .cli import main

if __name__ == "__main__":
    main()
