/* No plugin: it prints to stdout when it is loaded. */
#include <unistd.h>

__attribute__((constructor)) static void print(void) {
    static const char text[] = "noise\n";
    if (write(STDOUT_FILENO, text, sizeof text - 1) < 0) {
        _exit(70);
    }
}
