"""The baselines: each learns at all, what flies is what was trained, and a checkpoint has all of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rlt_ros.control.actor import Actor, SquashedActor, unpack_actor
from rlt_ros.normaliser import Normaliser
from rlt_ros.rl.baseline_config import DaggerConfig, HilSerlConfig, PldConfig
from rlt_ros.rl.checkpoint import Layout, load_checkpoint, save_checkpoint
from rlt_ros.rl.dagger import Dagger
from rlt_ros.rl.export import export_actor
from rlt_ros.rl.hil_serl import HilSerl
from rlt_ros.rl.method import Method
from rlt_ros.rl.pld import Pld
from rlt_ros.rl.replay import Replay, ReplaySpec
from rlt_ros.rl.samples import Segment, StateRecord
from rlt_ros.types import State

JOINTS, TOKEN, UNIT, TICKS = 2, 2, 0.1, 12
SMALL = {"hidden": (32, 32), "batch": 64, "warmup_samples": 50, "rate": 2e-3, "state_noise": 0.0, "discount": 0.95}
HIL_SERL = HilSerlConfig(**SMALL, target_rate=0.02)  # type: ignore[arg-type]
PLD = PldConfig(
    **SMALL,  # type: ignore[arg-type]
    target_rate=0.02,
    base_episodes=40,
    pretrain_updates=200,
    residual_updates=500,
)
DAGGER = DaggerConfig(**SMALL, pretrain_updates=100)  # type: ignore[arg-type]


class Reach:
    """Two joints must come within 0.15 of zero in 12 ticks; the reference moves towards it, too slowly.

    Actions are in units of 0.1 a tick, as the normaliser would give them.
    """

    def __init__(self, learner: Method[Any], speed: float) -> None:
        """`speed` of the reference, a tick."""
        self.learner, self.speed = learner, speed
        self.rng = np.random.default_rng(2)

    def fly(self, actor: Actor | None, human: Callable[[int], bool] = lambda _: False, explore: bool = False) -> bool:
        """One episode; flown by the human where it says so, by the actor, or by the base; stored if it explores."""
        chunk, steps = self.learner.replay.spec.chunk, []
        position = self.rng.uniform(0.6, 0.9, 2) * self.rng.choice([-1, 1], 2)
        won = False
        while len(steps) < TICKS and not won:
            reference = np.repeat(-self.speed / UNIT * np.sign(position)[None], chunk, 0).astype(np.float32)
            rows, source = reference, State.REFERENCE
            if human(len(steps)):
                rows, source = np.repeat(-1.2 * np.sign(position)[None], chunk, 0).astype(np.float32), State.HUMAN
            elif actor is not None:
                noise = self.rng if explore else None
                rows = actor.choose(position.astype(np.float32), np.zeros(2 * JOINTS, np.float32), reference, noise)[0]
                source = State.ACTOR
            for row in rows:
                action = np.clip(row, -2.0, 2.0)
                steps.append((position.astype(np.float32), np.float32(action), reference, source))
                position = position + UNIT * action
                won = bool(np.abs(position).max() < 0.15)
                if won or len(steps) == TICKS:
                    break
        if explore:
            self.store(steps, won)
        return won

    def store(self, steps: list[Any], won: bool) -> None:
        replay = self.learner.replay
        replay.begin_episode()
        for t, (position, action, _, source) in enumerate(steps):
            reference = np.repeat(-self.speed / UNIT * np.sign(position)[None], replay.spec.chunk, 0)
            record = StateRecord(True, position, np.zeros(2 * JOINTS, np.float32), reference.astype(np.float32))
            reward = np.array([float(won and t == len(steps) - 1)], np.float32)
            rows = min(replay.spec.chunk, len(steps) - t)
            terminal = t + replay.spec.chunk >= len(steps)
            replay.add(Segment(record, action[None], np.full(1, source, np.uint8), reward, rows, terminal))

    def learn(self, episodes: int, demonstrations: int, human: Callable[[int], bool], updates: int) -> None:
        """As a training does: demonstrations, the base, then the actor with a human beside it."""
        first = demonstrations + self.learner.base_episodes
        for episode in range(episodes):
            actor = None if episode < first else self.actor()
            self.fly(actor, (lambda _: True) if episode < demonstrations else human, explore=True)
            for _ in range(min(updates, self.learner.budget)):
                self.learner.update()

    def actor(self) -> Actor:
        return unpack_actor(export_actor(self.learner, "b", 1), "b")

    def success(self, actor: Actor | None) -> float:
        return float(np.mean([self.fly(actor) for _ in range(60)]))


def nobody(tick: int) -> bool:
    return False


def replay(chunk: int) -> Replay:
    return Replay(ReplaySpec(20_000, TOKEN, JOINTS, chunk=chunk, stride=1, discount=0.95))


def made(kind: type[Method[Any]], config: Any, chunk: int) -> Any:
    torch.set_num_threads(1)
    return kind(config, replay(chunk), np.eye(chunk * JOINTS, dtype=np.float32))


def test_hil_serl_reaches_without_the_reference() -> None:
    """From demonstrations, interventions and reward alone: what its actor does must not depend on a VLA."""
    learner = made(HilSerl, HIL_SERL, 1)
    task = Reach(learner, 0.04)
    task.learn(90, 15, lambda tick: tick >= 8, updates=12)
    actor = task.actor()
    assert task.success(None) < 0.1
    assert task.success(actor) > 0.5
    state = np.full(TOKEN, 0.5, np.float32), np.zeros(2 * JOINTS, np.float32)
    one, other = (actor(*state, np.full((1, JOINTS), value, np.float32)) for value in (-1.0, 1.0))
    assert np.array_equal(one, other)


def test_pld_reaches_where_the_base_seldom_does() -> None:
    """A residual of at most half the range, learnt from the base's few successes and its own, with nobody's help."""
    learner = made(Pld, PLD, 1)
    task = Reach(learner, 0.053)
    base = task.success(None)
    task.learn(150, 0, nobody, updates=12)
    assert 0.0 < base < 0.4
    assert task.success(task.actor()) > base + 0.3


def test_dagger_clones_the_human_who_takes_over() -> None:
    learner = made(Dagger, DAGGER, 2)
    task = Reach(learner, 0.04)
    task.learn(60, 5, lambda tick: tick >= 6, updates=12)
    assert task.success(None) < 0.1
    assert task.success(task.actor()) > 0.8


@pytest.mark.parametrize(
    ("kind", "config", "chunk"), [(HilSerl, HIL_SERL, 1), (Pld, PLD, 1), (Dagger, DAGGER, 2)], ids=lambda x: str(x)[:20]
)
def test_a_baseline_goes_on_from_its_checkpoint_update_by_update_the_same(
    kind: type[Method[Any]], config: Any, chunk: int, tmp_path: Any
) -> None:
    """The base's successes and the temperature are part of what must come back, not only networks."""
    layout = Layout("b", ("j",) * JOINTS, Normaliser(np.zeros(2 * JOINTS), np.ones(2 * JOINTS), np.ones(JOINTS)))
    config = dataclasses.replace(config, state_noise=0.1)
    if kind is Pld:
        config = dataclasses.replace(config, base_episodes=10, pretrain_updates=10)
    first = made(kind, config, chunk)
    Reach(first, 0.06).learn(20, 2, lambda tick: tick > 9, updates=4)
    path = save_checkpoint(first, tmp_path, version=1, layout=layout, with_replay=True)
    again = made(kind, config, chunk)
    load_checkpoint(again, path, layout=layout)
    assert again.updates == first.updates > 10
    for learner in (first, again):
        for _ in range(6):
            learner.update()
    assert export_actor(first, "b", 1) == export_actor(again, "b", 1)
    assert first.budget == again.budget
    assert first.schedule == again.schedule


@pytest.mark.parametrize(("kind", "config"), [(HilSerl, HIL_SERL), (Pld, PLD)], ids=["hil_serl", "pld"])
def test_what_flies_is_what_was_trained(kind: type[Method[Any]], config: Any) -> None:
    """The control process has a perceptron of its own, in numpy: a tanh or a norm amiss, and another policy flies."""
    learner = made(kind, config, 1)
    with torch.no_grad():
        for parameter in learner.actor.network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    actor = unpack_actor(export_actor(learner, "b", 1), "b")
    assert isinstance(actor, SquashedActor)
    rng = np.random.default_rng(0)
    token, proprio = rng.normal(size=TOKEN).astype(np.float32), rng.normal(size=2 * JOINTS).astype(np.float32)
    reference = rng.normal(size=(1, JOINTS)).astype(np.float32)
    state = torch.from_numpy(np.concatenate([token, proprio]))[None] * learner.view.read
    base = learner.view.directions.coordinates(torch.from_numpy(reference)[None])
    with torch.no_grad():
        mean, log_deviation = learner.actor.network(state, base)
        kept = base if kind is Pld else torch.zeros_like(base)
        coordinates = kept + learner.bound * torch.tanh(mean)
        mine = learner.view.directions.chunks(coordinates).numpy()[0]
    assert actor(token, proprio, reference).ravel() == pytest.approx(mine, abs=1e-5)
    drawn = np.array([actor.choose(token, proprio, reference, rng)[0].ravel() for _ in range(4000)])
    moved = learner.view.directions.coordinates(torch.from_numpy(drawn)[:, None]) - kept
    spread = torch.atanh((moved / learner.bound).clamp(-0.999999, 0.999999)).std(0).numpy()
    assert spread == pytest.approx(log_deviation.exp().numpy()[0], rel=0.1)


def test_plds_residual_may_grow_and_the_base_flies_alone_first() -> None:
    learner = made(Pld, PLD, 1)
    task = Reach(learner, 0.06)
    assert learner.base_episodes == 40
    bounds = []
    for updates in (0, 200, 450, 700, 5000):
        learner.updates = updates
        bounds.append(learner.schedule["residual"])
    assert bounds == pytest.approx([0.01, 0.01, 0.255, 0.5, 0.5])
    learner.updates = 0
    for _ in range(40):
        task.fly(None, explore=True)
        assert learner.budget == 0
    task.fly(None, explore=True)
    weights = learner.actor.parameters.clone()
    while learner.updates < 200:
        learner.update()
    assert torch.equal(weights, learner.actor.parameters), "while the critics are pre-trained the residual is not"
    assert learner.budget == 0, "what the base flew is no licence for thousands of updates at once"
    values = learner.values(learner.replay.gather(learner.replay.usable_since(0)))
    assert bool((values > -0.5).all()), "calibrated: not below what the base returned, by much"
    assert bool((values < 1.5).all())


def test_the_temperature_holds_the_entropy_at_half_the_actions() -> None:
    learner = made(HilSerl, HIL_SERL, 1)
    task = Reach(learner, 0.04)
    task.learn(60, 15, lambda tick: tick >= 8, updates=12)
    seen = learner.view(learner.replay.sample(2000, np.random.default_rng(0)))
    with torch.no_grad():
        entropy = -float(learner._act(seen.state, seen.reference)[1].mean())
    assert entropy == pytest.approx(-0.5 * JOINTS, abs=1.0)
