"""The trainer: state, steps, loop, checkpoints and the report."""
