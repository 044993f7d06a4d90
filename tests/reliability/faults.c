/* Fails at the n-th change of a regular file, or from there on. Loaded with LD_PRELOAD; until
   fault_at() is called nothing happens but counting. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { COUNT, KILL, TEAR, FULL }; /* TEAR: kill after half of a write; FULL: no space from here on */

static long seen, at;
static int what;

void fault_at(long number, int fault) { seen = 0; at = number; what = fault; }
long faults_seen(void) { return seen; }

static int due(void)
{
    seen++;
    if (what == KILL && seen == at)
        kill(getpid(), SIGKILL);
    return what != COUNT && (what == FULL ? seen >= at : seen == at);
}

static int regular(int fd)
{
    struct stat status;
    return fd > 2 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t count)
{
    if (regular(fd) && due()) {
        if (what == FULL) {
            errno = ENOSPC;
            return -1;
        }
        REAL(write)(fd, bytes, count / 2);
        kill(getpid(), SIGKILL);
    }
    return REAL(write)(fd, bytes, count);
}

#define CHANGE(name, parameters, arguments) \
    int name parameters { due(); return REAL(name) arguments; }

CHANGE(fsync, (int fd), (fd))
CHANGE(rename, (const char *from, const char *to), (from, to))
CHANGE(unlink, (const char *path), (path))
CHANGE(mkdir, (const char *path, mode_t mode), (path, mode))
