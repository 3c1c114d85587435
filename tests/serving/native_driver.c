/* Host that misuses libyoj on purpose, for test_native.py. It opens the library as a plug-in, so that it links nothing.

   driver LIBRARY COMMAND BUNDLE ARGUMENTS...; each line of the output is a code, a kind and a text, with tabs. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <yoj.h>

static __typeof__(yoj_version) *version;
static __typeof__(yoj_load) *load;
static __typeof__(yoj_score) *score;
static __typeof__(yoj_score_rgb) *score_rgb;
static __typeof__(yoj_free) *free_scorer;
static __typeof__(yoj_free_text) *free_text;
static __typeof__(yoj_last_error) *last_error;
static __typeof__(yoj_kind) *kind;

#define SYMBOL(target, name) (*(void **)&(target) = dlsym(library, name))

static void *open_library(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    SYMBOL(version, "yoj_version");
    SYMBOL(load, "yoj_load");
    SYMBOL(score, "yoj_score");
    SYMBOL(score_rgb, "yoj_score_rgb");
    SYMBOL(free_scorer, "yoj_free");
    SYMBOL(free_text, "yoj_free_text");
    SYMBOL(last_error, "yoj_last_error");
    SYMBOL(kind, "yoj_kind");
    return library;
}

static void told(int code, const char *text) {
    printf("%d\t%s\t%s\n", code, kind(code), code == YOJ_OK ? text : last_error());
    fflush(stdout);
}

static yoj_scorer must_load(const char *bundle) {
    const yoj_options options = {.threads = 1};
    yoj_scorer scorer = 0;
    const int code = load(YOJ_ABI, bundle, &options, &scorer);
    if (code != YOJ_OK) {
        told(code, "");
        exit(1);
    }
    return scorer;
}

static int json(yoj_scorer scorer, const char *request) {
    char *judgement = NULL;
    const int code = score(scorer, request, &judgement);
    told(code, judgement);
    free_text(judgement);
    return code;
}

/* load BUNDLE ENGINE PRECISION MEDIA_ROOT THREADS ABI; an empty text is NULL. */
static void command_load(const char *bundle, char **words) {
    const char *given[4] = {bundle, words[0], words[1], words[2]};
    for (int k = 0; k < 4; ++k)
        if (*given[k] == '\0') given[k] = NULL;
    const yoj_options options = {given[1], given[2], given[3], atoi(words[3])};
    yoj_scorer scorer = 99;
    told(load((uint32_t)atoi(words[4]), given[0], &options, &scorer), "loaded");
    if ((scorer == 0) == (*last_error() == '\0')) printf("a wrong number: %d\n", (int)scorer);
}

/* lines BUNDLE FILE: scores each line of a file. */
static void command_lines(const char *bundle, char **words) {
    const yoj_scorer scorer = must_load(bundle);
    FILE *file = fopen(words[0], "r");
    char *line = NULL;
    size_t size = 0;
    for (ssize_t read; file != NULL && (read = getline(&line, &size, file)) > 0;) {
        line[read - 1] = '\0';
        json(scorer, line);
    }
    free(line);
    if (file != NULL) fclose(file);
}

static uint8_t pixels[12];
static const char *const answers[] = {"One.", NULL, "\xff"};
static float numbers[4];

/* typed BUNDLE: calls that cannot be meant, then one that can. */
static void command_typed(const char *bundle, char **words) {
    (void)words;
    const yoj_scorer scorer = must_load(bundle);
    const yoj_image fine = {pixels, 2, 2, 6};
    const yoj_image wrong[] = {{NULL, 2, 2, 6}, {pixels, 0, 2, 6}, {pixels, 2, -1, 6}, {pixels, 2, 2, 5},
                               {pixels, 2, 2, -6}, {pixels, 2147483647, 2147483647, INT64_MAX}};
    yoj_result result = {numbers, numbers, 0, 0, 0}, nowhere = {NULL, numbers, 0, 0, 0};
    const yoj_request requests[] = {
        {NULL, answers, 1, NULL, 0}, {"Which?", NULL, 1, NULL, 0}, {"Which?", answers, 2, NULL, 0},
        {"Which?", answers + 2, 1, NULL, 0}, {"Which?", answers, 0, NULL, 0}, {"Which?", answers, 1, NULL, 1},
    };
    told(score_rgb(scorer, NULL, &result), "");
    told(score_rgb(scorer, requests, NULL), "");
    for (size_t k = 0; k < sizeof requests / sizeof *requests; ++k) told(score_rgb(scorer, requests + k, &result), "");
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; ++k) {
        const yoj_request request = {"Which?", answers, 1, wrong + k, 1};
        told(score_rgb(scorer, &request, &result), "");
    }
    const yoj_request request = {"Which?", answers, 1, &fine, 1};
    told(score_rgb(scorer, &request, &nowhere), "");
    told(score_rgb(scorer + 1, &request, &result), "");
    told(score_rgb(scorer, &request, &result), "scored");
}

/* rgb BUNDLE WIDTH HEIGHT STRIDE PROMPT RESPONSES...: pixels from standard input. */
static void command_rgb(const char *bundle, char **words) {
    const int32_t width = atoi(words[0]), height = atoi(words[1]), stride = atoi(words[2]);
    uint8_t *picture = malloc((size_t)height * (size_t)stride);
    const yoj_image image = {picture, width, height, stride};
    size_t n = 0;
    while (words[4 + n] != NULL) ++n;
    float scores[64], probabilities[64];
    yoj_result result = {scores, probabilities, -1, -1, -1};
    const yoj_request request = {words[3], (const char *const *)words + 4, n, &image, 1};
    if (fread(picture, (size_t)stride, (size_t)height, stdin) != (size_t)height) exit(1);
    told(score_rgb(must_load(bundle), &request, &result), "scored");
    for (size_t k = 0; k < n; ++k) printf("%.9g\t%.9g\n", scores[k], probabilities[k]);
    printf("%d\t%d\t%d\n", result.best, result.calibrated, result.notices);
    free(picture);
}

/* numbers BUNDLE REQUEST: numbers that are none, and NULL where there must be something. */
static void command_numbers(const char *bundle, char **words) {
    const char *request = words[0];
    told(free_scorer(0), "");
    const yoj_scorer scorer = must_load(bundle), other = must_load(bundle);
    json(scorer, request);
    told(free_scorer(scorer), "freed");
    json(scorer, request);
    told(free_scorer(scorer), "");
    json(12345, request);
    json(other, NULL);
    told(score(other, request, NULL), "");
    told(load(YOJ_ABI, bundle, NULL, NULL), "");
    free_text(NULL);
    json(other, request);
    printf("%s\t%s\t%s\n", kind(-1), kind(14), version());
}

static yoj_scorer shared;
static const char *shared_request;
static long shared_calls;

static void *calls(void *unused) {
    (void)unused;
    for (long k = 0; k < shared_calls; ++k) {
        char *judgement = NULL;
        const int code = score(shared, shared_request, &judgement);
        told(code, judgement);
        free_text(judgement);
        if (code != YOJ_OK) break;
    }
    return NULL;
}

/* threads BUNDLE REQUEST THREADS CALLS, or freed ..., where the scorer is freed meanwhile. */
static void command_threads(const char *bundle, char **words, int freed) {
    pthread_t started[64];
    const int n = atoi(words[1]);
    shared = must_load(bundle), shared_request = words[0], shared_calls = atol(words[2]);
    for (int k = 0; k < n; ++k) pthread_create(&started[k], NULL, calls, NULL);
    if (freed) {
        usleep(100000);
        free_scorer(shared);
    }
    for (int k = 0; k < n; ++k) pthread_join(started[k], NULL);
}

/* started_at_once BUNDLE REQUEST: the first calls of all are those of eight threads. */
static void *first_call(void *bundle) {
    json(must_load(bundle), shared_request);
    return NULL;
}

static void command_first(char *bundle, char **words) {
    pthread_t started[8];
    shared_request = words[0];
    for (int k = 0; k < 8; ++k) pthread_create(&started[k], NULL, first_call, bundle);
    for (int k = 0; k < 8; ++k) pthread_join(started[k], NULL);
}

static long resident_kib(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1) exit(1);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void *failing_load(void *bundle) {
    yoj_scorer none;
    if (load(YOJ_ABI, bundle, NULL, &none) != YOJ_ERROR_BUNDLE) exit(1);
    return NULL;
}

static void one_thread(char *bundle) {
    pthread_t started;
    pthread_create(&started, NULL, failing_load, bundle);
    pthread_join(started, NULL);
}

static void one_bundle(char *bundle) { free_scorer(must_load(bundle)); }

/* kept BUNDLE threads|bundles ROUNDS: KiB that memory grows by over rounds of a thread that fails to load and ends, or of
   a bundle that is loaded and freed; after as many rounds before. */
static void command_kept(char *bundle, char **words) {
    const int rounds = atoi(words[1]);
    long before = 0;
    for (int k = 0; k < 2 * rounds; ++k) {
        if (k == rounds) before = resident_kib();
        (strcmp(words[0], "threads") == 0 ? one_thread : one_bundle)(bundle);
    }
    printf("%ld\n", resident_kib() - before);
}

/* fork BUNDLE REQUEST: the child's call, then the parent's. */
static void command_fork(const char *bundle, char **words) {
    const yoj_scorer scorer = must_load(bundle);
    const pid_t child = fork();
    if (child == 0) {
        json(scorer, words[0]);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    json(scorer, words[0]);
}

/* reopen BUNDLE REQUEST: the library is closed and opened again; the scorer outlives that. */
static void command_reopen(void *library, const char *path, const char *bundle, char **words) {
    const yoj_scorer scorer = must_load(bundle);
    dlclose(library);
    open_library(path);
    json(scorer, words[0]);
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    void *library = open_library(argv[1]);
    const char *command = argv[2];
    char **words = argv + 4;
    if (strcmp(command, "load") == 0) command_load(argv[3], words);
    else if (strcmp(command, "lines") == 0) command_lines(argv[3], words);
    else if (strcmp(command, "typed") == 0) command_typed(argv[3], words);
    else if (strcmp(command, "rgb") == 0) command_rgb(argv[3], words);
    else if (strcmp(command, "numbers") == 0) command_numbers(argv[3], words);
    else if (strcmp(command, "threads") == 0) command_threads(argv[3], words, 0);
    else if (strcmp(command, "freed") == 0) command_threads(argv[3], words, 1);
    else if (strcmp(command, "first") == 0) command_first(argv[3], words);
    else if (strcmp(command, "kept") == 0) command_kept(argv[3], words);
    else if (strcmp(command, "fork") == 0) command_fork(argv[3], words);
    else if (strcmp(command, "reopen") == 0) command_reopen(library, argv[1], argv[3], words);
    else return 2;
    return 0;
}
