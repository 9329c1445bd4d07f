"""The simulated app: members of its accounts join and leave, and each claims a seat through the API first."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from cli.demo import wording
from cli.demo.api_client import Api, Unavailable, UnexpectedStatus
from cli.demo.api_documents import Account
from cli.demo.people import Person, Team, WaitingPerson, new_person
from cli.demo.processes import IsEnding
from cli.demo.view import Action, Tone

_ROLE: Final = "team_member"
_GUEST_ROLE: Final = "client"
_PAUSE_SECONDS: Final = (0.7, 1.3)
_POLL_SECONDS: Final = 0.1
_MAX_WAITING: Final = 2
_MAX_INVITED: Final = 3
_MAX_GUESTS: Final = 2
_GROUP_SIZE: Final = (2, 4)
_INITIAL_USE: Final = (0.7, 0.95)  # the part of a new account's seats that is used at once
_MAX_OVERAGE: Final = 2  # beyond it, members only leave

Step = Callable[[], None]


class Backend:
    """Does one thing at a time, about once per second, through the public API.

    `report` is called with everything it did.
    """

    def __init__(self, api: Api, report: Callable[[Action], None], random_numbers: random.Random) -> None:
        self._api = api
        self._report = report
        self._random = random_numbers
        self._teams: dict[str, Team] = {}

    def run(self, is_ending: IsEnding) -> None:
        """Run until the demo ends. While the web process does not respond, nothing happens."""
        while not is_ending():
            try:
                self.step()
            except UnexpectedStatus as error:
                self._say(Tone.TROUBLE, str(error))
            except Unavailable:
                pass
            until = time.monotonic() + self._random.uniform(*_PAUSE_SECONDS)
            while time.monotonic() < until and not is_ending():
                time.sleep(_POLL_SECONDS)
        self._api.close()

    def step(self) -> None:
        """Fill a new account, or else seat a waiting person, or else do something at random."""
        accounts = [self._api.account(each) for each in self._api.account_ids()]
        # An account without a subscription was created by a user who tries out the API.
        customers = [account for account in accounts if account.subscriptions]
        if not customers or self._fill_new_account(customers) or self._seat_waiting():
            return
        account = self._random.choice(customers)
        steps = self._possible_steps(account, self._team(account.account_id))
        if steps:
            self._random.choice(steps)()

    def _fill_new_account(self, customers: list[Account]) -> bool:
        """Let the first members of a new account join at once. False if there is no new account."""
        new = next(
            (each for each in customers if each.account_id not in self._teams and not each.refuses_claims),
            None,
        )
        if new is None:
            return False
        team = self._team(new.account_id)
        available = sum(seats.available or 0 for seats in new.seats.values())
        count = round(available * self._random.uniform(*_INITIAL_USE))
        granted = sum(self._claim_for_new_person(team) for _ in range(count))
        if granted:
            self._say(Tone.GRANTED, f"{granted} people join {new.account_id}{self._used_seats(team)}")
        return True

    def _claim_for_new_person(self, team: Team) -> bool:
        """Claim a seat for a new person; False if it is refused."""
        person = self._new_person(team)
        is_granted = self._api.claim(team.account_id, person.member_id, _ROLE, email=person.email).is_granted
        if is_granted:
            team.members.append(person)
        return is_granted

    def _seat_waiting(self) -> bool:
        """Claim a seat for the first waiting person for whom there is one by now. False if there is none."""
        for team in self._teams.values():
            if not team.waiting or not self._api.can_add(team.account_id, _ROLE)["allowed"]:
                continue
            first = team.waiting[0]
            if self._api.claim(team.account_id, first.person.member_id, _ROLE).is_granted:
                team.members.append(team.waiting.popleft().person)
                waited = f"after waiting {time.monotonic() - first.since:.0f} s"
                self._say(
                    Tone.GRANTED,
                    f"{first.person.name} joins {team.account_id} {waited}{self._used_seats(team)}",
                )
                return True
        return False

    def _possible_steps(self, account: Account, team: Team) -> list[Step]:
        """What may happen next. A step is in the list several times if it should happen more often."""
        leave: list[Step] = [lambda: self._leave(team)] if team.members else []
        join: list[Step] = [lambda: self._join(team)] if len(team.waiting) < _MAX_WAITING else []
        if account.overage > _MAX_OVERAGE:
            return leave
        if account.refuses_claims:
            return join if not team.waiting else []
        has_seat = self._api.can_add(team.account_id, _ROLE)["available"] != 0
        steps = [*join * (8 if has_seat else 3), *leave * (1 if team.waiting else 2)]
        steps.append(lambda: self._ask(team))
        if team.invited:
            steps += [*[lambda: self._accept(team)] * 4, lambda: self._decline(team)]
        if has_seat and len(team.invited) < _MAX_INVITED:
            steps += [lambda: self._invite(team)] * 2
        if len(team.guests) < _MAX_GUESTS:
            steps.append(lambda: self._welcome_guest(team))
        return steps

    def _join(self, team: Team) -> None:
        person = self._new_person(team)
        reply = self._api.claim(team.account_id, person.member_id, _ROLE, email=person.email)
        if reply.is_granted:
            team.members.append(person)
            self._say(Tone.GRANTED, f"{person.name} joins {team.account_id}{self._used_seats(team)}")
            return
        team.waiting.append(WaitingPerson(person, time.monotonic()))
        self._say(Tone.REFUSED, f"{person.name} waits for {team.account_id}: {wording.refusal(reply.body)}")

    def _invite(self, team: Team) -> None:
        person = self._new_person(team)
        if self._api.claim(
            team.account_id, person.member_id, _ROLE, email=person.email, hold=True
        ).is_granted:
            team.invited.append(person)
            self._say(
                Tone.GRANTED,
                f"{person.name} is invited to {team.account_id}, seat held{self._used_seats(team)}",
            )

    def _accept(self, team: Team) -> None:
        person = team.invited[0]
        if self._api.claim(team.account_id, person.member_id, _ROLE, email=person.email).is_granted:
            team.members.append(team.invited.pop(0))
            self._say(
                Tone.GRANTED,
                f"{person.name} accepts the invitation to {team.account_id}{self._used_seats(team)}",
            )

    def _decline(self, team: Team) -> None:
        self._release(team, team.invited, "declines the invitation to")

    def _leave(self, team: Team) -> None:
        self._release(team, team.members, "leaves")

    def _release(self, team: Team, people: list[Person], verb: str) -> None:
        person = self._random.choice(people)
        self._api.release(team.account_id, person.member_id)
        people.remove(person)
        self._say(Tone.RELEASED, f"{person.name} {verb} {team.account_id}{self._used_seats(team)}")

    def _ask(self, team: Team) -> None:
        count = self._random.randint(*_GROUP_SIZE)
        permission = self._api.can_add(team.account_id, _ROLE, count)
        self._say(Tone.ASKED, f"may {count} more join {team.account_id}? {wording.permission(permission)}")

    def _welcome_guest(self, team: Team) -> None:
        person = self._new_person(team)
        if self._api.claim(team.account_id, person.member_id, _GUEST_ROLE, email=person.email).is_granted:
            team.guests.append(person)
            self._say(
                Tone.GRANTED, f"{person.name} joins {team.account_id} as a {_GUEST_ROLE}, which takes no seat"
            )

    def _team(self, account_id: str) -> Team:
        return self._teams.setdefault(account_id, Team(account_id))

    def _new_person(self, team: Team) -> Person:
        return new_person(self._random, team.account_id, team.names)

    def _used_seats(self, team: Team) -> str:
        """` (full 11 of 15)`: the used seats now; empty for a role that takes no seat."""
        seat_type = self._api.can_add(team.account_id, _ROLE)["seat_type"]
        used = wording.seats_of(self._api.account(team.account_id), seat_type)
        return f" ({used})" if used else ""

    def _say(self, tone: Tone, text: str) -> None:
        self._report(Action(datetime.now(UTC), tone, text))
