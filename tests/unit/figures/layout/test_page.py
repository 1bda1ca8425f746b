"""Furniture of a page: round scale bars, shortened names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from connectome.figures.layout.page import (
    create_page,
    measure_text_mm,
    round_bar_length,
    shorten,
    use_style,
    write_text,
)


def test_known_scale_bars():
    lengths = [round_bar_length(limit) for limit in (0.0437, 0.2, 0.99, 1.0, 1.99, 7.3)]
    assert lengths == [0.02, 0.2, 0.5, 1.0, 1.0, 5.0]


@given(st.floats(1e-4, 1e4))
def test_a_scale_bar_is_round_and_fills_its_room(limit):
    length = round_bar_length(limit)
    assert length <= limit * (1 + 1e-6)
    assert length > limit / 2.51
    assert f"{length:.0e}"[0] in "125"


@given(st.text(max_size=60), st.integers(3, 40))
def test_shortened_text_keeps_both_ends(text, length):
    short = shorten(text, length)
    assert len(short) <= length
    assert short == text if len(text) <= length else short.endswith(text[-1])


@pytest.mark.parametrize("text", ["12345678", "RMDDR", "107 → 138; 153; 154", "日本"])
@pytest.mark.filterwarnings("ignore:Glyph .* missing")
def test_a_line_is_as_wide_as_it_is_drawn(text):
    figure = create_page(20.0)
    written = use_style(write_text)(figure, 0.0, 10.0, text, size=6.0)
    FigureCanvasAgg(figure).draw()
    drawn = written.get_window_extent().width / figure.dpi * 25.4
    assert measure_text_mm(text, 6.0) == pytest.approx(drawn, rel=0.05)
