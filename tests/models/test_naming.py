import pytest

from effpath.models.predict import output_names


class Named:
    classes = ("n03028079", "b")


def test_the_models_own_names_come_first_where_they_are_as_many_as_the_outputs():
    assert output_names(Named(), 3, ["x", "y", "z"]) == ("x", "y", "z")
    assert output_names(Named(), 2, ["x", "y"])[1] == "b"
    assert output_names(object(), 3, ["x"]) == ("x", "", "")


def test_imagenets_ids_are_put_in_words():
    pytest.importorskip("timm")
    assert output_names(Named(), 2) == ("church", "b")
    assert output_names(object(), 2, ["n99999999", "n01443537"]) == ("n99999999", "goldfish")


def test_imagenets_thousand_outputs_are_all_named_where_some_of_their_ids_stand_at_their_places():
    pytest.importorskip("timm")
    names = [""] * 1000
    names[497] = "n03028079"
    assert output_names(object(), 1000, names)[1] == "goldfish"
    names[1] = "n03028079"
    assert output_names(object(), 1000, names)[0] == ""
