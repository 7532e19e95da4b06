"""Tables of labels, queries and positives: their schemas, their files, and the data set made of them."""
