"""Listrak's WSDL, as zeep understands it: an operation and its arguments become a request.

The only user of zeep.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable
from typing import Any

import zeep
import zeep.exceptions
import zeep.wsdl.bindings
from lxml import etree

from tap_listrak.config import Config
from tap_listrak.listrak.faults import Condition, make_error
from tap_listrak.listrak.response import looks_like_html

# What zeep raises, besides its own exceptions, for XML that is no sound WSDL.
_INVALID_WSDL = (ValueError, LookupError, AttributeError, TypeError, AssertionError, RuntimeError)

# Stand for the arguments in which most calls differ, in envelopes that zeep has built, of which so
# many are kept: to build one takes longer than to replace them.
_PLACEHOLDERS = {"Page": 2**31 - 1, "MsgID": 2**31 - 2, "ConversationID": 2**31 - 3}
_MAX_ENVELOPES = 64


class _OneDocument(zeep.Transport):
    """Gives zeep the WSDL that was fetched already, and nothing else that it may refer to."""

    url = "file:contract.wsdl"

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body = body

    def load(self, url: str) -> bytes:
        if url != self.url:
            raise make_error(Condition.CONTRACT, f"it refers to {url}")
        return self._body


class Contract:
    """The service's operations, by name; builds requests, from several threads at once."""

    def __init__(self, wsdl: bytes, operations: Iterable[str], config: Config) -> None:
        """Read the WSDL. Raises ListrakError where it is none, or lacks one of `operations`."""
        self._user = {"UserName": config.username, "Password": config.password}
        self._envelope = functools.lru_cache(_MAX_ENVELOPES)(self._build)
        # zeep resolves its types at first use, which is not safe in several threads at once.
        self._lock = threading.Lock()
        if looks_like_html(wsdl):
            raise make_error(Condition.NOT_SOAP, "HTML in place of the WSDL")
        if b"<!DOCTYPE" in wsdl:
            raise make_error(Condition.CONTRACT, "a document type")
        try:
            self._client = zeep.Client(
                _OneDocument.url,
                transport=_OneDocument(wsdl),
                settings=zeep.Settings(forbid_dtd=True, forbid_entities=True, forbid_external=True),
            )
            self._service = self._bind()
            self.operations = frozenset(self._service._binding._operations)
        except zeep.exceptions.XMLSyntaxError as exc:
            raise make_error(Condition.NOT_XML, str(exc)) from exc
        except (zeep.exceptions.Error, etree.LxmlError, *_INVALID_WSDL) as exc:
            raise make_error(Condition.CONTRACT, str(exc)) from exc
        missing = [operation for operation in operations if operation not in self.operations]
        if missing:
            raise make_error(Condition.CONTRACT, f"it lacks {', '.join(missing)}")

    def _bind(self) -> Any:
        for service in self._client.wsdl.services.values():
            for port in service.ports.values():
                if isinstance(port.binding, zeep.wsdl.bindings.Soap11Binding):
                    return self._client.bind(service.name, port.name)
        raise ValueError("it has no SOAP 1.1 port")

    def build_request(
        self, operation: str, arguments: dict[str, Any]
    ) -> tuple[bytes, dict[str, str]]:
        """Return the envelope and the HTTP headers of one call. Raises ListrakError.

        zeep builds one envelope for all calls that differ only in what the placeholders stand for.
        """
        varying = arguments.keys() & _PLACEHOLDERS.keys()
        template = {
            name: _PLACEHOLDERS[name] if name in varying else value
            for name, value in arguments.items()
        }
        with self._lock:
            if not varying or any(each in _PLACEHOLDERS.values() for each in arguments.values()):
                return self._build(operation, tuple(arguments.items()))
            envelope, headers = self._envelope(operation, tuple(template.items()))
            counts = {name: envelope.count(b">%d<" % template[name]) for name in varying}
            if 0 in counts.values():
                raise make_error(Condition.ARGUMENTS, operation)
            if set(counts.values()) != {1}:  # a password, say, is one of them
                return self._build(operation, tuple(arguments.items()))
        for name in varying:
            envelope = envelope.replace(b">%d<" % template[name], b">%d<" % arguments[name])
        return envelope, headers

    def _build(
        self, operation: str, arguments: tuple[tuple[str, Any], ...]
    ) -> tuple[bytes, dict[str, str]]:
        """Let zeep build an envelope."""
        values = dict(arguments)
        try:
            message = self._client.create_message(
                self._service, operation, _soapheaders={"WSUser": self._user}, **values
            )
            action = self._service._binding._operations[operation].soapaction
        except (zeep.exceptions.Error, TypeError, ValueError) as exc:
            raise make_error(Condition.ARGUMENTS, operation) from exc
        envelope = etree.tostring(message, xml_declaration=True, encoding="utf-8")
        return envelope, {
            "Content-Type": "text/xml; charset=utf-8",
            "SOAPAction": f'"{action}"',
        }
