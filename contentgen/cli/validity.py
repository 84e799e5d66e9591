"""Until when the certificates of a PEM document are valid. Below all layers, beside `config`, of which it uses nothing.

The standard library tells that only of certificates that it trusts; here the two times are read from the DER itself
(RFC 5280, 4.1).
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

SOON = timedelta(days=14)
"""Before its end a certificate should have been replaced."""

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_CONTEXT_TAG = 0xA0
_ISSUE_TO_VALIDITY = 3
"""Elements of a TBSCertificate between its version and its validity: serial number, signature, issuer."""
_FORMATS = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}


def first_end(pem: bytes) -> datetime | None:
    """When the first of its certificates expires; None where it holds none that can be read."""
    ends = [_end(ssl.PEM_cert_to_DER_cert(found)) for found in _PEM.findall(pem.decode("ascii", "replace"))]
    return min((end for end in ends if end), default=None)


def told(end: datetime, now: datetime) -> str | None:
    """Says that a certificate has expired, or will before long; None where it is valid for longer."""
    if end - now > SOON:
        return None
    day = f"{end:%Y-%m-%d %H:%M} UTC"
    if end <= now:
        return f"expired on {day}"
    days = (end - now).days
    return f"expires on {day}, in {days} day{'' if days == 1 else 's'}"


def _end(der: bytes) -> datetime | None:
    try:
        ((_, certificate),) = _elements(der)
        (_, tbs), *_ = _elements(certificate)
        fields = [content for tag, content in _elements(tbs) if tag != _CONTEXT_TAG]
        _, (tag, text) = _elements(fields[_ISSUE_TO_VALIDITY])
        return datetime.strptime(text.decode("ascii"), _FORMATS[tag]).replace(tzinfo=UTC)
    except (ValueError, IndexError, KeyError):
        return None


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each DER element."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        yield tag, data[at : at + length]
        at += length
