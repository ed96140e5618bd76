"""Counts of the done and failed jobs of a batch, in little memory: it may have a million."""

import math

from jaxstyle.batch.ledger import Record

# Number of jobs whose records are kept, spread over the list, and of failed ones in addition.
_KEPT = 1000
_UNKNOWN, _FAILED, _DONE = range(3)


class Outcomes:
    """Counts done and failed jobs; keeps the records that a report shows.

    Args:
      count: number of jobs.

    Attributes:
      seconds: time of all jobs that are done.
      records: records of some jobs, by index: of up to a thousand spread evenly over the list, and
        of the first thousand that failed.

    Example:
      >>> from jaxstyle.batch.outcomes import Outcomes
      >>> outcomes = Outcomes(3)
      >>> outcomes.add(2, {"output": "c.png", "status": "done"})
      >>> outcomes.done, outcomes.failed, outcomes.is_done(2)
      (1, 0, True)
    """

    def __init__(self, count: int):
        self.records: dict[int, Record] = {}
        self.seconds = 0.0
        self._states, self._failures = bytearray(count), 0
        self._stride = max(1, math.ceil(count / _KEPT))

    def __len__(self) -> int:
        return len(self._states)

    @property
    def done(self) -> int:
        """Number of jobs that are done."""
        return self._states.count(_DONE)

    @property
    def failed(self) -> int:
        """Number of jobs that failed."""
        return self._states.count(_FAILED)

    def is_done(self, index: int) -> bool:
        """Return whether a job is done."""
        return self._states[index] == _DONE

    def add(self, index: int, record: Record) -> None:
        """Add the record of a job; it replaces an earlier one."""
        is_done = record["status"] == "done"
        if is_done and not self.is_done(index):
            self.seconds += record.get("seconds", 0.0)
        self._states[index] = _DONE if is_done else _FAILED
        is_kept = index % self._stride == 0
        if not is_done and self._failures < _KEPT:
            self._failures, is_kept = self._failures + 1, True
        if is_kept:
            self.records[index] = record
        else:
            self.records.pop(index, None)
