using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Azure.Messaging.ServiceBus;

namespace OptIns;

public sealed record Recipient(string To);
public sealed record Consent(DateTimeOffset CapturedAt, string Method, string Reference);
public sealed record OptInData(string From, IReadOnlyList<Recipient> Recipients, Consent Consent = null);
public sealed record SmsEvent(string Type, string Source, string Id, DateTimeOffset Time, OptInData Data)   // Type: sms.opt-in.v1, sms.opt-out.v1
{ public string Specversion => "1.0"; public string Datacontenttype => "application/json"; }

public static class Publisher
{
    static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull };   // camelCase

    public static ServiceBusMessage Message(SmsEvent e) => new(BinaryData.FromObjectAsJson(e, Json))
    {   // an id is unique within its source only, and the broker drops a second MessageId without a word; at most 128 characters
        MessageId = Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes($"{e.Source}\n{e.Id}"))).ToLowerInvariant(),
        ContentType = "application/cloudevents+json",
    };

    public static async Task SendAsync(ServiceBusSender sender, IEnumerable<SmsEvent> events)
    {
        var batch = await sender.CreateMessageBatchAsync();
        try
        {
            foreach (var message in events.Select(Message))
            {
                if (batch.TryAddMessage(message)) continue;
                if (batch.Count > 0) { await sender.SendMessagesAsync(batch); batch.Dispose(); batch = await sender.CreateMessageBatchAsync(); if (batch.TryAddMessage(message)) continue; }
                throw new InvalidOperationException($"event {message.MessageId} does not fit a message: split its recipients");
            }
            if (batch.Count > 0) await sender.SendMessagesAsync(batch);
        }
        finally { batch.Dispose(); }
    }
}
