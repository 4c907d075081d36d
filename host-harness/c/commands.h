/* The command `nrhost`. */
#ifndef NRHOST_COMMANDS_H
#define NRHOST_COMMANDS_H

/* All of `nrhost`; a host that is more than this command calls it too. Returns the exit code. */
int nrhost_main(int argc, char **argv);

int command_call(int argc, char **argv);
int command_stream(int argc, char **argv);
int command_info(int argc, char **argv);
int command_bench(int argc, char **argv);

#endif /* NRHOST_COMMANDS_H */
