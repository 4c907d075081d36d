/* The command nrhost, to be linked without -rdynamic: plugins find no nylon_ring_host_ext in it, as in most hosts. */
#include "commands.h"

int main(int argc, char **argv) {
    return nrhost_main(argc, argv);
}
