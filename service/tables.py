"""The tables that the service keeps. Times are seconds since 1970; an owner is the name of an API key."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

files = Table(
    "genrm_files",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(128)),
    Column("filename", Text, nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("num_bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
)
"""Uploaded files. What a batch writes is in `results` and has no row here."""

chunks = Table(
    "genrm_file_chunks",
    metadata,
    Column("file_id", ForeignKey(files.c.id, ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
"""The bytes of uploaded files, in pieces of equal size."""

batches = Table(
    "genrm_batches",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", String(128)),
    Column("endpoint", String(64), nullable=False),
    Column("input_file_id", String(64), nullable=False, index=True),
    Column("completion_window", String(16), nullable=False),
    Column("metadata", Text, nullable=False),
    Column("status", String(16), nullable=False, index=True),
    Column("errors", Text),
    Column("num_lines", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("in_progress_at", BigInteger),
    Column("finalizing_at", BigInteger),
    Column("completed_at", BigInteger),
    Column("failed_at", BigInteger),
    Column("expired_at", BigInteger),
    Column("cancelling_at", BigInteger),
    Column("cancelled_at", BigInteger),
    Column("kept_until", BigInteger, nullable=False, index=True),
    Column("has_expired", Boolean, nullable=False),
)

pieces = Table(
    "genrm_batch_pieces",
    metadata,
    Column("batch_id", ForeignKey(batches.c.id, ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("first_line", Integer, nullable=False),
    Column("last_line", Integer, nullable=False),
    Column("start_byte", BigInteger, nullable=False),
    Column("end_byte", BigInteger, nullable=False),
    Column("is_done", Boolean, nullable=False),
    Column("num_idle_starts", Integer, nullable=False),
    Column("num_results_seen", Integer, nullable=False),
)
"""Some lines of a batch that lie together; what one worker takes at a time."""

results = Table(
    "genrm_batch_results",
    metadata,
    Column("batch_id", ForeignKey(batches.c.id, ondelete="CASCADE"), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("is_error", Boolean, nullable=False),
    Column("num_bytes", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Index("genrm_batch_results_by_kind", "batch_id", "is_error", "line", "num_bytes"),
)
"""What came of each line, as the line of the output or error file that it is; empty when that file was deleted. The key
keeps out a second one.
"""

remembered = Table(
    "genrm_remembered_answers",
    metadata,
    Column("owner", String(128), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("replica", String(64), nullable=False),
    Column("fingerprint", LargeBinary),
    Column("route", Text),
    Column("status", Integer),
    Column("headers", Text),
    Column("body", LargeBinary),
    Column("created_at", BigInteger, nullable=False, index=True),
)
"""Answers by Idempotency-Key; no status while the request runs."""

replicas = Table(
    "genrm_replicas",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("beat", BigInteger, nullable=False),
    Column("taken_over_by", String(64)),
)
"""The processes that share this database. `beat` counts up while one lives."""
