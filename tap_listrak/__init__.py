"""A Singer tap for Listrak."""

__version__ = "2.0.0"
