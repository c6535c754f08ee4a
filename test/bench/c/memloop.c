/* memloop PID MS: the least that a memory watcher can do: pread + poll. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char path[64], text[128];
	unsigned long size, resident;
	struct pollfd end;
	ssize_t n;
	int statm;

	if (argc != 3)
		return 100;
	snprintf(path, sizeof path, "/proc/%s/statm", argv[1]);
	statm = open(path, O_RDONLY);
	end.fd = syscall(SYS_pidfd_open, atoi(argv[1]), 0);
	end.events = POLLIN;
	if (statm < 0 || end.fd < 0)
		return 111;
	while (poll(&end, 1, atoi(argv[2])) == 0) {
		n = pread(statm, text, sizeof text - 1, 0);
		if (n <= 0)
			continue;
		text[n] = 0;
		size = strtoul(text, argv, 10);
		resident = strtoul(*argv, 0, 10);
		if (resident > size) /* the limit: never */
			return 1;
	}
	return 0;
}
