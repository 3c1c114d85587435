"""C interface: a shared library that starts Python in the host's process, and its headers."""
