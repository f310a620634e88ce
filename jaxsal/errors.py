"""The exception for mistakes that a user can put right.

The command line prints its text without a traceback and exits with code 2.
"""


class UserError(ValueError):
  """Reports wrong input; its text names the value, the constraint and the way out."""
