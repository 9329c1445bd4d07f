"""A service that sells several plans: by the month and by the year, smaller and larger ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from runtime.wiring import Runtime
from simulator.billing.catalog import Addon, Product
from simulator.world import World
from tests.factories import parse_once
from tests.simulated import CATALOG, with_simulator

PLANS: Final = (
    CATALOG
    + """
[products.pdt_yearly]
name = "Team Yearly"
included = { full = 5 }
addons.adn_seat_yearly = { full = 1 }
addons.adn_viewer_yearly = { viewer = 1 }
addons.adn_support = {}

[products.pdt_solo]
name = "Solo"
included = { full = 3 }
addons.adn_seat = { full = 1 }
maximum = { full = 8 }
policy = "soft"

[products.pdt_business]
name = "Business"
included = { full = 10 }
addons.adn_seat_business = { full = 1 }
addons.adn_viewer = { viewer = 1 }
addons.adn_support = {}
minimum = { full = 25 }

[products.pdt_company]
name = "Company"
included = { full = "unlimited" }
addons.adn_viewer = { viewer = 1 }
addons.adn_support = {}

[products.pdt_dollars]
name = "Team in dollars"
included = { full = 5 }

[products.pdt_once]
name = "Paid once"
included = { full = 5 }

[products.pdt_old]
name = "Team of last year"
included = { full = 5 }

[products.pdt_nowhere]
name = "Not at the provider"
included = { full = 5 }
"""
)
ADDONS: Final = (
    Addon(id="adn_seat_yearly", name="Extra seat for a year", price=14400),
    Addon(id="adn_viewer_yearly", name="Viewer seat for a year", price=3800),
    Addon(id="adn_seat_business", name="Extra seat in Business", price=700),
)
PRODUCTS: Final = (
    Product(
        product_id="pdt_yearly",
        name="Team Yearly",
        price=95000,
        addons=("adn_seat_yearly", "adn_viewer_yearly", "adn_support"),
        payment_frequency_interval="Year",
    ),
    Product(product_id="pdt_solo", name="Solo", price=2900, addons=("adn_seat",)),
    Product(
        product_id="pdt_business",
        name="Business",
        price=49900,
        addons=("adn_seat_business", "adn_viewer", "adn_support"),
    ),
    Product(product_id="pdt_company", name="Company", price=99900, addons=("adn_viewer", "adn_support")),
    Product(product_id="pdt_dollars", name="Team in dollars", price=9900, currency="USD"),
    Product(product_id="pdt_once", name="Paid once", price=9900, is_recurring=False),
    Product(product_id="pdt_old", name="Team of last year", price=9900, archived=True),
)


def with_plans(runtime: Runtime, url: str, world: World) -> Runtime:
    """The runtime with the simulator at this URL as its provider, and plans for sale at both."""
    for addon in ADDONS:
        world.catalog.put_addon(addon)
    for product in PRODUCTS:
        world.catalog.put_product(product)
    return replace(with_simulator(runtime, url), catalog=parse_once(PLANS))
