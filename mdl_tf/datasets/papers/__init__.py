"""The data sets of the papers: their original files, where to fetch them, and stand-ins."""

__all__ = []
