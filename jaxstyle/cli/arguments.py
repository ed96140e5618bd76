"""A parser of arguments whose errors are one line, and suggest the nearest command or option."""

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args

from jaxstyle.errors import ExitCode, one_line
from jaxstyle.options import Init, check_one_of, suggest
from jaxstyle.reporting import print_product

_NUMBER = re.compile(r"-\.?\d")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line that names the program and its help.

    Options cannot be abbreviated. Every field of `StyleConfig` becomes a flag, so an abbreviation
    that is unique today would stop scripts once another flag begins like it.

    Example:
      >>> parser = Parser(prog="paint")
      >>> _ = parser.add_argument("--size")
      >>> parser.parse_args(["--size", "3"]).size
      '3'
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Any = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse all arguments; an unknown one is an error, also in the parser of a command."""
        args = list(sys.argv[1:] if args is None else args)
        # argparse would first miss what is required: the misspelled option, or its value.
        self._check_options(args)
        namespace, rest = super().parse_known_args(args, namespace)
        if "--config" in self._option_string_actions and namespace.config is not None:
            # What is in the namespace takes the place of defaults: flags override the file.
            namespace, rest = super().parse_known_args(args, self._read_config(namespace.config))
        for arg in rest:
            if arg.startswith("-") and not _NUMBER.match(arg):
                self._fail_option(arg)
        if rest:
            self.error(f"unexpected argument {rest[0]!r}")
        return namespace, rest

    def _read_config(self, path: Path) -> argparse.Namespace:
        """Return the options of a configuration file that the command has, also as `configured`."""
        from jaxstyle.cli.config_file import read_config

        names = {action.dest for action in self._actions}
        known = {name: value for name, value in read_config(path).items() if name in names}
        fields = {name: value for name, value in known.items() if name != "preset"}
        if fields.get("init", "content") not in get_args(Init):
            del fields["init"]  # A file to start from is no value of `StyleConfig`.
        return argparse.Namespace(**known, configured=fields)

    def _check_options(self, args: Sequence[str]) -> None:
        """Fail if a long option is unknown. Values of options do not begin with two dashes."""
        for arg in args:
            name = arg.partition("=")[0]
            if arg == "--" or (self._subparsers is not None and not arg.startswith("-")):
                return  # The rest is no options, or those of a command.
            is_option = name.startswith("--") and " " not in name
            if is_option and name not in self._option_string_actions:
                self._fail_option(name)

    def _fail_option(self, name: str) -> NoReturn:
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        hint = suggest(name, flags, "")
        self.error(f"unknown option {name!r}{'; ' if hint else ''}{hint}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        choices: Iterable[str] | None = action.choices
        if choices is None or value in choices:
            return
        if isinstance(action, argparse._SubParsersAction):
            hint = suggest(value, choices, f"it must be one of {', '.join(choices)}")
            kind = str(action.metavar or "command").lower()
            self.error(f"unknown {kind} {value!r}; {hint}")
        name = "/".join(action.option_strings) or str(action.metavar or action.dest)
        try:
            check_one_of(name, value, list(choices))
        except ValueError as error:
            self.error(str(error).removesuffix("."))

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse ignores a full disk.
        if message and file is sys.stdout:
            print_product(message, end="")
        else:
            super()._print_message(message, file)

    def error(self, message: str) -> NoReturn:
        """Print an error that names the help, and exit."""
        self.exit(
            ExitCode.BAD_ARGUMENTS, f"jaxstyle: {one_line(message)} (see `{self.prog} --help`)\n"
        )

    def add_commands(self, title: str, metavar: str) -> Any:
        """Return the commands that the parser chooses from; without one, it prints its help."""

        def print_help(_: argparse.Namespace) -> int:
            self.print_help()
            return ExitCode.OK

        self.set_defaults(run=print_help)
        return self.add_subparsers(title=title, metavar=metavar)
