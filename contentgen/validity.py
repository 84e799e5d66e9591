"""When the certificates of a PEM document expire."""

from __future__ import annotations

from datetime import datetime, timedelta

EXPIRY_WARNING = timedelta(days=14)
"""The remaining validity below which a certificate should have been replaced."""


def earliest_expiry(pem: bytes) -> datetime | None:
    """Returns when the first of the certificates in a PEM document expires. Returns None if they can't be read."""
    from cryptography import x509  # what has no TLS does not need it, and starts faster without

    try:
        return min(certificate.not_valid_after_utc for certificate in x509.load_pem_x509_certificates(pem))
    except ValueError:
        return None


def describe_expiry(end: datetime, now: datetime) -> str | None:
    """Returns the text that a certificate has expired, or expires soon. Returns None if it is valid for longer."""
    if end - now > EXPIRY_WARNING:
        return None
    day = f"{end:%Y-%m-%d %H:%M} UTC"
    if end <= now:
        return f"expired on {day}"
    days = (end - now).days
    return f"expires on {day}, in {days} day{'' if days == 1 else 's'}"
