"""Standard output and standard error that outlive the terminal or the pipe they go to."""

import io
import os
import sys


class FailsafeStream(io.TextIOWrapper):
    """An output stream that drops its text, instead of raising an error, once its terminal or pipe is closed.

    A closed terminal sends SIGHUP, and Ctrl-C ends `| tee` as well as the run. An error in a print would then end the
    driver before it has written the checkpoint.
    """

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            self.redirect_to_null()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            self.redirect_to_null()

    def redirect_to_null(self) -> None:
        """Redirect the stream to /dev/null, together with the text that is still in its buffer."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


def protect_output_streams() -> None:
    """Replace standard output and standard error of this process by failsafe streams."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            kept = {key: getattr(stream, key) for key in ("encoding", "errors", "line_buffering", "write_through")}
            if kept["errors"] == "strict":  # a path with letters that a log in ASCII lacks stops no run
                kept["errors"] = "backslashreplace"
            setattr(sys, name, FailsafeStream(stream.detach(), **kept))
