"""The columns and keys that the tap must emit, of the published and all other streams.

They are those of Listrak's WSDL. docs/tables.md lists them, and a test compares it.
"""

from fake_listrak.contract import FURTHER_OPERATIONS, ID_OF, OPERATIONS, Operation

TYPES = {"int": "integer", "double": "number", "decimal": "number", "dateTime": "date-time"}
# Dates that the WSDL has as text, and what is typed as the published tap has it.
OTHERWISE = dict.fromkeys(("AddDate", "HygieneDate", "PassAlongDate"), "date-time")
OTHERWISE |= {"ContactID": "string", "GoogleTrackingDomains": "array", "Vmta": "object"}


def columns_of(operation: Operation) -> dict[str, str]:
    """The type of each column of an operation's rows, with the ID of their parent."""
    columns = {name: TYPES.get(kind, kind) for name, kind in operation.columns.items()}
    columns |= {name: OTHERWISE[name] for name in OTHERWISE.keys() & columns.keys()}
    if operation.table == "message_unsubs":
        columns |= {"AdditionDate": "string", "RemovalDate": "string"}
    parent = ID_OF.get(operation.asked_by)
    return columns | ({parent: "integer"} if parent else {})


ALL_COLUMNS = {each.table: columns_of(each) for each in OPERATIONS.values()}
ALL_KEYS = {each.table: list(each.key) for each in OPERATIONS.values()}
FURTHER = [OPERATIONS[name].table for name in FURTHER_OPERATIONS]
COLUMNS = {table: columns for table, columns in ALL_COLUMNS.items() if table not in FURTHER}
KEYS = {table: ALL_KEYS[table] for table in COLUMNS}
