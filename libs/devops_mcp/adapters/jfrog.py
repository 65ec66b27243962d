"""How the webhooks of JFrog's platform prove themselves, whichever of its products sends them.

`X-JFrog-Event-Auth` carries the bare hex HMAC-SHA256 of the body where "Use secret for payload signing" is ticked, otherwise the secret
itself. https://jfrog.com/help/r/jfrog-platform-administration-documentation/webhooks
"""

from devops_mcp.adapters.signatures import HmacSha256, SharedToken

HEADER = "X-JFrog-Event-Auth"
SIGNATURE = HmacSha256(HEADER)
TOKEN = SharedToken(HEADER)
