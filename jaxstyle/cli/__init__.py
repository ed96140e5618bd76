"""The command line: parse, call, say what happened, return an exit code.

Nothing heavy is imported before a command runs: `--help` and `--version` answer at once.
"""

import os
import sys
from collections.abc import Sequence

from jaxstyle.cli.parser import make_parser
from jaxstyle.errors import ExitCode, JaxstyleError, one_line


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (without the program's name); the exit code is returned."""
    # The compiler's own log speaks of its cache and its host, not to users.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        args = make_parser().parse_args(argv)
        return int(args.run(args))
    except SystemExit as stop:
        return int(stop.code or 0)
    except JaxstyleError as error:
        return _fail(error, error.exit_code)
    except ValueError as error:
        return _fail(error, ExitCode.BAD_ARGUMENTS)
    except KeyboardInterrupt:
        return _fail("interrupted.", ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # Who reads stdout has gone; at exit Python would try to flush it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.CANNOT_WRITE)
    except Exception as error:
        if os.environ.get("JAXSTYLE_DEBUG"):
            raise
        if "RESOURCE_EXHAUSTED" in str(error) or isinstance(error, MemoryError):
            return _fail("out of memory; try a smaller --size.", ExitCode.UNEXPECTED)
        text = f"{type(error).__name__}: {error} (JAXSTYLE_DEBUG=1 shows where)"
        return _fail(text, ExitCode.UNEXPECTED)


def _fail(error: object, code: ExitCode) -> int:
    if isinstance(error, ValueError) and os.environ.get("JAXSTYLE_DEBUG"):
        raise error
    print(f"jaxstyle: {one_line(error)}", file=sys.stderr)
    return int(code)
