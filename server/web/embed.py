#!/usr/bin/python3
"""embed.py FILE... >web.c - the files of the playground as C arrays, each also compressed."""

import gzip
import hashlib
import os
import sys

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".json": "application/json"}


def array(name, data):
    print(f"static const unsigned char {name}[] = {{")
    for start in range(0, len(data), 32):
        print("    " + ",".join(map(str, data[start:start + 32])) + ",")
    print("};")


print('/* Made by server/web/embed.py from server/web. */\n#include "server/web.h"\n')
entries = []
for number, path in enumerate(sys.argv[1:]):
    with open(path, "rb") as file:
        data = file.read()
    tag = hashlib.sha256(data).hexdigest()[:16]
    name, kind = os.path.basename(path), TYPES[os.path.splitext(path)[1]]
    array(f"plain{number}", data)
    array(f"gzip{number}", gzip.compress(data, 9, mtime=0))
    entries.append(f'    {{"{name}", "{kind}", "\\"{tag}\\"", "\\"{tag}-gz\\"", plain{number}, gzip{number},\n'
                   f"     sizeof plain{number}, sizeof gzip{number}}},")
print("\nconst struct srv_web_asset srv_web_assets[] = {\n" + "\n".join(entries) + "\n};")
print("const int srv_web_asset_count = sizeof srv_web_assets / sizeof *srv_web_assets;")
