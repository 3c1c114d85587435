"""`yoj-train` as ``python -m yoj.training``."""

from .cli import main

if __name__ == "__main__":
    main()
