from __future__ import annotations

import pytest

from charon_core.processing.job import CallbackJob, Job, Priority


def test_a_job_is_named_by_its_class_and_of_medium_priority():
    class ProcessMessage(Job):
        def execute(self):
            pass

    assert str(ProcessMessage()) == "ProcessMessage"
    assert ProcessMessage().priority is Priority.MEDIUM


def test_a_callback_job_calls_its_function():
    calls = []
    job = CallbackJob("note", lambda: calls.append(1), Priority.LOW)
    job.execute()
    assert calls == [1]
    assert (str(job), job.priority) == ("note", Priority.LOW)


def test_a_job_without_execute_cannot_be_made():
    with pytest.raises(TypeError, match="execute"):
        type("Empty", (Job,), {})()


def test_priorities_order_from_critical_to_low():
    assert sorted(Priority) == [Priority.CRITICAL, Priority.HIGH, Priority.MEDIUM, Priority.LOW]
