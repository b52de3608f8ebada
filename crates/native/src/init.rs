//! The init of a sandbox whose runtime is a new process and may start programs. The library is
//! preloaded, and this code runs before the runtime's own: at that time the process has one thread,
//! and little memory that the init would have to keep.

use std::env;

/// The environment variable that the supervisor sets to request an init.
const REQUEST: &str = "BELLJAR_INIT";

extern "C" fn on_load() {
    if env::var_os("LD_PRELOAD").is_none() {
        return;
    }
    let is_init_wanted = env::var_os(REQUEST).is_some();
    // SAFETY: the process has one thread, in the dynamic linker, before the program's own code.
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
