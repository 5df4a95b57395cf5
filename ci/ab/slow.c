/* Makes a llama-server slower by a known share of its own computing: for proving that `bench-ci ab`
 * finds it, and how exactly.
 *
 * Preloaded (LD_PRELOAD), it stands in front of ggml_backend_sched_graph_compute_async. The CPU backend
 * computes inside that call, so the call's own duration is the time of the graph; it is followed by a
 * busy wait of SLOW_PERCENT of it. A backend that computes later (a GPU) is not slowed by this.
 *
 *   cc -O2 -shared -fPIC -o slow.so slow.c -ldl
 *   bench-ci ab ... --head-env LD_PRELOAD=$PWD/slow.so --head-env SLOW_PERCENT=3
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static double now_s(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
}

int ggml_backend_sched_graph_compute_async(void * sched, void * graph) {
    static int (*real)(void *, void *);
    static double share = -1.0;
    if (!real) {
        real = (int (*)(void *, void *)) dlsym(RTLD_NEXT, "ggml_backend_sched_graph_compute_async");
        const char * percent = getenv("SLOW_PERCENT");
        share = percent ? atof(percent) / 100.0 : 0.0;
    }
    const double begun = now_s();
    const int status = real(sched, graph);
    const double computed = now_s();
    const double until = computed + share * (computed - begun);
    while (now_s() < until) {
    }
    return status;
}
