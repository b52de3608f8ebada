// A fork of a booted Node and nothing else: new namespaces, a new event
// loop, no jail. It is the lower bound for a forked sandbox.
//
//   cc -O2 -shared -fPIC addon.c -o addon.node
//
// The declarations below are the only parts of Node-API and libuv that are used. node exports them.
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
int napi_create_function(handle env, const char *name, size_t length, callback, void *data,
                         handle *result);
int napi_set_named_property(handle env, handle object, const char *name, handle value);
int napi_create_int32(handle env, int32_t number, handle *result);
int napi_get_uv_event_loop(handle env, handle *loop);
int uv_loop_fork(handle loop);

// V8 excludes its heap from forks (MADV_DONTFORK). Undo that for all anonymous memory.
static void keep_heap(void) {
  FILE *maps = fopen("/proc/self/maps", "r");
  char line[4096];
  while (maps && fgets(line, sizeof line, maps)) {
    unsigned long start, end, inode;
    char access[8];
    int read = sscanf(line, "%lx-%lx %7s %*s %*s %lu", &start, &end, access, &inode);
    if (read == 4 && access[3] == 'p' && inode == 0 && !strstr(line, "[v"))
      madvise((void *)start, end - start, MADV_DOFORK);
  }
  if (maps) fclose(maps);
}

static handle number(handle env, int32_t value) {
  handle result;
  napi_create_int32(env, value, &result);
  return result;
}

// fork(): returns 0 in the child, the child's pid in the parent, and -1 if the machine does not
// allow it.
static handle fork_bare(handle env, handle info) {
  int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
  keep_heap();
  if (unshare(CLONE_NEWPID) != 0) return number(env, -1);
  pid_t child = fork();
  if (child == 0) {
    handle loop;
    napi_get_uv_event_loop(env, &loop);
    if (uv_loop_fork(loop) != 0) _exit(1);
    if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) != 0) _exit(1);
    return number(env, 0);
  }
  setns(own, CLONE_NEWPID);
  close(own);
  return number(env, child);
}

// exit(): exits at once. wait(): waits for any child and returns its wait status.
static handle exit_now(handle env, handle info) { _exit(0); }

static handle wait_any(handle env, handle info) {
  int status = -1;
  wait(&status);
  return number(env, status);
}

handle napi_register_module_v1(handle env, handle exports) {
  struct { const char *name; callback function; } functions[] = {
    {"fork", fork_bare}, {"exit", exit_now}, {"wait", wait_any}};
  for (int index = 0; index < 3; index++) {
    handle function;
    napi_create_function(env, functions[index].name, strlen(functions[index].name),
                         functions[index].function, NULL, &function);
    napi_set_named_property(env, exports, functions[index].name, function);
  }
  return exports;
}
