//! A sandbox's init where its runtime is a process of its own and may start programs. The library is preloaded, and this runs before the
//! runtime's own code: while there is one thread, and hardly any memory to keep for the process that stays behind.

use std::env;

/// Set by the supervisor where an init is wanted.
const REQUEST: &str = "BELLJAR_INIT";

extern "C" fn on_load() {
    if env::var_os("LD_PRELOAD").is_none() {
        return;
    }
    let is_init_wanted = env::var_os(REQUEST).is_some();
    // SAFETY: there is one thread: the dynamic linker's, before the program's own code.
    unsafe {
        env::remove_var(REQUEST);
        env::remove_var("LD_PRELOAD");
    }
    if is_init_wanted && let Err(error) = belljar_jail::confine_exec_grant_init() {
        crate::sandbox::fault(belljar_jail::CHANNEL, error);
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: extern "C" fn() = on_load;
