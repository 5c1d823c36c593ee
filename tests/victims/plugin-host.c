/* SPDX-License-Identifier: MIT
 *
 * Victim: a program in C that loads `plugin-host PLUGIN`, which brings libstdc++ with it, for itself alone.
 */
#include "victim.h"

#include <dlfcn.h>

static void *find(void *plugin, const char *name)
{
    void *symbol = dlsym(plugin, name);
    if (symbol == NULL)
        exit(2);
    return symbol;
}

int main(int count, char **arguments)
{
    int (*run)(int);
    void *(*make)(size_t);
    void (*drop)(void *);
    void *plugin = dlopen(count > 1 ? arguments[1] : "", RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL)
        return 3;
    void *symbols[] = {find(plugin, "plugin_run"), find(plugin, "plugin_make"), find(plugin, "plugin_drop")};
    memcpy(&run, &symbols[0], sizeof run);
    memcpy(&make, &symbols[1], sizeof make);
    memcpy(&drop, &symbols[2], sizeof drop);
    check(dlsym(RTLD_DEFAULT, "_ZNSt6localeC1Ev") == NULL, "libstdc++ is the plug-in's alone");
    for (int i = 1; i < 5; i++)
        printf("%d\n", run(i));
    void *block = make(5000);
    check(block != NULL, "new in a plug-in");
    check_routed(block, "new in a plug-in is routed");
    drop(block);
    return verdict();
}
