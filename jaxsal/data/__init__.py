"""Prepared data sets, videos and sound, and batches of clips made from them."""
