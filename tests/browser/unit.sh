#!/bin/sh
# The page's modules under node's own test runner. Without node: an error in CI, one line elsewhere.
cd "$(dirname "$0")" || exit 1
if ! command -v node >/dev/null 2>&1; then
  if [ "$CI" = true ]; then
    echo "tests/browser/unit: node is missing; install nodejs 20 or newer" >&2
    exit 1
  fi
  echo "skipped: the page's module tests (install nodejs 20 or newer to run them)"
  exit 0
fi
exec node --test unit/*.test.mjs
