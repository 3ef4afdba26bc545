"""The certificate that a public address shows for the name: whether clients take it, and for how long they will."""

import asyncio
import ssl
from typing import Any

from ...models.findings import Finding
from ...settings import Settings, public_host
from . import place

CHECK, REACHED = "certificate", "public address"
CONNECT = 4.0  # seconds
HANDSHAKE = 8.0  # the first hit after it was enabled waits until the certificate is there
SOON = 7
DAY = 86400
# Tailscale does not come back by itself from some states; setting up Funnel anew does not help, this does.
STUCK = "sudo systemctl restart tailscaled   (on a Mac: quit Tailscale and open it again), then wait ten minutes"
# OpenSSL's X509_V_ERR_*.
EXPIRED, NOT_YET, OTHER_NAME, SELF_SIGNED = {10}, {9}, {62, 64}, {18, 19, 20, 21}


async def look(settings: Settings, address: str, port: int, tls: ssl.SSLContext, now: int) -> Finding:
    """Of ``address``, asked for the public name (SNI)."""
    host = public_host(settings.origin)
    try:
        async with asyncio.timeout(CONNECT):
            _, writer = await asyncio.open_connection(address, port)
    except (TimeoutError, OSError):
        return _nobody(settings, address)
    try:
        async with asyncio.timeout(HANDSHAKE):
            await writer.start_tls(tls, server_hostname=host.strip("[]"))
        return _judge(writer.get_extra_info("peercert"), host, settings, now)
    except ssl.SSLCertVerificationError as error:
        return Finding.problem(CHECK, f"apps refuse it: {_reason(error, host)}", _renew(settings))
    except (TimeoutError, OSError):
        fix = STUCK if place.at_tailscale(settings) else "let your proxy speak TLS at the port of PUBLIC_URL"
        return Finding.problem(CHECK, f"there is no TLS at {address}", fix)
    finally:
        writer.transport.abort()


def _judge(certificate: dict[str, Any], host: str, settings: Settings, now: int) -> Finding:
    days = int(ssl.cert_time_to_seconds(certificate["notAfter"]) - now) // DAY
    issuer = dict(pair for group in certificate.get("issuer", ()) for pair in group)
    by = issuer.get("organizationName") or issuer.get("commonName") or "somebody"
    found = f"for {host}, by {by}, good for {days} days"
    return Finding.warning(CHECK, found, _renew(settings)) if days < SOON else Finding.fine(CHECK, found)


def _reason(error: ssl.SSLCertVerificationError, host: str) -> str:
    if error.verify_code in EXPIRED:
        return "it has expired"
    if error.verify_code in NOT_YET:
        return "it is not valid yet (is this computer's clock right?)"
    if error.verify_code in OTHER_NAME:
        return f"it is not for {host}"
    if error.verify_code in SELF_SIGNED:
        return "nobody whom apps trust has signed it, or the certificate between is not sent with it"
    return error.verify_message


def _renew(settings: Settings) -> str:
    if place.at_tailscale(settings):
        return (
            f"sudo tailscale cert {public_host(settings.origin)}; if that succeeds: sudo systemctl restart tailscaled"
        )
    return "renew the certificate of the proxy in front of mcpauth, and send the whole chain"


def _nobody(settings: Settings, address: str) -> Finding:
    found = f"nobody answers at {address}"
    if place.at_tailscale(settings):
        return Finding.problem(REACHED, found, STUCK)
    return Finding.warning(
        REACHED,
        f"{found}; some routers do not let their own network reach its public address",
        "try the address from a phone without Wi-Fi; if it fails there too, forward port 443 to the proxy",
    )
