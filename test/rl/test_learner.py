"""The learner: hand-computed targets, the budget, the anchor, and a task in which it must beat its reference."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from rlt_ros.control.actor import OWN, SPEEDS, unpack_actor
from rlt_ros.normaliser import Normaliser
from rlt_ros.rl.checkpoint import Layout, save_checkpoint
from rlt_ros.rl.config import LearnerConfig
from rlt_ros.rl.export import export_actor
from rlt_ros.rl.learner import Learner
from rlt_ros.rl.networks import candidates, lower_bound
from rlt_ros.rl.replay import Replay, ReplaySpec
from rlt_ros.rl.samples import Segment, StateRecord

JOINTS, TOKEN, CHUNK = 2, 2, 2
SMALL = LearnerConfig(
    hidden=(32, 32),
    critics=2,
    batch=64,
    warmup_samples=10,
    burn_in_updates=0,
    q_weight=(0.2,),
    update_ratio=5.0,
    seed=0,
)


def replay(capacity: int = 4000, discount: float = 0.9) -> Replay:
    return Replay(ReplaySpec(capacity, TOKEN, JOINTS, chunk=CHUNK, stride=1, discount=discount))


def add_episode(
    target: Replay, states: np.ndarray, actions: np.ndarray, reference: np.ndarray, success: bool, source: int = 2
) -> None:
    """States (T, TOKEN), actions (T, J), one reference row (J,) repeated; flown by `source`."""
    target.begin_episode()
    count = len(states)
    for t in range(count):
        rows = min(CHUNK, count - t)
        reward = np.array([1.0 if success and t == count - 1 else 0.0], np.float32)
        target.add(
            Segment(
                StateRecord(
                    True,
                    states[t].astype(np.float32),
                    np.zeros(2 * JOINTS, np.float32),
                    np.repeat(reference[None].astype(np.float32), CHUNK, 0),
                ),
                actions[t : t + 1].astype(np.float32),
                np.full(1, source, np.uint8),
                reward,
                rows,
                t + CHUNK >= count,
            )
        )


def test_values_of_a_three_step_chain_are_those_computed_by_hand() -> None:
    """Ticks 0, 1, 2, success at tick 2, gamma 0.9, C = 2: Q0 = g^2 Q2 = 0.81, Q1 = 0.9, Q2 = 1."""
    store = replay(100)
    states = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    for _ in range(10):
        add_episode(store, states, np.zeros((3, JOINTS)), np.zeros(JOINTS), success=True)
    learner = Learner(dataclasses.replace(SMALL, critic_rate=3e-3, target_rate=0.05, q_weight=(0.0,)), store)
    for _ in range(1500):
        learner.update()
    with torch.no_grad():
        state = torch.cat([torch.tensor(states, dtype=torch.float32), torch.zeros(3, 2 * JOINTS)], 1)
        values = learner.critics.network(state, torch.zeros(3, CHUNK * JOINTS)).mean(0)
    assert values.tolist() == pytest.approx([0.81, 0.9, 1.0], abs=0.03)


def test_a_failure_is_worth_nothing_and_targets_stay_within_reach() -> None:
    store = replay(100)
    for _ in range(10):
        add_episode(store, np.ones((4, TOKEN)), np.zeros((4, JOINTS)), np.zeros(JOINTS), success=False)
    learner = Learner(SMALL, store)
    with torch.no_grad():
        for bias in learner.targets.network.biases:
            bias.fill_(50.0)
    for _ in range(500):
        learner.update()
    assert 0.0 <= learner.report.target_mean <= 1.0


def test_updates_never_exceed_ratio_times_samples() -> None:
    store = replay()
    learner = Learner(SMALL, store)
    assert learner.budget == 0
    add_episode(store, np.zeros((9, TOKEN)), np.zeros((9, JOINTS)), np.zeros(JOINTS), success=True)
    assert learner.budget == 0, "the warm-up is not over"
    add_episode(store, np.zeros((9, TOKEN)), np.zeros((9, JOINTS)), np.zeros(JOINTS), success=True)
    while learner.budget:
        learner.update()
    assert learner.updates == 5 * store.samples == 5 * 18


def test_without_q_the_actor_clones_even_where_the_reference_is_hidden() -> None:
    store = replay()
    rng = np.random.default_rng(0)
    for _ in range(40):
        reference = rng.normal(size=JOINTS)
        states = np.repeat(reference[None], 6, 0)
        add_episode(store, states, np.zeros((6, JOINTS)), reference, success=False)
    learner = Learner(dataclasses.replace(SMALL, q_weight=(0.0,), actor_rate=3e-3), store)
    for _ in range(1500):
        learner.update()
    batch = learner.view(store.sample(256, rng))
    with torch.no_grad():
        shown = learner.actor.network(batch.state, batch.reference)
        hidden = learner.actor.network(batch.state, batch.reference, torch.zeros(256, dtype=torch.bool))
    assert torch.equal(shown, batch.reference), "what is to be copied is copied exactly, not learnt again"
    assert (hidden - batch.reference).square().mean() < 0.05


def reach(actor: object, rng: np.random.Generator, noise: float) -> tuple[np.ndarray, np.ndarray, bool]:
    """Two joints must come within 0.15 of zero in 12 ticks; the reference moves a third of the way too slowly."""
    position, states, actions = rng.uniform(0.6, 0.9, 2) * rng.choice([-1, 1], 2), [], []
    while len(states) < 12:
        reference = -0.04 * np.sign(position)
        chunk = actor(position, np.repeat(reference[None], CHUNK, 0)) + rng.normal(0, noise, JOINTS)
        for row in chunk:
            states.append(position.copy())
            actions.append(np.clip(row, -0.2, 0.2))
            position = position + actions[-1]
            if np.abs(position).max() < 0.15:
                return np.array(states), np.array(actions), True
    return np.array(states), np.array(actions), False


@pytest.mark.parametrize("selection", [False, True])
def test_the_learner_beats_its_reference_on_a_two_joint_reach(selection: bool) -> None:
    """The reference alone never arrives in time; an actor that learns must, with and without a choice of speeds."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(2)
    store = replay(20_000, discount=0.95)
    config = dataclasses.replace(
        SMALL,
        batch=128,
        actor_rate=1e-3,
        critic_rate=1e-3,
        target_rate=0.02,
        q_weight=(1.0,),
        selection=selection,
        discount=0.95,
        burn_in_updates=200,
    )
    learner = Learner(config, store, np.eye(CHUNK * JOINTS, dtype=np.float32))
    actor = unpack_actor(export_actor(learner, "b", 1), "b")

    def flown(position: np.ndarray, reference: np.ndarray) -> np.ndarray:
        seen = (10 * reference).astype(np.float32)
        return actor.choose(position.astype(np.float32), np.zeros(2 * JOINTS, np.float32), seen)[0] / 10

    base = np.mean([reach(lambda p, r: r, rng, 0.0)[2] for _ in range(50)])
    for episode in range(160):
        states, actions, success = reach(flown if episode >= 40 else lambda p, r: r, rng, 0.06)
        # In units of 0.1, as the normaliser would; every state has its own reference.
        store.begin_episode()
        for t in range(len(states)):
            reference = np.repeat((-0.4 * np.sign(states[t]))[None], CHUNK, 0).astype(np.float32)
            record = StateRecord(True, states[t].astype(np.float32), np.zeros(2 * JOINTS, np.float32), reference)
            last = t == len(states) - 1
            store.add(
                Segment(
                    record,
                    (actions[t : t + 1] * 10).astype(np.float32),
                    np.full(1, 2, np.uint8),
                    np.array([float(success and last)], np.float32),
                    min(CHUNK, len(states) - t),
                    t + CHUNK >= len(states),
                )
            )
        for _ in range(20 if episode >= 10 else 0):
            learner.update()
        actor = unpack_actor(export_actor(learner, "b", 1), "b")
    final = np.mean([reach(flown, rng, 0.0)[2] for _ in range(50)])
    assert base < 0.1
    assert final > 0.5


def test_the_same_seed_gives_the_same_actor() -> None:
    def train() -> bytes:
        store = replay()
        for _ in range(5):
            add_episode(store, np.ones((6, TOKEN)), np.zeros((6, JOINTS)), np.ones(JOINTS), success=True)
        learner = Learner(SMALL, store)
        for _ in range(20):
            learner.update()
        return export_actor(learner, "b", 1)

    assert train() == train()


def test_a_checkpoint_is_complete_and_leaves_no_rubbish(tmp_path) -> None:
    store = replay()
    add_episode(store, np.ones((20, TOKEN)), np.zeros((20, JOINTS)), np.ones(JOINTS), success=True)
    learner = Learner(SMALL, store)
    learner.update()
    layout = Layout("b", ("j",) * JOINTS, Normaliser(np.zeros(2 * JOINTS), np.ones(2 * JOINTS), np.ones(JOINTS)))
    path = save_checkpoint(learner, tmp_path, version=3, layout=layout)
    again = save_checkpoint(learner, tmp_path, version=3, layout=layout)
    assert path.name == "step-000000001"
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-000000001.001"], (
        "the old one goes when the new one is there"
    )
    actor = unpack_actor((again / "actor.safetensors").read_bytes(), "b")
    assert actor.version == 3
    (tmp_path / "blocked").write_text("a file where a directory should be")
    with pytest.raises(OSError, match="blocked"):
        save_checkpoint(learner, tmp_path / "blocked", version=3, layout=layout)


def test_the_weight_of_q_rises_from_the_burn_in_on() -> None:
    config = dataclasses.replace(SMALL, burn_in_updates=100, q_weight=(0.2, 1.2))
    learner = Learner(config, replay())
    weights = []
    for updates in (0, 100, 350, 600, 1000):
        learner.updates = updates
        weights.append(learner.q_weight)
    assert weights == pytest.approx([0.2, 0.2, np.sqrt(0.2 * 1.2), 1.2, 1.2])
    assert Learner(dataclasses.replace(config, burn_in_updates=0), replay()).q_weight == pytest.approx(1.2)
    assert Learner(dataclasses.replace(config, q_weight=(0.3,)), replay()).q_weight == pytest.approx(0.3)


def test_without_pass_through_the_reference_changes_nothing_in_flight() -> None:
    """Trained without the reference, the exported actor must not react to it either."""
    store = replay()
    rng = np.random.default_rng(0)
    for index in range(20):
        add_episode(
            store, rng.normal(size=(6, TOKEN)), rng.normal(size=(6, JOINTS)), rng.normal(size=JOINTS), index % 2 == 0
        )
    learner = Learner(dataclasses.replace(SMALL, actor_rate=1e-2, pass_through=False, selection=False), store)
    for _ in range(60):
        learner.update()
    actor = unpack_actor(export_actor(learner, "b", 1), "b")
    token, proprio = np.ones(TOKEN, np.float32), np.ones(2 * JOINTS, np.float32)
    reference = np.ones((CHUNK, JOINTS), np.float32)
    out = actor(token, proprio, reference)
    assert np.array_equal(out, actor(token, proprio, -5 * reference))
    assert not np.array_equal(out, actor(-5 * token, proprio, reference))
    state = torch.from_numpy(np.concatenate([token, proprio]))
    mine = learner.flown.network(state[None] * learner.view.read, torch.zeros(1, learner.view.coordinates))
    assert np.allclose(learner.view.directions.chunks(mine).detach().numpy()[0], out.ravel(), atol=1e-5)


def test_without_an_anchor_the_actor_still_clones_while_burning_in() -> None:
    config = dataclasses.replace(SMALL, anchor_weight=0.0, q_weight=(0.0,), burn_in_updates=40)
    store = replay()
    rng = np.random.default_rng(0)
    for _ in range(20):
        add_episode(store, rng.normal(size=(6, TOKEN)), rng.normal(size=(6, JOINTS)), rng.normal(size=JOINTS), True)
    learner = Learner(config, store)

    def weights() -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in learner.actor.network.parameters()]

    start = weights()
    for _ in range(39):
        learner.update()
    cloned = weights()
    assert not all(torch.equal(a, b) for a, b in zip(start, cloned, strict=True))


def directed(count: int) -> Replay:
    """References that move along (1, 1) alone."""
    store, rng = replay(), np.random.default_rng(0)
    for _ in range(count):
        add_episode(store, rng.normal(size=(6, TOKEN)), np.zeros((6, JOINTS)), rng.normal() * np.ones(JOINTS), True)
    return store


def test_along_directions_the_actor_moves_where_references_move_and_nowhere_else() -> None:
    store = directed(40)
    learner = Learner(dataclasses.replace(SMALL, directions=1, q_weight=(1.0,), actor_rate=1e-2), store)
    for _ in range(40):
        learner.update()
    actor = unpack_actor(export_actor(learner, "b", 1), "b")
    reference = np.ones((CHUNK, JOINTS), np.float32)
    moved = actor(np.ones(TOKEN, np.float32), np.zeros(2 * JOINTS, np.float32), reference) - reference
    assert np.abs(moved).max() > 0.01
    assert np.allclose(moved, moved[0, 0], atol=1e-4)


def test_the_anchor_counts_executed_rows_in_units_of_the_references() -> None:
    store = directed(40)
    learner = Learner(dataclasses.replace(SMALL, directions=1), store)
    learner.update()
    view = learner.view
    batch = view(store.sample(64, np.random.default_rng(0)))
    whole = batch._replace(executed=torch.ones_like(batch.executed))
    assert float(view.distance(2 * whole.reference, whole).mean()) == pytest.approx(1.0, rel=0.3)
    half = batch._replace(executed=torch.tensor([[True, False]]).expand(64, -1))
    # Half of the chunk's rows: half of the way along the only direction.
    ratio = view.distance(2 * half.reference, half) / view.distance(2 * whole.reference, whole)
    assert ratio.numpy() == pytest.approx(0.25, rel=1e-3)


def test_a_learner_that_has_not_learnt_gives_the_reference_whatever_its_directions() -> None:
    learner = Learner(dataclasses.replace(SMALL, directions=3), replay(), np.eye(CHUNK * JOINTS, dtype=np.float32))
    actor = unpack_actor(export_actor(learner, "b", 1), "b")
    reference = np.random.default_rng(0).normal(size=(CHUNK, JOINTS)).astype(np.float32)
    assert np.array_equal(actor(np.ones(TOKEN, np.float32), np.zeros(2 * JOINTS, np.float32), reference), reference)


@pytest.mark.parametrize(("proprio", "kept"), [("all", 2 * JOINTS), ("position", JOINTS)])
def test_an_actor_flies_blind_to_what_it_was_trained_without(proprio: str, kept: int) -> None:
    """Velocities make a policy that stands still go on standing still: in human data, motion foretells motion."""
    learner = Learner(dataclasses.replace(SMALL, proprio=proprio, state_noise=0.1, q_weight=(1.0,)), directed(20))
    for _ in range(40):
        learner.update()
    actor = unpack_actor(export_actor(learner, "b", 1), "b")
    rng = np.random.default_rng(0)
    token, reference = rng.normal(size=TOKEN).astype(np.float32), np.ones((CHUNK, JOINTS), np.float32)
    joints = rng.normal(size=2 * JOINTS).astype(np.float32)
    for number in range(2 * JOINTS):
        other = joints.copy()
        other[number] += 1.0
        seen = not np.array_equal(actor(token, joints, reference), actor(token, other, reference))
        assert seen == (number < kept)


def test_what_flies_is_a_running_average_of_the_trained_actors() -> None:
    learner = Learner(dataclasses.replace(SMALL, q_weight=(1.0,), actor_every=1, precision="float32"), directed(20))
    average = learner.actor.parameters.detach().clone()
    for update in range(1, 301):
        learner.update()
        trained = learner.actor.parameters.detach()
        average += (trained - average) * max(0.002, 10 / (10 + update))
    assert torch.allclose(learner.flown.parameters, average, atol=1e-6)
    assert not torch.allclose(trained, average, atol=1e-4)


def test_exported_weights_choose_and_act_as_the_networks_do() -> None:
    """In numpy and in torch the same candidate, and the same chunk."""
    config = dataclasses.replace(SMALL, critics=3, q_weight=(3.0,), actor_rate=1e-2, precision="float32")
    learner = Learner(config, directed(20))
    for _ in range(60):
        learner.update()
    actor = unpack_actor(export_actor(learner, "b", 1), "b")
    rng, chosen = np.random.default_rng(0), set()
    for _ in range(40):
        token, joints, reference = (
            rng.normal(size=shape).astype(np.float32) for shape in (TOKEN, 2 * JOINTS, (CHUNK, JOINTS))
        )
        chunk, candidate = actor.choose(token, joints, reference)
        state = torch.from_numpy(np.concatenate([token, joints]))[None] * learner.view.read
        seen = learner.view.directions.coordinates(torch.from_numpy(reference)[None])
        with torch.no_grad():
            own = learner.flown.network(state, seen)
            values = lower_bound(learner.critics.network(state, candidates(seen, own, SPEEDS)))[0]
        assert candidate == actor.candidates[int(values.argmax())]
        wanted = candidate * reference
        if candidate == OWN:
            changed = learner.view.directions.chunks(own - seen).numpy().reshape(reference.shape)
            wanted = reference + changed
        assert np.allclose(chunk, wanted, atol=1e-4)
        chosen.add(candidate)
    assert len(chosen) > 1


def test_until_the_burn_in_is_over_nothing_is_selected_and_the_target_knows_the_reference_only() -> None:
    learner = Learner(dataclasses.replace(SMALL, burn_in_updates=5), directed(20))
    asked: list[tuple[int, ...]] = []
    compute = learner.targets.compute.forward

    def watched(state: torch.Tensor, actions: torch.Tensor, members: torch.Tensor | None = None) -> torch.Tensor:
        asked.append(tuple(actions.shape[1:-1]))
        return compute(state, actions, members)

    learner.targets.compute.forward = watched  # type: ignore[method-assign]
    for _ in range(8):
        learner.update()
        assert unpack_actor(export_actor(learner, "b", 1), "b").spec.selects == learner.burnt_in
    assert asked == [()] * 5 + [(len(SPEEDS) + 1,)] * 3


def test_units_come_from_demonstrations_else_from_a_human_else_from_references() -> None:
    told = Learner(SMALL, replay(), np.diag([9.0, 4.0, 1.0, 1e-9]).astype(np.float32))
    assert told.ready
    assert "demonstrations" in told.units
    lengths = told.view.directions.basis.norm(dim=1).tolist()
    assert lengths == pytest.approx([3.0, 2.0, 1.0, 0.09], rel=1e-4), "what nobody did has the smallest unit"
    planned = Learner(SMALL, directed(20))
    assert not planned.ready
    planned.update()
    assert "references" in planned.units
    store = directed(20)
    rng = np.random.default_rng(1)
    for _ in range(30):
        add_episode(store, rng.normal(size=(8, TOKEN)), rng.normal(size=(8, JOINTS)) * [1, 5], np.ones(JOINTS), True, 3)
    shown = Learner(SMALL, store)
    shown.update()
    assert "a human flew" in shown.units
    first = shown.view.directions.basis[0].reshape(CHUNK, JOINTS)
    assert first.norm() == pytest.approx(5.0, rel=0.2)
    assert first[:, 1].norm() > 0.95 * first.norm(), "a human moved the second joint most"


def test_what_a_learner_cannot_be_is_refused() -> None:
    for change, message in (
        ({"precision": "float8"}, "precision"),
        ({"proprio": "velocity"}, "proprio"),
        ({"device": "abacus"}, "device"),
        ({"q_weight": (0.0, 1.0)}, "q_weight"),
        ({"q_weight": (0.1, 0.2, 0.3)}, "q_weight"),
    ):
        with pytest.raises(ValueError, match=message):
            Learner(dataclasses.replace(SMALL, **change), replay())  # type: ignore[arg-type]
