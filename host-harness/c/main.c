#include "commands.h"

int main(int argc, char **argv) {
    return nrhost_main(argc, argv);
}
