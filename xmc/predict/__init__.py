"""Batch top-k over shards of queries: many files, many workers, many machines; resumable, one output for each input."""
