/* Load on an AESM daemon: N clients, one connection a request, as every AESM client does it.
 *
 *   load_generator --socket PATH --frame FILE [options]
 *
 * Each client connects, sends the frame, reads the length-prefixed reply, closes, and begins again. One thread and
 * epoll, so that the generator takes as little as possible of the machine that it shares with the daemon.
 *
 *   --clients N     clients at the same time (1)
 *   --seconds S     for how long (1.0); also ends on SIGTERM and SIGINT, with the figures until then
 *   --requests R    end after R requests instead
 *   --warm-up S     seconds at the beginning that are not counted (0)
 *   --pause-ms P    each client waits 0.5 to 1.5 times P after a reply: a quiet client (0: as fast as it goes)
 *   --two-writes    header and body in two writes, as Intel's, Gramine's and enarx' clients
 *   --timeout S     seconds after which a client gives up (15, as Intel's)
 *   --tell S        write "MOMENT answered COUNT" to standard error every S seconds, and "MOMENT failed KIND" for each
 *                   failure; MOMENT is seconds of CLOCK_MONOTONIC
 *
 * Prints one JSON object. "requests" are those answered with errorCode 0, "seconds" the time in which they were.
 * Errors by kind: refused (no listener), again (EAGAIN: the listener's backlog is full, so a client with a connect
 * time-out fails), closed (no reply), short (a reply cut off), status (errorCode not 0), unreadable (no errorCode
 * where it must be), timed_out, other. "latency_us" is from before connect until the reply is complete, and good to
 * 1 %; "reply_bytes" is the size of the last whole reply, its length prefix included.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FRAME = 1 << 20, HEAD = 24, EVENTS = 256, HEADER = 4 };
enum error { REFUSED, AGAIN, CLOSED, SHORT, STATUS, UNREADABLE, TIMED_OUT, OTHER, ERRORS };

static const char *const error_names[ERRORS] = {"refused",    "again",     "closed", "short", "status",
                                                "unreadable", "timed_out", "other"};
static const uint64_t SECOND = 1000000000, RETRY_NS = 1000000, SCAN_NS = 100000000;

struct client {
    int fd;               /* -1 between two requests */
    uint64_t started;     /* ns */
    uint64_t due;         /* ns: when the next request begins */
    uint32_t received;    /* of the reply */
    uint8_t head[HEAD];   /* its first bytes: length prefix, envelope, errorCode */
};

static struct {
    const char *socket_path, *frame_path;
    long clients, requests;
    double seconds, warm_up, pause_ms, timeout, tell;
    bool two_writes;
} options = {.clients = 1, .seconds = 1, .timeout = 15};

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_size;
static uint8_t frame[MAX_FRAME];
static size_t frame_size;
static int poller;
static uint64_t now, begin, end; /* ns; begin: of what is counted */
static uint64_t next_telling;    /* ns */
static long started, answered, in_flight, resting;
static long errors[ERRORS], statuses[256];
static uint32_t reply_bytes;
static uint64_t histogram[8192]; /* of latencies: 128 steps to each doubling */
static uint64_t longest;
static volatile sig_atomic_t told_to_end;

static void fail(const char *what) {
    fprintf(stderr, "load_generator: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void look_at_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    now = (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void on_signal(int number) {
    (void)number;
    told_to_end = 1;
}

/* Latencies */

static void record(uint64_t ns) {
    int shift = 63 - __builtin_clzll(ns | 128) - 7;
    histogram[((unsigned)shift << 7) + (ns >> shift)]++;
    if (ns > longest)
        longest = ns;
}

static double percentile_us(double fraction) {
    uint64_t wanted = (uint64_t)(fraction * (double)answered), seen = 0;
    for (unsigned i = 0; i < sizeof histogram / sizeof *histogram; i++)
        if ((seen += histogram[i]) > wanted) {
            unsigned shift = i >> 7 ? (i >> 7) - 1 : 0;
            return ((double)(i - (shift << 7)) + 0.5) * (double)(1ull << shift) / 1000;
        }
    return (double)longest / 1000;
}

/* One request */

static bool more_to_start(void) {
    if (told_to_end)
        return false;
    return options.requests ? started < options.requests : now < end;
}

static void rest(struct client *client, uint64_t ns) {
    client->due = now + ns;
    resting++;
}

static void count_error(enum error kind) {
    if (now < begin)
        return;
    errors[kind]++;
    if (options.tell > 0)
        fprintf(stderr, "%.3f failed %s\n", (double)now / (double)SECOND, error_names[kind]);
}

static void tell_progress(void) {
    if (options.tell <= 0 || now < next_telling)
        return;
    next_telling = now + (uint64_t)(options.tell * (double)SECOND);
    fprintf(stderr, "%.3f answered %ld\n", (double)now / (double)SECOND, answered);
}

static void close_client(struct client *client) {
    close(client->fd);
    client->fd = -1;
    in_flight--;
}

static void fail_client(struct client *client, enum error kind) {
    count_error(kind);
    close_client(client);
    rest(client, RETRY_NS);
}

static bool send_frame(int fd) {
    if (options.two_writes)
        return write(fd, frame, HEADER) == HEADER &&
               write(fd, frame + HEADER, frame_size - HEADER) == (ssize_t)(frame_size - HEADER);
    return write(fd, frame, frame_size) == (ssize_t)frame_size;
}

static void start(struct client *client) {
    look_at_clock();
    client->started = now;
    client->received = 0;
    started++;
    in_flight++;
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        fail("socket");
    if (connect(client->fd, (struct sockaddr *)&address, address_size))
        fail_client(client, errno == EAGAIN ? AGAIN : errno == ECONNREFUSED || errno == ENOENT ? REFUSED : OTHER);
    else if (!send_frame(client->fd))
        fail_client(client, errno == EPIPE || errno == ECONNRESET ? CLOSED : OTHER);
    else {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &event))
            fail("epoll_ctl");
    }
}

/* The errorCode of a reply, which protobuf puts first: key and length of the envelope's field, then 08 and a varint.
 * -1 if it is not there. */
static long status_of(const uint8_t *head, uint32_t size) {
    uint32_t at = HEADER, end_of_head = size < HEAD ? size : HEAD;
    long value = 0;
    for (int varint = 0; varint < 2; varint++) {
        while (at < end_of_head && head[at] & 0x80)
            at++;
        at++;
    }
    if (at >= end_of_head || head[at++] != 0x08)
        return -1;
    for (int shift = 0; at < end_of_head && shift < 35; shift += 7) {
        value |= (long)(head[at] & 0x7f) << shift;
        if (!(head[at++] & 0x80))
            return value;
    }
    return -1;
}

static void finish(struct client *client) {
    look_at_clock();
    close_client(client);
    long status = status_of(client->head, client->received);
    if (status > 0 && now >= begin)
        statuses[status & 0xff]++;
    if (status)
        count_error(status < 0 ? UNREADABLE : STATUS);
    else if (now >= begin && (options.requests || now <= end)) {
        answered++;
        reply_bytes = client->received;
        record(now - client->started);
    }
    if (options.pause_ms > 0)
        rest(client, (uint64_t)(options.pause_ms * 1e6 * (0.5 + drand48())));
    else if (more_to_start())
        start(client);
    else
        rest(client, 0);
}

static void receive(struct client *client) {
    static uint8_t buffer[1 << 16];
    ssize_t size = read(client->fd, buffer, sizeof buffer);
    if (size < 0 && errno == EAGAIN)
        return;
    if (size <= 0) {
        fail_client(client, client->received ? SHORT : CLOSED);
        return;
    }
    if (client->received < HEAD) {
        uint32_t room = HEAD - client->received;
        memcpy(client->head + client->received, buffer, (size_t)size < room ? (size_t)size : room);
    }
    client->received += (uint32_t)size;
    if (client->received < HEADER)
        return;
    uint32_t length;
    memcpy(&length, client->head, sizeof length); /* little endian, as SGX machines are */
    if (client->received - HEADER >= length)
        finish(client);
}

/* All clients */

/* Start whose time has come, give up whose time is over; returns ms until this must be done again. */
static int look_after(struct client *clients) {
    static uint64_t next_scan;
    uint64_t soonest = now + SCAN_NS;
    if (!resting && now < next_scan)
        return (int)(SCAN_NS / 1000000);
    next_scan = now + SCAN_NS;
    for (long i = 0; i < options.clients; i++) {
        struct client *client = clients + i;
        if (client->fd >= 0) {
            if (now - client->started > (uint64_t)(options.timeout * (double)SECOND))
                fail_client(client, TIMED_OUT);
        } else if (client->due <= now && more_to_start()) {
            resting--;
            start(client);
        }
        if (client->fd < 0 && client->due < soonest && more_to_start())
            soonest = client->due;
    }
    look_at_clock();
    return soonest > now ? (int)((soonest - now) / 1000000) + 1 : 0;
}

static void run(void) {
    struct client *clients = calloc((size_t)options.clients, sizeof *clients);
    struct epoll_event events[EVENTS];
    if (!clients)
        fail("calloc");
    for (long i = 0; i < options.clients; i++)
        clients[i].fd = -1;
    resting = options.clients;
    while (more_to_start() || in_flight) {
        int n = epoll_wait(poller, events, EVENTS, look_after(clients));
        if (n < 0 && errno != EINTR)
            fail("epoll_wait");
        look_at_clock();
        for (int i = 0; i < n; i++)
            receive(events[i].data.ptr);
        tell_progress();
    }
}

static void print(double seconds) {
    printf("{\"requests\": %ld, \"seconds\": %.6f, \"reply_bytes\": %u, \"errors\": {", answered, seconds, reply_bytes);
    for (int i = 0; i < ERRORS; i++)
        printf("%s\"%s\": %ld", i ? ", " : "", error_names[i], errors[i]);
    printf("}, \"statuses\": {");
    const char *comma = "";
    for (int i = 0; i < 256; i++)
        if (statuses[i]) {
            printf("%s\"%d\": %ld", comma, i, statuses[i]);
            comma = ", ";
        }
    printf("}, \"latency_us\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": %.1f}}\n",
           percentile_us(0.5), percentile_us(0.9), percentile_us(0.99), percentile_us(0.999), (double)longest / 1000);
}

/* Options */

static double number(const char *name, const char *text, double low, double high) {
    char *rest_of_text;
    double value = strtod(text, &rest_of_text);
    if (*rest_of_text || rest_of_text == text || !(value >= low && value <= high)) {
        fprintf(stderr, "load_generator: --%s is %s, it goes from %g to %g\n", name, text, low, high);
        exit(2);
    }
    return value;
}

static void read_options(int argc, char **argv) {
    static const struct option known[] = {
        {"socket", 1, 0, 's'}, {"frame", 1, 0, 'f'},    {"clients", 1, 0, 'c'},    {"seconds", 1, 0, 't'}, {"requests", 1, 0, 'r'},
        {"warm-up", 1, 0, 'w'}, {"pause-ms", 1, 0, 'p'}, {"two-writes", 0, 0, '2'}, {"timeout", 1, 0, 'o'}, {"tell", 1, 0, 'l'},
        {0, 0, 0, 0}};
    int letter, index = 0;
    while ((letter = getopt_long(argc, argv, "", known, &index)) != -1)
        switch (letter) {
        case 's': options.socket_path = optarg; break;
        case 'f': options.frame_path = optarg; break;
        case 'c': options.clients = (long)number("clients", optarg, 1, 65536); break;
        case 't': options.seconds = number("seconds", optarg, 0.001, 1e6); break;
        case 'r': options.requests = (long)number("requests", optarg, 1, 1e12); break;
        case 'w': options.warm_up = number("warm-up", optarg, 0, 1e6); break;
        case 'p': options.pause_ms = number("pause-ms", optarg, 0, 1e6); break;
        case 'o': options.timeout = number("timeout", optarg, 0.001, 1e6); break;
        case 'l': options.tell = number("tell", optarg, 0.001, 1e6); break;
        case '2': options.two_writes = true; break;
        default: exit(2);
        }
    if (!options.socket_path || !options.frame_path || optind != argc) {
        fprintf(stderr, "usage: load_generator --socket PATH --frame FILE [options, see the head of its source]\n");
        exit(2);
    }
}

static void read_frame(void) {
    FILE *file = fopen(options.frame_path, "rb");
    if (!file)
        fail(options.frame_path);
    frame_size = fread(frame, 1, sizeof frame, file);
    fclose(file);
    if (frame_size <= HEADER) {
        fprintf(stderr, "load_generator: %s holds no frame\n", options.frame_path);
        exit(2);
    }
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    read_frame();
    raise_descriptor_limit();
    if (strlen(options.socket_path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        fail(options.socket_path);
    }
    strcpy(address.sun_path, options.socket_path);
    address_size = sizeof address;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    if ((poller = epoll_create1(EPOLL_CLOEXEC)) < 0)
        fail("epoll_create1");
    look_at_clock();
    srand48((long)now);
    begin = now + (uint64_t)(options.warm_up * (double)SECOND);
    end = begin + (uint64_t)(options.seconds * (double)SECOND);
    run();
    look_at_clock();
    uint64_t last = options.requests || told_to_end || now < end ? now : end;
    print(last > begin ? (double)(last - begin) / (double)SECOND : 0);
    return 0;
}
