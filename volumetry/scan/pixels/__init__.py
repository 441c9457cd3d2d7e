"""Stored pixels to Hounsfield units."""
