"""Publishing over HTTP: whole or not at all, only what changed, and clear words when the Hub says no."""

import dataclasses
import logging
import re
import threading
import traceback

import pytest

from behemoth_hub import Publication, PublishError, Upload

CARD = """---
pretty_name: Behemoth
---
Made by behemoth-bench, edition {edition}.
"""
ROWS = b"PAR1" + bytes(range(256)) * 2000
COMMIT = "/commit/main$"


def publication(edition=1, *, repo="alice/behemoth", files=None, **fields):
    """A small dataset: a card, and by default two parquet files of 512,004 bytes."""
    data = {"train.parquet": ROWS, "test.parquet": ROWS + b"t"} if files is None else files
    uploads = [Upload("README.md", CARD.format(edition=edition).encode()), *(Upload(*item) for item in data.items())]
    return Publication(repo=repo, kind="dataset", uploads=uploads, **fields)


def visible(hub, name="alice/behemoth"):
    """The files of main that a reader sees, without the Hub's own."""
    if ("datasets", name) not in hub.repos:
        return {}
    return {path: data for path, data in hub.files("datasets", name).items() if path != ".gitattributes"}


def contents(wanted):
    return {upload.path: upload.read() for upload in wanted.uploads}


def test_first_publication_is_one_commit_with_every_file_and_a_tag_on_it(hub, publisher):
    wanted = publication(tag="v3.1.0")
    (outcome,) = publisher().publish(wanted)
    assert visible(hub) == contents(wanted)
    assert hub.titles("datasets", "alice/behemoth") == ["initial commit", "Publish behemoth v3.1.0"]
    repo = hub.repo("datasets", "alice/behemoth")
    assert repo.tags == {"v3.1.0": outcome.commit}
    assert repo.branches == {"main": outcome.commit}
    assert not repo.private
    assert hub.received == 512_004 + 512_005


def test_repeated_publication_makes_no_commit_and_uploads_nothing(hub, publisher):
    publisher().publish(publication(tag="v1"))
    before, received = hub.titles("datasets", "alice/behemoth"), hub.received
    hub.log.clear()
    (outcome,) = publisher().publish(publication(tag="v1"))
    assert not outcome.changed
    assert (hub.titles("datasets", "alice/behemoth"), hub.received) == (before, received)
    assert {method for method, _ in hub.log} == {"GET"}


def test_change_publishes_only_what_changed_and_removes_what_is_gone(hub, publisher):
    publisher().publish(publication())
    received = hub.received
    wanted = publication(2, files={"train.parquet": ROWS, "more.parquet": b"PAR1more"})
    (outcome,) = publisher().publish(wanted)
    assert [upload.path for upload in outcome.sent] == ["README.md", "more.parquet"]
    assert outcome.removed == ["test.parquet"]
    assert visible(hub) == contents(wanted)
    assert hub.received - received == len(b"PAR1more")
    assert len(hub.titles("datasets", "alice/behemoth")) == 3


def test_steps_are_branches_that_start_empty_and_main_comes_last(hub, publisher):
    step = [Upload("README.md", b"behemoth-bench, a step"), Upload("config.json", b"{}")]
    wanted = publication(branches={"step1": step, "step2": step})
    outcomes = publisher().publish(wanted)
    assert [outcome.branch for outcome in outcomes] == ["step1", "step2", "main"]
    assert set(hub.files("datasets", "alice/behemoth", "step2")) == {".gitattributes", "README.md", "config.json"}
    assert hub.titles("datasets", "alice/behemoth", "step2") == ["initial commit", "Publish step2"]
    assert not any(outcome.changed for outcome in publisher().publish(wanted))


def test_step_that_is_added_later_does_not_start_as_a_copy_of_main(hub, publisher, rule):
    publisher().publish(publication())
    rule("POST", "/commit/step1$", status=404)
    step = {"step1": [Upload("README.md", b"behemoth-bench")]}
    with pytest.raises(PublishError):
        publisher().publish(publication(branches=step))
    assert set(hub.files("datasets", "alice/behemoth", "step1")) == {".gitattributes"}


# The Hub says no, or fails


REFUSALS = {
    401: r"the Hub does not accept the token \(401\): create one with write access",
    403: r"the token may not write there \(403\): namespace must be your user name .*, got alice",
    404: r"not found \(404\): .* run the same command again",
    409: r"in conflict with what is there .* \(409\): nothing of this publication can be seen there",
    412: r"someone else published there meanwhile \(412\): nothing of this publication can be seen there",
}
ROUTES = {
    "create": ("POST", "/api/repos/create$"),
    "look": ("GET", "/refs$"),
    "preupload": ("POST", "/preupload/main$"),
    "batch": ("POST", "/objects/batch$"),
    "commit": ("POST", COMMIT),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("status", REFUSALS)
def test_refusal_is_one_clear_line_with_nothing_to_be_seen_and_the_next_run_finishes(
    hub, publisher, rule, waits, status, route
):
    if (status, route) == (409, "create"):
        return  # another publisher made the repository: not a refusal
    rule(*ROUTES[route], status=status)
    with pytest.raises(PublishError, match=f"^alice/behemoth: {REFUSALS[status]}") as caught:
        publisher().publish(publication(tag="v1"))
    assert "\n" not in str(caught.value)
    assert visible(hub) == {}
    assert waits == []
    publisher().publish(publication(tag="v1"))
    assert visible(hub) == contents(publication())
    assert set(hub.repo("datasets", "alice/behemoth").tags) == {"v1"}


def test_repository_that_another_publisher_makes_at_the_same_time_is_used(hub, publisher, rule):
    rule("POST", "/api/repos/create$", hook=lambda: publisher().publish(publication()))
    publisher().publish(publication(2))
    assert visible(hub) == contents(publication(2))


@pytest.mark.parametrize("route", ROUTES)
def test_busy_hub_is_asked_again_after_the_time_it_names(hub, publisher, rule, waits, route):
    rule(*ROUTES[route], status=429, headers={"Retry-After": "7"}, times=2)
    publisher().publish(publication())
    assert visible(hub) == contents(publication())
    assert waits in ([7, 7], [8, 8])  # huggingface_hub adds one second where it waits itself


def test_hub_that_stays_busy_is_given_up_with_the_time_it_names(hub, publisher, rule, waits):
    rule("POST", COMMIT, status=429, headers={"Retry-After": "7"}, times=100)
    with pytest.raises(PublishError, match=r"too many requests \(429\): run the same command again in 7 seconds"):
        publisher().publish(publication())
    assert (visible(hub), waits) == ({}, [7, 7, 7, 7])


def test_hub_that_is_busy_for_hours_is_not_waited_for(hub, publisher, rule, waits):
    rule("POST", COMMIT, status=429, headers={"Retry-After": "3600"})
    with pytest.raises(PublishError, match="again in 3600 seconds"):
        publisher().publish(publication())
    assert waits == []


@pytest.mark.parametrize("route", ROUTES)
def test_hub_that_fails_for_a_moment_is_asked_again(hub, publisher, rule, waits, route):
    rule(*ROUTES[route], status=500, times=2)
    publisher().publish(publication())
    assert visible(hub) == contents(publication())
    assert waits == [1, 2]
    assert len(hub.titles("datasets", "alice/behemoth")) == 2


@pytest.mark.parametrize("route", [*ROUTES, "store"])
def test_hub_that_keeps_failing_is_given_up_and_the_next_run_finishes(hub, publisher, rule, route):
    rule(*{**ROUTES, "store": ("PUT", "/storage/")}[route], status=500, times=100)
    with pytest.raises(PublishError, match=r"^alice/behemoth: the Hub fails \(500\), after several tries: nothing"):
        publisher().publish(publication())
    assert visible(hub) == {}
    assert max(hub.count(*ROUTES[name]) for name in ROUTES) <= 6  # one of the two may wait and ask, not both
    assert hub.count("PUT", "/storage/") <= 2 * 6
    hub.rules.clear()
    publisher().publish(publication())
    assert visible(hub) == contents(publication())


def test_connection_lost_in_the_middle_of_a_large_upload_is_taken_up_again(hub, publisher, rule, waits):
    rule("PUT", "/storage/", drop_after=100_000)
    publisher().publish(publication())
    assert visible(hub) == contents(publication())
    assert waits == [1]


def test_connection_that_stays_lost_leaves_nothing_to_see_and_what_arrived_is_not_sent_again(hub, publisher, rule):
    rule("PUT", "/storage/", drop_after=100_000, skip=1, times=100)
    with pytest.raises(PublishError, match=r"^alice/behemoth: the connection failed, after several tries \(\w+\): "):
        publisher().publish(publication())
    assert visible(hub) == {}
    arrived = hub.received
    assert arrived in (512_004, 512_005)
    hub.rules.clear()
    publisher().publish(publication())
    assert visible(hub) == contents(publication())
    assert hub.received == 512_004 + 512_005


def test_commit_whose_answer_was_lost_is_not_made_twice(hub, publisher, rule, waits):
    rule("POST", COMMIT, drop_answer=True)
    (outcome,) = publisher().publish(publication())
    assert hub.titles("datasets", "alice/behemoth") == ["initial commit", "Publish behemoth"]
    assert outcome.commit == hub.repo("datasets", "alice/behemoth").branches["main"]
    assert waits == [1]


def test_run_that_is_cut_off_between_commit_and_tag_is_finished_by_the_next(hub, publisher, rule):
    rule("POST", "/tag/", status=403)
    with pytest.raises(PublishError):
        publisher().publish(publication(tag="v1"))
    (outcome,) = publisher().publish(publication(tag="v1"))
    assert not outcome.changed
    assert hub.repo("datasets", "alice/behemoth").tags == {"v1": outcome.commit}


def test_hub_that_cannot_be_reached_is_a_clear_error(publisher, waits):
    unreachable = publisher()
    unreachable.api.endpoint = "http://127.0.0.1:9"
    with pytest.raises(PublishError, match=r"the connection failed, after several tries \(ConnectError\)"):
        unreachable.publish(publication())
    assert waits == [1, 2, 4, 8]


@pytest.mark.parametrize("times", [1, 100])
@pytest.mark.parametrize("what", [{"status": 500}, {"drop_after": 0}, {"status": 429}])
def test_card_that_cannot_be_read_is_asked_for_again_and_then_given_up(hub, publisher, rule, what, times):
    publisher().publish(publication())
    rule("GET", "/resolve/.*README", times=times, **what)
    if times == 1:
        publisher().publish(publication(2))
        assert visible(hub) == contents(publication(2))
    else:
        with pytest.raises(PublishError, match="^alice/behemoth: "):
            publisher().publish(publication(2))
        assert visible(hub) == contents(publication())


# More than one publisher


def test_of_two_publishers_at_once_one_wins_and_the_other_is_told(hub, publisher, rule):
    publisher().publish(publication())
    rule("POST", COMMIT, hook=threading.Barrier(2, timeout=20).wait, times=2)
    said = {}

    def publish(edition):
        try:
            publisher().publish(publication(edition))
            said[edition] = "won"
        except PublishError as error:
            said[edition] = str(error)

    threads = [threading.Thread(target=publish, args=(edition,)) for edition in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    winner, loser = (2, 3) if said[2] == "won" else (3, 2)
    assert said[winner] == "won"
    assert "someone else published there meanwhile (412)" in said[loser]
    assert visible(hub) == contents(publication(winner))
    assert len(hub.titles("datasets", "alice/behemoth")) == 3


def test_two_publishers_of_the_same_content_both_succeed(hub, publisher, rule):
    rule("POST", COMMIT, hook=lambda: publisher().publish(publication(tag="v1")))
    with pytest.raises(PublishError, match="412"):
        publisher().publish(publication(tag="v1"))
    (outcome,) = publisher().publish(publication(tag="v1"))
    assert not outcome.changed


def test_namespace_that_is_not_ours_is_refused_and_nothing_is_made(hub, publisher):
    with pytest.raises(PublishError, match=r"^bob/behemoth: the token may not write there \(403\): .*, got bob, "):
        publisher().publish(publication(repo="bob/behemoth"))
    assert hub.repos == {}


def test_repository_of_someone_else_is_refused_and_stays_as_it_is(hub, publisher, other_token):
    publisher(other_token).publish(publication(repo="bob/behemoth"))
    with pytest.raises(PublishError, match=r"\(403\)"):
        publisher().publish(publication(2, repo="bob/behemoth"))
    assert visible(hub, "bob/behemoth") == contents(publication())


def test_organisation_that_the_token_may_write_for_is_a_namespace_too(hub, publisher):
    publisher().publish(publication(repo="team/behemoth"))
    assert visible(hub, "team/behemoth") == contents(publication())


def test_repository_of_another_project_is_refused_and_stays_as_it_is(hub, publisher):
    api = publisher().api
    api.create_repo("alice/behemoth", repo_type="dataset")
    mine = {"path_or_fileobj": b"my thesis", "repo_id": "alice/behemoth", "repo_type": "dataset"}
    api.upload_file(path_in_repo="thesis.md", **mine)
    api.upload_file(path_in_repo="README.md", **mine)
    with pytest.raises(ValueError, match="must be new or published by this project, got a repository that holds thes"):
        publisher().publish(publication())
    assert set(visible(hub)) == {"thesis.md", "README.md"}


# Tags


def test_tag_of_other_content_is_an_error_that_names_it_before_anything_is_sent(hub, publisher):
    publisher().publish(publication(tag="v1"))
    received = hub.received
    with pytest.raises(ValueError, match=r"tag v1 of alice/behemoth must be of this content, .* --revision"):
        publisher().publish(publication(2, files={"train.parquet": b"PAR1other"}, tag="v1"))
    assert (visible(hub), hub.received) == (contents(publication()), received)


def test_next_version_gets_its_own_tag_and_the_old_one_stays(hub, publisher):
    publisher().publish(publication(tag="v1"))
    publisher().publish(publication(2, tag="v2"))
    assert hub.files("datasets", "alice/behemoth", "v1")["README.md"] == CARD.format(edition=1).encode()
    assert hub.files("datasets", "alice/behemoth", "v2")["README.md"] == CARD.format(edition=2).encode()


# Who sees it, and with what


def test_private_repository_cannot_be_read_without_the_token(hub, publisher):
    publisher(private=True).publish(publication())
    assert hub.repo("datasets", "alice/behemoth").private
    with pytest.raises(Exception, match="404"):
        publisher(token=False).api.repo_info("alice/behemoth", repo_type="dataset")


def test_public_repository_does_not_become_private_in_silence(hub, publisher):
    publisher().publish(publication())
    with pytest.raises(ValueError, match="private must be false for alice/behemoth, which is public already"):
        publisher(private=True).publish(publication(2))


def test_without_a_token_nothing_is_asked_of_the_hub(hub, publisher, monkeypatch):
    monkeypatch.setattr("behemoth_hub.push.get_token", lambda: None)
    with pytest.raises(ValueError, match=r"publishing needs a token with write access: .* `hf auth login`"):
        publisher(token=None).publish(publication())
    assert hub.log == []


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_token_is_in_no_log_error_or_traceback(hub, publisher, rule, token, caplog, capsys, tmp_path, status):
    for name in ("huggingface_hub", "httpx2", "behemoth_hub"):
        caplog.set_level(logging.DEBUG, logger=name)
    rule("POST", COMMIT, status=status, times=100)
    with pytest.raises(PublishError) as caught:
        publisher().publish(publication(tag="v1"))
    said = capsys.readouterr()
    trace = "".join(traceback.format_exception(caught.value))
    for text in (caplog.text, str(caught.value), repr(caught.value), trace, said.out, said.err):
        assert token not in text
    assert not any(token.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not any(token.encode() in path.read_bytes() for path in hub.root.iterdir())


def test_token_in_a_file_stops_everything_and_is_not_shown(hub, publisher, token):
    wanted = publication()
    wanted = dataclasses.replace(
        wanted, uploads=[*wanted.uploads, Upload("notes.json", b'{"key": "%s"}' % token.encode())]
    )
    with pytest.raises(ValueError, match=r"notes\.json of alice/behemoth at main must hold no token") as caught:
        publisher().publish(wanted)
    assert token not in str(caught.value)
    assert hub.log == []


@pytest.mark.parametrize(
    ("path", "data", "message"),
    [
        ("weights.bin", b"\x80\x04", "must be one of .*, got weights.bin"),
        ("run.py", b"print()", "must be one of .*, got run.py"),
        ("notes.txt", b"", "must be one of .*, got notes.txt"),
        ("model.safetensors", b"\x80\x04\x95" + bytes(30), "must be what its name says, got a file that starts with"),
        ("rows.parquet", b"PK\x03\x04", "must be what its name says"),
        ("picture.png", b"GIF89a", "must be what its name says"),
        ("../up.json", b"{}", r"must lie in the repository, got \.\./up\.json"),
        ("README.md", b"", r"must have every file once, got \['README\.md'\]"),
    ],
)
def test_file_of_another_kind_never_leaves_the_machine(hub, publisher, path, data, message):
    wanted = publication()
    with pytest.raises(ValueError, match=message):
        publisher().publish(dataclasses.replace(wanted, uploads=[*wanted.uploads, Upload(path, data)]))
    assert hub.log == []


def test_what_is_logged_says_how_much_goes_where(publisher, caplog):
    caplog.set_level(logging.INFO, logger="behemoth_hub")
    publisher().publish(publication())
    size = 512_004 + 512_005 + len(CARD.format(edition=1))
    assert re.search(f"alice/behemoth: sending 3 files, {size:,} bytes, to main", caplog.text)
