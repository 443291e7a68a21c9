"""Move rows from Listrak to stdout at the least possible cost, to compare with the tap.

Run as a process, with a job (see rows.Job) as its one argument: one keep-alive session, lxml,
orjson, one write a page. It prints the RECORD lines that the tap prints, and checks nothing: no
status, no fault, no type, no key, no order of elements, no limit, no state, no retry.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from itertools import count
from typing import Any
from xml.sax.saxutils import escape

import orjson
import requests
from lxml import etree

NAMESPACE = "http://webservices.listrak.com/v31/"


def main(path: str) -> None:
    """Print the rows of the job."""
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    session = requests.Session()
    session.trust_env = False
    headers = {
        "Content-Type": "text/xml; charset=utf-8",
        "SOAPAction": f'"{NAMESPACE}{job["operation"]}"',
    }
    envelope = (
        '<?xml version="1.0" encoding="utf-8"?><soap:Envelope '
        'xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Header>'
        f'<WSUser xmlns="{NAMESPACE}"><UserName>{escape(job["username"])}</UserName>'
        f"<Password>{escape(job['password'])}</Password></WSUser></soap:Header><soap:Body>"
        f'<{job["operation"]} xmlns="{NAMESPACE}">%s</{job["operation"]}></soap:Body>'
        "</soap:Envelope>"
    )
    tag = f"{{{NAMESPACE}}}{job['row']}"
    columns = {f"{{{NAMESPACE}}}{column}": column for column in job["columns"]}
    dates = job["dates"]
    blank: dict[str, Any] = dict.fromkeys(job["columns"])
    out = sys.stdout.buffer
    for arguments in job["asks"]:
        blank[job["parent_key"]] = arguments[job["parent_key"]]
        for page in count(1):
            sent = "".join(
                f"<{name}>{value}</{name}>" for name, value in {**arguments, "Page": page}.items()
            )
            reply = session.post(job["url"], data=envelope % sent, headers=headers)
            came = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S.%fZ}"
            lines = []
            for row in etree.fromstring(reply.content).iter(tag):
                record = blank.copy()
                for cell in row:
                    record[columns[cell.tag]] = cell.text
                for column in dates:
                    record[column] += "Z"
                message = {
                    "type": "RECORD",
                    "stream": job["stream"],
                    "record": record,
                    "time_extracted": came,
                }
                lines.append(orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE))
            if not lines:
                break
            out.write(b"".join(lines))
            out.flush()


if __name__ == "__main__":
    main(sys.argv[1])
