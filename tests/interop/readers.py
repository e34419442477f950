"""Reads JSON bodies as other servers would: the last of two members wins, the first does, or case does not count.

Standard input: one body a line, base64. Standard output: one line a body, a JSON list of [reader, method, name].
"""

import base64
import json
import sys


def first_wins(pairs):
    out = {}
    for key, value in pairs:
        out.setdefault(key, value)
    return out


def caseless(pairs):
    """As Go's encoding/json: an exact name is preferred to none; the last that matches in any case wins."""
    out = {}
    for key, value in pairs:
        out[key.replace("\u017f", "s").replace("\u212a", "k").lower()] = value
    return out


READERS = {
    "python": lambda text: json.loads(text),
    "python, first wins": lambda text: json.loads(text, object_pairs_hook=first_wins),
    "python, caseless": lambda text: json.loads(text, object_pairs_hook=caseless),
    "python, up to the first end": lambda text: json.JSONDecoder().raw_decode(text.lstrip())[0],
}


def seen(message):
    if not isinstance(message, dict):
        return [None, None]
    params = message.get("params")
    name = params.get("name") if isinstance(params, dict) else None
    return [message.get("method"), name]


for line in sys.stdin:
    body = base64.b64decode(line)
    views = []
    for reader, read in READERS.items():
        try:
            views.append([reader, *seen(read(body.decode("utf-8", "replace")))])
        except (ValueError, RecursionError):
            views.append([reader, None, None])
    print(json.dumps(views))
