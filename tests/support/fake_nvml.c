/* A driver's library for one GPU that is well: what pynvml calls, with NVML's own layouts.
 *
 * Compiled by tests/integration/engines/test_nvml_binding.py as libnvidia-ml.so.1, so that the
 * contract tests go through pynvml's ctypes where there is no GPU.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned int u32;
typedef unsigned long long u64;
enum { OK = 0, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, TIMED_OUT = 10 };

static int card;
static const char *uuid = "GPU-c0ffee00-0000-0000-0000-000000000001";
static int text(char *to, u32 size, const char *from) { snprintf(to, size, "%s", from); return OK; }
static int number(u32 *to, u32 value) { *to = value; return OK; }

int nvmlInitWithFlags(u32 flags) { (void)flags; return OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { (void)code; return "an error of the stub"; }
int nvmlSystemGetDriverVersion(char *to, u32 size) { return text(to, size, "580.65.06"); }
int nvmlSystemGetCudaDriverVersion_v2(int *to) { *to = 13000; return OK; }
int nvmlDeviceGetCount_v2(u32 *to) { return number(to, 1); }
int nvmlDeviceGetHandleByIndex_v2(u32 index, void **to) {
    *to = &card;
    return index ? INVALID : OK;
}
int nvmlDeviceGetHandleByUUID(const char *name, void **to) {
    *to = &card;
    return strcmp(name, uuid) ? NOT_FOUND : OK;
}
int nvmlDeviceGetIndex(void *h, u32 *to) { (void)h; return number(to, 0); }
int nvmlDeviceGetUUID(void *h, char *to, u32 size) { (void)h; return text(to, size, uuid); }
int nvmlDeviceGetName(void *h, char *to, u32 size) { (void)h; return text(to, size, "Stub"); }
int nvmlDeviceGetCudaComputeCapability(void *h, int *major, int *minor) {
    (void)h;
    *major = 8;
    *minor = 9;
    return OK;
}
struct memory { u32 version; u64 total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(void *h, struct memory *to) {
    (void)h;
    to->total = 24ULL << 30;
    to->reserved = 1ULL << 29;
    to->used = 20ULL << 30;
    to->free = to->total - to->reserved - to->used;
    return OK;
}
struct utilization { u32 gpu, memory; };
int nvmlDeviceGetUtilizationRates(void *h, struct utilization *to) {
    (void)h;
    to->gpu = 97;
    to->memory = 40;
    return OK;
}
int nvmlDeviceGetTemperature(void *h, int sensor, u32 *to) { (void)h; (void)sensor; return number(to, 61); }
int nvmlDeviceGetTemperatureThreshold(void *h, int kind, u32 *to) {
    (void)h;
    return number(to, kind == 1 ? 95 : kind == 3 ? 88 : 98);
}
int nvmlDeviceGetPowerUsage(void *h, u32 *to) { (void)h; return number(to, 280500); }
int nvmlDeviceGetEnforcedPowerLimit(void *h, u32 *to) { (void)h; return number(to, 350000); }
int nvmlDeviceGetClockInfo(void *h, int kind, u32 *to) { (void)h; return number(to, kind == 1 ? 1700 : 9500); }
int nvmlDeviceGetCurrentClocksEventReasons(void *h, u64 *to) { (void)h; *to = 0x4; return OK; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *h, u64 *to) { (void)h; *to = 0x4; return OK; }
int nvmlDeviceGetTotalEccErrors(void *h, int kind, int counter, u64 *to) {
    (void)h; (void)kind; (void)counter; (void)to;
    return UNSUPPORTED;
}
int nvmlDeviceGetRemappedRows(void *h, u32 *a, u32 *b, u32 *pending, u32 *failed) {
    (void)h;
    *a = *b = *pending = *failed = 0;
    return OK;
}
int nvmlDeviceGetSupportedEventTypes(void *h, u64 *to) { (void)h; *to = 0x1f; return OK; }
int nvmlDeviceRegisterEvents(void *h, u64 kinds, void *set) { (void)h; (void)kinds; (void)set; return OK; }
int nvmlEventSetCreate(void **to) { *to = &card; return OK; }
int nvmlEventSetFree(void *set) { (void)set; return OK; }

struct event { void *device; u64 type, data; u32 gpu_instance, compute_instance; };
/* FAKE_XID: the first wait reports it. */
int nvmlEventSetWait_v2(void *set, struct event *to, u32 timeout_ms) {
    static int told;
    const char *xid = getenv("FAKE_XID");
    (void)set;
    if (xid && !told) {
        told = 1;
        to->device = &card;
        to->type = 8;
        to->data = atoi(xid);
        to->gpu_instance = to->compute_instance = 0xFFFFFFFF;
        return OK;
    }
    usleep(timeout_ms * 1000);
    return TIMED_OUT;
}
