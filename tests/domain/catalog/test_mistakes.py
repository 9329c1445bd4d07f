import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import policies
from domain.billing_terms import Proration
from domain.catalog.model import Billing
from domain.catalog.reader import parse
from domain.errors import CatalogError
from domain.statuses import StatusEffect
from tests.domain.unhurried import unhurried

# Two lines, so that what a row adds begins on line 3, in the product's table.
TEAM = "[products.pdt_team]\nincluded = { full = 5 }\n"
CONTRACT = '[contracts.c]\naccount = "a"\nseats.full = 1\n'

RULE_KEYS = (
    "policy, grace_days, suspend_after_grace, payment_grace_days, hold_days, "
    "auto_expand_limit, proration_increase, proration_decrease, decrease_when"
)
NAMING_KEYS = "account_key, metadata_names, metadata_accounts_per_hour"
PRODUCT_KEYS = f"name, included, per_unit, addons, minimum, maximum, {RULE_KEYS}"
SECTIONS = "defaults, roles, status, products, free, contracts"
NUMBER = "must be a whole number from 0 to 1000000000"
DAYS = "must be a whole number from 0 to 365"
DATE = "must be a date such as 2026-01-31, without a time and without quotation marks"
EFFECT = f"must be one of {', '.join(StatusEffect)}"
POLICY = f"must be one of {', '.join(policies.names())}"
PRORATION = f"must be one of {', '.join(Proration)}"
BILLING = f"must be one of {', '.join(Billing)}"
NO_WORD = "a seat type is a lower-case word such as full or guest_2"
NOT_GIVEN = "no product, [free] or contract gives"
GIVEN = 'there are full, and "free" for no seat.'
TWICE = "the same key or table stands twice"

SYNTAX = [
    ("a = \n", "line 1, column 5", "Invalid value."),
    ("\n[a\n", "line 2, column 3", "Expected ']' at the end of a table declaration."),
    ('a = 1\nb = "x\n', "line 2, column 7", "Illegal character '\\n'."),
    ('a = 1\n\nb = """x\n\n', "line 3, end of document", "Unterminated string."),
    ("[a]\nx = 1\nx = 2\n", "line 3, column 6", f"Cannot overwrite a value: {TWICE}."),
    ("[a]\n[b]\n[a]\n", "line 3, column 3", f"Cannot declare ('a',) twice: {TWICE}."),
]

NO_SECTION = [
    ('"defaults" = 1 # one', "defaults", '{ policy = "strict" }; 1 is a whole number.'),
    ("roles = []", "roles", '{ member = "full" }; this is a list.'),
    ("status = true", "status", '{ paused = "suspended" }; true is a boolean.'),
    ("free = 3", "free", "{ included = { full = 5 } }; 3 is a whole number."),
    ("contracts = 1.5", "contracts", "[contracts.NAME]; 1.5 is a decimal number."),
]

UNKNOWN_KEYS = [
    ("[product.x]", "line 3, product", f"{SECTIONS}. Did you mean 'products'?"),
    (
        "[defaults]\ngrace_day = 1",
        "line 4, defaults.grace_day",
        f"{RULE_KEYS}, policy_order, {NAMING_KEYS}. Did you mean 'grace_days'?",
    ),
    ("quantity = 3", "line 3, products.pdt_team.quantity", f"{PRODUCT_KEYS}."),
    ('[products."a b"]\nx.y = 3', 'line 4, products."a b".x', f"{PRODUCT_KEYS}."),
    ("[free]\nincluded.full = 1\nseats = {}", "line 5, free.seats", "included."),
    (
        f"{CONTRACT}end = 2026-01-01",
        "line 6, contracts.c.end",
        "account, seats, starts, ends, billing, notice_days. Did you mean 'ends'?",
    ),
]

# Within the product of line 1.
IN_PRODUCT = [
    ("per_unit = 1", "per_unit", "per_unit must be a table such as { full = 5 }; 1 is a whole number."),
    (
        "addons = 1",
        "addons",
        "addons must be a table such as { adn_seat = { full = 1 } }; 1 is a whole number.",
    ),
    (
        "addons.adn_seat = 1",
        "addons.adn_seat",
        "adn_seat must be a table such as { full = 5 }; 1 is a whole number.",
    ),
    ("policy = 1", "policy", f"policy {POLICY}; 1 is a whole number."),
    ('policy = "auto"', "policy", f"policy {POLICY}; 'auto' is not."),
    ("grace_days = -1", "grace_days", f"grace_days {DAYS}; -1 is not."),
    ("grace_days = true", "grace_days", f"grace_days {DAYS}; true is a boolean."),
    ("payment_grace_days = 366", "payment_grace_days", f"payment_grace_days {DAYS}; 366 is not."),
    ('payment_grace_days = "7"', "payment_grace_days", f"payment_grace_days {DAYS}; '7' is a string."),
    (
        "auto_expand_limit = 0",
        "auto_expand_limit",
        "auto_expand_limit must be a whole number from 1 to 1000000000; 0 is not.",
    ),
    (
        'proration_increase = "prorated_immediatly"',
        "proration_increase",
        f"proration_increase {PRORATION}; 'prorated_immediatly' is not. Did you mean 'prorated_immediately'?",
    ),
    (
        "proration_decrease = true",
        "proration_decrease",
        f"proration_decrease {PRORATION}; true is a boolean.",
    ),
    (
        'decrease_when = "at_renewl"',
        "decrease_when",
        "decrease_when must be one of now, at_renewal; 'at_renewl' is not. Did you mean 'at_renewal'?",
    ),
    ("hold_days = 0", "hold_days", "hold_days must be a whole number from 1 to 365; 0 is not."),
    ('name = " "', "name", "name must be a non-empty string; ' ' is a string."),
    ('addons."" = {}', 'addons.""', "the name is empty."),
    ("per_unit.full = -1", "per_unit.full", f"full {NUMBER}; -1 is not."),
    ("per_unit = { full = true }", "per_unit.full", f"full {NUMBER}; true is a boolean."),
    ("addons.adn = { full = 1.0 }", "addons.adn.full", f"full {NUMBER}; 1.0 is a decimal number."),
    ("maximum.full = 1_000_000_001", "maximum.full", f"full {NUMBER}; 1000000001 is not."),
    *(
        (
            f'{key} = {{ full = "unlimited" }}',
            f"{key}.full",
            "full cannot be unlimited here, only in included, [free] and contracts.",
        )
        for key in ("per_unit", "addons.adn_seat", "minimum", "maximum")
    ),
    ("addons.adn = { Full = 1 }", "addons.adn.Full", f"{NO_WORD}; 'Full' is not."),
    ("per_unit.2nd = 1", "per_unit.2nd", f"{NO_WORD}; '2nd' is not."),
    (
        "per_unit.free = 1",
        "per_unit.free",
        "'free' is the word for roles that take no seat; a seat type needs another name.",
    ),
    ("minimum.full = 9\nmaximum.full = 8", "minimum.full", "minimum 9 is above maximum 8."),
    ("maximum.full = 4", "maximum.full", "maximum 4 is below the 5 seats included."),
    (
        "minimum = { ful = 5 }",
        "minimum.ful",
        "this product sells no 'ful' seats, it sells full. Did you mean 'full'?",
    ),
]

ELSEWHERE = [
    (
        "[[contracts]]",
        "line 3, contracts",
        "contracts must be a table such as [contracts.NAME]; this is a list.",
    ),
    (
        "[products]\npdt_x = 5",
        "line 4, products.pdt_x",
        "pdt_x must be a table such as { included = { full = 5 } }; 5 is a whole number.",
    ),
    (
        "[contracts]\nc = 5",
        "line 4, contracts.c",
        'c must be a table such as { account = "acme", seats = { full = 5 } }; 5 is a whole number.',
    ),
    ('[products.""]', 'line 3, products.""', "the name is empty."),
    (
        "[products.x]\nmaximum.full = 1",
        "line 4, products.x.maximum.full",
        "this product sells no 'full' seats, it sells none.",
    ),
    (
        '[products.x]\nincluded.full = "unlimited"\nmaximum.full = 500',
        "line 5, products.x.maximum.full",
        "maximum 500 is below the unlimited seats included.",
    ),
    (
        '[defaults]\npolicy = "sotf"',
        "line 4, defaults.policy",
        f"policy {POLICY}; 'sotf' is not. Did you mean 'soft'?",
    ),
    (
        "[defaults]\ngrace_days = 1.5",
        "line 4, defaults.grace_days",
        f"grace_days {DAYS}; 1.5 is a decimal number.",
    ),
    *(
        (
            f"[defaults]\npolicy_order = {value}",
            "line 4, defaults.policy_order",
            "policy_order must be a list that names each of strict, auto_expand, grace, soft once.",
        )
        for value in ('["soft"]', '["soft", "soft", "grace", "strict"]', '"soft"', "[1, 2, 3, 4]", "[]")
    ),
    (
        "[defaults]\naccount_key = false",
        "line 4, defaults.account_key",
        'account_key must be a string, "" for never; false is a boolean.',
    ),
    ('[roles]\n" " = "full"', 'line 4, roles." "', "the name is empty."),
    (
        "[roles]\nmember = 1",
        "line 4, roles.member",
        'member must be a seat type or "free"; 1 is a whole number.',
    ),
    ('[roles]\nx = "ful"', "line 4, roles.x", f"{NOT_GIVEN} 'ful' seats; {GIVEN} Did you mean 'full'?"),
    ('[roles]\n"*" = "viewer"', 'line 4, roles."*"', f"{NOT_GIVEN} 'viewer' seats; {GIVEN}"),
    (
        '[status]\nOn-Hold = "counts"',
        "line 4, status.On-Hold",
        "a status is a lower-case word such as on_hold; 'On-Hold' is not.",
    ),
    (
        '[status]\npaused = "suspend"',
        "line 4, status.paused",
        f"paused {EFFECT}; 'suspend' is not. Did you mean 'suspended'?",
    ),
    ("[status]\npaused = 0", "line 4, status.paused", f"paused {EFFECT}; 0 is a whole number."),
    ("[free]", "line 3, free.included", "included is missing: the seats given, such as { full = 5 }."),
    ("[free]\nincluded = {}", "line 4, free.included", "included gives no seats; leave [free] out for none."),
    ("[free]\nincluded.full = -1", "line 4, free.included.full", f'full {NUMBER} or "unlimited"; -1 is not.'),
    (
        '[free]\nincluded = { full = "Unlimited" }',
        "line 4, free.included.full",
        f"full {NUMBER} or \"unlimited\"; 'Unlimited' is a string.",
    ),
    ('[contracts.""]\naccount = "a"\nseats.full = 1', 'line 3, contracts.""', "the name is empty."),
    (
        "[contracts.c]\nseats.full = 1",
        "line 3, contracts.c.account",
        "account is missing: the id of the account that has the seats.",
    ),
    (
        '[contracts.c]\naccount = ""\nseats.full = 1',
        "line 4, contracts.c.account",
        "account must be a non-empty string; '' is a string.",
    ),
    (
        '[contracts.c]\naccount = ".."\nseats.full = 1',
        "line 4, contracts.c.account",
        "account must not be `.` or `..`, which no URL can name.",
    ),
    (
        '[contracts.c]\naccount = "a "\nseats.full = 1',
        "line 4, contracts.c.account",
        "account must not begin or end with a blank.",
    ),
    (
        '[contracts.c]\naccount = "a"',
        "line 3, contracts.c.seats",
        "seats is missing: the seats given, such as { full = 5 }.",
    ),
    (
        '[contracts.c]\naccount = "a"\nseats = {}',
        "line 5, contracts.c.seats",
        "seats gives no seats; leave the contract out.",
    ),
    (
        f"{CONTRACT}starts = 2026-02-01\nends = 2026-01-31",
        "line 7, contracts.c.ends",
        "ends 2026-01-31 is before starts 2026-02-01.",
    ),
    (f'{CONTRACT}ends = "2026-01-31"', "line 6, contracts.c.ends", f"ends {DATE}; '2026-01-31' is a string."),
    (
        f"{CONTRACT}starts = 2026-01-31T00:00:00Z",
        "line 6, contracts.c.starts",
        f"starts {DATE}; 2026-01-31 00:00:00+00:00 is a date with a time.",
    ),
    (f"{CONTRACT}starts = 10:00:00", "line 6, contracts.c.starts", f"starts {DATE}; 10:00:00 is a time."),
    (
        f'{CONTRACT}billing = "annually"',
        "line 6, contracts.c.billing",
        f"billing {BILLING}; 'annually' is not.",
    ),
    (
        f'{CONTRACT}billing = "yearly"\n{CONTRACT.replace("contracts.c", "contracts.d")}billing = "once"',
        "line 7, contracts.d",
        "says the same as contract 'c', so its seats would count twice; leave one out.",
    ),
]


def mistakes_in(text):
    with pytest.raises(CatalogError) as caught:
        parse(text, "catalog.toml")
    return [(mistake.place, mistake.problem) for mistake in caught.value.mistakes]


@pytest.mark.parametrize(("text", "place", "problem"), SYNTAX)
def test_a_text_that_is_not_toml_is_one_mistake_with_its_place(text, place, problem):
    assert mistakes_in(text) == [(place, f"not valid TOML: {problem}")]


@pytest.mark.parametrize(("line", "section", "rest"), NO_SECTION)
def test_a_section_must_be_a_table(line, section, rest):
    problem = f"{section} must be a table such as {rest}"
    assert mistakes_in(f"{line}\n{TEAM}") == [(f"line 1, {section}", problem)]


@pytest.mark.parametrize(("added", "place", "known"), UNKNOWN_KEYS)
def test_an_unknown_key_is_reported_with_those_known(added, place, known):
    assert mistakes_in(TEAM + added) == [(place, f"unknown key; known here: {known}")]


@pytest.mark.parametrize(("line", "key", "problem"), IN_PRODUCT)
def test_a_mistake_in_a_product_is_reported_once_with_its_line(line, key, problem):
    assert mistakes_in(f"{TEAM}\n{line}") == [(f"line 4, products.pdt_team.{key}", problem)]


@pytest.mark.parametrize(("added", "place", "problem"), ELSEWHERE)
def test_a_mistake_elsewhere_is_reported_once_with_its_line(added, place, problem):
    assert mistakes_in(TEAM + added) == [(place, problem)]


@pytest.mark.parametrize("text", ["", "# nothing\n", "[products]\n[roles]\n", "[contracts]"])
def test_a_catalogue_that_gives_no_seats_is_a_mistake(text):
    problem = "nothing gives seats; add a [products.ID], [free] or a [contracts.NAME]."
    assert mistakes_in(text) == [("top level", problem)]


def test_an_absurd_number_is_a_mistake_and_no_crash():
    [(place, problem)] = mistakes_in("a = " + "1" * 5000)
    assert (place, problem[:15]) == ("top level", "not valid TOML:")


def test_a_long_value_is_shown_by_its_beginning():
    [(_, problem)] = mistakes_in(f'{TEAM}policy = "{"x" * 500}"')
    assert problem == f"policy {POLICY}; '{'x' * 59}… is not."


def test_a_wrong_number_leaves_its_seat_type_known():
    text = '[products.x]\naddons.adn_viewer.viewer = "1"\n[roles]\nguest = "viewer"\n'
    assert [place for place, _ in mistakes_in(text)] == ["line 2, products.x.addons.adn_viewer.viewer"]


def test_a_wrong_bound_is_no_bound():
    text = f"{TEAM}minimum.full = 9\nmaximum.full = true"
    assert [place for place, _ in mistakes_in(text)] == ["line 4, products.pdt_team.maximum.full"]


def test_all_mistakes_are_reported_at_once_from_the_top_down():
    text = f'[roles]\na = "ful"\n[defaults]\ngrace_days = -1\n{TEAM}policy = "x"\ncolour = 1'
    assert [place for place, _ in mistakes_in(text)] == [
        "line 2, roles.a",
        "line 4, defaults.grace_days",
        "line 7, products.pdt_team.policy",
        "line 8, products.pdt_team.colour",
    ]


def test_the_error_names_the_source_and_every_mistake():
    with pytest.raises(CatalogError) as caught:
        parse(f"{TEAM}a = 1\nb = 2", "etc/catalog.toml")
    title, *lines = str(caught.value).splitlines()
    assert title == "etc/catalog.toml has 2 mistakes:"
    assert [line.split(": ")[0] for line in lines] == [
        "  line 3, products.pdt_team.a",
        "  line 4, products.pdt_team.b",
    ]


KEYS = ["included", "included.full", "addons.a", "account", "seats", "policy", "starts", '"*"', "full", "x.y"]
VALUES = [
    "{ full = 1 }",
    "{}",
    '"unlimited"',
    '"full"',
    '""',
    "-1",
    "nan",
    "2026-01-01",
    "[1, { a = 2 }]",
    "5",
]
HEADERS = [
    "[products.x]",
    "[products]",
    "[free]",
    "[roles]",
    "[status]",
    "[[contracts]]",
    "[contracts.c]",
    "{",
]
LINES = st.sampled_from([*HEADERS, *(f"{key} = {value}" for key in KEYS for value in VALUES)])


@unhurried
@given(st.lists(LINES, max_size=8).map("\n".join) | st.text(max_size=40))
def test_any_text_is_a_catalogue_or_a_catalog_error(text):
    with contextlib.suppress(CatalogError):
        assert parse(text, "catalog.toml").digest
