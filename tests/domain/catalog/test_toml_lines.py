import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.catalog.toml_lines import dotted, key_lines
from tests.domain.few_examples import few_examples

TEXT = '''\
# [not.a.header]
title = "a # b"   # key = "no"
[ defaults ]
policy = 'strict'

[products."pdt team".more]   # [no]
deep = """
[inside.a.string]
key = 1
ends in a quote""""
raw = \'\'\'
[also.inside] \'\'\'
[products.'pdt.x']
included = { full = 5, "a b" = { c = [ 1, { d = 2 } ] } }
addons . adn_seat = { full = 1 }
addons."adn \\u00e9" = {}
list = [   # one
  "x]", # two ]
  { inner = 1 },
]
when = 1979-05-27 07:32:00
[[many]]
first = 1
[[many]]
second = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("defaults",), 3),
        (("defaults", "policy"), 4),
        (("products",), 6),
        (("products", "pdt team", "more"), 6),
        (("products", "pdt team", "more", "deep"), 7),
        (("products", "pdt team", "more", "raw"), 11),
        (("products", "pdt.x"), 13),
        (("products", "pdt.x", "included"), 14),
        (("products", "pdt.x", "included", "full"), 14),
        (("products", "pdt.x", "included", "a b", "c"), 14),
        (("products", "pdt.x", "addons", "adn_seat"), 15),
        (("products", "pdt.x", "addons", "adn_seat", "full"), 15),
        (("products", "pdt.x", "addons", "adn é"), 16),
        (("products", "pdt.x", "list"), 17),
        (("products", "pdt.x", "list", "inner"), 19),
        (("products", "pdt.x", "when"), 21),
        (("many",), 22),
        (("many", "first"), 23),
        (("many", "second"), 25),
    ],
)
def test_a_key_is_found_on_its_line_however_it_is_written(path, line):
    assert key_lines(TEXT)[path] == line


def test_only_keys_are_found():
    assert {path[0] for path in key_lines(TEXT)} == {"title", "defaults", "products", "many"}


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "\r\n# carriage returns\r\n"])
def test_a_text_without_keys_has_no_lines(text):
    assert key_lines(text) == {}


def test_carriage_returns_do_not_change_line_numbers():
    assert key_lines("a = 1\r\n\r\n[b]\r\nc = 'x'\r\n") == {("a",): 1, ("b",): 3, ("b", "c"): 4}


@pytest.mark.parametrize("text", ["a", "a = ", "a = {", "a = [1, ", "[a", "= 1"])
def test_text_that_is_not_toml_raises_an_error(text):
    with pytest.raises(ValueError, match="not valid TOML"):
        key_lines(text)


VALUES = st.sampled_from(
    [
        "1",
        "true",
        '"#"',
        "'[x]'",
        '"a \\" = b"',
        '"""\n[x]\n"""',
        "'''\ny = 1'''",
        "[ 1,\n 2 ]",
        "1979-05-27",
        "{}",
        '""',
    ]
)
KEYS = st.sampled_from(["a", "b", "c-d", "1", '"quoted # key"', "'lit.eral'", '"\\u00e9"'])
PAIRS = st.tuples(st.lists(KEYS, min_size=1, max_size=3), VALUES)


@few_examples
@given(st.lists(st.one_of(PAIRS, st.sampled_from(["", "# a = 1", "   "])), max_size=8))
def test_every_key_that_tomllib_sees_has_the_line_it_was_written_on(pieces):
    text, expected = "", {}
    for piece in pieces:
        written = piece if isinstance(piece, str) else f"{' . '.join(piece[0])} = {piece[1]} # x = 1"
        try:
            tomllib.loads(f"{text}{written}\n")
        except tomllib.TOMLDecodeError:
            continue  # a key twice
        if not isinstance(piece, str):
            path = tuple(
                str(tomllib.loads(f"k = {key}")["k"]) if key[0] in "'\"" else key for key in piece[0]
            )
            for size in range(1, len(path) + 1):
                expected.setdefault(path[:size], text.count("\n") + 1)
        text += f"{written}\n"
    assert key_lines(text) == expected


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ((), ""),
        (("a", "b-1"), "a.b-1"),
        (("roles", "*"), 'roles."*"'),
        (("a.b", 'c"'), '"a.b"."c\\""'),
        (("é",), '"é"'),
    ],
)
def test_a_path_is_written_as_in_the_file(path, written):
    assert dotted(path) == written
