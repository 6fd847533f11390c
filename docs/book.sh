#!/usr/bin/env bash
# Builds the documentation as a book in target/book, and checks that every link inside it leads to a file. The pages link
# to the README, the RUNBOOK and source files, so the script copies those into the folder from which mdBook builds. Needs
# mdBook (cargo install --locked mdbook).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
stage=target/book-src
rm -rf "$stage" target/book
mkdir -p "$stage"
git ls-files -z -- '*.md' '*.rs' '*.toml' '*.yml' '*.json' '*.svg' '*.sh' '*.txt' docs/examples LICENSE-APACHE LICENSE-MIT |
    tar --null --create --file=- --files-from=- | tar --extract --file=- --directory "$stage"
{
    printf '# Summary\n\n[The tool](README.md)\n[Runbook](RUNBOOK.md)\n[All pages](docs/SUMMARY.md)\n\n'
    grep '^ *- ' docs/SUMMARY.md | sed 's#](\(.*\))#](docs/\1)#'
    printf '\n[Contributing](CONTRIBUTING.md)\n[Reliability](tests/RELIABILITY.md)\n[Changes](CHANGELOG.md)\n[Security](SECURITY.md)\n'
} >"$stage/SUMMARY.md"
mdbook build

(cd target/book && grep -roE --include='*.html' --exclude=404.html --exclude=print.html '(href|src)="[^"]*"' .) >"$stage/links"
broken=0 links=0
while IFS=: read -r page link; do
    page=target/book/${page#./}
    links=$((links + 1))
    target=${link#*\"}
    target=${target%\"}
    target=${target%%#*}
    case $target in '' | *://* | mailto:* | javascript:*) continue ;; esac
    if [ ! -e "$(dirname "$page")/$target" ]; then
        echo "$page: $target leads nowhere" >&2
        broken=1
    fi
done <"$stage/links"
echo "$links links, $([ "$broken" -eq 0 ] && echo all lead to a file || echo some are broken)"
[ "$links" -gt 500 ] && [ "$broken" -eq 0 ]
