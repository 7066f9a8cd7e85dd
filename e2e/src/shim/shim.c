// Preloaded into the proxy: lets writes and syncs of chosen files fail, and moves the wall clock. What it does is read
// from a shared file (SHIM_CONTROL) that a test changes while the proxy runs; its layout is that of mod.rs.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct control {
    int64_t clock_seconds;
    int32_t write_error;
    int32_t sync_error;
    char part_of_path[48];
};

static const volatile struct control *control;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SHIM_CONTROL");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof *control, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        control = map;
}

static int fails(int fd, int error) {
    char link[64], path[1024], part[sizeof control->part_of_path];
    if (!error)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    for (size_t i = 0; i < sizeof part; i++)
        part[i] = control->part_of_path[i];
    part[sizeof part - 1] = 0;
    if (!strstr(path, part))
        return 0;
    errno = error;
    return 1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    if (control && fails(fd, control->write_error))
        return -1;
    return syscall(SYS_pwrite64, fd, bytes, length, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    return pwrite64(fd, bytes, length, at);
}

int fdatasync(int fd) {
    if (control && fails(fd, control->sync_error))
        return -1;
    return syscall(SYS_fdatasync, fd);
}

int fsync(int fd) {
    if (control && fails(fd, control->sync_error))
        return -1;
    return syscall(SYS_fsync, fd);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (!failed && control && clock == CLOCK_REALTIME)
        time->tv_sec += control->clock_seconds;
    return failed;
}
