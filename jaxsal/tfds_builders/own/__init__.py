"""Your own videos with records of gaze."""
