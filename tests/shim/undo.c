/*
 * Keeps what a power cut would bring back. Preloaded into a server under test.
 *
 * UNDO_DIR   the directory whose files `db`, `journal.0` and `journal.1`, and those of these names
 *            further below, are concerned
 * UNDO_FILE  what the records' names begin with, outside of it: one for each, `.db` and so on
 *
 * Before such a file is written to, what stood there is recorded; once it has been synced, its record
 * is emptied. So after `kill -9` the record, applied backwards, makes the file what it was at its
 * last sync. A record is, in the machine's byte order and without padding:
 *
 *   u64 length of the file, u64 offset, u64 count of bytes, bytes
 *
 * A lock for each file is held over recording and doing. sync_file_range promises nothing about a power cut, and
 * is passed on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *const names[] = {"db", "journal.0", "journal.1"};
#define FILES ((int)(sizeof names / sizeof *names))
static int records[FILES] = {-1, -1, -1};
static pthread_mutex_t locks[FILES] = {
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Which of the files this is; -1: none. */
static int concerned(int fd)
{
    const char *dir = getenv("UNDO_DIR"), *name;
    char link[64], path[PATH_MAX];
    ssize_t length;

    if (!dir)
        return -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return -1;
    path[length] = 0;
    name = strrchr(path, '/');
    if (strncmp(path, dir, strlen(dir)) != 0 || !name)
        return -1;
    for (int file = 0; file < FILES; file++)
        if (strcmp(name + 1, names[file]) == 0)
            return file;
    return -1;
}

/* A file's record, opened once. A server that cannot keep it is of no use to the test. */
static int opened(int file)
{
    const char *prefix = getenv("UNDO_FILE");

    if (records[file] < 0 && prefix) {
        char path[PATH_MAX];

        snprintf(path, sizeof path, "%s.%s", prefix, names[file]);
        records[file] = REAL(open)(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    }
    if (records[file] < 0)
        abort();
    return records[file];
}

static void keep(int file, int fd, off_t at, size_t count)
{
    struct stat st;
    uint64_t head[3];
    size_t old = 0;
    char *bytes;
    struct iovec parts[2];

    if (fstat(fd, &st) != 0)
        abort();
    if (at < st.st_size)
        old = (size_t)(st.st_size - at) < count ? (size_t)(st.st_size - at) : count;
    bytes = malloc(old + 1);
    /* The descriptor may be open for writing alone. */
    if (old > 0) {
        char link[64];
        int reader;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        reader = REAL(open)(link, O_RDONLY | O_CLOEXEC);
        if (!bytes || reader < 0 || pread(reader, bytes, old, at) != (ssize_t)old)
            abort();
        close(reader);
    }
    head[0] = (uint64_t)st.st_size;
    head[1] = (uint64_t)at;
    head[2] = old;
    parts[0].iov_base = head;
    parts[0].iov_len = sizeof head;
    parts[1].iov_base = bytes;
    parts[1].iov_len = old;
    if (REAL(writev)(opened(file), parts, 2) != (ssize_t)(sizeof head + old))
        abort();
    free(bytes);
}

ssize_t pwrite64(int fd, const void *data, size_t count, off64_t at)
{
    ssize_t done;
    int file = concerned(fd);

    if (file < 0)
        return REAL(pwrite64)(fd, data, count, at);
    pthread_mutex_lock(&locks[file]);
    keep(file, fd, at, count);
    done = REAL(pwrite64)(fd, data, count, at);
    pthread_mutex_unlock(&locks[file]);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t at)
{
    return pwrite64(fd, data, count, at);
}

ssize_t write(int fd, const void *data, size_t count)
{
    ssize_t done;
    int file = concerned(fd);

    if (file < 0)
        return REAL(write)(fd, data, count);
    pthread_mutex_lock(&locks[file]);
    keep(file, fd, lseek(fd, 0, SEEK_CUR), count);
    done = REAL(write)(fd, data, count);
    pthread_mutex_unlock(&locks[file]);
    return done;
}

int ftruncate64(int fd, off64_t length)
{
    struct stat st;
    int result, file = concerned(fd);

    if (file < 0)
        return REAL(ftruncate64)(fd, length);
    pthread_mutex_lock(&locks[file]);
    if (fstat(fd, &st) == 0)
        keep(file, fd, length, st.st_size > length ? (size_t)(st.st_size - length) : 0);
    result = REAL(ftruncate64)(fd, length);
    pthread_mutex_unlock(&locks[file]);
    return result;
}

int ftruncate(int fd, off_t length)
{
    return ftruncate64(fd, length);
}

static int synced(int fd, int (*real)(int))
{
    int result, file = concerned(fd);

    if (file < 0)
        return real(fd);
    pthread_mutex_lock(&locks[file]);
    result = real(fd);
    if (result == 0 && REAL(ftruncate64)(opened(file), 0) != 0)
        abort();
    pthread_mutex_unlock(&locks[file]);
    return result;
}

int fsync(int fd)
{
    return synced(fd, REAL(fsync));
}

int fdatasync(int fd)
{
    return synced(fd, REAL(fdatasync));
}
