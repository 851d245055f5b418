"""Class paths as a store: a folder with a file per class, which grows shard by shard and is read in pieces."""
