"""Standard output and standard error that outlive the terminal or the pipe they go to."""

import io
import os
import sys

from run_directory.writing import FULL_DISK_ERRORS


class FailsafeStream(io.TextIOWrapper):
    """An output stream that drops its text, instead of raising an error, once its terminal or pipe is closed.

    A closed terminal sends SIGHUP, and Ctrl-C ends `| tee` as well as the run. An error in a print would then end the
    driver before it has written the checkpoint.

    Attributes:
        full: what the system said where text was dropped because a disk is full; else empty.
    """

    full = ""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self.redirect_to_null(error)
        except RuntimeError:  # of a signal's handler, while this thread waits in a write to a slow reader
            pass
        return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.redirect_to_null(error)
        except RuntimeError:  # as above
            pass

    def redirect_to_null(self, error: OSError) -> None:
        """Redirect the stream to /dev/null, together with the text that is still in its buffer."""
        if error.errno in FULL_DISK_ERRORS:
            self.full = error.strerror
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


def print_answer(text: str) -> int:
    """Print a text that is all that a command is asked for; return its exit code, 1 where the disk is full."""
    print(text.removesuffix("\n"), flush=True)
    if full := getattr(sys.stdout, "full", ""):
        print(f"error: standard output cannot be written: {full}", file=sys.stderr)
    return int(bool(full))
