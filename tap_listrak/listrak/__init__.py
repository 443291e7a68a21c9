"""Calls, replies and faults of Listrak's SOAP service, independent of Singer."""
