/* crowd N [self|child]: N processes that do nothing, until this one ends. This one, or the last child, has the threads of a
 * Sidekiq. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void *wait_forever(void *unused)
{
	pause();
	return unused;
}

static void start_threads(void)
{
	pthread_t thread;
	int n;

	for (n = 0; n <= 20; n++) {
		pthread_create(&thread, NULL, wait_forever, NULL);
		pthread_setname_np(thread, n == 0 ? "heartbeat" : "processor");
	}
}

int main(int argc, char **argv)
{
	const char *sidekiq = argc > 2 ? argv[2] : "";
	pid_t parent = getpid();
	int n;

	for (n = argc > 1 ? atoi(argv[1]) : 0; n > 0; n--)
		switch (fork()) {
		case -1:
			perror("crowd");
			kill(0, SIGKILL); /* its own group: the bench made one */
		case 0:
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (n == 1 && strcmp(sidekiq, "child") == 0)
				start_threads();
			if (getppid() == parent)
				pause();
			return 0;
		}
	if (strcmp(sidekiq, "self") == 0)
		start_threads();
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}
