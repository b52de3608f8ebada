//! The Node-API module: its entry point and its functions.

use std::ffi::CStr;
use std::ptr;

use super::api::{Callback, Env, Value, bound};
use super::{event_loop, process, syntax, wrap};
use crate::heap;

/// The entry point that Node calls: fills the exports of the module.
///
/// # Safety
/// Called by Node with a live environment and exports object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn napi_register_module_v1(env: Env, exports: Value) -> Value {
    let Some(node) = bound() else { return exports };
    heap::prepare();
    let functions: [(&CStr, Callback); 23] = [
        (c"start", process::start),
        (c"receive", process::receive),
        (c"send", process::send),
        (c"end", process::end),
        (c"execution", process::execution),
        (c"openCall", process::open_call),
        (c"annotate", process::annotate),
        (c"pid", process::pid),
        (c"parentPid", process::parent_pid),
        (c"beginImports", process::begin_imports),
        (c"neverFork", process::never_fork),
        (c"randomSeed", process::random_seed),
        (c"exit", process::exit),
        (c"fitHeap", process::fit_heap),
        (c"constrainedMemory", process::constrained_memory),
        (c"prepare", syntax::prepare),
        (c"findImports", syntax::find_imports),
        (c"findMistake", syntax::find_mistake),
        (c"onIdle", event_loop::on_idle),
        (c"alive", event_loop::alive),
        (c"runFromLoop", event_loop::run_from_loop),
        (c"wakeLater", event_loop::wake_later),
        (c"wrap", wrap::wrap),
    ];
    for (name, callback) in functions {
        let mut function = ptr::null_mut();
        // SAFETY: a live environment, NUL-terminated names, writable results.
        unsafe {
            (node.api.napi_create_function)(
                env,
                name.as_ptr(),
                name.to_bytes().len(),
                callback,
                ptr::null_mut(),
                &raw mut function,
            );
            (node.api.napi_set_named_property)(env, exports, name.as_ptr(), function);
        }
    }
    exports
}
