"""A bad file keeps its own last good version and disturbs no other."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.agent.changes import changes, reload_fields
from damos_agent.agent.event_spec import Event
from damos_agent.agent.events import check
from damos_agent.agent.loader import Loaded, merge, read_loaded, save_loaded
from damos_agent.model.compiled import Compiled, CompiledFile
from damos_agent.model.errors import HostError
from damos_agent.model.finding import Finding, Severity
from damos_agent.model.policy import Action, PhysicalTarget, Policy, Scheme
from damos_agent.model.settings import MetricsSettings, OnExit, Settings

ETC = "/etc/damos-agent/policies.d"
USR = "/usr/lib/damos-agent/policies.d"


def policy(name: str, version: str = "1") -> Policy:
    scheme = Scheme(action=Action.PAGEOUT)
    return Policy(name, PhysicalTarget(), (scheme,), labels={"version": version})


def good(file: str, name: str, version: str = "1", directory: str = ETC) -> CompiledFile:
    return CompiledFile(f"{directory}/{file}", f"{name}-{version}", policy(name, version))


def error(path: str, name: str = "") -> Finding:
    return Finding("DA001", Severity.ERROR, "broken", path, 3, 1, "mend it", name)


def bad(file: str, digest: str = "bad", name: str = "", directory: str = ETC) -> CompiledFile:
    path = f"{directory}/{file}"
    return CompiledFile(path, digest, None, (error(path, name),))


def compiled(*files: CompiledFile, settings: Settings | None = None) -> Compiled:
    return Compiled(settings, files)


def load(*steps: Compiled) -> Loaded:
    loaded = Loaded()
    for now, step in enumerate(steps):
        loaded = merge(loaded, step, float(now))
    return loaded


def versions(loaded: Loaded) -> dict[str, str]:
    return {e.policy.name: e.policy.labels["version"] for e in loaded.policies}


def events(previous: Loaded, loaded: Loaded) -> list[Event]:
    entries = changes(previous, loaded)
    for event, fields in entries:
        check(event, fields)
    return [event for event, _ in entries]


A1 = good("10-a.yaml", "a")
B1 = good("20-b.yaml", "b")


def test_good_files_are_in_force_by_name_order() -> None:
    loaded = load(compiled(B1, A1))
    assert [entry.policy.name for entry in loaded.policies] == ["a", "b"]
    assert loaded.ok


def test_a_bad_edit_keeps_the_last_good_version_and_disturbs_no_other() -> None:
    loaded = load(compiled(A1, B1), compiled(bad("10-a.yaml"), good("20-b.yaml", "b", "2")))
    assert versions(loaded) == {"a": "1", "b": "2"}
    (stale,) = loaded.stale
    assert (stale.policy.name, stale.stale_since, stale.digest) == ("a", 1.0, "a-1")
    assert stale.findings[0].line == 3
    assert not loaded.ok


def test_it_stays_stale_since_it_first_went_bad() -> None:
    loaded = load(compiled(A1), compiled(bad("10-a.yaml")), compiled(bad("10-a.yaml", "worse")))
    assert loaded.stale[0].stale_since == 1.0
    assert loaded.stale[0].bad_digest == "worse"


def test_mending_the_file_ends_it() -> None:
    loaded = load(compiled(A1), compiled(bad("10-a.yaml")), compiled(good("10-a.yaml", "a", "2")))
    assert versions(loaded) == {"a": "2"}
    assert loaded.stale == ()
    assert loaded.ok


def test_removing_a_bad_file_removes_the_policy() -> None:
    loaded = load(compiled(A1, B1), compiled(bad("10-a.yaml"), B1), compiled(B1))
    assert versions(loaded) == {"b": "1"}


def test_a_new_bad_file_is_only_rejected() -> None:
    loaded = load(compiled(A1), compiled(A1, bad("20-b.yaml")))
    assert versions(loaded) == {"a": "1"}
    assert [item.path for item in loaded.rejected] == [f"{ETC}/20-b.yaml"]


def test_a_bad_file_of_higher_rank_keeps_what_its_name_ran_before() -> None:
    vendor = good("10-a.yaml", "a", directory=USR)
    loaded = load(compiled(vendor), compiled(bad("10-a.yaml")))
    assert versions(loaded) == {"a": "1"}
    assert loaded.policies[0].path == f"{ETC}/10-a.yaml"


def test_a_masked_file_removes_the_policy() -> None:
    loaded = load(compiled(A1), compiled(CompiledFile(A1.path, "", None)))
    assert loaded.policies == ()
    assert loaded.ok


@pytest.mark.parametrize(
    "renamed",
    [bad("99-a.yaml", "bad"), bad("99-a.yaml", "edited as well", name="a")],
)
def test_a_bad_file_that_is_renamed_keeps_its_last_good_version(renamed: CompiledFile) -> None:
    loaded = load(compiled(A1), compiled(bad("10-a.yaml", "bad")), compiled(renamed))
    assert versions(loaded) == {"a": "1"}
    assert loaded.policies[0].path == f"{ETC}/99-a.yaml"
    assert loaded.rejected == ()


def test_renaming_a_good_file_moves_the_policy() -> None:
    before = load(compiled(A1))
    after = merge(before, compiled(replace(A1, path=f"{ETC}/99-a.yaml")), 1.0)
    assert events(before, after) == [Event.POLICY_MOVED]


def test_a_good_file_takes_a_name_over_from_a_bad_one() -> None:
    taker = good("20-b.yaml", "a", "2")
    loaded = load(compiled(A1), compiled(bad("10-a.yaml"), taker))
    assert versions(loaded) == {"a": "2"}
    assert [item.path for item in loaded.rejected] == [f"{ETC}/10-a.yaml"]


@pytest.mark.parametrize("place", [ETC, A1.path])
def test_a_directory_that_is_refused_does_not_remove_its_policies(place: str) -> None:
    refused = Compiled(None, (), (error(place),))
    loaded = load(compiled(A1), refused)
    assert versions(loaded) == {"a": "1"}
    assert loaded.stale[0].findings == (error(place),)
    assert load(compiled(A1), refused, compiled()).policies == ()


def test_what_a_refused_directory_runs_does_not_move_to_a_rejected_newcomer() -> None:
    newcomer = bad("0new.yaml", name="a", directory=USR)
    loaded = load(compiled(A1), Compiled(None, (newcomer,), (error(ETC),)))
    assert [entry.path for entry in loaded.policies] == [A1.path]
    assert [item.path for item in loaded.rejected] == [newcomer.path]


def test_unusable_settings_keep_the_old_ones() -> None:
    loaded = load(compiled(settings=Settings(slots=3)), compiled(settings=None))
    assert loaded.settings.slots == 3
    assert load(compiled(settings=None)).settings == Settings()


def test_changed_settings_are_told_one_by_one_as_plain_values() -> None:
    old = Loaded()
    metrics = MetricsSettings(listen="unix:/run/m.sock")
    new = replace(old, settings=Settings(slots=3, on_exit=OnExit.KEEP, metrics=metrics))

    assert changes(old, new) == [
        (
            Event.SETTINGS_CHANGED,
            {"changed": ["on_exit=keep", "slots=3", "metrics.listen=unix:/run/m.sock"]},
        )
    ]


def test_every_change_is_told_once() -> None:
    zero = Loaded()
    one = merge(zero, compiled(A1, B1, settings=Settings(slots=3)), 1.0)
    loads = [Event.POLICY_LOADED, Event.POLICY_LOADED]
    assert events(zero, one) == [Event.SETTINGS_CHANGED, *loads]
    two = merge(one, compiled(bad("10-a.yaml"), bad("30-c.yaml")), 2.0)
    rejects = [Event.POLICY_REJECTED, Event.POLICY_REJECTED]
    assert events(one, two) == [Event.POLICY_REMOVED, *rejects]
    three = merge(two, compiled(bad("10-a.yaml"), bad("30-c.yaml")), 3.0)
    assert events(two, three) == []
    four = merge(three, compiled(good("10-a.yaml", "a", "2")), 4.0)
    ((event, told),) = changes(three, four)
    assert (event, told["changed"]) == (Event.POLICY_LOADED, True)


def test_a_rejection_names_the_place_and_what_goes_on() -> None:
    before = load(compiled(A1))
    ((_, told),) = changes(before, merge(before, compiled(bad("10-a.yaml")), 1.0))
    assert told["policy"] == "a"
    assert told["findings"] == [f"{A1.path}:3:1: error DA001: broken (mend it)"]


def test_a_warning_is_told_and_the_policy_loads() -> None:
    warned = replace(A1, findings=(replace(error(A1.path), severity=Severity.WARNING),))
    before = Loaded()
    after = merge(before, compiled(warned), 1.0)
    assert events(before, after) == [Event.POLICY_LOADED, Event.CONFIG_FINDING]
    assert after.ok


def test_a_mask_is_told() -> None:
    masking = replace(A1, masked=(f"{USR}/10-a.yaml",))
    before = Loaded()
    after = merge(before, compiled(masking), 1.0)
    assert events(before, after) == [Event.POLICY_LOADED, Event.POLICY_MASKED]


def test_the_counts_of_a_reload_fit_its_event() -> None:
    before = load(compiled(A1, B1))
    after = merge(before, compiled(bad("10-a.yaml"), bad("30-c.yaml")), 1.0)
    counted = reload_fields(before, after)
    assert counted == {"ok": False, "policies": 1, "loaded": 0, "removed": 1, "rejected": 2}
    check(Event.RELOAD_FINISHED, {**counted, "trigger": "files", "duration_us": 5})


def test_what_is_loaded_survives_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "loaded.json")
    loaded = load(compiled(A1, B1), compiled(bad("10-a.yaml"), B1, bad("30-c.yaml")))
    save_loaded(loaded, path)
    assert read_loaded(path) == loaded
    assert merge(read_loaded(path), compiled(bad("10-a.yaml"), B1), 9.0).stale == loaded.stale
    assert (tmp_path / "loaded.json").stat().st_mode & 0o777 == 0o600


def test_nothing_kept_is_nothing_loaded(tmp_path: Path) -> None:
    assert read_loaded(str(tmp_path / "loaded.json")) == Loaded()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"policies": [{"path": "/x"}]}', '{"settings": 1}']
)
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "loaded.json"
    path.write_text(text)
    with pytest.raises(HostError, match="not of this version"):
        read_loaded(str(path))


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot keep"):
        save_loaded(Loaded(), str(tmp_path / "none/loaded.json"))


NAMES = ["a", "b", "c"]
FILE_STATES = st.one_of(
    st.tuples(st.just("good"), st.integers(1, 3)),
    st.tuples(st.just("bad"), st.integers(1, 3)),
    st.just(("absent", 0)),
)
TREES = st.lists(FILE_STATES, min_size=3, max_size=3)


@given(st.lists(TREES, min_size=1, max_size=6))
def test_each_file_fares_by_its_own_history(history: list[list[tuple[str, int]]]) -> None:
    """Model: per file, good sets the version, bad keeps it, absent clears it."""
    expected: dict[str, str] = {}
    loaded = Loaded()
    for now, tree in enumerate(history):
        files = []
        for name, (state, version) in zip(NAMES, tree, strict=True):
            if state == "good":
                files.append(good(f"10-{name}.yaml", name, str(version)))
                expected[name] = str(version)
            elif state == "bad":
                files.append(bad(f"10-{name}.yaml", f"bad-{name}-{version}"))
            else:
                expected.pop(name, None)
        previous = loaded
        loaded = merge(previous, Compiled(None, tuple(files)), float(now))
        assert versions(loaded) == expected
        events(previous, loaded)
        bad_count = sum(state == "bad" for state, _ in tree)
        assert len(loaded.rejected) + len(loaded.stale) == bad_count
        json.dumps(reload_fields(previous, loaded))
