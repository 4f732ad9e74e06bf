/* The first process of a sandbox whose runtime forks: starts the program it is given, takes in
 * orphans, and ends as that program does (128 + the signal's number if it was killed).
 *
 * After SIGUSR1, which a template sends, it stays for as long as any process is left: instances
 * outlive the template they were forked from. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t stays;

static void stay(int number) {
  (void)number;
  stays = 1;
}

int main(int count, char** words) {
  if (count < 2) return 2;
  struct sigaction told = {.sa_handler = stay, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &told, NULL);
  pid_t program = fork();
  if (program == 0) {
    signal(SIGUSR1, SIG_DFL);
    execv(words[1], words + 1);
    perror(words[1]);
    _exit(127);
  }
  /* The program's alone: the daemon must see its end when it is closed there. */
  close_range(3, ~0U, 0);
  int ended = program < 0;
  for (int status;;) {
    pid_t pid = wait(&status);
    if (pid < 0 && errno == EINTR) continue;
    if (pid < 0) return ended;
    if (pid != program) continue;
    ended = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    if (!stays) return ended;
  }
}
