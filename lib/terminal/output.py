"""Standard output whose reader may leave, as `head` does."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class _UntilClosed:
    """A stream that drops what is written after its reader has closed it.

    A release then goes on in silence: ending it in the middle of a deployment would be worse than printing nothing.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        with self._tolerant():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        with self._tolerant():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # What is still in the buffer goes there, too; else Python would complain when it ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def until_closed() -> Iterator[None]:
    """Let what is printed within the block survive a closed pipe."""
    with contextlib.redirect_stdout(cast(TextIO, _UntilClosed(sys.stdout))):
        yield
        sys.stdout.flush()


def survive_closed_pipe() -> None:
    """Let everything that this process prints from now on survive a closed pipe: Invoke itself prints the help."""
    sys.stdout = cast(TextIO, _UntilClosed(sys.stdout))
