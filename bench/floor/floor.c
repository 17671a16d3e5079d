/*
 * floor: the cheapest honest WebSocket broadcaster, to measure others against.
 *
 * One thread, one edge-triggered epoll. Each text or binary message that any
 * connection sends goes to all connections, the sender among them, in one
 * send(2) per message and receiver; with -c in one send(2) per wake-up and
 * receiver, which carries all messages that were read in that wake-up.
 *
 *     cc -O2 -Wall -o floor floor.c && ./floor -c -p 9001
 *
 * Left out on purpose: TLS, compression, fragmented messages (closed with 1003),
 * the check of UTF-8, pings of its own, time limits, and any bound on memory
 * except PENDING_MAX. An idle connection costs one byte of its own, state[fd], and
 * the 8 of extra[fd] if it or a neighbour was ever in the middle of something.
 *
 * A read that returns less than was asked for has emptied the socket, and what
 * comes later is a new edge; so there is no second recv(2), unless epoll told
 * of the peer's end, which is no longer an edge once it was reported.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define FDS (1 << 21)
#define HEAD_MAX 8192              /* of an HTTP request */
#define MESSAGE_MAX (1 << 20)      /* of one message's payload */
#define PENDING_MAX (4 << 20)      /* unsent bytes of one connection */
#define BATCH_MAX (4 << 20)        /* with -c: send early beyond this */
#define GREETING "connection established"
#define RECEIVE (EPOLLIN | EPOLLRDHUP | EPOLLET)

enum { FREE, HELLO, OPEN, CLOSING };

/* What only a connection in the middle of something has. */
struct extra {
    uint8_t *in, *out;             /* unparsed input, unsent output */
    size_t in_len, out_len, out_cap;
};

static uint8_t state[FDS];
static struct extra *extra[FDS];
static int epfd, listener, top;    /* top: the highest fd ever accepted */
static int coalesce;
static uint8_t in[MESSAGE_MAX + 14 + (64 << 10)];
static uint8_t *batch;             /* with -c: this wake-up's frames */
static size_t batch_len, batch_cap;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void *grow(void *p, size_t n) {
    p = realloc(p, n);
    if (!p) die("realloc");
    return p;
}

/* ---- the handshake's digest ---- */

static uint32_t rol(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void sha1_block(uint32_t h[5], const uint8_t *p) {
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 16; i++, p += 4)
        w[i] = (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
    for (int i = 16; i < 80; i++)
        w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20)      f = (b & c) | (~b & d),          k = 0x5a827999;
        else if (i < 40) f = b ^ c ^ d,                   k = 0x6ed9eba1;
        else if (i < 60) f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
        else             f = b ^ c ^ d,                   k = 0xca62c1d6;
        uint32_t t = rol(a, 5) + f + e + k + w[i];
        e = d, d = c, c = rol(b, 30), b = a, a = t;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

/* The answer to a key: base64(SHA-1(key + GUID)), RFC 6455, section 4.2.2. */
static void accept_key(const char key[24], char out[28]) {
    static const char abc[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t m[128] = {0}, d[21] = {0};
    memcpy(m, key, 24);
    memcpy(m + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    m[60] = 0x80;
    m[126] = 480 >> 8, m[127] = 480 & 255;      /* 60 bytes, in bits */
    sha1_block(h, m);
    sha1_block(h, m + 64);
    for (int i = 0; i < 20; i++) d[i] = h[i / 4] >> (24 - i % 4 * 8);
    for (int i = 0, o = 0; i < 21; i += 3) {
        uint32_t v = d[i] << 16 | d[i + 1] << 8 | d[i + 2];
        for (int s = 18; s >= 0; s -= 6) out[o++] = abc[v >> s & 63];
    }
    out[27] = '=';
}

/* ---- output ---- */

static struct extra *extra_of(int fd) {
    if (!extra[fd]) {
        extra[fd] = grow(NULL, sizeof *extra[fd]);
        memset(extra[fd], 0, sizeof *extra[fd]);
    }
    return extra[fd];
}

/* Gives back the extra of a connection that is idle again. */
static void tidy(int fd) {
    struct extra *x = extra[fd];
    if (x && !x->in && !x->out) {
        free(x);
        extra[fd] = NULL;
    }
}

static void drop(int fd) {
    if (extra[fd]) {
        free(extra[fd]->in);
        free(extra[fd]->out);
        free(extra[fd]);
        extra[fd] = NULL;
    }
    state[fd] = FREE;
    close(fd);
}

static void watch(int fd, int op, uint32_t events) {
    struct epoll_event e = {.events = events, .data.fd = fd};
    if (epoll_ctl(epfd, op, fd, &e) < 0) die("epoll_ctl");
}

/* Keeps what the socket did not take, until EPOLLOUT. */
static void queue(int fd, const uint8_t *p, size_t n) {
    struct extra *x = extra_of(fd);
    if (x->out_len + n > PENDING_MAX) {
        drop(fd);
        return;
    }
    if (!x->out) watch(fd, EPOLL_CTL_MOD, RECEIVE | EPOLLOUT);
    if (x->out_len + n > x->out_cap) {
        x->out_cap = (x->out_len + n) * 3 / 2;
        x->out = grow(x->out, x->out_cap);
    }
    memcpy(x->out + x->out_len, p, n);
    x->out_len += n;
}

static void put(int fd, const uint8_t *p, size_t n) {
    if (extra[fd] && extra[fd]->out) {
        queue(fd, p, n);
        return;
    }
    ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
    if (w == (ssize_t)n) return;
    if (w < 0 && errno != EAGAIN) {
        drop(fd);
        return;
    }
    if (w < 0) w = 0;
    queue(fd, p + w, n - w);
}

static void writable(int fd) {
    struct extra *x = extra[fd];
    if (!x || !x->out) return;
    ssize_t w = send(fd, x->out, x->out_len, MSG_NOSIGNAL);
    if (w < 0) {
        if (errno != EAGAIN) drop(fd);
        return;
    }
    x->out_len -= w;
    memmove(x->out, x->out + w, x->out_len);
    if (x->out_len) return;
    if (state[fd] == CLOSING) {
        drop(fd);
        return;
    }
    free(x->out);
    x->out = NULL, x->out_cap = 0;
    tidy(fd);
    watch(fd, EPOLL_CTL_MOD, RECEIVE);
}

static void send_all(const uint8_t *p, size_t n) {
    for (int fd = 0; fd <= top; fd++)
        if (state[fd] == OPEN) put(fd, p, n);
}

static void publish(const uint8_t *frame, size_t n) {
    if (!coalesce) {
        send_all(frame, n);
        return;
    }
    if (batch_len + n > batch_cap) {
        batch_cap = (batch_len + n) * 2;
        batch = grow(batch, batch_cap);
    }
    memcpy(batch + batch_len, frame, n);
    batch_len += n;
}

static void flush_batch(void) {
    if (batch_len) send_all(batch, batch_len);
    batch_len = 0;
}

/* Sends a close frame and ends the connection behind what is still unsent. */
static void finish(int fd, int code) {
    uint8_t f[4] = {0x88, 2, code >> 8, code};
    if (!code) f[1] = 0;
    put(fd, f, 2 + f[1]);
    if (state[fd] == FREE) return;
    state[fd] = CLOSING;
    if (!extra[fd] || !extra[fd]->out) drop(fd);
}

/* ---- input ---- */

static void unmask(uint8_t *p, uint64_t n, const uint8_t key[4]) {
    uint64_t k, v;
    memcpy(&k, key, 4);
    memcpy((uint8_t *)&k + 4, key, 4);
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&v, p, 8);
        v ^= k;
        memcpy(p, &v, 8);
    }
    for (uint64_t i = 0; i < n; i++) p[i] ^= key[i & 3];
}

/*
 * Writes the header of an unmasked frame right in front of its payload. There is
 * room: the masked header that stood there was 4 bytes longer.
 */
static uint8_t *encode(uint8_t first, uint8_t *payload, uint64_t n) {
    uint8_t *h;
    if (n < 126) {
        h = payload - 2;
        h[1] = n;
    } else if (n < 65536) {
        h = payload - 4;
        h[1] = 126, h[2] = n >> 8, h[3] = n;
    } else {
        h = payload - 10;
        h[1] = 127;
        for (int i = 0; i < 8; i++) h[2 + i] = n >> (56 - 8 * i);
    }
    h[0] = first;
    return h;
}

static void frame(int fd, uint8_t first, uint8_t *payload, uint64_t n) {
    uint8_t *f;
    switch (first) {
    case 0x81: case 0x82:
        f = encode(first, payload, n);
        publish(f, payload + n - f);
        return;
    case 0x88:
        finish(fd, n >= 2 ? payload[0] << 8 | payload[1] : 0);
        return;
    case 0x89:
        f = encode(0x8a, payload, n);
        put(fd, f, payload + n - f);
        return;
    case 0x8a:
        return;
    }
    finish(fd, first & 0x70 ? 1002 : 1003);
}

/* Takes one frame from the front: its length, or 0 if it is not whole or was bad. */
static size_t take_frame(int fd, uint8_t *p, size_t n) {
    if (n < 2) return 0;
    size_t head = 6;
    uint64_t len = p[1] & 127;
    if (len == 126) {
        if (n < 4) return 0;
        head = 8, len = p[2] << 8 | p[3];
    } else if (len == 127) {
        if (n < 10) return 0;
        head = 14, len = 0;
        for (int i = 2; i < 10; i++) len = len << 8 | p[i];
    }
    if (!(p[1] & 128) || ((p[0] & 8) && len > 125)) {
        finish(fd, 1002);
        return 0;
    }
    if (len > MESSAGE_MAX) {
        finish(fd, 1009);
        return 0;
    }
    if (n < head + len) return 0;
    unmask(p + head, len, p + head - 4);
    frame(fd, p[0], p + head, len);
    return head + len;
}

/* Answers a request: its length, or 0 if it is not whole or was refused. */
static size_t take_request(int fd, uint8_t *p, size_t n) {
    static const char field[] = "\r\nSec-WebSocket-Key:";
    char reply[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\nSec-WebSocket-Accept: "
                   "############################\r\n\r\n\x81\x16" GREETING;
    uint8_t *end = memmem(p, n, "\r\n\r\n", 4);
    if (!end) {
        if (n > HEAD_MAX) drop(fd);
        return 0;
    }
    uint8_t *key = p, *last = end - (sizeof field - 1) - 24;
    while (key <= last && (*key != '\r' || strncasecmp((char *)key, field, sizeof field - 1)))
        key++;
    if (key > last) {
        drop(fd);
        return 0;
    }
    key += sizeof field - 1;
    while (*key == ' ') key++;
    accept_key((char *)key, strchr(reply, '#'));
    state[fd] = OPEN;
    put(fd, (uint8_t *)reply, sizeof reply - 1);
    return end + 4 - p;
}

/* Takes all that is whole from the front of the input and keeps the rest. */
static void consume(int fd, uint8_t *p, size_t n) {
    size_t used = 1;
    while (n && used && state[fd] != CLOSING && state[fd] != FREE) {
        used = state[fd] == HELLO ? take_request(fd, p, n) : take_frame(fd, p, n);
        p += used, n -= used;
    }
    if (n && (state[fd] == HELLO || state[fd] == OPEN)) {
        struct extra *x = extra_of(fd);
        x->in = grow(NULL, n);
        x->in_len = n;
        memcpy(x->in, p, n);
    }
}

static void readable(int fd, uint32_t events) {
    int ended = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    while (state[fd] == HELLO || state[fd] == OPEN) {
        size_t have = 0;
        struct extra *x = extra[fd];
        if (x && x->in) {
            have = x->in_len;
            memcpy(in, x->in, have);
        }
        ssize_t r = recv(fd, in + have, sizeof in - have, 0);
        if (r == 0 || (r < 0 && errno != EAGAIN)) {
            drop(fd);
            return;
        }
        if (r < 0) return;
        if (have) {
            free(x->in);
            x->in = NULL;
            tidy(fd);
        }
        consume(fd, in, have + r);
        if (have + r < sizeof in && !ended) return;
    }
    if (ended && state[fd] == CLOSING) drop(fd);
}

static void accept_all(void) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EAGAIN) return;
            if (errno == ECONNABORTED || errno == EINTR) continue;
            die("accept4");
        }
        if (fd >= FDS) {
            close(fd);
            continue;
        }
        state[fd] = HELLO;
        if (fd > top) top = fd;
        watch(fd, EPOLL_CTL_ADD, RECEIVE);
    }
}

static void listen_on(int port) {
    int on = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    /* Linux hands this one down to what is accepted. */
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&a, sizeof a) < 0) die("bind");
    if (listen(listener, 65535) < 0) die("listen");
}

static void serve(void) {
    static struct epoll_event ready[1024];
    for (;;) {
        int n = epoll_wait(epfd, ready, 1024, -1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            uint32_t events = ready[i].events;
            if (fd == listener) {
                accept_all();
                continue;
            }
            if (state[fd] != FREE && events & EPOLLOUT) writable(fd);
            if (state[fd] != FREE && events & ~EPOLLOUT) readable(fd, events);
            if (batch_len > BATCH_MAX) flush_batch();
        }
        flush_batch();
    }
}

int main(int argc, char **argv) {
    const char *env = getenv("PORT");
    int port = env ? atoi(env) : 8080, o;
    struct rlimit lim;
    while ((o = getopt(argc, argv, "cp:")) != -1) {
        if (o == 'c') coalesce = 1;
        else if (o == 'p') port = atoi(optarg);
        else {
            fprintf(stderr, "usage: floor [-c] [-p PORT]\n");
            return 2;
        }
    }
    getrlimit(RLIMIT_NOFILE, &lim);
    lim.rlim_cur = lim.rlim_max;
    setrlimit(RLIMIT_NOFILE, &lim);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (epfd < 0) die("epoll_create1");
    listen_on(port);
    watch(listener, EPOLL_CTL_ADD, EPOLLIN);
    serve();
}
