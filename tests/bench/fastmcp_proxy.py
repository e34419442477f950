"""FastMCP's proxy as the table has it: verifies the token, passes everything on, hides nothing.

fastmcp_proxy.py LISTEN BACKEND KEYS ISSUER AUDIENCE
"""

import sys

from fastmcp.server import create_proxy
from fastmcp.server.auth.providers.jwt import JWTVerifier

listen, backend, keys, issuer, audience = sys.argv[1:]
host, port = listen.rsplit(":", 1)
verifier = JWTVerifier(jwks_uri=keys, issuer=issuer, audience=audience)
create_proxy(backend, auth=verifier).run(
    transport="http",
    host=host,
    port=int(port),
    path="/mcp",
    stateless_http=True,
    json_response=True,
    host_origin_protection=False,
    show_banner=False,
    log_level="critical",
    uvicorn_config={"access_log": False},
)
