"""FastMCP's client, which opens a browser itself.

fastmcp_client.py URL ALLOWED_TOOL REFUSED_TOOL EXPIRES_IN_SECONDS -> one JSON object
"""

import asyncio
import json
import sys

from fastmcp import Client

URL, ALLOWED, REFUSED, EXPIRES_IN = sys.argv[1:5]


async def attempt(client, tool):
    """A result or an error, as plain values."""
    try:
        result = await client.call_tool(tool, {"station": "oslo"})
        return {"result": {"text": result.content[0].text}}
    except Exception as error:  # noqa: BLE001 - every kind of refusal is reported
        return {"error": {"message": str(error)}}


async def main():
    # As docs/clients.md has it.
    async with Client(URL, auth="oauth") as client:
        found = {"tools": [tool.name for tool in await client.list_tools()]}
        found["call"] = await attempt(client, ALLOWED)
        found["denied"] = await attempt(client, REFUSED)
        await asyncio.sleep(float(EXPIRES_IN) + 1)
        found["later"] = await attempt(client, ALLOWED)
    print(json.dumps(found))


asyncio.run(main())
