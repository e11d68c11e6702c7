/* Moves the time of day of the processes that preload it, and says whether it is kept right.

   $CLOCK_SHIM names a file of two 64-bit words in host order, which may change at any moment: how many nanoseconds the
   time of day is moved, and whether the kernel takes it for synchronized. Monotonic clocks, sleeps and the times that
   the kernel itself writes, such as those of files, are left alone. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

struct words { volatile int64_t shift_ns, synced; };

static struct words *words;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CLOCK_SHIM");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0 || (words = mmap(NULL, sizeof *words, PROT_READ, MAP_SHARED, file, 0)) == MAP_FAILED) {
        static const char trouble[] = "clock_shim: $CLOCK_SHIM names no file that can be read\n";
        (void)!write(2, trouble, sizeof trouble - 1);
        _exit(127);
    }
    close(file);
}

static int64_t shift_ns(void)
{
    return words ? words->shift_ns : 0;  /* other libraries may ask before we begin */
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
    int result = syscall(SYS_clock_gettime, clock, at);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t ns = (int64_t)at->tv_sec * 1000000000 + at->tv_nsec + shift_ns();
        at->tv_sec = ns / 1000000000 - (ns % 1000000000 < 0);
        at->tv_nsec = ns - (int64_t)at->tv_sec * 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    if (zone)
        memset(zone, 0, sizeof(struct timezone));
    return 0;
}

time_t time(time_t *at)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *at, int base)
{
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, at) == 0 ? base : 0;
}

int adjtimex(struct timex *asked)
{
    int state = syscall(SYS_adjtimex, asked), synced = words && words->synced;
    if (state < 0)
        return state;
    asked->status = synced ? asked->status & ~STA_UNSYNC : asked->status | STA_UNSYNC;
    return synced ? TIME_OK : TIME_ERROR;
}

int ntp_adjtime(struct timex *asked)
{
    return adjtimex(asked);
}
