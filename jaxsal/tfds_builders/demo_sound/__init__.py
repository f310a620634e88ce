"""The demo set with sound: a tone tells which of two identical objects is looked at."""
