#!/bin/sh
# A worker in shell without Stigmergy: counts the words of `words` tasks. Needs curl and jq.
set -eu

call() { # PATH BODY; the token goes by stdin, for a command line can be read by others
    printf 'header = "Authorization: Bearer %s"\n' "$STIG_TOKEN" |
        curl --silent --show-error --fail-with-body --config - \
            --header 'Content-Type: application/json' --data "$2" "$STIG_URL/api/v1$1"
}

order=$(jq -n --arg agent "sh-$$" --argjson wait "${WAIT_S:-20}" \
    '{agent_id: $agent, task_types: ["words"], wait_s: $wait}')

while true; do
    claimed=$(call /tasks/claim "$order") # or it ends here, and curl says why
    held=$(printf '%s' "$claimed" | jq -ec '.claimed[0]') || break
    path=/tasks/$(printf '%s' "$held" | jq -r '.task.task_id')
    if text=$(printf '%s' "$held" | jq -er '.task.payload.text'); then
        words=$(printf '%s' "$text" | wc -w)
        body=$(printf '%s' "$held" | jq -c --argjson n "$words" '{lease, result: {words: $n}}')
        call "$path/complete" "$body" >/dev/null || echo "somebody else has $path" >&2
    else
        body=$(printf '%s' "$held" | jq -c '{lease, error: "no text in the payload", retry: false}')
        call "$path/fail" "$body" >/dev/null
    fi
done
