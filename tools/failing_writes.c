/* Makes one operation on the files of one folder fail, whoever asks for it: Python, numpy, gzip, TensorStore.
 *
 * Loaded before the C library (LD_PRELOAD). Everything that changes the folder is counted from 1 - files and folders
 * made, writes, cuts, syncs, renames and removals - and the operation of a chosen number fails as chosen. */
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
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NONE, ONCE, FROM_THEN_ON, HALF, FROZEN, KILLED };

static char folder[PATH_MAX];
static _Atomic int armed;
static _Atomic long counted;
static long position;
static int error_number, how;
static char hit[64];

void faults_disarm(void) { armed = 0; }

void faults_arm(const char *path, long at, int error, int manner) {
    faults_disarm();
    snprintf(folder, sizeof folder, "%s", path);
    position = at, error_number = error, how = manner, hit[0] = 0, counted = 0;
    armed = 1;
}

long faults_counted(void) { return counted; }

const char *faults_hit(void) { return hit; }

__attribute__((constructor)) static void from_environment(void) {
    const char *path = getenv("FAULTS_FOLDER");
    if (path) faults_arm(path, atol(getenv("FAULTS_AT")), atoi(getenv("FAULTS_ERROR")), atoi(getenv("FAULTS_HOW")));
}

static int inside(const char *path) {
    size_t length = strlen(folder);
    return !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

static int inside_at(int at, const char *name) {
    char path[2 * PATH_MAX], link[64];
    if (!armed || !name) return 0;
    if (name[0] == '/') return inside(name);
    if (at == AT_FDCWD) {
        if (!getcwd(path, PATH_MAX)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t size = readlink(link, path, PATH_MAX - 1);
        if (size < 0) return 0;
        path[size] = 0;
    }
    strcat(path, "/"), strncat(path, name, PATH_MAX);
    return inside(path);
}

static int inside_fd(int fd) {
    char path[PATH_MAX], link[64];
    if (!armed) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return inside(path);
}

/* Whether an operation fails; then errno is set. Removing makes room, so a full disk does not prevent it. */
static int fails(const char *what) {
    long number = ++counted;
    if (!position || number < position) return 0;
    if (number == position) snprintf(hit, sizeof hit, "%s", what);
    if (number > position && (how == ONCE || ((how == FROM_THEN_ON || how == HALF) && !strcmp(what, "remove"))))
        return 0;
    if (how == KILLED) kill(getpid(), SIGKILL), pause();
    errno = error_number;
    return 1;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* A write that fails may have come half way. */
static size_t before_it_fails(size_t size, int *fail, int fd) {
    *fail = 0;
    if (!inside_fd(fd)) return size;
    long number = counted + 1;
    if (!fails("write")) return size;
    *fail = 1;
    return number == position && (how == HALF || how == FROZEN) ? size / 2 : 0;
}

#define WRITE(part, call) \
    int fail, kept; \
    size_t some = before_it_fails(size, &fail, fd); \
    if (!fail) return call; \
    kept = errno; \
    ssize_t done = some ? (size = some, call) : -1; \
    if (how == HALF && done > 0) return done; \
    errno = kept; \
    return -1

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    WRITE(some, real(fd, data, size));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    REAL(pwrite);
    WRITE(some, real(fd, data, size, offset));
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    REAL(pwrite64);
    WRITE(some, real(fd, data, size, offset));
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    REAL(writev);
    if (inside_fd(fd) && fails("write")) return -1;
    return real(fd, parts, number);
}

#define FD(name, what) \
    int name(int fd) { \
        REAL(name); \
        return inside_fd(fd) && fails(what) ? -1 : real(fd); \
    }
FD(fsync, "sync")
FD(fdatasync, "sync")

int ftruncate(int fd, off_t size) {
    REAL(ftruncate);
    return inside_fd(fd) && fails("cut") ? -1 : real(fd, size);
}

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    return inside_fd(fd) && fails("cut") ? -1 : real(fd, size);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return inside_at(AT_FDCWD, to) && fails("rename") ? -1 : real(from, to);
}

int renameat(int from_at, const char *from, int to_at, const char *to) {
    REAL(renameat);
    return inside_at(to_at, to) && fails("rename") ? -1 : real(from_at, from, to_at, to);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    REAL(renameat2);
    return inside_at(to_at, to) && fails("rename") ? -1 : real(from_at, from, to_at, to, flags);
}

int link(const char *from, const char *to) {
    REAL(link);
    return inside_at(AT_FDCWD, to) && fails("rename") ? -1 : real(from, to);
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    REAL(linkat);
    return inside_at(to_at, to) && fails("rename") ? -1 : real(from_at, from, to_at, to, flags);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return inside_at(AT_FDCWD, path) && fails("folder") ? -1 : real(path, mode);
}

int mkdirat(int at, const char *path, mode_t mode) {
    REAL(mkdirat);
    return inside_at(at, path) && fails("folder") ? -1 : real(at, path, mode);
}

int unlink(const char *path) {
    REAL(unlink);
    return inside_at(AT_FDCWD, path) && fails("remove") ? -1 : real(path);
}

int unlinkat(int at, const char *path, int flags) {
    REAL(unlinkat);
    return inside_at(at, path) && fails("remove") ? -1 : real(at, path, flags);
}

int rmdir(const char *path) {
    REAL(rmdir);
    return inside_at(AT_FDCWD, path) && fails("remove") ? -1 : real(path);
}

#define OPEN(name, before, at, values) \
    int name before { \
        REAL(name); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | __O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
            if (inside_at(at, path) && fails("file")) return -1; \
        } \
        return real values; \
    }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(openat, (int at, const char *path, int flags, ...), at, (at, path, flags, mode))
OPEN(openat64, (int at, const char *path, int flags, ...), at, (at, path, flags, mode))
