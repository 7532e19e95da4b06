"""Search a trained run: one text, many texts, shards, and the merge of partial answers."""
