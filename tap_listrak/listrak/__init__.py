"""All that knows Listrak's SOAP service: calls, replies, faults. Nothing here knows Singer."""
