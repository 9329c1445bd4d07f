"""All tables, imported in one place so that Alembic can compare them with the database."""

from __future__ import annotations

from models.account import Account
from models.api_key import ApiKey
from models.assignment import Assignment
from models.audit import AuditHead, AuditRow
from models.base import Base
from models.drift_finding import DriftFinding
from models.generation import Generation
from models.idempotency_key import IdempotencyKey
from models.inbox import InboxEvent
from models.installation import Installation
from models.member_import import Import, ImportReject
from models.notice import NoticeDelivery, StoredNotice
from models.notice_endpoint import Endpoint
from models.purchase_queue import QueuedPurchase
from models.purchase_reset import PurchaseReset
from models.reconcile_pass import ReconcilePass
from models.reconcile_sighting import Sighting
from models.row_count import RowCount
from models.scheduled_job import JobRun
from models.seat_change import SeatChange
from models.subscription import Subscription

TABLES = (
    Account,
    ApiKey,
    Assignment,
    AuditHead,
    AuditRow,
    DriftFinding,
    Endpoint,
    QueuedPurchase,
    Generation,
    IdempotencyKey,
    Import,
    ImportReject,
    InboxEvent,
    Installation,
    StoredNotice,
    NoticeDelivery,
    PurchaseReset,
    ReconcilePass,
    RowCount,
    SeatChange,
    Sighting,
    Subscription,
    JobRun,
)
metadata = Base.metadata
