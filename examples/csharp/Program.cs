// Publishes an opt-in and an opt-out with Azure.Messaging.ServiceBus: `dotnet run`.
//
// In the sandbox ServiceBusConnection leads to the namespace; on Azure ServiceBusConnection__fullyQualifiedNamespace names it, and
// whoever runs this needs the role "Azure Service Bus Data Sender" on the queue.

using Azure.Identity;
using Azure.Messaging.ServiceBus;
using OptIns;

const string source = "https://shop.example/preferences";
const string fromNumber = "+18001234567";

// A DateTimeOffset: a DateTime may be written without an offset, and is refused then.
var saidAt = DateTimeOffset.UtcNow.AddMinutes(-1);
SmsEvent[] events =
[
    // Better than a new Guid: the key of your own record, so that publishing it again is the same event.
    new("sms.opt-in.v1", source, Guid.NewGuid().ToString(), saidAt,
        new OptInData(fromNumber, [new Recipient("+15555555551")], new Consent(saidAt, "web-form", "consents/7f3a"))),
    new("sms.opt-out.v1", source, Guid.NewGuid().ToString(), saidAt, new OptInData(fromNumber, [new Recipient("+15555555552")])),
];

var connection = Environment.GetEnvironmentVariable("ServiceBusConnection");
await using var client = string.IsNullOrEmpty(connection)
    ? new ServiceBusClient(Environment.GetEnvironmentVariable("ServiceBusConnection__fullyQualifiedNamespace"), new DefaultAzureCredential())
    : new ServiceBusClient(connection);
await using var sender = client.CreateSender("opt-ins");
await Publisher.SendAsync(sender, events);

foreach (var each in events) Console.WriteLine($"{each.Type} {each.Id}");
