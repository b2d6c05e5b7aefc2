#!/usr/bin/env bash
# An honest client: curl, again and again. usage: curl_loop.sh LOG PAUSE_SECONDS CA URL...
# Leaves one JSON line for each request in LOG, as clients/honest.py does. Status 0 means no answer.
set -u
log=$1 pause=$2 ca=$3
shift 3
running=1
trap 'running=0' TERM INT
while ((running)); do
    for url in "$@"; do
        ((running)) || break
        began=$EPOCHREALTIME
        # A signal to this shell must not end the curl that is under way: it would look like a refused request.
        status=$(trap '' TERM INT; curl --silent --max-time 10 --cacert "$ca" --output /dev/null --write-out '%{http_code}' "$url")
        code=$?
        printf '{"t":%s,"client":"curl","what":"GET %s","status":%d,"want":[200]%s}\n' "$began" "$url" "$((10#$status))" \
            "$( ((code)) && printf ',"error":"curl exit %d"' "$code")" >>"$log"
        sleep "$pause"
    done
done
