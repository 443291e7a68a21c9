"""A Singer tap for Listrak."""

__version__ = "1.2.0"
