"""What the certificates of a PEM document say: when they expire, and for which names they are.

Nothing is verified here: TLS is gRPC's. The fields are those of RFC 5280.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

EXPIRY_WARNING = timedelta(days=14)
"""The remaining validity below which a certificate should have been replaced."""

_BLOCK = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def earliest_expiry(pem: bytes) -> datetime | None:
    """Returns when the first of the certificates in a PEM document expires. Returns None if they can't be read.

    They can't where the client is installed alone: pyasn1 comes with the extras.
    """
    try:
        return min(_end(certificate) for certificate in _certificates(pem))
    except (ImportError, ValueError):
        return None


def first_name(pem: bytes) -> str | None:
    """Returns a name that the first certificate is for, a host's before an address. Returns None if it has none."""
    try:
        names = list(_names(next(_certificates(pem))))
        hosts = [value.decode() for kind, value in names if kind == "dNSName"]
        addresses = [str(ip_address(value)) for kind, value in names if kind == "iPAddress"]
    except (ValueError, StopIteration):
        return None
    return next(iter(hosts + addresses), None)


def describe_expiry(end: datetime, now: datetime) -> str | None:
    """Returns the text that a certificate has expired, or expires soon. Returns None if it is valid for longer."""
    if end - now > EXPIRY_WARNING:
        return None
    day = f"{end:%Y-%m-%d %H:%M} UTC"
    if end <= now:
        return f"expired on {day}"
    days = (end - now).days
    return f"expires on {day}, in {days} day{'' if days == 1 else 's'}"


def _certificates(pem: bytes) -> Iterator[Any]:
    """The parts that are signed, `tbsCertificate`. Raises ValueError for what is no certificate."""
    from pyasn1_modules.rfc5280 import Certificate  # what has no TLS does not need it, and starts faster without

    for block in _BLOCK.findall(pem.decode("latin-1")):
        yield _decoded(ssl.PEM_cert_to_DER_cert(block), Certificate())["tbsCertificate"]


def _end(certificate: Any) -> datetime:
    end: datetime = certificate["validity"]["notAfter"].getComponent().asDateTime
    return end.astimezone(UTC)


def _names(certificate: Any) -> Iterator[tuple[str, bytes]]:
    """The alternative names, each with its kind."""
    from pyasn1_modules.rfc5280 import SubjectAltName, id_ce_subjectAltName

    for extension in certificate["extensions"]:
        if extension["extnID"] == id_ce_subjectAltName:
            for name in _decoded(extension["extnValue"], SubjectAltName()):
                yield name.getName(), bytes(name.getComponent())


def _decoded(encoded: Any, form: Any) -> Any:
    from pyasn1.codec.der.decoder import decode
    from pyasn1.error import PyAsn1Error

    try:
        return decode(encoded, asn1Spec=form)[0]
    except PyAsn1Error as error:
        raise ValueError(str(error)) from error
