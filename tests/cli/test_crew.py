"""Who does jobs: how they are dealt out, and two processes of which one dies, fails, or is a scheduler's elsewhere."""

import os
import threading
from importlib.metadata import PackageNotFoundError

import dask
import psutil
import pytest

from behemoth_cli.crew import TRIES, Job, Shares, crew_of
from behemoth_data.extras import MissingExtra


def jobs_of(text):
    """A job for each word: its model's letter and, behind it, its draw."""
    return [Job((word,), word[0], word[1:]) for word in text.split()]


def dealt(shares, workers):
    """What these workers are given, one after the other, as words."""
    return " ".join(job.arguments[0] if job else "-" for job in map(shares.next, workers))


@pytest.mark.parametrize(
    ("jobs", "workers", "given"),
    [
        ("a1 b1 b2", "xxxx", "b1 b2 a1 -"),  # the model with the most jobs first
        ("a1 a2 b1 b2", "xyxyx", "a1 b1 a2 b2 -"),  # each model to one worker
        ("a1 a1 a2 a2", "xyxyxy", "a1 a2 a1 a2 - -"),  # too few models: each draw to one worker
        ("a1 a1 a1 a1 a1", "xyyyx", "a1 a1 a1 a1 a1"),  # too few draws: half of what another has left
        ("a1 a2 a2 a2 b1", "xyxyz", "a1 b1 a2 a2 a2"),  # whoever has none left takes from who has most
    ],
)
def test_jobs_of_a_model_and_of_a_draw_stay_together_while_all_have_work(jobs, workers, given):
    shares = Shares(jobs_of(jobs))
    assert dealt(shares, workers) == given
    assert not shares.left


def test_others_get_what_a_worker_that_is_gone_has_left_and_the_job_that_it_was_at_comes_first():
    shares = Shares(jobs_of("a1 a2 a3 b1 b2"))
    assert dealt(shares, "xy") == "a1 b1"
    shares.keep("y")
    shares.again(*jobs_of("a1"))
    assert dealt(shares, "yzzzy") == "b2 a1 a2 a3 -"


def collected(crew, work, jobs):
    """The results, and the words of the jobs that were lost with what became of them."""
    results, lost = [], {}
    crew.do(work, jobs, lambda _, result: results.append(result), lambda job, why: lost.update({job.model: why}))
    return results, lost


@pytest.fixture(scope="module")
def crew():
    """Two processes, which no job but those of the tests ever needs."""
    with crew_of(2, None, dict) as found:
        yield found


def test_workers_do_all_jobs_keep_their_desks_and_are_reached_from_this_machine_alone(crew, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def work(desk, number):
        import os
        import time

        time.sleep(0.1)
        desk.setdefault("numbers", []).append(number)
        return number, os.getpid(), list(desk["numbers"])

    results, lost = collected(crew, work, [Job((number,), str(number)) for number in range(8)])
    assert (sorted(number for number, *_ in results), lost) == (list(range(8)), {})
    last = {process: numbers for _, process, numbers in results}
    assert len(last) == 2
    assert sorted(number for numbers in last.values() for number in numbers) == list(range(8))
    listening = {
        connection.laddr.ip
        for connection in psutil.net_connections("tcp")
        if connection.pid in last and connection.status == psutil.CONN_LISTEN
    }
    scheduler = crew._client.cluster.scheduler
    assert listening | {scheduler.ip, scheduler.http_server.address} == {"127.0.0.1"}
    assert "OMP_NUM_THREADS" not in os.environ  # which dask sets, and which would pass for the user's choice
    assert list(tmp_path.iterdir()) == []


def test_worker_that_dies_loses_its_job_alone_which_is_tried_again(crew, tmp_path):
    def work(desk, dies, folder):
        import os
        import signal
        import time

        open(os.path.join(folder, f"{dies}-{os.getpid()}"), "wb").close()
        if dies == "always" or (dies == "once" and sum(name.startswith("once") for name in os.listdir(folder)) == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.1)
        return dies

    deaths = ["never", "never", "once", "always", "never", "never"]
    results, lost = collected(crew, work, [Job((dies, str(tmp_path)), dies) for dies in deaths])
    assert sorted(results) == ["never"] * 4 + ["once"]
    assert lost == {"always": f"WorkerDied: its process died in the middle of it, {TRIES} times of {TRIES}"}
    assert len(list(tmp_path.glob("always-*"))) == TRIES
    assert len(list(tmp_path.glob("once-*"))) == 2
    # Nor does dask try one of itself, as it would where a process gets the port of the one before it.
    assert crew._client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures) == 0


def test_what_a_job_raises_is_raised_here_and_the_crew_goes_on(crew):
    jobs = [Job(("x",), "x"), Job(("1",), "1")]
    with pytest.raises(ValueError, match="invalid literal for int"):
        collected(crew, lambda _, word: int(word), jobs)
    assert collected(crew, lambda _, word: int(word), jobs[1:]) == ([1], {})


def test_workers_of_a_scheduler_do_jobs_and_stay_when_they_are_done(crew):
    collected(crew, lambda _: None, [Job((), "")])  # so that there is one
    for _ in range(2):
        with crew_of(1, crew._client.scheduler.address, dict) as other:
            results, lost = collected(other, lambda _, word: int(word), jobs_of("1 2 3"))
            assert (sorted(results), lost) == ([1, 2, 3], {})


def test_scheduler_that_is_none_or_has_no_worker_is_an_error(crew, monkeypatch):
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        for address, error, says in (
            ("lcal", ValueError, "dask must be the address of a scheduler such as tcp://10.0.0.1:8786, got lcal"),
            ("tcp://127.0.0.1:1", OSError, "tcp://127.0.0.1:1 "),
        ):
            with crew_of(1, address, dict) as other, pytest.raises(error, match=says):
                collected(other, int, jobs_of("1"))
    monkeypatch.setattr("behemoth_cli.crew._PATIENCE", 0.5)
    monkeypatch.setattr("behemoth_cli.crew._POLL_SECONDS", 0.1)
    monkeypatch.setattr(crew._client, "nthreads", dict)
    with pytest.raises(OSError, match="no dask worker has been there for"):
        collected(crew, int, jobs_of("1"))


def _loops():
    """The threads of clients."""
    return {thread for thread in threading.enumerate() if thread.name == "IO loop"}


def test_client_of_what_is_no_address_is_closed_at_once(crew):
    collected(crew, lambda _: None, [Job((), "")])  # so that its own thread is there
    loops = _loops()
    with crew_of(1, "lcal", dict) as other, pytest.raises(ValueError, match="dask must be the address of a scheduler"):
        collected(other, int, jobs_of("1"))
    assert _loops() == loops  # and nothing is left to whoever collects garbage


def test_this_process_does_the_jobs_where_there_is_one():
    with crew_of(1, None, dict) as crew:
        results, lost = collected(crew, lambda _, word: (os.getpid(), word), jobs_of("a1 a2"))
    assert (results, lost) == ([(os.getpid(), "a1"), (os.getpid(), "a2")], {})


def test_several_processes_need_dask(monkeypatch):
    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("behemoth_data.extras.importlib.metadata.version", version)
    with crew_of(2, None, dict) as crew, pytest.raises(MissingExtra, match=r"pip install 'behemoth-bench\[dask\]'"):
        collected(crew, int, jobs_of("1"))
