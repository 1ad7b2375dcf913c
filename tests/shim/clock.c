/*
 * A clock that is wrong on command. Preloaded into a server under test.
 *
 * CLOCK_CONTROL  while this file holds a number, the wall clock says so many seconds more
 *
 * Other clocks are right: what has passed is measured by those.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long ahead(void)
{
    const char *control = getenv("CLOCK_CONTROL");
    char text[32] = {0};
    int file;
    ssize_t length;

    if (!control)
        return 0;
    file = open(control, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    length = read(file, text, sizeof text - 1);
    close(file);
    return length > 0 ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    static int (*real)(clockid_t, struct timespec *);
    int result;

    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    result = real(clock, time);
    if (result == 0 && clock == CLOCK_REALTIME)
        time->tv_sec += ahead();
    return result;
}
