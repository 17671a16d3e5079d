// The chat of examples/chat in a terminal, with .NET's ClientWebSocket. With .NET:
//
//   dotnet run -- ws://127.0.0.1:18000 lobby Ada
//
// With Mono, on Debian and Ubuntu:
//
//   apt-get install mono-mcs mono-runtime libmono-system-net-http4.0-cil libmono-system-runtime-serialization4.0-cil
//   mcs -r:System.Runtime.Serialization Chat.cs
//   mono Chat.exe ws://127.0.0.1:18000 lobby Ada
//
// It prints what is said in the room, the last 20 messages first, and sends each line that it
// reads. When the connection is lost it comes back behind the last message that it got: see
// docs/protocol.md. It ends at the end of its input.
using System;
using System.IO;
using System.Net.WebSockets;
using System.Runtime.Serialization;
using System.Runtime.Serialization.Json;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

[DataContract]
class Message {
    [DataMember(Name = "name")] public string Name;
    [DataMember(Name = "text")] public string Text;
    [DataMember(Name = "at")] public double At; // Milliseconds since 1970.

    static readonly DateTime Epoch = new DateTime(1970, 1, 1, 0, 0, 0, DateTimeKind.Utc);

    public static double Now { get { return Math.Floor((DateTime.UtcNow - Epoch).TotalMilliseconds); } }

    public static Message Parse(byte[] json) {
        try {
            return (Message)new DataContractJsonSerializer(typeof(Message)).ReadObject(new MemoryStream(json));
        } catch (SerializationException) {
            return null; // Not of a chat.
        }
    }

    public byte[] ToJson() {
        var json = new MemoryStream();
        new DataContractJsonSerializer(typeof(Message)).WriteObject(json, this);
        return json.ToArray();
    }
}

class Chat {
    const string Protocol = "crier.v1";
    const int MostBytes = 1 << 20; // The server's --max-message, and the line in front.
    readonly string room, name;
    readonly Random random = new Random();
    string last = ""; // The id of the last message.
    volatile ClientWebSocket socket; // Null while there is no connection.

    Chat(string server, string room, string name) {
        this.room = server.TrimEnd('/') + "/chat/" + Uri.EscapeDataString(room);
        this.name = name;
    }

    // Follow stays in the room until stop.
    async Task Follow(CancellationToken stop) {
        for (var tries = 0; !stop.IsCancellationRequested; tries++) {
            try {
                using (var connection = new ClientWebSocket()) {
                    connection.Options.AddSubProtocol(Protocol);
                    var from = last == "" ? "?last=20" : "?since=" + last;
                    await connection.ConnectAsync(new Uri(room + from), stop);
                    socket = connection;
                    while (await Receive(connection, stop)) tries = 0;
                }
            } catch (Exception err) {
                if (stop.IsCancellationRequested) return;
                Console.WriteLine("* connection lost: " + err.GetBaseException().Message);
            }
            socket = null;
            // A random part of a time that grows, so that not all come back at once.
            var most = Math.Min(30000, 500 * Math.Pow(2, Math.Min(tries, 10)));
            try {
                await Task.Delay((int)(random.NextDouble() * most), stop);
            } catch (OperationCanceledException) {
                return;
            }
        }
    }

    // Receive takes one message, and says whether there may be another.
    async Task<bool> Receive(ClientWebSocket connection, CancellationToken stop) {
        var data = new MemoryStream();
        var buffer = new byte[4096];
        WebSocketReceiveResult part;
        do {
            part = await connection.ReceiveAsync(new ArraySegment<byte>(buffer), stop);
            if (part.MessageType == WebSocketMessageType.Close) {
                await connection.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, "", stop);
                Console.WriteLine("* the server closed: " + part.CloseStatusDescription);
                return false;
            }
            data.Write(buffer, 0, part.Count);
            if (data.Length > MostBytes + 256) throw new InvalidDataException("a message is too large");
        } while (!part.EndOfMessage);
        Take(data.ToArray());
        return true;
    }

    // Take looks at the line in front of each message.
    void Take(byte[] data) {
        var end = Array.IndexOf(data, (byte)'\n');
        if (end < 0) throw new InvalidDataException("a message without a line in front");
        var words = Encoding.ASCII.GetString(data, 0, end).Split(' ');
        switch (words[0]) {
            case "at:":
                last = words[1];
                Console.WriteLine("* connected");
                break;
            case "gap:":
                Console.WriteLine("* some messages are missing here");
                break;
            case "id:":
                last = words[1];
                var rest = new byte[data.Length - end - 1];
                Array.Copy(data, end + 1, rest, 0, rest.Length);
                var message = Message.Parse(rest);
                if (message != null && message.Name != null && message.Text != null)
                    Console.WriteLine(Visible(message.Name) + ": " + Visible(message.Text));
                break;
        }
    }

    // Visible keeps what others send from controlling the terminal.
    static string Visible(string text) {
        var visible = new StringBuilder();
        foreach (var c in text) visible.Append(char.IsControl(c) ? ' ' : c);
        return visible.ToString();
    }

    async Task Send(string text) {
        var connection = socket;
        try {
            if (connection == null) throw new WebSocketException("there is no connection");
            var json = new Message { Name = name, Text = text, At = Message.Now }.ToJson();
            await connection.SendAsync(new ArraySegment<byte>(json), WebSocketMessageType.Text, true, CancellationToken.None);
        } catch (Exception err) {
            Console.WriteLine("* not sent: " + err.GetBaseException().Message);
        }
    }

    static int Main(string[] args) {
        if (args.Length != 3) {
            Console.Error.WriteLine("usage: Chat.exe ws://HOST:PORT ROOM NAME");
            return 2;
        }
        Console.OutputEncoding = new UTF8Encoding(false);
        var input = new StreamReader(Console.OpenStandardInput(), new UTF8Encoding(false));
        var chat = new Chat(args[0], args[1], args[2]);
        var stop = new CancellationTokenSource();
        var following = chat.Follow(stop.Token);
        string line;
        while ((line = input.ReadLine()) != null)
            if (line.Trim() != "") chat.Send(line).Wait();
        stop.Cancel();
        following.Wait(2000);
        return 0;
    }
}
