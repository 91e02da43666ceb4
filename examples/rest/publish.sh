#!/usr/bin/env bash
# Publish an opt-in and an opt-out with nothing but curl; `az` signs in, jq writes the JSON.
#
#     az login
#     ./publish.sh NAMESPACE
#
# NAMESPACE is the name without .servicebus.windows.net. Whoever runs this needs the role "Azure Service Bus Data Sender" on
# the queue. The sandbox has no REST interface.
set -euo pipefail

address="https://${1:?give the name of the namespace}.servicebus.windows.net/opt-ins/messages"
source=https://shop.example/preferences
sender=+18001234567
# By jq: `date` takes other options on Linux than on macOS.
said_at=$(jq --null-input --raw-output 'now - 60 | todate')

# Make an event: TYPE ID RECIPIENT. The id had better be the key of your own record: publishing that again is then the same
# event.
event() {
  jq --null-input --compact-output \
    --arg type "$1" --arg id "$2" --arg to "$3" --arg source "$source" --arg from "$sender" --arg time "$said_at" '
    {specversion: "1.0", $type, $source, $id, $time, data: {$from, recipients: [{$to}]}}
    | if $type == "sms.opt-in.v1"
      then .data.consent = {capturedAt: $time, method: "web-form", reference: "consents/\($id)"} else . end'
}

# Make the MessageId of an event: ID. The broker drops a second message with the same MessageId without a word, and an id is
# unique within its source only. A hash has at most 128 characters and shows no number in the log of the Functions host.
message_id() {
  printf '%s\n%s' "$source" "$1" | openssl dgst -sha256 -r | cut -d ' ' -f 1
}

# The token is handed over in a file that is none: it stands in no list of processes.
post() {
  curl --fail-with-body --silent --show-error --request POST "$address" \
    --header @<(printf 'Authorization: Bearer %s\n' "$token") "$@"
}

token=$(az account get-access-token --resource https://servicebus.azure.net --query accessToken --output tsv)

# One event: the body is the event.
id="preference-$(openssl rand -hex 16)"
event sms.opt-in.v1 "$id" +15555555551 |
  post --header 'Content-Type: application/cloudevents+json' \
    --header "BrokerProperties: {\"MessageId\": \"$(message_id "$id")\"}" --data-binary @-
echo "sms.opt-in.v1 $id"

# Several in one request: each is text in a list.
first="preference-$(openssl rand -hex 16)" second="preference-$(openssl rand -hex 16)"
jq --null-input \
  --arg opt_in "$(event sms.opt-in.v1 "$first" +15555555552)" --arg opt_in_id "$(message_id "$first")" \
  --arg opt_out "$(event sms.opt-out.v1 "$second" +15555555553)" --arg opt_out_id "$(message_id "$second")" '
  [{Body: $opt_in, BrokerProperties: {MessageId: $opt_in_id}}, {Body: $opt_out, BrokerProperties: {MessageId: $opt_out_id}}]' |
  post --header 'Content-Type: application/vnd.microsoft.servicebus.json' --data-binary @-
printf '%s\n' "sms.opt-in.v1 $first" "sms.opt-out.v1 $second"
