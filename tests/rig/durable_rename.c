/* Preloaded into a program that makes files by writing and renaming them: when rename() returns, the file and its
   new name survive a power cut. What the archive of the centre does for its own objects, done for a peer. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

static int flush(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int failed = fsync(fd);
    close(fd);
    return failed;
}

int rename(const char *from, const char *to)
{
    int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    char folder[PATH_MAX];
    if (strlen(to) >= sizeof folder || flush(from) != 0 || real(from, to) != 0)
        return -1;
    return flush(dirname(strcpy(folder, to)));
}
