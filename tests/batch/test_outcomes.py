"""Counts of done and failed jobs, and which records are kept."""

from jaxstyle.batch.outcomes import Outcomes


def record(index, status="done"):
    return {"output": f"{index}.png", "status": status, "seconds": 0.5}


def test_records_of_a_large_batch_are_kept_in_part():
    outcomes = Outcomes(10_000)
    for index in range(10_000):
        outcomes.add(index, record(index, "done" if index % 2 else "failed"))
    assert (outcomes.done, outcomes.failed, outcomes.seconds) == (5000, 5000, 2500)
    failed = [i for i, r in outcomes.records.items() if r["status"] == "failed"]
    # The first thousand, and every fifth of the others.
    assert len(failed) == len(outcomes.records) == 1000 + 800
    assert max(outcomes.records) == 9990


def test_the_last_record_of_a_job_counts():
    outcomes = Outcomes(2)
    outcomes.add(0, record(0, "failed"))
    outcomes.add(0, record(0))
    assert (outcomes.done, outcomes.failed, outcomes.records) == (1, 0, {0: record(0)})
    outcomes.add(0, record(0))
    assert outcomes.seconds == 0.5
    assert not outcomes.is_done(1)
