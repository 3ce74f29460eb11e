"""Makes the golden fixtures of MuQ-MuLan with the official package, `pip install muq==0.1.0`.

    python tests/reference/make_mulan_golden.py

Written into golden/, beside what make_golden.py wrote and from its recording:

    mulan_cases.json                      what was asked: rows of audio, batches of texts
    official_mulan_large_state_dict.txt   every tensor of the released architecture
    mulan_projected/, mulan_plain/        a checkpoint as the official package saves it, the two
                                          encoders' configurations and the tokenizer below it, and
                                          outputs.npz: the official answers
    muq_mulan_mini/outputs.npz            the same for the checkpoint that we ship, of one piece of
                                          audio and all texts
    contrastive.npz                       embeddings and their official loss

The parameters are rounded to half precision, as in make_golden.py. The tokenizer is a small one
of XLM-RoBERTa's kind, trained here.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from make_golden import GOLDEN, SAMPLE_RATE_HZ, config, encoder_config, large, randomise, save
from muq import MuQ, MuQConfig, MuQMuLan
from muq.muq_mulan.modules.contrastive import RankSoftmaxContrastiveLearning
from muq.muq_mulan.modules.transformer import Attention, LayerNorm
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizerFast

SHIPPED = Path(__file__).parents[2] / "reference" / "checkpoints" / "muq-mulan-mini"
AUDIO_OF_SHIPPED = ("a clip",)
VOCABULARY = 256
# "starts" is where in the recording, repeated without end, each row begins.
CASES = {
    "audio": {
        "under half a clip": {"starts": [9_000], "samples": 40_001},
        "under a clip": {"starts": [1_234, 17_000], "samples": 7 * SAMPLE_RATE_HZ},
        "a clip": {"starts": [0], "samples": 10 * SAMPLE_RATE_HZ},
        "two and a half clips": {"starts": [123], "samples": 25 * SAMPLE_RATE_HZ},
    },
    "texts": {
        "one": ["classical genres, hopeful mood, piano."],
        "of different lengths": [
            "piano",
            "a slow song with a violin and a piano, hopeful, for a walk by the sea",
            "一首适合海边的小提琴曲,节奏欢快",
            "",
            "ÜNKNOWN ß 🎻",
        ],
    },
}
SENTENCES = [
    *(text for texts in CASES["texts"].values() for text in texts[:3]),
    "a fast song with drums and a loud guitar",
    "钢琴曲,节奏缓慢",
]


def train_tokenizer(path: Path) -> None:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=160, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(path), pretty=False)


def muq_config() -> MuQConfig:
    return config(
        codebook_size=32,
        conv_dim=4,
        encoder_dim=16,
        encoder_depth=3,
        rvq_n_codebooks=1,
        w2v2_config=encoder_config(
            num_attention_heads=2,
            intermediate_size=32,
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=4,
        ),
    )


def text_config() -> XLMRobertaConfig:
    return XLMRobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=66,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )


def mulan_config(audio: dict, text_dim: int | None, text_width: int, dim_latent: int) -> dict:
    shape = {"tf_depth": 2, "heads": 2, "dim_head": 8, "attn_dropout": 0.0, "ff_dropout": 0.0}
    return {
        "mulan": {
            "sr": SAMPLE_RATE_HZ,
            "clip_secs": 10,
            "dim_latent": dim_latent,
            "decoupled_contrastive_learning": True,
            "hierarchical_contrastive_loss": False,
            "hierarchical_contrastive_loss_layers": None,
            "sigmoid_contrastive_loss": False,
            "rank_contrast": True,
        },
        "audio_model": {"name": "muq", **audio},
        "text_model": {"name": "xlm-roberta", "model_dim": text_dim, "use_layer_idx": -1},
        "audio_transformer": {"dim": 20, "ff_mult": 4, **shape},
        "text_transformer": {"dim": text_width, "ff_mult": 3, "max_seq_len": 1024, **shape},
    }


def configs() -> dict[str, dict]:
    return {
        "mulan_projected": mulan_config({"model_dim": 16, "use_layer_idx": -1}, 24, 20, 12),
        # As released: the text encoder's states are not projected. Another hidden state of the MuQ.
        "mulan_plain": mulan_config({"model_dim": 16, "use_layer_idx": 2}, None, 24, 8),
    }


def large_config() -> dict:
    shape = {"dim": 768, "tf_depth": 8, "heads": 8, "dim_head": 64, "ff_mult": 4}
    document = mulan_config({"model_dim": 1024, "use_layer_idx": -1}, None, 768, 512)
    return {**document, "audio_transformer": shape, "text_transformer": shape}


@torch.no_grad()
def randomise_towers(model: MuQMuLan) -> None:
    for module in model.modules():
        if isinstance(module, LayerNorm):
            module.learned_gamma.uniform_(0.5, 1.5)
        if isinstance(module, Attention):
            module.q_scale.uniform_(0.5, 1.5)
            module.k_scale.uniform_(0.5, 1.5)
    embeddings = model.mulan.text.model.embeddings
    # Rows that stand for padding are zero only until they are trained.
    embeddings.word_embeddings.weight[1].normal_(0, 0.5)
    embeddings.position_embeddings.weight[1].normal_(0, 0.5)
    for name, parameter in model.mulan.text.model.named_parameters():
        if name.endswith(("query.weight", "key.weight", "embeddings.weight")):
            parameter *= 10  # initial weights of 0.02 would make texts too much alike


@torch.no_grad()
def answers(
    model: MuQMuLan, samples: np.ndarray, audio: tuple[str, ...] = tuple(CASES["audio"])
) -> dict[str, np.ndarray]:
    found = {}
    for name in audio:
        case = CASES["audio"][name]
        rows = [np.resize(np.roll(samples, -start), case["samples"]) for start in case["starts"]]
        waveform = torch.from_numpy(np.stack(rows).astype(np.float32) / 32_768)
        found[f"audio/{name}"] = model(wavs=waveform)
        together = model.extract_audio_latents(waveform, parallel_processing=True)
        torch.testing.assert_close(found[f"audio/{name}"], together)
    for name, texts in CASES["texts"].items():
        tokens = model.mulan.text.tokenizer(texts, return_tensors="pt", padding=True)
        found[f"texts/{name}/ids"] = tokens["input_ids"]
        found[f"texts/{name}/mask"] = tokens["attention_mask"]
        found[f"texts/{name}/together"] = model(texts=texts)
        found[f"texts/{name}/alone"] = torch.cat([model(texts=[text]) for text in texts])
    return {name: tensor.numpy() for name, tensor in found.items()}


def make_model(name: str, document: dict, samples: np.ndarray) -> None:
    """In a folder where both encoders are found under their names."""
    folder = GOLDEN / name
    torch.manual_seed(0)
    MuQ(muq_config()).save_pretrained("muq")
    XLMRobertaModel(text_config()).save_pretrained("xlm-roberta")
    train_tokenizer(Path("tokenizer.json"))
    XLMRobertaTokenizerFast(tokenizer_file="tokenizer.json").save_pretrained("xlm-roberta")
    model = MuQMuLan(document)
    randomise_towers(model)
    randomise(model)
    save(model, folder)
    for file in ("muq/config.json", "xlm-roberta/config.json", "xlm-roberta/tokenizer.json"):
        (folder / file).parent.mkdir(exist_ok=True)
        shutil.copyfile(file, folder / file)
    model = MuQMuLan.from_pretrained(folder).float().eval()
    np.savez_compressed(folder / "outputs.npz", **answers(model, samples))


def record_shipped(samples: np.ndarray) -> None:
    """In a folder where both encoders are found under their names, with any weights."""
    text = SHIPPED / "xlm-roberta"
    MuQ(MuQConfig(**json.loads((SHIPPED / "muq" / "config.json").read_text()))).save_pretrained(
        "muq"
    )
    XLMRobertaModel(XLMRobertaConfig.from_json_file(text / "config.json")).save_pretrained(
        text.name
    )
    tokenizer = XLMRobertaTokenizerFast(tokenizer_file=str(text / "tokenizer.json"))
    tokenizer.save_pretrained(text.name)
    model = MuQMuLan.from_pretrained(SHIPPED).float().eval()
    folder = GOLDEN / "muq_mulan_mini"
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "outputs.npz", **answers(model, samples, AUDIO_OF_SHIPPED))


def record_large_names() -> None:
    base = XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1)
    muq, text = MuQ(large()), XLMRobertaModel(base)
    with (
        patch.object(MuQ, "from_pretrained", lambda *_, **__: muq),
        patch.object(XLMRobertaModel, "from_pretrained", lambda *_, **__: text),
    ):
        state = MuQMuLan(large_config()).state_dict()
    lines = [f"{name} {tuple(tensor.shape)}\n" for name, tensor in sorted(state.items())]
    (GOLDEN / "official_mulan_large_state_dict.txt").write_text("".join(lines))


def record_loss() -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{Path('rendezvous').absolute()}", rank=0, world_size=1
    )
    torch.manual_seed(0)
    audio, text = torch.nn.functional.normalize(torch.randn(2, 7, 12), dim=-1)
    loss = RankSoftmaxContrastiveLearning(decoupled_contrastive_learning=True)
    with torch.no_grad():
        loss.temperatures += 0.3
        value = loss(audio, text)
    np.savez_compressed(
        GOLDEN / "contrastive.npz",
        audio=audio.numpy(),
        text=text.numpy(),
        temperatures=loss.temperatures.detach().numpy(),
        loss=value.numpy(),
    )


def main() -> None:
    text = json.dumps(CASES, indent=2, ensure_ascii=False)
    (GOLDEN / "mulan_cases.json").write_text(text + "\n", encoding="utf-8")
    samples = np.load(GOLDEN / "waveform.npz")["samples"]
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        for name, document in configs().items():
            make_model(name, document, samples)
        record_shipped(samples)
        record_loss()
    record_large_names()


if __name__ == "__main__":
    main()
