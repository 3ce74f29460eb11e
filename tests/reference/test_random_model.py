"""Models from a seed."""

import torch
from torch import nn

from muqrt.reference.muq import MuQ
from muqrt.reference.random_model import TINY, random_model


def test_the_seed_decides(tiny: MuQ) -> None:
    again, other = random_model(TINY), random_model(TINY, seed=1)
    for name, tensor in tiny.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert not torch.equal(tiny.model.cls_token, other.model.cls_token)
    assert not tiny.training


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    random_model(TINY)
    assert torch.equal(torch.rand(3), expected)


def test_no_norm_is_the_identity(tiny: MuQ) -> None:
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)
    for module in tiny.modules():
        if isinstance(module, norms):
            assert (module.weight != 1).any() and module.bias.any()
        if isinstance(module, norms[:2]):
            assert module.running_mean.any() and (module.running_var != 1).any()
