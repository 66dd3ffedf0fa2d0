"""Evaluation without ROS: the graph's delays, figures with intervals, the same starts for everybody."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rlt_ros.bringup.graph import Bringup
from rlt_ros.config import ConfigError
from rlt_ros.offline.evaluate import Policy, Trial, evaluate, ratio, summarise
from rlt_ros.offline.report import read_run
from rlt_ros.offline.rollout import Rollout, RolloutConfig, make_executor, outcome
from rlt_ros.session.statistics import wilson
from rlt_ros.sim.cell import Cell
from rlt_ros.sim.tasks import get_task
from rlt_ros.types import ControlStep, Outcome, Phase, PolicyInput, SessionView, State
from rlt_ros.vla.backend import Inference
from rlt_ros.vla.bundle import load_bundle
from rlt_ros.vla.phase import PhaseHead

SHIPPED = Bringup().bundle_path
VIEW = SessionView(1, 1, Phase.CRITICAL)


class Still:
    """A VLA that wants to stay where it is, and remembers what it was shown."""

    def __init__(self, token_dim: int) -> None:
        self.told = ""
        self.brightness: list[float] = []
        self._token = np.ones(token_dim, np.float32)

    def set_instruction(self, instruction: str) -> None:
        self.told = instruction

    def infer(self, images: NDArray[np.uint8], position: NDArray[Any]) -> Inference:
        self.brightness.append(float(images.std()))
        return Inference(self._token, np.tile(position, (50, 1)).astype(np.float32), 0.0)


def still(task: str = "ethernet", *, seconds: float = 3.0, **config: Any) -> tuple[Rollout, Still]:
    bundle = load_bundle(SHIPPED)
    backend = Still(bundle.token_dim)
    cell = Cell(dataclasses.replace(get_task(task), time_limit=seconds))
    return Rollout(cell, backend, bundle, make_executor(bundle), RolloutConfig(**config)), backend


def test_who_does_nothing_times_out_and_the_arms_stay() -> None:
    rollout, backend = still("charger", seconds=10.0)
    trial = rollout.run(3, VIEW)
    assert not trial.success
    assert trial.ticks == 500
    assert outcome(trial) is Outcome.TIMEOUT
    assert backend.told == get_task("charger").instruction
    rollout.cell.close()


def test_a_protective_stop_ends_the_episode_as_a_failure_that_costs_the_whole_time() -> None:
    rollout, _ = still()
    rollout.cell.task = dataclasses.replace(rollout.cell.task, max_force=-1.0)
    trial = rollout.run(3, VIEW)
    assert trial.ticks < 10
    assert (trial.success, trial.stopped, outcome(trial)) == (False, True, Outcome.FAILURE)
    figures = summarise([trial, Trial(True, 100, 0.0, 0.0)], 10.0)
    assert figures["stopped"] == 0.5
    assert figures["throughput"] == pytest.approx(600 / (600 * 0.02))
    rollout.cell.close()


def test_inputs_arrive_late_and_rows_are_taken_by_time() -> None:
    rollout, _ = still(vla_rate=17.0)
    inputs: list[PolicyInput] = []
    steps: list[ControlStep] = []
    rollout.run(0, VIEW, inputs.append, steps.append)
    assert [step.state for step in steps[:4]] == [State.HOLD] * 3 + [State.REFERENCE]
    flown = next(step for step in steps if step.chunk)
    assert flown.chunk is not None
    assert flown.chunk.input_age == pytest.approx(3 * 0.02)
    assert inputs[1].captured - inputs[0].captured == pytest.approx(3 * 0.02)
    sequence = [step.sequence for step in steps]
    assert sequence == list(range(sequence[0], sequence[0] + len(sequence)))
    rollout.cell.close()


@pytest.mark.parametrize("backfill", [False, True])
def test_a_slow_vla_is_flown_from_old_inputs_and_looks_at_the_rest_afterwards(backfill: bool) -> None:
    rollout, backend = still(vla_rate=5.0, backfill=backfill)
    rollout.executor = make_executor(rollout.bundle, 5.0)
    inputs: list[PolicyInput] = []
    late: list[PolicyInput] = []
    steps: list[ControlStep] = []
    trial = rollout.run(0, VIEW, inputs.append, steps.append, on_late=late.append)
    flown = [step for step in steps if step.state is State.REFERENCE]
    assert len(flown) > 0.9 * trial.ticks, "no hold between two passes"
    assert max(step.input_age for step in flown) <= 0.42
    assert np.diff([message.captured for message in inputs]) == pytest.approx(0.2)
    assert bool(late) is backfill
    if backfill:
        assert np.diff([message.captured for message in late]) == pytest.approx(0.04)
        assert len(late) == len(backend.brightness)
    rollout.cell.close()


def test_time_goes_on_between_episodes_and_old_inputs_are_not_flown() -> None:
    rollout, _ = still()
    rollout.run(0, VIEW)
    start = rollout.now
    steps: list[ControlStep] = []
    rollout.run(1, SessionView(1, 2, Phase.CRITICAL), on_step=steps.append)
    assert steps[0].time >= start
    assert steps[0].state is State.HOLD
    rollout.cell.close()


@pytest.mark.parametrize("bias", [10.0, -10.0])
def test_the_phase_head_begins_the_critical_phase_of_a_full_episode(bias: float) -> None:
    bundle = load_bundle(SHIPPED)
    cell = Cell(dataclasses.replace(get_task("ethernet", setting="full"), time_limit_full=1.0))
    head = PhaseHead(np.zeros(bundle.token_dim, np.float32), bias, {})
    rollout = Rollout(cell, Still(bundle.token_dim), bundle, make_executor(bundle), phase_head=head)
    trial = rollout.run(0, VIEW)
    other = dataclasses.replace(trial, grasped=True, switched=7, switched_in_vain=False)
    figures = summarise([trial, other], 1.0)
    assert not trial.grasped
    assert trial.switched == (2 * rollout.config.ticks if bias > 0 else None), "with the third pass in a row"
    assert trial.switched_in_vain is (bias > 0)
    assert figures["switched_in_vain"] == f"{int(bias > 0)} of 1"
    assert (figures["critical"], figures["median_ticks_before"]) == (0.5, 7.0)
    alone = summarise([trial], 1.0)
    assert (alone["critical"], alone["median_ticks_before"]) == (0.0, None)
    cell.close()


def test_a_blind_vla_sees_grey() -> None:
    for blind in (False, True):
        rollout, backend = still(blind=blind)
        rollout.run(0, VIEW)
        assert (max(backend.brightness) == 0.0) is blind
        rollout.cell.close()


def test_the_number_of_processes_changes_nothing() -> None:
    policy = Policy(SHIPPED, "ethernet", actor=SHIPPED / "actors/ethernet/actor.safetensors", vla_rate=10.0)
    alone = evaluate(policy, episodes=6, seed=0, workers=1)  # two portions
    assert evaluate(policy, episodes=6, seed=0, workers=2) == alone
    assert evaluate(policy, episodes=1, seed=1, workers=1) != alone[:1]


def test_what_cannot_fly_is_found_before_processes_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown task"):
        evaluate(Policy(SHIPPED, "usb"), episodes=4, seed=0, workers=2)
    actor = tmp_path / "actor.safetensors"
    actor.write_bytes(b"weights")
    with pytest.raises(ValueError, match="not an actor"):
        evaluate(Policy(SHIPPED, "ethernet", actor=actor), episodes=4, seed=0, workers=2)
    with pytest.raises(ValueError, match="no bundle"):
        evaluate(Policy(tmp_path, "ethernet"), episodes=4, seed=0, workers=2)
    with pytest.raises(ValueError, match="holds no checkpoint"):
        read_run(tmp_path)


@pytest.mark.parametrize("description", ["{}", "[]", "{", '{"task": "ethernet"}'])
def test_a_run_that_does_not_say_what_it_trained_is_refused(tmp_path: Path, description: str) -> None:
    checkpoint = tmp_path / "checkpoints/step-000000001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "actor.safetensors").touch()
    (tmp_path / "config.json").write_text(description)
    with pytest.raises(ConfigError, match=r"config\.json does not say what was trained"):
        read_run(tmp_path)


def trials(*ticks: int) -> list[Trial]:
    return [Trial(n > 0, abs(n), 0.0, 0.0) for n in ticks]


def test_figures_are_those_of_the_definition() -> None:
    figures = summarise(trials(100, 200, 300, -500), limit=10.0)
    assert figures["success"] == 0.75
    assert figures["median_ticks"] == 200
    assert figures["fastest_tenth_ticks"] == 100
    assert figures["throughput"] == pytest.approx(3 * 600 / ((100 + 200 + 300 + 500) * 0.02))
    assert figures["ticks"] == [100, 200, 300, None]


def test_nothing_but_failures_has_figures_too() -> None:
    figures = summarise(trials(-500, -500), limit=10.0)
    assert figures["success"] == figures["throughput"] == 0.0
    assert figures["median_ticks"] is None
    assert ratio(trials(-500, -500), trials(100, 100), limit=10.0) == (None, None)


def test_twice_as_fast_is_a_ratio_of_two() -> None:
    base, final = trials(*[200] * 20), trials(*[100] * 20)
    speedup, throughput = ratio(base, final, limit=10.0)
    assert speedup == {"value": 2.0, "95": [2.0, 2.0]}
    assert throughput is not None
    assert throughput["value"] == pytest.approx(2.0)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_holds_the_share_and_stays_within_bounds(case: tuple[int, int]) -> None:
    successes, count = case
    low, high = wilson(successes, count)
    assert 0.0 <= low <= successes / count + 1e-12
    assert successes / count - 1e-12 <= high <= 1.0
    assert high > low


def test_wilson_against_a_published_value() -> None:
    """81 of 263: 0.2553 to 0.3662 (Newcombe 1998, table I)."""
    assert wilson(81, 263) == pytest.approx([0.2553, 0.3662], abs=1e-4)
