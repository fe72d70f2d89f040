/* Counts the calls with which a process changes files below a folder, and kills it at one of them (LD_PRELOAD).

   Every fsync leaves a copy of the file in another folder, and every change of a name a line in a log, so that the
   machine can be put into the state in which a loss of power would have left it. Libraries written in C++ (HDF5,
   tensorstore) pass through here like Python itself. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[PATH_MAX], saved[PATH_MAX];
static long count, fatal = -1, links;
static int names = -1, calls = -1;
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Watch the files below `below`; die at call number `at` (0 for never). */
void arm(const char *below, const char *keep, long at)
{
    char path[PATH_MAX + 8];
    strcpy(root, below);
    strcpy(saved, keep);
    count = 0;
    fatal = at;
    snprintf(path, sizeof path, "%s/names", saved);
    names = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    snprintf(path, sizeof path, "%s/calls", saved);
    calls = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int whole(int at, const char *path, char *out)
{
    char folder[PATH_MAX], link[64];
    if (fatal < 0 || !path)
        return 0;
    if (path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
    } else {
        ssize_t length;
        if (at == AT_FDCWD) {
            if (!getcwd(folder, sizeof folder))
                return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            if ((length = readlink(link, folder, sizeof folder - 1)) < 0)
                return 0;
            folder[length] = 0;
        }
        snprintf(out, PATH_MAX, "%.2000s/%.2000s", folder, path);
    }
    return !strncmp(out, root, strlen(root));
}

static int of_descriptor(int descriptor, char *out)
{
    char link[64];
    ssize_t length;
    if (fatal < 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    if ((length = readlink(link, out, PATH_MAX - 1)) < 0)
        return 0;
    out[length] = 0;
    return !strncmp(out, root, strlen(root));
}

static int due(const char *what, const char *path)
{
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%ld %s %s\n", ++count, what, path);
    REAL(write)(calls, line, length);
    return count == fatal;
}

static void tick(const char *what, const char *path)
{
    if (due(what, path))
        kill(getpid(), SIGKILL);
}

static void note(const char *kind, const char *one, const char *other)
{
    char line[2 * PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%s\t%s\t%s\n", kind, one, other);
    REAL(write)(names, line, length);
}

static void copy_path(ino_t inode, char *out) { snprintf(out, PATH_MAX, "%.2000s/%lu", saved, (unsigned long)inode); }

/* What is on the disk now: the content of a file that was synced. */
static void keep(int descriptor, const char *path)
{
    struct stat status;
    char copy[PATH_MAX], buffer[65536];
    ssize_t length;
    int in, out;
    if (fstat(descriptor, &status))
        return;
    if (S_ISDIR(status.st_mode)) {
        note("synced", path, "");
        return;
    }
    copy_path(status.st_ino, copy);
    in = REAL(open)(path, O_RDONLY | O_CLOEXEC);
    out = REAL(open)(copy, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    while (in >= 0 && (length = read(in, buffer, sizeof buffer)) > 0)
        REAL(write)(out, buffer, length);
    close(in);
    close(out);
}

/* A file loses a name: it stays reachable, in case that this is not on the disk when the power goes. */
static void lose(const char *path, char *kept)
{
    struct stat status;
    kept[0] = 0;
    if (lstat(path, &status) || !S_ISREG(status.st_mode))
        return;
    snprintf(kept, PATH_MAX, "%.2000s/lost%ld", saved, ++links);
    REAL(link)(path, kept);
}

static void made(const char *path)
{
    struct stat status;
    char copy[PATH_MAX];
    if (lstat(path, &status))
        return;
    copy_path(status.st_ino, copy);
    REAL(unlink)(copy); /* of an older file with the same inode */
    note(S_ISDIR(status.st_mode) ? "folder" : "made", path, "");
}

static int opened(int (*real)(int, const char *, int, ...), int at, const char *path, int flags, mode_t mode)
{
    char full[PATH_MAX];
    int changes = flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC), fresh, descriptor;
    struct stat status;
    if (!changes || !whole(at, path, full))
        return real(at, path, flags, mode);
    pthread_mutex_lock(&lock);
    tick("open", full);
    fresh = lstat(full, &status) != 0;
    descriptor = real(at, path, flags, mode);
    if (descriptor >= 0 && fresh)
        made(full);
    pthread_mutex_unlock(&lock);
    return descriptor;
}

#define MODE mode_t mode = 0; va_list more; va_start(more, flags); \
    if (flags & (O_CREAT | __O_TMPFILE)) mode = va_arg(more, mode_t); va_end(more)

int open(const char *path, int flags, ...) { MODE; return opened(REAL(openat), AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE; return opened(REAL(openat64), AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE; return opened(REAL(openat), at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE; return opened(REAL(openat64), at, path, flags, mode); }

/* Half of what is written arrives when the process dies. */
ssize_t write(int descriptor, const void *data, size_t size)
{
    char path[PATH_MAX];
    if (of_descriptor(descriptor, path)) {
        pthread_mutex_lock(&lock);
        if (due("write", path)) {
            REAL(write)(descriptor, data, size / 2);
            kill(getpid(), SIGKILL);
        }
        pthread_mutex_unlock(&lock);
    }
    return REAL(write)(descriptor, data, size);
}

static ssize_t placed(__typeof__(&pwrite) real, int descriptor, const void *data, size_t size, off_t at)
{
    char path[PATH_MAX];
    if (of_descriptor(descriptor, path)) {
        pthread_mutex_lock(&lock);
        if (due("pwrite", path)) {
            real(descriptor, data, size / 2, at);
            kill(getpid(), SIGKILL);
        }
        pthread_mutex_unlock(&lock);
    }
    return real(descriptor, data, size, at);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t at)
{
    return placed(REAL(pwrite), descriptor, data, size, at);
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t at)
{
    return placed((__typeof__(&pwrite))REAL(pwrite64), descriptor, data, size, at);
}

#define ON_DESCRIPTOR(name, parameters, arguments, after) \
    int name parameters \
    { \
        char path[PATH_MAX]; \
        int result; \
        if (!of_descriptor(descriptor, path)) \
            return REAL(name) arguments; \
        pthread_mutex_lock(&lock); \
        tick(#name, path); \
        result = REAL(name) arguments; \
        after; \
        pthread_mutex_unlock(&lock); \
        return result; \
    }

ON_DESCRIPTOR(fsync, (int descriptor), (descriptor), keep(descriptor, path))
ON_DESCRIPTOR(fdatasync, (int descriptor), (descriptor), keep(descriptor, path))
ON_DESCRIPTOR(ftruncate, (int descriptor, off_t size), (descriptor, size), )
ON_DESCRIPTOR(ftruncate64, (int descriptor, off64_t size), (descriptor, size), )
ON_DESCRIPTOR(posix_fallocate, (int descriptor, off_t at, off_t size), (descriptor, at, size), )
ON_DESCRIPTOR(posix_fallocate64, (int descriptor, off64_t at, off64_t size), (descriptor, at, size), )

int msync(void *start, size_t length, int flags)
{
    if (fatal >= 0) {
        pthread_mutex_lock(&lock);
        tick("msync", "");
        pthread_mutex_unlock(&lock);
    }
    return REAL(msync)(start, length, flags);
}

static int renamed(int from, const char *old, int to, const char *new)
{
    char one[PATH_MAX], other[PATH_MAX], kept[PATH_MAX], both[2 * PATH_MAX + 4];
    int result;
    if (!whole(from, old, one) || !whole(to, new, other))
        return REAL(renameat)(from, old, to, new);
    pthread_mutex_lock(&lock);
    tick("rename", other);
    lose(other, kept);
    result = REAL(renameat)(from, old, to, new);
    if (!result) {
        snprintf(both, sizeof both, "%s\t%s", other, kept);
        note("renamed", one, both);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *old, const char *new) { return renamed(AT_FDCWD, old, AT_FDCWD, new); }
int renameat(int from, const char *old, int to, const char *new) { return renamed(from, old, to, new); }

int unlinkat(int at, const char *path, int flags)
{
    char full[PATH_MAX], kept[PATH_MAX];
    int result;
    if (!whole(at, path, full))
        return REAL(unlinkat)(at, path, flags);
    pthread_mutex_lock(&lock);
    tick("unlink", full);
    lose(full, kept);
    result = REAL(unlinkat)(at, path, flags);
    if (!result)
        note(flags & AT_REMOVEDIR ? "folder removed" : "removed", full, kept);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int at, const char *path, mode_t mode)
{
    char full[PATH_MAX];
    int result;
    if (!whole(at, path, full))
        return REAL(mkdirat)(at, path, mode);
    pthread_mutex_lock(&lock);
    tick("mkdir", full);
    result = REAL(mkdirat)(at, path, mode);
    if (!result)
        made(full);
    pthread_mutex_unlock(&lock);
    return result;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
