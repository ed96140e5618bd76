"""What the commands share: typed options, and the set-up of a run."""

import argparse
import contextlib
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax

from jaxstyle.config import StyleConfig
from jaxstyle.host import enable_compilation_cache
from jaxstyle.io.provenance import FileId, Inputs, file_id, input_ids, provenance
from jaxstyle.io.weights import load_weights, weights_path
from jaxstyle.options import LogFormat
from jaxstyle.reporting import Reporter, logger, make_reporter
from jaxstyle.types import Params

SomeOptions = TypeVar("SomeOptions", bound="Options")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a command besides the fields of `StyleConfig`.

    Attributes:
      command: name of the command.
      weights: weights file, or `None` for the default one.
      quiet: report errors alone.
      verbose: report the package's log messages.
      log_format: `json` reports events on stdout.
    """

    command: str
    weights: Path | None = None
    quiet: bool = False
    verbose: bool = False
    log_format: LogFormat = "text"

    @classmethod
    def of(cls: type[SomeOptions], args: argparse.Namespace) -> SomeOptions:
        """Take the options from parsed arguments of the same names."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in vars(args).items() if name in names})

    def reporter(self) -> contextlib.AbstractContextManager[Reporter]:
        """Return the reporter that the options ask for."""
        return make_reporter(self.log_format, quiet=self.quiet, verbose=self.verbose)


@dataclass(frozen=True)
class RunContext:
    """Weights of a run, and what identifies them in its records.

    Attributes:
      command: name of the command.
      params: weights.
      weights_id: name and hash of the weights file.
    """

    command: str
    params: Params
    weights_id: FileId

    @classmethod
    def load(cls, options: Options, *, decoder: bool = False) -> "RunContext":
        """Enable the compilation cache and load the weights.

        Args:
          options: options of the command.
          decoder: also load the weights of AdaIN's decoder.

        Raises:
          WeightsError: the weights file is missing, damaged, or of another network.
        """
        enable_compilation_cache()
        path = weights_path(options.weights)
        began = time.perf_counter()
        params = load_weights(options.weights, decoder=decoder)
        logger.info("weights: %s, %.1f s", path, time.perf_counter() - began)
        logger.info("devices: %s", ", ".join(str(device) for device in jax.local_devices()))
        logger.info("compilation cache: %s", jax.config.values["jax_compilation_cache_dir"])
        return cls(options.command, params, file_id(path))

    def provenance(self, config: StyleConfig, inputs: Inputs) -> dict[str, Any]:
        """Return the record of everything that determines a result.

        Raises:
          OSError: an input cannot be read.
        """
        return provenance(self.command, config, input_ids(inputs), self.weights_id)
