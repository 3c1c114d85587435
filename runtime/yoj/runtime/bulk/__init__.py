"""Files of many requests: shards of rows, scored by processes that prepare ahead of the engine."""
