"""Coutrot 1: 60 clips of objects, landscapes and faces."""
