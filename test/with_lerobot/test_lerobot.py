"""Policies that LeRobot saved, imported: every tensor is theirs, one pass gives both, one graph says the same.

These run where LeRobot is: `make lerobot-test`.
"""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lerobot", reason="LeRobot has an environment of its own: make lerobot-test")

import pandas as pd
import torch
from random_policies import local_words, paligemma_words
from safetensors.torch import load_file, save_file
from tiny_policies import CAMERAS, JOINTS, SIDE, save, shrink_pi

from rlt_ros.normaliser import Normaliser
from rlt_ros.types import GROUNDING, Episode
from rlt_ros.vla.bundle import BundleError, load_bundle
from rlt_ros.vla.dataset import Contents, DatasetWriter
from rlt_ros.vla.imports import Robot
from rlt_ros.vla.lerobot_import import Given, import_lerobot
from rlt_ros.vla.lerobot_policy import LeRobotPolicy, load_policy
from rlt_ros.vla.loaded import LoadedVla

KINDS = ("act", "diffusion", "smolvla", "pi0", "pi05")
TASKS = {"plug": "insert the plug", "wait": "wait here"}
ROBOT = Robot(
    Contents("bench", ("shoulder", "elbow", "gripper"), ("base", "left", "right"), SIDE, 0.05),
    TASKS,
    Normaliser(np.zeros(6), np.ones(6), np.full(3, 0.01)),
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("saved")
    return {kind: save(kind, root, 224 if kind.startswith("pi") else SIDE) for kind in KINDS}


def given(saved: dict[str, Path], kind: str, **more: Any) -> Given:
    words = saved["pi0"].parent / "words" if kind.startswith("pi") else None
    vlm = saved["smolvla"].parent / "vlm" if kind == "smolvla" else None
    return Given({}, vlm=vlm, tokenizer=words, **more)


def loaded(saved: dict[str, Path], kind: str) -> LeRobotPolicy:
    how = given(saved, kind)
    return load_policy(saved[kind], vlm=how.vlm, tokenizer=how.tokenizer)


def moment(side: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (len(CAMERAS), side, side, 3), np.uint8), rng.normal(size=JOINTS).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_becomes_a_bundle_that_flies(saved: dict[str, Path], kind: str, tmp_path: Path) -> None:
    made = import_lerobot(saved[kind], tmp_path / "bundle", "tiny", ROBOT, given(saved, kind))
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.id == made.id
    assert bundle.backend == ("onnx" if kind in ("act", "smolvla") else "lerobot")
    assert (bundle.cameras, bundle.joints, bundle.period) == (CAMERAS, ROBOT.contents.joints, 0.05)
    vla, policy = LoadedVla(bundle), loaded(saved, kind)
    for seed, words in enumerate(TASKS.values()):
        vla.set_instruction(words)
        images, position = moment(bundle.image_size, seed)
        here, there = vla.infer(images, position), policy.infer(images, position, words)
        np.testing.assert_allclose(here.reference, there.rows, atol=1e-4)
        assert here.embeddings is not None
        np.testing.assert_allclose(
            here.embeddings.astype(np.float32), there.embeddings, atol=1e-4 if bundle.backend == "onnx" else 1e-2
        )
        again = vla.infer(images, position)
        np.testing.assert_array_equal(here.reference, again.reference, "a chunk follows from what is seen")


@pytest.mark.parametrize("kind", KINDS)
def test_one_pass_gives_embeddings_and_rows(saved: dict[str, Path], kind: str) -> None:
    policy = loaded(saved, kind)
    images, position = moment(policy.image_size)
    first = policy.infer(images, position, TASKS["plug"])
    assert len(policy._seen) == 1, "the prefix is computed once"
    changed = images.copy()
    changed[0] = 255 - changed[0]
    assert not torch.allclose(policy.infer(changed, position, TASKS["plug"]).embeddings, first.embeddings)
    expected = {"act": (2 + 2 * 4, 32), "smolvla": (2 * 4 + 1, 32), "pi0": (2 * 256, 64), "pi05": (2 * 256, 64)}
    if kind in expected:
        assert tuple(first.embeddings.shape) == expected[kind]


@pytest.mark.parametrize("kind", ["act", "smolvla"])
def test_relative_chunks_begin_where_the_robot_is_in_the_graph_too(kind: str, tmp_path: Path) -> None:
    checkpoint = save(kind, tmp_path, relative=True)
    vlm = tmp_path / "vlm" if kind == "smolvla" else None
    bundle = import_lerobot(checkpoint, tmp_path / "bundle", "tiny", ROBOT, Given({}, vlm=vlm))
    assert bundle.backend == "onnx"
    vla, policy = LoadedVla(bundle), load_policy(checkpoint, vlm=vlm)
    absolute = load_policy(save(kind, tmp_path / "absolute"), vlm=vlm)
    images, position = moment(SIDE)
    here = vla.infer(images, position).reference
    np.testing.assert_allclose(here, policy.infer(images, position, TASKS["plug"]).rows, atol=1e-4)
    plain = absolute.infer(images, position, TASKS["plug"]).rows.numpy()
    np.testing.assert_allclose(here, plain + position * [1, 1, 0], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_says_what_its_moments_say(saved: dict[str, Path], kind: str) -> None:
    policy = loaded(saved, kind)
    if not policy.in_batches:
        assert kind == "diffusion"
        return
    moments = [moment(policy.image_size, seed) for seed in range(3)]
    made = policy.infer_batch(*(np.stack(part) for part in zip(*moments, strict=True)), TASKS["plug"])
    for number, (images, position) in enumerate(moments):
        alone = policy.infer(images, position, TASKS["plug"])
        torch.testing.assert_close(made.rows[number], alone.rows, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(made.embeddings[number], alone.embeddings, atol=1e-4, rtol=1e-4)


def demonstrations(directory: Path, *, video: bool = False) -> Path:
    contents = Contents("bench", ("shoulder", "elbow", "gripper"), ("base", "left"), SIDE, 0.02)
    rng = np.random.default_rng(0)
    with DatasetWriter(directory, contents, video=video) as writer:
        for length in (30, 40):
            moved = np.cumsum(rng.normal(0, 0.01, (length, 3)), 0)
            writer.add(
                Episode(
                    task="plug",
                    instruction=TASKS["plug"],
                    setting="controlled",
                    ticks=length,
                    image_ticks=np.arange(length),
                    images=rng.integers(0, 255, (length, 2, SIDE, SIDE, 3), np.uint8),
                    position=moved.astype(np.float32),
                    velocity=np.zeros((length, 3), np.float32),
                    before=moved[0],
                    command=moved,
                    critical=np.ones(length, bool),
                    grounding=np.full((length, GROUNDING), np.nan, np.float32),
                )
            )
    return directory


def test_lerobot_reads_what_is_collected_and_pi05_has_its_quantiles(saved: dict[str, Path], tmp_path: Path) -> None:
    from lerobot.datasets.aggregate import aggregate_stats
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from lerobot.policies.factory import make_pre_post_processors

    data = LeRobotDataset("local/rlt", root=demonstrations(tmp_path / "data"))
    assert (len(data), data.num_episodes, data.fps) == (70, 2, 50)
    frames = np.stack([data.hf_dataset[row]["action"] for row in range(70)])
    np.testing.assert_allclose(data.meta.stats["action"]["q99"], np.quantile(frames, 0.99, axis=0), atol=1e-5)
    episodes = pd.read_parquet(tmp_path / "data/meta/episodes/chunk-000/file-000.parquet").to_dict("records")
    figures = ("min", "max", "mean", "std", "count")
    each = [{"action": {key: np.stack([row[f"stats/action/{key}"]])[0] for key in figures}} for row in episodes]
    whole = aggregate_stats(each)["action"]
    np.testing.assert_allclose(whole["mean"], frames.mean(0), atol=1e-5)
    np.testing.assert_allclose(whole["std"], frames.std(0), atol=1e-5)
    shrink_pi()
    config = loaded(saved, "pi05").config
    local_words(saved["pi0"].parent / "words")
    pre, _ = make_pre_post_processors(config, dataset_stats=data.meta.stats)
    scaled = pre({**{k: v for k, v in data[3].items() if k.startswith("observation") or k == "action"}, "task": "plug"})
    low, high = np.quantile(frames, 0.01, axis=0), np.quantile(frames, 0.99, axis=0)
    np.testing.assert_allclose(scaled["action"][0, :3], 2 * (frames[3] - low) / (high - low) - 1, atol=1e-3)


def test_the_plug_in_reads_the_same_and_no_pictures_for_actions(tmp_path: Path) -> None:
    from lerobot.datasets.dataset_reader import DatasetReader
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    plain = DatasetReader._query_hf_dataset
    ahead = {"action": [step / 50 for step in range(8)]}
    root = demonstrations(tmp_path / "data")
    for episodes in (None, [1]):
        before = LeRobotDataset("local/rlt", root=root, delta_timestamps=ahead, episodes=episodes)
        expected = [before[row] for row in (0, 20, 29)]
        try:
            import rlt_ros.vla.lerobot_plugin.reader as plug_in

            importlib.reload(plug_in)
            fast = LeRobotDataset("local/rlt", root=root, delta_timestamps=ahead, episodes=episodes)
            for number, row in enumerate((0, 20, 29)):
                read = fast[row]
                assert read.keys() == expected[number].keys()
                for name, value in read.items():
                    if isinstance(value, torch.Tensor):
                        torch.testing.assert_close(value, expected[number][name], rtol=0, atol=0, equal_nan=True)
        finally:
            DatasetReader._query_hf_dataset = plain


@pytest.mark.parametrize("rate", [0.0, 1e-5])
def test_the_plug_in_freezes_eyes_that_learn_at_rate_zero_and_changes_nothing_else(
    saved: dict[str, Path], rate: float
) -> None:
    from lerobot.policies.act.modeling_act import ACTPolicy

    make = ACTPolicy.__init__
    config = ACTPolicy.from_pretrained(saved["act"]).config
    config.optimizer_lr_backbone = rate
    try:
        import rlt_ros.vla.lerobot_plugin.frozen as plug_in

        ACTPolicy.__init__ = make  # what the first import did
        importlib.reload(plug_in)
        policy = ACTPolicy.from_pretrained(saved["act"], config=config)
    finally:
        ACTPolicy.__init__ = make
    trained = {name for name, weight in policy.named_parameters() if weight.requires_grad}
    eyes = {name for name, _ in policy.named_parameters() if name.startswith("model.backbone.")}
    assert eyes
    assert trained == {name for name, _ in policy.named_parameters()} - (eyes if rate == 0 else set())
    tensors = load_file(saved["act"] / "model.safetensors")
    assert all(torch.equal(value, tensors[name]) for name, value in policy.state_dict().items())


def test_the_embeddings_are_those_of_a_second_pass(saved: dict[str, Path]) -> None:
    """The tap sees what the language model gives when it is asked for the prefix alone."""
    policy = loaded(saved, "smolvla")
    images, position = moment(SIDE)
    tapped = policy.infer(images, position, TASKS["plug"]).embeddings
    seen = {
        f"observation.images.{n}": torch.from_numpy(i).permute(2, 0, 1).float()[None] / 255
        for n, i in zip(CAMERAS, images, strict=True)
    }
    batch = policy.pre({**seen, "observation.state": torch.from_numpy(position)[None], "task": [TASKS["plug"]]})
    from lerobot.policies.smolvla.modeling_smolvla import make_att_2d_masks

    model = policy.policy.model
    with torch.inference_mode():
        pictures, masks = policy.policy.prepare_images(batch)
        z, pad, att = model.embed_prefix(
            pictures,
            masks,
            batch["observation.language.tokens"],
            batch["observation.language.attention_mask"],
            state=policy.policy.prepare_state(batch),
        )
        (out, _), _ = model.vlm_with_expert.forward(
            attention_mask=make_att_2d_masks(pad, att),
            position_ids=torch.cumsum(pad, dim=1) - 1,
            past_key_values=None,
            inputs_embeds=[z, None],
            use_cache=True,
        )
    torch.testing.assert_close(policy.kept(out)[0].float(), tapped)


def test_a_policy_that_was_exchanged_in_its_bundle_is_refused(saved: dict[str, Path], tmp_path: Path) -> None:
    import_lerobot(saved["pi05"], tmp_path / "bundle", "tiny", ROBOT, given(saved, "pi05"))
    for name, told in (("policy/model.safetensors", "sha256 differs"), ("tokenizer/tokenizer.json", "sha256 differs")):
        copy = Path(shutil.copytree(tmp_path / "bundle", tmp_path / Path(name).stem))
        (copy / name).write_bytes((copy / name).read_bytes() + b" ")
        with pytest.raises(BundleError, match=told):
            load_bundle(copy)


def damaged(source: Path, target: Path, change: str) -> Path:
    shutil.copytree(source, target)
    path = target / "model.safetensors"
    if change == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
        return target
    tensors = load_file(path)
    if change == "half":
        tensors = {name: value for number, (name, value) in enumerate(tensors.items()) if number % 2}
    elif change == "stranger":
        tensors["nobody.knows"] = torch.zeros(3)
    save_file(tensors, path)
    return target


@pytest.mark.parametrize("change", ["cut", "half", "stranger"])
@pytest.mark.parametrize("kind", ["act", "smolvla", "pi05"])
def test_weights_that_are_not_whole_are_refused(saved: dict[str, Path], kind: str, change: str, tmp_path: Path) -> None:
    """pi0.5's own loader swallows all of these, and serves random weights."""
    bad = damaged(saved[kind], tmp_path / "bad", change)
    how = given(saved, kind)
    with pytest.raises(BundleError, match=r"cannot be loaded|does not fit the policy"):
        load_policy(bad, vlm=how.vlm, tokenizer=how.tokenizer)


def test_another_embodiment_other_cameras_and_what_is_no_checkpoint(saved: dict[str, Path], tmp_path: Path) -> None:
    def robot(joints: tuple[str, ...], cameras: tuple[str, ...]) -> Robot:
        wide = np.zeros(2 * len(joints)), np.ones(2 * len(joints)), np.ones(len(joints))
        return Robot(Contents("other", joints, cameras, SIDE, 0.05), TASKS, Normaliser(*wide))

    act, none = saved["act"], Given({})
    with pytest.raises(BundleError, match=r"another embodiment: it moves 3 joints.*'other' has 2: a, b"):
        import_lerobot(act, tmp_path / "a", "tiny", robot(("a", "b"), CAMERAS), none)
    with pytest.raises(BundleError, match="--camera left=NAME"):
        import_lerobot(act, tmp_path / "b", "tiny", robot(("a", "b", "c"), ("wrist", "base")), none)
    made = import_lerobot(
        act, tmp_path / "c", "tiny", robot(("a", "b", "c"), ("wrist", "base")), Given({"left": "wrist"}, onnx=False)
    )
    assert made.cameras == ("wrist", "base")
    with pytest.raises(BundleError, match="is no LeRobot checkpoint"):
        load_policy(tmp_path)
    copy = Path(shutil.copytree(act, tmp_path / "vqbet"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "type": "tdmpc"}))
    with pytest.raises(BundleError, match="a 'tdmpc' policy; these can be imported"):
        load_policy(copy)
    oblong = save("act", tmp_path / "oblong", SIDE)
    config = json.loads((oblong / "config.json").read_text())
    config["input_features"]["observation.images.left"]["shape"] = [3, 48, SIDE]
    (oblong / "config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match="square ones of one size"):
        load_policy(oblong)


def test_another_models_tokenizer_is_refused(saved: dict[str, Path], tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    for count, told in ((30, r"knows 30 words, the policy \d+"), (2000, r"knows 2000 words.*--tokenizer")):
        words = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1, **{f"w{i}": i for i in range(2, count)}}, "<unk>"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        made = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")
        made.save_pretrained(tmp_path / str(count))
        with pytest.raises(BundleError, match=told):
            load_policy(saved["smolvla"], vlm=saved["smolvla"].parent / "vlm", tokenizer=tmp_path / str(count))


def test_what_only_the_hub_has_is_named(saved: dict[str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(saved["smolvla"], tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    config["vlm_model_name"] = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match="--vlm DIR"):
        load_policy(copy)
    shrink_pi()
    with pytest.raises(BundleError, match=r"--tokenizer DIR|cannot be loaded"):
        load_policy(saved["pi05"], tokenizer=tmp_path / "nowhere")
    assert paligemma_words(tmp_path / "words").is_dir()


def test_the_command_that_measures_a_policy_of_full_size() -> None:
    root = Path(__file__).parents[2]
    command = ["bench", "vla", "--policy", "act", "--device", "cpu", "--types", "float32", "--passes", "1"]
    made = subprocess.run(
        [sys.executable, "-m", "rlt_ros.cli", *command], cwd=root, capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stderr
    figures = json.loads(made.stdout.splitlines()[-1])
    assert figures["parameters"] > 50e6
    assert figures["float32"]["embeddings"][1] == 512
