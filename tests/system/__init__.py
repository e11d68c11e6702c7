"""Whole agents against a whole centre."""
