"""One image: its file as a person sees it, what training makes of it, and where it is kept."""

__all__ = []
