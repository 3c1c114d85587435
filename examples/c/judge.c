/* Scores a request in JSON: judge BUNDLE REQUEST.json. Files that the request names are read from its folder. */

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yoj.h>

static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return NULL;
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    rewind(file);
    char *text = size < 0 ? NULL : calloc((size_t)size + 1, 1);
    if (text != NULL && fread(text, 1, (size_t)size, file) != (size_t)size) {
        free(text);
        text = NULL;
    }
    fclose(file);
    return text;
}

static int failed(int code) {
    fprintf(stderr, "%s (%d): %s\n", yoj_kind(code), code, yoj_last_error());
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s BUNDLE REQUEST.json\n", argv[0]);
        return 2;
    }
    char *request = read_file(argv[2]);
    if (request == NULL) {
        perror(argv[2]);
        return 1;
    }
    const yoj_options options = {.media_root = dirname(argv[2])};
    yoj_scorer scorer;
    int code = yoj_load(YOJ_ABI, argv[1], &options, &scorer);
    if (code != YOJ_OK) return failed(code);

    char *judgement;
    code = yoj_score(scorer, request, &judgement);
    free(request);
    if (code != YOJ_OK) return failed(code);
    puts(judgement);
    yoj_free_text(judgement);
    return yoj_free(scorer) == YOJ_OK ? 0 : 1;
}
