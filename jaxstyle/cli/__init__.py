"""The command line: parse the arguments, run the command, return an exit code.

Importing this module imports nothing that takes long: `jaxstyle.cli.process` handles signals
first. `--help` and `--version` do not import JAX.
"""

import os
import sys
from collections.abc import Sequence

from jaxstyle.cli.process import address_space, check_address_space
from jaxstyle.errors import ExitCode, JaxstyleError, is_out_of_memory, one_line


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
      argv: arguments without the program's name; those of the process by default.
    """
    # XLA's own log is about its compilation cache and the host, not for users.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Threads of LAPACK wait for each other in a loop, which takes cores from other processes.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from jaxstyle.cli.parser import make_parser

        args = make_parser().parse_args(argv)
        check_address_space()
        return int(args.run(args))
    except SystemExit as stop:
        return int(stop.code or 0)
    except JaxstyleError as error:
        return _fail(error, error.exit_code)
    except ValueError as error:
        return _fail(error, ExitCode.BAD_ARGUMENTS)
    except OverflowError as error:
        return _fail(f"a number is too large: {error}.", ExitCode.BAD_ARGUMENTS)
    except KeyboardInterrupt:
        return _fail("interrupted.", ExitCode.INTERRUPTED)
    except BrokenPipeError:
        return int(ExitCode.CANNOT_WRITE)
    except Exception as error:
        if os.environ.get("JAXSTYLE_DEBUG"):
            raise
        if is_out_of_memory(error):
            # Computations give their own advice, by `errors.computing`.
            limit = address_space()
            cause = "" if limit is None else f" (`ulimit -v` allows {limit} MiB)"
            return _fail(f"out of memory{cause}; close other programs.", ExitCode.UNEXPECTED)
        text = f"{type(error).__name__}: {error} (JAXSTYLE_DEBUG=1 shows where)"
        return _fail(text, ExitCode.UNEXPECTED)


def _fail(error: object, code: ExitCode) -> int:
    if isinstance(error, Exception) and os.environ.get("JAXSTYLE_DEBUG"):
        raise error
    print(f"jaxstyle: {one_line(error)}", file=sys.stderr)
    return int(code)
