"""The linear layer against the sum it stands for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="pip install 'muqrt[torch]'")

from muqrt.runtime.engines.pytorch.encoder import Linear  # noqa: E402

SIZES = st.integers(1, 37)


@settings(max_examples=12, deadline=None)
@given(batch=SIZES, steps=SIZES, inputs=SIZES, outputs=SIZES, bias=st.booleans())
def test_it_is_a_product_and_a_sum(
    batch: int, steps: int, inputs: int, outputs: int, bias: bool
) -> None:
    torch.manual_seed(0)
    x, layer = torch.randn(steps, batch, inputs).transpose(0, 1), Linear(inputs, outputs, bias)
    expected = torch.einsum("bsi,oi->bso", x.double(), layer.weight.double())
    if bias:
        expected = expected + layer.bias.double()
    with torch.inference_mode():
        found = layer(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
