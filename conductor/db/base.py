"""What all tables have in common: names, types, and how MariaDB is kept from guessing."""

from __future__ import annotations

import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase

Uuid = sa.String(36)
NAME_LENGTH = 255
Name = sa.String(NAME_LENGTH)
BINARY = {"mysql_collate": "utf8mb4_bin"}
"""Names differ by case on every database; MariaDB must be told."""
Moment = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


class Base(DeclarativeBase):
    """Base of the tables."""

    __table_args__: Any = BINARY
    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        dict[str, Any]: sa.JSON,
        list[Any]: sa.JSON,
        datetime.datetime: Moment,
        str: Name,
    }
