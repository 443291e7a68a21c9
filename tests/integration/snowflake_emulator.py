"""target-snowflake on fakesnow: `python snowflake_emulator.py FOLDER --config target.json`.

It runs in the target's environment. The emulator lacks what the target loads with: PUT, user
stages, SEQ8() and parallel sinks. So a batch is put into a table of its rows and their order, and
the MERGE reads that table. All other SQL is the target's.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import fakesnow
import sqlalchemy
from target_snowflake.connector import SnowflakeConnector
from target_snowflake.target import TargetSnowflake


class EmulatedConnector(SnowflakeConnector):
    """The target's connector, with a table for a stage."""

    def put_batches_to_stage(self, sync_id: str, files: Sequence[str]) -> None:
        """Put the rows of a batch into the table, as texts, numbered in their order."""
        texts = [gzip.decompress(Path(urlparse(file).path).read_bytes()) for file in files]
        rows = [json.loads(line) for text in texts for line in text.splitlines()]
        names = list({name: None for row in rows for name in row})
        columns = ", ".join(f'"{name}" VARCHAR' for name in names)
        places = ", ".join("?" for _ in range(len(names) + 1))
        with self._connect() as connection:
            duckdb = connection.connection.dbapi_connection._duck_conn
            duckdb.execute(f"CREATE OR REPLACE TABLE {self.staged} (SEQ BIGINT, {columns})")
            duckdb.executemany(
                f"INSERT INTO {self.staged} VALUES ({places})",
                [[number, *map(_text, map(row.get, names))] for number, row in enumerate(rows)],
            )

    def get_connect_args(self) -> dict[str, Any]:
        """Name the schema: the emulator's MERGE makes a table without saying where."""
        return {**super().get_connect_args(), "schema": self.config["schema"].upper()}

    @property
    def staged(self) -> str:
        """The table's name."""
        return f"{self.config['database']}.{self.config['schema'].upper()}.STAGED"

    def _get_merge_from_stage_statement(
        self, **given: Any
    ) -> tuple[sqlalchemy.TextClause, dict[str, Any]]:
        statement, parameters = super()._get_merge_from_stage_statement(**given)
        merge = re.sub(
            r"'@~/\S+'\(file_format => .*?\) QUALIFY", f"{self.staged} QUALIFY", statement.text
        )
        return sqlalchemy.text(merge.replace("$1:", "").replace("SEQ8()", "SEQ")), parameters

    def create_file_format(self, *_: Any, **__: Any) -> None:
        """The table needs none."""

    drop_file_format = remove_staged_files = create_file_format


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def main() -> None:
    """Run the target, its databases in the folder that the first argument names."""
    folder = sys.argv.pop(1)
    TargetSnowflake.default_sink_class.connector_class = EmulatedConnector
    TargetSnowflake.max_parallelism = 1
    with fakesnow.patch(db_path=folder):
        TargetSnowflake.cli()


if __name__ == "__main__":
    main()
