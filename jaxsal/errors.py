"""The one exception for what a user can put right.

The command line prints its text alone, without a traceback, and exits with code 2.
"""


class UserError(ValueError):
  """A wrong input: the text names the value, the constraint and the way out."""
