"""The official Python SDK as a client that knows nothing but a URL.

client.py URL MODE PERSON ALLOWED_TOOL REFUSED_TOOL EXPIRES_IN_SECONDS -> one JSON object
"""

import asyncio
import json
import re
import sys
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

REDIRECT = "http://127.0.0.1:33416/callback"
URL, MODE, PERSON, ALLOWED, REFUSED, EXPIRES_IN = sys.argv[1:7]


class Storage:
    """Keeps what the SDK wants kept, and counts refreshes."""

    tokens = None
    client = None
    refreshes = 0

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.refreshes += self.tokens is not None
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def approve(authorization_url: str) -> dict[str, list[str]]:
    """What a person's browser does, from the consent page to the redirect URI."""
    async with httpx2.AsyncClient(follow_redirects=False) as http:
        page = (await http.get(f"{authorization_url}&login_hint={PERSON}")).text
        form = {name: re.search(f'name="{name}" value="([^"]*)"', page)[1] for name in ("transaction", "csrf")}
        form |= {name: "1" for name in re.findall(r'<input type="checkbox" name="([^"]*)"[^>]* checked', page)}
        base = "{0.scheme}://{0.netloc}".format(urlsplit(authorization_url))
        response = await http.post(f"{base}/consent", data={**form, "decision": "approve"})
        while True:
            target = str(response.url.join(response.headers["location"]))
            if target.startswith(REDIRECT):
                return parse_qs(urlsplit(target).query)
            response = await http.get(target)


async def attempt(act):
    """A result or an error, as plain values."""
    try:
        result = await act
        return {"result": {"isError": result.is_error, "text": result.content[0].text}}
    except Exception as error:  # noqa: BLE001 - every kind of refusal is reported
        return {"error": {"message": str(error)}}


async def main():
    answers = {}

    async def redirect(url):
        answers.update(await approve(url))

    async def callback():
        one = lambda name: answers.get(name, [None])[0]
        return AuthorizationCodeResult(code=one("code"), state=one("state"), iss=one("iss"))

    storage = Storage()
    metadata = OAuthClientMetadata(
        client_name="Python SDK", redirect_uris=[REDIRECT], grant_types=["authorization_code", "refresh_token"]
    )
    auth = OAuthClientProvider(URL, metadata, storage, redirect, callback)
    async with httpx2.AsyncClient(auth=auth, timeout=30) as http:
        async with Client(streamable_http_client(URL, http_client=http), mode=MODE) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            call = await attempt(client.call_tool(ALLOWED, {"station": "oslo"}))
            denied = await attempt(client.call_tool(REFUSED, {"station": "oslo"}))
            await asyncio.sleep(float(EXPIRES_IN) + 1.1)
            later = await attempt(client.call_tool(ALLOWED, {"station": "oslo"}))
    print(json.dumps({"tools": tools, "call": call, "denied": denied, "later": later, "refreshes": storage.refreshes}))


asyncio.run(main())
