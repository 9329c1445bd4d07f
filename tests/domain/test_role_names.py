"""Roles that differ from a known one in case or blanks alone: a slip that costs a seat, so it is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.role_names import similar, warning, warnings
from tests.factories import a_catalog

ROLES = {"client": None, "team member": "full", "*": "full"}
SLIPS = ["Client", "CLIENT", " client", "client ", "cli ent", "client\u00a0", "cLIENT\t"]


def a_catalog_of(roles):
    return replace(a_catalog(), roles=roles)


@pytest.mark.parametrize("slip", SLIPS, ids=ascii)
def test_a_role_that_differs_in_case_or_blanks_alone_is_warned_of(slip: str):
    told = warning(a_catalog_of(ROLES), slip)
    assert told is not None
    assert "'client': free" in told
    assert "'*' applies: a full seat" in told


@pytest.mark.parametrize("slip", ["teammember", "Team Member", "team  member", "TEAM\tMEMBER"])
def test_blanks_within_are_blanks_too(slip: str):
    assert similar(a_catalog_of(ROLES), slip) == "team member"


@pytest.mark.parametrize("role", ["client", "team member", "clients", "client-2", "guest", "*"])
def test_known_roles_and_others_are_not(role: str):
    assert warning(a_catalog_of(ROLES), role) is None


def test_where_unknown_roles_are_refused_there_is_nothing_to_warn_of():
    assert warning(a_catalog_of({"client": None}), "Client") is None


def test_a_catalogue_whose_roles_differ_in_case_alone_is_warned_of():
    told = list(
        warnings(a_catalog_of({"client": None, "Client": "full", "viewer": "viewer", " viewer": "viewer"}))
    )
    assert [one.split(" (")[0] for one in told] == [
        "The roles 'client'",
        "The roles 'viewer'",
        "The role ' viewer' begins or ends with a blank; only the same spelling means it.",
    ]


def test_a_catalogue_of_plain_roles_is_not():
    assert list(warnings(a_catalog())) == []
