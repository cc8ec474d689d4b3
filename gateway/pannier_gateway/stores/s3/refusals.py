"""What a store's refusals mean for the caller: pure, one table.

Every message names the bucket, its endpoint and what to check.
"""

from pannier_gateway.errors import (
    ArrivedDamaged,
    BadRequest,
    PannierError,
    StoreBusy,
    StoreFull,
    StoreMisanswered,
    StoreRefused,
    StoreUnavailable,
)
from pannier_gateway.stores.exchanging import Dialect
from pannier_gateway.stores.s3.answers import Refusal

KEY = "check the Bucket's credentials (s3.auth)"
WHERE = "check s3.bucket, s3.region and endpoints"
S3 = Dialect("S3", WHERE)

DAMAGED = ("BadDigest", "XAmzContentChecksumMismatch", "InvalidDigest", "IncompleteBody")
ADVICE = {
    "SignatureDoesNotMatch": f"the secret key does not fit the access key: {KEY}",
    "InvalidAccessKeyId": f"the store does not know the access key: {KEY}",
    "XAdminUserNotFound": f"the store does not know the access key: {KEY}",
    "NotSignedUp": f"the store does not know the access key: {KEY}",
    "InvalidToken": f"the session token is not valid: {KEY}",
    "ExpiredToken": f"the session token has expired: {KEY}",
    "AccessDenied": f"the key pair may not do this: {KEY}, and what the store allows it",
    "AllAccessDisabled": f"the key pair may not do this: {KEY}",
    "NoSuchBucket": f"the store has no such bucket: {WHERE}",
    "InvalidBucketName": f"the store takes no such bucket name: {WHERE}",
    "PermanentRedirect": f"the bucket is elsewhere: {WHERE}",
    "AuthorizationHeaderMalformed": f"the region is another one: {WHERE}",
    "IncorrectRegion": f"the region is another one: {WHERE}",
    "NotImplemented": "the store does not offer this",
    "RequestTimeTooSkewed": "the clocks differ: check that of this machine and the store's",
} | dict.fromkeys(DAMAGED, "the bytes were damaged on their way: check what lies on it")
FULL = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "TooManyObjects"}
CALLERS = {
    "EntityTooLarge",
    "KeyTooLongError",
    "MetadataTooLarge",
    "XMinioInvalidObjectName",
    "InvalidURI",
}
BUSY = {"SlowDown", "ServiceUnavailable", "TooManyRequests", "RequestLimitExceeded", "Throttling"}
PASSING = {  # 400 and 409, though nobody is at fault
    "RequestTimeout",
    "OperationAborted",
    "ConditionalRequestConflict",
}


def refused(place: str, what: Refusal) -> PannierError:
    """The error for an answer that refuses; `place` names bucket and endpoint."""
    said = f"{what.status} {what.code}".strip()
    if what.code in FULL or what.status == 507:
        return StoreFull()
    if what.code in CALLERS:
        return BadRequest(f"{place} keeps no such object ({said}): {what.message}")
    if what.code in ADVICE:
        kind = ArrivedDamaged if what.code in DAMAGED else StoreRefused
        return kind(f"{place} refuses ({said}): {ADVICE[what.code]}")
    if what.code in BUSY or what.status in {429, 503}:
        return StoreBusy(f"{place} is busy ({said}): ask again later", what.wait)
    if what.code in PASSING:
        return StoreUnavailable(f"{place}: {said}: {what.message}")
    return unexplained(f"{place}: {said}", what)


def unexplained(said: str, what: Refusal) -> PannierError:
    if not what.code and what.status < 500:
        return StoreMisanswered(
            f"{said}: this is not how S3 answers ({what.message!r}): {WHERE}, "
            "and what stands in front of the store"
        )
    kind = StoreUnavailable if what.status >= 500 else StoreRefused
    return kind(f"{said}: {what.message}")
