"""Warnings about roles that differ from a known role only in case or spaces, usually a typing mistake."""

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
def test_a_role_that_differs_only_in_case_or_spaces_gives_a_warning(slip: str):
    text = warning(a_catalog_of(ROLES), slip)
    assert text is not None
    assert "'client': free" in text
    assert "'*' applies: a full seat" in text


@pytest.mark.parametrize("slip", ["teammember", "Team Member", "team  member", "TEAM\tMEMBER"])
def test_spaces_within_a_role_are_ignored_too(slip: str):
    assert similar(a_catalog_of(ROLES), slip) == "team member"


@pytest.mark.parametrize("role", ["client", "team member", "clients", "client-2", "guest", "*"])
def test_known_and_clearly_different_roles_give_no_warning(role: str):
    assert warning(a_catalog_of(ROLES), role) is None


def test_there_is_no_warning_if_unknown_roles_are_refused():
    assert warning(a_catalog_of({"client": None}), "Client") is None


def test_a_catalogue_whose_roles_differ_only_in_case_gives_warnings():
    texts = list(
        warnings(a_catalog_of({"client": None, "Client": "full", "viewer": "viewer", " viewer": "viewer"}))
    )
    assert [one.split(" (")[0] for one in texts] == [
        "The roles 'client'",
        "The roles 'viewer'",
        "The role ' viewer' begins or ends with a blank; only the same spelling means it.",
    ]


def test_a_catalogue_of_different_roles_gives_no_warning():
    assert list(warnings(a_catalog())) == []
