"""Every error this project raises on purpose.

Each class says when it is raised and what the caller does about it. Each is also the standard exception that it
refines, so `except ValueError` keeps working. HTTP status codes are the service's business and are not known here. A
message says what was given, what is allowed and what to do next.
"""


class GenRMError(Exception):
    """Any failure the project foresees. Catch it to tell our refusals from bugs."""


class InvalidComparisonError(GenRMError, ValueError):
    """A comparison cannot be judged as given (empty question, no image, …). Correct the input; a retry will not help.

    param: the offending field, as the caller names it.
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class InputTooLongError(InvalidComparisonError):
    """A text or the whole prompt is over its limit. Shorten it, or raise the limit that the message names."""


class InvalidImageError(InvalidComparisonError):
    """An image is not of an accepted kind, is damaged, or is outside the size limits."""


class ImageTooLargeError(InvalidImageError):
    """An image is over the limit on bytes or pixels, or there are too many. Resize, or raise the limit it names."""


class ModelLoadError(GenRMError, RuntimeError):
    """A model folder or hub id cannot be loaded, or is no image-text model. Raised at start-up; names the file."""


class EngineError(GenRMError, RuntimeError):
    """An engine failed on a well-formed prompt (server gone, out of memory). The same call may succeed later."""


class EngineClosedError(EngineError):
    """The engine was closed while the call waited. Send it to another replica."""
