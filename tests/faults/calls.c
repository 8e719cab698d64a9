/* Preloaded into the server by tests: numbers the calls that change files below one directory, writes each down, and lets
 * some of them fail, wait, or be the last thing that the process does. Numbers run over all threads, which is why this is
 * not left to strace: that counts the calls of each thread apart.
 *
 *   CALLS_DIR    the directory; calls elsewhere are not touched
 *   CALLS_LOG    a file that gets a line "number call path" for each, before it is made; "number! ..." where something happens
 *   CALLS_ONLY   something happens to this call alone (such as fdatasync)
 *   CALLS_END    something happens to calls of files alone whose paths end like this
 *   CALLS_AT     the first of these calls that something happens to: 1 is the first of all
 *   CALLS_UNTIL  the last of them; the first one alone where it is not set
 *   CALLS_DO     before: die instead of it; after: die after it; torn: die after half of the bytes;
 *                     fail: answer the error CALLS_VALUE; delay: wait CALLS_VALUE milliseconds first
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum act { NOTHING, BEFORE, AFTER, TORN, FAIL, DELAY };

static const char *dir, *only, *end;
static size_t dir_len;
static long at, until, value;
static enum act act;
static int trace = -1;
static atomic_long calls, turns;

__attribute__((constructor)) static void read_settings(void) {
    const char *text = getenv("CALLS_DO"), *number = getenv("CALLS_AT"), *last = getenv("CALLS_UNTIL");
    dir = getenv("CALLS_DIR");
    if (!dir) return;
    dir_len = strlen(dir);
    only = getenv("CALLS_ONLY");
    end = getenv("CALLS_END");
    at = number ? atol(number) : 0;
    until = last ? atol(last) : at;
    value = getenv("CALLS_VALUE") ? atol(getenv("CALLS_VALUE")) : EIO;
    const char *names[] = {"nothing", "before", "after", "torn", "fail", "delay"};
    for (int i = 0; text && i < 6; i++)
        if (!strcmp(text, names[i])) act = i;
    const char *log = getenv("CALLS_LOG");
    if (log) trace = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

static int ends(const char *path) {
    size_t length = strlen(path), wanted = strlen(end);
    return length >= wanted && !strcmp(path + length - wanted, end);
}

/* What shall happen to this call of this path. */
static enum act meet(const char *call, const char *path) {
    if (!dir || strncmp(path, dir, dir_len)) return NOTHING;
    int meant = act && (!only || !strcmp(only, call)) && (!end || ends(path));
    long number = atomic_fetch_add(&calls, 1) + 1, turn = meant ? atomic_fetch_add(&turns, 1) + 1 : 0;
    int happens = meant && at <= turn && turn <= until;
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%ld%s %s %s\n", number, happens ? "!" : "", call, path + dir_len);
    if (trace >= 0 && length > 0) (void)!syscall(SYS_write, trace, line, (size_t)length);
    if (!happens) return NOTHING;
    if (act == DELAY) {
        struct timespec pause = {value / 1000, value % 1000 * 1000000};
        nanosleep(&pause, NULL);
        return NOTHING;
    }
    if (act == BEFORE) die();
    return act;
}

static enum act meet_fd(const char *call, int fd) {
    char link[64], path[PATH_MAX];
    if (!dir) return NOTHING;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length < 0) return NOTHING;
    path[length] = 0;
    return meet(call, path);
}

#define REAL(result, name, ...)                                                                                        \
    static result (*real)(__VA_ARGS__);                                                                                \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name);

/* Makes the call as `todo` says: `whole` is the call, `half` the same with half of the bytes. */
#define DO(todo, whole, half)                                                                                          \
    switch (todo) {                                                                                                    \
        case FAIL: errno = (int)value; return -1;                                                                      \
        case TORN: (void)!(half); die(); break;                                                                        \
        case AFTER: (void)!(whole); die(); break;                                                                      \
        default: return whole;                                                                                         \
    }                                                                                                                  \
    return -1;

#define ON_FD(name)                                                                                                    \
    int name(int fd) {                                                                                                 \
        REAL(int, name, int)                                                                                           \
        DO(meet_fd(#name, fd), real(fd), 0)                                                                            \
    }
ON_FD(fsync)
ON_FD(fdatasync)

#define ON_PATH(name)                                                                                                  \
    int name(const char *path) {                                                                                       \
        REAL(int, name, const char *)                                                                                  \
        DO(meet(#name, path), real(path), 0)                                                                           \
    }
ON_PATH(unlink)
ON_PATH(rmdir)

#define ON_TWO_PATHS(name)                                                                                             \
    int name(const char *from, const char *to) {                                                                       \
        REAL(int, name, const char *, const char *)                                                                    \
        DO(meet(#name, to), real(from, to), 0)                                                                         \
    }
ON_TWO_PATHS(rename)
ON_TWO_PATHS(link)

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    REAL(int, linkat, int, const char *, int, const char *, int)
    DO(meet("linkat", to), real(from_dir, from, to_dir, to, flags), 0)
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t)
    DO(meet("mkdir", path), real(path, mode), 0)
}

#define TRUNCATES(name)                                                                                                \
    int name(int fd, off_t length) {                                                                                   \
        REAL(int, name, int, off_t)                                                                                    \
        DO(meet_fd("ftruncate", fd), real(fd, length), 0)                                                              \
    }
TRUNCATES(ftruncate)
TRUNCATES(ftruncate64)

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(ssize_t, write, int, const void *, size_t)
    DO(meet_fd("write", fd), real(fd, bytes, count), real(fd, bytes, count / 2))
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int)
    DO(meet_fd("writev", fd), real(fd, parts, count), real(fd, parts, count / 2))
}

#define WRITES_AT(name)                                                                                                \
    ssize_t name(int fd, const void *bytes, size_t count, off_t offset) {                                              \
        REAL(ssize_t, name, int, const void *, size_t, off_t)                                                          \
        DO(meet_fd("pwrite", fd), real(fd, bytes, count, offset), real(fd, bytes, count / 2, offset))                  \
    }
WRITES_AT(pwrite)
WRITES_AT(pwrite64)

/* Opening counts where it may make a file or empty one. */
#define OPENS(name)                                                                                                    \
    int name(const char *path, int flags, ...) {                                                                       \
        REAL(int, name, const char *, int, ...)                                                                        \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = va_arg(more, mode_t);                                                                            \
        va_end(more);                                                                                                  \
        if (!(flags & (O_CREAT | O_TRUNC))) return real(path, flags, mode);                                            \
        DO(meet("open", path), real(path, flags, mode), 0)                                                             \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name)                                                                                                 \
    int name(int at_dir, const char *path, int flags, ...) {                                                           \
        REAL(int, name, int, const char *, int, ...)                                                                   \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = va_arg(more, mode_t);                                                                            \
        va_end(more);                                                                                                  \
        if (!(flags & (O_CREAT | O_TRUNC))) return real(at_dir, path, flags, mode);                                    \
        DO(meet("open", path), real(at_dir, path, flags, mode), 0)                                                     \
    }
OPENS_AT(openat)
OPENS_AT(openat64)
