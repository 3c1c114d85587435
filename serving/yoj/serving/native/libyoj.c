/* Body of libyoj: starts Python once, keeps the errors of each thread, and hands calls to yoj.serving.native._embedded.

   cffi adds the code that enters Python: the functions yoj_py_... The builder defines BUILT_VERSION (of yoj),
   BUILT_PYTHON (the interpreter of its environment) and BUILT_LIBPYTHON (the soname of its library). */

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "yoj.h"

static int yoj_py_load(const char *bundle, const yoj_options *options, yoj_scorer *scorer);
static int yoj_py_score(yoj_scorer scorer, const char *request, char **judgement);
static int yoj_py_score_rgb(yoj_scorer scorer, const yoj_request *request, yoj_result *result);
static int yoj_py_free(yoj_scorer scorer);

static pthread_key_t last_error;
static pthread_once_t start_once = PTHREAD_ONCE_INIT;
static volatile int start_begun, forked;
static int start_code;
static char *start_text;

static void note_fork(void) { forked = forked || start_begun; }

__attribute__((constructor)) static void prepare(void) {
    pthread_key_create(&last_error, free);
    pthread_atfork(NULL, NULL, note_fork);
}

static void yoj_keep_error(const char *text) {
    free(pthread_getspecific(last_error));
    pthread_setspecific(last_error, strdup(text));
}

static int fail(int code, const char *text) {
    yoj_keep_error(text);
    return code;
}

static void yoj_keep_start_error(int code, const char *text) {
    start_code = code;
    start_text = strdup(text);
}

static void fail_start(int code, const char *format, ...) {
    char text[2 * 4096];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    yoj_keep_start_error(code, text);
}

static const char *python(void) {
    const char *given = getenv("YOJ_PYTHON");
    return given != NULL && *given != '\0' ? given : BUILT_PYTHON;
}

/* Without the host's locale, signals, streams and arguments, which are not ours to touch. */
static PyStatus initialise(PyConfig *config) {
    PyPreConfig before;
    PyPreConfig_InitPythonConfig(&before);
    before.parse_argv = before.configure_locale = before.coerce_c_locale = 0;
    before.utf8_mode = 1;
    PyStatus status = Py_PreInitialize(&before);
    if (PyStatus_Exception(status)) return status;
    PyConfig_InitPythonConfig(config);
    config->parse_argv = config->install_signal_handlers = config->configure_c_stdio = 0;
    status = PyConfig_SetBytesString(config, &config->program_name, python());
    if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(config);
    PyConfig_Clear(config);
    return status;
}

static int start_python(void) {
    PyConfig config;
    if (access(python(), X_OK) != 0) {
        fail_start(YOJ_ERROR_PYTHON,
                   "There is no Python at %s. Set YOJ_PYTHON to the interpreter of an environment with yoj %s.",
                   python(), BUILT_VERSION);
        return -1;
    }
    /* Extension modules look up Python's functions in the whole process, also where the host loaded us for itself. */
    dlopen(BUILT_LIBPYTHON, RTLD_NOW | RTLD_GLOBAL);
    PyStatus status = initialise(&config);
    if (PyStatus_Exception(status)) {
        fail_start(YOJ_ERROR_PYTHON,
                   "Python %d.%d did not start with %s: %s. Set YOJ_PYTHON to the interpreter of an environment of "
                   "Python %d.%d with yoj %s.",
                   PY_MAJOR_VERSION, PY_MINOR_VERSION, python(), status.err_msg ? status.err_msg : "it ended",
                   PY_MAJOR_VERSION, PY_MINOR_VERSION, BUILT_VERSION);
        return -1;
    }
    PyEval_SaveThread();
    return 0;
}

/* Returns 0, or keeps the reason why cffi, with which C enters Python, cannot be imported. */
static int import_cffi(const char *where) {
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *module = PyImport_ImportModule("_cffi_backend");
    if (module == NULL) {
        PyObject *type, *value, *trace;
        PyErr_Fetch(&type, &value, &trace);
        PyObject *said = value != NULL ? PyObject_Str(value) : NULL;
        const char *why = said != NULL ? PyUnicode_AsUTF8(said) : NULL;
        fail_start(YOJ_ERROR_PYTHON,
                   "%s has no cffi for Python %d.%d: %s. Install it there with: pip install 'yoj[native,ort]==%s'",
                   where, PY_MAJOR_VERSION, PY_MINOR_VERSION, why != NULL ? why : "unknown", BUILT_VERSION);
        Py_XDECREF(said);
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(trace);
        PyErr_Clear();
    }
    const int missing = module == NULL;
    Py_XDECREF(module);
    PyGILState_Release(state);
    return -missing;
}

static void start(void) {
    start_begun = 1;
    int major = 0, minor = 0;
    sscanf(Py_GetVersion(), "%d.%d", &major, &minor);
    if (major != PY_MAJOR_VERSION || minor != PY_MINOR_VERSION) {
        fail_start(YOJ_ERROR_VERSION,
                   "libyoj was built for Python %d.%d, and this process has Python %d.%d. Build it with that one.",
                   PY_MAJOR_VERSION, PY_MINOR_VERSION, major, minor);
        return;
    }
    const int ours = !Py_IsInitialized();
    if (ours && start_python() != 0) return;
    const char *where = ours ? python() : "the Python that this process had started";
    if (import_cffi(where) == 0 && cffi_start_python() != 0 && start_code == YOJ_OK)
        fail_start(YOJ_ERROR_INTERNAL, "cffi could not call into %s; standard error says why.", where);
}

static int ready(void) {
    if (forked)
        return fail(YOJ_ERROR_FORKED,
                    "This process was forked from one that had started yoj. Fork before the first call, or start a "
                    "new program.");
    pthread_once(&start_once, start);
    return start_code == YOJ_OK ? YOJ_OK : fail(start_code, start_text != NULL ? start_text : "There is no memory.");
}

const char *yoj_version(void) { return BUILT_VERSION; }

int yoj_load(uint32_t abi, const char *bundle, const yoj_options *options, yoj_scorer *scorer) {
    static const yoj_options defaults;
    char text[128];
    if (scorer != NULL) *scorer = 0;
    if (abi != YOJ_ABI) {
        snprintf(text, sizeof text, "yoj.h has YOJ_ABI %u, libyoj %s has %d. Compile with the header beside it.",
                 (unsigned)abi, BUILT_VERSION, YOJ_ABI);
        return fail(YOJ_ERROR_VERSION, text);
    }
    if (bundle == NULL) return fail(YOJ_ERROR_ARGUMENT, "bundle is NULL; give the path of a bundle.");
    if (scorer == NULL) return fail(YOJ_ERROR_ARGUMENT, "scorer is NULL; give the address of a yoj_scorer.");
    const int code = ready();
    return code != YOJ_OK ? code : yoj_py_load(bundle, options != NULL ? options : &defaults, scorer);
}

int yoj_score(yoj_scorer scorer, const char *request, char **judgement) {
    if (judgement == NULL) return fail(YOJ_ERROR_ARGUMENT, "judgement is NULL; give the address of a char *.");
    *judgement = NULL;
    if (request == NULL) return fail(YOJ_ERROR_ARGUMENT, "request is NULL; give a request in JSON.");
    const int code = ready();
    return code != YOJ_OK ? code : yoj_py_score(scorer, request, judgement);
}

int yoj_score_rgb(yoj_scorer scorer, const yoj_request *request, yoj_result *result) {
    if (request == NULL || result == NULL)
        return fail(YOJ_ERROR_ARGUMENT, request == NULL ? "request is NULL; give a yoj_request."
                                                        : "result is NULL; give a yoj_result.");
    const int code = ready();
    return code != YOJ_OK ? code : yoj_py_score_rgb(scorer, request, result);
}

int yoj_free(yoj_scorer scorer) {
    const int code = ready();
    return code != YOJ_OK ? code : yoj_py_free(scorer);
}

void yoj_free_text(char *text) { free(text); }

const char *yoj_last_error(void) {
    const char *text = pthread_getspecific(last_error);
    return text != NULL ? text : "";
}

const char *yoj_kind(int code) {
    static const char *const kinds[] = {"ok",     "argument", "handle", "version", "python", "forked", "bundle",
                                        "engine", "memory",   "request", "limit",  "length", "media",  "internal"};
    return code >= 0 && (size_t)code < sizeof kinds / sizeof *kinds ? kinds[code] : "unknown";
}
