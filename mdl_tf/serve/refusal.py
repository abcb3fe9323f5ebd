"""What a request is refused with: a status and a sentence for people."""


class Refusal(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        message: a sentence or two, for people.
        headers: a dict of further ones. Defaults to `None`, none.
    """

    def __init__(self, status, message, headers=None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


def wants_page(accept):
    """Whether a client asks for a page, as browsers do, and not for JSON.

    Args:
        accept: the header `Accept`, a text.
    """
    return "text/html" in accept.lower()
