"""Tables as examples/dbt builds them, small and with awkward text, and the page made of them."""

import subprocess
import sys
from pathlib import Path

import duckdb

SCRIPT = Path(__file__).parents[2] / "examples/report/report.py"
SUBJECTS = (
    "</script><script>document.title = 'run'</script>",
    '<img src="https://example.com/x.png" onerror="document.title = 1">',
    "<!-- <script> & &amp; \u2028 ' \" @@ROWS@@ {0} %s",
    "été",
    "Zebra",
)
LIST_NAMES = ('News <b>&</b> "more"', "</script>")
MESSAGES = 24


def write_marts(path: Path) -> None:
    """Create the tables of the page."""
    with duckdb.connect(str(path)) as database:
        lists, subjects = list(enumerate(LIST_NAMES)), list(enumerate(SUBJECTS))
        database.execute("CREATE TABLE stg_listrak__lists (list_id BIGINT, list_name TEXT)")
        database.executemany("INSERT INTO stg_listrak__lists VALUES (?, ?)", lists)
        database.execute("CREATE TABLE subjects (place BIGINT, subject TEXT)")
        database.executemany("INSERT INTO subjects VALUES (?, ?)", subjects)
        database.execute(f"""
            CREATE TABLE listrak__campaigns AS
            SELECT n AS message_id, list_id, list_name, subject,
                CASE WHEN n > 0 THEN TIMESTAMP '2026-01-01' + n * INTERVAL '31 hours' END
                    AS sent_at,
                1000 + n * 37 % 50 AS sends, 990 + n * 37 % 50 AS delivered,
                400 + n * 7 % 90 AS unique_opens,
                CASE WHEN n <> 3 THEN 100 + n * 13 % 40 END AS unique_clicks, n % 9 AS bounces,
                n % 4 AS unsubscribes, unique_opens / delivered AS open_rate,
                unique_clicks / delivered AS click_rate, n * 1234.5 AS revenue
            FROM range({MESSAGES}) AS numbers (n)
            JOIN stg_listrak__lists ON list_id = n % {len(LIST_NAMES)}
            LEFT JOIN subjects ON place = n % {len(SUBJECTS) + 1};
            CREATE TABLE listrak__campaign_recipients AS
            SELECT n AS message_id, CASE WHEN n % 7 > 0 THEN n * n / 100.0 END AS minutes_to_open
            FROM range(1000) AS numbers (n);
            CREATE TABLE listrak__days AS
            SELECT list_id, DATE '2026-01-01' + n::INTEGER AS day, n % 5 AS subscribed,
                n % 3 AS unsubscribed, 100 + n AS subscribers
            FROM range(60) AS numbers (n), stg_listrak__lists;
            CREATE TABLE listrak__links AS
            SELECT n AS message_id, 'https://shop.example/' || n % 12 || '?e=ann@x.org' AS link_url,
                CASE WHEN n % 2 = 0 THEN '<b>Sale</b>' END AS link_description, 5 + n AS clicks,
                n AS unique_clicks
            FROM range(24) AS numbers (n)
            UNION ALL SELECT 1, 'https://shop.example/ann%40x.org/off#ann@x.org', NULL, 999, 9
        """)  # noqa: S608 # numbers of this module's own


def write_page(folder: Path) -> tuple[Path, Path]:
    """Return a database and its page."""
    database, page = folder / "listrak.duckdb", folder / "report.html"
    write_marts(database)
    subprocess.run([sys.executable, str(SCRIPT), str(database), str(page)], check=True)
    return database, page
