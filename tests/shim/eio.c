/*
 * A disk that fails, or is slow, on command. Preloaded into a server under test.
 *
 * EIO_DIR      the directory whose files are concerned
 * EIO_CONTROL  while this file exists and is empty, writes and syncs of files below EIO_DIR fail; while
 *              it holds a number, syncs take that many milliseconds longer; while it holds "full",
 *              writes that make a file longer fail with ENOSPC, and all else works
 * EIO_ERRNO    the number of the error that they fail with, EIO if it is not set
 *
 * A file is judged by its path, looked up in /proc/self/fd.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int below(int fd, const char *dir)
{
    char link[64], path[4096];
    ssize_t length;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return strncmp(path, dir, strlen(dir)) == 0 && path[strlen(dir)] == '/';
}

#define FULL -2

/* What the control file says of this file: -1 nothing, FULL, 0 it fails, else milliseconds. */
static long verdict(int fd)
{
    const char *dir = getenv("EIO_DIR"), *control = getenv("EIO_CONTROL");
    char text[32] = {0};
    int file;
    ssize_t length;

    if (!dir || !control)
        return -1;
    file = open(control, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -1;
    length = read(file, text, sizeof text - 1);
    close(file);
    if (length < 0 || !below(fd, dir))
        return -1;
    return strcmp(text, "full") == 0 ? FULL : atol(text);
}

/* Whether a write that ends at `end` makes the file longer. */
static int grows(int fd, off_t end)
{
    struct stat now;

    return fstat(fd, &now) == 0 && end > now.st_size;
}

/* Where a write without a place of its own ends: of a file that is appended to, beyond its end. */
static off_t end_of(int fd, off_t count)
{
    struct stat now;

    if (fcntl(fd, F_GETFL) & O_APPEND)
        return fstat(fd, &now) == 0 ? now.st_size + count : count;
    return lseek(fd, 0, SEEK_CUR) + count;
}

static off_t total(const struct iovec *v, int n)
{
    off_t sum = 0;

    for (int i = 0; i < n; i++)
        sum += v[i].iov_len;
    return sum;
}

/* `end`: where a write ends; -1 for what makes nothing longer. */
static int fails(int fd, int is_sync, off_t end)
{
    int before = errno;
    const char *code = getenv("EIO_ERRNO");
    long says = verdict(fd);

    if (is_sync && says > 0) {
        struct timespec pause = {says / 1000, says % 1000 * 1000000};
        nanosleep(&pause, NULL);
    }
    if (says == FULL && end >= 0 && grows(fd, end)) {
        errno = ENOSPC;
        return 1;
    }
    errno = says == 0 ? (code ? atoi(code) : EIO) : before;
    return says == 0;
}

#define WRAP(is_sync, end, result, name, parameters, types, arguments)    \
    result name parameters                                                \
    {                                                                     \
        static result(*real) types;                                       \
        if (!real)                                                        \
            real = (result(*) types)dlsym(RTLD_NEXT, #name);              \
        return fails(fd, is_sync, end) ? -1 : real arguments;             \
    }

WRAP(0, end_of(fd, count), ssize_t, write, (int fd, const void *data, size_t count), (int, const void *, size_t), (fd, data, count))
WRAP(0, end_of(fd, total(v, n)), ssize_t, writev, (int fd, const struct iovec *v, int n), (int, const struct iovec *, int), (fd, v, n))
WRAP(0, at + (off_t)count, ssize_t, pwrite, (int fd, const void *data, size_t count, off_t at), (int, const void *, size_t, off_t), (fd, data, count, at))
WRAP(0, at + (off_t)count, ssize_t, pwrite64, (int fd, const void *data, size_t count, off64_t at), (int, const void *, size_t, off64_t), (fd, data, count, at))
WRAP(0, -1, int, ftruncate, (int fd, off_t length), (int, off_t), (fd, length))
WRAP(0, -1, int, ftruncate64, (int fd, off64_t length), (int, off64_t), (fd, length))
WRAP(1, -1, int, fsync, (int fd), (int), (fd))
WRAP(1, -1, int, fdatasync, (int fd), (int), (fd))
WRAP(0, -1, int, sync_file_range, (int fd, off64_t at, off64_t count, unsigned flags), (int, off64_t, off64_t, unsigned), (fd, at, count, flags))
