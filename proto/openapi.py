#!/usr/bin/python3
"""openapi.py VERSION <openapi.yaml >openapi.c - the document as a C string of JSON, for the server to serve."""

import json
import sys

import yaml

WIDTH = 100

text = json.dumps(yaml.safe_load(sys.stdin.read().replace("@VERSION@", sys.argv[1])), separators=(",", ":"))
print('/* Made by proto/openapi.py from proto/openapi.yaml. */\n#include "proto/openapi.h"\n')
print("const char proto_openapi[] =")
for start in range(0, len(text), WIDTH):
    print('    "%s"' % text[start:start + WIDTH].replace("\\", "\\\\").replace('"', '\\"'))
print("    ;\n")
print("const size_t proto_openapi_length = sizeof proto_openapi - 1;")
