/* crowd N: N processes that do nothing, until this one ends. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	pid_t parent = getpid();
	int n;

	for (n = argc == 2 ? atoi(argv[1]) : 0; n > 0; n--)
		switch (fork()) {
		case -1:
			perror("crowd");
			kill(0, SIGKILL); /* its own group: the bench made one */
		case 0:
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() == parent)
				pause();
			return 0;
		}
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}
