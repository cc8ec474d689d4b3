"""What a failed handshake means for whoever wrote the Bucket: pure, one table."""

import ssl

UNVOUCHED = {18, 19, 20, 21}  # X509_V_ERR_*: self-signed, or issued by nobody that is trusted
OTHER_NAME = {62, 64}  # of a host, of an address
OVER = {9, 10}  # not valid yet, not any more
FORM = range(80, 95)  # what X509_V_FLAG_X509_STRICT adds, from openssl/x509_vfy.h

CHECK = "check the Bucket's tls block"
NOT_ACCEPTED = (
    "the store does not accept the Bucket's certificate: check tls.crt and tls.key in "
    "tls.secretRef, and which authority the store trusts"
)


def advice(error: BaseException | None) -> str:
    """What to do about `error`, which ended a handshake or followed it."""
    match error:
        case ssl.SSLCertVerificationError():
            return of_verification(error.verify_code)
        case ssl.SSLError() if "ALERT" in (error.reason or ""):
            return NOT_ACCEPTED
        case _:
            return CHECK


def of_verification(code: int) -> str:
    if code in FORM:
        return (
            "the certificate, or its authority's, breaks RFC 5280 in form: have it issued anew, "
            "or set tls.relaxedX509: true to accept it"
        )
    if code in UNVOUCHED:
        return (
            "none of the authorities that the Bucket trusts has issued the store's certificate: "
            "check ca.crt in tls.secretRef, or tls.caConfigMapRef"
        )
    if code in OTHER_NAME:
        return "the store's certificate is for another name: check endpoints, or set tls.serverName"
    if code in OVER:
        return "the store's certificate is not valid at this time: have it renewed, check the clock"
    return CHECK
