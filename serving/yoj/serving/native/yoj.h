/* C interface of yoj: score N responses to a prompt with a bundle, in this process.

   Texts are UTF-8 and end with a zero byte. Every function may be called from any thread. A function that returns int
   returns YOJ_OK or the code of an error, whose text yoj_last_error gives; no error ends the process.
   docs/c.md of yoj has the limits. */

#ifndef YOJ_H
#define YOJ_H

#include <stddef.h>
#include <stdint.h>

/* Version of this header's structs and functions; yoj_load takes it, so that a library of another one is an error. */
#define YOJ_ABI 1

#define YOJ_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* The types stand between these two lines so that yoj's builder can read them. types: begin */

/* Code of an error. Numbers never change their meaning; later versions may add some. */
enum {
    YOJ_OK = 0,
    YOJ_ERROR_ARGUMENT = 1,  /* NULL, no UTF-8, an impossible size */
    YOJ_ERROR_HANDLE = 2,    /* a scorer that was freed or never loaded */
    YOJ_ERROR_VERSION = 3,   /* header, library, Python or yoj of versions that do not fit */
    YOJ_ERROR_PYTHON = 4,    /* Python could not be started, or has no yoj */
    YOJ_ERROR_FORKED = 5,    /* this process was forked from one that had started yoj */
    YOJ_ERROR_BUNDLE = 6,    /* missing, changed, incomplete, of another version; or not to be downloaded */
    YOJ_ERROR_ENGINE = 7,    /* missing, does not fit the bundle, failed, or returned what is no score */
    YOJ_ERROR_MEMORY = 8,    /* more memory than is free */
    YOJ_ERROR_REQUEST = 9,   /* cannot be scored as it was given, such as bad JSON */
    YOJ_ERROR_LIMIT = 10,    /* over one of the bundle's limits */
    YOJ_ERROR_LENGTH = 11,   /* more tokens than the bundle takes */
    YOJ_ERROR_MEDIA = 12,    /* an image or video that cannot be read or may not be */
    YOJ_ERROR_INTERNAL = 13  /* a fault of yoj; please report it */
};

/* Number of a loaded bundle. 0 is none, and numbers are never used again. */
typedef uint64_t yoj_scorer;

/* What yoj_load may be told. All zero is the default of each. */
typedef struct {
    const char *engine;     /* "onnxruntime", "onnxruntime-cuda", "tensorrt", "tensorrt-rtx"; NULL: the bundle's first */
    const char *precision;  /* "float32", "int8", ...; NULL: the bundle's first */
    const char *media_root; /* folder from which JSON requests may read files; NULL: from none */
    int32_t threads;        /* CPU threads of one run; 0: all cores */
} yoj_options;

/* Picture of 8-bit RGB, rows from top to bottom. Read during the call only. */
typedef struct {
    const uint8_t *pixels; /* R, G, B of the upper left pixel, then of the next to the right */
    int32_t width;         /* pixels */
    int32_t height;        /* pixels */
    int64_t stride;        /* bytes from one row to the next, at least 3 * width */
} yoj_image;

/* Question about pictures, which stand before it, and its candidate answers. Read during the call only. */
typedef struct {
    const char *prompt;
    const char *const *responses;
    size_t n_responses;
    const yoj_image *images; /* may be NULL where n_images is 0 */
    size_t n_images;
} yoj_request;

/* Where yoj_score_rgb writes. The caller owns the arrays. */
typedef struct {
    float *scores;        /* [n_responses] they compare only within this request */
    float *probabilities; /* [n_responses] chance of each to be the best */
    int32_t best;         /* index of the highest score */
    int32_t calibrated;   /* 1 where the probabilities were fitted to rankings, else 0 */
    int32_t notices;      /* number of notices in the judgement; yoj_score gives their texts */
} yoj_result;

/* types: end */

/* Version of yoj that built the library. Needs no Python. */
YOJ_API const char *yoj_version(void);

/* Loads a bundle. The first call of the process starts Python.
   abi: YOJ_ABI. bundle: its folder, or org/name@revision of the Hugging Face hub. options: NULL for the defaults.
   scorer: receives the number, 0 after an error. */
YOJ_API int yoj_load(uint32_t abi, const char *bundle, const yoj_options *options, yoj_scorer *scorer);

/* Scores a request in JSON, as yoj-score and yoj's HTTP server take it.
   judgement: receives the judgement in JSON, to be given to yoj_free_text; NULL after an error. */
YOJ_API int yoj_score(yoj_scorer scorer, const char *request, char **judgement);

/* Scores texts and pictures that are in memory. Nothing is written to result after an error. */
YOJ_API int yoj_score_rgb(yoj_scorer scorer, const yoj_request *request, yoj_result *result);

/* Frees a scorer. Calls of other threads that have begun still end with their scores. */
YOJ_API int yoj_free(yoj_scorer scorer);

/* Frees a text that yoj_score gave. NULL is allowed. */
YOJ_API void yoj_free_text(char *text);

/* Text of this thread's last error, "" where there was none. Valid until its next error or its end. */
YOJ_API const char *yoj_last_error(void);

/* Kind of an error by its code, such as "bundle"; "ok" for YOJ_OK and "unknown" for a code of a later version. */
YOJ_API const char *yoj_kind(int code);

#ifdef __cplusplus
}
#endif

#endif
