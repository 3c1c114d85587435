"""What the runtime costs, measured."""
