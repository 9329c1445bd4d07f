"""What the machine compares the service with: seats, people and deadlines in plain Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta

DAY = timedelta(days=1)
HOLD, GRACE, PAYMENT_GRACE = 7 * DAY, 14 * DAY, 7 * DAY
TYPES = ("full", "viewer")
SEAT_OF = {"member": "full", "viewer": "viewer", "client": None}
ACCESS = {"active": 3, "on_hold": 2, "paused": 1, "cancelled": 0}
REACHABLE = {
    "held": {"held", "active"},
    "active": {"active", "suspended"},
    "suspended": {"suspended", "active"},
}


@dataclass
class Person:
    member_id: str
    email: str | None
    role: str
    state: str
    protected: bool
    claimed_at: datetime
    expires_at: datetime | None = None
    last_active_at: datetime | None = None

    @property
    def seat(self) -> str | None:
        return SEAT_OF[self.role] if self.state in ("active", "held") else None

    @property
    def leaves_by(self) -> tuple[object, ...]:
        """Invitations first, the newest of them; then who was seen the longest ago; then the newest."""
        newest = -self.claimed_at.timestamp()
        if self.state == "held":
            return (0, 0.0, newest, self.member_id)
        seen = float("-inf") if self.last_active_at is None else self.last_active_at.timestamp()
        return (1, seen, newest, self.member_id)


@dataclass(frozen=True)
class Sold:
    """What the provider says."""

    status: str
    full: int
    viewer: int

    @property
    def cart(self) -> tuple[int, int]:
        return self.full, self.viewer

    def within(self, paid: Sold | None) -> Sold:
        """No more than was paid for."""
        if paid is None:
            return self
        return Sold(self.status, min(self.full, paid.full), min(self.viewer, paid.viewer))

    def raises(self, other: Sold) -> bool:
        more = self.full > other.full or self.viewer > other.viewer
        less = self.full < other.full or self.viewer < other.viewer
        opens = ACCESS[self.status] - ACCESS[other.status]
        return not less and opens >= 0 and ACCESS[self.status] > 0 and (more or opens > 0)


@dataclass
class Model:
    """The account as it should be. `body` is what only a webhook says, while it stands; `paid` is what was
    paid for, while the cart may hold more.
    """

    now: datetime
    sold: Sold
    seen_at: datetime
    since: datetime
    body: Sold | None = None
    paid: Sold | None = None
    cart: tuple[int, int] = (1, 0)
    asked: bool = False
    policy: str = "strict"
    suspending: bool = False
    has_decided: bool = False
    people: list[Person] = field(default_factory=list)
    since_over: dict[str, datetime] = field(default_factory=dict)
    deadlines: dict[str, datetime] = field(default_factory=dict)
    shelved: dict[str, datetime] = field(default_factory=dict)
    warned: dict[str, int] = field(default_factory=dict)
    suspends_at: dict[str, datetime] = field(default_factory=dict)
    over: dict[str, int] = field(default_factory=dict)

    # What was bought.

    @property
    def newest(self) -> Sold:
        return self.body or self.sold

    @property
    def standing(self) -> str:
        status = self.newest.status
        if status == "on_hold":
            return "grace" if self.seen_at < self.since + PAYMENT_GRACE else "suspended"
        return {"active": "ok", "paused": "suspended", "cancelled": "ended"}[status]

    def purchased(self, seat_type: str) -> int:
        return 0 if self.standing == "ended" else getattr(self.newest, seat_type)

    def look(self, shown: Sold) -> None:
        """Seats that came into the cart count once it is shown active."""
        if shown.status != self.sold.status:
            self.since = self.now
        if shown.status == "active":
            self.paid = None
        elif self.paid is None and shown.cart != self.cart:
            self.paid = self.sold
        self.cart = shown.cart
        self.sold, self.seen_at, self.body, self.asked = shown.within(self.paid), self.now, None, False
        self.set_clocks()
        self.enforce()

    def hear(self, body: Sold) -> None:
        """Nothing but a webhook says so; the provider itself is to be asked."""
        self.asked = True
        body = body if body.status == "active" else body.within(self.sold)
        if body.raises(self.newest):
            self.body = body
            self.set_clocks()

    # Who sits.

    def used(self, seat_type: str) -> int:
        return sum(one.seat == seat_type for one in self.people)

    def counts(self) -> Counter[tuple[str, str]]:
        return Counter((one.seat, one.state) for one in self.people if one.seat is not None)

    def find(self, member_id: str) -> Person | None:
        return next((one for one in self.people if one.member_id == member_id), None)

    def addressed(self, email: str | None) -> Person | None:
        return next((one for one in self.people if email is not None and one.email == email), None)

    def merge(self, person: Person, invitation: Person | None) -> None:
        if invitation is not None:
            self.people.remove(invitation)
            person.email = person.email or invitation.email

    def refusal(self, seat_type: str | None) -> str | None:
        if seat_type is None:
            return None
        if self.standing in ("suspended", "ended"):
            return "claims_blocked"
        if self.used(seat_type) < self.purchased(seat_type) or self.policy == "soft":
            return None
        if self.policy == "grace":
            deadline = self.deadlines.get(seat_type) or self.shelved.get(seat_type)
            return "claims_blocked" if deadline is not None and deadline <= self.now else None
        return {"strict": "no_seat_available", "auto_expand": "purchase_needed"}[self.policy]

    def refusal_with_room_made(self, seat_type: str | None) -> str | None:
        if seat_type is not None and self.used(seat_type) >= self.purchased(seat_type):
            self.lapse()
        return self.refusal(seat_type)

    def lapse(self) -> bool:
        gone = [one for one in self.people if one.expires_at is not None and one.expires_at <= self.now]
        for one in gone:
            self.remove(one)
        return bool(gone)

    def remove(self, person: Person) -> None:
        self.people.remove(person)
        self.set_clocks()

    def claim(self, wish: Mapping[str, object]) -> str:
        refused = self.refusal_with_room_made(SEAT_OF[str(wish["role"])])
        email = spelled_once(wish["email"])
        own, addressed = self.find(str(wish["member_id"])), self.addressed(email)
        if addressed not in (None, own) and addressed.state != "held":
            return "email_taken"
        if (own or addressed) is not None:
            return self._claim_again(own, addressed, wish, refused)
        if refused is not None:
            return refused
        self.people.append(self._newcomer(wish))
        self.set_clocks(by_claim=True)
        return "granted"

    def _newcomer(self, wish: Mapping[str, object]) -> Person:
        held = bool(wish["hold"])
        return Person(
            str(wish["member_id"]),
            spelled_once(wish["email"]),
            str(wish["role"]),
            "held" if held else "active",
            bool(wish["protected"]),
            claimed_at=self.now,
            expires_at=self.now + HOLD if held else None,
        )

    def _claim_again(
        self, own: Person | None, addressed: Person | None, wish: Mapping[str, object], refused: str | None
    ) -> str:
        person = own or addressed
        invitation = None if addressed is person else addressed
        if person.state == "suspended":
            return "wrong_state"
        wanted = SEAT_OF[str(wish["role"])]
        if wanted is not None and wanted not in {person.seat, invitation and invitation.seat} and refused:
            return refused
        self.merge(person, invitation)
        person.member_id = str(wish["member_id"])
        person.email = person.email or spelled_once(wish["email"])
        if person.seat != wanted:
            person.role = str(wish["role"])
        if person.state == "held" and not wish["hold"]:
            person.state, person.expires_at = "active", None
        self.set_clocks(by_claim=True)
        return "granted"

    def rename(self, member_id: str, new_id: str) -> str:
        person, holder = self.find(member_id), self.find(new_id)
        if holder not in (None, person) and holder.state != "held":
            return "member_id_taken"
        self.merge(person, None if holder is person else holder)
        person.member_id = new_id
        self.set_clocks()
        return "changed"

    def reassign(self, member_id: str, wish: Mapping[str, object]) -> str:
        """The seat goes to the person of the wish; nobody is asked whether there is another one."""
        holder = self.find(member_id)
        assert holder is not None
        refused = self._keeps_the_seat(holder, SEAT_OF[str(wish["role"])])
        if refused is not None:
            return refused
        self.lapse()
        to, email = str(wish["member_id"]), spelled_once(wish["email"])
        own, addressed = self.find(to), self.addressed(email)
        if addressed not in (None, own) and (addressed.state != "held" or addressed is holder):
            return "email_taken"
        if any(one.seat is not None or one.state == "suspended" for one in (own, addressed) if one):
            return "wrong_state"
        self.people.remove(holder)
        person = own or addressed
        if person is None:
            self.people.append(self._newcomer(wish))
        else:
            self.merge(person, None if addressed is person else addressed)
            person.member_id, person.role, person.email = to, str(wish["role"]), person.email or email
            if person.state == "held" and not wish["hold"]:
                person.state, person.expires_at = "active", None
        self.set_clocks()
        return "changed"

    def _keeps_the_seat(self, holder: Person, seat_type: str | None) -> str | None:
        """Why the holder has no seat of this type to give."""
        if holder.expires_at is not None and holder.expires_at <= self.now:
            self.lapse()
            return "hold_expired"
        if holder.seat is not None and self.standing in ("suspended", "ended"):
            return "claims_blocked"
        return None if holder.seat is not None and holder.seat == seat_type else "wrong_state"

    def readdress(self, member_id: str, email: str) -> str:
        person, holder = self.find(member_id), self.addressed(spelled_once(email))
        if person.expires_at is not None and person.expires_at <= self.now:
            self.lapse()
            return "hold_expired"
        if holder not in (None, person) and holder.state != "held":
            return "email_taken"
        self.merge(person, None if holder is person else holder)
        person.email = spelled_once(email)
        self.set_clocks()
        return "changed"

    def claim_all(self, wishes: Sequence[Mapping[str, object]]) -> list[str]:
        before = deepcopy(self)
        answers = [self.claim(wish) for wish in wishes]
        if set(answers) != {"granted"}:
            vars(self).update(vars(before))
        return answers

    def change(
        self,
        member_id: str,
        *,
        role: str | None = None,
        state: str | None = None,
        protected: bool | None = None,
    ) -> str:
        person = self.find(member_id)
        assert person is not None
        if person.expires_at is not None and person.expires_at <= self.now:
            self.lapse()
            return "hold_expired"
        becomes = state or person.state
        if becomes not in REACHABLE[person.state]:
            return "wrong_state"
        goes_on = None if becomes == "suspended" else SEAT_OF[role or person.role]
        if goes_on != person.seat and (refused := self.refusal_with_room_made(goes_on)) is not None:
            return refused
        person.role, person.state = role or person.role, becomes
        person.protected = person.protected if protected is None else protected
        if becomes != "held":
            person.expires_at = None
        elif state == "held":
            person.expires_at = self.now + HOLD
        self.set_clocks(by_claim=True)
        return "changed"

    # Deadlines.

    def set_clocks(self, *, by_claim: bool = False) -> None:
        """A deadline is given once to each overage. Out of force, it is shelved, and comes back as it was.

        Warned are those who were beyond the limit when they were given a time, and who claimed since.
        """
        for seat_type in TYPES:
            was, over = self.over.get(seat_type, 0), self.used(seat_type) - self.purchased(seat_type)
            self.over[seat_type] = over = max(over, 0)
            if over == 0 and self.body is None:
                for kept in (self.since_over, self.deadlines, self.shelved, self.warned, self.suspends_at):
                    kept.pop(seat_type, None)
            elif over == 0 or self.policy != "grace":
                if over:
                    self.since_over.setdefault(seat_type, self.now)
                self.shelve(seat_type)
            else:
                self.run_clock(seat_type, more=max(over - was, 0) if by_claim else 0)

    def shelve(self, seat_type: str) -> None:
        if seat_type in self.deadlines:
            self.shelved[seat_type] = self.deadlines.pop(seat_type)
        self.warned.pop(seat_type, None)
        self.suspends_at.pop(seat_type, None)

    def run_clock(self, seat_type: str, *, more: int) -> None:
        since = self.since_over.setdefault(seat_type, self.now)
        if seat_type not in self.deadlines:
            self.deadlines[seat_type] = self.shelved.pop(seat_type, since + GRACE)
        if not self.suspending:
            self.warned.pop(seat_type, None)
            self.suspends_at.pop(seat_type, None)
        elif not self.warned.get(seat_type):
            self.warn(seat_type)
        else:
            self.warned[seat_type] = min(self.warned[seat_type] + more, self.over[seat_type])

    def warn(self, seat_type: str) -> None:
        self.warned[seat_type] = self.over[seat_type]
        self.suspends_at[seat_type] = max(self.deadlines[seat_type], self.now + GRACE)

    def decide(self, policy: str, *, suspending: bool) -> None:
        if (policy, suspending) != (self.policy, self.suspending) or not self.has_decided:
            for seat_type in self.since_over.keys() - self.deadlines.keys() - self.shelved.keys():
                del self.since_over[seat_type]
        self.policy, self.suspending, self.has_decided = policy, suspending, True
        self.set_clocks()
        self.enforce()

    def enforce(self) -> None:
        if self.body is not None or self.standing == "suspended":
            return
        for seat_type, moment in sorted(self.suspends_at.items()):
            if moment <= self.now and self.is_confirmed(moment):
                self.suspend(seat_type)

    def is_confirmed(self, deadline: datetime) -> bool:
        """The provider itself has shown since that it is too little, and nothing was heard after that."""
        return self.body is None and not self.asked and self.seen_at >= deadline

    def suspend(self, seat_type: str) -> None:
        unprotected = [one for one in self.people if one.seat == seat_type and not one.protected]
        over, warned = self.over[seat_type], self.warned[seat_type]
        for person in sorted(unprotected, key=lambda one: one.leaves_by)[:warned]:
            if person.state == "held":
                self.remove(person)
            else:
                person.state = "suspended"
                self.set_clocks()
        if over > warned and self.over[seat_type]:
            self.warn(seat_type)


def spelled_once(email: object) -> str | None:
    """The machine's addresses differ in blanks and case alone."""
    return str(email).strip().lower() if email else None


def outcome(model: Model, what: Callable[[Model], object]) -> Model:
    """The model after that, beside the model before."""
    after = deepcopy(model)
    what(after)
    return after
