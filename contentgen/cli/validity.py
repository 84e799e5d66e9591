"""When the certificates of a PEM document expire. Layer: the bottom of cli."""

from __future__ import annotations

from datetime import datetime, timedelta

SOON = timedelta(days=14)
"""Before its end a certificate should have been replaced."""


def first_end(pem: bytes) -> datetime | None:
    """When the first of its certificates expires; None if they can't be read."""
    from cryptography import x509  # most commands do not need it, and start faster without

    try:
        return min(each.not_valid_after_utc for each in x509.load_pem_x509_certificates(pem))
    except ValueError:
        return None


def expiry_text(end: datetime, now: datetime) -> str | None:
    """Text that a certificate has expired or expires soon; None if it is valid for longer."""
    if end - now > SOON:
        return None
    day = f"{end:%Y-%m-%d %H:%M} UTC"
    if end <= now:
        return f"expired on {day}"
    days = (end - now).days
    return f"expires on {day}, in {days} day{'' if days == 1 else 's'}"
