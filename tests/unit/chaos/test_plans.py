"""A seed is the whole of a run's plan."""

import json
from collections import Counter
from pathlib import Path

import pytest

from chaos.acts import acts
from chaos.batch_plan import plan_batches
from chaos.faults import all_faults, faults_of
from chaos.run import Settings, schedule
from chaos.schedule import plan_strikes
from chaos.watcher import contradictions

WEIGHTS = {"a": 1, "b": 2, "c": 1}


def test_one_seed_gives_one_schedule() -> None:
    assert plan_strikes(3, 100, WEIGHTS, 2) == plan_strikes(3, 100, WEIGHTS, 2)
    assert plan_strikes(3, 100, WEIGHTS, 2) != plan_strikes(4, 100, WEIGHTS, 2)


def test_every_kind_has_its_turns() -> None:
    struck = Counter(strike.kind for strike in plan_strikes(3, 400, WEIGHTS, 2))
    assert struck["b"] in range(2 * struck["a"] - 2, 2 * struck["a"] + 3)
    assert abs(struck["a"] - struck["c"]) <= 1


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_ten_minutes_hold_two_hundred_faults_and_five_of_each_kind(
    database: str, tmp_path: Path
) -> None:
    whole = Settings(folder=tmp_path, seed=1, seconds=600, database=database)
    strikes = [strike for act in acts(whole, "both") for strike in schedule(act)]
    struck = Counter(strike.kind for strike in strikes)
    other = {"sqlite": "postgres", "postgres": "sqlite"}[database]
    assert struck.keys() == all_faults().keys() - set(faults_of(other))
    assert struck.total() >= 200
    assert min(struck.values()) >= 5


def test_one_seed_gives_one_workload() -> None:
    plans = plan_batches(3, 60, 30)
    assert plans == plan_batches(3, 60, 30)
    assert [plan.input() for plan in plans] == [plan.input() for plan in plan_batches(3, 60, 30)]
    assert plans != plan_batches(4, 60, 30)


def test_every_line_asks_something_of_its_own() -> None:
    plans = plan_batches(3, 300, 30)
    lines = [
        json.loads(line)
        for plan in plans
        for line in plan.input().splitlines()
        if line.startswith(b"{")
    ]
    assert len({line["custom_id"] for line in lines}) == len(lines)


def test_a_status_that_goes_back_is_noticed() -> None:
    counts = {"total": 2, "completed": 1, "failed": 0}
    times = dict.fromkeys(("created_at", "in_progress_at", "cancelling_at", "expires_at"), 1)
    seen = {"status": "in_progress", "request_counts": counts, "metadata": None, **times}
    assert contradictions(seen, seen | {"status": "completed"}) == []
    assert contradictions(seen, seen | {"status": "validating"}) == [
        "went from in_progress to validating"
    ]
    assert contradictions(seen | {"status": "completed"}, seen | {"status": "cancelling"})
    assert contradictions(seen, seen | {"created_at": 2})
    assert contradictions(seen, seen | {"request_counts": counts | {"failed": 2}})
