"""Which sites stay float32."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muqrt.export.quantize.int8.artefact import Calibrated
from muqrt.export.quantize.int8.sensitivity import Allowed, Sensitivity, chosen
from muqrt.export.quantize.int8.sites import FRONT_END, Site, sites
from muqrt.reference.random_model import LARGE, random_model

from .conftest import LEVEL


def measured(cosine: float, distance: float, macs: int = 1) -> Sensitivity:
    return Sensitivity(Site("site", (), 0, macs), cosine, distance)


def test_errors_add_up() -> None:
    allowed = Allowed(0.99, 0.1)
    assert allowed.used([]) == 0
    assert allowed.used([measured(0.999, 0)] * 5) == pytest.approx(0.5)
    assert allowed.used([measured(1, 0.06), measured(1, 0.08)]) == pytest.approx(1)


def test_tags_count_where_they_were_measured() -> None:
    harmless = Sensitivity(Site("site", (), 0, 1), 1, 0, 0.003)
    assert Allowed(0.99, 0.1, 0.005).used([harmless] * 4) == pytest.approx(4 * 0.36)
    assert Allowed(0.99, 0.1).used([harmless] * 4) == 0


def test_what_costs_most_for_its_work_is_left_out() -> None:
    cheap, dear = measured(0.996, 0, macs=100), measured(0.996, 0, macs=1)
    harmless = measured(1, 0, macs=1)
    assert chosen([cheap, dear, harmless], Allowed(0.99, 0.1), 0.5) == [cheap, harmless]


def test_what_is_left_out_last_may_leave_room_for_others() -> None:
    # The small ones are dearer for their work, but without the large one they are allowed.
    small = [measured(1, distance, macs=1) for distance in (0.05, 0.04, 0.01)]
    large = measured(1, 0.09, macs=100)
    allowed = Allowed(0.99, 0.1)
    assert chosen([*small, large], allowed, 0.8) == small
    assert chosen([*small, large], allowed, 0.2) == small[1:]


@given(st.lists(st.tuples(st.floats(0.9, 1), st.floats(0, 0.3), st.integers(1, 9)), max_size=8))
@settings(max_examples=50, deadline=None)
def test_what_is_chosen_is_allowed(figures: list[tuple[float, float, int]]) -> None:
    allowed = Allowed(0.99, 0.08)
    everything = [measured(*each) for each in figures]
    found = chosen(everything, allowed, 0.8)
    assert allowed.used(found) <= 0.8
    assert set(found) <= set(everything)
    if allowed.used(everything) <= 0.8:
        assert found == everything


def test_every_site_is_measured(calibrated: Calibrated) -> None:
    names = [each.site.name for each in calibrated.sensitivities]
    assert names == [site.name for site in sites(calibrated.model, LEVEL)]
    assert all(0 < each.relative_l2 < 0.5 for each in calibrated.sensitivities)


def test_the_released_model_is_counted_as_published() -> None:
    """10 s are 250 steps: 136 GMAC in the front end and 75 in the encoder, by the paper's shapes;
    the first block's two convolutions of one channel, attention and depthwise are not here."""
    found = {site.name: site.macs_per_step for site in sites(random_model(LARGE), 12)}
    front_end = 250 * found[FRONT_END] / 1e9
    encoder = 250 * sum(n for name, n in found.items() if name.startswith("conformer")) / 1e9
    assert front_end == pytest.approx(136, abs=1)
    assert 72 < encoder < 75
