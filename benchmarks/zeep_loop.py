"""Read rows with zeep alone, to compare with the tap.

Run as a process, with a job (see rows.Job) as its one argument. zeep calls the operation and makes
its Python objects of the reply; nothing is done with them, and nothing is printed.
"""

from __future__ import annotations

import json
import sys
from itertools import count
from typing import Any

import zeep


def main(path: str) -> None:
    """Read the rows of the job."""
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    client: Any = zeep.Client(job["wsdl"])  # type: ignore[no-untyped-call] # zeep has no types
    binding = next(iter(client.wsdl.bindings))
    service = client.create_service(binding, job["url"])
    operation = service[job["operation"]]
    user = {"WSUser": {"UserName": job["username"], "Password": job["password"]}}
    for arguments in job["asks"]:
        for page in count(1):
            if not operation(**arguments, Page=page, _soapheaders=user):
                break


if __name__ == "__main__":
    main(sys.argv[1])
