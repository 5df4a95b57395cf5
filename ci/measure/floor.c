/* The floor: a client that receives, stamps and counts, and does nothing else.
 *
 * One thread, one epoll, one read buffer. USERS connections each send the same request again and
 * again until REQUESTS were answered; the answer is over when the server closes the connection.
 * Prints one line: events, wall seconds, processor seconds, peak resident kibibytes.
 * It parses nothing, so what it costs is what any client on this machine must cost.
 *
 * cc -O2 -o floor floor.c && ./floor PORT USERS REQUESTS MAX_TOKENS
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char buffer[64 << 10];
static char request[512];
static int request_length, poller;
static struct sockaddr_in server;
static long started, asked, answered, events;
/* The newest stamp; volatile, so that taking it is never optimised away. */
static volatile int64_t stamp_ns;

static void stamp(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    stamp_ns = now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void ask(void) {
    int on = 1, peer = socket(AF_INET, SOCK_STREAM, 0);
    if (peer < 0) fail("socket");
    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(peer, (struct sockaddr *)&server, sizeof server)) fail("connect");
    stamp();
    if (write(peer, request, request_length) != request_length) fail("write");
    struct epoll_event interest = {.events = EPOLLIN, .data.fd = peer};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, peer, &interest)) fail("epoll_ctl");
    started++;
}

static void receive(int peer) {
    ssize_t length = recv(peer, buffer, sizeof buffer, MSG_DONTWAIT);
    if (length < 0 && errno == EAGAIN) return;
    if (length > 0) {
        stamp();
        char *at = buffer, *end = buffer + length;
        while ((at = memmem(at, end - at, "data:", 5))) events++, at += 5;
        return;
    }
    close(peer);
    answered++;
    if (started < asked) ask();
}

int main(int count, char **argument) {
    if (count != 5) return fprintf(stderr, "usage: floor PORT USERS REQUESTS MAX_TOKENS\n"), 2;
    long users = atol(argument[2]);
    char body[256];
    int body_length = snprintf(body, sizeof body,
        "{\"messages\":[{\"role\":\"user\",\"content\":\"one two three four\"}],\"stream\":true,"
        "\"max_tokens\":%ld,\"ignore_eos\":true,\"cache_prompt\":false}", atol(argument[4]));
    request_length = snprintf(request, sizeof request,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", body_length, body);
    server.sin_family = AF_INET;
    server.sin_port = htons(atoi(argument[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    asked = atol(argument[3]);
    poller = epoll_create1(0);
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long user = 0; user < users && started < asked; user++) ask();
    while (answered < asked) {
        struct epoll_event ready[64];
        int number = epoll_wait(poller, ready, 64, 60000);
        if (number == 0) return fprintf(stderr, "floor: no event for 60 s\n"), 1;
        for (int index = 0; index < number; index++) receive(ready[index].data.fd);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double wall = (end.tv_sec - begin.tv_sec) + (end.tv_nsec - begin.tv_nsec) / 1e9;
    double cpu = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
                 (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("%ld %.6f %.6f %ld\n", events, wall, cpu, usage.ru_maxrss);
    return 0;
}
