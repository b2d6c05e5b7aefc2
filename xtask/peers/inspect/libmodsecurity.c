/* Enters: a configuration, a file of requests; then lines of `CASE COUNT` on standard input. Leaves: for each line the
 * nanoseconds of every request through libmodsecurity 3, by its C API. The same protocol as the Rust program beside it.
 * With `ids` as a third argument: one line for each request, with the ids of the rules that it logged. */

#include <modsecurity/modsecurity.h>
#include <modsecurity/rules_set.h>
#include <modsecurity/transaction.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REQUESTS_MAX 32768
#define HEADERS_MAX 64

struct request {
    char *method, *uri, *version;
    size_t headers;
    char *names[HEADERS_MAX], *values[HEADERS_MAX];
    size_t length;
    unsigned char *body;
};

static struct request requests[REQUESTS_MAX];
static size_t request_count;

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static char *next_line(char **at, char *end) {
    char *line = *at, *stop = memchr(line, '\n', (size_t)(end - line));
    if (stop == NULL) fail("a line is cut");
    *stop = '\0';
    *at = stop + 1;
    return line;
}

static void read_requests(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail("cannot read the requests");
    fseek(file, 0, SEEK_END);
    size_t size = (size_t)ftell(file);
    rewind(file);
    char *at = malloc(size + 1), *end = at + size;
    if (fread(at, 1, size, file) != size) fail("cannot read the requests");
    fclose(file);
    while (at < end && request_count < REQUESTS_MAX) {
        struct request *r = &requests[request_count++];
        r->method = next_line(&at, end);
        r->uri = next_line(&at, end);
        r->version = next_line(&at, end);
        r->headers = strtoul(next_line(&at, end), NULL, 10);
        if (r->headers > HEADERS_MAX) fail("too many headers");
        for (size_t i = 0; i < r->headers; i++) {
            r->names[i] = next_line(&at, end);
            r->values[i] = next_line(&at, end);
        }
        r->length = strtoul(next_line(&at, end), NULL, 10);
        r->body = (unsigned char *)at;
        at += r->length;
    }
}

static int intervened(Transaction *t) {
    ModSecurityIntervention it = {.status = 200, .url = NULL, .log = NULL, .disruptive = 0};
    msc_intervention(t, &it);
    free(it.log);
    free(it.url);
    return it.disruptive ? it.status : 0;
}

static int inspect(ModSecurity *modsec, RulesSet *rules, const struct request *r) {
    Transaction *t = msc_new_transaction(modsec, rules, NULL);
    int status = 0;
    msc_process_connection(t, "127.0.0.1", 4711, "127.0.0.1", 80);
    msc_process_uri(t, r->uri, r->method, strncmp(r->version, "HTTP/", 5) == 0 ? r->version + 5 : r->version);
    for (size_t i = 0; i < r->headers; i++)
        msc_add_request_header(t, (const unsigned char *)r->names[i], (const unsigned char *)r->values[i]);
    msc_process_request_headers(t);
    status = intervened(t);
    if (!status) {
        if (r->length) msc_append_request_body(t, r->body, r->length);
        msc_process_request_body(t);
        status = intervened(t);
    }
    if (!status) {
        msc_add_response_header(t, (const unsigned char *)"Content-Type", (const unsigned char *)"text/html");
        msc_process_response_headers(t, 200, "HTTP/1.1");
        status = intervened(t);
    }
    if (!status) {
        msc_process_response_body(t);
        status = intervened(t);
    }
    msc_process_logging(t);
    msc_transaction_cleanup(t);
    return status;
}

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void quiet(void *data, const void *message) {
    (void)data;
    (void)message;
}

static void print_id(void *data, const void *message) {
    (void)data;
    const char *id = strstr(message, "[id \"");
    if (id != NULL) printf("%lu ", strtoul(id + 5, NULL, 10));
}

int main(int argc, char **argv) {
    int ids = argc == 4 && strcmp(argv[3], "ids") == 0;
    if (argc != 3 && !ids) fail("CONFIG REQUESTS [ids]");
    read_requests(argv[2]);
    double begin = now_ns();
    ModSecurity *modsec = msc_init();
    msc_set_log_cb(modsec, quiet);
    RulesSet *rules = msc_create_rules_set();
    const char *error = NULL;
    if (msc_rules_add_file(rules, argv[1], &error) < 0) fail(error);
    printf("%f 0\n", (now_ns() - begin) / 1e9);
    fflush(stdout);
    if (ids) {
        msc_set_log_cb(modsec, print_id);
        for (size_t i = 0; i < request_count; i++) {
            inspect(modsec, rules, &requests[i]);
            printf("\n");
        }
        return 0;
    }
    size_t which, count;
    while (scanf("%zu %zu", &which, &count) == 2) {
        if (which >= request_count) fail("no such case");
        double *times = malloc(count * sizeof *times);
        int status = 0;
        for (size_t i = 0; i < count; i++) {
            double start = now_ns();
            status = inspect(modsec, rules, &requests[which]);
            times[i] = now_ns() - start;
        }
        printf("%d", status);
        for (size_t i = 0; i < count; i++) printf(" %.0f", times[i]);
        printf("\n");
        fflush(stdout);
        free(times);
    }
    return 0;
}
