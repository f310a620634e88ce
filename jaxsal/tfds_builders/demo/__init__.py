"""The demo set: simulated observers look at objects that move or appear."""
