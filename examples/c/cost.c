/* What calls cost: cost BUNDLE REQUEST.json CALLS THREADS, or cost BUNDLE - CALLS THREADS for calls that fail at once.
   The bundle has one thread for each run. Prints time, CPU time and memory; all after a tenth of the calls as a warm-up. */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <yoj.h>

static yoj_scorer scorer;
static char request[1 << 20];
static int fails;

static void stop(int code) {
    fprintf(stderr, "%s: %s\n", yoj_kind(code), yoj_last_error());
    exit(1);
}

static void *call(void *count) {
    for (long k = *(long *)count; k > 0; --k) {
        char *judgement = NULL;
        const int code = yoj_score(fails ? scorer + 1 : scorer, request, &judgement);
        if (code != (fails ? YOJ_ERROR_HANDLE : YOJ_OK)) stop(code);
        yoj_free_text(judgement);
    }
    return NULL;
}

static void run(long calls, int threads) {
    pthread_t started[64];
    long each = calls / threads;
    for (int k = 0; k < threads; ++k) pthread_create(&started[k], NULL, call, &each);
    for (int k = 0; k < threads; ++k) pthread_join(started[k], NULL);
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static long resident_kib(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1) stop(YOJ_ERROR_INTERNAL);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(int argc, char **argv) {
    if (argc != 5) return fprintf(stderr, "usage: %s BUNDLE REQUEST.json|- CALLS THREADS\n", argv[0]), 2;
    const long calls = atol(argv[3]);
    const int threads = atoi(argv[4]);
    if (threads < 1 || threads > 64 || calls < threads) return fprintf(stderr, "give 1 to 64 threads\n"), 2;
    fails = strcmp(argv[2], "-") == 0;
    FILE *file = fails ? NULL : fopen(argv[2], "rb");
    if (!fails && (file == NULL || fread(request, 1, sizeof request - 1, file) == 0)) return perror(argv[2]), 1;
    const yoj_options options = {.threads = 1};
    const int code = yoj_load(YOJ_ABI, argv[1], &options, &scorer);
    if (code != YOJ_OK) stop(code);

    run(calls / 10 + threads, threads);
    const long before = resident_kib();
    const double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    run(calls, threads);
    const double passed = seconds(CLOCK_MONOTONIC) - wall, used = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    const double per_call = 1e6 / (double)(calls / threads * threads);
    printf("calls %ld threads %d wall_us_per_call %.2f cpu_us_per_call %.2f rss_kib %ld rss_grown_kib %ld\n", calls,
           threads, passed * per_call, used * per_call, resident_kib(), resident_kib() - before);
    return yoj_free(scorer) == YOJ_OK ? 0 : 1;
}
