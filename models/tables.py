"""All tables in one place, for the migrations to compare with."""

from __future__ import annotations

from models.account import Account
from models.api_key import ApiKey
from models.assignment import Assignment
from models.audit import AuditRow
from models.audit_chain import AuditHead
from models.base import Base
from models.endpoint import Endpoint
from models.expansion import Expansion
from models.finding import DriftFinding
from models.generation import Generation
from models.idempotency import IdempotencyKey
from models.imports import Import, ImportReject
from models.inbox import InboxEvent
from models.installation import Installation
from models.notice import KeptNotice, NoticeDelivery
from models.purchase_reset import PurchaseReset
from models.reconcile_pass import ReconcilePass, Sighting
from models.seat_change import SeatChange
from models.subscription import Subscription
from models.tick import Tick

TABLES = (
    Account,
    ApiKey,
    Assignment,
    AuditHead,
    AuditRow,
    DriftFinding,
    Endpoint,
    Expansion,
    Generation,
    IdempotencyKey,
    Import,
    ImportReject,
    InboxEvent,
    Installation,
    KeptNotice,
    NoticeDelivery,
    PurchaseReset,
    ReconcilePass,
    SeatChange,
    Sighting,
    Subscription,
    Tick,
)
metadata = Base.metadata
