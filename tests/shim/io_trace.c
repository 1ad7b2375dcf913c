/* Records what a process does to the files below a directory, for the power-loss test: LD_PRELOAD
 * this with IO_TRACE_DIR (the directory) and IO_TRACE_FILE (where the record goes, outside of it).
 *
 * One lock is held from before an operation until it is recorded, so the record is in the order in
 * which the operations took effect, whatever the threads did. Files are told apart by inode number,
 * because descriptors outlive renames. A record is, without padding and in the machine's byte order:
 *
 *   u8 kind, u64 inode, u64 offset, u32 length of a, u32 length of b, a, b
 *
 * kind  inode  offset  a              b
 * C     file   -       path           -            created a file
 * W     file   offset  data           -            wrote
 * T     file   length  -              -            cut to a length
 * S     file   -       -              -            synced a file (contents and length)
 * D     dir    -       path           -            synced a directory (names)
 * R     -      -       old path       new path     renamed
 * U     -      -       path           -            removed a file
 * X     -      -       path           -            removed a directory
 * M     dir    -       path           -            made a directory
 *
 * sync_file_range is not recorded: it promises nothing about a power cut. Syncing is not passed on
 * either: the record stands for the device's work, and waiting for this disk adds nothing. With
 * IO_TRACE_FAIL_SYNC=n every fdatasync from the n-th on fails with EIO, which is a dying disk.
 *
 * A process killed while another of its threads is recording would leave half a record, and an
 * operation that no record tells of. So it dies through the shim: removing the file named `die` in
 * the directory takes the lock and kills the process.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char dir[PATH_MAX];
static int trace = -1;
static long fail_sync = -1;
static long syncs = 0;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void start(void) {
    const char *d = getenv("IO_TRACE_DIR"), *f = getenv("IO_TRACE_FILE");
    const char *fail = getenv("IO_TRACE_FAIL_SYNC");
    if (!d || !f) return;
    snprintf(dir, sizeof dir, "%s", d);
    if (fail) fail_sync = atol(fail);
    trace = REAL(open)(f, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (trace < 0) {
        perror("io_trace");
        abort();
    }
}

static int below(const char *path) {
    size_t n = strlen(dir);
    return trace >= 0 && strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == 0);
}

/* The absolute path of a name relative to a directory descriptor, if it is below the directory. */
static int resolve(int at, const char *name, char out[PATH_MAX]) {
    if (trace < 0 || !name) return 0;
    if (name[0] == '/') {
        snprintf(out, PATH_MAX, "%s", name);
    } else {
        char base[PATH_MAX], link[64];
        ssize_t n;
        if (at == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            n = readlink(link, base, sizeof base - 1);
            if (n < 0) return 0;
            base[n] = 0;
        }
        if ((size_t)snprintf(out, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) return 0;
    }
    return below(out);
}

/* The inode behind a descriptor, if it is below the directory; its path, or where it last was. */
static int known(int fd, struct stat *st, char out[PATH_MAX]) {
    char link[64];
    ssize_t n;
    if (trace < 0 || fd == trace) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, out, PATH_MAX - 1);
    if (n < 0) return 0;
    out[n] = 0;
    return below(out) && fstat(fd, st) == 0;
}

static void put(const void *bytes, size_t n) {
    const char *p = bytes;
    while (n > 0) {
        ssize_t done = REAL(write)(trace, p, n);
        if (done <= 0) abort();
        p += done;
        n -= (size_t)done;
    }
}

static void record(char kind, uint64_t inode, uint64_t offset, const void *a, size_t na,
                   const void *b, size_t nb) {
    char head[25];
    uint32_t la = (uint32_t)na, lb = (uint32_t)nb;
    int saved = errno;
    head[0] = kind;
    memcpy(head + 1, &inode, 8);
    memcpy(head + 9, &offset, 8);
    memcpy(head + 17, &la, 4);
    memcpy(head + 21, &lb, 4);
    put(head, sizeof head);
    put(a, na);
    put(b, nb);
    errno = saved;
}

static int open_at(int at, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    struct stat st;
    int fd, existed;
    if (!resolve(at, name, path) || !(flags & (O_CREAT | O_TRUNC)))
        return REAL(openat)(at, name, flags, mode);
    pthread_mutex_lock(&lock);
    existed = access(path, F_OK) == 0;
    fd = REAL(openat)(at, name, flags, mode);
    if (fd >= 0 && fstat(fd, &st) == 0) {
        if (!existed)
            record('C', st.st_ino, 0, path, strlen(path), "", 0);
        else if (flags & O_TRUNC)
            record('T', st.st_ino, 0, "", 0, "", 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags, last)                                     \
    mode_t mode = 0;                                          \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                    \
        va_list ap;                                           \
        va_start(ap, last);                                   \
        mode = va_arg(ap, mode_t);                            \
        va_end(ap);                                           \
    }

int open(const char *p, int flags, ...) { MODE(flags, flags) return open_at(AT_FDCWD, p, flags, mode); }
int open64(const char *p, int flags, ...) { MODE(flags, flags) return open_at(AT_FDCWD, p, flags, mode); }
int openat(int at, const char *p, int flags, ...) { MODE(flags, flags) return open_at(at, p, flags, mode); }
int openat64(int at, const char *p, int flags, ...) { MODE(flags, flags) return open_at(at, p, flags, mode); }
int creat(const char *p, mode_t mode) { return open_at(AT_FDCWD, p, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *p, mode_t mode) { return creat(p, mode); }

ssize_t write(int fd, const void *data, size_t n) {
    char path[PATH_MAX];
    struct stat st;
    ssize_t done;
    if (!known(fd, &st, path)) return REAL(write)(fd, data, n);
    pthread_mutex_lock(&lock);
    fstat(fd, &st);
    off_t at = (fcntl(fd, F_GETFL) & O_APPEND) ? st.st_size : lseek(fd, 0, SEEK_CUR);
    done = REAL(write)(fd, data, n);
    if (done > 0) record('W', st.st_ino, (uint64_t)at, data, (size_t)done, "", 0);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t writev(int fd, const struct iovec *iov, int count) {
    char path[PATH_MAX];
    struct stat st;
    if (!known(fd, &st, path)) return REAL(writev)(fd, iov, count);
    /* A short write is allowed: one piece at a time. */
    for (int i = 0; i < count; i++)
        if (iov[i].iov_len > 0) return write(fd, iov[i].iov_base, iov[i].iov_len);
    return 0;
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    char path[PATH_MAX];
    struct stat st;
    ssize_t done;
    if (!known(fd, &st, path)) return REAL(pwrite64)(fd, data, n, at);
    pthread_mutex_lock(&lock);
    done = REAL(pwrite64)(fd, data, n, at);
    if (done > 0) record('W', st.st_ino, (uint64_t)at, data, (size_t)done, "", 0);
    pthread_mutex_unlock(&lock);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return pwrite64(fd, data, n, at); }

int ftruncate64(int fd, off64_t length) {
    char path[PATH_MAX];
    struct stat st;
    int r;
    if (!known(fd, &st, path)) return REAL(ftruncate64)(fd, length);
    pthread_mutex_lock(&lock);
    r = REAL(ftruncate64)(fd, length);
    if (r == 0) record('T', st.st_ino, (uint64_t)length, "", 0, "", 0);
    pthread_mutex_unlock(&lock);
    return r;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int sync_fd(int fd, int data_only) {
    char path[PATH_MAX];
    struct stat st;
    int r;
    if (!known(fd, &st, path)) return data_only ? REAL(fdatasync)(fd) : REAL(fsync)(fd);
    pthread_mutex_lock(&lock);
    if (data_only && fail_sync >= 0 && ++syncs > fail_sync) {
        pthread_mutex_unlock(&lock);
        errno = EIO;
        return -1;
    }
    r = 0;
    if (S_ISDIR(st.st_mode))
        record('D', st.st_ino, 0, path, strlen(path), "", 0);
    else
        record('S', st.st_ino, 0, "", 0, "", 0);
    pthread_mutex_unlock(&lock);
    return r;
}
int sync_file_range(int fd, off64_t at, off64_t n, unsigned flags) {
    char path[PATH_MAX];
    struct stat st;
    return known(fd, &st, path) ? 0 : REAL(sync_file_range)(fd, at, n, flags);
}
int fsync(int fd) { return sync_fd(fd, 0); }
int fdatasync(int fd) { return sync_fd(fd, 1); }

int renameat2(int olddir, const char *old, int newdir, const char *new, unsigned flags) {
    char a[PATH_MAX], b[PATH_MAX];
    int r, known = resolve(olddir, old, a) | resolve(newdir, new, b);
    if (!known) return REAL(renameat2)(olddir, old, newdir, new, flags);
    pthread_mutex_lock(&lock);
    r = REAL(renameat2)(olddir, old, newdir, new, flags);
    if (r == 0) record('R', 0, 0, a, strlen(a), b, strlen(b));
    pthread_mutex_unlock(&lock);
    return r;
}
int renameat(int od, const char *o, int nd, const char *n) { return renameat2(od, o, nd, n, 0); }
int rename(const char *o, const char *n) { return renameat2(AT_FDCWD, o, AT_FDCWD, n, 0); }

int unlinkat(int at, const char *name, int flags) {
    char path[PATH_MAX];
    int r;
    if (!resolve(at, name, path)) return REAL(unlinkat)(at, name, flags);
    pthread_mutex_lock(&lock);
    if (strcmp(path + strlen(dir), "/die") == 0) {
        kill(getpid(), SIGKILL);
        pause();
    }
    r = REAL(unlinkat)(at, name, flags);
    if (r == 0) record((flags & AT_REMOVEDIR) ? 'X' : 'U', 0, 0, path, strlen(path), "", 0);
    pthread_mutex_unlock(&lock);
    return r;
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdirat(int at, const char *name, mode_t mode) {
    char path[PATH_MAX];
    struct stat st;
    int r;
    if (!resolve(at, name, path)) return REAL(mkdirat)(at, name, mode);
    pthread_mutex_lock(&lock);
    r = REAL(mkdirat)(at, name, mode);
    if (r == 0 && stat(path, &st) == 0) record('M', st.st_ino, 0, path, strlen(path), "", 0);
    pthread_mutex_unlock(&lock);
    return r;
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

/* Ways of writing that are not recorded are refused; callers fall back to the others. */
ssize_t copy_file_range(int a, off64_t *b, int c, off64_t *d, size_t e, unsigned f) {
    (void)a, (void)b, (void)c, (void)d, (void)e, (void)f;
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile64(int a, int b, off64_t *c, size_t d) {
    (void)a, (void)b, (void)c, (void)d;
    errno = ENOSYS;
    return -1;
}
int fallocate64(int a, int b, off64_t c, off64_t d) {
    (void)a, (void)b, (void)c, (void)d;
    errno = EOPNOTSUPP;
    return -1;
}
