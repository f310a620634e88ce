"""DHF1K: 1000 videos, 17 observers."""
