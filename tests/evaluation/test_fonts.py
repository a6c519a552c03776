"""Names with Chinese letters: the font that is found for them, what is told where there is none, and no flood of warnings."""

import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import ImageFont

from paddle_cls.data import quality
from paddle_cls.errors import UserError
from paddle_cls.evaluation import drawing, plots
from paddle_cls.formats import fonts

SERIF = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSerif.ttf"       # stands for a font with Chinese letters


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """The only folder with fonts that this machine has; empty."""
    monkeypatch.delenv(fonts.VARIABLE, raising=False)
    monkeypatch.setattr(fonts, "folders", lambda: [tmp_path])
    monkeypatch.setattr(fonts, "_told", set())
    return tmp_path


def test_the_best_known_font_is_found_below_the_folders(installed):
    (installed / "deep").mkdir()
    for name in ("simhei.ttf", "deep/NotoSansCJK-Bold.ttc", "deep/NotoSansCJK-Regular.ttc", "Other.ttf"):
        shutil.copy(SERIF, installed / name)
    assert fonts.find() == installed / "deep/NotoSansCJK-Regular.ttc"
    assert fonts.for_names(["cat", "犬"]) == fonts.find() and fonts.for_names(["cat", "né", "Ω"]) is None


@pytest.mark.filterwarnings("error::UserWarning")
def test_charts_take_the_font_where_a_name_needs_it(installed, capsys):
    shutil.copy(SERIF, installed / "wqy-microhei.ttf")
    for names, families in ((["狗", "b"], ["sans-serif", "DejaVu Serif"]), (["a", "b"], ["sans-serif"])):
        assert drawing.families(names) == families
        figure = plots.confusion_chart(np.eye(2, dtype=int), names)
        assert figure.axes[0].get_xticklabels()[0].get_fontfamily() == families
        plots.pixels(figure)
        assert drawing.figure_png(figure).startswith(b"\x89PNG")
    assert capsys.readouterr().err == ""


@pytest.mark.filterwarnings("error::UserWarning")
def test_one_line_names_the_remedy_where_there_is_no_font(installed, capfd):
    for _ in range(2):
        plots.pixels(plots.confusion_chart(np.eye(2, dtype=int), ("狗", "b")))
    assert capfd.readouterr().err == (
        "no font for '狗' is installed, so that pictures show boxes in its place; install Noto Sans CJK (Debian, Ubuntu: "
        "apt-get install fonts-noto-cjk), or name a font file with PADDLE_CLS_FONT\n")


def test_a_font_of_ones_own_is_named_by_a_variable(installed, monkeypatch):
    monkeypatch.setenv(fonts.VARIABLE, str(SERIF))
    assert drawing.families(["狗"])[-1] == "DejaVu Serif"
    broken = installed / "broken.ttf"
    broken.write_text("no font")
    monkeypatch.setenv(fonts.VARIABLE, str(broken))
    with pytest.raises(UserError, match="broken.ttf: no font that can be read: .*; name another with PADDLE_CLS_FONT"):
        drawing.families(["狗"])
    monkeypatch.setenv(fonts.VARIABLE, "none.ttf")
    with pytest.raises(UserError, match="PADDLE_CLS_FONT=none.ttf: is no file; name a .ttf, .otf or .ttc font"):
        fonts.for_names(["狗"])


def test_a_contact_sheet_is_lettered_in_the_font_too(installed, monkeypatch):
    from types import SimpleNamespace
    asked = []
    whole = ImageFont.truetype
    monkeypatch.setattr(quality.ImageFont, "truetype", lambda font, size, **more: asked.append(font) or whole(font, size, **more))
    shutil.copy(SERIF, installed / "simhei.ttf")
    for name in ("cat", "猫"):
        none = SimpleNamespace(labels=np.zeros(0, int), images=None)
        assert np.asarray(quality.contact_sheet(SimpleNamespace(classes=[name], train=none))).min() < 128
    assert [Path(font).name for font in asked if "simhei" in str(font)] == ["simhei.ttf"]
