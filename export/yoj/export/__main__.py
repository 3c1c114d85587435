"""`yoj-export` as ``python -m yoj.export``."""

from .cli import main

if __name__ == "__main__":
    main()
