"""Makes the golden fixtures with the official package, `pip install muq==0.1.0`.

    python tests/reference/make_golden.py

Written beside this script, into golden/:

    made_with.json                   versions of what computed the rest
    cases.json                       what was asked: rows, lengths, masks
    waveform.npz                     one 24 kHz recording, int16, that every case cuts its rows from
    official_large_state_dict.txt    name and shape of every tensor of the released architecture
    label_rate_25/, label_rate_50/   config.json and model.safetensors as the official package saves
                                     them, and outputs.npz: its answers to the cases
    muq_mini/outputs.npz             its answers to two of them with the checkpoint that we ship

The parameters are rounded to half precision, which the files are stored in; everything is
computed in float32, by the official package after it has loaded the files again.
"""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from muq import MuQ, MuQConfig
from transformers import Wav2Vec2ConformerConfig

GOLDEN = Path(__file__).parent / "golden"
SAMPLE_RATE_HZ = 24_000
RECORDING_SAMPLES = 51_000
SILENCE = slice(20_000, 23_000)
STATISTICS = {"melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.417922652295623}

# "starts" is where in the recording each row of the batch begins; "masked" lists (row, first
# sample, end) ranges that attention_mask excludes; None is a call without attention_mask.
CASES = {
    "shortest": {"starts": [9_000], "samples": 1_025, "masked": None},
    "one second": {"starts": [0], "samples": 24_000, "masked": None},
    "batch": {"starts": [1_234, 17_000], "samples": 33_333, "masked": None},
    "padded batch": {"starts": [1_234, 17_000], "samples": 33_333, "masked": [[1, 20_001, 33_333]]},
    "mask with holes": {
        "starts": [7],
        "samples": 50_001,
        "masked": [[0, 0, 5_000], [0, 17_000, 19_500], [0, 48_000, 50_001]],
    },
    "nothing masked": {"starts": [31_000], "samples": 12_345, "masked": []},
}
# A mel does not depend on the model, and two of them suffice.
CASES_WITH_MEL = {("label_rate_25", case) for case in ("shortest", "one second")}
SHIPPED = Path(__file__).parents[2] / "reference" / "checkpoints" / "muq-mini"
CASES_OF_SHIPPED = ("shortest", "one second")


def recording() -> np.ndarray:
    """Two decaying chords over noise, with a stretch of digital silence."""
    rng = np.random.default_rng(24)
    seconds = np.arange(RECORDING_SAMPLES) / SAMPLE_RATE_HZ
    waveform = 0.005 * rng.standard_normal(RECORDING_SAMPLES)
    for onset, notes_hz in ((0.0, (110.0, 277.2, 659.3)), (1.1, (98.0, 392.0, 2349.3))):
        since = np.maximum(seconds - onset, 0)
        envelope = np.exp(-1.5 * since) * np.minimum(since * 100, 1)
        for note_hz in notes_hz:
            waveform += 0.2 * envelope * np.sin(2 * np.pi * note_hz * since)
    waveform[SILENCE] = 0
    return np.round(waveform * 32_767).clip(-32_768, 32_767).astype(np.int16)


def encoder_config(**changes: int) -> dict:
    """Every field of the Hugging Face configuration, as the released config.json has them."""
    config = Wav2Vec2ConformerConfig(
        hidden_act="swish", position_embeddings_type="rotary", layerdrop=0.0, **changes
    )
    return json.loads(config.to_json_string(use_diff=False))


def config(**changes: object) -> MuQConfig:
    return MuQConfig(stat=STATISTICS, use_rvq_target=True, **changes)


def configs() -> dict[str, MuQConfig]:
    small = {
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
    }
    return {
        "label_rate_25": config(
            codebook_size=1024,
            conv_dim=8,
            encoder_dim=16,
            encoder_depth=12,
            w2v2_config=encoder_config(**small),
        ),
        # Beside the rate, what the released model does not use: a tokenizer whose projections
        # have three layers, and the reconstruction head.
        "label_rate_50": config(
            label_rate=50,
            codebook_size=1024,
            conv_dim=4,
            encoder_dim=16,
            encoder_depth=2,
            w2v2_config=encoder_config(**small, conv_depthwise_kernel_size=7),
            rvq_n_codebooks=1,
            rvq_multi_layer_num=3,
            recon_loss_ratio=0.1,
        ),
    }


def large() -> MuQConfig:
    encoder = encoder_config(num_attention_heads=16, intermediate_size=4096)
    return config(codebook_size=8192, w2v2_config=encoder)


@torch.no_grad()
def randomise(model: MuQ) -> None:
    """Weights with which every part of the network matters to the output."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.05, 0.3)
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d | torch.nn.LayerNorm):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
    for name, parameter in model.named_parameters():
        if name.endswith(("linear_q.weight", "linear_k.weight")):
            parameter *= 3  # so that attention is not uniform
        if name.endswith("weight_g"):
            parameter *= torch.empty_like(parameter).uniform_(0.5, 1.5)
        parameter.copy_(parameter.half())


def save(model: MuQ, folder: Path) -> None:
    for parameter in model.parameters():
        parameter.data = parameter.data.half()
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    (folder / "README.md").unlink()  # a model card, which is no part of the checkpoint


@torch.no_grad()
def answers(model: MuQ, case: dict, samples: np.ndarray) -> dict[str, np.ndarray]:
    rows = [samples[start : start + case["samples"]] for start in case["starts"]]
    waveform = torch.from_numpy(np.stack(rows).astype(np.float32) / 32_768)
    mask = None
    if case["masked"] is not None:
        mask = torch.ones(waveform.shape, dtype=torch.long)
        for row, first, end in case["masked"]:
            mask[row, first:end] = 0
    states = model(waveform, attention_mask=mask).hidden_states
    mel = model.model.normalize(model.model.preprocessing(waveform, ["melspec_2048"]))
    log_mel = mel["melspec_2048"]
    # The official rearrangement wants whole steps.
    whole = log_mel.shape[-1] // model.model.n_fold * model.model.n_fold
    stacked = model.model.rearrange({"melspec_2048": log_mel[..., :whole]})["melspec_2048"]
    tokens = model.model.get_rvq_codes(stacked.permute(0, 2, 1), None)
    return {
        "hidden_states": torch.stack(states).numpy(),
        "log_mel": log_mel.numpy(),
        "tokens": tokens.numpy().astype(np.int16),
    }


def make_model(name: str, model_config: MuQConfig, samples: np.ndarray) -> None:
    folder = GOLDEN / name
    torch.manual_seed(0)
    model = MuQ(model_config)
    randomise(model)
    save(model, folder)
    model = MuQ.from_pretrained(folder).float().eval()
    outputs = {}
    for case_name, case in CASES.items():
        for key, value in answers(model, case, samples).items():
            if key == "log_mel" and (name, case_name) not in CASES_WITH_MEL:
                continue
            outputs[f"{case_name}/{key}"] = value
    np.savez_compressed(folder / "outputs.npz", **outputs)


def record_shipped(samples: np.ndarray) -> None:
    model = MuQ.from_pretrained(SHIPPED).float().eval()
    outputs = {
        f"{case}/{key}": value
        for case in CASES_OF_SHIPPED
        for key, value in answers(model, CASES[case], samples).items()
        if key != "log_mel"
    }
    (GOLDEN / "muq_mini").mkdir(exist_ok=True)
    np.savez_compressed(GOLDEN / "muq_mini" / "outputs.npz", **outputs)


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    names = ("muq", "torch", "torchaudio", "transformers", "huggingface_hub", "numpy")
    made_with = {"python": platform.python_version(), **{name: version(name) for name in names}}
    (GOLDEN / "made_with.json").write_text(json.dumps(made_with, indent=2) + "\n")
    (GOLDEN / "cases.json").write_text(json.dumps(CASES, indent=2) + "\n")
    samples = recording()
    np.savez_compressed(GOLDEN / "waveform.npz", samples=samples)
    for name, model_config in configs().items():
        make_model(name, model_config, samples)
    record_shipped(samples)
    state = MuQ(large()).state_dict()
    lines = [f"{name} {tuple(tensor.shape)}\n" for name, tensor in sorted(state.items())]
    (GOLDEN / "official_large_state_dict.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
