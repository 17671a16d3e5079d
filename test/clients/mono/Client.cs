// Assertions of a real System.Net.WebSockets.ClientWebSocket against a broadcast server:
//
//   mono Client.exe suite ws://127.0.0.1:PORT/ kept|text
//   mono Client.exe await ws://127.0.0.1:PORT/ CODE
//
// suite prints one line for each check; await prints "ready" once greeted and stays
// until the server closes with CODE. The first failure ends it with exit code 1.
// The second argument of suite says what becomes of binary: it stays so, or comes as text.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Net.WebSockets;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

class Message {
    public WebSocketMessageType Type;
    public byte[] Data;
    public string Text { get { return Encoding.UTF8.GetString(Data); } }
}

static class Check {
    public static void Equal<T>(T got, T want, string what) {
        if (!EqualityComparer<T>.Default.Equals(got, want))
            throw new Exception(string.Format("{0}: got {1}, want {2}", what, got, want));
    }

    public static void True(bool held, string what) {
        if (!held) throw new Exception(what);
    }
}

// A Peer is one client. Receives are bounded by WaitMs, because a cancelled one
// aborts the connection and so fails the check.
class Peer : IDisposable {
    public const int WaitMs = 5000;
    public readonly ClientWebSocket Socket = new ClientWebSocket();

    static CancellationToken Deadline() {
        return new CancellationTokenSource(WaitMs).Token;
    }

    public static async Task<Peer> Connect(string url, params string[] protocols) {
        return await Connect(url, TimeSpan.FromSeconds(30), protocols);
    }

    // keepAlive is the interval of the unsolicited pongs, by which .NET keeps alive.
    public static async Task<Peer> Connect(string url, TimeSpan keepAlive, string[] protocols) {
        var peer = new Peer();
        peer.Socket.Options.KeepAliveInterval = keepAlive;
        foreach (var protocol in protocols) peer.Socket.Options.AddSubProtocol(protocol);
        await peer.Socket.ConnectAsync(new Uri(url), Deadline());
        await peer.ExpectText("connection established");
        return peer;
    }

    public Task Send(string text) {
        return Send(Encoding.UTF8.GetBytes(text), WebSocketMessageType.Text, true);
    }

    public Task Send(byte[] data, WebSocketMessageType type, bool last) {
        return Socket.SendAsync(new ArraySegment<byte>(data), type, last, Deadline());
    }

    public Task<Message> Receive() {
        return Receive(Deadline());
    }

    public async Task<Message> Receive(CancellationToken stop) {
        var data = new List<byte>();
        var buffer = new byte[4096];
        while (true) {
            var part = await Socket.ReceiveAsync(new ArraySegment<byte>(buffer), stop);
            data.AddRange(buffer.Take(part.Count));
            if (part.EndOfMessage)
                return new Message { Type = part.MessageType, Data = data.ToArray() };
        }
    }

    public async Task ExpectText(string want) {
        var message = await Receive();
        Check.Equal(message.Type, WebSocketMessageType.Text, "the type of the message");
        Check.Equal(message.Text, want, "the message");
    }

    // Close returns the status that the server echoed.
    public async Task<int> Close(int code) {
        await Socket.CloseAsync((WebSocketCloseStatus)code, "bye", Deadline());
        Check.Equal(Socket.State, WebSocketState.Closed, "the state after closing");
        Check.True(Socket.CloseStatus.HasValue, "closed without a status from the server");
        return (int)Socket.CloseStatus.Value;
    }

    public void Dispose() {
        Socket.Dispose();
    }
}

class Suite {
    const int IdleMs = 4000;
    const int AtOnceMs = 3000;
    readonly string url;
    readonly bool keepsBinary;

    public Suite(string url, bool keepsBinary) {
        this.url = url;
        this.keepsBinary = keepsBinary;
    }

    public async Task Run() {
        var checks = new List<Func<Task>> {
            Broadcast, Fragments, Large, Korean, Binary, Close, Subprotocol, Tls, KeepAlive,
        };
        foreach (var check in checks) {
            try {
                await check();
            } catch (Exception err) {
                throw new Exception(check.Method.Name, err);
            }
            Console.WriteLine("ok " + check.Method.Name);
        }
    }

    // WithPair runs check with two greeted peers and closes them behind it.
    async Task WithPair(Func<Peer, Peer, Task> check) {
        using (var a = await Peer.Connect(url))
        using (var b = await Peer.Connect(url)) {
            await check(a, b);
            Check.Equal(await a.Close(1000), 1000, "the echoed status at a");
            Check.Equal(await b.Close(1000), 1000, "the echoed status at b");
        }
    }

    Task Exchange(string text) {
        return WithPair(async (a, b) => {
            await a.Send(text);
            await a.ExpectText(text);
            await b.ExpectText(text);
        });
    }

    Task Broadcast() {
        return WithPair(async (a, b) => {
            foreach (var sender in new[] { a, b, a }) {
                var text = sender == a ? "from a" : "from b";
                await sender.Send(text);
                await a.ExpectText(text);
                await b.ExpectText(text);
            }
        });
    }

    Task Fragments() {
        return WithPair(async (a, b) => {
            var parts = new[] { "first part, ", "second part, ", "last part" };
            for (var i = 0; i < parts.Length; i++)
                await a.Send(Encoding.UTF8.GetBytes(parts[i]), WebSocketMessageType.Text, i == 2);
            await a.ExpectText(string.Concat(parts));
            await b.ExpectText(string.Concat(parts));
        });
    }

    Task Large() {
        return Exchange(string.Concat(Enumerable.Repeat("0123456789", 2000)));
    }

    Task Korean() {
        return Exchange("안녕하세요 세계");
    }

    Task Binary() {
        return WithPair(async (a, b) => {
            // Below 128 the bytes are text too, and so pass through either server.
            var data = Enumerable.Range(0, keepsBinary ? 256 : 128).Select(i => (byte)i).ToArray();
            await a.Send(data, WebSocketMessageType.Binary, true);
            foreach (var peer in new[] { a, b }) {
                var message = await peer.Receive();
                var want = keepsBinary ? WebSocketMessageType.Binary : WebSocketMessageType.Text;
                Check.Equal(message.Type, want, "the type of the binary message");
                Check.True(message.Data.SequenceEqual(data), "the bytes differ");
            }
        });
    }

    async Task Close() {
        foreach (var code in new[] { 1000, 4001 })
            using (var peer = await Peer.Connect(url))
                Check.Equal(await peer.Close(code), code, "the echoed status");
    }

    async Task Subprotocol() {
        using (var peer = await Peer.Connect(url, "chat.v2", "chat.v1")) {
            Check.Equal(peer.Socket.SubProtocol, "chat.v2", "the subprotocol of two offered");
            Check.Equal(await peer.Close(1000), 1000, "the echoed status");
        }
    }

    // Tls dials wss on the plain port: it has to fail at once, not by the deadline.
    async Task Tls() {
        var watch = Stopwatch.StartNew();
        var deadline = new CancellationTokenSource(Peer.WaitMs).Token;
        using (var socket = new ClientWebSocket()) {
            Exception failure = null;
            try {
                await socket.ConnectAsync(new Uri(url.Replace("ws://", "wss://")), deadline);
            } catch (Exception err) {
                failure = err;
            }
            Check.True(failure != null, "wss opened on the plain port");
            Console.Error.WriteLine("tls: {0} ms: {1}", watch.ElapsedMilliseconds,
                failure.GetBaseException().Message);
            Check.True(!deadline.IsCancellationRequested && watch.ElapsedMilliseconds < AtOnceMs,
                "wss failed only after " + watch.ElapsedMilliseconds + " ms");
        }
    }

    // KeepAlive idles with one peer that only answers pings and one that sends pongs
    // of its own, as .NET does. Both must be receiving, or they would not answer.
    async Task KeepAlive() {
        using (var answers = await Peer.Connect(url, Timeout.InfiniteTimeSpan, new string[0]))
        using (var pongs = await Peer.Connect(url, TimeSpan.FromSeconds(1), new string[0])) {
            var stop = new CancellationTokenSource(IdleMs + Peer.WaitMs).Token;
            var receives = new[] { answers.Receive(stop), pongs.Receive(stop) };
            await Task.Delay(IdleMs);
            Check.True(!receives.Any(r => r.IsCompleted), "an idle connection ended");
            await answers.Send("still here");
            foreach (var message in await Task.WhenAll(receives))
                Check.Equal(message.Text, "still here", "the message after idling");
            Check.Equal(await answers.Close(1000), 1000, "the echoed status");
            Check.Equal(await pongs.Close(1000), 1000, "the echoed status");
        }
    }
}

static class Client {
    // AwaitClose has no deadline of its own: whoever started it ends it.
    static async Task AwaitClose(string url, int want) {
        using (var peer = await Peer.Connect(url)) {
            Console.WriteLine("ready");
            var message = await peer.Receive(CancellationToken.None);
            Check.Equal(message.Type, WebSocketMessageType.Close, "what came instead of a close");
            var status = (int)peer.Socket.CloseStatus.Value;
            await peer.Socket.CloseOutputAsync(
                peer.Socket.CloseStatus.Value, "", CancellationToken.None);
            Console.WriteLine("closed " + status);
            Check.Equal(status, want, "the status of the close");
        }
    }

    // Mono sometimes hangs when it shuts down beside busy programs: Main ends without that.
    [DllImport("libc")]
    static extern void _exit(int status);

    static void Main(string[] args) {
        var status = 0;
        try {
            var run = args[0] == "await"
                ? AwaitClose(args[1], int.Parse(args[2]))
                : new Suite(args[1], args[2] == "kept").Run();
            run.GetAwaiter().GetResult();
        } catch (Exception err) {
            Console.Error.WriteLine("FAIL " + err);
            status = 1;
        }
        Console.Out.Flush();
        _exit(status);
    }
}
