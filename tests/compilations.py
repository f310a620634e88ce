"""A counter of JAX's traces and compilations."""

import contextlib

import jax


@contextlib.contextmanager
def counted():
  """Gives a list that grows by one name for every trace, lowering and compilation in the block."""
  events = []

  def listen(event, seconds, **_):
    if event.startswith("/jax/core/compile/"):
      events.append(event)

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    yield events
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
