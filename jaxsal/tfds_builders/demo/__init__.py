"""The demo set: simulated observers follow what moves and what appears."""
