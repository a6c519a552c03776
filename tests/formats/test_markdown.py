"""Markdown tables."""

from paddle_cls.formats import markdown


def test_a_table_has_a_head_and_a_bar_in_a_cell_ends_no_cell():
    assert markdown.table([["a", "b"], [1, "x|y"]]) == "| a | b |\n| --- | --- |\n| 1 | x\\|y |"
    assert markdown.head(["a"]) == "| a |\n| --- |"
