// A fork of a booted Node and nothing else: new namespaces, the event loop made anew, no jail. The floor below a forked sandbox.
//
//   cc -O2 -shared -fPIC addon.c -o addon.node
//
// Of Node-API and libuv only what is declared here is used; node exports it.
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

typedef void *handle;
typedef handle (*callback)(handle env, handle info);
int napi_create_function(handle env, const char *name, size_t length, callback, void *data, handle *result);
int napi_set_named_property(handle env, handle object, const char *name, handle value);
int napi_create_int32(handle env, int32_t number, handle *result);
int napi_get_uv_event_loop(handle env, handle *loop);
int uv_loop_fork(handle loop);

// V8 keeps its heap from being forked; undone for all memory that is no file's.
static void keep_heap(void) {
  FILE *maps = fopen("/proc/self/maps", "r");
  char line[4096];
  while (maps && fgets(line, sizeof line, maps)) {
    unsigned long start, end, inode;
    char access[8];
    if (sscanf(line, "%lx-%lx %7s %*s %*s %lu", &start, &end, access, &inode) == 4 && access[3] == 'p' && inode == 0 && !strstr(line, "[v"))
      madvise((void *)start, end - start, MADV_DOFORK);
  }
  if (maps) fclose(maps);
}

static handle number(handle env, int32_t value) {
  handle result;
  napi_create_int32(env, value, &result);
  return result;
}

// fork(): 0 in the child, its number in the parent, -1 where the machine does not allow it.
static handle fork_bare(handle env, handle info) {
  int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
  keep_heap();
  if (unshare(CLONE_NEWPID) != 0) return number(env, -1);
  pid_t child = fork();
  if (child == 0) {
    handle loop;
    napi_get_uv_event_loop(env, &loop);
    if (uv_loop_fork(loop) != 0 || unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) != 0) _exit(1);
    return number(env, 0);
  }
  setns(own, CLONE_NEWPID);
  close(own);
  return number(env, child);
}

// exit(): at once. wait(): the exit status of any child.
static handle exit_now(handle env, handle info) { _exit(0); }

static handle wait_any(handle env, handle info) {
  int status = -1;
  wait(&status);
  return number(env, status);
}

handle napi_register_module_v1(handle env, handle exports) {
  struct { const char *name; callback function; } functions[] = {{"fork", fork_bare}, {"exit", exit_now}, {"wait", wait_any}};
  for (int index = 0; index < 3; index++) {
    handle function;
    napi_create_function(env, functions[index].name, strlen(functions[index].name), functions[index].function, NULL, &function);
    napi_set_named_property(env, exports, functions[index].name, function);
  }
  return exports;
}
