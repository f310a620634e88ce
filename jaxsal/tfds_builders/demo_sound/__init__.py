"""The demo set with sound: two identical objects, and a tone that says which one is looked at."""
