"""Hollywood-2: shots of films, 19 observers."""
