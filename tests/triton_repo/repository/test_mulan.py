"""A MuQ-MuLan's bundle as models: each file once, the smallest graphs, a check that knows all."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from muqrt.cli.serve import commands
from muqrt.common.files import sha256
from muqrt.errors import BundleError
from muqrt.runtime.bundle.manifest import Bundle, load_bundle
from muqrt.triton_repo.contract.config import parameters_of, parse_config
from muqrt.triton_repo.contract.mulan import WORDS
from muqrt.triton_repo.contract.options import QueuePolicy, ServingOptions
from muqrt.triton_repo.repository.check import check_repository
from muqrt.triton_repo.repository.layout import layout_of
from muqrt.triton_repo.repository.machine import Machine
from muqrt.triton_repo.repository.mulan import (
    JointNames,
    load_words,
    write_joint_repository,
)
from muqrt.triton_repo.repository.write import write_repository

BESIDE = ["mulan_audio", "mulan_text", "mulan_text_tower", "zeroshot"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands, ["repository", *map(str, arguments)])


@pytest.fixture
def bundle(mulan_bundle: Path) -> Bundle:
    return load_bundle(mulan_bundle)


@pytest.fixture
def models(bundle: Bundle, tmp_path: Path) -> Path:
    write_repository(bundle, tmp_path / "models")
    write_joint_repository(bundle, tmp_path / "models")
    return tmp_path / "models"


def problems(models: Path, bundle: Bundle, model: str) -> list[str]:
    checks = check_repository(models, bundle, Machine())
    return next(each.problems for each in checks if each.model == model)


def test_the_command_writes_them_beside_muq(bundle: Bundle, tmp_path: Path) -> None:
    written = run(bundle.folder, "-o", tmp_path, "--json")
    assert written.exit_code == 0, written.output
    assert sorted(each["model"] for each in json.loads(written.output)["joint"]) == BESIDE
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(["muq", "muq.toml", *BESIDE])
    assert run(bundle.folder, "--check", tmp_path).exit_code == 0


def test_beside_another_name_they_have_others(bundle: Bundle, tmp_path: Path) -> None:
    assert run(bundle.folder, "-o", tmp_path, "--model", "b", "--threads", 1).exit_code == 0
    names = sorted(f"b_{name}" for name in BESIDE)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["b", "b.toml", *names]
    assert all(each.ok for each in check_repository(tmp_path, bundle, Machine()))
    assert vars(JointNames.beside("muq")) == vars(JointNames())


def test_graphs_are_links_and_the_smallest(models: Path, bundle: Bundle) -> None:
    for place, name in (
        ("muq/1/model.onnx", "muq-without-latents.onnx"),
        ("mulan_audio/1/model.onnx", "muq.onnx"),
        ("mulan_text_tower/1/model.onnx", "mulan_text.onnx"),
        ("mulan_text/1/tokenizer.json", "tokenizer.json"),
        ("zeroshot/1/tokenizer.json", "tokenizer.json"),
    ):
        assert (models / place).samefile(bundle.path(name))
    assert [each.name for each in (models / "mulan_audio" / "1").iterdir()] == ["model.onnx"]


def test_the_words_that_were_learned_come_along(
    worded_bundle: Path, mulan_bundle: Path, tmp_path: Path
) -> None:
    for folder, has_words in ((worded_bundle, True), (mulan_bundle, False)):
        bundle, models = load_bundle(folder), tmp_path / folder.name
        write_joint_repository(bundle, models)
        assert all(each.ok for each in check_repository(models, bundle, Machine()))
        for name in ("mulan_text", "zeroshot"):
            message = parse_config((models / name / "config.pbtxt").read_text())
            assert ("unlearned" in [each.name for each in message.output]) is has_words
            parameters = dict(parameters_of(message))
            words = load_words(models / name / "1", parameters)
            assert (words is not None) is has_words
    assert words is None
    remove("worded/zeroshot/1/words.txt")(tmp_path)
    bundle, models = load_bundle(worded_bundle), tmp_path / "worded"
    assert any("words.txt is missing" in each for each in problems(models, bundle, "zeroshot"))
    with pytest.raises(BundleError, match=r"words\.txt is missing or has changed"):
        load_words(models / "zeroshot" / "1", {WORDS: bundle.files["words.txt"]})


def test_a_graph_brings_the_external_data_that_graphs_share(bundle: Bundle) -> None:
    artefact = bundle.artefact()
    more = {"muq.onnx.data": "0" * 64, "tokens.onnx": "1" * 64}
    artefact = artefact.model_copy(update={"files": artefact.files | more})
    tokens = artefact.outputs[0].model_copy(update={"name": "tokens"})
    artefact = artefact.model_copy(update={"outputs": [*artefact.outputs, tokens]})

    def places(*outputs: str) -> dict[str, str]:
        return dict(layout_of(bundle, artefact, outputs).sources)

    data, plain = {"muq.onnx.data": "muq.onnx.data"}, "muq-without-latents.onnx"
    assert places("latents") == data | {"model.onnx": "muq.onnx"}
    assert places("embedding") == data | {"model.onnx": plain}
    assert places("tokens") == data | {"model.onnx": "tokens.onnx"}
    both = data | {"model.onnx": plain, "tokens.onnx": "tokens.onnx"}
    assert places("tokens", "features") == places() == both


def test_options_are_for_both_towers_but_for_what_is_not_for_texts(
    bundle: Bundle, tmp_path: Path
) -> None:
    options = ServingOptions(
        max_batch_size=128,
        preferred_batch_sizes=(100,),
        lengths_seconds=(3,),
        outputs=("features",),
        bulk_queue=QueuePolicy(max_size=7),
        version=3,
    )
    write_joint_repository(bundle, tmp_path, options=options)
    for name, batch, preferred in (("mulan_audio", 128, [100]), ("mulan_text_tower", 64, [])):
        message = parse_config((tmp_path / name / "config.pbtxt").read_text())
        assert message.max_batch_size == batch
        assert list(message.dynamic_batching.preferred_batch_size) == preferred
        assert message.dynamic_batching.priority_queue_policy[2].max_queue_size == 7
        assert [each.name for each in message.output] == ["latents"]
        assert (tmp_path / name / "3" / "model.onnx").is_file()
        lengths = {"mulan_audio": "[240000]", "mulan_text_tower": "[]"}[name]
        assert parameters_of(message)["muqrt.lengths"] == lengths
        assert len(message.model_warmup) == 1
    assert all(each.ok for each in check_repository(tmp_path, bundle, Machine()))


def replace_in(place: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(models: Path) -> None:
        text = (models / place).read_text()
        assert old in text
        (models / place).unlink()  # it may be a link
        (models / place).write_text(text.replace(old, new))

    return edit


def remove(place: str) -> Callable[[Path], None]:
    return lambda models: (models / place).unlink()


@pytest.mark.parametrize(
    ("model", "spoil", "why"),
    [
        ("zeroshot", replace_in("zeroshot/1/model.py", "from", "FROM"), "model.py has changed"),
        ("zeroshot", replace_in("zeroshot/1/tokenizer.json", "{", "{ "), "tokenizer.json has ch"),
        ("zeroshot", remove("zeroshot/1/tokenizer.json"), "tokenizer.json is missing"),
        ("zeroshot", replace_in("zeroshot/config.pbtxt", "10.0", "9.0"), "muqrt.audio_tower is"),
        ("zeroshot", replace_in("zeroshot/config.pbtxt", "mulan_audio", "muq"), "the model muq"),
        ("zeroshot", replace_in("zeroshot/config.pbtxt", "_audio", "_x"), "mulan_x that it calls"),
        ("zeroshot", remove("mulan_audio/config.pbtxt"), "mulan_audio that it calls is missing"),
        ("zeroshot", replace_in("zeroshot/config.pbtxt", '{\\"model', "{"), "cannot be read"),
        ("mulan_text", remove("mulan_text/1/model.py"), "model.py is missing"),
        ("mulan_text", replace_in("mulan_text/config.pbtxt", "FP32", "FP64"), "output is not what"),
        ("mulan_text_tower", remove("mulan_text_tower/1/model.onnx"), "model.onnx is missing"),
        ("mulan_audio", lambda m: (m / "mulan_audio/1/muq.onnx").write_text(""), "not in the bun"),
    ],
)
def test_what_was_changed_is_named(
    models: Path, bundle: Bundle, model: str, spoil: Callable[[Path], object], why: str
) -> None:
    assert not problems(models, bundle, model)
    spoil(models)
    found = problems(models, bundle, model)
    assert any(re.search(why, each) for each in found), found


def test_label_sets_are_the_operators_to_change(models: Path, bundle: Bundle) -> None:
    sets = models / "zeroshot" / "1" / "label_sets"
    sets.mkdir()
    (sets / "moods.txt").write_text("happy")
    (sets / "genres.json").write_text("{}")
    assert not problems(models, bundle, "zeroshot")
    (sets / "other.py").write_text("")
    assert "label_sets/other.py is not in the bundle" in problems(models, bundle, "zeroshot")[0]


def test_what_cannot_be_served_is_refused(
    bundle: Bundle, tiny_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="knows no texts"):
        write_joint_repository(load_bundle(tiny_bundle), tmp_path)
    deaf = bundle.model_copy()
    hearing = bundle.artefact()
    without = hearing.model_copy(update={"outputs": hearing.outputs[:1]})
    deaf.artefacts = [without, *bundle.artefacts[1:]]
    with pytest.raises(BundleError, match="gives no latents"):
        write_joint_repository(deaf, tmp_path, allow_uncertified=True)
    refused = run(tiny_bundle, "-o", tmp_path, "--label-sets", tmp_path)
    assert "'onnx-fp32' gives no latents" in str(refused.exception)
    assert not list(tmp_path.iterdir())


def test_another_tokenizer_is_not_served(mulan_copy: Path, tmp_path: Path) -> None:
    bundle = load_bundle(mulan_copy)
    path = mulan_copy / "tokenizer.json"
    path.write_text(path.read_text() + " ")
    assert bundle.joint is not None
    assert sha256(path) != bundle.joint.tokenizer_sha256
    with pytest.raises(BundleError, match=r"tokenizer\.json has changed"):
        write_joint_repository(bundle, tmp_path / "models")
    assert not (tmp_path / "models" / "mulan_text").exists()
