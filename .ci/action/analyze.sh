#!/usr/bin/env bash
# The analysis of action.yml: annotations on stdout, reports in a folder, a summary with a chart, outputs.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
output=${INPUT_OUTPUT:-symdiag-report}
mkdir -p "$output"

# words and patterns are expanded, commands and variables are not
set -f
options=(${INPUT_OPTIONS:-})
set +f
shopt -s nullglob globstar
checkpoints=(${INPUT_CHECKPOINTS:-})
if [ ${#checkpoints[@]} -eq 0 ]; then
  echo "::error title=symdiag::no checkpoint matches $(printf '%q' "${INPUT_CHECKPOINTS:-}")"
  python "$here/summary.py" "$output/report.json" 2
  exit 2
fi
[ "${INPUT_FAIL_ON_FINDING:-true}" = false ] && options+=(--exit-zero)

symdiag analyze "${options[@]}" --format github -o "json=$output/report.json" -o "html=$output/report.html" \
  -o "markdown=$output/report.md" -o "junit=$output/junit.xml" -o "$output/figures.svg" -- "${checkpoints[@]}"
code=$?
python "$here/summary.py" "$output/report.json" "$code"
[ -f "$output/report.md" ] && cat "$output/report.md" >> "${GITHUB_STEP_SUMMARY:-/dev/null}"
exit "$code"
