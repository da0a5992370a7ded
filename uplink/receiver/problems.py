"""The receiver's refusals: one table of codes -> HTTP status and title, answered as problem documents (RFC 9457)."""

import msgspec
from aiohttp import web

CODES: dict[str, tuple[int, str]] = {
    "bad_site": (404, "No such resource"),
    "no_policy": (404, "There is no policy for this site"),
    "unauthorized": (401, "No valid token"),
    "unknown_key": (401, "The key is not known"),
    "bad_signature": (401, "The signature is not that of this request"),
    "token_unknown": (401, "The enrolment token is not known"),
    "forbidden": (403, "The token, key or certificate is for another site"),
    "revoked": (403, "The key was revoked"),
    "retired": (403, "Another key has taken the place of this one"),
    "token_used": (403, "The enrolment token is used up"),
    "token_expired": (403, "The enrolment token has expired"),
    "bad_request": (400, "The request is none of the contract's"),
    "bad_http": (400, "This is no HTTP request"),
    "unsupported_type": (415, "Not a CloudEvents batch"),
    "unsupported_encoding": (415, "Only gzip is understood"),
    "length_required": (411, "No Content-Length"),
    "too_large": (413, "Too large"),
    "too_slow": (408, "The body did not come in time"),
    "cut_body": (400, "The body is not whole"),
    "bad_query": (400, "A query parameter is wrong"),
    "bad_head": (400, "The head is wrong"),
    "bad_body": (422, "The body is wrong"),
    "digest_mismatch": (400, "The body is not the one that was sent"),
    "chain_mismatch": (400, "The events do not give the chain value of the head"),
    "key_known": (409, "The key was registered before, for something else"),
    "replayed": (409, "This very request came before"),
    "gap": (409, "Events are missing"),
    "conflict": (409, "Other events are stored under these numbers"),
    "no_such_path": (404, "Nothing is answered here"),
    "method_not_allowed": (405, "This path has other methods"),
    "throttled": (429, "Too many requests"),
    "busy": (503, "Too many batches at once"),
    "store_unavailable": (503, "Nothing can be stored at the moment"),
}
RETRY_AFTER_S = {"busy": 5, "store_unavailable": 60}


def problem(code: str, detail: str, **members: int) -> web.Response:
    status, title = CODES[code]
    document = {"title": title, "status": status, "code": code, "detail": detail, **members}
    response = web.Response(status=status, body=msgspec.json.encode(document), content_type="application/problem+json")
    if retry_after_s := members.get("retry_after_s", RETRY_AFTER_S.get(code)):
        response.headers["Retry-After"] = str(retry_after_s)
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="pegcount"'
    return response
