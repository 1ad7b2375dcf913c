/*
 * Starts a program each of whose syncs takes longer: slow_syncs MICROSECONDS PROGRAM ARGUMENT...
 *
 * fsync and fdatasync of all its threads are reported by the kernel (seccomp's user notification) to a
 * process beside it, which lets each go on after the delay; no other call is touched, and no thread is
 * traced. The program takes the place of this process, so its pid is the one that was started. The
 * process beside it ends with it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* More than any server has threads that sync. */
#define WAITING 1024

static long long now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* All wait equally long, so who came first goes first. */
static void hold_up(int listener, long long delay)
{
    static struct { unsigned long long id; long long due; } waiting[WAITING];
    unsigned first = 0, count = 0;

    for (;;) {
        struct pollfd ready = {.fd = listener, .events = POLLIN};
        struct timespec left = {0};
        long long wait = count ? waiting[first].due - now() : 0;

        if (wait > 0)
            left.tv_sec = wait / 1000000000LL, left.tv_nsec = wait % 1000000000LL;
        if (ppoll(&ready, 1, count ? &left : NULL, NULL) < 0 && errno != EINTR)
            exit(1);
        if (ready.revents & POLLHUP)
            exit(0);
        if ((ready.revents & POLLIN) && count < WAITING) {
            struct seccomp_notif call = {0};

            if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) == 0) {
                unsigned last = (first + count++) % WAITING;

                waiting[last].id = call.id;
                waiting[last].due = now() + delay;
            }
        }
        while (count && waiting[first].due <= now()) {
            struct seccomp_notif_resp go_on = {
                .id = waiting[first].id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

            /* An error: the thread is gone. */
            ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &go_on);
            first = (first + 1) % WAITING;
            count--;
        }
    }
}

/* A message that carries one descriptor. */
union carrier {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
};

static void give(int to, int descriptor)
{
    char byte = 0;
    struct iovec body = {&byte, 1};
    union carrier carrier = {0};
    struct msghdr message = {.msg_iov = &body, .msg_iovlen = 1,
                             .msg_control = &carrier, .msg_controllen = sizeof carrier};

    carrier.head.cmsg_level = SOL_SOCKET;
    carrier.head.cmsg_type = SCM_RIGHTS;
    carrier.head.cmsg_len = CMSG_LEN(sizeof descriptor);
    memcpy(CMSG_DATA(&carrier.head), &descriptor, sizeof descriptor);
    if (sendmsg(to, &message, 0) != 1)
        exit(2);
}

static int take(int from)
{
    char byte;
    int descriptor;
    struct iovec body = {&byte, 1};
    union carrier carrier = {0};
    struct msghdr message = {.msg_iov = &body, .msg_iovlen = 1,
                             .msg_control = &carrier, .msg_controllen = sizeof carrier};

    if (recvmsg(from, &message, 0) != 1 || carrier.head.cmsg_type != SCM_RIGHTS)
        exit(2);
    memcpy(&descriptor, CMSG_DATA(&carrier.head), sizeof descriptor);
    return descriptor;
}

int main(int argc, char **argv)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fsync, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fdatasync, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof rules / sizeof *rules, rules};
    int listener, between[2];

    if (argc < 3 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return 2;
    /* The process beside it comes first: with the filter it would wait for itself, and never see the end. */
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, between) != 0)
        return 2;
    switch (fork()) {
    case -1:
        return 2;
    case 0:
        close(between[0]);
        hold_up(take(between[1]), atoll(argv[1]) * 1000);
    }
    close(between[1]);
    listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
    if (listener < 0) {
        perror("seccomp");
        return 2;
    }
    give(between[0], listener);
    close(listener);
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    return 127;
}
