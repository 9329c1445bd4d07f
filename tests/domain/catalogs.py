"""A Hypothesis strategy for catalogues, and a function that writes them as TOML."""

import json
from dataclasses import replace
from datetime import date, timedelta

from hypothesis import strategies as st

from domain import policies
from domain.billing_terms import Proration, When
from domain.catalog.model import Billing, Catalog, Contract, Product, Rules
from domain.seat_limit import UNLIMITED, Unlimited
from domain.statuses import DEFAULT_EFFECTS, StatusEffect

SEAT_TYPES = st.sampled_from(["full", "viewer", "guest_2"])
NUMBERS = st.integers(0, 50)
LIMITS = NUMBERS | st.just(UNLIMITED)
IDS = st.sampled_from(["pdt_team", "adn-seat", "a b", "x.y", 'quo"te', "é#=", "[x]", "full"])
DAYS = st.integers(1, 365).map(lambda days: timedelta(days=days))
DATES = st.dates(date(2020, 1, 1), date(2030, 12, 31))
RULES = st.builds(
    Rules,
    policy=st.sampled_from(policies.names()),
    grace=DAYS,
    payment_grace=DAYS,
    hold=DAYS,
    suspend_after_grace=st.booleans(),
    auto_expand_limit=st.integers(1, 50),
    proration_increase=st.sampled_from(Proration),
    proration_decrease=st.sampled_from(Proration),
    decrease_when=st.sampled_from(When),
)


def seats(numbers, *, least=0):
    return st.dictionaries(SEAT_TYPES, numbers, min_size=least, max_size=3)


@st.composite
def products(draw, product_id):
    product = Product(
        product_id=product_id,
        name=draw(IDS),
        included=draw(seats(LIMITS)),
        per_unit=draw(seats(NUMBERS)),
        addons=draw(st.dictionaries(IDS, seats(NUMBERS), max_size=3)),
        rules=draw(RULES),
    )
    bounded = [t for t in product.seat_types if not isinstance(product.included.get(t), Unlimited)]
    minimum = {seat_type: draw(NUMBERS) for seat_type in bounded if draw(st.booleans())}
    maximum = {seat_type: draw(st.integers(50, 99)) for seat_type in bounded if draw(st.booleans())}
    return replace(product, minimum=minimum, maximum=maximum)


@st.composite
def contracts(draw, name):
    dates = sorted([draw(DATES), draw(DATES)])
    starts, ends = (day if draw(st.booleans()) else None for day in dates)
    billing = draw(st.none() | st.sampled_from(Billing))
    return Contract(
        name=name,
        account_id=f"account of {name}",
        seats=draw(seats(LIMITS, least=1)),
        starts=starts,
        ends=ends,
        billing=billing,
        notice=draw(DAYS),
    )


@st.composite
def catalogs(draw):
    product_ids = draw(st.sets(IDS, min_size=1, max_size=3))
    contract_names = draw(st.sets(IDS, max_size=2))
    effects = draw(
        st.dictionaries(st.sampled_from([*DEFAULT_EFFECTS, "frozen"]), st.sampled_from(StatusEffect))
    )
    catalog = Catalog(
        defaults=draw(RULES),
        account_key=draw(st.none() | IDS),
        products={product_id: draw(products(product_id)) for product_id in sorted(product_ids)},
        free=draw(st.none() | seats(LIMITS, least=1)),
        contracts={name: draw(contracts(name)) for name in sorted(contract_names)},
        effects={**DEFAULT_EFFECTS, **effects},
    )
    roles = st.dictionaries(IDS | st.just("*"), st.sampled_from([None, *catalog.seat_types]), max_size=4)
    return replace(catalog, roles=draw(roles))


CATALOGS = catalogs()


def to_toml(catalog):
    """The catalogue as TOML text, with every value written out."""
    lines = ["[defaults]", f"account_key = {_text(catalog.account_key or '')}", *_rules(catalog.defaults)]
    lines += ["[roles]", *(f"{_text(role)} = {_text(to or 'free')}" for role, to in catalog.roles.items())]
    lines += ["[status]", *(f"{status} = {_text(effect)}" for status, effect in catalog.effects.items())]
    for product in catalog.products.values():
        lines += [
            f"[products.{_text(product.product_id)}]",
            f"name = {_text(product.name)}",
            *_rules(product.rules),
        ]
        lines += [
            f"{key} = {_seats(getattr(product, key))}"
            for key in ("included", "per_unit", "minimum", "maximum")
        ]
        lines += [f"addons.{_text(addon)} = {_seats(sizes)}" for addon, sizes in product.addons.items()]
    if catalog.free is not None:
        lines += ["[free]", f"included = {_seats(catalog.free)}"]
    for contract in catalog.contracts.values():
        lines += [f"[contracts.{_text(contract.name)}]", f"account = {_text(contract.account_id)}"]
        lines += [f"seats = {_seats(contract.seats)}"]
        lines += [f"starts = {contract.starts}"] if contract.starts else []
        lines += [f"ends = {contract.ends}"] if contract.ends else []
        lines += [f"notice_days = {contract.notice.days}"]
        lines += [f"billing = {_text(contract.billing)}"] if contract.billing else []
    return "\n".join(lines) + "\n"


def _rules(rules):
    return [
        f"policy = {_text(rules.policy)}",
        f"grace_days = {rules.grace.days}",
        f"payment_grace_days = {rules.payment_grace.days}",
        f"hold_days = {rules.hold.days}",
        f"suspend_after_grace = {_text(rules.suspend_after_grace)}",
        f"auto_expand_limit = {rules.auto_expand_limit}",
        f"proration_increase = {_text(rules.proration_increase)}",
        f"proration_decrease = {_text(rules.proration_decrease)}",
        f"decrease_when = {_text(rules.decrease_when)}",
    ]


def _seats(numbers):
    written = (
        f"{seat_type} = {_text('unlimited') if isinstance(number, Unlimited) else number}"
        for seat_type, number in numbers.items()
    )
    return f"{{ {', '.join(written)} }}"


def _text(value):
    return json.dumps(value, ensure_ascii=False)
