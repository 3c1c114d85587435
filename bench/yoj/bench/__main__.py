"""`yoj-bench` as ``python -m yoj.bench``."""

from .cli import main

if __name__ == "__main__":
    main()
