"""A FastMCP server without any authentication: fastmcp_server.py PORT"""

import sys

from fastmcp import FastMCP

server = FastMCP("fastmcp")


@server.tool(tags={"read"})
def get_forecast(station: str) -> str:
    """The forecast at a station."""
    return f"get_forecast {station}"


@server.tool(tags={"delete"})
def delete_station(station: str) -> str:
    """Remove a station for good."""
    return f"delete_station {station}"


server.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), path="/mcp", show_banner=False, log_level="warning")
