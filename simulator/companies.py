"""The customers of the simulated business."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Company:
    """A customer. `account_id` is the id of its workspace in the merchant's product."""

    account_id: str
    name: str
    city: str
    country: str
    product_id: str = "pdt_team"

    @property
    def fields(self) -> dict[str, object]:
        """The fields of its subscription except the cart."""
        return {
            "product_id": self.product_id,
            "customer": {
                "customer_id": f"cus_{self.account_id}",
                "name": self.name,
                "email": f"billing@{self.account_id}.example",
            },
            "customer_business_name": self.name,
            "billing": {"city": self.city, "country": self.country, "street": None, "zipcode": None},
            "metadata": {"account_id": self.account_id},
        }


COMPANIES = (
    Company("acme", "Acme Tools", "Porto", "PT"),
    Company("tidewater", "Tidewater Labs", "Galway", "IE"),
    Company("juniper-post", "Juniper Post", "Uppsala", "SE", "pdt_per_user"),
    Company("kestrel", "Kestrel Maps", "Ghent", "BE"),
    Company("brightwell", "Brightwell & Daughters", "Leeds", "GB"),
    Company("orchard-nine", "Orchard Nine", "Lyon", "FR"),
    Company("quarry", "Quarry Street Studio", "Turin", "IT", "pdt_per_user"),
    Company("lanternfish", "Lanternfish", "Bergen", "NO"),
    Company("moss-and-co", "Moss & Co", "Graz", "AT"),
    Company("halyard", "Halyard Shipping", "Gdańsk", "PL"),
)
"""The first five are customers from the start; the others come later."""
FOUNDERS = 5
