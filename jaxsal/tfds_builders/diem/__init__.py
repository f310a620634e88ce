"""DIEM: 81 clips of film, television and sports."""
