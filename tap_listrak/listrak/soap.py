"""Build requests from Listrak's WSDL. The only module that uses zeep."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import zeep
import zeep.exceptions
import zeep.wsdl.bindings
from lxml import etree

from tap_listrak.config import Config
from tap_listrak.listrak.faults import Condition, make_error
from tap_listrak.listrak.response import LISTRAK, looks_like_html, strip_around

# Python's own exceptions that zeep raises for an invalid WSDL.
_INVALID_WSDL = (ValueError, LookupError, AttributeError, TypeError, AssertionError, RuntimeError)

# Arguments that vary between calls. They are set in a cached message, which saves a fifth of the
# CPU time of a call.
_VARYING = ("Page", "MsgID", "ConversationID")
_MAX_MESSAGES = 64


class _OneDocument(zeep.Transport):
    """Give zeep the WSDL that was fetched, and block all other addresses."""

    url = "file:contract.wsdl"

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body = strip_around(body)

    def load(self, url: str) -> bytes:
        if url != self.url:
            raise make_error(Condition.CONTRACT, f"the WSDL refers to {url}")
        return self._body


class Contract:
    """The service's operations, by name. Thread-safe."""

    def __init__(self, wsdl: bytes, operations: Iterable[str], config: Config) -> None:
        """Read the WSDL. Raises ListrakError if it is invalid or lacks one of `operations`."""
        self._user = {"UserName": config.username, "Password": config.password}
        self._build_cached = functools.lru_cache(_MAX_MESSAGES)(self._build)
        # zeep resolves its types at first use, which is not safe in several threads at once.
        self._lock = threading.Lock()
        if looks_like_html(wsdl):
            raise make_error(Condition.NOT_SOAP, "HTML instead of the WSDL")
        if b"<!DOCTYPE" in wsdl:
            raise make_error(Condition.CONTRACT, "the WSDL contains a DTD")
        try:
            self._client = zeep.Client(
                _OneDocument.url,
                transport=_OneDocument(wsdl),
                settings=zeep.Settings(forbid_dtd=True, forbid_entities=True, forbid_external=True),
            )
            self._service = self._bind()
            self.operations = frozenset(self._service._binding._operations)
            # Operations that always reply with a WSException, nil on success.
            self.with_exception = frozenset(filter(self._has_exception, self.operations))
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
        raise ValueError("no SOAP 1.1 port")

    def _has_exception(self, operation: str) -> bool:
        response = self._service._binding._operations[operation].output.body
        elements = dict(response.type.elements) if response is not None else {}
        return "WSException" in elements and elements["WSException"].min_occurs > 0

    def build_request(
        self, operation: str, arguments: Mapping[str, Any]
    ) -> tuple[bytes, dict[str, str]]:
        """Return the envelope and the HTTP headers of one call. Raises ListrakError."""
        varying = {name: str(arguments[name]) for name in _VARYING if name in arguments}
        fixed = tuple((name, 1 if name in varying else arguments[name]) for name in arguments)
        with self._lock:
            build = self._build_cached if varying else self._build
            message, action = build(operation, fixed)
            for name, text in varying.items():
                message.find(f"{{*}}Body//{LISTRAK}{name}").text = text
            envelope = etree.tostring(message, xml_declaration=True, encoding="utf-8")
        return envelope, {
            "Content-Type": "text/xml; charset=utf-8",
            "SOAPAction": f'"{action}"',
        }

    def _build(self, operation: str, arguments: tuple[tuple[str, Any], ...]) -> tuple[Any, str]:
        """Build a message with zeep; return it and its SOAPAction."""
        try:
            message = self._client.create_message(
                self._service, operation, _soapheaders={"WSUser": self._user}, **dict(arguments)
            )
        except (zeep.exceptions.Error, TypeError, ValueError) as exc:
            raise make_error(Condition.ARGUMENTS, operation) from exc
        return message, self._service._binding._operations[operation].soapaction
